package restic

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"
	"time"

	"restic-manager/shared/wire"
)

// pipesGrace is how long the pipes may stay open after restic's end: a program that it started may hold
// them.
const pipesGrace = 5 * time.Second

// ask runs restic to its end and gives its stdout to answer. Both pipes are drained whatever answer does: a
// full pipe makes restic deaf to signals. Over the limit, or when answer calls stop, restic's group gets
// SIGINT, and SIGKILL after the grace. A failure of restic comes before an error of answer, unless that
// one stopped it.
func (i Invocation) ask(ctx context.Context, limit, grace time.Duration, answer func(r io.Reader, stop func()) error) error {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd, release, err := i.Cmd()
	if err != nil {
		return err
	}
	defer release()
	out, err := newPipe()
	if err != nil {
		return fmt.Errorf("pipe for restic: %w", err)
	}
	defer out.close()
	words, err := newPipe()
	if err != nil {
		return fmt.Errorf("pipe for restic: %w", err)
	}
	defer words.close()
	cmd.Stdout, cmd.Stderr = out.w, words.w
	if err := cmd.Start(); err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			return coded(wire.CodeResticMissing, "restic does not start: %v; %s", err, install)
		}
		return fmt.Errorf("start restic: %w", err)
	}
	out.w.Close()
	words.w.Close()

	p := NewParser(i)
	var stopped atomic.Bool
	answered := out.drain(func(r io.Reader) error {
		return answer(r, func() { stopped.Store(true); cancel() })
	})
	heard := words.drain(func(r io.Reader) error { return feed(p, wire.StreamErr, r) })
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()

	signaled := await(limited, cmd, exited, grace)
	answerErr := settle(cmd, out, answered)
	settle(cmd, words, heard)

	switch {
	case answerErr != nil && stopped.Load():
		return answerErr
	case ctx.Err() != nil && signaled:
		return fmt.Errorf("ask restic: %w", context.Cause(ctx))
	case signaled:
		return overLimit(p, limit)
	}
	if e := endingOf(cmd); e.Signal != 0 || e.ExitCode != 0 {
		f := p.failure(e)
		return &Error{Code: f.Code, Message: f.Message}
	}
	return answerErr
}

// pipe is a pipe whose read end outlives nobody's interest: it is drained to its end.
type pipe struct{ r, w *os.File }

func newPipe() (pipe, error) {
	r, w, err := os.Pipe()
	return pipe{r, w}, err
}

func (p pipe) close() {
	p.r.Close()
	p.w.Close()
}

// drain reads in the background: first f, then whatever it left.
func (p pipe) drain(f func(io.Reader) error) <-chan error {
	done := make(chan error, 1)
	go func() {
		err := f(p.r)
		io.Copy(io.Discard, p.r)
		done <- err
	}()
	return done
}

// await returns when restic is gone, and whether it was sent a signal before.
func await(ctx context.Context, cmd *exec.Cmd, exited <-chan error, grace time.Duration) (signaled bool) {
	select {
	case <-exited:
		return false
	case <-ctx.Done():
	}
	syscall.Kill(-cmd.Process.Pid, syscall.SIGINT)
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-exited:
	case <-timer.C:
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-exited
	}
	return true
}

// settle waits for a pipe's end; what still holds it after a while is ended with restic's group, and what has
// left the group is not waited for.
func settle(cmd *exec.Cmd, p pipe, done <-chan error) error {
	timer := time.NewTimer(pipesGrace)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
	}
	syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	timer.Reset(pipesGrace)
	select {
	case err := <-done:
		return err
	case <-timer.C:
	}
	p.r.Close()
	return <-done
}

// endingOf tells how a process ended that was waited for.
func endingOf(cmd *exec.Cmd) Ending {
	e := Ending{ExitCode: cmd.ProcessState.ExitCode()}
	if s, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && s.Signaled() {
		e.Signal = s.Signal()
	}
	return e
}
