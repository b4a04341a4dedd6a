package restic

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"restic-manager/shared/wire"
)

// tools is the folder of the real programs that the tests run.
func tools(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("RESTIC_MANAGER_TEST_TOOLS")
	if dir == "" {
		t.Fatal("RESTIC_MANAGER_TEST_TOOLS is not set: run make test")
	}
	return dir
}

// realVersions are the versions that every command line must work with.
var realVersions = []string{"0.14.0", "0.18.0"}

// realAccess is a real restic with a repository location of its own, not made yet.
func realAccess(t testing.TB, version string) Access {
	t.Helper()
	b, err := NewFinder(filepath.Join(tools(t), "restic-"+version, "restic")).Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := b.Version.String(); got != version {
		t.Fatalf("version: got %s, want %s", got, version)
	}
	dir := t.TempDir()
	for _, d := range []string{"state", "cache", "tmp", "job"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return Access{
		Binary:     b,
		Host:       Host{Hostname: "web-1", StateDir: filepath.Join(dir, "state"), CacheDir: filepath.Join(dir, "cache"), TempDir: filepath.Join(dir, "tmp")},
		Repository: Repository{URL: filepath.Join(dir, "repo"), Password: "correct horse $(touch x)"},
	}
}

func (a Access) jobDir() string { return filepath.Join(filepath.Dir(a.Host.StateDir), "job") }

// perform runs an invocation as a supervisor does and returns its outcome and its log lines.
func perform(t testing.TB, i Invocation) (Outcome, []string) {
	t.Helper()
	if err := i.Prepare(); err != nil {
		t.Fatalf("prepare: %v", err)
	}
	cmd, release, err := i.Cmd()
	if err != nil {
		t.Fatal(err)
	}
	out, err := newPipe()
	if err != nil {
		t.Fatal(err)
	}
	words, err := newPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = out.w, words.w
	err = cmd.Start()
	release()
	out.w.Close()
	words.w.Close()
	if err != nil {
		t.Fatal(err)
	}
	type line struct {
		s    wire.Stream
		text string
		cut  bool
	}
	lines := make(chan line)
	read := func(s wire.Stream, p pipe) {
		r := NewLineReader(p.r, MaxLine)
		for {
			b, truncated, err := r.Next()
			if err != nil {
				lines <- line{s: s, text: "", cut: true}
				return
			}
			lines <- line{s, string(b), truncated}
		}
	}
	go read(wire.StreamOut, out)
	go read(wire.StreamErr, words)
	p := NewParser(i)
	var log []string
	for open := 2; open > 0; {
		l := <-lines
		if l.text == "" && l.cut {
			open--
			continue
		}
		if p.Feed(l.s, []byte(l.text), l.cut) == ClassLog {
			log = append(log, string(l.s)+": "+l.text)
		}
	}
	cmd.Wait()
	e := endingOf(cmd)
	e.NothingRestored = i.NothingRestored()
	return p.Outcome(e), log
}

func mustBuild(t testing.TB, a Access, s wire.Spec, change ...func(*Order)) Invocation {
	t.Helper()
	o := Order{Spec: s, JobDir: a.jobDir(), TimeLimit: time.Minute}
	for _, c := range change {
		c(&o)
	}
	i, err := Build(a, o)
	if err != nil {
		t.Fatalf("build %s: %v", s.Kind(), err)
	}
	return i
}

func succeeds(t testing.TB, a Access, s wire.Spec, change ...func(*Order)) (Outcome, []string) {
	t.Helper()
	o, log := perform(t, mustBuild(t, a, s, change...))
	if o.State != wire.StateSucceeded {
		t.Fatalf("%s: got %s %+v, want succeeded; log:\n%s", s.Kind(), o.State, o.Error, strings.Join(log, "\n"))
	}
	return o, log
}

func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func list(t testing.TB, a Access) []wire.Snapshot {
	t.Helper()
	var all []wire.Snapshot
	n, err := a.ListSnapshots(t.Context(), func(s wire.Snapshot) error { all = append(all, s); return nil })
	if err != nil || n != len(all) {
		t.Fatalf("list: %d of %d, %v", n, len(all), err)
	}
	return all
}

// Every command line is accepted by the oldest and the newest supported restic, and means what it says.
func TestRealResticTakesEveryCommandLine(t *testing.T) {
	for _, version := range realVersions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			a := realAccess(t, version)
			src := filepath.Join(t.TempDir(), "src")
			odd := filepath.Join(src, " --password-command=touch x\n$HOME\r")
			write(t, filepath.Join(src, "a/keep.txt"), "keep")
			write(t, filepath.Join(src, "a/$RECYCLE.BIN/x"), "skip")
			write(t, filepath.Join(src, "a/#hash/x"), "skip")
			write(t, filepath.Join(src, "a/big"), strings.Repeat("b", 5000))
			write(t, filepath.Join(src, "a/cache/CACHEDIR.TAG"), "Signature: 8a477f597d28d172789f06886806bc55")
			write(t, filepath.Join(src, "a/cache/x"), "skip")
			write(t, filepath.Join(odd, "inside"), "odd")

			if _, err := a.CatConfig(t.Context()); codeOf(err) != wire.CodeRepositoryMissing {
				t.Fatalf("cat config before init: got %v, want %s", err, wire.CodeRepositoryMissing)
			}
			o, _ := succeeds(t, a, &wire.InitSpec{})
			id, err := a.CatConfig(t.Context())
			if err != nil || !wire.IsSHA256(id) {
				t.Fatalf("cat config: %q, %v", id, err)
			}
			if version != "0.14.0" && (o.Summary == nil || o.Summary.RepositoryID != id) {
				t.Errorf("init: got %+v, want repository %s", o.Summary, id)
			}
			again, _ := perform(t, mustBuild(t, a, &wire.InitSpec{}))
			if again.State != wire.StateFailed || again.Error.Code != wire.CodeRepositoryExists {
				t.Errorf("init again: got %s %+v", again.State, again.Error)
			}
			if got := list(t, a); len(got) != 0 {
				t.Errorf("empty repository: got %d snapshots", len(got))
			}

			spec := &wire.BackupSpec{
				Paths: []string{filepath.Join(src, "a"), odd}, Tags: []string{"job:1", "x.y"},
				Excludes: []string{"$RECYCLE.BIN", "[#]hash", "--exclude=/"}, ExcludeCaches: true, OneFileSystem: true,
				UploadLimitKiB: 1 << 20, DownloadLimitKiB: 1 << 20, ExcludeLargerThan: 4096,
			}
			dry := *spec
			dry.DryRun = true
			if o, _ := succeeds(t, a, &dry); o.Summary == nil || !o.Summary.DryRun || o.Summary.SnapshotID != "" {
				t.Errorf("dry run: got %+v, want a summary without a snapshot", o.Summary)
			}
			o, _ = succeeds(t, a, spec)
			snaps := list(t, a)
			if len(snaps) != 1 {
				t.Fatalf("snapshots: got %d, want 1", len(snaps))
			}
			s := snaps[0]
			if o.Summary.SnapshotID+o.ShortSnapshotID == "" || !strings.HasPrefix(s.ID, o.Summary.SnapshotID+o.ShortSnapshotID) {
				t.Errorf("snapshot id: got %q %q, want %s", o.Summary.SnapshotID, o.ShortSnapshotID, s.ID)
			}
			if s.Hostname != "web-1" || !slices.Equal(s.Tags, spec.Tags) || !slices.Contains(s.Paths, odd) {
				t.Errorf("snapshot: got %+v", s)
			}
			if got, want := o.Summary.FilesNew, int64(3); got != want { // keep.txt, CACHEDIR.TAG, inside
				t.Errorf("files: got %d, want %d", got, want)
			}

			succeeds(t, a, &wire.SnapshotsSpec{})
			succeeds(t, a, &wire.CheckSpec{})
			succeeds(t, a, &wire.CheckSpec{ReadData: true})
			succeeds(t, a, &wire.CheckSpec{ReadDataSubset: "1/2"})
			succeeds(t, a, &wire.CheckSpec{ReadDataSubset: "5%"})

			target := filepath.Join(t.TempDir(), "restored")
			into := func(o *Order) { o.RestoreTarget = target }
			o, _ = succeeds(t, a, &wire.RestoreSpec{SnapshotID: s.ID, Paths: []string{odd}, Verify: true}, into)
			if got, err := os.ReadFile(filepath.Join(target, odd, "inside")); string(got) != "odd" || o.Summary.RestoredTo != target {
				t.Errorf("restore of one path: got %q, %v, summary %+v", got, err, o.Summary)
			}
			if _, err := os.Stat(filepath.Join(target, src, "a")); err == nil {
				t.Error("restore of one path restored another one")
			}
			target = filepath.Join(t.TempDir(), "nothing")
			if err := os.Mkdir(target, 0o700); err != nil {
				t.Fatal(err)
			}
			o, _ = perform(t, mustBuild(t, a, &wire.RestoreSpec{SnapshotID: s.ID, Paths: []string{"/no/such/file"}}, into))
			if o.State != wire.StateFailed || o.Error.Code != wire.CodeSourceMissing {
				t.Errorf("restore of nothing: got %s %+v, want %s", o.State, o.Error, wire.CodeSourceMissing)
			}
			target = filepath.Join(t.TempDir(), "all")
			succeeds(t, a, &wire.RestoreSpec{SnapshotID: s.ID, Paths: []string{"/"}}, into)
			if got, err := os.ReadFile(filepath.Join(target, src, "a/keep.txt")); string(got) != "keep" {
				t.Errorf("restore of all: got %q, %v", got, err)
			}

			o, _ = succeeds(t, a, &wire.ForgetSpec{SnapshotIDs: []string{s.ID}, DryRun: true})
			if len(list(t, a)) != 1 || !o.Summary.DryRun {
				t.Error("a dry run of forget removed a snapshot")
			}
			o, _ = succeeds(t, a, &wire.ForgetSpec{SnapshotIDs: []string{s.ID}})
			if got := len(list(t, a)); got != 0 || o.Summary.SnapshotsRemoved != 1 {
				t.Errorf("forget: %d snapshots left, summary %+v", got, o.Summary)
			}
			zero := 0
			succeeds(t, a, &wire.PruneSpec{DryRun: true})
			succeeds(t, a, &wire.PruneSpec{MaxUnusedPercent: &zero})
			succeeds(t, a, &wire.UnlockSpec{})
			if locks, err := a.ListLocks(t.Context()); err != nil || len(locks) != 0 {
				t.Errorf("locks: got %v, %v, want none", locks, err)
			}
			if n, err := a.Unlock(t.Context()); err != nil || n != 0 {
				t.Errorf("unlock: got %d, %v, want 0", n, err)
			}

			wrong := a
			wrong.Repository.Password = "wrong"
			if _, err := wrong.CatConfig(t.Context()); codeOf(err) != wire.CodeWrongPassword {
				t.Errorf("wrong password: got %v", err)
			}
			if _, err := wrong.ListSnapshots(t.Context(), func(wire.Snapshot) error { return nil }); codeOf(err) != wire.CodeWrongPassword {
				t.Errorf("wrong password: got %v", err)
			}
		})
	}
}

func codeOf(err error) string {
	if j := AsJobError(err); j != nil {
		return j.Code
	}
	return ""
}

var _ = context.Background
