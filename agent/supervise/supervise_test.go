package supervise

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"restic-manager/agent/restic"
	"restic-manager/agent/spool"
	"restic-manager/shared/wire"
)

const jobID = "01999999-0000-7000-8000-000000000001"

// rig is an agent's state folder with one job about to start.
type rig struct {
	t      *testing.T
	store  *spool.Store
	folder *spool.Folder
	order  Order
}

func newRig(t *testing.T, steps ...string) *rig {
	t.Helper()
	store, err := spool.Open(spool.OS{}, t.TempDir(), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	job := spool.Job{Offer: wire.Offer{JobID: jobID, Kind: wire.KindBackup}, Phase: wire.PhaseStarting, Lease: spool.RandomHex(), Nonce: spool.RandomHex()}
	folder, err := store.Create(job)
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return &rig{t: t, store: store, folder: folder, order: Order{
		StateDir: store.Dir(), JobID: jobID, Nonce: job.Nonce,
		Run: restic.Invocation{Kind: wire.KindBackup, Version: restic.Version{Minor: 18}, Path: exe,
			Args: append([]string{"fake-restic"}, steps...), Env: []string{"GOTRACEBACK=none"}, Password: "s3cret-of-the-test"},
		PipeWait: 300 * time.Millisecond,
	}}
}

func (r *rig) start() *Process {
	r.t.Helper()
	p, err := Start(r.t.Context(), r.order)
	if err != nil {
		r.t.Fatalf("start: %v; stderr: %s", err, r.stderr())
	}
	return p
}

func (r *rig) stderr() string {
	b, _ := os.ReadFile(filepath.Join(r.folder.Dir(), "supervisor.stderr"))
	return string(b)
}

// end waits for the supervisor's end and returns the result it left.
func (r *rig) end(p *Process) spool.Result {
	r.t.Helper()
	select {
	case <-p.Done():
	case <-time.After(time.Minute):
		r.t.Fatal("the supervisor did not end within a minute")
	}
	if s := r.stderr(); s != "" {
		r.t.Errorf("supervisor's stderr: got %s, want nothing", s)
	}
	result, err := r.folder.Result()
	if err != nil || result == nil {
		r.t.Fatalf("result: got %v, %v, want one", result, err)
	}
	r.checkSum(result.Finish)
	return *result
}

func (r *rig) run() spool.Result {
	r.t.Helper()
	return r.end(r.start())
}

// checkSum wants the result's count and sum to be those of the file.
func (r *rig) checkSum(f wire.FinishRequest) {
	r.t.Helper()
	sum, err := r.folder.LogSum()
	if err != nil {
		r.t.Fatal(err)
	}
	if sum.Lines != f.LogLines || sum.SHA256 != f.LogSHA256 {
		r.t.Errorf("log: got %d lines %s in the result, want %d lines %s", f.LogLines, f.LogSHA256, sum.Lines, sum.SHA256)
	}
}

func (r *rig) records() []wire.Record {
	r.t.Helper()
	b, err := os.ReadFile(filepath.Join(r.folder.Dir(), "log.ndjson"))
	if err != nil {
		r.t.Fatal(err)
	}
	var out []wire.Record
	for line := range bytes.Lines(b) {
		rec, err := wire.ParseRecord(bytes.TrimSuffix(line, []byte("\n")))
		if err != nil {
			r.t.Fatalf("record %q: %v", line, err)
		}
		out = append(out, rec)
	}
	return out
}

func (r *rig) has(s wire.Stream, text string) bool {
	r.t.Helper()
	for _, rec := range r.records() {
		if rec.Stream == s && strings.Contains(string(rec.Line()), text) {
			return true
		}
	}
	return false
}

func (r *rig) wants(s wire.Stream, text string) {
	r.t.Helper()
	if !r.has(s, text) {
		r.t.Errorf("log: got %v, want a line of %s with %q", r.records(), s, text)
	}
}

// until waits for a condition that another process brings about.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(2 * time.Minute)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: did not come about within 30 s", what)
		}
	}
}

func wantState(t *testing.T, r spool.Result, state wire.State, code string) {
	t.Helper()
	got := ""
	if r.Finish.Error != nil {
		got = r.Finish.Error.Code
	}
	if r.Finish.State != state || got != code {
		t.Errorf("result: got %s %q (%+v), want %s %q", r.Finish.State, got, r.Finish.Error, state, code)
	}
}

