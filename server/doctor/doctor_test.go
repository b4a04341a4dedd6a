package doctor

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"restic-manager/server/config"
	"restic-manager/server/database"
	"restic-manager/server/fleet"
	"restic-manager/shared/checkup"
	"restic-manager/shared/wire"
)

func TestAServerThatIsWell(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		if err := os.Mkdir(r.Settings.AgentsDir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(r.Settings.AgentsDir, "restic-manager-agent-linux-amd64"), []byte("x"), 0o755); err != nil {
			t.Fatal(err)
		}
		engine, disk, clock := "SQLite 3.", checkup.Good, checkup.Skipped
		if r.db.Postgres() {
			engine, disk, clock = "PostgreSQL ", checkup.Skipped, checkup.Good
		}
		r.Outside.Free = func(string) (uint64, error) { return 50 << 30, nil }
		report := r.must(
			finds{"settings", checkup.Good, nil},
			finds{"database", checkup.Good, []string{engine}},
			finds{"schema", checkup.Good, []string{"up to date, step "}},
			finds{"key", checkup.Good, []string{"is the database's"}},
			finds{"disk", disk, nil},
			finds{"clock", clock, nil},
			finds{"invariants", checkup.Good, nil},
			finds{"server", checkup.Good, []string{"it runs"}},
			finds{"sweeper", checkup.Good, []string{"last ran"}},
			finds{"address", checkup.Good, []string{"answers within"}},
			finds{"hold", checkup.Skipped, []string{"--no-hold"}},
			finds{"agents", checkup.Good, []string{"linux-amd64"}},
		)
		if !report.OK {
			t.Errorf("got not well: %+v", report)
		}
	})
}

// TestNothingIsWritten: not a row, not a file, beside a server that runs and after it has stopped.
func TestNothingIsWritten(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		files := func() string {
			var names []string
			entries, err := os.ReadDir(r.Settings.DataDir)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				names = append(names, e.Name())
			}
			return strings.Join(names, " ")
		}
		rows, there := r.content(), files()
		r.must(finds{"key", checkup.Good, nil})
		if got := r.content(); got != rows {
			t.Errorf("got\n%s\nwant the rows to be as before:\n%s", got, rows)
		}
		if got := files(); got != there {
			t.Errorf("files beside a server that runs: got %s, want %s", got, there)
		}
		r.db.Close()
		there = files()
		r.must(finds{"key", checkup.Good, nil}, finds{"invariants", checkup.Good, nil})
		if got := files(); got != there {
			t.Errorf("files after it stopped: got %s, want %s", got, there)
		}
	})
}

// TestADatabaseThatNoServerWorkedOnStaysEmpty: looking into it makes no table.
func TestADatabaseThatNoServerWorkedOnStaysEmpty(t *testing.T) {
	r := emptyRig(t, "postgres")
	r.must(finds{"database", checkup.Good, nil}, finds{"schema", checkup.Warning, []string{"the database is empty"}},
		finds{"key", checkup.Skipped, []string{"there is none"}}, finds{"invariants", checkup.Skipped, []string{"schema comes first"}})
	var err error
	if r.db, err = database.Open(t.Context(), database.Options{URL: r.Settings.Source()}); err != nil {
		t.Fatal(err)
	}
	defer r.db.Close()
	if got := r.content(); got != "" {
		t.Errorf("got tables: %s", got)
	}

	r = emptyRig(t, "sqlite")
	r.must(finds{"database", checkup.Wrong, []string{"there is none at", "--data-dir"}}, finds{"schema", checkup.Skipped, nil})
	if _, err := os.Stat(r.Settings.Source()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want no file", err)
	}
}

func TestADatabaseThatIsAway(t *testing.T) {
	r := emptyRig(t, "sqlite")
	r.Settings.Database = "postgres://ann:hunter2@127.0.0.1:1/x?connect_timeout=2"
	report := r.must(finds{"database", checkup.Wrong, []string{"pg_hba.conf"}}, finds{"invariants", checkup.Skipped, []string{"database comes first"}})
	for _, c := range report.Checks {
		if strings.Contains(c.Text(), "hunter2") {
			t.Errorf("the password is told: %s", c.Text())
		}
	}
}

