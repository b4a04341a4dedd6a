package supervise

import (
	"context"
	"syscall"
	"time"

	"restic-manager/agent/restic"
)

const (
	// lookEvery is how often the cancel file is looked for and the log is handed on.
	lookEvery = 250 * time.Millisecond
	// groupGrace is how long what restic left behind has from SIGTERM to SIGKILL.
	groupGrace = 2 * time.Second
	// closeAfter is how long a pipe may stay open after its group is gone: who holds it has left the group.
	closeAfter = time.Second
)

// watch waits for restic's exit; it alone sends signals. Then the pipes are read to their end, what
// restic left behind is ended, and restic is reaped.
func (r *run) watch(c *child) restic.Ending {
	ending := r.await(c)
	r.ended = time.Now()
	r.endDump(c)
	r.settle(c)
	c.reap()
	ending.ExitCode = c.cmd.ProcessState.ExitCode()
	if s, ok := c.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && s.Signaled() {
		ending.Signal = s.Signal()
	}
	ending.NothingRestored = r.order.Run.NothingRestored()
	return ending
}

// await returns on restic's exit, with the record of the signals that were sent.
func (r *run) await(c *child) restic.Ending {
	var e restic.Ending
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var limit, kill <-chan time.Time
	if left, ok := r.left(); ok {
		t := time.NewTimer(left)
		defer t.Stop()
		limit = t.C
	}
	grace := r.order.Grace
	over, refuse := r.dump.watched()
	if r.dump != nil {
		grace = min(grace, hookGrace) // one that waits for input does not hear SIGINT
	}
	stop := func(why string) {
		refuse()
		if kill != nil {
			return
		}
		r.note("%s: SIGINT sent to %s", why, r.order.Run.Program())
		r.signal(c, syscall.SIGINT)
		t := time.NewTimer(grace)
		kill = t.C
	}
	stall := newStall(c.group(), time.Now())
	for {
		select {
		case <-c.exited:
			return e
		case <-limit:
			if limit = nil; !e.Canceled {
				e.TimeLimit = true
				stop("the time limit of " + r.order.Run.TimeLimit.String() + " is over")
			}
		case <-over:
			if over = nil; r.dump.failure != "" && !r.dump.broken && !e.Canceled && !e.TimeLimit {
				r.dumpFirst = true
				stop("the hook " + r.order.Hooks.Stdin + " " + r.dump.failure)
			}
		case <-kill:
			kill = make(chan time.Time) // once
			e.Killed = true
			r.note("restic did not end within %s: SIGKILL sent", grace)
			r.signal(c, syscall.SIGKILL)
		case now := <-tick.C:
			if !e.Canceled && !e.TimeLimit && r.canceled() {
				e.Canceled = true
				stop("canceled")
			}
			r.log.Flush()
			r.progress.tick(now, stall.since(now, c.parser.lastActivity()))
		}
	}
}

func (r *run) signal(c *child, sig syscall.Signal) {
	if err := signalGroup(c.group(), sig); err != nil {
		r.note("%v", err)
	}
}

// settle waits until both pipes are at their end and nothing of the group lives; what is left after
// PipeWait is ended. restic itself is a zombie meanwhile, so that the group's number stays its own.
func (r *run) settle(c *child) {
	if r.quiet(c, r.order.PipeWait) {
		return
	}
	r.note("what %s had started still runs: it is ended", c.what)
	r.signal(c, syscall.SIGTERM)
	if !r.quiet(c, groupGrace) {
		r.signal(c, syscall.SIGKILL)
		if !r.quiet(c, closeAfter) {
			for _, p := range c.pipes {
				p.Close()
			}
		}
	}
	<-c.drained
}

// quiet waits for the end of pipes and group and reports whether it came in time.
func (r *run) quiet(c *child, limit time.Duration) bool {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	// Most often nothing is left: look soon, then rarely.
	wait := time.Millisecond
	drained := c.drained
	for {
		select {
		case <-drained:
			if len(members(c.group())) == 0 {
				return true
			}
			drained = nil
		case <-deadline.C:
			return false
		case <-time.After(wait):
			wait = min(2*wait, lookEvery)
			r.log.Flush()
			if drained == nil && len(members(c.group())) == 0 {
				return true
			}
		}
	}
}

func (r *run) runUnlock() (int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), r.order.UnlockLimit)
	defer cancel()
	return r.order.Unlock.Unlock(ctx)
}
