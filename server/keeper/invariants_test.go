package keeper

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"restic-manager/server/access"
	"restic-manager/server/database"
	"restic-manager/server/database/databasetest"
	"restic-manager/server/fleet"
	"restic-manager/server/policy"
)

// TestBrokenInvariantIsCountedAndLogged breaks a row and runs the hourly duty on both engines.
func TestBrokenInvariantIsCountedAndLogged(t *testing.T) {
	for _, engine := range databasetest.Engines {
		t.Run(engine, func(t *testing.T) {
			db, err := database.Open(t.Context(), database.Options{URL: databasetest.Migrated(t, engine)})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { db.Close() })
			if err := db.Migrate(t.Context()); err != nil {
				t.Fatal(err)
			}
			f, err := fleet.Open(t.Context(), fleet.Options{DB: db, Key: make([]byte, 32)})
			if err != nil {
				t.Fatal(err)
			}
			var log bytes.Buffer
			counted := []int{}
			var duty Duty
			for _, d := range Duties(f, &policy.Store{}, &access.Access{}, slog.New(slog.NewTextHandler(&log, nil)), func(n int) { counted = append(counted, n) }) {
				if d.Name == "check invariants" && d.Every == time.Hour {
					duty = d
				}
			}
			check := func(want int) {
				t.Helper()
				if err := duty.Do(t.Context()); err != nil {
					t.Fatal(err)
				}
				if got := counted[len(counted)-1]; got != want {
					t.Errorf("violations: got %d, want %d", got, want)
				}
			}
			check(0)
			err = db.Write(t.Context(), func(tx *database.Tx) error {
				return tx.Exec(`INSERT INTO hosts (id, name, name_key, labels, status, created_at, token_sha256, hostname, facts, guard, kinds,
					reported_repositories, agent_version, restic_version, protocol_version, snapshot_count)
					VALUES (?, 'a', 'a', '{}', 'never_seen', ?, 'x', 'a', '{}', '{}', '[]', '[]', '1', '', 1, 7)`, database.NewID(), tx.Now).Error
			})
			if err != nil {
				t.Fatal(err)
			}
			if log.Len() > 0 {
				t.Errorf("log of a whole database: got %s, want none", &log)
			}
			check(1)
			if text := log.String(); !strings.Contains(text, "broken invariant") || !strings.Contains(text, "P1 a host has") || !strings.Contains(text, "0 of 7 snapshots") {
				t.Errorf("log: got %s, want the rule and the row", text)
			}
		})
	}
}