func TestKeysThatDoNotFit(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		r.writeKey(bytes.Repeat([]byte{3, 4}, 16), 0o600)
		r.must(finds{"key", checkup.Wrong, []string{"not the key that the database was made with"}})
		r.writeKey(r.key, 0o644)
		r.must(finds{"key", checkup.Wrong, []string{"chmod 0600"}})
		r.writeKey(r.key[:8], 0o600)
		r.must(finds{"key", checkup.Wrong, []string{"is damaged"}})
		if err := os.Remove(r.Settings.KeyFile); err != nil {
			t.Fatal(err)
		}
		r.must(finds{"key", checkup.Wrong, []string{"was made with one", "put its copy there"}})
		if _, err := os.Stat(r.Settings.KeyFile); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("got %v, want no key made", err)
		}
	})
}

func TestSchemasBrokenRowsAndASweeperThatIsLate(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		change := func(sql string, args ...any) {
			t.Helper()
			if err := r.db.Write(t.Context(), func(tx *database.Tx) error { return tx.Exec(sql, args...).Error }); err != nil {
				t.Fatal(err)
			}
		}
		change(`UPDATE server_state SET value = '{"swept_at":"2020-01-01T00:00:00Z"}' WHERE key = 'sweep'`)
		r.must(finds{"sweeper", checkup.Wrong, []string{"does not do its duties"}})
		r.LocalURL = "http://127.0.0.1:1"
		r.must(finds{"server", checkup.Wrong, []string{"no server answers"}}, finds{"sweeper", checkup.Wrong, []string{"start the server"}})
		change("DELETE FROM server_state WHERE key = 'sweep'")
		r.must(finds{"sweeper", checkup.Skipped, []string{"no server has worked"}})

		_, token, err := r.fleet.CreateEnrollmentToken(t.Context(), database.System, fleet.NewEnrollmentToken{Name: "a"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.fleet.Enroll(t.Context(), wire.EnrollRequest{Token: token, AgentTokenSHA256: strings.Repeat("ab", 32), Hostname: "a", OS: "linux", Arch: "amd64", AgentVersion: "1", ProtocolVersion: 1}, ""); err != nil {
			t.Fatal(err)
		}
		change("UPDATE hosts SET snapshot_count = 7")
		r.must(finds{"invariants", checkup.Wrong, []string{"1 rows break a promise", "P1 a host has as many snapshots"}})

		change("DELETE FROM goose_db_version WHERE version_id = (SELECT max(version_id) FROM goose_db_version)")
		r.must(finds{"schema", checkup.Wrong, []string{"run restic-manager migrate up"}}, finds{"invariants", checkup.Skipped, []string{"schema comes first"}})
	})
}

func TestADiskThatIsNearlyFull(t *testing.T) {
	r := newRig(t, "sqlite")
	for left, want := range map[uint64]finds{
		500 << 20: {"disk", checkup.Warning, []string{"500.0 MiB free", "log-keep"}},
		50 << 20:  {"disk", checkup.Wrong, []string{"only 50.0 MiB free"}},
	} {
		r.Outside.Free = func(string) (uint64, error) { return left, nil }
		r.must(want)
	}
}

func TestADatabaseThatEverybodyMayOpen(t *testing.T) {
	r := newRig(t, "sqlite")
	if err := os.Chmod(r.Settings.Source(), 0o644); err != nil {
		t.Fatal(err)
	}
	r.must(finds{"database", checkup.Good, nil}) // nobody else comes into the folder
	if err := os.Chmod(r.Settings.DataDir, 0o755); err != nil {
		t.Fatal(err)
	}
	r.must(finds{"database", checkup.Wrong, []string{"chmod 0600", "everybody"}})
}

func TestSettingsThatCannotBeUsed(t *testing.T) {
	r := newRig(t, "sqlite")
	r.SettingsErr, r.LocalURL = config.Errorf("listen: give an address"), ""
	report := r.must(finds{"settings", checkup.Wrong, []string{"listen: give an address", "config print"}}, finds{"database", checkup.Good, nil}, finds{"address", checkup.Skipped, nil})
	if report.OK {
		t.Error("got well")
	}
	r.NoStorage = true
	r.must(finds{"database", checkup.Skipped, nil}, finds{"key", checkup.Skipped, nil}, finds{"disk", checkup.Skipped, nil})
}

