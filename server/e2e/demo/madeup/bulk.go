package madeup

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	_ "github.com/glebarez/go-sqlite" // the server's driver: what it writes, the server reads
	"github.com/jackc/pgx/v5"

	"restic-manager/server/database"
)

// bulk writes many rows fast into one of the two databases. Everything is one piece: until commit nobody sees any of
// it, and without commit it is as if it had never been begun.
type bulk interface {
	insert(ctx context.Context, table string, columns []string, rows [][]any) error
	exec(ctx context.Context, statement string) error
	// texts is the first column of a query.
	texts(ctx context.Context, query string) ([]string, error)
	commit(ctx context.Context) error
	// abandon ends what was not committed.
	abandon()
}

// filledTables are those whose indexes and foreign keys are taken off while they are filled: to sort once is several
// times faster than to insert into each place, and a database checks all keys at once faster than one by one.
const filledTables = `('audit', 'hosts', 'jobs', 'logs', 'log_chunks', 'snapshots')`

// loosen takes off indexes and foreign keys and gives the statements that put them back.
func loosen(ctx context.Context, b bulk, postgres bool) (tighten []string, err error) {
	drop, again := `SELECT 'DROP INDEX ' || name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL AND tbl_name IN `+filledTables+` ORDER BY name`,
		`SELECT sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL AND tbl_name IN `+filledTables+` ORDER BY name`
	if postgres {
		const indexes = ` FROM pg_indexes WHERE schemaname = current_schema() AND tablename IN ` + filledTables + `
			AND NOT EXISTS (SELECT 1 FROM pg_constraint c WHERE c.conname = indexname)`
		const keys = ` FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid WHERE c.contype = 'f' AND t.relname IN ` + filledTables
		drop = `SELECT 'DROP INDEX ' || quote_ident(indexname)` + indexes +
			` UNION ALL SELECT 'ALTER TABLE ' || quote_ident(t.relname) || ' DROP CONSTRAINT ' || quote_ident(c.conname)` + keys
		again = `SELECT indexdef` + indexes +
			` UNION ALL SELECT 'ALTER TABLE ' || quote_ident(t.relname) || ' ADD CONSTRAINT ' || quote_ident(c.conname) || ' ' || pg_get_constraintdef(c.oid)` + keys
	}
	if tighten, err = b.texts(ctx, again); err != nil {
		return nil, err
	}
	drops, err := b.texts(ctx, drop)
	if err != nil {
		return nil, err
	}
	return tighten, all(ctx, b, drops...)
}

