package supervise

import (
	"context"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"restic-manager/agent/restic"
	"restic-manager/shared/wire"
)

const realPassword = "a-password-that-must-not-leak-4711"

// access is a real restic with an empty repository.
func access(t *testing.T, version string) restic.Access {
	t.Helper()
	tools := os.Getenv("RESTIC_MANAGER_TEST_TOOLS")
	if tools == "" {
		t.Fatal("RESTIC_MANAGER_TEST_TOOLS is not set: run make test")
	}
	binary, err := restic.NewFinder(filepath.Join(tools, "restic-"+version, "restic")).Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	a := restic.Access{
		Binary:     binary,
		Host:       restic.Host{Hostname: "test", StateDir: dir, CacheDir: filepath.Join(dir, "cache"), TempDir: dir},
		Repository: restic.Repository{URL: filepath.Join(dir, "repo"), Password: realPassword},
	}
	cmd := exec.Command(binary.Path, "init", "--no-cache")
	cmd.Env = []string{"RESTIC_REPOSITORY=" + a.Repository.URL, "RESTIC_PASSWORD=" + realPassword, "HOME=" + dir}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("init: %v: %s", err, out)
	}
	return a
}

// backupRig backs up a folder of files with a real restic.
func backupRig(t *testing.T, a restic.Access, source string) *rig {
	t.Helper()
	r := newRig(t)
	run, err := restic.Build(a, restic.Order{Spec: &wire.BackupSpec{Paths: []string{source}}, JobDir: r.folder.Dir()})
	if err != nil {
		t.Fatal(err)
	}
	r.order.Run, r.order.Unlock = run, &a
	return r
}

func tree(t *testing.T, files, size int) string {
	t.Helper()
	dir := t.TempDir()
	for i := range files {
		b := make([]byte, size)
		copy(b, strconv.Itoa(i))
		if err := os.WriteFile(filepath.Join(dir, "file "+strconv.Itoa(i)), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestRealBackup(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"0.14.0", "0.18.0"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			a := access(t, version)
			r := backupRig(t, a, tree(t, 25, 1000))
			got := r.run()
			wantState(t, got, wire.StateSucceeded, "")
			s := got.Finish.Summary
			// 0.14 tells a short id only, which the listing resolves.
			if s == nil || s.TotalFilesProcessed != 25 || s.TotalBytesProcessed != 25_000 || wire.IsSHA256(s.SnapshotID) != (version == "0.18.0") {
				t.Errorf("summary: got %+v, want 25 files of 25000 bytes and a snapshot", s)
			}
			r.wants(wire.StreamOut, `"message_type":"summary"`)
			id := ""
			count, err := a.ListSnapshots(t.Context(), func(s wire.Snapshot) error { id = s.ID; return nil })
			if err != nil || count != 1 {
				t.Errorf("snapshots: got %d %v, want 1", count, err)
			}
			if told := s.SnapshotID + got.ShortSnapshotID; len(told) < 8 || !strings.HasPrefix(id, told) {
				t.Errorf("snapshot: got %q and %q, want them to tell %s", s.SnapshotID, got.ShortSnapshotID, id)
			}
		})
	}
}

// TestPasswordIsNowhereToBeSeen holds a real restic in the middle and looks into every process of the
// job, and into every file of the state folder.
func TestPasswordIsNowhereToBeSeen(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"0.14.0", "0.18.0"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			a := access(t, version)
			r := backupRig(t, a, tree(t, 3, 10))
			// A pipe that nobody writes to keeps restic reading for ever.
			r.order.Run.Args = []string{"--json", "backup", "--stdin", "--stdin-filename=x"}
			stdin := filepath.Join(t.TempDir(), "slow-restic")
			script := "#!/bin/sh\nsleep 600 | " + a.Binary.Path + " \"$@\"\n"
			if err := os.WriteFile(stdin, []byte(script), 0o700); err != nil {
				t.Fatal(err)
			}
			r.order.Run.Path = stdin
			r.order.Grace = 3 * time.Second
			p := r.start()
			running := func() bool {
				g, err := r.folder.Group()
				return err == nil && g != nil && len(members(g.PGID)) >= 2 && locks(t, a) == 1
			}
			until(t, "restic holds its lock", running)
			g, _ := r.folder.Group()
			pids := []int{p.PID}
			for _, m := range members(g.PGID) {
				pids = append(pids, m.pid)
			}
			for _, pid := range pids {
				for _, name := range []string{"cmdline", "environ"} {
					b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/" + name)
					if err != nil {
						t.Error(err)
					}
					if strings.Contains(string(b), realPassword) {
						t.Errorf("/proc/%d/%s holds the password", pid, name)
					}
				}
			}
			if err := filepath.WalkDir(r.order.StateDir, func(path string, d os.DirEntry, err error) error {
				if err != nil || d.IsDir() {
					return err
				}
				b, err := os.ReadFile(path)
				if strings.Contains(string(b), realPassword) {
					t.Errorf("%s holds the password", path)
				}
				return err
			}); err != nil {
				t.Error(err)
			}
			if err := r.folder.Cancel(); err != nil {
				t.Fatal(err)
			}
			got := r.end(p)
			wantState(t, got, wire.StateCanceled, wire.CodeCanceled)
		})
	}
}

