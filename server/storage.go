package main

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"restic-manager/server/config"
	"restic-manager/server/database"
	"restic-manager/server/fleet"
)

// consoleActor is whoever runs a command on the server: their rights are those of the data folder.
var consoleActor = database.Actor{Kind: "console", Name: "console"}

// openDatabase connects and leaves the schema alone.
func openDatabase(ctx context.Context, s *config.Storage, log *slog.Logger) (*database.DB, error) {
	return database.Open(ctx, database.Options{URL: s.Source(), MaxConnections: s.DatabaseConnections, Log: log})
}

// openExisting opens the database for a command beside the server: it must be there, with the schema of this
// program.
func openExisting(ctx context.Context, l *config.Loader, s *config.Storage) (*database.DB, error) {
	if err := l.CompleteStorage(s); err != nil {
		return nil, err
	}
	if err := mustExist(s); err != nil {
		return nil, err
	}
	db, err := openDatabase(ctx, s, nil)
	if err != nil {
		return nil, err
	}
	if err := db.CheckSchema(ctx); err != nil {
		db.Close()
		return nil, err
	}
	return db, nil
}

// mustExist is an error where opening would make an empty database.
func mustExist(s *config.Storage) error {
	if !s.SQLite() {
		return nil
	}
	if _, err := os.Stat(s.Source()); errors.Is(err, fs.ErrNotExist) {
		return config.Errorf("there is no database at %s: name the server's folder with --data-dir, or make it with restic-manager migrate up", s.Source())
	}
	return nil
}

// holdData makes the data folder and locks it where the database is a file in it.
func holdData(s *config.Storage) (release func(), err error) {
	if s.SQLite() || filepath.Dir(s.KeyFile) == s.DataDir {
		if err := config.MakeDataDir(s.DataDir); err != nil {
			return nil, err
		}
	}
	if !s.SQLite() {
		return func() {}, nil
	}
	return config.LockDataDir(s.DataDir)
}

// migrate brings the schema up to date. A database that a newer program has changed is refused.
func migrate(ctx context.Context, db *database.DB) error {
	if err := db.Migrate(ctx); err != nil {
		return err
	}
	if err := db.CheckSchema(ctx); err != nil {
		return config.Errorf("%v", err)
	}
	return nil
}

// openFleet opens the fleet with its key, or with a new one where the database has none yet.
func openFleet(ctx context.Context, db *database.DB, keyFile string, log *slog.Logger, settings fleet.Settings) (*fleet.Store, error) {
	key, created, err := config.LoadKey(keyFile)
	if err != nil {
		return nil, err
	}
	f, err := fleet.Open(ctx, fleet.Options{DB: db, Key: key, Log: log, Settings: settings})
	switch {
	case database.IsOutage(err):
		return nil, err
	case err != nil && created:
		// A key that opens nothing must not lie where the right one is missed.
		return nil, errors.Join(config.Errorf("there is no encryption key at %s, and the database was made with one: put the copy of it there (%v)", keyFile, err), os.Remove(keyFile))
	case err != nil:
		return nil, config.Errorf("%v", err)
	case created:
		log.Warn("A NEW ENCRYPTION KEY WAS MADE. Copy it to a safe place now, apart from the database's backups: without it the repository passwords in the database are lost.", "file", keyFile)
	}
	return f, nil
}