func TestSuccessLeavesResultLogAndLastProgress(t *testing.T) {
	t.Parallel()
	r := newRig(t, "status:1", "out:hello", "err:a word", "status:7", "summary", "exit:0")
	got := r.run()
	wantState(t, got, wire.StateSucceeded, "")
	if got.Finish.ExitCode == nil || *got.Finish.ExitCode != 0 {
		t.Errorf("exit code: got %v, want 0", got.Finish.ExitCode)
	}
	if got.Finish.Summary == nil || got.Finish.Summary.FilesNew != 1 {
		t.Errorf("summary: got %+v, want one new file", got.Finish.Summary)
	}
	if got.Nonce != r.order.Nonce || got.Finish.ElapsedSeconds <= 0 || got.Finish.EndedAt.Before(got.Finish.StartedAt) {
		t.Errorf("result: got %+v, want the nonce and a duration", got)
	}
	r.wants(wire.StreamOut, "hello")
	r.wants(wire.StreamErr, "a word")
	if r.has(wire.StreamOut, `"status"`) {
		t.Error("log: got a status line, want none")
	}
	p, ok, err := r.folder.Progress()
	if err != nil || !ok || p.FilesDone != 7 {
		t.Errorf("progress: got %+v %v %v, want the last one, of 7 files", p, ok, err)
	}
	facts, err := r.folder.Facts()
	if err != nil {
		t.Fatal(err)
	}
	if facts.SupervisorAlive || facts.RunAlive || !facts.Ran || facts.Claim == nil || facts.Group == nil {
		t.Errorf("facts: got %+v, want a claim, a group and free locks", facts)
	}
	if known, err := r.store.Known(jobID); err != nil || !known {
		t.Errorf("ledger: got %v %v, want the job in it", known, err)
	}
}

func TestExitCodesBecomeStates(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		steps []string
		state wire.State
		code  string
		exit  int
	}{
		{[]string{"err:{\"message_type\":\"error\",\"error\":{\"message\":\"permission denied\"},\"during\":\"archival\",\"item\":\"/x\"}", "summary", "exit:3"}, wire.StateSucceededWithIssues, "", 3},
		{[]string{"exit:12"}, wire.StateFailed, wire.CodeWrongPassword, 12},
		{[]string{"exit:10"}, wire.StateFailed, wire.CodeRepositoryMissing, 10},
		{[]string{"exit:11"}, wire.StateFailed, wire.CodeRepositoryLocked, 11},
	} {
		t.Run(strconv.Itoa(c.exit), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, c.steps...)
			got := r.run()
			wantState(t, got, c.state, c.code)
			if got.Finish.ExitCode == nil || *got.Finish.ExitCode != c.exit {
				t.Errorf("exit code: got %v, want %d", got.Finish.ExitCode, c.exit)
			}
		})
	}
}

func TestBackupWithoutASummaryIsAFailure(t *testing.T) {
	t.Parallel()
	for _, exit := range []int{0, 3} {
		got := newRig(t, "out:done", "exit:"+strconv.Itoa(exit)).run()
		wantState(t, got, wire.StateFailed, wire.CodeRestic)
	}
}