func locks(t *testing.T, a restic.Access) int {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(a.Repository.URL, "locks"))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range entries {
		if wire.IsSHA256(e.Name()) { // others are being written
			n++
		}
	}
	return n
}

func TestLockOfAKilledResticIsRemoved(t *testing.T) {
	t.Parallel()
	a := access(t, "0.18.0")
	source := t.TempDir()
	b := make([]byte, 8<<20)
	rand.NewChaCha8([32]byte{}).Read(b)
	if err := os.WriteFile(filepath.Join(source, "big"), b, 0o600); err != nil {
		t.Fatal(err)
	}
	r := backupRig(t, a, source)
	// Slow enough to be met in the middle.
	r.order.Run.Args = append([]string{"--limit-upload=1"}, r.order.Run.Args...)
	p := r.start()
	until(t, "restic holds its lock", func() bool { return locks(t, a) == 1 })
	g, err := r.folder.Group()
	if err != nil || g == nil {
		t.Fatal(g, err)
	}
	if err := signalGroup(g.PGID, 9); err != nil {
		t.Fatal(err)
	}
	got := r.end(p)
	wantState(t, got, wire.StateFailed, wire.CodeCrashed)
	if !got.Unlocked || locks(t, a) != 0 {
		t.Errorf("unlock: got %v and %d locks, want none left; log: %v", got.Unlocked, locks(t, a), r.records())
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if ids, err := a.ListLocks(ctx); err != nil || len(ids) != 0 {
		t.Errorf("locks: got %v %v, want none", ids, err)
	}
}

// An init that may find a repository is good when the password opens the one that is there, and only then.
func TestAnInitThatFindsARepository(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"0.14.0", "0.18.0"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			a := access(t, version)
			initialise := func(a restic.Access, existing *restic.Access) (r *rig) {
				t.Helper()
				r = newRig(t)
				run, err := restic.Build(a, restic.Order{Spec: &wire.InitSpec{IfMissing: existing != nil}, JobDir: r.folder.Dir()})
				if err != nil {
					t.Fatal(err)
				}
				r.order.Run, r.order.Existing = run, existing
				return r
			}
			wantState(t, initialise(a, nil).run(), wire.StateFailed, wire.CodeRepositoryExists)
			got := initialise(a, &a).run()
			wantState(t, got, wire.StateSucceeded, "")
			id, err := a.CatConfig(t.Context())
			if err != nil || got.Finish.Summary == nil || got.Finish.Summary.RepositoryID != id {
				t.Errorf("got %+v, want the id of the repository that is there (%s, %v)", got.Finish.Summary, id, err)
			}
			other := a
			other.Repository.Password = "another password"
			wantState(t, initialise(other, &other).run(), wire.StateFailed, wire.CodeWrongPassword)
		})
	}
}

// What restic says it did is held against the repository before the job has succeeded.
func TestARotationIsProven(t *testing.T) {
	t.Parallel()
	a := access(t, "0.18.0")
	none := a
	none.Repository.Password = "opens nothing"
	step := func(p restic.Proof) *rig {
		t.Helper()
		r := newRig(t)
		run, err := restic.Build(a, restic.Order{Spec: &wire.RotateKeySpec{Step: wire.RotateRemove}, JobDir: r.folder.Dir(), Keys: &restic.Keys{Second: "x"}})
		if err != nil {
			t.Fatal(err)
		}
		r.order.Run, r.order.Proof = run, &p
		return r
	}
	wantState(t, step(restic.Proof{Opens: a, Closed: &none}).run(), wire.StateSucceeded, "")
	wantState(t, step(restic.Proof{Opens: none}).run(), wire.StateFailed, wire.CodeWrongPassword)
	wantState(t, step(restic.Proof{Opens: a, Closed: &a}).run(), wire.StateFailed, wire.CodeKeyRemains)
}
