package supervise

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"restic-manager/agent/spool"
	"restic-manager/shared/wire"
)

// The child says on an inherited file why it did not become restic, or a hook: a word and text. The file closes
// by itself when it does.
const (
	childCanceled = "canceled"
	childGroup    = "group"
	childExec     = "exec"
	childMissing  = "missing"
	// childNote is no failure: what follows on its line is for the log.
	childNote = "note"
)

// How a child comes to be what it becomes.
const (
	// modeLead leads a process group, which it records, unless the job is canceled.
	modeLead = "lead"
	// modeAfter is modeLead for a hook after restic, which no cancel keeps from running.
	modeAfter = "after"
	// modeJoin is in the group of restic, which is recorded.
	modeJoin = "join"
)

// become turns a command into that of the child, which inherits the lock and says why it fails. release closes this
// side's ends. group is that of modeJoin.
func (s *supervisor) become(cmd *exec.Cmd, mode string, group int) (says *os.File, release func(), err error) {
	says, saysW, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	argv := cmd.Args
	child := self(append([]string{ChildSubcommand, s.order.StateDir, s.order.JobID, strconv.Itoa(os.Getpid()),
		strconv.Itoa(3 + len(cmd.ExtraFiles)), mode, strconv.Itoa(s.order.Nice), string(s.order.IOClass), cmd.Path}, argv...)...)
	cmd.Path, cmd.Args, cmd.Err = child.Path, child.Args, nil
	cmd.ExtraFiles = append(cmd.ExtraFiles, saysW, s.shared.File())
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid, cmd.SysProcAttr.Pgid = true, group
	return says, func() { saysW.Close() }, nil
}

// becomeProgram records the process group and becomes restic, or a hook. Its environment is that one's already.
func becomeProgram(args []string) int {
	if len(args) < 9 {
		fmt.Fprintln(os.Stderr, "this command is for the agent's own use")
		return 2
	}
	parent, err1 := strconv.Atoi(args[2])
	fd, err2 := strconv.Atoi(args[3])
	nice, err3 := strconv.Atoi(args[5])
	if err1 != nil || err2 != nil || err3 != nil {
		return 2
	}
	says := os.NewFile(uintptr(fd), "says")
	syscall.CloseOnExec(fd)
	folder := spool.OpenFolder(spool.OS{}, args[0], args[1], time.Now)
	if word, err := becomeGroup(folder, args[4], parent); err != nil {
		fmt.Fprintf(says, "%s %v", word, err)
		return 1
	}
	// Priorities are a thread's, and the program gets those of the one that becomes it.
	runtime.LockOSThread()
	for _, err := range giveWay(nice, wire.IOClass(args[6])) {
		fmt.Fprintf(says, "%s %v\n", childNote, err)
	}
	err := syscall.Exec(args[7], args[8:], os.Environ())
	word := childExec
	if errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.ENOEXEC) || errors.Is(err, syscall.ENOTDIR) {
		word = childMissing
	}
	fmt.Fprintf(says, "%s %v", word, err)
	return 1
}

// becomeGroup does what comes before the program: with an error it is not run.
func becomeGroup(folder *spool.Folder, mode string, parent int) (word string, err error) {
	if mode != modeJoin {
		if word, err := leadGroup(folder, mode); err != nil {
			return word, err
		}
	}
	// A supervisor that died meanwhile leaves nobody to drain the pipes.
	if os.Getppid() != parent {
		return childGroup, errors.New("the supervisor is gone")
	}
	return "", nil
}

func leadGroup(folder *spool.Folder, mode string) (word string, err error) {
	pid := os.Getpid()
	g := spool.Group{PGID: syscall.Getpgrp(), StartTicks: startTicks(pid), MachineBoot: machineBoot()}
	if g.PGID != pid {
		return childGroup, errors.New("this process does not lead its group")
	}
	if err := folder.SaveGroup(g); err != nil {
		return childGroup, err
	}
	if canceled, err := folder.Canceled(); err == nil && canceled && mode != modeAfter {
		return childCanceled, errors.New("canceled before restic was started")
	}
	return "", nil
}
