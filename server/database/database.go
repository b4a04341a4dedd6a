// Package database opens the one database, SQLite or PostgreSQL, and gives transactions on it: with the
// clock that decides, with the topics that wake waiters after the commit, and with the audit trail that
// commits or vanishes with the change it tells of. fleet and access stand on it.
package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/glebarez/sqlite"
	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"restic-manager/migrations"
)

// Options say which database and how to look at it.
type Options struct {
	// URL is postgres://… or postgresql://…, or the path of an SQLite file.
	URL string
	// MaxConnections bounds the pool on PostgreSQL; 0 is 20.
	MaxConnections int
	// Now replaces the deciding clock, for tests; nil is the database's clock on PostgreSQL and the
	// process's on SQLite.
	Now func() time.Time
	// Log takes what goes wrong in the background; nil discards.
	Log *slog.Logger
	// ReadOnly opens an SQLite file so that nothing can be written to it; one that is not there is an error.
	ReadOnly bool
}

// DB is an open database. Reads may run beside each other; on SQLite all writes go through one
// connection, so that they queue in the process and not in busy loops.
type DB struct {
	// Hub tells waiters what changed, here and on other replicas.
	Hub *Hub

	read, write *gorm.DB
	url         string
	postgres    bool
	now         func() time.Time
	log         *slog.Logger
	stop        context.CancelFunc
	listening   chan struct{} // closed when listen has ended
	outbox      *outbox       // nil on SQLite: there are no other replicas
	ahead       atomic.Int64  // nanoseconds that the database's clock was ahead of the process's when last read
}

// Open connects and starts to listen for other replicas' topics. The schema is not touched; see Migrate.
func Open(ctx context.Context, o Options) (*DB, error) {
	d := &DB{url: o.URL, postgres: IsPostgres(o.URL), now: o.Now, log: o.Log, listening: make(chan struct{})}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if d.postgres {
		err = d.openPostgres(o)
	} else {
		err = d.openSQLite(o.ReadOnly)
	}
	if err != nil {
		return nil, err
	}
	if err := d.Ping(ctx); err != nil {
		d.closePools()
		return nil, fmt.Errorf("connect to the database %s: %w", Redact(o.URL), err)
	}
	if _, err := d.Now(ctx); err != nil {
		d.closePools()
		return nil, err
	}
	d.Hub = newHub(d.sharedClock)
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	d.stop = stop
	if d.postgres {
		d.outbox = newOutbox()
		go d.listen(background)
		go d.tell(background)
	} else {
		close(d.listening)
	}
	return d, nil
}

// IsPostgres reports whether the URL names a PostgreSQL database.
func IsPostgres(u string) bool {
	return strings.HasPrefix(u, "postgres://") || strings.HasPrefix(u, "postgresql://")
}

// Redact hides the password of a database URL.
func Redact(u string) string {
	if !IsPostgres(u) {
		return u
	}
	parsed, err := url.Parse(u)
	if err != nil {
		return "postgres://…"
	}
	q := parsed.Query()
	for _, k := range []string{"password", "sslpassword"} {
		if q.Has(k) {
			q.Set(k, "xxxxx")
		}
	}
	parsed.RawQuery = q.Encode()
	return parsed.Redacted()
}

func (d *DB) config() *gorm.Config {
	return &gorm.Config{
		SkipDefaultTransaction: true,
		TranslateError:         true,
		Logger:                 logger.Discard, // errors are returned, and logged where they end
		NowFunc:                func() time.Time { return Truncate(time.Now()) },
	}
}

func (d *DB) openPostgres(o Options) error {
	db, err := gorm.Open(postgres.New(postgres.Config{DSN: o.URL}), d.config())
	if err != nil {
		return fmt.Errorf("open the database %s: %w", Redact(o.URL), redactError(err, o.URL))
	}
	pool, err := db.DB()
	if err != nil {
		return err
	}
	size := o.MaxConnections
	if size == 0 {
		size = 20
	}
	pool.SetMaxOpenConns(size)
	pool.SetMaxIdleConns(size)
	pool.SetConnMaxIdleTime(5 * time.Minute)
	d.read, d.write = db, db
	return nil
}

// openSQLite: WAL, and synchronous=FULL, because what was answered must be on disk; NORMAL could take back
// an acknowledged start at a power cut (https://www.sqlite.org/pragma.html#pragma_synchronous).
func (d *DB) openSQLite(readOnly bool) error {
	path, err := filepath.Abs(d.url)
	if err != nil {
		return err
	}
	mode := "&_pragma=journal_mode(WAL)"
	if readOnly {
		mode = "&mode=ro" // the journal stays what it is
		if _, err := os.Stat(path + "-wal"); errors.Is(err, fs.ErrNotExist) {
			mode += "&immutable=1" // nobody works on it: not even the files that readers share are made
		}
	}
	open := func(extra string, connections int) (*gorm.DB, error) {
		dsn := "file:" + (&url.URL{Path: path}).EscapedPath() + "?_pragma=busy_timeout(10000)" + mode +
			"&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)" + extra
		db, err := gorm.Open(sqlite.Open(dsn), d.config())
		if err != nil {
			return nil, fmt.Errorf("open the database %s: %w", path, err)
		}
		pool, err := db.DB()
		if err != nil {
			return nil, err
		}
		pool.SetMaxOpenConns(connections)
		pool.SetMaxIdleConns(connections)
		return db, nil
	}
	if readOnly {
		d.read, err = open("&_pragma=query_only(1)", 2)
		d.write = d.read
		return err
	}
	if d.write, err = open("&_txlock=immediate", 1); err != nil {
		return err
	}
	if d.read, err = open("&_pragma=query_only(1)", 8); err != nil {
		d.read = d.write
		d.closePools()
		return err
	}
	return nil
}