func TestRestoreThatLeavesItsFolderEmptyIsAFailure(t *testing.T) {
	t.Parallel()
	for _, found := range []bool{false, true} {
		r := newRig(t, "out:restoring", "exit:0")
		r.order.Run.Kind, r.order.Run.Version = wire.KindRestore, restic.Version{Minor: 14}
		r.order.Run.Chosen, r.order.Run.RestoredTo = 1, t.TempDir()
		if found {
			if err := os.WriteFile(filepath.Join(r.order.Run.RestoredTo, "file"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			wantState(t, r.run(), wire.StateSucceeded, "")
			continue
		}
		wantState(t, r.run(), wire.StateFailed, wire.CodeSourceMissing)
	}
}

func TestResticKilledByAnotherIsACrash(t *testing.T) {
	t.Parallel()
	r := newRig(t, "out:before", "crash")
	got := r.run()
	wantState(t, got, wire.StateFailed, wire.CodeCrashed)
	if got.Finish.SignalSent || got.Finish.ExitCode != nil || got.Killed {
		t.Errorf("result: got %+v, want no signal of ours and no exit code", got)
	}
}

func TestOddBytesGoIntoTheLogAsTheyAre(t *testing.T) {
	t.Parallel()
	r := newRig(t, "poison", "raw:no newline at the end", "summary", "exit:0")
	r.run()
	var got []string
	for _, rec := range r.records() {
		if rec.Stream == wire.StreamOut {
			got = append(got, string(rec.Line()))
		}
	}
	want := []string{"nul \x00 here", "bad \xff\xfe utf-8", "cr\r", "\x1b[31mred\x1b[0m"}
	for i, w := range want {
		if i >= len(got) || got[i] != w {
			t.Errorf("line %d: got %q, want %q", i, got, w)
		}
	}
}

func TestLineOfTenMegabytesIsCutAndTheSummaryIsRead(t *testing.T) {
	t.Parallel()
	r := newRig(t, "long:10000000", "summary", "exit:0")
	got := r.run()
	wantState(t, got, wire.StateSucceeded, "")
	cut := false
	for _, rec := range r.records() {
		cut = cut || strings.HasSuffix(rec.Text, wire.CutMarker) && len(rec.Text) > 60000
	}
	if !cut {
		t.Error("log: got no cut line, want one of nearly 64 KiB with the marker")
	}
}

func TestLogIsBoundedAndRestIsCounted(t *testing.T) {
	t.Parallel()
	const lines = 200_000
	r := newRig(t, "lines:"+strconv.Itoa(lines), "err:said after the limit", "summary", "exit:0")
	r.order.Log = spool.LogLimits{Bytes: 1 << 20, ErrorBytes: 64 << 10}
	got := r.run()
	wantState(t, got, wire.StateSucceeded, "")
	sum, err := r.folder.LogSum()
	if err != nil {
		t.Fatal(err)
	}
	if sum.Bytes > 1<<20+70<<10 {
		t.Errorf("log: got %d bytes, want little more than 1 MiB", sum.Bytes)
	}
	out := int64(0)
	for _, rec := range r.records() {
		if rec.Stream == wire.StreamOut {
			out++
		}
	}
	if out+got.LogDropped != lines+1 {
		t.Errorf("log: got %d lines and %d dropped, want %d in all", out, got.LogDropped, lines+1)
	}
	r.wants(wire.StreamErr, "said after the limit")
	last := r.records()[len(r.records())-1]
	if last.Stream != wire.StreamAgent || !strings.Contains(last.Text, strconv.FormatInt(got.LogDropped, 10)+" lines in all were dropped") {
		t.Errorf("last line: got %+v, want the count of dropped lines", last)
	}
}

func TestCancelBecomesSIGINTAndTheOwnRecord(t *testing.T) {
	t.Parallel()
	r := newRig(t, "polite:130")
	p := r.start()
	until(t, "restic runs", func() bool { return r.has(wire.StreamOut, "polite") })
	if err := r.folder.Cancel(); err != nil {
		t.Fatal(err)
	}
	got := r.end(p)
	wantState(t, got, wire.StateCanceled, wire.CodeCanceled)
	if !got.Finish.SignalSent || got.Killed {
		t.Errorf("result: got %+v, want a signal sent, not SIGKILL", got)
	}
	r.wants(wire.StreamAgent, "canceled: SIGINT sent")
}

func TestSuccessStandsThoughASignalWasUnderWay(t *testing.T) {
	t.Parallel()
	for _, code := range []int{0, 3} {
		r := newRig(t, "summary", "polite:"+strconv.Itoa(code))
		p := r.start()
		until(t, "restic runs", func() bool { return r.has(wire.StreamOut, "polite") })
		if err := r.folder.Cancel(); err != nil {
			t.Fatal(err)
		}
		got := r.end(p)
		want := wire.StateSucceeded
		if code == 3 {
			want = wire.StateSucceededWithIssues
		}
		wantState(t, got, want, "")
		if !got.Finish.SignalSent {
			t.Error("signal_sent: got false, want true")
		}
	}
}

func TestCancelOfADeafResticEndsInSIGKILL(t *testing.T) {
	t.Parallel()
	r := newRig(t, "deaf", "out:deaf", "hang")
	r.order.Grace = 200 * time.Millisecond
	p := r.start()
	until(t, "restic runs", func() bool { return r.has(wire.StreamOut, "deaf") })
	if err := r.folder.Cancel(); err != nil {
		t.Fatal(err)
	}
	got := r.end(p)
	wantState(t, got, wire.StateCanceled, wire.CodeCanceled)
	if !got.Killed || !got.Finish.SignalSent {
		t.Errorf("result: got %+v, want it killed", got)
	}
}

func TestCancelBeforeResticRunsNone(t *testing.T) {
	t.Parallel()
	r := newRig(t, "out:must not run", "exit:0")
	if err := r.folder.Cancel(); err != nil {
		t.Fatal(err)
	}
	got := r.run()
	wantState(t, got, wire.StateCanceled, wire.CodeCanceled)
	if r.has(wire.StreamOut, "must not run") || got.Finish.SignalSent {
		t.Errorf("log: got %v, want restic not run", r.records())
	}
	if g, err := r.folder.Group(); g != nil || err != nil {
		t.Errorf("group: got %v %v, want none", g, err)
	}
}

func TestTimeLimitEndsRestic(t *testing.T) {
	t.Parallel()
	r := newRig(t, "polite:1")
	r.order.Run.TimeLimit = 300 * time.Millisecond
	got := r.run()
	wantState(t, got, wire.StateFailed, wire.CodeTimeLimit)
	if !got.Finish.SignalSent {
		t.Error("signal_sent: got false, want true")
	}
}

func TestGrandchildThatHoldsThePipesIsEnded(t *testing.T) {
	t.Parallel()
	r := newRig(t, "grandchild", "summary", "exit:0")
	got := r.run()
	wantState(t, got, wire.StateSucceeded, "")
	if got.Finish.ElapsedSeconds > 0.3+20 {
		t.Errorf("elapsed: got %v s, want it to end with restic", got.Finish.ElapsedSeconds)
	}
	for _, rec := range r.records() {
		if pid, ok := strings.CutPrefix(rec.Text, "grandchild "); ok {
			n, _ := strconv.Atoi(pid)
			until(t, "the grandchild is gone", func() bool {
				p, err := readProcess(n)
				return err != nil || p.state == 'Z'
			})
			return
		}
	}
	t.Error("log: got no grandchild, want its pid")
}

func TestMissingResticIsSaid(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.order.Run.Path = filepath.Join(t.TempDir(), "no-restic")
	wantState(t, r.run(), wire.StateFailed, wire.CodeResticMissing)

	r = newRig(t)
	r.order.Run.Path = filepath.Join(t.TempDir(), "not-a-program")
	if err := os.WriteFile(r.order.Run.Path, []byte("no program"), 0o700); err != nil {
		t.Fatal(err)
	}
	wantState(t, r.run(), wire.StateFailed, wire.CodeResticMissing)
}

func TestMissingSourcesFailBeforeRestic(t *testing.T) {
	t.Parallel()
	r := newRig(t, "out:must not run")
	r.order.Run.Sources = []string{"/no/such/folder"}
	wantState(t, r.run(), wire.StateFailed, wire.CodeSourceMissing)
	if r.has(wire.StreamOut, "must not run") {
		t.Error("restic ran, want it not to")
	}
}

func TestAbandonedClaimIsNotRun(t *testing.T) {
	t.Parallel()
	r := newRig(t, "out:must not run")
	if won, err := r.folder.Abandon(r.order.Nonce); err != nil || !won {
		t.Fatalf("abandon: got %v %v, want it won", won, err)
	}
	p, err := Start(t.Context(), r.order)
	if !errors.Is(err, ErrClaimed) {
		t.Fatalf("start: got %v, want ErrClaimed", err)
	}
	<-p.Done()
	if known, err := r.store.Known(jobID); err != nil || known {
		t.Errorf("ledger: got %v %v, want the job not in it", known, err)
	}
	if result, err := r.folder.Result(); result != nil || err != nil {
		t.Errorf("result: got %v %v, want none", result, err)
	}
}

func TestSecondSupervisorAndAbandonLoseToTheFirst(t *testing.T) {
	t.Parallel()
	r := newRig(t, "polite:1")
	p := r.start()
	if _, err := Start(t.Context(), r.order); !errors.Is(err, ErrAlive) {
		t.Errorf("second start: got %v, want ErrAlive", err)
	}
	if won, err := r.folder.Abandon(r.order.Nonce); err != nil || won {
		t.Errorf("abandon: got %v %v, want it lost", won, err)
	}
	if err := r.folder.Cancel(); err != nil {
		t.Fatal(err)
	}
	r.end(p)
	// The same order again, after the end.
	if _, err := Start(t.Context(), r.order); !errors.Is(err, ErrSpent) {
		t.Errorf("start after the end: got %v, want ErrSpent", err)
	}
}

func TestJobInTheLedgerIsNotRunUnderANewNonce(t *testing.T) {
	t.Parallel()
	r := newRig(t, "summary")
	r.run()
	j, err := r.folder.Job()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.store.Remove(jobID); err != nil {
		t.Fatal(err)
	}
	j.Nonce = spool.RandomHex()
	if r.folder, err = r.store.Create(j); err != nil {
		t.Fatal(err)
	}
	r.order.Nonce = j.Nonce
	if _, err := Start(t.Context(), r.order); !errors.Is(err, ErrSpent) {
		t.Errorf("start: got %v, want ErrSpent", err)
	}
}

func TestOrderForAnotherStartIsRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, "out:must not run")
	r.order.Nonce = spool.RandomHex()
	if _, err := Start(t.Context(), r.order); !errors.Is(err, ErrClaimed) {
		t.Errorf("start: got %v, want ErrClaimed", err)
	}
}

