package main

import (
	"context"
	"fmt"
	"text/tabwriter"

	"restic-manager/server/config"
)

type migrateCommand struct {
	Status migrateStatusCommand `cmd:"" help:"List the steps of the schema and whether the database has them."`
	Up     migrateUpCommand     `cmd:"" help:"Bring the schema up to date."`
}

type migrateStatusCommand struct {
	config.Storage `embed:""`
}

// Run lists the steps.
func (m *migrateStatusCommand) Run(ctx context.Context, c console, l *config.Loader) error {
	if err := l.CompleteStorage(&m.Storage); err != nil {
		return err
	}
	if err := mustExist(&m.Storage); err != nil {
		return err
	}
	db, err := openDatabase(ctx, &m.Storage, nil)
	if err != nil {
		return err
	}
	defer db.Close()
	steps, err := db.MigrationStatus(ctx)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "STEP\tNAME\tSTATE")
	for _, s := range steps {
		state := "missing"
		if s.Applied {
			state = "applied"
		}
		fmt.Fprintf(w, "%d\t%s\t%s\n", s.Version, s.Name, state)
	}
	return w.Flush()
}

type migrateUpCommand struct {
	config.Storage `embed:""`
}

// Run migrates, with the data folder held so that no server works on it meanwhile.
func (m *migrateUpCommand) Run(ctx context.Context, c console, l *config.Loader) error {
	if err := l.CompleteStorage(&m.Storage); err != nil {
		return err
	}
	release, err := holdData(&m.Storage)
	if err != nil {
		return err
	}
	defer release()
	db, err := openDatabase(ctx, &m.Storage, nil)
	if err != nil {
		return err
	}
	defer db.Close()
	if err := migrate(ctx, db); err != nil {
		return err
	}
	_, err = fmt.Fprintln(c.out, "The schema is up to date.")
	return err
}
