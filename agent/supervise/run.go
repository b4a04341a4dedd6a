package supervise

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"restic-manager/agent/restic"
	"restic-manager/agent/spool"
	"restic-manager/shared/failpoint"
	"restic-manager/shared/wire"
)

// run runs restic with its hooks, unless something speaks against it, and leaves the result. An error means that there
// is none.
func (s *supervisor) run() error {
	file := s.folder.OpenLog(s.order.Log)
	r := &run{supervisor: s, log: file, file: file, started: time.Now()}
	r.progress = newProgress(s.folder.OpenProgress(), r.started)
	defer r.progress.close()
	outcome, ending := r.execute()
	r.unlock(ending)
	r.findExisting(&outcome)
	r.prove(&outcome)
	return r.leave(r.after(outcome), ending)
}

// logger takes the lines of restic and hooks. It is safe for concurrent use, never fails and never blocks.
type logger interface {
	Line(at time.Time, s wire.Stream, line []byte)
	Note(at time.Time, text string)
	Flush()
}

// run is one execution of restic.
type run struct {
	*supervisor
	log      logger
	file     *spool.LogWriter // the same, for its sum
	progress *progress
	started  time.Time
	ended    time.Time // when restic exited
	ran      bool      // restic was run, as far as can be told
	unlocked bool

	// begun: a hook before was begun, or a child that was to become restic was started. Hooks after run then.
	begun  bool
	hooks  []wire.HookRun
	failed int   // hooks that are no reason for failed
	dump   *dump // nil: restic reads files
	// dumpFirst: the hook failed while restic ran, and restic was ended for it.
	dumpFirst bool
}

func (r *run) note(format string, args ...any) {
	r.log.Note(time.Now(), fmt.Sprintf(format, args...))
}

// execute runs restic to its end, unless something speaks against it.
func (r *run) execute() (restic.Outcome, restic.Ending) {
	defer func() {
		if r.ended.IsZero() {
			r.ended = time.Now()
		}
	}()
	if err := r.folder.Enter(); err != nil {
		return r.notRun(err), restic.Ending{}
	}
	if r.canceled() {
		r.note("canceled before %s was started", r.order.Run.Program())
		return r.canceledOutcome(), restic.Ending{}
	}
	if outcome, ending, stop := r.before(); stop {
		return outcome, ending
	}
	if err := r.order.Run.Prepare(); err != nil {
		return r.notRun(err), restic.Ending{}
	}
	c, err := r.launch()
	if err != nil {
		return r.notRun(err), restic.Ending{}
	}
	ending := r.watch(c)
	if outcome, failed := r.childFailed(c, ending); failed {
		return outcome, ending
	}
	r.ran = true
	return r.dumped(c.parser.outcome(ending), ending), ending
}

func (r *run) canceled() bool {
	// A folder that cannot be looked at holds no order that could be read.
	there, err := r.folder.Canceled()
	return err == nil && there
}

func (r *run) canceledOutcome() restic.Outcome {
	return restic.Outcome{State: wire.StateCanceled, Error: &wire.JobError{Code: wire.CodeCanceled,
		Message: fmt.Sprintf("the job was canceled before %s was started", r.order.Run.Program())}}
}

// notRun is the outcome of a job that failed before restic.
func (r *run) notRun(err error) restic.Outcome {
	e := restic.AsJobError(err)
	if _, coded := errors.AsType[*restic.Error](err); !coded && spool.IsNoSpace(err) {
		e = &wire.JobError{Code: wire.CodeNoSpace, Message: fmt.Sprintf("the disk of the agent's state folder is full: %v; make room there and retry the job", err)}
	}
	r.note("%s was not run: %s", r.order.Run.Program(), e.Message)
	return restic.Outcome{State: wire.StateFailed, Error: e}
}

// child is restic or a hook, or what is about to become it.
type child struct {
	what string // for people
	cmd  *exec.Cmd
	// joined is the group that it did not make itself; 0: it leads its own.
	joined int
	parser *feeder // restic's
	// says is why it did not become what it was to, complete once said is closed.
	says string
	said chan struct{}
	// drained is closed when both pipes are at their end; pipes are their read ends.
	drained chan struct{}
	pipes   [2]*os.File
	exited  chan struct{}
	reaped  sync.Once
}