// TestTheHoldOverThePublicURL: what a proxy in front of the server may do to it, and that a server with another key is
// another one.
func TestTheHoldOverThePublicURL(t *testing.T) {
	r := newRig(t, "sqlite")
	r.NoHold = false
	problem := func(w http.ResponseWriter, status int, code string) {
		w.Header().Set("Content-Type", wire.ProblemContentType)
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(wire.Problem{Code: code})
	}
	for name, c := range map[string]struct {
		hold http.HandlerFunc
		want finds
	}{
		"well": {func(w http.ResponseWriter, q *http.Request) {
			bearer := strings.TrimPrefix(q.Header.Get("Authorization"), "Bearer ")
			if !r.fleet.TakesTicket(bearer, time.Now()) {
				problem(w, 401, wire.ProblemUnauthorized)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(wire.HoldReply{ServerTime: time.Now()})
		}, finds{"hold", checkup.Good, []string{"waited"}}},
		"another server": {func(w http.ResponseWriter, _ *http.Request) { problem(w, 401, wire.ProblemUnauthorized) }, finds{"hold", checkup.Wrong, []string{"it is another one"}}},
		"an older one":   {func(w http.ResponseWriter, _ *http.Request) { problem(w, 404, "not_found") }, finds{"hold", checkup.Skipped, []string{"older"}}},
		"cut":            {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, finds{"hold", checkup.Wrong, []string{"is cut after", "75 s"}}},
		"a gateway":      {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(504) }, finds{"hold", checkup.Wrong, []string{"by status 504"}}},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewUnstartedServer(r.healthy(c.hold))
			s.Config.ErrorLog = log.New(io.Discard, "", 0)
			s.Start()
			defer s.Close()
			r.Settings.PublicURL = s.URL
			r.must(c.want)
		})
	}
}

func TestWhatAnswersAtThePublicURL(t *testing.T) {
	r := newRig(t, "sqlite")
	page := func(status int, media, location string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", media)
			w.Header().Set("Location", location)
			w.WriteHeader(status)
		}
	}
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		want    finds
	}{
		"a page":     {page(200, "text/html", ""), finds{"address", checkup.Wrong, []string{"a page of somebody else"}}},
		"a redirect": {page(301, "", "https://elsewhere"), finds{"address", checkup.Wrong, []string{"redirects", "agents follow none"}}},
		"a gateway":  {page(502, "text/plain", ""), finds{"address", checkup.Wrong, []string{"answers 502, and the server itself is there"}}},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(c.handler)
			defer s.Close()
			r.Settings.PublicURL = s.URL
			r.must(c.want, finds{"hold", checkup.Skipped, nil})
		})
	}
	s := httptest.NewUnstartedServer(page(200, "text/plain", ""))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	r.Settings.PublicURL = s.URL
	r.must(finds{"address", checkup.Warning, []string{"does not trust the certificate"}})
	r.Settings.PublicURL = "https://backup.example"
	r.Outside.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		if strings.HasPrefix(address, "backup.example") {
			return nil, &net.OpError{Op: "dial", Err: &net.DNSError{Name: "backup.example", IsNotFound: true}}
		}
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	r.must(finds{"server", checkup.Good, nil}, finds{"address", checkup.Warning, []string{"not known here", "restic-manager-agent doctor --server https://backup.example"}})
}

func TestTheServersOwnCertificate(t *testing.T) {
	r := newRig(t, "sqlite")
	r.Settings.PublicURL = ""
	dir := t.TempDir()
	r.Settings.TLSCert, r.Settings.TLSKey = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	r.must(finds{"certificate", checkup.Wrong, []string{"cannot be used"}})
	for until, want := range map[time.Duration]finds{
		60 * 24 * time.Hour: {"certificate", checkup.Good, []string{"is good until"}},
		3 * 24 * time.Hour:  {"certificate", checkup.Warning, []string{"ends in 2 days"}},
		-24 * time.Hour:     {"certificate", checkup.Wrong, []string{"expired on", "SIGHUP"}},
	} {
		writePair(t, r.Settings.TLSCert, r.Settings.TLSKey, until)
		r.must(want)
	}
	writePair(t, r.Settings.TLSCert, r.Settings.TLSKey, time.Hour)
	r.Settings.PublicURL = "https://other.example"
	r.must(finds{"certificate", checkup.Warning, []string{"is not for other.example"}})
}

func writePair(t *testing.T, cert, key string, until time.Duration) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "backup.example"}, DNSNames: []string{"backup.example"},
		NotBefore: time.Now().Add(-1000 * time.Hour), NotAfter: time.Now().Add(until)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	for path, b := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
