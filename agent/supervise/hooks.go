package supervise

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode/utf8"

	"restic-manager/agent/hook"
	"restic-manager/agent/restic"
	"restic-manager/agent/spool"
	"restic-manager/shared/failpoint"
	"restic-manager/shared/wire"
)

const (
	// hookGrace is how long a hook, and a restic that reads what one writes, has from its first signal to SIGKILL.
	hookGrace = 10 * time.Second
	// maxHookWords bounds what a failure quotes of a hook's last line.
	maxHookWords = 300
)

// stopped says who ended a hook.
type stopped int

const (
	itself stopped = iota
	byCancel
	byJobLimit
)

// left is what is left of the job's time limit; ok is false where there is none.
func (r *run) left() (left time.Duration, ok bool) {
	limit := r.order.Run.TimeLimit
	if limit <= 0 {
		return 0, false
	}
	return max(limit-time.Since(r.started), 0), true
}

// before runs the hooks before restic; stop: restic is not to be run.
func (r *run) before() (o restic.Outcome, e restic.Ending, stop bool) {
	for n, name := range r.order.Hooks.Before {
		if r.canceled() {
			r.note("canceled before the hook %s was begun", name)
			return r.canceledOutcome(), e, true
		}
		run, by := r.hook(hook.Before, n, name, "")
		switch {
		case by == byCancel:
			e.Canceled = true
			return restic.Outcome{State: wire.StateCanceled, Error: &wire.JobError{Code: wire.CodeCanceled,
				Message: "canceled; the hook " + name + " was ended and restic was not run"}}, e, true
		case by == byJobLimit:
			e.TimeLimit = true
			return restic.Outcome{State: wire.StateFailed, Error: &wire.JobError{Code: wire.CodeTimeLimit,
				Message: "the job's time limit was reached while the hook " + name + " ran, before restic; raise the limit, or see in the log what took so long"}}, e, true
		case run.Failure == "":
		case r.order.Hooks.Continue:
			r.failed++
		default:
			r.note("restic is not run, because the hook %s failed", name)
			return restic.Outcome{State: wire.StateFailed, Error: &wire.JobError{Code: wire.CodeHookFailed,
				Message: "the hook " + name + " before the backup " + run.Failure + "; restic was not run. Mend the script on the host, then start the job again"}}, e, true
		}
	}
	return o, e, false
}

// after runs the hooks after restic, however it ended, and adds to the outcome what became of all hooks.
func (r *run) after(o restic.Outcome) restic.Outcome {
	if r.begun {
		for n, name := range r.order.Hooks.After {
			run, _ := r.hook(hook.After, n, name, r.state(o.State))
			if run.Failure != "" {
				r.failed++
			}
			r.ended = time.Now()
		}
	}
	o.State = r.state(o.State)
	if len(r.hooks) > 0 {
		if o.Summary == nil {
			o.Summary = &wire.Summary{}
		}
		o.Summary.Hooks = r.hooks
	}
	return o
}

// state is what the state of restic's outcome is with the hooks that failed.
func (r *run) state(s wire.State) wire.State {
	if s == wire.StateSucceeded && r.failed > 0 {
		return wire.StateSucceededWithIssues
	}
	return s
}

// hook runs one hook to its end.
func (r *run) hook(stage hook.Stage, n int, name string, result wire.State) (wire.HookRun, stopped) {
	began := time.Now()
	out := wire.HookRun{Name: name, Stage: string(stage)}
	mode, limit := modeLead, r.order.Hooks.Limit
	if stage == hook.After {
		mode = modeAfter
	}
	words := &hookWords{log: r.log, name: name}
	c, err := r.beginHook(stage, n, name, result, mode, 0, words.read)
	if err != nil {
		out.Failure = "was not run: " + err.Error()
		r.note("the hook %s %s", name, out.Failure)
		r.hooks = append(r.hooks, out)
		return out, itself
	}
	if stage == hook.Before {
		r.begun = true
	}
	by, why := r.awaitHook(c, stage, limit)
	r.settle(c)
	c.end()
	out.Failure = c.failure(why, words)
	out.ElapsedSeconds = time.Since(began).Seconds()
	if out.Failure != "" {
		r.note("the hook %s %s", name, out.Failure)
	} else {
		r.note("the hook %s has ended", name)
	}
	r.hooks = append(r.hooks, out)
	return out, by
}

var errBegun = errors.New("it was begun before, and is never begun twice")

// beginHook looks at the hook's file once more, marks it as begun and starts it.
func (r *run) beginHook(stage hook.Stage, n int, name string, result wire.State, mode string, group int, read func(wire.Stream, *os.File)) (*child, error) {
	h := r.order.Hooks
	path, err := hook.Path(h.Dir, name, h.UID)
	if err != nil {
		return nil, err
	}
	first, err := r.folder.BeginHook(string(stage), n)
	if spool.IsNoSpace(err) {
		return nil, fmt.Errorf("the disk of the agent's state folder is full: %w; make room there", err)
	}
	if err != nil {
		return nil, err
	}
	if !first {
		return nil, errBegun
	}
	if err := failpoint.Hit("supervisor.hook.marked"); err != nil {
		return nil, err
	}
	told := h.Told
	told.Stage, told.Result = stage, result
	cmd := exec.Command(path)
	cmd.Dir, cmd.Env = "/", told.Environment()
	cmd.Args = []string{path}
	c := &child{what: "the hook " + name, cmd: cmd, joined: group}
	r.note("running the hook %s (%s)", name, stage)
	if err := r.start(c, mode, read); err != nil {
		return nil, err
	}
	return c, nil
}

