package supervise

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"restic-manager/agent/hook"
	"restic-manager/agent/restic"
	"restic-manager/agent/spool"
	"restic-manager/shared/wire"
)

// hooksDir is a folder of hooks, and one that they may write to.
func (r *rig) hooksDir() (dir, out string) {
	r.t.Helper()
	if r.order.Hooks.Dir == "" {
		dir, err := filepath.EvalSymlinks(r.t.TempDir())
		if err != nil {
			r.t.Fatal(err)
		}
		r.order.Hooks.Dir, r.order.Hooks.UID = dir, os.Geteuid()
		r.order.Hooks.Told = hook.Told{JobID: jobID, PolicyID: "the-policy", Kind: wire.KindBackup}
		if err := os.Chmod(dir, 0o755); err != nil {
			r.t.Fatal(err)
		}
	}
	dir = r.order.Hooks.Dir
	return dir, dir
}

// script makes a hook. OUT in it is a folder.
func (r *rig) script(name, body string) {
	r.t.Helper()
	dir, out := r.hooksDir()
	text := "#!/bin/sh\n" + strings.ReplaceAll(body, "OUT", out) + "\n"
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
		r.t.Fatal(err)
	}
}

// trace is what hooks wrote into OUT/trace.
func (r *rig) trace() []string {
	r.t.Helper()
	b, err := os.ReadFile(filepath.Join(r.order.Hooks.Dir, "trace"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		r.t.Fatal(err)
	}
	return strings.Fields(string(b))
}

func (r *rig) traced(want ...string) {
	r.t.Helper()
	if got := r.trace(); !slices.Equal(got, want) {
		r.t.Errorf("hooks: got %v, want %v", got, want)
	}
}

const tracing = `echo "$RESTIC_MANAGER_STAGE:${0##*/}${RESTIC_MANAGER_RESULT:+:$RESTIC_MANAGER_RESULT}" >> OUT/trace`

func TestHooksRunAroundRestic(t *testing.T) {
	t.Parallel()
	r := newRig(t, "out:restic was here", "summary", "exit:0")
	r.script("a", tracing+"\necho to out; echo to err >&2; [ $# = 0 ] && env | sort > OUT/env; cat; pwd > OUT/pwd")
	r.script("b", tracing)
	r.order.Hooks.Before, r.order.Hooks.After = []string{"a", "b"}, []string{"b", "a"}
	got := r.run()
	wantState(t, got, wire.StateSucceeded, "")
	r.traced("before:a", "before:b", "after:b:succeeded", "after:a:succeeded")
	r.wants(wire.StreamOut, "a: to out")
	r.wants(wire.StreamErr, "a: to err")
	r.wants(wire.StreamAgent, "running the hook a (before)")
	env, _ := os.ReadFile(filepath.Join(r.order.Hooks.Dir, "env"))
	for _, bad := range []string{"s3cret", "RESTIC_PASSWORD", "RESTIC_REPOSITORY", "GOTRACEBACK"} {
		if strings.Contains(string(env), bad) {
			t.Errorf("a hook's environment: got %s", env)
		}
	}
	for _, want := range []string{"RESTIC_MANAGER_JOB=" + jobID, "RESTIC_MANAGER_POLICY=the-policy", "RESTIC_MANAGER_KIND=backup", "RESTIC_MANAGER_RESULT=succeeded"} {
		if !strings.Contains(string(env), want) {
			t.Errorf("a hook's environment: got %s, want %s", env, want)
		}
	}
	if b, _ := os.ReadFile(filepath.Join(r.order.Hooks.Dir, "pwd")); string(b) != "/\n" {
		t.Errorf("a hook's folder: got %q", b)
	}
	hooks := got.Finish.Summary.Hooks
	if len(hooks) != 4 || hooks[0].Name != "a" || hooks[0].Stage != "before" || hooks[3].Stage != "after" || hooks[3].Failure != "" || hooks[0].ElapsedSeconds <= 0 {
		t.Errorf("summary: got %+v", hooks)
	}
}

func TestAFailedHookBeforeKeepsResticFromRunning(t *testing.T) {
	t.Parallel()
	r := newRig(t, "out:restic was here", "summary", "exit:0")
	r.script("bad", tracing+"\necho why it failed >&2; exit 7")
	r.script("next", tracing)
	r.script("thaw", tracing)
	r.order.Hooks.Before, r.order.Hooks.After = []string{"bad", "next"}, []string{"thaw"}
	got := r.run()
	wantState(t, got, wire.StateFailed, wire.CodeHookFailed)
	if m := got.Finish.Error.Message; !strings.Contains(m, "hook bad") || !strings.Contains(m, "exit code 7: why it failed") {
		t.Errorf("message: got %q", m)
	}
	if got.Finish.ExitCode != nil || r.has(wire.StreamOut, "restic was here") {
		t.Errorf("restic ran: %+v", got.Finish)
	}
	r.traced("before:bad", "after:thaw:failed")
}

func TestAFailedHookBeforeMayBeNoReason(t *testing.T) {
	t.Parallel()
	r := newRig(t, "summary", "exit:0")
	r.script("bad", tracing+"\nexit 7")
	r.script("next", tracing)
	r.order.Hooks.Before, r.order.Hooks.After, r.order.Hooks.Continue = []string{"bad", "next"}, []string{"next"}, true
	got := r.run()
	wantState(t, got, wire.StateSucceededWithIssues, "")
	if h := got.Finish.Summary.Hooks; len(h) != 3 || h[0].Failure != "ended with exit code 7" || h[1].Failure != "" {
		t.Errorf("summary: got %+v", h)
	}
	r.traced("before:bad", "before:next", "after:next:succeeded_with_issues")
}

func TestHooksAfterRunHoweverResticEnded(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		steps []string
		state wire.State
		code  string
	}{
		{"failure", []string{"exit:12"}, wire.StateFailed, wire.CodeWrongPassword},
		{"crash", []string{"crash"}, wire.StateFailed, wire.CodeCrashed},
		{"cancel", []string{"polite:130"}, wire.StateCanceled, wire.CodeCanceled},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, c.steps...)
			r.script("one", tracing+"\nexit 1")
			r.script("two", tracing)
			r.order.Hooks.After = []string{"one", "two"}
			p := r.start()
			if c.name == "cancel" {
				until(t, "restic runs", func() bool { return r.has(wire.StreamOut, "polite") })
				if err := r.folder.Cancel(); err != nil {
					t.Fatal(err)
				}
			}
			got := r.end(p)
			wantState(t, got, c.state, c.code)
			r.traced("after:one:"+string(c.state), "after:two:"+string(c.state))
			if h := got.Finish.Summary.Hooks; len(h) != 2 || h[0].Failure == "" {
				t.Errorf("summary: got %+v", h)
			}
		})
	}
}

