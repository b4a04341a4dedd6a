// Package migrations is the schema of the database, one file per step and engine. The two folders hold the
// same steps under the same numbers; a file is never edited once it has landed.
package migrations

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed postgres/*.sql sqlite/*.sql
var files embed.FS

// Dialect names the engine.
type Dialect string

// The engines.
const (
	Postgres Dialect = "postgres"
	SQLite   Dialect = "sqlite"
)

// Status is one step and whether the database has it.
type Status struct {
	Version int64
	Name    string
	Applied bool
}

// Up applies what is missing, each step in a transaction of its own. On PostgreSQL a session lock makes
// other replicas wait (PostgreSQL manual, "Advisory Locks").
func Up(ctx context.Context, db *sql.DB, dialect Dialect) error {
	p, err := provider(db, dialect)
	if err != nil {
		return err
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrate the database: %w", err)
	}
	return nil
}

// State tells every step known to this program or to the database.
func State(ctx context.Context, db *sql.DB, dialect Dialect) ([]Status, error) {
	p, err := provider(db, dialect)
	if err != nil {
		return nil, err
	}
	steps, err := p.Status(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the state of the schema: %w", err)
	}
	status := make([]Status, 0, len(steps))
	for _, s := range steps {
		status = append(status, Status{Version: s.Source.Version, Name: s.Source.Path, Applied: s.State == goose.StateApplied})
	}
	return status, nil
}

// Version is the number of the newest step that the database has.
func Version(ctx context.Context, db *sql.DB, dialect Dialect) (int64, error) {
	p, err := provider(db, dialect)
	if err != nil {
		return 0, err
	}
	version, err := p.GetDBVersion(ctx)
	if err != nil {
		return 0, fmt.Errorf("read the state of the schema: %w", err)
	}
	return version, nil
}

// Check is an error when the database lacks a step, or has one that this program does not know: then the
// program is older than the data and must not touch it.
func Check(ctx context.Context, db *sql.DB, dialect Dialect) error {
	p, err := provider(db, dialect)
	if err != nil {
		return err
	}
	current, target, err := p.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("read the state of the schema: %w", err)
	}
	switch {
	case current > target:
		return fmt.Errorf("the database has schema %d, this program knows %d: run the newer restic-manager again", current, target)
	case current < target:
		return fmt.Errorf("the database has schema %d, this program needs %d: run restic-manager migrate up", current, target)
	}
	return nil
}

func provider(db *sql.DB, dialect Dialect) (*goose.Provider, error) {
	steps, err := fs.Sub(files, string(dialect))
	if err != nil {
		return nil, err
	}
	if dialect == Postgres {
		locker, err := lock.NewPostgresSessionLocker()
		if err != nil {
			return nil, err
		}
		return goose.NewProvider(goose.DialectPostgres, db, steps, goose.WithSessionLocker(locker))
	}
	return goose.NewProvider(goose.DialectSQLite3, db, steps)
}