func TestSignalsToTheSupervisorDoNotEndIt(t *testing.T) {
	t.Parallel()
	r := newRig(t, "polite:0")
	p := r.start()
	until(t, "restic runs", func() bool { return r.has(wire.StreamOut, "polite") })
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGXFSZ} {
		if err := syscall.Kill(p.PID, sig); err != nil {
			t.Fatal(err)
		}
	}
	if alive, err := r.folder.SupervisorAlive(); err != nil || !alive {
		t.Fatalf("supervisor: got alive=%v %v, want it alive", alive, err)
	}
	if err := r.folder.Cancel(); err != nil {
		t.Fatal(err)
	}
	r.end(p)
}

// TestSupervisorOfAWipedFolderEndsWithRestic: it does not try for half a minute to leave a result where nothing is.
func TestSupervisorOfAWipedFolderEndsWithRestic(t *testing.T) {
	t.Parallel()
	gate := filepath.Join(t.TempDir(), "gate")
	r := newRig(t, "out:here", "wait:"+gate)
	p := r.start()
	until(t, "restic runs", func() bool { return r.has(wire.StreamOut, "here") })
	if err := os.RemoveAll(r.folder.Dir()); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	if took, limit := time.Since(began), saveTries*saveRetry/2; took > limit {
		t.Errorf("it ended %s after restic, want %s at most", took, limit)
	}
}

