package restic

import (
	"archive/zip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unicode"

	"restic-manager/shared/wire"
)

// recordedVersions is the order of values in expectations.txt and of columns in INDEX.tsv.
var recordedVersions = []string{"v0.14.0", "v0.16.5", "v0.17.3", "v0.18.0", "v0.19.1", "v0.19.1-dev"}

// recording is one run of a real restic, byte for byte.
type recording struct {
	kind           wire.Kind
	version        Version
	exit           int // negative: the signal that ended it
	chosen         int // paths named by a restore
	stdout, stderr []byte
}

func (r recording) ending() Ending {
	if r.exit < 0 {
		return Ending{ExitCode: -1, Signal: syscall.Signal(-r.exit)}
	}
	return Ending{ExitCode: r.exit}
}

// loadRecordings reads all cases of one version.
func loadRecordings(t testing.TB, version string) map[string]recording {
	t.Helper()
	z, err := zip.OpenReader(filepath.Join("testdata", "recordings", version+".zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	files := map[string][]byte{}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		r.Close()
		if err != nil {
			t.Fatal(err)
		}
		files[f.Name] = b
	}
	var v Version
	if err := v.UnmarshalText([]byte(strings.TrimPrefix(version, "v"))); err != nil {
		t.Fatal(err)
	}
	all := map[string]recording{}
	for name, b := range files {
		base, ok := strings.CutSuffix(name, ".meta.json")
		if !ok {
			continue
		}
		var meta struct {
			Args []string `json:"args"`
			Exit int      `json:"exit_code"`
		}
		if err := json.Unmarshal(b, &meta); err != nil {
			t.Fatal(err)
		}
		r := recording{version: v, exit: meta.Exit, stdout: files[base+".stdout"], stderr: files[base+".stderr"]}
		if _, ok := wire.Kind(meta.Args[1]).Info(); ok {
			r.kind = wire.Kind(meta.Args[1])
		}
		for _, arg := range meta.Args {
			if arg == "--include" || strings.HasPrefix(arg, "--include=") {
				r.chosen++
			}
		}
		all[base] = r
	}
	return all
}

type expectation struct {
	outcome []string
	values  map[string][]string
	paths   [][]string // by version
}

func six(t testing.TB, value string) []string {
	t.Helper()
	list := strings.Split(value, ",")
	if len(list) == 1 {
		return slices.Repeat(list, len(recordedVersions))
	}
	if len(list) != len(recordedVersions) {
		t.Fatalf("%q: got %d values, want 1 or %d", value, len(list), len(recordedVersions))
	}
	return list
}

func loadExpectations(t testing.TB) map[string]expectation {
	t.Helper()
	b, err := os.ReadFile("testdata/expectations.txt")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]expectation{}
	var last expectation
	for line := range strings.Lines(string(b)) {
		line = strings.TrimRight(line, "\n")
		if line == "" || line[0] == '#' {
			continue
		}
		if rest, ok := strings.CutPrefix(line, "  issue "); ok {
			versions, quoted, _ := strings.Cut(rest, " ")
			path, err := strconv.Unquote(quoted)
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			for v := range strings.SplitSeq(versions, ",") {
				n, err := strconv.Atoi(v)
				if err != nil {
					t.Fatalf("%s: %v", line, err)
				}
				folder := strings.ReplaceAll(strings.TrimPrefix(recordedVersions[n], "v"), ".", "_")
				if n == 5 {
					folder = "dev"
				}
				last.paths[n] = append(last.paths[n], strings.ReplaceAll(path, "@", folder))
			}
			continue
		}
		fields := strings.Fields(line)
		last = expectation{outcome: six(t, fields[1]), values: map[string][]string{}, paths: make([][]string, len(recordedVersions))}
		for _, f := range fields[2:] {
			k, v, ok := strings.Cut(f, "=")
			if !ok {
				t.Fatalf("%s: %q is not key=value", fields[0], f)
			}
			last.values[k] = six(t, v)
		}
		if _, ok := all[fields[0]]; ok {
			t.Fatalf("%s is there twice", fields[0])
		}
		all[fields[0]] = last
	}
	return all
}

// replay feeds a recording and counts the classes of its lines.
func replay(r recording) (p *Parser, classes map[Class]int) {
	p = NewParser(Invocation{Kind: r.kind, Version: r.version, Chosen: r.chosen})
	classes = map[Class]int{}
	for _, s := range []struct {
		name wire.Stream
		b    []byte
	}{{wire.StreamOut, r.stdout}, {wire.StreamErr, r.stderr}} {
		lines := NewLineReader(strings.NewReader(string(s.b)), MaxLine)
		for {
			line, truncated, err := lines.Next()
			if err != nil {
				break
			}
			classes[p.Feed(s.name, line, truncated)]++
		}
	}
	return p, classes
}

