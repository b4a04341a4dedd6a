package supervise

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"restic-manager/agent/hook"
	"restic-manager/agent/restic"
	"restic-manager/shared/wire"
)

// input is restic's standard input where a hook writes what is backed up. restic takes the end of its input for the end
// of the dump and makes a snapshot, and some versions make one when reading fails. So neither may come from a death: it
// is a socket whose writing end restic has open too, so that it stays open whoever dies, and the end is made by
// shutdown(2), which works on the socket and not on a file of it.
type input struct{ read, write *os.File }

func newInput() (*input, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socket for what a hook writes: %w", err)
	}
	return &input{read: os.NewFile(uintptr(fds[0]), "input"), write: os.NewFile(uintptr(fds[1]), "dump")}, nil
}

// end says that the dump is complete.
func (i *input) end() error { return unix.Shutdown(int(i.write.Fd()), unix.SHUT_WR) }

// dump is the hook that writes what restic backs up, in restic's process group.
type dump struct {
	in    *input
	c     *child // nil: it could not be started
	words *hookWords
	began time.Time
	// copied is closed at the end of the hook's output, or when restic takes no more; copyErr says why then.
	copied  chan struct{}
	copyErr error
	said    chan struct{} // closed at the end of its stderr
	bytes   atomic.Int64
	// waits is since when the copy waits for the hook, in nanoseconds since began; 0: it waits for restic.
	waits atomic.Int64
	// over is closed when it is known how the hook ended; failure says how it failed then.
	over    chan struct{}
	failure string
	// broken: it failed because restic takes no more.
	broken bool

	mu      sync.Mutex // guards refused
	refused bool       // the input is not ended any more
}

// startDump starts the hook that restic, which runs, reads.
func (r *run) startDump(in *input, c *child) {
	name := r.order.Hooks.Stdin
	d := &dump{in: in, began: time.Now(), words: &hookWords{log: r.log, name: name}, copied: make(chan struct{}), said: make(chan struct{}), over: make(chan struct{})}
	r.dump = d
	var err error
	d.c, err = r.beginHook(hook.Stdin, 0, name, "", modeJoin, c.group(), func(s wire.Stream, pipe *os.File) {
		if s == wire.StreamErr {
			defer close(d.said)
			d.words.read(s, pipe)
			return
		}
		defer close(d.copied)
		d.copyErr = d.copy(pipe)
	})
	if err != nil {
		d.c, d.failure = nil, "was not run: "+err.Error()
		close(d.over)
		return
	}
	go d.lead(r.order.Hooks.StdinLimit, r.order.PipeWait)
}

// copy takes the hook's output to restic.
func (d *dump) copy(pipe *os.File) error {
	buf := make([]byte, 128<<10)
	for {
		d.waits.Store(int64(time.Since(d.began)) | 1)
		n, err := pipe.Read(buf)
		d.waits.Store(0)
		if n > 0 {
			if _, err := d.in.write.Write(buf[:n]); err != nil {
				return err
			}
			d.bytes.Add(int64(n))
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// lead waits for the hook's end, and ends restic's input only when all of it is known to be good.
func (d *dump) lead(limit, pipeWait time.Duration) {
	defer close(d.over)
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var late <-chan time.Time
	if limit > 0 {
		t := time.NewTimer(limit)
		defer t.Stop()
		late = t.C
	}
	exited, copied := d.c.exited, d.copied
	for exited != nil || copied != nil {
		select {
		case <-late:
			d.failure = "did not end within " + limit.String()
			return
		case <-exited:
			exited = nil
			d.c.reap()
			select { // its last words say why it failed
			case <-d.said:
			case <-time.After(lookEvery):
			}
			if d.failure = d.c.failure("", d.words); d.failure != "" {
				return
			}
		case <-copied:
			copied = nil
		case <-tick.C:
			// A slow restic is no reason: only a silence that the hook, which is gone, could have ended.
			if since := d.waits.Load(); exited == nil && since > 0 && time.Since(d.began)-time.Duration(since) > pipeWait {
				d.failure = "has ended, but something that it started holds its output: it is not known to be complete"
				return
			}
		}
	}
	d.failure = d.complete()
}

func (d *dump) complete() string {
	switch {
	case d.copyErr != nil:
		d.broken = errors.Is(d.copyErr, syscall.EPIPE)
		return "could not write on: " + d.copyErr.Error()
	case d.bytes.Load() == 0:
		return "wrote nothing"
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.refused {
		return "had not ended when restic was stopped"
	}
	if err := d.in.end(); err != nil {
		return "has ended, but restic cannot be told: " + err.Error()
	}
	return ""
}

// watched is for who waits for restic: over says that the hook has ended, refuse keeps restic's input from being ended.
func (d *dump) watched() (over chan struct{}, refuse func()) {
	if d == nil {
		return nil, func() {}
	}
	return d.over, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.refused = true
	}
}

// endDump ends what is left of the hook once restic has ended, and says what became of it. restic is a zombie still: the
// group's number is its own.
func (r *run) endDump(c *child) {
	d := r.dump
	if d == nil {
		return
	}
	_, refuse := d.watched()
	refuse()
	out := wire.HookRun{Name: r.order.Hooks.Stdin, Stage: string(hook.Stdin)}
	if d.c != nil {
		select {
		case <-d.over:
		default:
			r.note("restic has ended before the hook %s: SIGTERM sent", out.Name)
			r.signal(c, syscall.SIGTERM)
		}
		r.settle(d.c)
		<-d.over
		d.c.end()
		out.ElapsedSeconds, out.Bytes = time.Since(d.began).Seconds(), d.bytes.Load()
	}
	d.in.write.Close()
	if out.Failure = d.failure; out.Failure != "" {
		r.note("the hook %s %s", out.Name, out.Failure)
	} else {
		r.note("the hook %s wrote %d bytes", out.Name, out.Bytes)
	}
	r.hooks = append(r.hooks, out)
}

// dumped is restic's outcome with that of the hook it read. What ended the hook from here is the cause, not the hook.
func (r *run) dumped(o restic.Outcome, e restic.Ending) restic.Outcome {
	d := r.dump
	if d == nil || d.failure == "" || e.Canceled || e.TimeLimit {
		return o
	}
	if !r.dumpFirst && o.State == wire.StateFailed {
		return o // restic failed by itself
	}
	return restic.Outcome{State: wire.StateFailed, Error: &wire.JobError{Code: wire.CodeHookFailed,
		Message: "the hook " + r.order.Hooks.Stdin + " " + d.failure + "; restic was ended and made no snapshot. Mend the script on the host, then start the job again"}}
}
