//go:build !race

package madeup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"restic-manager/server/database"
	"restic-manager/server/database/databasetest"
	"restic-manager/server/fleet"
)

var noon = time.Date(2027, 1, 31, 12, 0, 0, 0, time.UTC)

// opened is a small fleet, made up and opened as the server opens it.
func opened(t *testing.T, engine string) *fleet.Store {
	t.Helper()
	target := databasetest.New(t, engine)
	o := Options{Database: target, Hosts: 400, Jobs: 10_000, Snapshots: 12, Seed: 7, Now: noon, AdminUser: "admin", AdminPassword: "A-long-password-4711"}
	if err := Fill(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	db, err := database.Open(t.Context(), database.Options{URL: target, Now: func() time.Time { return noon.Add(10 * time.Second) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	s, err := fleet.Open(context.WithoutCancel(t.Context()), fleet.Options{DB: db, Key: bytes.Repeat([]byte{1}, fleet.KeySize)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestAMadeUpFleetKeepsThePromisesOfTheTables: what nobody did breaks no rule of what may be.
func TestAMadeUpFleetKeepsThePromisesOfTheTables(t *testing.T) {
	for _, engine := range databasetest.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			s := opened(t, engine)
			broken, err := s.CheckInvariants(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, b := range broken {
				t.Errorf("%s: %s", b.Rule, b.Detail)
			}
			swept, err := s.Sweep(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if swept.Offline+swept.Lost+swept.Expired > 0 {
				t.Errorf("the first sweep found %+v, want nothing to judge", swept)
			}
		})
	}
}

// TestMostOfAMadeUpFleetIsProtected: the shares are those of a fleet that somebody looks after.
func TestMostOfAMadeUpFleetIsProtected(t *testing.T) {
	for _, engine := range databasetest.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			o, err := opened(t, engine).Overview(t.Context(), fleet.HostFilter{}, "site")
			if err != nil {
				t.Fatal(err)
			}
			within := func(what string, got int64, low, high float64) {
				share := float64(got) / float64(o.Hosts.Total) * 100
				if share < low || share > high {
					t.Errorf("%s: %d of %d hosts, %.1f %%; want %.1f to %.1f %%", what, got, o.Hosts.Total, share, low, high)
				}
			}
			within("protected", o.Hosts.Protected, 92, 94)
			within("at risk", o.Hosts.AtRisk, 2.5, 3.5)
			within("failing", o.Hosts.Failing, 1.5, 2.5)
			within("never backed up", o.Hosts.NeverBackedUp, 1, 2)
			within("offline", o.Hosts.Offline, 0.8, 1.2)
			within("revoked", o.Hosts.Revoked, 0.2, 0.8)
			if o.Hosts.CloneAlarms == 0 || o.Jobs.Queued == 0 || len(o.Groups) != len(sites) {
				t.Errorf("%d clone alarms, %d queued jobs, %d sites; want some of each, %d sites", o.Hosts.CloneAlarms, o.Jobs.Queued, len(o.Groups), len(sites))
			}
			why := map[string]bool{}
			for _, a := range o.Attention {
				why[a.Reason] = true
			}
			for _, reason := range []string{"clone_alarm", "guard_broken", "restic_missing", "failing", "never_backed_up", "overdue", "issues", "listing_failed", "clock_skew"} {
				if !why[reason] {
					t.Errorf("no host needs somebody because of %s", reason)
				}
			}
		})
	}
}

// TestTheSameSeedMakesTheSameFleet: byte by byte; another seed makes another.
func TestTheSameSeedMakesTheSameFleet(t *testing.T) {
	sum := func(seed uint64) string {
		path := filepath.Join(t.TempDir(), "fleet.db")
		if err := Fill(t.Context(), Options{Database: path, Hosts: 60, Jobs: 900, Snapshots: 5, Seed: seed, Now: noon}); err != nil {
			t.Fatal(err)
		}
		return sumOf(t, path)
	}
	one, same, other := sum(1), sum(1), sum(2)
	if one != same {
		t.Error("the same seed made different rows")
	}
	if one == other {
		t.Error("different seeds made the same rows")
	}
}

// sumOf is that of all rows of all tables but for the migrations', which have the clock's time.
func sumOf(t *testing.T, path string) string {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	sum := sha256.New()
	for _, table := range []string{"hosts", "host_names", "jobs", "logs", "log_chunks", "audit", "repositories", "repository_hostnames", "snapshots", "enrollment_tokens", "server_state"} {
		rows, err := db.Query("SELECT * FROM " + table + " ORDER BY 1, 2")
		if err != nil {
			t.Fatal(err)
		}
		columns, err := rows.Columns()
		if err != nil {
			t.Fatal(err)
		}
		values := make([]any, len(columns))
		for i := range values {
			values[i] = new(any)
		}
		n := 0
		for ; rows.Next(); n++ {
			if err := rows.Scan(values...); err != nil {
				t.Fatal(err)
			}
			for _, v := range values {
				fmt.Fprintf(sum, "%v\x00", *v.(*any))
			}
		}
		if err := rows.Err(); err != nil || n == 0 {
			t.Fatalf("%s: %d rows, %v", table, n, err)
		}
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// TestNothingIsFilledTwice: what is there is somebody's.
func TestNothingIsFilledTwice(t *testing.T) {
	for _, engine := range databasetest.Engines {
		o := Options{Database: databasetest.New(t, engine), Hosts: 5, Jobs: 40, Snapshots: 2, Seed: 1, Now: noon}
		if err := Fill(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		if err := Fill(t.Context(), o); err == nil {
			t.Errorf("%s: a second fill was done, want a refusal", engine)
		}
	}
}
