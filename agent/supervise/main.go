package supervise

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"restic-manager/agent/spool"
)

// Takes reports whether the arguments (without the program's name) are for Main.
func Takes(args []string) bool {
	return len(args) > 0 && (args[0] == Subcommand || args[0] == ChildSubcommand)
}

// Main is the supervisor's process, or the child that becomes restic or a hook. args are the program's, without its
// name; the first is one of the subcommands. It returns the exit code; only Start has a use for it.
func Main(args []string) int {
	if !Takes(args) {
		fmt.Fprintln(os.Stderr, "this command is for the agent's own use")
		return 2
	}
	if args[0] == ChildSubcommand {
		return becomeProgram(args[1:])
	}
	return supervise()
}

// Memory of the supervisor: it handles one line at a time and holds no log.
const (
	gcPercent   = 50
	memoryLimit = 32 << 20
)

func supervise() int {
	// Signals are for restic alone: the supervisor ends with restic, by the cancel file or by the time
	// limit. They are caught, not ignored: ignored ones would be inherited. SIGXFSZ is a full disk.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1,
		syscall.SIGUSR2, syscall.SIGXFSZ, syscall.SIGPIPE)
	debug.SetGCPercent(gcPercent)
	debug.SetMemoryLimit(memoryLimit)
	runtime.GOMAXPROCS(min(2, runtime.GOMAXPROCS(0)))
	in, out := os.NewFile(3, "order"), os.NewFile(4, "answer")
	if in == nil || out == nil {
		fmt.Fprintln(os.Stderr, "this command is for the agent's own use")
		return 2
	}
	syscall.CloseOnExec(3)
	syscall.CloseOnExec(4)
	o, err := readOrder(in)
	in.Close()
	if err != nil {
		say(out, sayFailed, err.Error())
		return 1
	}
	s := &supervisor{order: o, folder: spool.OpenFolder(spool.OS{}, o.StateDir, o.JobID, time.Now)}
	word, err := s.claim()
	if err != nil {
		say(out, word, err.Error())
		return 1
	}
	say(out, sayClaimed, "")
	if err := s.run(); err != nil {
		fmt.Fprintln(os.Stderr, time.Now().UTC().Format(time.RFC3339), err)
		return 1
	}
	return 0
}

// say answers Start. An agent that is gone does not hear it.
func say(out *os.File, word, text string) {
	defer out.Close()
	_, _ = out.WriteString(word + " " + strings.ReplaceAll(text, "\n", " ") + "\n")
}
