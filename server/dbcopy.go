package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"text/tabwriter"

	"restic-manager/server/config"
	"restic-manager/server/database"
	"restic-manager/server/database/transfer"
	"restic-manager/server/fleet"
)

type dbCommand struct {
	Copy dbCopyCommand `cmd:"" help:"Copy a whole database into an empty one, as from SQLite to PostgreSQL, and check every row."`
}

type dbCopyCommand struct {
	From string `required:"" placeholder:"URL" env:"RESTIC_MANAGER_COPY_FROM" help:"Database that is read: postgres://… or the path of an SQLite file. Stop its servers first."`
	To   string `required:"" placeholder:"URL" env:"RESTIC_MANAGER_COPY_TO" help:"Empty database that is written."`
}

// Run copies with the folder of an SQLite file held: what a server wrote after the copy would be lost with the old one.
func (d *dbCopyCommand) Run(ctx context.Context, c console) error {
	from, closeFrom, err := openStopped(ctx, d.From)
	if err != nil {
		return err
	}
	defer closeFrom()
	if err := from.CheckSchema(ctx); err != nil {
		return fmt.Errorf("%s: %w", database.Redact(d.From), err)
	}
	if !database.IsPostgres(d.To) {
		if err := config.MakeDataDir(filepath.Dir(d.To)); err != nil {
			return err
		}
	}
	to, err := openEmpty(ctx, d.To)
	if err != nil {
		return err
	}
	defer to.Close()
	copied, err := transfer.Copy(ctx, from, to)
	if err != nil {
		return err
	}
	if err := showCopied(c.out, copied); err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.out, "Every row was read again and is the same. Now set database_url to %s, keep the encryption key where it is, and start the server.\n", database.Redact(d.To))
	return err
}

// openStopped opens a database that must be there, on which no server works as far as that can be seen.
func openStopped(ctx context.Context, url string) (*database.DB, func(), error) {
	release := func() {}
	if !database.IsPostgres(url) {
		if err := mustBeFile(url); err != nil {
			return nil, nil, err
		}
		var err error
		if release, err = config.LockDataDir(filepath.Dir(url)); err != nil {
			return nil, nil, err
		}
	}
	db, err := database.Open(ctx, database.Options{URL: url})
	if err != nil {
		release()
		return nil, nil, err
	}
	return db, func() { db.Close(); release() }, nil
}

// openEmpty opens a database and makes the schema in it.
func openEmpty(ctx context.Context, url string) (*database.DB, error) {
	db, err := database.Open(ctx, database.Options{URL: url})
	if err != nil {
		return nil, err
	}
	if err := migrate(ctx, db); err != nil {
		db.Close()
		return nil, err
	}
	return db, nil
}

func mustBeFile(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no database at %s", path)
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a file: name the database's file itself", path)
	}
	return nil
}

func showCopied(out io.Writer, copied []transfer.Table) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "TABLE\tROWS")
	for _, t := range copied {
		fmt.Fprintf(w, "%s\t%d\n", t.Name, t.Rows)
	}
	return w.Flush()
}

type backupCommand struct {
	config.Storage `embed:""`
	To             string `required:"" type:"path" placeholder:"FILE" help:"File that is written; there must be none yet. It is an SQLite database, whichever the server has."`
}

// Run writes the backup beside its name first: a file of that name is whole.
func (b *backupCommand) Run(ctx context.Context, c console, l *config.Loader) error {
	if _, err := os.Lstat(b.To); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is a file at %s: name one that is not there yet", b.To)
	}
	from, err := openExisting(ctx, l, &b.Storage)
	if err != nil {
		return err
	}
	defer from.Close()
	part := b.To + ".part"
	defer removeSQLite(part)
	removeSQLite(part) // of one that was interrupted
	to, err := openEmpty(ctx, part)
	if err != nil {
		return err
	}
	copied, err := transfer.Copy(ctx, from, to)
	if err = errors.Join(err, to.Close(), os.Chmod(part, 0o600)); err != nil { // closing moves the write-ahead log into the file
		return err
	}
	if err := putInPlace(part, b.To); err != nil {
		return err
	}
	if err := showCopied(c.out, copied); err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.out, "Wrote %s. The encryption key is not in it: keep a copy of %s at another place. Without it the repository passwords in the backup cannot be read.\n", b.To, b.KeyFile)
	return err
}

