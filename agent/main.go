// Command restic-manager-agent runs on each machine whose data is backed up: it fetches orders from the
// server, lets restic do them, and reports. See docs/enroll.md and docs/guard.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"restic-manager/agent/estimate"
	"restic-manager/agent/supervise"
	"restic-manager/shared/coredump"
)

func main() {
	// Before anything secret is in memory. What becomes restic has the limit from its supervisor, and is not hidden:
	// should its supervisor die first, it is told by the files it has open.
	if len(os.Args) < 2 || os.Args[1] != supervise.ChildSubcommand {
		if err := coredump.Forbid(); err != nil {
			fmt.Fprintln(os.Stderr, "restic-manager-agent: a crash could leave secrets in a core file:", err)
		}
	}
	// Asked first: a supervisor lives as long as restic and should be nothing but that.
	if supervise.Takes(os.Args[1:]) {
		os.Exit(supervise.Main(os.Args[1:]))
	}
	if estimate.Takes(os.Args[1:]) {
		os.Exit(estimate.Main(os.Args[1:]))
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := execute(ctx, console{os.Stdout, os.Stderr, os.Getenv}, os.Args[1:])
	stop()
	os.Exit(code)
}

// Exit codes, after sysexits.h where it has one. The unit file keeps 76 to 78 from being restarted.
const (
	exitFailure   = 1
	exitUsage     = 2
	exitTemporary = 75 // EX_TEMPFAIL: the same again later may do
	exitProtocol  = 76 // EX_PROTOCOL: this agent is too old for the server
	exitRefused   = 77 // EX_NOPERM: the server does not take the token or the agent
	exitConfig    = 78 // EX_CONFIG: agent.yaml, or what was said on the command line, cannot work
)

// console is where a command's words go and its environment comes from.
type console struct {
	out, err io.Writer
	env      func(string) string
}

// failure is an error with the exit code it means.
type failure struct {
	code int
	err  error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func fail(code int, err error) error {
	if err == nil {
		return nil
	}
	return &failure{code, err}
}

// commands are the program's command line.
type commands struct {
	Enroll  enrollCommand  `cmd:"" help:"Register this machine with a server by an enrollment token, then exit."`
	Run     runCommand     `cmd:"" help:"Fetch and do the server's orders until stopped. Jobs go on when it is."`
	Status  statusCommand  `cmd:"" help:"Say how the agent of this machine is, and what to do."`
	Doctor  doctorCommand  `cmd:"" help:"Find out what keeps this machine from its server or from its work, and say what to do."`
	Version versionCommand `cmd:"" help:"Print the version."`
}

// folders are the flags that say where the agent's files are.
type folders struct {
	Config   string `placeholder:"FILE" type:"path" help:"agent.yaml. Default: /etc/restic-manager/agent.yaml for root, $XDG_CONFIG_HOME/restic-manager/agent.yaml otherwise. guard.yaml lies beside it."`
	StateDir string `placeholder:"DIR" type:"path" help:"Folder of jobs and status. Default: $STATE_DIRECTORY where systemd sets it, /var/lib/restic-manager-agent for root, $XDG_STATE_HOME/restic-manager-agent otherwise."`
}

// execute does one command and returns the exit code.
func execute(ctx context.Context, c console, args []string) int {
	// kong ends the process by itself after --help; the code comes back as a panic of our own here.
	code, err := parseAndRun(ctx, c, args)
	if err == nil {
		return code
	}
	fmt.Fprintln(c.err, "restic-manager-agent:", err)
	if f, ok := errors.AsType[*failure](err); ok {
		return f.code
	}
	return exitFailure
}

// ended is how kong's wish to end the process travels up to parseAndRun.
type ended struct{ code int }

func parseAndRun(ctx context.Context, c console, args []string) (code int, err error) {
	defer func() {
		if r := recover(); r != nil {
			e, ours := r.(ended)
			if !ours {
				panic(r)
			}
			code, err = e.code, nil
		}
	}()
	var cmds commands
	parser, err := kong.New(&cmds,
		kong.Name("restic-manager-agent"),
		kong.Description("The agent of restic-manager: runs restic on this machine as its server orders, within what guard.yaml allows."),
		kong.Writers(c.out, c.err),
		kong.Exit(func(code int) { panic(ended{code}) }),
		kong.UsageOnError(),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(c),
	)
	if err != nil {
		return 0, err
	}
	selected, err := parser.Parse(args)
	if err != nil {
		return 0, fail(exitUsage, fmt.Errorf("%w; see restic-manager-agent --help", err))
	}
	return 0, selected.Run()
}
