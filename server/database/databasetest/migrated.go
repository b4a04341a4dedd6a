package databasetest

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"

	_ "github.com/glebarez/go-sqlite" // the driver "sqlite"
	"github.com/jackc/pgx/v5"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"

	"restic-manager/migrations"
)

// Migrated is like New, with the schema in place: a copy of a database that is migrated once in each run of a package's tests,
// which on a volatile cluster (tools/postgres) takes a tenth of migrating anew.
func Migrated(t testing.TB, engine string) string {
	t.Helper()
	if engine == "sqlite" {
		file, err := sqliteTemplate()
		if err != nil {
			t.Fatalf("make the tests' migrated database: %v", err)
		}
		path := filepath.Join(t.TempDir(), "test.db")
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	cluster := clusterOf(t)
	template, err := postgresTemplate(cluster)
	if err != nil {
		t.Fatalf("make the tests' migrated database: %v", err)
	}
	return create(t, cluster, " TEMPLATE "+template+" STRATEGY file_copy")
}

// sqliteTemplate is a migrated file.
var sqliteTemplate = sync.OnceValues(func() (file []byte, err error) {
	dir, err := os.MkdirTemp("", "restic-manager-schema.")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "schema.db")
	if err := up("sqlite", "file:"+path+"?_pragma=foreign_keys(1)", migrations.SQLite); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})

var (
	templateMade sync.Once
	template     string
	errTemplate  error
)

// postgresTemplate names a migrated database of the cluster. It stays there: the cluster goes after the tests.
func postgresTemplate(cluster string) (string, error) {
	templateMade.Do(func() {
		template = fmt.Sprintf("schema_%d", os.Getpid())
		errTemplate = func() error {
			c, err := pgx.Connect(context.Background(), cluster)
			if err != nil {
				return err
			}
			defer c.Close(context.Background())
			if _, err := c.Exec(context.Background(), "CREATE DATABASE "+template); err != nil {
				return err
			}
			u, err := url.Parse(cluster)
			if err != nil {
				return err
			}
			u.Path = "/" + template
			return up("pgx", u.String(), migrations.Postgres)
		}()
	})
	return template, errTemplate
}

// up brings the schema to the newest version and closes the database, as one to be copied must be.
func up(driver, source string, dialect migrations.Dialect) error {
	db, err := sql.Open(driver, source)
	if err != nil {
		return err
	}
	defer db.Close()
	if err := migrations.Up(context.Background(), db, dialect); err != nil {
		return err
	}
	return db.Close()
}