func TestAFailedHookAfterMakesASuccessOneWithIssues(t *testing.T) {
	t.Parallel()
	r := newRig(t, "summary", "exit:0")
	r.script("one", "exit 1")
	r.order.Hooks.After = []string{"one"}
	got := r.run()
	wantState(t, got, wire.StateSucceededWithIssues, "")
	if h := got.Finish.Summary.Hooks; len(h) != 1 || !strings.Contains(h[0].Failure, "exit code 1") {
		t.Errorf("summary: got %+v", h)
	}
}

func TestAHookOverItsLimitIsEndedWithItsGroup(t *testing.T) {
	t.Parallel()
	r := newRig(t, "summary", "exit:0")
	r.script("slow", "sleep 600 & echo $! > OUT/child; wait")
	r.order.Hooks.Before, r.order.Hooks.Limit = []string{"slow"}, 300*time.Millisecond
	got := r.run()
	wantState(t, got, wire.StateFailed, wire.CodeHookFailed)
	if !strings.Contains(got.Finish.Error.Message, "did not end within 300ms") {
		t.Errorf("message: got %q", got.Finish.Error.Message)
	}
	b, err := os.ReadFile(filepath.Join(r.order.Hooks.Dir, "child"))
	var pid int
	if _, scan := fmt.Sscan(string(b), &pid); err != nil || scan != nil {
		t.Fatal(err, scan)
	}
	if p, err := readProcess(pid); err == nil && p.state != 'Z' {
		t.Errorf("what the hook had started lives: %+v", p)
	}
}

func TestCancelAndTheJobsLimitEndAHookBefore(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		state wire.State
		code  string
	}{{wire.StateCanceled, wire.CodeCanceled}, {wire.StateFailed, wire.CodeTimeLimit}} {
		t.Run(string(c.code), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, "out:restic was here", "summary", "exit:0")
			r.script("slow", tracing+"\nexec sleep 600")
			r.script("thaw", tracing)
			r.order.Hooks.Before, r.order.Hooks.After = []string{"slow"}, []string{"thaw"}
			if c.code == wire.CodeTimeLimit {
				r.order.Run.TimeLimit = time.Second
			}
			p := r.start()
			until(t, "the hook runs", func() bool { return len(r.trace()) > 0 })
			if c.code == wire.CodeCanceled {
				if err := r.folder.Cancel(); err != nil {
					t.Fatal(err)
				}
			}
			got := r.end(p)
			wantState(t, got, c.state, c.code)
			r.traced("before:slow", "after:thaw:"+string(c.state))
			if r.has(wire.StreamOut, "restic was here") {
				t.Error("restic ran")
			}
		})
	}
}

func TestACancelBeforeTheFirstHookRunsNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, "summary", "exit:0")
	r.script("a", tracing)
	r.order.Hooks.Before, r.order.Hooks.After = []string{"a"}, []string{"a"}
	if err := r.folder.Cancel(); err != nil {
		t.Fatal(err)
	}
	wantState(t, r.run(), wire.StateCanceled, wire.CodeCanceled)
	r.traced()
}

func TestAHookThatChangedSinceIsNotRun(t *testing.T) {
	t.Parallel()
	r := newRig(t, "out:restic was here", "summary", "exit:0")
	r.script("a", tracing)
	if err := os.Chmod(filepath.Join(r.order.Hooks.Dir, "a"), 0o777); err != nil {
		t.Fatal(err)
	}
	r.order.Hooks.Before, r.order.Hooks.After = []string{"a"}, []string{"a"}
	got := r.run()
	wantState(t, got, wire.StateFailed, wire.CodeHookFailed)
	r.traced()
	if !strings.Contains(got.Finish.Error.Message, "chmod go-w") {
		t.Errorf("message: got %q", got.Finish.Error.Message)
	}
	r = newRig(t, "summary", "exit:0")
	r.script("b", "")
	if err := os.WriteFile(filepath.Join(r.order.Hooks.Dir, "b"), []byte("no program"), 0o755); err != nil {
		t.Fatal(err)
	}
	r.order.Hooks.Before = []string{"b"}
	if got := r.run(); got.Finish.Error == nil || !strings.Contains(got.Finish.Error.Message, "cannot be run: exec format error") {
		t.Errorf("no program: got %+v", got.Finish.Error)
	}
}

func TestWhatIsMarkedAsBegunIsNotBegunAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t, "summary", "exit:0")
	r.script("a", tracing)
	r.order.Hooks.Before = []string{"a"}
	if first, err := r.folder.BeginHook("before", 0); err != nil || !first {
		t.Fatal(first, err)
	}
	wantState(t, r.run(), wire.StateFailed, wire.CodeHookFailed)
	r.traced()
}

// orphan kills the supervisor in the middle of what it runs.
func (r *rig) orphan(p *Process) {
	r.t.Helper()
	if err := syscall.Kill(p.PID, syscall.SIGKILL); err != nil {
		r.t.Fatal(err)
	}
	<-p.Done()
	until(r.t, "the supervisor is gone", func() bool { alive, err := r.folder.SupervisorAlive(); return err == nil && !alive })
}

func TestAHookThatLostItsSupervisorIsEndedAndThoseAfterRunOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, "out:restic was here", "summary", "exit:0")
	r.script("slow", tracing+"\nexec sleep 600")
	r.script("thaw", tracing)
	r.order.Hooks.Before, r.order.Hooks.After = []string{"slow"}, []string{"thaw"}
	p := r.start()
	until(t, "the hook runs", func() bool { return len(r.trace()) > 0 })
	r.orphan(p)
	facts, err := r.folder.Facts()
	if err != nil || !facts.RunAlive || facts.Result != nil {
		t.Fatalf("facts: got %+v %v, want a hook that lives", facts, err)
	}
	if err := EndGroup(t.Context(), r.folder, time.Second); err != nil {
		t.Fatal(err)
	}
	until(t, "the hook is gone", func() bool { alive, err := r.folder.RunAlive(); return err == nil && !alive })
	var notes []string
	finish := func(allowed error) {
		t.Helper()
		err := FinishHooks(t.Context(), r.folder, r.order.Hooks, func(string) error { return allowed }, func(s string) { notes = append(notes, s) })
		if err != nil {
			t.Fatal(err)
		}
	}
	finish(errors.New("not allowed any more"))
	r.traced("before:slow")
	for range 2 {
		finish(nil)
		r.traced("before:slow", "after:thaw:failed")
	}
	if alive, err := r.folder.RunAlive(); err != nil || alive {
		t.Errorf("the lock is held: %v %v", alive, err)
	}
	if len(notes) == 0 || notes[0] != "not allowed any more" {
		t.Errorf("notes: got %q", notes)
	}
}