func TestOrphanedResticIsFoundAndEnded(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		steps []string
	}{
		{"polite", []string{"polite:1"}},
		{"deaf", []string{"deaf", "grandchild", "out:polite", "hang"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, c.steps...)
			p := r.start()
			until(t, "restic runs", func() bool { return r.has(wire.StreamOut, "polite") })
			if err := EndGroup(t.Context(), r.folder, time.Second); !errors.Is(err, ErrAlive) {
				t.Fatalf("end the group beside a supervisor: got %v, want ErrAlive", err)
			}
			if err := syscall.Kill(p.PID, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			<-p.Done()
			facts, err := r.folder.Facts()
			if err != nil {
				t.Fatal(err)
			}
			if facts.SupervisorAlive || !facts.RunAlive || !facts.Ran || facts.Result != nil || facts.Group == nil {
				t.Fatalf("facts: got %+v, want an orphaned restic", facts)
			}
			if err := r.store.PutAside(jobID, "test"); !errors.Is(err, spool.ErrLocked) {
				t.Errorf("put aside: got %v, want ErrLocked", err)
			}
			if err := EndGroup(t.Context(), r.folder, 300*time.Millisecond); err != nil {
				t.Fatal(err)
			}
			if found := members(facts.Group.PGID); len(found) > 0 {
				t.Errorf("group: got %v, want nobody", found)
			}
			until(t, "the lock is free", func() bool {
				alive, err := r.folder.RunAlive()
				return err == nil && !alive
			})
		})
	}
}

