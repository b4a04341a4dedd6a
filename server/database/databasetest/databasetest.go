// Package databasetest gives each test a database of its own, on both engines.
package databasetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5"
)

// Engines are what every rule of the store is tested on.
var Engines = []string{"sqlite", "postgres"}

// New is a place for an empty database, as database.Options takes it: a file of the test's, or the URL of a new
// database in the cluster that RESTIC_MANAGER_TEST_POSTGRES names. It is gone after the test. Without a cluster
// the test fails: nothing is skipped.
func New(t testing.TB, engine string) string {
	t.Helper()
	if engine == "sqlite" {
		return filepath.Join(t.TempDir(), "test.db")
	}
	return create(t, clusterOf(t), "")
}

const clusterVariable = "RESTIC_MANAGER_TEST_POSTGRES"

func clusterOf(t testing.TB) string {
	t.Helper()
	cluster := os.Getenv(clusterVariable)
	if cluster == "" {
		t.Fatal(clusterVariable + " is not set: run make test")
	}
	return cluster
}

// create makes a database of the test's, with more words of CREATE DATABASE.
func create(t testing.TB, cluster, with string) string {
	t.Helper()
	name := fmt.Sprintf("test_%d_%016x", os.Getpid(), rand.Uint64())
	run(t, cluster, "CREATE DATABASE "+name+with)
	t.Cleanup(func() { run(t, cluster, "DROP DATABASE "+name+" WITH (FORCE)") })
	url, err := at(cluster, name)
	if err != nil {
		t.Fatal(err)
	}
	return url
}

// at is the URL of a database of the cluster.
func at(cluster, name string) (string, error) {
	u, err := url.Parse(cluster)
	if err != nil {
		return "", err
	}
	u.Path = "/" + name
	return u.String(), nil
}

func run(t testing.TB, cluster, sql string) {
	t.Helper()
	if err := execute(cluster, sql); err != nil {
		t.Fatalf("the tests' PostgreSQL: %v", err)
	}
}

func execute(cluster, sql string) error {
	c, err := pgx.Connect(context.Background(), cluster)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer c.Close(context.Background())
	if _, err := c.Exec(context.Background(), sql); err != nil {
		return fmt.Errorf("%s: %w", sql, err)
	}
	return nil
}
