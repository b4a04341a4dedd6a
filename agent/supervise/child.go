package supervise

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"restic-manager/agent/restic"
	"restic-manager/agent/spool"
)

// The child says on its last inherited file why it did not become restic: a word and text. The file closes
// by itself when it does.
const (
	childCanceled = "canceled"
	childGroup    = "group"
	childExec     = "exec"
	childMissing  = "missing"
)

// childCommand turns restic's command into that of the child, which inherits the lock and says is why it
// fails. release closes this side's ends.
func (s *supervisor) childCommand(i restic.Invocation) (cmd *exec.Cmd, says *os.File, release func(), err error) {
	cmd, releasePassword, err := i.Cmd()
	if err != nil {
		return nil, nil, nil, err
	}
	says, saysW, err := os.Pipe()
	if err != nil {
		releasePassword()
		return nil, nil, nil, err
	}
	argv := cmd.Args
	child := self(append([]string{ChildSubcommand, s.order.StateDir, s.order.JobID, strconv.Itoa(os.Getpid()),
		strconv.Itoa(3 + len(cmd.ExtraFiles)), cmd.Path}, argv...)...)
	cmd.Path, cmd.Args, cmd.Err = child.Path, child.Args, nil
	cmd.ExtraFiles = append(cmd.ExtraFiles, saysW, s.shared.File())
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	return cmd, says, func() { releasePassword(); saysW.Close() }, nil
}

// becomeRestic records the process group and becomes restic. Its environment is restic's already.
func becomeRestic(args []string) int {
	if len(args) < 6 {
		fmt.Fprintln(os.Stderr, "this command is for the agent's own use")
		return 2
	}
	parent, err1 := strconv.Atoi(args[2])
	fd, err2 := strconv.Atoi(args[3])
	if err1 != nil || err2 != nil {
		return 2
	}
	says := os.NewFile(uintptr(fd), "says")
	syscall.CloseOnExec(fd)
	folder := spool.OpenFolder(spool.OS{}, args[0], args[1], time.Now)
	if word, err := becomeGroup(folder, parent); err != nil {
		fmt.Fprintf(says, "%s %v", word, err)
		return 1
	}
	err := syscall.Exec(args[4], args[5:], os.Environ())
	word := childExec
	if errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.ENOEXEC) || errors.Is(err, syscall.ENOTDIR) {
		word = childMissing
	}
	fmt.Fprintf(says, "%s %v", word, err)
	return 1
}

// becomeGroup does what comes before restic: with an error restic is not run.
func becomeGroup(folder *spool.Folder, parent int) (word string, err error) {
	pid := os.Getpid()
	g := spool.Group{PGID: syscall.Getpgrp(), StartTicks: startTicks(pid), MachineBoot: machineBoot()}
	if g.PGID != pid {
		return childGroup, errors.New("this process does not lead its group")
	}
	if err := folder.SaveGroup(g); err != nil {
		return childGroup, err
	}
	if canceled, err := folder.Canceled(); err == nil && canceled {
		return childCanceled, errors.New("canceled before restic was started")
	}
	// A supervisor that died meanwhile leaves nobody to drain the pipes.
	if os.Getppid() != parent {
		return childGroup, errors.New("the supervisor is gone")
	}
	return "", nil
}