// describe puts an outcome into the words of expectations.txt.
func describe(r recording, o Outcome, classes map[Class]int) map[string]string {
	d := map[string]string{"status": strconv.Itoa(classes[ClassProgress]), "log": strconv.Itoa(classes[ClassLog]), "issues": strconv.Itoa(len(o.Issues))}
	s := o.Summary
	if s == nil {
		return d
	}
	switch r.kind {
	case wire.KindBackup:
		d["files"] = fmt.Sprintf("%d/%d/%d", s.FilesNew, s.FilesChanged, s.FilesUnmodified)
		d["dirs"] = fmt.Sprintf("%d/%d/%d", s.DirsNew, s.DirsChanged, s.DirsUnmodified)
		d["blobs"] = fmt.Sprintf("%d/%d", s.DataBlobs, s.TreeBlobs)
		d["processed"] = fmt.Sprintf("%d/%d", s.TotalFilesProcessed, s.TotalBytesProcessed)
		d["added"] = fmt.Sprintf("%d/%d", s.DataAdded, s.DataAddedPacked)
		switch {
		case s.DryRun:
			d["snapshot"] = "dry" + s.SnapshotID
		case s.SnapshotID != "":
			d["snapshot"] = s.SnapshotID[:8]
		case o.ShortSnapshotID != "":
			d["snapshot"] = o.ShortSnapshotID + "~"
		default:
			d["snapshot"] = "none"
		}
	case wire.KindRestore:
		d["restored"] = fmt.Sprintf("%d/%d", s.FilesRestored, s.BytesRestored)
		d["skipped"] = fmt.Sprintf("%d/%d", s.FilesSkipped, s.BytesSkipped)
		d["processed"] = fmt.Sprintf("%d/%d", s.TotalFilesProcessed, s.TotalBytesProcessed)
	case wire.KindCheck:
		d["errors"] = strconv.FormatInt(s.CheckErrors, 10)
	case wire.KindInit:
		d["repository"] = s.RepositoryID[:8]
	case wire.KindUnlock:
		d["unlocked"] = strconv.FormatInt(s.LocksRemoved, 10)
	}
	return d
}

func outcomeWord(o Outcome) string {
	switch {
	case o.State == wire.StateSucceeded && o.Error == nil:
		return "succeeded"
	case o.State == wire.StateSucceededWithIssues && o.Error == nil:
		return "issues"
	case o.State == wire.StateFailed && o.Error != nil:
		return o.Error.Code
	}
	return fmt.Sprintf("%s %+v", o.State, o.Error)
}

// index reads the exit codes of INDEX.tsv: case, then version by version; nil where there is no recording.
func index(t testing.TB) map[string][]string {
	t.Helper()
	b, err := os.ReadFile("testdata/recordings/INDEX.tsv")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string][]string{}
	for i, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
		cells := strings.Split(line, "\t")
		if i == 0 {
			if !slices.Equal(cells[1:], recordedVersions) {
				t.Fatalf("columns: got %v", cells)
			}
			continue
		}
		rows[cells[0]] = append(cells[1:], slices.Repeat([]string{""}, len(recordedVersions)+1-len(cells))...)
	}
	return rows
}

func TestEveryRecordedCaseHasAnExpectation(t *testing.T) {
	rows, want := index(t), loadExpectations(t)
	if got := len(rows); got != 216 {
		t.Errorf("cases: got %d, want 216", got)
	}
	for name := range rows {
		if _, ok := want[name]; !ok {
			t.Errorf("%s has no expectation", name)
		}
	}
	for name := range want {
		if _, ok := rows[name]; !ok {
			t.Errorf("%s is expected but not recorded", name)
		}
	}
	for n, version := range recordedVersions {
		recorded := loadRecordings(t, version)
		for name, row := range rows {
			r, ok := recorded[name]
			if ok != (row[n] != "") {
				t.Errorf("%s %s: recorded: %v, in the index: %q", name, version, ok, row[n])
			} else if ok && strconv.Itoa(r.exit) != row[n] {
				t.Errorf("%s %s: exit code %d, in the index %s", name, version, r.exit, row[n])
			}
		}
	}
}