func redactError(err error, u string) error {
	return errors.New(strings.ReplaceAll(err.Error(), u, Redact(u)))
}

// Close ends the background work and closes the pools.
func (d *DB) Close() error {
	if d.outbox != nil {
		d.outbox.drain(time.Second)
	}
	d.stop()
	<-d.listening
	if d.outbox != nil {
		<-d.outbox.done
	}
	d.Hub.Close()
	return d.closePools()
}

func (d *DB) closePools() error {
	var errs error
	for _, g := range []*gorm.DB{d.write, d.read} {
		if g == nil {
			continue
		}
		if pool, err := g.DB(); err == nil {
			errs = errors.Join(errs, pool.Close())
		}
	}
	return errs
}

// Postgres reports which of the two engines this is.
func (d *DB) Postgres() bool { return d.postgres }

// Ping asks the database for a sign of life.
func (d *DB) Ping(ctx context.Context) error {
	pool, err := d.write.DB()
	if err != nil {
		return err
	}
	return pool.PingContext(ctx)
}

// Migrate brings the schema up to date, under a lock that other replicas wait for.
func (d *DB) Migrate(ctx context.Context) error {
	return d.withMigrations(func(pool *sql.DB, dialect migrations.Dialect) error {
		return migrations.Up(ctx, pool, dialect)
	})
}

// MigrationStatus tells which migrations are there and which of them are applied.
func (d *DB) MigrationStatus(ctx context.Context) (status []migrations.Status, err error) {
	err = d.withMigrations(func(pool *sql.DB, dialect migrations.Dialect) error {
		status, err = migrations.State(ctx, pool, dialect)
		return err
	})
	return status, err
}

// CheckSchema is an error when the schema is older or newer than this program's.
func (d *DB) CheckSchema(ctx context.Context) error {
	return d.withMigrations(func(pool *sql.DB, dialect migrations.Dialect) error {
		return migrations.Check(ctx, pool, dialect)
	})
}

// SchemaVersion is the number of the newest migration that is applied.
func (d *DB) SchemaVersion(ctx context.Context) (version int64, err error) {
	err = d.withMigrations(func(pool *sql.DB, dialect migrations.Dialect) error {
		version, err = migrations.Version(ctx, pool, dialect)
		return err
	})
	return version, err
}

// HasSchema reports whether the database was ever migrated. Unlike MigrationStatus it makes no table to look into.
func (d *DB) HasSchema(ctx context.Context) (there bool, err error) {
	query := "SELECT count(*) > 0 FROM sqlite_master WHERE name = 'goose_db_version'"
	if d.postgres {
		query = "SELECT to_regclass('goose_db_version') IS NOT NULL"
	}
	if err := d.Read(ctx).Raw(query).Scan(&there).Error; err != nil {
		return false, fmt.Errorf("look for the schema: %w", err)
	}
	return there, nil
}

// About is what engine the database is, in which version, and how much it takes on disk.
type About struct {
	Engine    string `json:"engine" enum:"sqlite,postgres"`
	Version   string `json:"version"`
	SizeBytes int64  `json:"size_bytes"`
}

// About asks the database about itself.
func (d *DB) About(ctx context.Context) (About, error) {
	engine := migrations.SQLite
	query := "SELECT sqlite_version() AS version, (SELECT page_count FROM pragma_page_count()) * (SELECT page_size FROM pragma_page_size()) AS size_bytes"
	if d.postgres {
		engine = migrations.Postgres
		query = "SELECT current_setting('server_version') AS version, pg_database_size(current_database()) AS size_bytes"
	}
	var a About
	if err := d.Read(ctx).Raw(query).Scan(&a).Error; err != nil {
		return About{}, fmt.Errorf("ask the database about itself: %w", err)
	}
	a.Engine = string(engine)
	return a, nil
}

func (d *DB) withMigrations(do func(*sql.DB, migrations.Dialect) error) error {
	pool, err := d.write.DB()
	if err != nil {
		return err
	}
	if d.postgres {
		return do(pool, migrations.Postgres)
	}
	return do(pool, migrations.SQLite)
}

// Read is a handle for reading; nothing is written through it.
func (d *DB) Read(ctx context.Context) *gorm.DB { return d.read.WithContext(ctx) }

// Tx is one transaction: gorm's handle, the time that decides within it, and the topics to tell after it.
type Tx struct {
	*gorm.DB
	// Now is the deciding clock, read once, in UTC and whole microseconds.
	Now time.Time

	db     *DB
	topics []string
}