// group is its process group.
func (c *child) group() int {
	if c.joined != 0 {
		return c.joined
	}
	return c.cmd.Process.Pid
}

// reap takes the exited process out of the process table; its state is in cmd.ProcessState then.
func (c *child) reap() { c.reaped.Do(func() { _ = c.cmd.Wait() }) }

func (r *run) launch() (*child, error) {
	cmd, release, err := r.order.Run.Cmd()
	if err != nil {
		return nil, err
	}
	defer release()
	var in *input
	if r.order.Run.Stdin {
		if in, err = newInput(); err != nil {
			return nil, err
		}
		defer in.read.Close()
		cmd.Stdin = in.read
		cmd.ExtraFiles = append(cmd.ExtraFiles, in.write) // see input
	}
	if r.order.Run.Kind == wire.KindEstimate {
		r.note("reading the tree; no file's content is read")
	} else {
		r.note("running restic %s: %s", r.order.Run.Version, strings.Join(r.order.Run.Args, " "))
	}
	c := &child{what: r.order.Run.Program(), cmd: cmd, parser: newFeeder(r.order.Run, r.log, r.progress)}
	if err := r.start(c, modeLead, c.parser.read); err != nil {
		if in != nil {
			in.write.Close()
		}
		return nil, err
	}
	r.begun = true
	if in != nil {
		r.startDump(in, c)
	}
	return c, nil
}

// start starts a child and has its pipes read to their end.
func (r *run) start(c *child, mode string, read func(wire.Stream, *os.File)) error {
	says, release, err := r.become(c.cmd, mode, c.joined)
	if err != nil {
		return fmt.Errorf("pipe for %s: %w", c.what, err)
	}
	defer release()
	c.said, c.drained, c.exited = make(chan struct{}), make(chan struct{}), make(chan struct{})
	var writeEnds [2]*os.File
	for i := range c.pipes {
		if c.pipes[i], writeEnds[i], err = os.Pipe(); err != nil {
			says.Close()
			return fmt.Errorf("pipe for %s: %w", c.what, err)
		}
		defer writeEnds[i].Close()
	}
	c.cmd.Stdout, c.cmd.Stderr = writeEnds[0], writeEnds[1]
	if err := c.cmd.Start(); err != nil {
		says.Close()
		return fmt.Errorf("start %s: %w", c.what, err)
	}
	go func() {
		defer close(c.said)
		defer says.Close()
		b, _ := io.ReadAll(io.LimitReader(says, 4<<10))
		c.says = string(b)
		for { // what is for the log comes first
			line, rest, _ := strings.Cut(c.says, "\n")
			text, noted := strings.CutPrefix(line, childNote+" ")
			if !noted {
				return
			}
			r.note("%s", text)
			c.says = rest
		}
	}()
	go c.drain(read)
	go func() {
		defer close(c.exited)
		waitExit(c.cmd.Process.Pid)
	}()
	return nil
}

