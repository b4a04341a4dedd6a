package doctor

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"restic-manager/server/config"
	"restic-manager/server/database"
	"restic-manager/server/database/databasetest"
	"restic-manager/server/fleet"
	"restic-manager/shared/checkup"
)

// rig is a server's storage, and what runs in its place.
type rig struct {
	t *testing.T
	Options
	db    *database.DB
	fleet *fleet.Store
	key   []byte
}

// each runs the test on both engines, with a database that a server has worked on.
func each(t *testing.T, test func(t *testing.T, r *rig)) {
	t.Parallel()
	for _, engine := range databasetest.Engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			test(t, newRig(t, engine))
		})
	}
}

func newRig(t *testing.T, engine string) *rig {
	r := emptyRig(t, engine)
	var err error
	if r.db, err = database.Open(t.Context(), database.Options{URL: r.Settings.Source()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.db.Close() })
	if err := r.db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.key = bytes.Repeat([]byte{1, 2}, fleet.KeySize/2)
	r.writeKey(r.key, 0o600)
	if r.fleet, err = fleet.Open(t.Context(), fleet.Options{DB: r.db, Key: r.key}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.fleet.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r
}

// emptyRig has settings, and no database yet.
func emptyRig(t *testing.T, engine string) *rig {
	dir := filepath.Join(t.TempDir(), "data")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s := &config.Settings{Storage: config.Storage{DataDir: dir, KeyFile: filepath.Join(dir, "secret.key")}, AgentsDir: filepath.Join(dir, "agents")}
	if engine == "postgres" {
		s.Database = databasetest.New(t, engine)
	}
	r := &rig{t: t, Options: Options{Settings: s, NoHold: true}}
	at := httptest.NewServer(r.healthy(nil))
	t.Cleanup(at.Close)
	r.LocalURL, s.PublicURL = at.URL, at.URL
	r.HoldFor = time.Millisecond // asked for as 0 s
	return r
}

func (r *rig) writeKey(key []byte, mode os.FileMode) {
	r.t.Helper()
	if err := os.WriteFile(r.Settings.KeyFile, []byte(hex.EncodeToString(key)), mode); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Chmod(r.Settings.KeyFile, mode); err != nil {
		r.t.Fatal(err)
	}
}

// healthy is a server that is ready; hold answers its held requests.
func (r *rig) healthy(hold http.HandlerFunc) http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ready") })
	if hold != nil {
		m.HandleFunc("GET /api/agents/hold", hold)
	}
	return m
}

// finds is what one check must find: a state, and words of its line.
type finds struct {
	check string
	state checkup.State
	words []string
}

// must runs the doctor and looks at some of its checks.
func (r *rig) must(want ...finds) Report {
	r.t.Helper()
	report := Run(context.Background(), r.Options)
	found := map[string]checkup.Result{}
	for _, c := range report.Checks {
		found[c.Name] = c
	}
	for _, w := range want {
		got := found[w.check]
		text := got.Text()
		ok := got.State == w.state
		for _, word := range w.words {
			ok = ok && strings.Contains(text, word)
		}
		if !ok {
			r.t.Errorf("%s: got %s %q, want %s with %q", w.check, got.State, text, w.state, w.words)
		}
	}
	return report
}

// content is every row of the database as text.
func (r *rig) content() string {
	r.t.Helper()
	query := "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"
	if r.db.Postgres() {
		query = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename"
	}
	var tables []string
	read := r.db.Read(r.t.Context())
	if err := read.Raw(query).Scan(&tables).Error; err != nil {
		r.t.Fatal(err)
	}
	var b strings.Builder
	for _, table := range tables {
		var rows []map[string]any
		if err := read.Table(table).Find(&rows).Error; err != nil {
			r.t.Fatal(err)
		}
		fmt.Fprintln(&b, table, rows)
	}
	return b.String()
}
