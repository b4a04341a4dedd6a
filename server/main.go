// Command restic-manager is the central server: it keeps the fleet's queue, logs and snapshots, and serves
// agents and people over HTTP. docs/configuration.md tells its settings.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // images without the files know time zones too

	"github.com/alecthomas/kong"

	"restic-manager/server/config"
	"restic-manager/shared/coredump"
)

func main() {
	// Before anything secret is in memory.
	if err := coredump.Forbid(); err != nil {
		fmt.Fprintln(os.Stderr, "restic-manager: a crash could leave secrets in a core file:", err)
	}
	syscall.Umask(0o077) // the database is nobody else's to read, whatever the folder's mode
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := execute(ctx, console{out: os.Stdout, err: os.Stderr, in: os.Stdin, env: os.Environ(), file: config.DefaultFile}, os.Args[1:])
	stop()
	os.Exit(code)
}

// exitFailure and exitUsage are exit codes; a wrong setting is 78 (config.Error).
const (
	exitFailure = 1
	exitUsage   = 2
)

// console is where a command's words go and where its settings come from.
type console struct {
	out, err io.Writer
	in       io.Reader
	env      []string
	file     string      // YAML file that is read where it exists
	terminal func() bool // whether somebody can be asked; nil: standard input says it
}

// commands are the program's command line.
type commands struct {
	ConfigFile string `name:"config" placeholder:"FILE" help:"YAML file with settings. Default: /etc/restic-manager/server.yaml where it exists."`

	Serve       serveCommand       `cmd:"" help:"Run the server until a signal."`
	Migrate     migrateCommand     `cmd:"" help:"Look at the database's schema, or bring it up to date; serve does so by itself."`
	Backup      backupCommand      `cmd:"" help:"Write all the server knows into one file, while it runs or not."`
	Restore     restoreCommand     `cmd:"" help:"Read such a file into an empty database."`
	DB          dbCommand          `cmd:"" name:"db" help:"Move the server's data from one database to another."`
	User        userCommand        `cmd:"" help:"Add operators, list them, give them new passwords."`
	Token       tokenCommand       `cmd:"" help:"Make tokens that enroll machines."`
	ConfigShown configCommand      `cmd:"" name:"config" help:"Show the settings in force."`
	Apply       applyCommand       `cmd:"" help:"Make a server's repositories, labels and policies what a file says, after showing what that would do."`
	Export      exportCommand      `cmd:"" help:"Write a server's repositories, labels and policies to a file that apply takes."`
	Import      importCommand      `cmd:"" help:"Turn another program's configuration of restic into such a file; what could not be taken over is told."`
	Openapi     openapiCommand     `cmd:"" help:"Print the API's description (OpenAPI 3.1, JSON)."`
	Healthcheck healthcheckCommand `cmd:"" help:"Ask the server on this machine whether it lives; exit 1 when not."`
	Doctor      doctorCommand      `cmd:"" help:"Find out whether this server is well, and say what to do; writes nothing."`
	Version     versionCommand     `cmd:"" help:"Print the version."`
}

// execute does one command and returns the exit code.
func execute(ctx context.Context, c console, args []string) int {
	err := parseAndRun(ctx, c, args)
	if err == nil {
		return 0
	}
	if e, ok := errors.AsType[ended](err); ok {
		return e.code
	}
	_, parsing := errors.AsType[*kong.ParseError](err)
	wrong, setting := errors.AsType[*config.Error](err)
	if parsing && setting {
		err = wrong // the parser puts the flag before it that it happened to ask for
	}
	fmt.Fprintln(c.err, "restic-manager:", redact(err.Error()))
	if setting {
		return wrong.ExitCode()
	}
	if parsing {
		fmt.Fprintln(c.err, "See restic-manager --help.")
		return exitUsage
	}
	return exitFailure
}

// ended is how kong's wish to end the process (after --help) becomes an error.
type ended struct{ code int }

func (ended) Error() string { return "ended" }

func parseAndRun(ctx context.Context, c console, args []string) (err error) {
	defer func() {
		if r := recover(); r != nil {
			e, ours := r.(ended)
			if !ours {
				panic(r)
			}
			err = e
		}
	}()
	loader := config.NewLoader(c.env, c.file)
	var cmds commands
	parser, err := kong.New(&cmds,
		kong.Name("restic-manager"),
		kong.Description("Central manager for restic backups across many machines. Settings come from flags, RESTIC_MANAGER_* variables and a YAML file."),
		kong.Writers(c.out, c.err),
		kong.Exit(func(code int) { panic(ended{code}) }),
		kong.Resolvers(loader),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(c, loader),
	)
	if err != nil {
		return err
	}
	selected, err := parser.Parse(args)
	if err != nil {
		return err
	}
	return selected.Run(selected)
}
