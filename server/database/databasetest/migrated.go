package databasetest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	_ "github.com/glebarez/go-sqlite"  // the driver "sqlite"
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
	template, err := postgresTemplate()
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

// postgresTemplate names a migrated database of the cluster. It stays there: the cluster goes after the tests.
var postgresTemplate = sync.OnceValues(func() (string, error) {
	cluster, name := os.Getenv(clusterVariable), fmt.Sprintf("schema_%d", os.Getpid())
	if err := execute(cluster, "CREATE DATABASE "+name); err != nil {
		return "", err
	}
	url, err := at(cluster, name)
	if err != nil {
		return "", err
	}
	return name, up("pgx", url, migrations.Postgres)
})

// up brings the schema to the newest version and closes the database, as one to be copied must be.
func up(driver, source string, dialect migrations.Dialect) error {
	db, err := sql.Open(driver, source)
	if err != nil {
		return err
	}
	return errors.Join(migrations.Up(context.Background(), db, dialect), db.Close())
}