// putInPlace gives a finished file its name, durably.
func putInPlace(part, name string) error {
	if err := syncPath(part); err != nil {
		return err
	}
	if err := os.Link(part, name); err != nil { // unlike a rename it replaces nothing
		return err
	}
	return syncPath(filepath.Dir(name))
}

func syncPath(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// removeSQLite removes a database's files.
func removeSQLite(name string) {
	for _, end := range []string{"", "-wal", "-shm", "-journal"} {
		os.Remove(name + end)
	}
}

type restoreCommand struct {
	config.Storage `embed:""`
	From           string `required:"" type:"existingfile" placeholder:"FILE" help:"File that restic-manager backup wrote, by this version or an earlier one."`
}

// Run restores into the database of the settings, which must hold nothing.
func (r *restoreCommand) Run(ctx context.Context, c console, l *config.Loader) error {
	if err := l.CompleteStorage(&r.Storage); err != nil {
		return err
	}
	release, err := holdData(&r.Storage)
	if err != nil {
		return err
	}
	defer release()
	from, drop, err := openBackup(ctx, r.From)
	if err != nil {
		return err
	}
	defer drop()
	to, err := openEmpty(ctx, r.Source())
	if err != nil {
		return err
	}
	defer to.Close()
	copied, err := transfer.Copy(ctx, from, to)
	if errors.Is(err, transfer.ErrNotEmpty) && r.SQLite() {
		return fmt.Errorf("%w, or move %s away", err, r.Source())
	}
	if err != nil {
		return err
	}
	if err := showCopied(c.out, copied); err != nil {
		return err
	}
	if _, err := os.Stat(r.KeyFile); errors.Is(err, fs.ErrNotExist) {
		_, err = fmt.Fprintf(c.out, "Restored. Before the server is started, put the copy of its encryption key at %s.\n", r.KeyFile)
		return err
	}
	if _, err := openFleet(ctx, to, r.KeyFile, newLogger(c.err, "info", "auto"), fleet.Settings{}); err != nil {
		return fmt.Errorf("the database is restored, but the encryption key at %s is not the one it was made with: put the copy of that one there (%w)", r.KeyFile, err)
	}
	_, err = fmt.Fprintln(c.out, "Restored, and its encryption key is the right one. Start the server: the machines go on by themselves.")
	return err
}

// openBackup opens a copy of the file, brought to this program's schema: the backup itself stays as it is.
func openBackup(ctx context.Context, name string) (*database.DB, func(), error) {
	dir, err := os.MkdirTemp(filepath.Dir(name), ".restore-*")
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		dir, err = os.MkdirTemp("", "restic-manager-restore-*")
	}
	if err != nil {
		return nil, nil, err
	}
	drop := func() { os.RemoveAll(dir) }
	own := filepath.Join(dir, "backup.db")
	if err := copyFile(name, own); err != nil {
		drop()
		return nil, nil, err
	}
	db, err := database.Open(ctx, database.Options{URL: own})
	if err == nil {
		version, asked := db.SchemaVersion(ctx)
		switch {
		case asked != nil:
			err = asked
		case version == 0:
			err = errors.New("it holds no data of restic-manager")
		default:
			err = migrate(ctx, db)
		}
		if err != nil {
			db.Close()
		}
	}
	if err != nil {
		drop()
		return nil, nil, fmt.Errorf("%s cannot be restored: %w", name, err)
	}
	return db, func() { db.Close(); drop() }, nil
}

func copyFile(from, to string) (err error) {
	r, err := os.Open(from)
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	_, err = io.Copy(w, r)
	return err
}