func all(ctx context.Context, b bulk, statements ...string) error {
	for _, s := range statements {
		if err := b.exec(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// open migrates the empty database and begins.
func open(ctx context.Context, o Options) (bulk, error) {
	if database.IsPostgres(o.Database) {
		return openPostgres(ctx, o)
	}
	return openSQLite(ctx, o)
}

func migrate(ctx context.Context, target string, o Options) error {
	db, err := database.Open(ctx, database.Options{URL: target})
	if err != nil {
		return err
	}
	if err = db.Migrate(ctx); err == nil {
		err = administrator(ctx, db, o)
	}
	return errors.Join(err, db.Close())
}

type postgres struct {
	c  *pgx.Conn
	tx pgx.Tx
}

func openPostgres(ctx context.Context, o Options) (bulk, error) {
	target := o.Database
	if err := migrate(ctx, target, o); err != nil {
		return nil, err
	}
	c, err := pgx.Connect(ctx, target)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", database.Redact(target), err)
	}
	p := &postgres{c: c}
	if err := p.begin(ctx); err != nil {
		p.abandon()
		return nil, err
	}
	return p, nil
}

func (p *postgres) begin(ctx context.Context) (err error) {
	if p.tx, err = p.c.Begin(ctx); err != nil {
		return err
	}
	// The rows can be made up again: nothing waits for the disk but the commit.
	if err := p.exec(ctx, "SET LOCAL maintenance_work_mem = '512MB'"); err != nil {
		return err
	}
	var hosts int
	if err := p.tx.QueryRow(ctx, "SELECT count(*) FROM hosts").Scan(&hosts); err != nil {
		return err
	}
	if hosts > 0 {
		return fmt.Errorf("the database holds %d hosts: give an empty one", hosts)
	}
	return nil
}

func (p *postgres) insert(ctx context.Context, table string, columns []string, rows [][]any) error {
	if _, err := p.tx.CopyFrom(ctx, pgx.Identifier{table}, columns, pgx.CopyFromRows(rows)); err != nil {
		return fmt.Errorf("fill %s: %w", table, err)
	}
	return nil
}

func (p *postgres) exec(ctx context.Context, statement string) error {
	if _, err := p.tx.Exec(ctx, statement); err != nil {
		return fmt.Errorf("%.60s: %w", statement, err)
	}
	return nil
}

func (p *postgres) texts(ctx context.Context, query string) ([]string, error) {
	rows, err := p.tx.Query(ctx, query)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// commit also counts the rows, as the database does by itself a minute later.
func (p *postgres) commit(ctx context.Context) error {
	if err := p.tx.Commit(ctx); err != nil {
		return err
	}
	_, err := p.c.Exec(ctx, "VACUUM (ANALYZE)")
	return errors.Join(err, p.c.Close(ctx))
}

func (p *postgres) abandon() { _ = p.c.Close(context.Background()) }

// lite fills a file under another name, which becomes the database by its renaming: so it needs no journal.
type lite struct {
	target, filling string
	pool            *sql.DB
	c               *sql.Conn
	prepared        map[string]*sql.Stmt
}

func openSQLite(ctx context.Context, o Options) (bulk, error) {
	target := o.Database
	if _, err := os.Stat(target); !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is there already: give the path of a new file", target)
	}
	path, err := filepath.Abs(target)
	if err != nil {
		return nil, err
	}
	l := &lite{target: path, filling: path + ".filling", prepared: map[string]*sql.Stmt{}}
	l.remove()
	if err := migrate(ctx, l.filling, o); err != nil {
		l.remove()
		return nil, err
	}
	l.pool, err = sql.Open("sqlite", "file:"+(&url.URL{Path: l.filling}).EscapedPath())
	if err == nil {
		l.c, err = l.pool.Conn(ctx)
	}
	if err == nil {
		err = all(ctx, l, "PRAGMA journal_mode = OFF", "PRAGMA synchronous = OFF", "PRAGMA locking_mode = EXCLUSIVE",
			"PRAGMA cache_size = -262144", "PRAGMA foreign_keys = OFF", "BEGIN")
	}
	if err != nil {
		l.abandon()
		return nil, err
	}
	return l, nil
}

// rowsAtOnce is how many rows one statement holds: more gain nothing, fewer cost a call each.
const rowsAtOnce = 16

func (l *lite) insert(ctx context.Context, table string, columns []string, rows [][]any) error {
	args := make([]any, 0, rowsAtOnce*len(columns))
	for len(rows) > 0 {
		n := 1
		if len(rows) >= rowsAtOnce {
			n = rowsAtOnce
		}
		s, err := l.prepare(table, columns, n)
		if err != nil {
			return err
		}
		args = args[:0]
		for _, row := range rows[:n] {
			args = append(args, row...)
		}
		// Without a deadline: for one, the driver starts a goroutine with each statement.
		if _, err := s.ExecContext(context.WithoutCancel(ctx), args...); err != nil {
			return fmt.Errorf("fill %s: %w", table, err)
		}
		rows = rows[n:]
	}
	return ctx.Err()
}

func (l *lite) prepare(table string, columns []string, n int) (*sql.Stmt, error) {
	one := "(" + strings.Repeat("?, ", len(columns)-1) + "?)"
	query := "INSERT INTO " + table + " (" + strings.Join(columns, ", ") + ") VALUES " + strings.Repeat(one+", ", n-1) + one
	if s := l.prepared[query]; s != nil {
		return s, nil
	}
	s, err := l.c.PrepareContext(context.Background(), query)
	if err != nil {
		return nil, fmt.Errorf("fill %s: %w", table, err)
	}
	l.prepared[query] = s
	return s, nil
}

func (l *lite) exec(ctx context.Context, statement string) error {
	if _, err := l.c.ExecContext(ctx, statement); err != nil {
		return fmt.Errorf("%.60s: %w", statement, err)
	}
	return nil
}

func (l *lite) texts(ctx context.Context, query string) (list []string, err error) {
	rows, err := l.c.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, rows.Err()
}

func (l *lite) commit(ctx context.Context) error {
	lost, err := l.texts(ctx, `SELECT "table" || ' ' || coalesce(rowid, 0) FROM pragma_foreign_key_check LIMIT 5`)
	if err == nil && len(lost) > 0 {
		err = fmt.Errorf("rows that belong to nothing: %s", strings.Join(lost, ", "))
	}
	if err == nil {
		err = l.exec(ctx, "COMMIT")
	}
	if err != nil {
		l.abandon()
		return err
	}
	if err := l.close(); err != nil {
		return err
	}
	if err := sync(l.filling); err != nil {
		return err
	}
	return os.Rename(l.filling, l.target)
}

func sync(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func (l *lite) close() error {
	var errs error
	for _, s := range l.prepared {
		errs = errors.Join(errs, s.Close())
	}
	if l.c != nil {
		errs = errors.Join(errs, l.c.Close())
	}
	return errors.Join(errs, l.pool.Close())
}

func (l *lite) abandon() {
	_ = l.close()
	l.remove()
}

func (l *lite) remove() {
	for _, end := range []string{"", "-wal", "-shm", "-journal"} {
		_ = os.Remove(l.filling + end)
	}
}
