package restic

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unicode"
	"unicode/utf8"

	"restic-manager/shared/wire"
)

var (
	v014 = Version{Minor: 14}
	v016 = Version{Minor: 16}
	v018 = Version{Minor: 18}
)

func parserOf(k wire.Kind, v Version) *Parser { return NewParser(Invocation{Kind: k, Version: v}) }

func out(p *Parser, lines ...string) (classes []Class) {
	for _, l := range lines {
		classes = append(classes, p.Feed(wire.StreamOut, []byte(l), false))
	}
	return classes
}

func errs(p *Parser, lines ...string) {
	for _, l := range lines {
		p.Feed(wire.StreamErr, []byte(l), false)
	}
}

func TestProgressNeverFallsAndIsClamped(t *testing.T) {
	p := parserOf(wire.KindBackup, v018)
	if _, ok := p.Progress(); ok {
		t.Error("there is progress before the first status line")
	}
	for i, c := range []struct{ said, want float64 }{{0.5, 0.5}, {0.2, 0.5}, {-3, 0.5}, {0.7, 0.7}, {17, 1}, {0.1, 1}} {
		got := out(p, fmt.Sprintf(`{"message_type":"status","percent_done":%g,"seconds_elapsed":%d,"total_files":10,"files_done":3,"total_bytes":-5,"bytes_done":1e300,"error_count":2,"current_files":["/a","/b"]}`, c.said, i))
		if got[0] != ClassProgress {
			t.Fatalf("class: got %d", got[0])
		}
		want := wire.Progress{Seq: int64(i + 1), ElapsedSeconds: float64(i), PercentDone: c.want, TotalFiles: 10, FilesDone: 3, BytesDone: 1<<63 - 1, ErrorCount: 2, CurrentFiles: []string{"/a", "/b"}}
		if p, ok := p.Progress(); !ok || !reflect.DeepEqual(p, want) {
			t.Errorf("got %+v, want %+v", p, want)
		}
	}
}

