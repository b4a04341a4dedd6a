package main

import (
	"context"
	"fmt"
	"time"

	"restic-manager/server/config"
	"restic-manager/server/fleet"
)

type tokenCommand struct {
	Create tokenCreateCommand `cmd:"" help:"Make a token that enrolls one machine, and print it."`
}

type tokenCreateCommand struct {
	config.Storage `embed:""`
	PublicURL      string            `name:"public-url" placeholder:"URL" help:"URL of the server, for the command that is shown."`
	Name           string            `placeholder:"NAME" help:"Name the machine will have. Default: its host name."`
	Label          map[string]string `placeholder:"KEY=VALUE" mapsep:"," help:"Label the machine will have; may be given several times."`
	Expires        config.Duration   `placeholder:"TIME" default:"1h" help:"How long the token is good for."`
}

// Run prints the token alone on standard output, for scripts, and what to do with it beside.
func (t *tokenCreateCommand) Run(ctx context.Context, c console, l *config.Loader) error {
	db, err := openExisting(ctx, l, &t.Storage)
	if err != nil {
		return err
	}
	defer db.Close()
	f, err := openFleet(ctx, db, t.KeyFile, newLogger(c.err, "info", "auto"), fleet.Settings{})
	if err != nil {
		return err
	}
	token, secret, err := f.CreateEnrollmentToken(ctx, consoleActor,
		fleet.NewEnrollmentToken{Name: t.Name, Labels: t.Label, ExpiresIn: time.Duration(t.Expires)})
	if err != nil {
		return err
	}
	url := t.PublicURL
	if url == "" {
		url = "https://THIS-SERVER"
	}
	fmt.Fprintf(c.err, "Good for one machine until %s. On that machine:\n  restic-manager-agent enroll --server %s --token …\n",
		token.ExpiresAt.Format(time.RFC3339), url)
	_, err = fmt.Fprintln(c.out, secret)
	return err
}