func TestWhereNothingBeganNoHookAfterRuns(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.script("thaw", tracing)
	r.order.Hooks.Before, r.order.Hooks.After = []string{"slow"}, []string{"thaw"}
	if err := FinishHooks(t.Context(), r.folder, r.order.Hooks, func(string) error { return nil }, func(string) {}); err != nil {
		t.Fatal(err)
	}
	r.traced()
	lock, err := r.folder.LockRun()
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := r.folder.SaveGroup(spool.Group{PGID: 1}); err != nil {
		t.Fatal(err)
	}
	err = FinishHooks(t.Context(), r.folder, r.order.Hooks, func(string) error { return nil }, func(string) {})
	if !errors.Is(err, ErrAlive) {
		t.Errorf("somebody lives: got %v", err)
	}
	r.traced()
}

// dumpRig backs up what a hook writes.
func dumpRig(t *testing.T, body string, steps ...string) *rig {
	r := newRig(t, steps...)
	r.script("dump", body)
	r.order.Run.Stdin, r.order.Hooks.Stdin = true, "dump"
	return r
}

func TestResticReadsWhatAHookWrites(t *testing.T) {
	t.Parallel()
	r := dumpRig(t, "echo a word >&2; head -c 3000000 /dev/zero", "read", "summary", "exit:0")
	got := r.run()
	wantState(t, got, wire.StateSucceeded, "")
	r.wants(wire.StreamOut, "read 3000000 <nil>")
	r.wants(wire.StreamErr, "dump: a word")
	if h := got.Finish.Summary.Hooks; len(h) != 1 || h[0].Stage != "stdin" || h[0].Bytes != 3_000_000 || h[0].Failure != "" {
		t.Errorf("summary: got %+v", h)
	}
}

func TestADumpThatFailsNeverEndsResticsInput(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ body, want string }{
		"exit code":    {"head -c 1000000 /dev/zero; echo no more >&2; exit 3", "exit code 3: no more"},
		"signal":       {"head -c 1000000 /dev/zero; kill -9 $$", "signal"},
		"time limit":   {"head -c 1000000 /dev/zero; sleep 600", "did not end within"},
		"nothing":      {"exit 0", "wrote nothing"},
		"a child left": {"head -c 1000 /dev/zero; sleep 600 & exit 0", "not known to be complete"},
		"not a script": {"", "chmod go-w"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := dumpRig(t, c.body, "read", "summary", "exit:0")
			r.order.Grace = time.Second
			switch name {
			case "time limit":
				r.order.Hooks.StdinLimit = 500 * time.Millisecond
			case "not a script":
				if err := os.Chmod(filepath.Join(r.order.Hooks.Dir, "dump"), 0o777); err != nil {
					t.Fatal(err)
				}
			}
			got := r.run()
			wantState(t, got, wire.StateFailed, wire.CodeHookFailed)
			if !strings.Contains(got.Finish.Error.Message, c.want) {
				t.Errorf("message: got %q, want %q", got.Finish.Error.Message, c.want)
			}
			if r.has(wire.StreamOut, "read ") || r.has(wire.StreamOut, "summary") {
				t.Errorf("restic saw an end of its input: %v", r.records())
			}
		})
	}
}

func TestADumpThatIsCanceledNeverEndsResticsInput(t *testing.T) {
	t.Parallel()
	// It takes the signal for a reason to end well.
	r := dumpRig(t, "trap 'exit 0' INT TERM\nhead -c 1000000 /dev/zero\ntouch OUT/half\nwhile :; do sleep 0.05; done", "read", "summary", "exit:0")
	r.script("thaw", tracing)
	r.order.Hooks.After = []string{"thaw"}
	r.order.Run.Args = append([]string{"fake-restic", "deaf"}, r.order.Run.Args[1:]...)
	r.order.Grace = 2 * time.Second
	p := r.start()
	until(t, "half of it is written", func() bool { _, err := os.Stat(filepath.Join(r.order.Hooks.Dir, "half")); return err == nil })
	if err := r.folder.Cancel(); err != nil {
		t.Fatal(err)
	}
	got := r.end(p)
	wantState(t, got, wire.StateCanceled, wire.CodeCanceled)
	if r.has(wire.StreamOut, "read ") || !got.Killed {
		t.Errorf("restic saw an end of its input: %v", r.records())
	}
	r.traced("after:thaw:canceled")
}

func TestAResticThatFailsEndsTheDump(t *testing.T) {
	t.Parallel()
	r := dumpRig(t, "echo $$ > OUT/pid; cat /dev/zero", "wait:"+"PID", "exit:12")
	r.order.Run.Args[1] = "wait:" + filepath.Join(r.order.Hooks.Dir, "pid")
	got := r.run()
	wantState(t, got, wire.StateFailed, wire.CodeWrongPassword)
	if h := got.Finish.Summary.Hooks; len(h) != 1 || h[0].Failure == "" {
		t.Errorf("summary: got %+v", h)
	}
}