func TestRestoresProgressCountsWhatIsThereAlready(t *testing.T) {
	p := parserOf(wire.KindRestore, v018)
	out(p, `{"message_type":"status","percent_done":0.5,"total_files":10,"files_restored":2,"files_skipped":3,"total_bytes":100,"bytes_restored":20,"bytes_skipped":30}`)
	got, _ := p.Progress()
	if want := (wire.Progress{Seq: 1, PercentDone: 0.5, TotalFiles: 10, FilesDone: 5, TotalBytes: 100, BytesDone: 50}); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestStatusLinesAreNeverLogAndNothingElseIsProgress(t *testing.T) {
	p := parserOf(wire.KindBackup, v014)
	for line, want := range map[string]Class{
		`{"message_type":"status","percent_done":0}`:                                ClassProgress,
		`{"message_type":"status","action":"scan_finished","item":"","duration":1}`: ClassIgnored,
		`{"message_type":"status","percent_done":0.`:                                ClassIgnored, // torn
		`{"message_type":"status","percent_done":"x"}`:                              ClassIgnored,
		`{"message_type":"statusx","percent_done":0}`:                               ClassLog,
		`{"message_type":"verbose_status","action":"new"}`:                          ClassLog,
		`{"message_type":"summary","files_new":1}`:                                  ClassLog,
		`[0:00] 100.00%  4 / 4 snapshots`:                                           ClassLog,
		``:                                                                          ClassLog,
		`{`:                                                                         ClassLog,
		`{"message_type":`:                                                          ClassLog,
		`{"message_type":"` + strings.Repeat("x", 100):                              ClassLog,
		"\x00\xff": ClassLog,
		`using parent snapshot 1 {"message_type":"status"}`:                                  ClassLog,
		` {"message_type":"status"}`:                                                         ClassLog,
		`{"struct_type":"snapshot","message_type":"snapshot"}`:                               ClassLog,
		`reading repository password from stdin`:                                             ClassLog,
		`{"message_type":"status","current_files":["` + strings.Repeat("/x", 40_000) + `"]}`: ClassProgress,
	} {
		if got := p.Feed(wire.StreamOut, []byte(line), false); got != want {
			t.Errorf("%.80s: got %d, want %d", line, got, want)
		}
		if got := p.Feed(wire.StreamErr, []byte(line), false); got != ClassLog {
			t.Errorf("stderr: %.80s: got %d, want it logged", line, got)
		}
	}
	if got := p.Feed(wire.StreamOut, []byte(`{"message_type":"status","percent_done":0.9}`), true); got != ClassIgnored {
		t.Errorf("truncated: got %d, want it ignored", got)
	}
}

// A file's name with line breaks in it may write whole lines into restic's text.
func TestNamesOfFilesCannotForgeResults(t *testing.T) {
	id := strings.Repeat("a", 64)
	p := parserOf(wire.KindRestore, v014)
	if got := out(p, `{"message_type":"summary","files_restored":7}`, `{"message_type":"status","percent_done":1}`); !slices.Equal(got, []Class{ClassLog, ClassLog}) {
		t.Errorf("0.14 restores in text: got %v", got)
	}
	if o := p.Outcome(Ending{}); o.Summary != nil {
		t.Errorf("0.14 restores in text: got %+v", o.Summary)
	}
	p = parserOf(wire.KindBackup, v018)
	errs(p, `{"message_type":"summary","files_new":7,"snapshot_id":"`+id+`"}`, `{"message_type":"status","percent_done":1}`)
	out(p, `{"message_type":"error","error":{"message":"x"},"during":"archival","item":"/x"}`, `{"message_type":"exit_error","code":12,"message":"wrong password or no key found"}`,
		`{"message_type":"initialized","id":"`+id+`"}`)
	o := p.Outcome(Ending{ExitCode: 1})
	if o.Summary != nil || len(o.Issues) != 0 || o.Error.Code != wire.CodeRestic {
		t.Errorf("messages on the wrong pipe: got %+v", o)
	}
	p = parserOf(wire.KindBackup, v018)
	errs(p, `{"message_type":"error","error":{"message":"open /repository is already locked: permission denied"},"during":"archival","item":"/wrong password or no key found"}`,
		`{"message_type":"exit_error","code":1,"message":"Fatal: something unheard of"}`)
	if o := p.Outcome(Ending{ExitCode: 1}); o.Error.Code != wire.CodeRestic || !strings.HasPrefix(o.Error.Message, "something unheard of") {
		t.Errorf("an unreadable file's name decided the failure: got %+v", o.Error)
	}
}

func TestExitCodesMeanWhatTheirVersionSays(t *testing.T) {
	for _, c := range []struct {
		version string
		exit    int
		want    string
	}{
		{"0.16.5", 10, wire.CodeRestic}, {"0.17.0", 10, wire.CodeRepositoryMissing}, {"0.19.1", 10, wire.CodeRepositoryMissing},
		{"0.16.5", 11, wire.CodeRestic}, {"0.17.0", 11, wire.CodeRepositoryLocked},
		{"0.16.5", 12, wire.CodeRestic}, {"0.17.0", 12, wire.CodeRestic}, {"0.17.1", 12, wire.CodeWrongPassword},
		{"0.14.0", 2, wire.CodeCrashed}, {"0.18.0", 2, wire.CodeCrashed}, {"0.14.0", 130, wire.CodeInterrupted}, {"0.19.1-dev", 130, wire.CodeInterrupted},
		{"0.18.0", 1, wire.CodeRestic}, {"0.18.0", 77, wire.CodeRestic}, {"1.0.0", 12, wire.CodeWrongPassword},
	} {
		var v Version
		if err := v.UnmarshalText([]byte(c.version)); err != nil {
			t.Fatal(err)
		}
		o := parserOf(wire.KindCheck, v).Outcome(Ending{ExitCode: c.exit})
		if o.State != wire.StateFailed || o.Error.Code != c.want || o.Error.Message == "" {
			t.Errorf("%s exit %d: got %s %+v, want %s", c.version, c.exit, o.State, o.Error, c.want)
		}
	}
	// 3 is a success of backup alone.
	for k, want := range map[wire.Kind]wire.State{
		wire.KindBackup: wire.StateSucceededWithIssues, wire.KindForget: wire.StateFailed, wire.KindPrune: wire.StateFailed, wire.KindRestore: wire.StateFailed,
	} {
		p := parserOf(k, v018)
		out(p, testSummary)
		if o := p.Outcome(Ending{ExitCode: 3}); o.State != want {
			t.Errorf("%s exit 3: got %s, want %s", k, o.State, want)
		}
	}
}

// testSummary is the last line of a backup that made a snapshot.
const testSummary = `{"message_type":"summary","files_new":1,"snapshot_id":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}`

func TestABackupSucceedsOnlyWithASummary(t *testing.T) {
	dry := `{"message_type":"summary","files_new":1,"snapshot_id":"0123abcd","dry_run":true}`
	skipped := `{"message_type":"summary","files_unmodified":1}`
	for _, c := range []struct {
		name    string
		version Version
		exit    int
		line    string
		dryRun  bool
		want    wire.State
	}{
		{"0.14, exit 0", v014, 0, `{"message_type":"summary","files_new":1,"snapshot_id":"0123abcd"}`, false, wire.StateSucceeded},
		{"0.18, exit 0", v018, 0, testSummary, false, wire.StateSucceeded},
		{"exit 3", v018, 3, testSummary, false, wire.StateSucceededWithIssues},
		{"dry run of 0.14, whose summary does not say so", v014, 0, `{"message_type":"summary","files_new":1,"snapshot_id":"0123abcd"}`, true, wire.StateSucceeded},
		{"dry run", v018, 0, dry, true, wire.StateSucceeded},
		{"skipped because nothing changed", v018, 0, skipped, false, wire.StateSucceeded},
		{"0.14, exit 0, none", v014, 0, "", false, wire.StateFailed},
		{"0.18, exit 0, none", v018, 0, "", false, wire.StateFailed},
		{"dry run, none", v018, 0, "", true, wire.StateFailed},
		{"exit 3, none", v018, 3, "", false, wire.StateFailed},
		{"torn", v018, 0, testSummary[:60], false, wire.StateFailed},
		{"on the wrong pipe", v018, 0, "stderr", false, wire.StateFailed},
		{"exit 1 with one", v018, 1, testSummary, false, wire.StateFailed},
	} {
		p := NewParser(Invocation{Kind: wire.KindBackup, Version: c.version, DryRun: c.dryRun})
		switch c.line {
		case "":
		case "stderr":
			errs(p, testSummary)
		default:
			out(p, c.line)
		}
		o := p.Outcome(Ending{ExitCode: c.exit})
		if o.State != c.want {
			t.Errorf("%s: got %s %+v, want %s", c.name, o.State, o.Error, c.want)
		}
		if c.want == wire.StateFailed && (o.Error == nil || o.Error.Code != wire.CodeRestic) {
			t.Errorf("%s: got %+v, want %s", c.name, o.Error, wire.CodeRestic)
		}
		if c.dryRun && o.Summary != nil && (!o.Summary.DryRun || o.Summary.SnapshotID+o.ShortSnapshotID != "") {
			t.Errorf("%s: got %+v %q, want no snapshot of a dry run", c.name, o.Summary, o.ShortSnapshotID)
		}
	}
}

func TestARestoreOfChosenPathsThatMatchNothingFails(t *testing.T) {
	nothing := `{"message_type":"summary"}`
	for _, c := range []struct {
		name    string
		version Version
		chosen  int
		line    string
		empty   bool
		want    string
	}{
		{"0.18 says so", v018, 1, nothing, false, wire.CodeSourceMissing},
		{"0.14 says nothing and its folder is empty", v014, 2, "", true, wire.CodeSourceMissing},
		{"0.14 says nothing and its folder is not", v014, 2, "", false, ""},
		{"one file", v018, 1, `{"message_type":"summary","total_files":1,"files_restored":1}`, false, ""},
		{"one empty folder", v018, 1, `{"message_type":"summary","files_restored":1}`, false, ""},
		{"a whole snapshot that is empty", v018, 0, nothing, false, ""},
	} {
		p := NewParser(Invocation{Kind: wire.KindRestore, Version: c.version, Chosen: c.chosen, RestoredTo: "/restore/x"})
		if c.line != "" {
			out(p, c.line)
		}
		o := p.Outcome(Ending{NothingRestored: c.empty})
		code := ""
		if o.Error != nil {
			code = o.Error.Code
		}
		if code != c.want || o.State.Success() != (c.want == "") {
			t.Errorf("%s: got %s %+v, want %q", c.name, o.State, o.Error, c.want)
		}
	}
}

func TestASignalIsCanceledOnlyByOurOwnRecord(t *testing.T) {
	summary := testSummary
	for _, c := range []struct {
		name  string
		feed  bool
		e     Ending
		state wire.State
		code  string
	}{
		{"finished before the signal", true, Ending{Canceled: true}, wire.StateSucceeded, ""},
		{"finished with issues before the limit", true, Ending{ExitCode: 3, TimeLimit: true}, wire.StateSucceededWithIssues, ""},
		{"exit 0 without a summary is no backup", false, Ending{Canceled: true}, wire.StateCanceled, wire.CodeCanceled},
		{"exit 1 after the signal", false, Ending{ExitCode: 1, Canceled: true}, wire.StateCanceled, wire.CodeCanceled},
		{"killed after the grace", true, Ending{ExitCode: -1, Signal: syscall.SIGKILL, Canceled: true, Killed: true}, wire.StateCanceled, wire.CodeCanceled},
		{"over the limit", false, Ending{ExitCode: 130, TimeLimit: true}, wire.StateFailed, wire.CodeTimeLimit},
		{"somebody else's interrupt", false, Ending{ExitCode: 130}, wire.StateFailed, wire.CodeInterrupted},
		{"somebody else's kill", true, Ending{ExitCode: -1, Signal: syscall.SIGKILL}, wire.StateFailed, wire.CodeCrashed},
	} {
		p := parserOf(wire.KindBackup, v018)
		if c.feed {
			out(p, summary)
		}
		o := p.Outcome(c.e)
		code := ""
		if o.Error != nil {
			code = o.Error.Code
		}
		if o.State != c.state || code != c.code {
			t.Errorf("%s: got %s %q, want %s %q", c.name, o.State, code, c.state, c.code)
		}
	}
	// A kind that never has a summary has finished when restic says so.
	if o := parserOf(wire.KindPrune, v018).Outcome(Ending{Canceled: true}); o.State != wire.StateSucceeded {
		t.Errorf("prune: got %s, want succeeded", o.State)
	}
}

func TestMissingPathsAreIssuesInEveryVersion(t *testing.T) {
	p := NewParser(Invocation{Kind: wire.KindBackup, Version: v014, Missing: []string{"/gone", "/gone\ntoo"}})
	errs(p, "/gone does not exist, skipping")
	out(p, `{"message_type":"summary","files_new":1,"snapshot_id":"0123abcd"}`)
	o := p.Outcome(Ending{})
	want := []wire.Issue{{Path: "/gone", Message: "does not exist"}, {Path: "/gone\ntoo", Message: "does not exist"}}
	if o.State != wire.StateSucceededWithIssues || !slices.Equal(o.Issues, want) || o.ShortSnapshotID != "0123abcd" || o.Summary.SnapshotID != "" {
		t.Errorf("got %s %+v %q, want %+v", o.State, o.Issues, o.ShortSnapshotID, want)
	}
}

func TestAFileThatOnlyTheScanMissedIsNoIssue(t *testing.T) {
	scan := `{"message_type":"error","error":{},"during":"scan","item":"/x"}`
	read := `{"message_type":"error","error":{"message":"open /x: permission denied"},"during":"archival","item":"/x"}`
	for _, c := range []struct {
		lines []string
		exit  int
		want  []wire.Issue
	}{
		{[]string{scan}, 0, nil},
		{[]string{scan}, 3, []wire.Issue{{Path: "/x", Message: unreadable}}},
		{[]string{scan, read, scan}, 3, []wire.Issue{{Path: "/x", Message: "open /x: permission denied"}}},
		{[]string{read, scan}, 3, []wire.Issue{{Path: "/x", Message: "open /x: permission denied"}}},
	} {
		p := parserOf(wire.KindBackup, v018)
		errs(p, c.lines...)
		out(p, testSummary)
		if got := p.Outcome(Ending{ExitCode: c.exit}).Issues; !slices.Equal(got, c.want) {
			t.Errorf("exit %d of %d lines: got %+v, want %+v", c.exit, len(c.lines), got, c.want)
		}
	}
}

func TestIssuesAreBoundedAndTheRestIsCounted(t *testing.T) {
	line := func(i, size int) string {
		return fmt.Sprintf(`{"message_type":"error","error":{"message":"no"},"during":"archival","item":"/%s%d"}`, strings.Repeat("\\u0001", size), i)
	}
	p := parserOf(wire.KindBackup, v018)
	for range 2 { // the second round names the same files
		for i := range 2500 {
			errs(p, line(i, 0))
		}
	}
	out(p, testSummary)
	o := p.Outcome(Ending{ExitCode: 3})
	if len(o.Issues) != wire.MaxIssues || o.IssuesDropped != 1500 {
		t.Errorf("got %d issues and %d dropped, want %d and 1500", len(o.Issues), o.IssuesDropped, wire.MaxIssues)
	}
	p = parserOf(wire.KindBackup, v018)
	for i := range 1000 {
		errs(p, line(i, 4000))
	}
	o = p.Outcome(Ending{ExitCode: 3})
	b, err := json.Marshal(o)
	if err != nil || len(b) > wire.MaxBody/2 || int64(len(o.Issues))+o.IssuesDropped != 1000 {
		t.Errorf("long names: got %d bytes, %d issues, %d dropped, %v", len(b), len(o.Issues), o.IssuesDropped, err)
	}
}

// retained is how many bytes of restic's output a parser holds.
func retained(p *Parser) int {
	n := p.issues.bytes + 16*len(p.issues.over) + len(p.retry)
	for _, l := range slices.Concat(p.words, p.causes, p.progress.CurrentFiles) {
		n += len(l)
	}
	if p.exit != nil {
		n += len(p.exit.Message)
	}
	return n
}

func TestTheParserHoldsABoundedAmountWhateverItIsFed(t *testing.T) {
	long := strings.Repeat("w", 10_000)
	for _, k := range []wire.Kind{wire.KindBackup, wire.KindRestore, wire.KindForget, wire.KindCheck, ""} {
		p := parserOf(k, v018)
		for i := range 80 {
			errs(p, fmt.Sprintf("%d %s", i, long), fmt.Sprintf("Save(<data/%d>) failed: %s", i, long), fmt.Sprintf("ignoring error for /%d: %s", i, long),
				fmt.Sprintf("/%d%s does not exist, skipping", i, long[:3000]), fmt.Sprintf("unable to remove snapshot/%064d from the repository", i),
				fmt.Sprintf(`{"message_type":"error","error":{"message":"%s"},"item":"/%d%s"}`, long, i, long))
		}
		errs(p, `{"message_type":"exit_error","code":1,"message":"`+long+`"}`)
		out(p, `{"message_type":"status","current_files":["`+strings.Join(slices.Repeat([]string{long}, 20), `","`)+`"]}`)
		if got := retained(p); got > 2<<20 {
			t.Errorf("%q: got %d bytes, want at most 2 MiB", k, got)
		}
		o := p.Outcome(Ending{ExitCode: 1})
		if b, _ := json.Marshal(o); len(b) > wire.MaxBody/2 {
			t.Errorf("%q: the outcome has %d bytes", k, len(b))
		}
	}
}

func TestTheLastWordsAreKeptBesideTheFirst(t *testing.T) {
	p := parserOf(wire.KindCheck, v014)
	errs(p, "first")
	for i := range 1000 {
		errs(p, fmt.Sprintf("error for tree %d:", i))
	}
	errs(p, "Fatal: the last words")
	said := p.said()
	if len(said) != maxWordsHead+maxWordsTail || said[0] != "first" || said[len(said)-1] != "Fatal: the last words" || said[len(said)-2] != "error for tree 999:" {
		t.Errorf("got %d words, from %q to %q", len(said), said[0], said[len(said)-2:])
	}
	if got := p.Outcome(Ending{ExitCode: 1}).Error.Message; !strings.HasPrefix(got, "the last words;") {
		t.Errorf("message: got %q", got)
	}
}

func TestForgetsExitCodeIsNotTrusted(t *testing.T) {
	one, two := strings.Repeat("1", 64), strings.Repeat("2", 64)
	p := NewParser(Invocation{Kind: wire.KindForget, Version: v018, Forgets: 3})
	errs(p, "Remove(<snapshot/1111111111>) failed: unexpected HTTP response (403): 403 Forbidden", "unable to remove snapshot/"+one+" from the repository",
		`Ignoring "`+two+`": no matching ID found for prefix "`+two+`"`)
	o := p.Outcome(Ending{})
	if o.State != wire.StateFailed || o.Error.Code != wire.CodePermissionDenied || o.Summary.SnapshotsRemoved != 1 {
		t.Errorf("got %s %+v %+v", o.State, o.Error, o.Summary)
	}
	if want := "could not remove: 1 of 3: unexpected HTTP response (403): 403 Forbidden"; !strings.Contains(o.Error.Message, want) {
		t.Errorf("message: got %q, want it to hold %q", o.Error.Message, want)
	}
}

func TestMessagesAreOnePrintableLine(t *testing.T) {
	for in, want := range map[string]string{
		"\x1b[2Ksignal interrupt":   "signal interrupt",
		"a\nb\tc\r":                 "a b c",
		"\x1b[31mred\x1b[0m \x07":   "red",
		"nul\x00 \xff":              "nul \uFFFD",
		"right\u202eto left":        "rightto left",
		strings.Repeat("ü", 100):    strings.Repeat("ü", 23) + "…",
		strings.Repeat("x", 10_000): strings.Repeat("x", 47) + "…",
	} {
		if got := clean(in, 50); got != want || len(got) > 50 {
			t.Errorf("%.30q: got %q, want %q", in, got, want)
		}
	}
}

func TestTheHolderOfALockIsRead(t *testing.T) {
	text := "unable to create lock in backend: repository is already locked exclusively by PID 16101 on web-1.example by root (UID 0, GID 0)\nlock was created at 2026-11-23 08:18:10 (1h2m2.184738206s ago)\nstorage ID 860667c0"
	want := Holder{PID: 16101, Hostname: "web-1.example", User: "root", Exclusive: true, CreatedAt: "2026-11-23 08:18:10", Age: "1h2m2.184738206s"}
	if got, ok := parseHolder(text); !ok || got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got, want := want.String(), "PID 16101 on web-1.example by root, locked 1h2m2s ago, exclusively"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if _, ok := parseHolder("repository is already locked by PID x on y"); ok {
		t.Error("nonsense gave a holder")
	}
}

// FuzzResticLine feeds anything to every kind and version: no crash, a bounded and sound result, and the
// same for any split of the same bytes.
func FuzzResticLine(f *testing.F) {
	for _, version := range []string{"v0.14.0", "v0.18.0", "v0.19.1"} {
		all := loadRecordings(f, version)
		for _, name := range []string{"backup-first", "backup-unreadable-file", "locked-shared-forget", "restore-damaged", "check-missing-pack", "unlock-stale-exclusive-text",
			"rest-append-only-forget", "init-json", "signal-sigint-backup", "restore-vv-existing"} {
			r := all[name]
			f.Add(r.stdout, r.stderr, uint8(slices.IndexFunc(wire.Kinds, func(k wire.KindInfo) bool { return k.Kind == r.kind })), uint8(r.version.Minor), r.exit, 7)
		}
	}
	f.Add([]byte(`{"message_type":"summary","total_duration":1e999,"data_added":-1,"snapshot_id":"x"}`), []byte(`{"message_type":"error","error":[1],"item":5}`), uint8(0), uint8(18), 0, 1)
	f.Add([]byte(`{"message_type":"status","percent_done":1e308,"current_files":null}`), []byte("\x1b[2K\x00\n\xff"), uint8(1), uint8(16), -9, 3)
	f.Fuzz(func(t *testing.T, stdout, stderr []byte, kind, minor uint8, exit, chunk int) {
		i := Invocation{Kind: wire.Kinds[int(kind)%len(wire.Kinds)].Kind, Version: Version{Minor: 14 + int(minor)%6}}
		run := func(size int) (*Parser, map[Class]int) {
			p, classes := NewParser(i), map[Class]int{}
			for _, s := range []struct {
				name wire.Stream
				b    []byte
			}{{wire.StreamOut, stdout}, {wire.StreamErr, stderr}} {
				lines := NewLineReader(&chunks{data: string(s.b), n: size}, MaxLine)
				last := 0.0
				for {
					line, truncated, err := lines.Next()
					if err != nil {
						break
					}
					classes[p.Feed(s.name, line, truncated)]++
					progress, _ := p.Progress()
					if d := progress.PercentDone; d < last || d > 1 || d != d {
						t.Fatalf("percent: %g after %g", d, last)
					}
					last = progress.PercentDone
				}
			}
			return p, classes
		}
		p, classes := run(1 + chunk&0xfff)
		whole, wholeClasses := run(1 << 20)
		e := Ending{ExitCode: exit & 0xff}
		if exit < 0 {
			e = Ending{ExitCode: -1, Signal: syscall.SIGKILL}
		}
		o := p.Outcome(e)
		if again := whole.Outcome(e); !reflect.DeepEqual(o, again) || !maps.Equal(classes, wholeClasses) {
			t.Fatalf("a split changed the outcome: %+v, %+v", o, again)
		}
		b, err := json.Marshal(o)
		if err != nil || len(b) > wire.MaxBody/2 || retained(p) > 2<<20 {
			t.Fatalf("outcome: %d bytes, %v", len(b), err)
		}
		if !o.State.Terminal() || o.State.Success() != (o.Error == nil) {
			t.Fatalf("state: %s with %+v", o.State, o.Error)
		}
		if o.Error != nil && (o.Error.Message == "" || !utf8.ValidString(o.Error.Message) || strings.ContainsFunc(o.Error.Message, unicode.IsControl)) {
			t.Fatalf("message: %q", o.Error.Message)
		}
		for _, issue := range o.Issues {
			if !utf8.ValidString(issue.Path) || strings.ContainsRune(issue.Path, 0) {
				t.Fatalf("issue: %q", issue.Path)
			}
		}
		if s := o.Summary; s != nil && (s.DataAdded < 0 || s.ResticSeconds < 0 || s.SnapshotID != "" && !wire.IsSHA256(s.SnapshotID)) {
			t.Fatalf("summary: %+v", s)
		}
	})
}

// TestPruneTellsWhatItLeaves: as text up to 0.19, as JSON after it.
func TestPruneTellsWhatItLeaves(t *testing.T) {
	for line, want := range map[string]int64{
		"remaining:            46 blobs / 2.726 MiB":                               2_858_418,
		"remaining:            1 blobs / 17 B":                                     17,
		`{"message_type":"summary","bytes":{"used":1,"remaining":2857795}}`:        2_857_795,
		"remaining:            46 blobs / nothing":                                 0,
		"to delete:            12 blobs / 5.262 KiB":                               0,
		`{"message_type":"summary","bytes":{"used":1,"remaining":-2857795}}`:       0,
		"remaining:            46 blobs / 99999999999999999999999999999999999 TiB": 0,
	} {
		p := NewParser(Invocation{Kind: wire.KindPrune})
		p.Feed(wire.StreamOut, []byte(line), false)
		o := p.Outcome(Ending{})
		got := int64(0)
		if o.Summary != nil {
			got = o.Summary.StoredBytes
		}
		if got != want || o.State != wire.StateSucceeded {
			t.Errorf("%s: got %d bytes and %s, want %d", line, got, o.State, want)
		}
	}
}
