package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"restic-manager/server/config"
	"restic-manager/server/database"
	"restic-manager/server/e2e/faultproxy"
	"restic-manager/server/e2e/scripted/script"
	"restic-manager/server/fleet"
	"restic-manager/shared/wire"
)

// faultRig is a server with agents whose restic is scripted, each behind a proxy of its own.
type faultRig struct {
	t       testing.TB
	s       *server
	agents  []*scripted
	proxies []*faultproxy.Proxy
}

// newFaultRig starts n agents that reach the server through proxies which pass all on, and makes their repositories.
func newFaultRig(t testing.TB, s *server, n int) *faultRig {
	t.Helper()
	r := &faultRig{t: t, s: s}
	for i := range n {
		p, err := faultproxy.New(s.url, uint64(i))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Close)
		a := enrollScripted(t, s)
		a.reach(p.URL())
		r.agents, r.proxies = append(r.agents, a), append(r.proxies, p)
	}
	for _, a := range r.agents {
		a.launch()
		a.cleanUp()
	}
	var inits []job
	for _, a := range r.agents {
		a.online()
		inits = append(inits, s.order(a.hostID, wire.KindInit, nil))
	}
	for _, j := range inits {
		s.reaches(j.ID, time.Minute, wire.StateSucceeded)
	}
	return r
}

// reach lets the agent reach the server under another address.
func (a *agent) reach(url string) {
	a.t.Helper()
	text := strings.Replace(a.read(), a.server.url, url, 1)
	if err := os.WriteFile(a.config, []byte(text), 0o600); err != nil {
		a.t.Fatal(err)
	}
}

// faults sets what every proxy does.
func (r *faultRig) faults(f faultproxy.Faults) {
	for _, p := range r.proxies {
		p.Set(f)
	}
}

func (r *faultRig) script(act script.Act) {
	for _, a := range r.agents {
		a.script(map[string]script.Act{"backup": act})
	}
}

// each does something with every agent at once.
func (r *faultRig) each(do func(i int, a *scripted)) {
	var all sync.WaitGroup
	for i, a := range r.agents {
		all.Go(func() { do(i, a) })
	}
	all.Wait()
}

// store is the test's own look into the database.
func (s *server) store(t testing.TB) (*fleet.Store, *database.DB) {
	t.Helper()
	key, _, err := config.LoadKey(filepath.Join(s.dir, "secret.key"))
	if err != nil {
		t.Fatal(err)
	}
	url := s.database
	if url == "" {
		url = filepath.Join(s.dir, "restic-manager.db")
	}
	return openStore(t, url, key, nil)
}

// verdict is what became of a rig's jobs.
type verdict struct {
	jobs, violations int
	bytes            int64
}

// judge checks every job of the rig that restic ran for, and the tables: the state is what restic did, restic was
// started once, the stored log is what the agent sent to the byte, and has the script's lines, each once, in order.
// want gives the end and the number of lines of a job.
func (r *faultRig) judge(want func(j job) (wire.State, int)) (v verdict) {
	r.t.Helper()
	store, db := r.s.store(r.t)
	for _, a := range r.agents {
		v.violations += a.twice()
		for id := range a.starts() {
			j := r.s.job(id)
			if j.Kind != wire.KindBackup {
				continue
			}
			v.jobs++
			wrong := func(format string, args ...any) {
				v.violations++
				r.t.Errorf("job %s: %s", id, fmt.Sprintf(format, args...))
			}
			state, lines := want(j)
			if j.State != state {
				wrong("got %s, want %s", j, state)
				continue
			}
			raw := rawLog(r.t, db, id)
			v.bytes += int64(len(raw))
			var sum string
			if err := db.Read(r.t.Context()).Raw("SELECT log_sha256 FROM jobs WHERE id = ?", id).Scan(&sum).Error; err != nil {
				r.t.Fatal(err)
			}
			if got := sha256.Sum256(raw); hex.EncodeToString(got[:]) != sum || !j.LogComplete {
				wrong("the stored log has the sum %x, want what the agent reported: %s; complete: %v", got, sum, j.LogComplete)
			}
			if got, ok := scriptLines(raw); !ok || got != lines {
				wrong("the stored log has %d lines of the script in order: %v, want %d", got, ok, lines)
			}
		}
	}
	v.violations += violations(r.t, store)
	return v
}

var scriptLine = regexp.MustCompile(`"text":"line ([0-9]+) [A-Za-z0-9_-]*"`)

// scriptLines counts the script's lines in a raw log; ok: each once, in order.
func scriptLines(raw []byte) (n int, ok bool) {
	ok = true
	for _, m := range scriptLine.FindAllSubmatch(raw, -1) {
		n++
		if got, err := strconv.Atoi(string(m[1])); err != nil || got != n {
			ok = false
		}
	}
	return n, ok
}

// rawLog is a job's log as the server has stored it.
func rawLog(t testing.TB, db *database.DB, id string) []byte {
	t.Helper()
	var chunks []struct {
		Encoding string
		Body     []byte
	}
	if err := db.Read(t.Context()).Raw("SELECT encoding, body FROM log_chunks WHERE job_id = ? ORDER BY first_line", id).Scan(&chunks).Error; err != nil {
		t.Fatal(err)
	}
	var raw []byte
	for _, c := range chunks {
		plain, err := inflated(c.Encoding, c.Body)
		if err != nil {
			t.Fatalf("a chunk of job %s: %v", id, err)
		}
		raw = append(raw, plain...)
	}
	return raw
}

// metric is one of the server's figures; the server was started with metricsToken.
func (s *server) metric(name string) (float64, error) {
	q, err := http.NewRequest("GET", s.url+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	q.Header.Set("Authorization", "Bearer "+metricsToken)
	a, err := s.http.Do(q)
	if err != nil {
		return 0, err
	}
	defer a.Body.Close()
	b, err := io.ReadAll(a.Body)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, name+" "); ok {
			return strconv.ParseFloat(strings.TrimSpace(v), 64)
		}
	}
	return 0, fmt.Errorf("%s: no %s in the metrics", a.Status, name)
}

const withMetrics = "RESTIC_MANAGER_METRICS_TOKEN=" + metricsToken

// seconds is a duration for the table.
func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

// succeeded wants every job to have succeeded with so many lines.
func succeeded(lines int) func(job) (wire.State, int) {
	return func(job) (wire.State, int) { return wire.StateSucceeded, lines }
}

// ended waits for a job and its log, asking rarely: many jobs are waited for at once, and a fault may still be on.
func (r *faultRig) ended(id string, limit time.Duration) job {
	var j job
	eventually(r.t, limit, "job "+id+" has ended, with its log", func() error {
		if _, err := r.s.try("GET", "/api/jobs/"+id, nil, &j); err != nil {
			return err
		}
		if !j.State.Terminal() || !j.LogComplete && j.LogProblem == "" {
			return fmt.Errorf("it is %s", j)
		}
		return nil
	})
	return j
}