// Postgres reports which of the two engines this is.
func (t *Tx) Postgres() bool { return t.db.postgres }

// ClockColumn is what a hot path selects beside its first row, for SetNow: it saves a round trip.
func (t *Tx) ClockColumn() string { return t.db.ClockColumn() }

// SetNow sets the deciding clock to what ClockColumn gave.
func (t *Tx) SetNow(selected *time.Time) { t.Now = t.db.Selected(selected) }

// Write runs fn in one transaction and commits unless fn fails. After a deadlock, a serialization failure
// or a busy database nothing has happened, and fn is run again, at most 5 times: it must have no effects
// of its own. Source: PostgreSQL manual, "Serialization Failure Handling".
func (d *DB) Write(ctx context.Context, fn func(tx *Tx) error) error {
	return d.WriteUntimed(ctx, func(tx *Tx) error {
		now, err := d.readClock(tx.DB)
		if err != nil {
			return err
		}
		tx.Now = now
		return fn(tx)
	})
}

// WriteUntimed is Write for hot paths: Tx.Now is zero until fn has called SetNow with what it selected as
// ClockColumn.
func (d *DB) WriteUntimed(ctx context.Context, fn func(tx *Tx) error) error {
	return d.again(ctx, func() ([]string, error) { return d.writeOnce(ctx, fn) })
}

// again runs a transaction until it succeeds or fails for good, and tells its topics.
func (d *DB) again(ctx context.Context, once func() ([]string, error)) error {
	for try := 1; ; try++ {
		topics, err := once()
		if err == nil {
			d.Publish(topics...)
			return nil
		}
		if try == 5 || !transient(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(rand.N(time.Duration(try) * 20 * time.Millisecond)):
		}
	}
}

func (d *DB) writeOnce(ctx context.Context, fn func(tx *Tx) error) ([]string, error) {
	var topics []string
	err := d.write.WithContext(ctx).Transaction(func(g *gorm.DB) error {
		tx := &Tx{DB: g, db: d}
		if check := condition(ctx); check != nil {
			if err := check(tx); err != nil {
				return err
			}
		}
		if err := fn(tx); err != nil {
			return err
		}
		topics = tx.topics
		return nil
	})
	if errors.Is(err, sql.ErrTxDone) && ctx.Err() != nil {
		err = fmt.Errorf("%w: %w", ctx.Err(), err) // the pool rolled back for the caller who went away
	}
	return topics, err
}

// transient reports whether the transaction may be run again as it was.
func transient(err error) bool {
	if p, ok := errors.AsType[*pgconn.PgError](err); ok {
		return p.Code == "40001" || p.Code == "40P01" || p.Code == "55P03"
	}
	s := err.Error()
	return strings.Contains(s, "SQLITE_BUSY") || strings.Contains(s, "database is locked")
}

// Now is the deciding clock outside a transaction.
func (d *DB) Now(ctx context.Context) (time.Time, error) { return d.readClock(d.read.WithContext(ctx)) }

func (d *DB) readClock(g *gorm.DB) (time.Time, error) {
	if !d.asksClock() {
		return d.clock(), nil
	}
	var t time.Time
	if err := g.Raw("SELECT clock_timestamp()").Scan(&t).Error; err != nil {
		return time.Time{}, fmt.Errorf("read the database's clock: %w", err)
	}
	return d.told(t), nil
}

// told is what the database's clock said.
func (d *DB) told(t time.Time) time.Time {
	d.ahead.Store(int64(time.Until(t)))
	return Truncate(t)
}

// sharedClock is the deciding clock without asking for it: what the database said last, and the process's
// time since. Replicas agree on it, but for the network's delay.
func (d *DB) sharedClock() time.Time { return d.clock().Add(time.Duration(d.ahead.Load())) }

// asksClock reports whether the database's own clock decides.
func (d *DB) asksClock() bool { return d.postgres && d.now == nil }

// ClockColumn is the deciding clock as a column, for those who select a row anyway; Selected reads it.
func (d *DB) ClockColumn() string {
	if d.asksClock() {
		return "clock_timestamp()"
	}
	return "NULL"
}

// Selected is the deciding clock, given what ClockColumn gave.
func (d *DB) Selected(clock *time.Time) time.Time {
	if d.asksClock() && clock != nil {
		return d.told(*clock)
	}
	return d.clock()
}

// Clock is the injected clock, or the process's with its monotonic reading: for measuring ages within this
// process. What decides is Tx.Now.
func (d *DB) Clock() time.Time {
	if d.now != nil {
		return d.clock()
	}
	return time.Now()
}

// clock is the injected clock, or the process's.
func (d *DB) clock() time.Time {
	if d.now != nil {
		return Truncate(d.now())
	}
	return Truncate(time.Now())
}

// Truncate gives the precision that both engines keep: UTC, whole microseconds.
func Truncate(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

// InUTC is a time that was read, as it is shown; nil stays nil.
func InUTC(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	u := t.UTC()
	return &u
}