func TestRecordedCasesGiveWhatIsExpected(t *testing.T) {
	want := loadExpectations(t)
	for n, version := range recordedVersions {
		recorded := loadRecordings(t, version)
		for name, r := range recorded {
			t.Run(name+"/"+version, func(t *testing.T) {
				e := want[name]
				p, classes := replay(r)
				o := p.Outcome(r.ending())
				if got := outcomeWord(o); got != e.outcome[n] {
					t.Errorf("outcome: got %s (%+v), want %s", got, o.Error, e.outcome[n])
				}
				got := describe(r, o, classes)
				for _, k := range []string{"status", "issues"} {
					if e.values[k] == nil {
						e.values[k] = six(t, "0")
					}
				}
				for k, v := range e.values {
					if v[n] == "-" {
						if got[k] != "" {
							t.Errorf("%s: got %s, want none", k, got[k])
						}
					} else if got[k] != v[n] {
						t.Errorf("%s: got %q, want %q", k, got[k], v[n])
					}
				}
				for k, v := range got {
					if e.values[k] == nil {
						t.Errorf("%s: got %s, want none", k, v)
					}
				}
				checkIssues(t, o, e.paths[n])
				checkMessage(t, o)
			})
		}
	}
}

func checkIssues(t *testing.T, o Outcome, want []string) {
	t.Helper()
	var got []string
	for _, i := range o.Issues {
		got = append(got, i.Path)
		if i.Message == "" {
			t.Errorf("issue %q has no message", i.Path)
		}
	}
	slices.Sort(got)
	want = slices.Sorted(slices.Values(want))
	if !slices.Equal(got, want) {
		t.Errorf("issues: got %q, want %q", got, want)
	}
}

// checkMessage checks what holds for every failure's text.
func checkMessage(t *testing.T, o Outcome) {
	t.Helper()
	if o.Error == nil {
		return
	}
	m := o.Error.Message
	if m == "" || len(m) > maxMessage || strings.ContainsFunc(m, unicode.IsControl) || strings.Contains(m, "correct-horse") {
		t.Errorf("message: %q is empty, too long, has control characters or a secret", m)
	}
	if strings.Contains(m, "Fatal:") && !strings.Contains(m, "command failed") || strings.Contains(m, "runtime.") {
		t.Errorf("message: %q has restic's prefix or a stack trace", m)
	}
	if o.Error.Code == wire.CodeRepositoryLocked {
		if o.Holder == nil || o.Holder.PID == 0 || o.Holder.Hostname != "vm" || o.Holder.User != "root" || o.Holder.Age == "" || o.Holder.CreatedAt == "" {
			t.Errorf("holder: got %+v", o.Holder)
		} else if want := fmt.Sprintf("PID %d on vm by root, locked ", o.Holder.PID); !strings.Contains(m, want) {
			t.Errorf("message: got %q, want it to name %q", m, want)
		}
	}
}

// A signal of ours makes canceled or time_limit of every interrupted run, whatever its exit code, in every
// version; and of none that had finished.
func TestCanceledComesFromOurOwnRecord(t *testing.T) {
	want := loadExpectations(t)
	for n, version := range recordedVersions {
		for name, r := range loadRecordings(t, version) {
			p, _ := replay(r)
			e := r.ending()
			e.Canceled = true
			canceled := p.Outcome(e)
			e.Canceled, e.TimeLimit = false, true
			late := p.Outcome(e)
			switch word := want[name].outcome[n]; {
			case r.kind != wire.KindForget && word == "succeeded" && !p.summarises(), word == "succeeded" && p.summary != nil,
				word == "issues" && p.summary != nil, word == "succeeded" && r.kind == wire.KindForget:
				if !canceled.State.Success() || !late.State.Success() {
					t.Errorf("%s %s: had finished, got %s and %s", name, version, canceled.State, late.State)
				}
			case r.exit == 0 && (r.kind == wire.KindForget || word == wire.CodeSourceMissing): // it ended, and lied
				if outcomeWord(canceled) != word {
					t.Errorf("%s %s: got %s, want %s", name, version, outcomeWord(canceled), word)
				}
			default:
				if canceled.State != wire.StateCanceled || canceled.Error.Code != wire.CodeCanceled {
					t.Errorf("%s %s: got %s %+v, want canceled", name, version, canceled.State, canceled.Error)
				}
				if late.State != wire.StateFailed || late.Error.Code != wire.CodeTimeLimit {
					t.Errorf("%s %s: got %s %+v, want time_limit", name, version, late.State, late.Error)
				}
			}
		}
	}
}