func TestReusedPidIsNeverSignalled(t *testing.T) {
	t.Parallel()
	r := newRig(t, "polite:1")
	p := r.start()
	until(t, "restic runs", func() bool { return r.has(wire.StreamOut, "polite") })
	real, err := r.folder.Group()
	if err != nil || real == nil {
		t.Fatal(real, err)
	}
	if err := syscall.Kill(p.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	// A stranger has the number that the record names.
	stranger := strangerGroup(t)
	if err := r.folder.SaveGroup(spool.Group{PGID: stranger, StartTicks: 1, MachineBoot: machineBoot()}); err != nil {
		t.Fatal(err)
	}
	if err := EndGroup(t.Context(), r.folder, time.Second); err != nil {
		t.Fatal(err)
	}
	if len(members(stranger)) == 0 {
		t.Error("the stranger was signalled, want it left alone")
	}
	if err := r.folder.SaveGroup(*real); err != nil {
		t.Fatal(err)
	}
	if err := EndGroup(t.Context(), r.folder, time.Second); err != nil {
		t.Fatal(err)
	}
}

// TestRecordOfAnotherBootIsNotBelieved: even a stranger with the very pid and start is left alone, and the
// orphan is found by its lock.
func TestRecordOfAnotherBootIsNotBelieved(t *testing.T) {
	t.Parallel()
	r := newRig(t, "polite:1")
	p := r.start()
	until(t, "restic runs", func() bool { return r.has(wire.StreamOut, "polite") })
	real, err := r.folder.Group()
	if err != nil || real == nil {
		t.Fatal(real, err)
	}
	if err := syscall.Kill(p.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	stranger := strangerGroup(t)
	if err := r.folder.SaveGroup(spool.Group{PGID: stranger, StartTicks: startTicks(stranger), MachineBoot: "another boot"}); err != nil {
		t.Fatal(err)
	}
	if err := EndGroup(t.Context(), r.folder, time.Second); err != nil {
		t.Fatal(err)
	}
	if len(members(stranger)) == 0 {
		t.Error("the stranger was signalled, want it left alone")
	}
	if found := members(real.PGID); len(found) > 0 {
		t.Errorf("group: got %v, want the orphan ended", found)
	}
}

func TestOrphanWithoutARecordIsFoundByItsLock(t *testing.T) {
	t.Parallel()
	r := newRig(t, "polite:1")
	p := r.start()
	until(t, "restic runs", func() bool { return r.has(wire.StreamOut, "polite") })
	g, err := r.folder.Group()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(r.folder.Dir(), "group.json"), []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(p.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	if err := EndGroup(t.Context(), r.folder, time.Second); err != nil {
		t.Fatal(err)
	}
	if found := members(g.PGID); len(found) > 0 {
		t.Errorf("group: got %v, want nobody", found)
	}
}

func TestWaitReturnsWhenAnotherProcesssSupervisorIsGone(t *testing.T) {
	t.Parallel()
	r := newRig(t, "polite:1")
	p := r.start()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Wait(ctx, r.folder); !errors.Is(err, context.Canceled) {
		t.Errorf("wait: got %v, want context.Canceled", err)
	}
	if err := r.folder.Cancel(); err != nil {
		t.Fatal(err)
	}
	if err := Wait(t.Context(), r.folder); err != nil {
		t.Error(err)
	}
	r.end(p)
}

// TestFullDiskDropsLinesAndTheResultArrives lets the kernel refuse what the supervisor writes beyond 64 KiB.
func TestFullDiskDropsLinesAndTheResultArrives(t *testing.T) {
	t.Parallel()
	const lines = 50_000
	goOn := filepath.Join(t.TempDir(), "go-on")
	r := newRig(t, "out:begun", "wait:"+goOn, "lines:"+strconv.Itoa(lines), "summary", "exit:0")
	p := r.start()
	until(t, "restic runs", func() bool { return r.has(wire.StreamOut, "begun") })
	if err := unix.Prlimit(p.PID, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 64 << 10, Max: 64 << 10}, nil); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(goOn, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	got := r.end(p)
	wantState(t, got, wire.StateSucceeded, "")
	kept := int64(0)
	for _, rec := range r.records() {
		if rec.Stream == wire.StreamOut {
			kept++
		}
	}
	if kept == 0 || kept+got.LogDropped != lines+2 {
		t.Errorf("log: got %d lines and %d dropped, want %d in all", kept, got.LogDropped, lines+2)
	}
}
