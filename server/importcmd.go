package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"restic-manager/server/foreign"
)

type importCommand struct {
	Resticprofile importResticprofile `cmd:"" help:"Read a configuration of resticprofile: YAML, TOML or JSON."`
	Backrest      importBackrest      `cmd:"" help:"Read the config.json of Backrest."`
}

// importOf is what both have.
type importOf struct {
	File string   `arg:"" help:"The file; - is standard input."`
	Zone string   `placeholder:"ZONE" help:"Time zone of the machine that the file is of, as in Europe/Berlin. Default: UTC."`
	Host []string `sep:"none" placeholder:"NAME" help:"Name of a machine that the policies are for; may be given several times."`
}

type importResticprofile struct {
	importOf `embed:""`
}

// Run prints the document and what is not in it.
func (i importResticprofile) Run(c console) error { return i.run(c, "resticprofile") }

type importBackrest struct {
	importOf `embed:""`
}

// Run prints the document and what is not in it.
func (i importBackrest) Run(c console) error { return i.run(c, "backrest") }

// maxImport is one byte more than what is read.
const maxImport = 512<<10 + 1

func (i importOf) run(c console, kind string) error {
	in, name := c.in, ""
	if i.File != "-" {
		f, err := os.Open(i.File)
		if err != nil {
			return fmt.Errorf("read the configuration: %w", err)
		}
		defer f.Close()
		in, name = f, filepath.Base(i.File)
	}
	text, err := io.ReadAll(io.LimitReader(in, maxImport))
	if err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	o := foreign.Options{Zone: i.Zone, Hosts: i.Host}
	d, err := foreign.Read(kind, name, string(text), o)
	if err != nil {
		return err
	}
	head := []string{"Read from a configuration of " + kind + ". Look at it, name the machines of each policy under hosts, and see",
		"restic-manager apply -f FILE --plan", ""}
	if err := d.File(o).Write(c.out, head...); err != nil {
		return err
	}
	fmt.Fprintf(c.err, "Repositories: %d. Policies: %d.\n", len(d.Repositories), len(d.Policies))
	if len(d.LeftOut) > 0 {
		fmt.Fprintln(c.err, "Not taken over:")
	}
	for _, l := range d.LeftOut {
		fmt.Fprintf(c.err, "  %s: %s\n", escape(l.Where), escape(l.Why))
	}
	return nil
}
