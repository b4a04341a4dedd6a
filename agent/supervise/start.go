package supervise

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"restic-manager/agent/spool"
	"restic-manager/shared/failpoint"
)

// Subcommands of the agent's binary that Main takes.
const (
	Subcommand      = "supervise"
	ChildSubcommand = "supervise-child"
)

// Errors of Start: nothing runs under the order's nonce, for good.
var (
	// ErrClaimed says that somebody else has the claim of this nonce.
	ErrClaimed = errors.New("the job is claimed already")
	// ErrSpent says that the ledger has the job's id: it was run before and is never run again.
	ErrSpent = errors.New("the job was run before")
	// ErrAlive says that a supervisor, or a restic that lost its own, lives in the job's folder.
	ErrAlive = errors.New("a supervisor or its restic is still alive")
)

// Process is a supervisor that this process started.
type Process struct {
	// PID is the supervisor's.
	PID  int
	done chan struct{}
}

// Done is closed when the supervisor is gone: its result, if it left one, is there then.
func (p *Process) Done() <-chan struct{} { return p.done }

// answer is what the supervisor says once: a word, a blank, and text.
const (
	sayClaimed = "claimed"
	sayLost    = "lost"
	saySpent   = "spent"
	sayAlive   = "alive"
	sayFailed  = "failed"
)

// Start starts a supervisor and waits until it has claimed the job. The supervisor outlives this process.
// With ErrClaimed, ErrSpent or ErrAlive nothing was and will be run by it. With any other error, one of the
// context included, it may have claimed the job or may yet: look at the folder (Facts), and link the claim
// as abandoned before you give the job up.
func Start(ctx context.Context, o Order) (*Process, error) {
	body, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("start the supervisor of job %s: %w", o.JobID, err)
	}
	p, answer, err := spawn(o, body)
	if err != nil {
		return nil, fmt.Errorf("start the supervisor of job %s: %w", o.JobID, err)
	}
	defer answer.Close()
	// Closing the pipe ends the reading when the context does.
	stop := context.AfterFunc(ctx, func() { answer.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	line, err := bufio.NewReader(io.LimitReader(answer, 4<<10)).ReadString('\n')
	if ctx.Err() != nil {
		return p, fmt.Errorf("wait for the supervisor of job %s: %w", o.JobID, ctx.Err())
	}
	if err != nil {
		return p, fmt.Errorf("the supervisor of job %s ended without a word; %s may say why", o.JobID, stderrPath(o))
	}
	word, text, _ := strings.Cut(strings.TrimSpace(line), " ")
	switch word {
	case sayClaimed:
		return p, nil
	case sayLost:
		return p, ErrClaimed
	case saySpent:
		return p, ErrSpent
	case sayAlive:
		return p, ErrAlive
	}
	return p, fmt.Errorf("the supervisor of job %s failed: %s", o.JobID, text)
}

func stderrPath(o Order) string {
	return filepath.Join(spool.OpenFolder(spool.OS{}, o.StateDir, o.JobID, time.Now).Dir(), "supervisor.stderr")
}

// spawn starts the process and writes the order into its pipe.
func spawn(o Order, body []byte) (*Process, *os.File, error) {
	orderR, orderW, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	defer orderR.Close()
	answerR, answerW, err := os.Pipe()
	if err != nil {
		orderW.Close()
		return nil, nil, err
	}
	defer answerW.Close()
	cmd := self(Subcommand, o.JobID)
	cmd.ExtraFiles = []*os.File{orderR, answerW} // 3 and 4
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if f, err := os.OpenFile(stderrPath(o), os.O_WRONLY|os.O_CREATE|os.O_APPEND|syscall.O_NOFOLLOW, 0o600); err == nil {
		defer f.Close()
		cmd.Stderr = f
	}
	if err := cmd.Start(); err != nil {
		orderW.Close()
		answerR.Close()
		return nil, nil, err
	}
	p := &Process{PID: cmd.Process.Pid, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		_ = cmd.Wait() // it is judged by what it left in the folder
	}()
	go func() {
		// A supervisor that dies breaks the pipe; its answer is missing then.
		defer orderW.Close()
		_, _ = orderW.Write(body)
	}()
	return p, answerR, nil
}

// self is this binary once more, also when its file was replaced by an upgrade since.
func self(args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	if name, err := os.Executable(); err == nil {
		cmd.Args[0] = filepath.Base(name)
	}
	cmd.Dir = "/"
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, failpoint.Environment()...)
	return cmd
}

// Wait returns when no supervisor lives in the folder: at once, or when the one that another process
// started is gone.
func Wait(ctx context.Context, f *spool.Folder) error {
	t := time.NewTicker(250 * time.Millisecond)
	defer t.Stop()
	for {
		alive, err := f.SupervisorAlive()
		if err != nil || !alive {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
	}
}
