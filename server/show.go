package main

import (
	"fmt"

	"github.com/alecthomas/kong"

	"restic-manager/server/config"
)

type configCommand struct {
	Print     configPrintCommand     `cmd:"" help:"Print every setting in force and where it comes from; secrets are hidden."`
	Reference configReferenceCommand `cmd:"" hidden:"" help:"Print the table of docs/configuration.md."`
}

type configPrintCommand struct {
	config.Settings `embed:""`
}

// Run prints the settings, checked as serve checks them.
func (p *configPrintCommand) Run(c console, l *config.Loader, parsed *kong.Context) error {
	if err := l.Complete(&p.Settings); err != nil {
		return err
	}
	var flags []*kong.Flag
	for _, path := range parsed.Path {
		if path.Flag != nil && !path.Resolved {
			flags = append(flags, path.Flag)
		}
	}
	return l.Print(c.out, &p.Settings, flags)
}

type configReferenceCommand struct{}

// Run prints the reference.
func (configReferenceCommand) Run(c console) error {
	_, err := fmt.Fprint(c.out, config.Reference())
	return err
}