func TestADumpWhoseSupervisorIsKilledNeverEndsResticsInput(t *testing.T) {
	t.Parallel()
	r := dumpRig(t, "head -c 1000000 /dev/zero\ntouch OUT/half\nsleep 600", "read", "summary", "exit:0")
	p := r.start()
	until(t, "half of it is written", func() bool { _, err := os.Stat(filepath.Join(r.order.Hooks.Dir, "half")); return err == nil })
	g, err := r.folder.Group()
	if err != nil || g == nil {
		t.Fatal(g, err)
	}
	r.orphan(p)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := EndGroup(ctx, r.folder, time.Second); err != nil {
		t.Fatal(err)
	}
	if left := members(g.PGID); len(left) != 0 {
		t.Errorf("left of the group: %+v", left)
	}
	if r.has(wire.StreamOut, "read ") {
		t.Errorf("restic saw an end of its input: %v", r.records())
	}
}

func TestAnOrderSaysOnceAndForAllWhatResticReads(t *testing.T) {
	t.Parallel()
	for _, change := range []func(o *Order){func(o *Order) { o.Run.Stdin = true }, func(o *Order) { o.Hooks.Stdin = "dump" }} {
		r := newRig(t, "read", "summary", "exit:0")
		change(&r.order)
		if _, err := Start(t.Context(), r.order); err == nil || !strings.Contains(err.Error(), "what a hook writes") {
			t.Errorf("got %v", err)
		}
	}
}

// TestRealResticMakesNoSnapshotOfHalfADump: whatever ends a dump after 5 MB, no snapshot comes to be, and the repository
// stays whole and unlocked.
func TestRealResticMakesNoSnapshotOfHalfADump(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"0.14.0", "0.18.0"} {
		for name, c := range map[string]struct {
			body string
			code string
		}{
			"whole":      {"head -c 5000000 /dev/urandom", ""},
			"fails":      {"head -c 5000000 /dev/urandom; exit 1", wire.CodeHookFailed},
			"killed":     {"head -c 5000000 /dev/urandom; kill -9 $$", wire.CodeHookFailed},
			"late":       {"head -c 5000000 /dev/urandom; sleep 600", wire.CodeHookFailed},
			"canceled":   {"head -c 5000000 /dev/urandom; touch OUT/half; sleep 600", wire.CodeCanceled},
			"supervisor": {"head -c 5000000 /dev/urandom; touch OUT/half; sleep 600", ""},
		} {
			t.Run(version+" "+name, func(t *testing.T) {
				t.Parallel()
				a := access(t, version)
				r := newRig(t)
				r.script("dump", c.body)
				run, err := restic.Build(a, restic.Order{Spec: &wire.BackupSpec{StdinHook: "dump", StdinName: "all.sql"}, JobDir: r.folder.Dir()})
				if err != nil {
					t.Fatal(err)
				}
				r.order.Run, r.order.Unlock, r.order.Hooks.Stdin = run, &a, "dump"
				r.order.Grace = 3 * time.Second
				if name == "late" {
					r.order.Hooks.StdinLimit = 2 * time.Second
				}
				p := r.start()
				if name == "canceled" || name == "supervisor" {
					until(t, "5 MB are written", func() bool { _, err := os.Stat(filepath.Join(r.order.Hooks.Dir, "half")); return err == nil })
				}
				want := 0
				switch name {
				case "supervisor":
					r.orphan(p)
					if err := EndGroup(t.Context(), r.folder, 2*time.Second); err != nil {
						t.Fatal(err)
					}
				case "canceled":
					if err := r.folder.Cancel(); err != nil {
						t.Fatal(err)
					}
					wantState(t, r.end(p), wire.StateCanceled, c.code)
				case "whole":
					want = 1
					wantState(t, r.end(p), wire.StateSucceeded, "")
				default:
					wantState(t, r.end(p), wire.StateFailed, c.code)
				}
				count, err := a.ListSnapshots(t.Context(), func(s wire.Snapshot) error {
					if !slices.Equal(s.Paths, []string{"/all.sql"}) {
						t.Errorf("paths: got %v", s.Paths)
					}
					return nil
				})
				if err != nil || count != want {
					t.Errorf("snapshots: got %d %v, want %d; log %v", count, err, want, r.records())
				}
			})
		}
	}
}
