package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/mattn/go-isatty"

	"restic-manager/server/api"
	"restic-manager/server/ascode"
	"restic-manager/server/fleetfile"
)

// remote says which server a command speaks to, as a client of its API.
type remote struct {
	Server       string   `placeholder:"URL" help:"The server's address, as in https://backup.example.com."`
	APIKeyFile   string   `name:"api-key-file" placeholder:"FILE" help:"A file with the API key. Without it the key is taken from RESTIC_MANAGER_API_KEY."`
	CAFile       string   `name:"ca-file" placeholder:"FILE" help:"Trust only servers that these certificates (PEM) vouch for."`
	CertPin      []string `name:"cert-pin" sep:"none" placeholder:"SHA256" help:"Trust only a server with this certificate; may be given several times."`
	InsecureHTTP bool     `name:"insecure-http" help:"Send the key over plain HTTP to another machine."`
}

// open makes the client. The key comes from nowhere that other programs of the machine can read.
func (r remote) open(c console) (*ascode.Client, error) {
	server := r.Server
	if server == "" {
		server, _ = c.getenv("RESTIC_MANAGER_SERVER")
	}
	if server == "" {
		return nil, errors.New("which server? Give --server URL, or set RESTIC_MANAGER_SERVER")
	}
	key, _ := c.getenv("RESTIC_MANAGER_API_KEY")
	if r.APIKeyFile != "" {
		raw, err := os.ReadFile(r.APIKeyFile)
		if err != nil {
			return nil, fmt.Errorf("--api-key-file: %w", err)
		}
		key = strings.TrimSpace(string(raw))
	}
	return ascode.New(ascode.Options{Server: server, Key: key, CAFile: r.CAFile, CertPins: r.CertPin, Insecure: r.InsecureHTTP, Version: serverVersion()})
}

// getenv looks into the environment that the program was started with.
func (c console) getenv(name string) (value string, set bool) {
	for _, e := range c.env {
		if k, v, _ := strings.Cut(e, "="); k == name {
			value, set = v, true
		}
	}
	return value, set
}

type exportCommand struct {
	remote `embed:""`
	Output string `short:"o" placeholder:"FILE" help:"Write to this file in place of standard output."`
}

// Run writes the document.
func (e *exportCommand) Run(ctx context.Context, c console) error {
	client, err := e.open(c)
	if err != nil {
		return err
	}
	f, err := client.Export(ctx)
	if err != nil {
		return err
	}
	if e.Output == "" || e.Output == "-" {
		return f.Write(c.out, ascode.Head...)
	}
	return writeWhole(e.Output, func(w io.Writer) error { return f.Write(w, ascode.Head...) })
}

// writeWhole puts a file in its place when all of it is written, so that a failure leaves what was there.
func writeWhole(path string, write func(io.Writer) error) (err error) {
	if info, err := os.Lstat(path); err == nil && !info.Mode().IsRegular() || err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is no plain file", path)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".fleet-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name()) // what it was begun for has failed; that is told
		}
	}()
	if err = errors.Join(write(f), f.Sync(), f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

type applyCommand struct {
	remote `embed:""`
	File   string `short:"f" placeholder:"FILE" help:"The file; - is standard input."`
	Plan   bool   `help:"Only show what would be done. Exit code 0: nothing is to do, 2: something is."`
	Yes    bool   `help:"Do not ask before it is done."`
	Prune  bool   `help:"Also remove policies and repositories that the file does not name."`
	Schema bool   `help:"Print the JSON schema of the file, for editors, and do nothing else."`
}

// Exit codes of apply beside 0 and 1.
const (
	exitPending = 2 // with --plan: something is to do
	exitUnasked = 3 // there is nobody to ask, and no --yes
)

// Run plans, shows, asks and does.
func (a *applyCommand) Run(ctx context.Context, c console) error {
	if a.Schema {
		_, err := c.out.Write(api.Schema(fleetfile.Type(), "The fleet of restic-manager as a file"))
		return err
	}
	f, name, err := a.read(c)
	if err != nil {
		return err
	}
	client, err := a.open(c)
	if err != nil {
		return err
	}
	plan, err := client.Plan(ctx, name, f, ascode.Asked{Prune: a.Prune, Getenv: c.getenv})
	if err != nil {
		return err
	}
	if err := plan.Write(c.out); err != nil {
		return err
	}
	n := len(plan.Changes)
	switch {
	case n == 0:
		return nil
	case a.Plan:
		return ended{exitPending}
	case !a.Yes && a.File == "-", !a.Yes && !c.asks():
		fmt.Fprintln(c.err, "restic-manager: nothing was applied: there is no terminal to ask on. Look at the plan above, and give --yes to apply it.")
		return ended{exitUnasked}
	case !a.Yes:
		if !c.confirm(fmt.Sprintf("Apply %s? [y/N] ", these(n))) {
			fmt.Fprintln(c.err, "Nothing was applied.")
			return ended{exitFailure}
		}
	}
	done, err := plan.Apply(ctx, func(ch ascode.Change) { fmt.Fprintf(c.out, "done: %s %s %s\n", ch.Verb, ch.Noun, ch.Name) })
	if err == nil {
		fmt.Fprintf(c.out, "Applied %s.\n", counted(done))
		return nil
	}
	fmt.Fprintf(c.err, "Applied %d of %d changes. Not applied:\n", done, n)
	for _, ch := range plan.Changes[done:] {
		fmt.Fprintf(c.err, "  %s %s %s\n", ch.Verb, ch.Noun, ch.Name)
	}
	return err
}

func counted(n int) string {
	if n == 1 {
		return "1 change"
	}
	return fmt.Sprintf("%d changes", n)
}

func these(n int) string {
	if n == 1 {
		return "this change"
	}
	return fmt.Sprintf("these %d changes", n)
}

func (a *applyCommand) read(c console) (f fleetfile.File, name string, err error) {
	switch a.File {
	case "":
		return f, "", errors.New("which file? Give it with -f FILE")
	case "-":
		f, err = fleetfile.Read("standard input", c.in)
		return f, "standard input", err
	}
	file, err := os.Open(a.File)
	if err != nil {
		return f, "", fmt.Errorf("read the fleet: %w", err)
	}
	defer file.Close()
	f, err = fleetfile.Read(a.File, file)
	return f, a.File, err
}

// asks reports whether somebody sits at the other end of standard input.
func (c console) asks() bool {
	if c.terminal != nil {
		return c.terminal()
	}
	f, ok := c.in.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

// confirm is a question whose answer is no unless it is yes.
func (c console) confirm(question string) bool {
	fmt.Fprint(c.out, question)
	answer, _ := bufio.NewReader(c.in).ReadString('\n') // nothing is no
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return true
	}
	return false
}