// awaitHook returns on the exit of a hook before or after restic, with why it was ended; empty: it ended by itself.
func (r *run) awaitHook(c *child, stage hook.Stage, limit time.Duration) (by stopped, why string) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var over, jobOver, kill <-chan time.Time
	if limit > 0 {
		t := time.NewTimer(limit)
		defer t.Stop()
		over = t.C
	}
	if left, ok := r.left(); ok && stage == hook.Before {
		t := time.NewTimer(left)
		defer t.Stop()
		jobOver = t.C
	}
	stop := func(who stopped, text string) {
		if why != "" {
			return
		}
		by, why = who, text
		r.note("%s %s: SIGTERM sent", c.what, text)
		r.signal(c, syscall.SIGTERM)
		kill = time.After(hookGrace)
	}
	for {
		select {
		case <-c.exited:
			return by, why
		case <-over:
			stop(itself, "did not end within "+limit.String())
		case <-jobOver:
			stop(byJobLimit, "ran into the job's time limit")
		case <-kill:
			kill = nil
			r.note("%s did not end within %s: SIGKILL sent", c.what, hookGrace)
			r.signal(c, syscall.SIGKILL)
			_ = syscall.Kill(c.cmd.Process.Pid, syscall.SIGKILL) // it may have left its group
		case <-tick.C:
			if stage == hook.Before && r.canceled() {
				stop(byCancel, "was canceled")
			}
			r.log.Flush()
		}
	}
}

// end reaps a hook, of whose group nothing is left. One that left its group is killed; its pid is its own until then.
func (c *child) end() {
	select {
	case <-c.exited:
	case <-time.After(closeAfter):
		_ = syscall.Kill(c.cmd.Process.Pid, syscall.SIGKILL)
		<-c.exited
	}
	c.reap()
}

// failure says how a hook failed, once it is reaped; empty: it did not. why is why it was ended here.
func (c *child) failure(why string, words *hookWords) string {
	<-c.said
	if why != "" {
		return why
	}
	if c.says != "" {
		_, text, _ := strings.Cut(c.says, " ")
		return "cannot be run: " + text
	}
	state := c.cmd.ProcessState
	if state == nil || state.Success() {
		return ""
	}
	text := fmt.Sprintf("ended with exit code %d", state.ExitCode())
	if s, ok := state.Sys().(syscall.WaitStatus); ok && s.Signaled() {
		text = fmt.Sprintf("was ended by a signal (%s)", s.Signal())
	}
	if last := words.lastLine(); last != "" {
		text += ": " + last
	}
	return text
}

// hookWords makes a hook's output lines of the log, and remembers the last one for people.
type hookWords struct {
	log  logger
	name string
	mu   sync.Mutex // guards last
	last string
}

func (w *hookWords) read(s wire.Stream, pipe *os.File) {
	prefix := []byte(w.name + ": ")
	lines := restic.NewLineReader(pipe, restic.MaxLine)
	for {
		line, _, err := lines.Next()
		if err != nil {
			return
		}
		if s == wire.StreamErr {
			w.mu.Lock()
			w.last = shown(line)
			w.mu.Unlock()
		}
		w.log.Line(time.Now(), s, append(prefix[:len(prefix):len(prefix)], line...))
	}
}

func (w *hookWords) lastLine() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last
}

// shown makes one short line for people of what a hook wrote.
func shown(line []byte) string {
	s := strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f || c == utf8.RuneError {
			return ' '
		}
		return c
	}, string(line[:min(len(line), 4*maxHookWords)]))
	s = strings.TrimSpace(s)
	for len(s) > maxHookWords {
		_, size := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-size]
	}
	return s
}

// FinishHooks begins those hooks after restic that the job's supervisor, which is gone with all of its group, did not
// begin, if restic or a hook before it was. Each must be allowed; note is told what happens. ErrAlive: somebody lives in
// the folder. Nothing is begun twice, whoever is killed meanwhile: what this process began and could not wait for is
// ended by the next one, as restic is.
func FinishHooks(ctx context.Context, f *spool.Folder, h Hooks, allowed func(name string) error, note func(string)) error {
	if len(h.After) == 0 {
		return nil
	}
	began, err := anythingBegan(f, h)
	if err != nil || !began {
		return err
	}
	own, err := f.LockRun()
	if errors.Is(err, spool.ErrLocked) {
		return ErrAlive
	}
	if err != nil {
		return err
	}
	r := &run{supervisor: &supervisor{order: Order{StateDir: f.StateDir(), JobID: f.ID(), Hooks: h}.orDefault(), folder: f, shared: own}, log: noter(note), started: time.Now()}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer own.Close()
		for n, name := range h.After {
			if begun, err := f.HookBegun(string(hook.After), n); err != nil || begun || ctx.Err() != nil {
				continue
			}
			if err := allowed(name); err != nil {
				note(err.Error())
				continue
			}
			r.hook(hook.After, n, name, wire.StateFailed)
		}
	}()
	select {
	case <-done:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err() // a process that is stopped does not wait for a hook
	}
}

// anythingBegan: a group was recorded for restic or for a hook, or a hook before was marked, which may have begun.
func anythingBegan(f *spool.Folder, h Hooks) (bool, error) {
	for n := range h.Before {
		if began, err := f.HookBegun(string(hook.Before), n); began || err != nil {
			return began, err
		}
	}
	g, err := f.Group()
	if _, damaged := errors.AsType[*spool.DamagedError](err); damaged {
		return true, nil
	}
	return g != nil, err
}

// noter is a logger of a job whose log is complete.
type noter func(string)

func (n noter) Line(_ time.Time, _ wire.Stream, line []byte) { n(shown(line)) }
func (n noter) Note(_ time.Time, text string)                { n(text) }
func (n noter) Flush()                                       {}