// waitExit returns when a child has exited and leaves it a zombie: its pid, and so its group's number, is
// not given to others before the group is ended.
func waitExit(pid int) {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// drain reads both pipes to their end, whatever comes: a full pipe makes restic deaf to signals.
func (c *child) drain(read func(wire.Stream, *os.File)) {
	defer close(c.drained)
	other := make(chan struct{})
	go func() {
		defer close(other)
		read(wire.StreamErr, c.pipes[1])
	}()
	read(wire.StreamOut, c.pipes[0])
	<-other
}

// childFailed turns what the child said before it became restic into an outcome.
func (r *run) childFailed(c *child, e restic.Ending) (restic.Outcome, bool) {
	<-c.said
	if c.says == "" {
		return restic.Outcome{}, false
	}
	word, text, _ := strings.Cut(c.says, " ")
	if word == childCanceled || e.Canceled {
		r.note("canceled before %s was started", r.order.Run.Program())
		return r.canceledOutcome(), true
	}
	code, advice := wire.CodeCrashed, "look at the agent's state folder and its disk"
	switch {
	case word == childMissing:
		code, advice = wire.CodeResticMissing, "install restic, or correct restic_path in the agent's configuration"
	case word == childGroup && strings.Contains(text, syscall.ENOSPC.Error()):
		code, advice = wire.CodeNoSpace, "make room on the disk of the agent's state folder"
	}
	err := &wire.JobError{Code: code, Message: fmt.Sprintf("restic was not run: %s; %s", text, advice)}
	r.note("%s", err.Message)
	return restic.Outcome{State: wire.StateFailed, Error: err}, true
}

// unlock removes the lock that a killed restic leaves behind, where the order allows it.
func (r *run) unlock(e restic.Ending) {
	if r.order.Unlock == nil || !r.ran || !e.Killed && e.Signal == 0 {
		return
	}
	removed, err := r.runUnlock()
	if err != nil {
		r.note("unlock after restic was killed: %v", err)
		return
	}
	r.unlocked = true
	r.note("unlock after restic was killed: %d stale locks removed", removed)
}

// prove holds what restic said it did against the repository.
func (r *run) prove(o *restic.Outcome) {
	if r.order.Proof == nil || !o.State.Success() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), r.order.UnlockLimit)
	defer cancel()
	if err := r.order.Proof.Check(ctx); err != nil {
		o.State, o.Error = wire.StateFailed, restic.AsJobError(err)
		r.note("what restic did does not hold: %s", o.Error.Message)
		return
	}
	r.note("the repository was opened by the password that stays")
}

// findExisting turns the failure of an init that found a repository into a success where the password opens it.
func (r *run) findExisting(o *restic.Outcome) {
	if r.order.Existing == nil || o.Error == nil || o.Error.Code != wire.CodeRepositoryExists {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), r.order.UnlockLimit)
	defer cancel()
	id, err := r.order.Existing.CatConfig(ctx)
	if err != nil {
		o.Error = restic.AsJobError(err)
		r.note("the repository that is there cannot be opened: %s", o.Error.Message)
		return
	}
	o.State, o.Error, o.Summary = wire.StateSucceeded, nil, &wire.Summary{RepositoryID: id}
	r.note("the repository is there already, and the password opens it")
}

// leave makes the log, then the result durable. The result has its space; a disk that fails all the
// same is tried again for a while. A folder that is gone does not come back, and nobody waits for it.
func (r *run) leave(o restic.Outcome, e restic.Ending) error {
	if err := failpoint.Hit("supervisor.restic.exited"); err != nil {
		return err
	}
	if err := r.progress.last(); err != nil {
		r.note("the last progress could not be kept: %v", err)
	}
	sum, logErr := r.file.Close()
	if logErr != nil {
		fmt.Fprintln(os.Stderr, time.Now().UTC().Format(time.RFC3339), logErr)
	}
	result := r.result(o, e, sum)
	var err error
	for try := range saveTries {
		if try > 0 {
			time.Sleep(saveRetry)
		}
		if err = r.folder.SaveResult(result); err == nil || errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return err
}

const (
	saveTries = 30
	saveRetry = time.Second
)

func (r *run) result(o restic.Outcome, e restic.Ending, sum spool.LogSum) spool.Result {
	f := wire.FinishRequest{
		State: o.State, Error: o.Error, Summary: o.Summary, Estimate: o.Estimate, Issues: o.Issues, IssuesDropped: o.IssuesDropped,
		SignalSent: e.Canceled || e.TimeLimit,
		StartedAt:  r.started.UTC().Round(0), EndedAt: r.started.Add(r.ended.Sub(r.started)).UTC().Round(0),
		ElapsedSeconds: r.ended.Sub(r.started).Seconds(),
		LogLines:       sum.Lines, LogSHA256: sum.SHA256,
	}
	if r.ran && e.ExitCode >= 0 && e.Signal == 0 {
		f.ExitCode = &e.ExitCode
	}
	return spool.Result{Nonce: r.order.Nonce, Finish: f, ShortSnapshotID: o.ShortSnapshotID, LogDropped: sum.Dropped, Killed: e.Killed, Unlocked: r.unlocked}
}
