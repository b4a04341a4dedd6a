package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"restic-manager/agent/client"
	"restic-manager/server/database"
	"restic-manager/server/e2e/scripted/script"
	"restic-manager/server/fleet"
	"restic-manager/shared/wire"
)

// TestFaultDatabaseAway: the database is killed under running jobs and comes back. No job fails, no host goes offline,
// no byte is lost, and the server is what it was before.
func TestFaultDatabaseAway(t *testing.T) {
	t.Parallel()
	away := 5 * time.Second
	if whole() {
		away = time.Minute
	}
	c := newCluster(t)
	s := newServerOn(t, c.url, withMetrics)
	r := newFaultRig(t, s, figures(3, 50))
	const rate = 20
	lines := rate * int((away + 5*time.Second).Seconds())
	r.script(script.Act{Lines: lines, Rate: rate})
	before, refused := r.goroutines(), 0
	var back, settled time.Duration
	for range figures(1, 4) {
		jobs := make([]job, len(r.agents))
		for i, a := range r.agents {
			jobs[i] = a.backup()
		}
		for _, j := range jobs {
			s.reaches(j.ID, time.Minute, wire.StateRunning)
		}
		c.kill()
		refused += r.refuses(time.Now().Add(away))
		c.again()
		began := time.Now()
		eventually(t, 15*time.Second, "the server is ready again", func() error {
			answer, err := s.http.Get(s.url + "/readyz")
			if err != nil {
				return err
			}
			answer.Body.Close()
			if answer.StatusCode != 200 {
				return errors.New(answer.Status)
			}
			return nil
		})
		back = max(back, time.Since(began))
		for _, j := range jobs {
			r.ended(j.ID, 2*time.Minute)
		}
		settled = max(settled, time.Since(began))
	}
	v := r.judge(succeeded(lines))
	if back > 15*time.Second {
		v.violations++
		t.Errorf("ready again after %s, want 15 s at most", back)
	}
	if strings.Contains(s.words(), "panic") {
		v.violations++
		t.Errorf("the server panicked:\n%s", tail(s.words(), 60))
	}
	offline, err := s.metric("restic_manager_offline_sweeps_total")
	if err != nil || offline > 0 {
		v.violations++
		t.Errorf("hosts that were flagged offline: got %g, %v, want none", offline, err)
	}
	after := r.goroutines()
	if whole() {
		// Each connection that an agent opened meanwhile is one more, until the agent has left it alone for 90 s.
		eventually(t, 2*time.Minute, "the server has its goroutines of before", func() error {
			if after = r.goroutines(); after > before*105/100 {
				return fmt.Errorf("%d, before %d", after, before)
			}
			return nil
		})
	}
	fault(t, faultRow{Row: "4", Fault: fmt.Sprintf("database killed, away for %s", away), Variant: fmt.Sprintf("postgres, %d agents", len(r.agents)), Runs: v.jobs, Violations: v.violations,
		Figure: fmt.Sprintf("%d calls answered 503 with Retry-After; ready %s after the database; all results and %d bytes of log there after %s; %d goroutines before, %d after",
			refused, seconds(back), v.bytes, seconds(settled), before, after)})
}

// goroutines are the server's when all agents' polls are held.
func (r *faultRig) goroutines() int {
	r.t.Helper()
	r.s.holds(len(r.agents))
	n, err := r.s.metric("go_goroutines")
	if err != nil {
		r.t.Fatal(err)
	}
	return int(n)
}

// refuses asks without a database until a time: each answer is a 503 that says when to come again.
func (r *faultRig) refuses(until time.Time) (refused int) {
	r.t.Helper()
	for time.Now().Before(until) {
		answer, err := r.s.try("GET", "/api/hosts", nil, nil)
		if answer == nil || answer.StatusCode != 503 || answer.Header.Get("Retry-After") == "" {
			r.t.Errorf("the API without a database: got %v, %v, want 503 with Retry-After", answer, err)
			break
		}
		refused++
		<-time.After(100 * time.Millisecond)
	}
	<-time.After(time.Until(until))
	return refused
}

// TestFaultConnections: a PostgreSQL that lets few connections in, far more waiting polls than that, and every
// connection ended again and again under jobs that are offered, accepted, started and finished.
func TestFaultConnections(t *testing.T) {
	t.Parallel()
	const allowed = 30
	c := newCluster(t)
	c.sql("ALTER SYSTEM SET max_connections = " + fmt.Sprint(allowed))
	c.kill()
	c.again()
	s := newServerOn(t, c.url, withMetrics)
	p := &pollers{t: t, s: s}
	p.enroll(figures(150, 5000), figures(4, 16))
	p.begin()
	defer p.end()
	calm, storm := 4*time.Second, 6*time.Second
	if whole() {
		calm, storm = time.Minute, 5*time.Minute
	}
	p.work(calm)
	calmly := p.accepts()
	stop, ended := make(chan struct{}), make(chan int)
	go func() { ended <- c.terminate(stop, 5*time.Second) }()
	p.work(storm)
	close(stop)
	terminated := <-ended
	stormily := p.accepts()
	p.end()
	store, _ := s.store(t)
	broken := violations(t, store)
	for _, words := range []string{"too many clients", "remaining connection slots", "panic"} {
		if n := strings.Count(s.words(), words); n > 0 {
			broken++
			t.Errorf("the server's log has %q %d times", words, n)
		}
	}
	if p99 := percentile(calmly, 0.99); p99 > 500*time.Millisecond && whole() {
		broken++
		t.Errorf("accept, 99th percentile: got %s, want less than 500 ms", p99)
	}
	fault(t, faultRow{Row: "5", Fault: "connections few, and all ended every 5 s", Variant: fmt.Sprintf("postgres, max_connections=%d", allowed),
		Runs: len(calmly) + len(stormily), Violations: broken,
		Figure: fmt.Sprintf("%d polls held at once; accept p50 %s, p99 %s; while %d connections were ended: p99 %s, %d calls tried again", p.most,
			inMilliseconds(percentile(calmly, 0.5)), inMilliseconds(percentile(calmly, 0.99)), terminated, inMilliseconds(percentile(stormily, 0.99)), p.again.Load())})
}

func (c *cluster) sql(text string) {
	c.t.Helper()
	db, err := pgx.Connect(c.t.Context(), c.url)
	if err != nil {
		c.t.Fatal(err)
	}
	defer db.Close(context.WithoutCancel(c.t.Context()))
	if _, err := db.Exec(c.t.Context(), text); err != nil {
		c.t.Fatalf("%s: %v", text, err)
	}
}

// terminate ends every other connection at each turn, until stop; it returns how many.
func (c *cluster) terminate(stop chan struct{}, every time.Duration) (ended int) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		db, err := pgx.Connect(context.Background(), c.url)
		if err == nil {
			var n int
			if db.QueryRow(context.Background(), `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
				WHERE datname = current_database() AND pid <> pg_backend_pid()`).Scan(&n) == nil {
				ended += n
			}
			db.Close(context.Background())
		}
		select {
		case <-stop:
			return ended
		case <-tick.C:
		}
	}
}

// pollers are many hosts that wait and a few that work, without an agent's program: each is a connection.
type pollers struct {
	t             testing.TB
	s             *server
	store         *fleet.Store
	idle, working []*member
	ctx           context.Context
	stop          context.CancelFunc
	all           sync.WaitGroup
	most          int
	again         atomic.Int64

	mu    sync.Mutex // guards times
	times []time.Duration
}

// enroll makes the hosts: the idle ones are copies of one row, for that is all that a poll needs.
func (p *pollers) enroll(idle, working int) {
	p.t.Helper()
	store, db := p.s.store(p.t)
	p.store = store
	first := &member{t: p.t, boot: "b1"}
	first.id, first.token = enroll(p.t, store, "")
	for i := range working {
		m := &member{t: p.t, boot: "b1"}
		m.id, m.token = enroll(p.t, store, fmt.Sprintf("%064x", i+1))
		m.to[0] = m.connect(p.s.url)
		p.working = append(p.working, m)
	}
	var columns []string
	read := db.Read(p.t.Context())
	if err := read.Raw("SELECT column_name FROM information_schema.columns WHERE table_name = 'hosts' AND column_name NOT IN ('id', 'name', 'name_key', 'token_sha256')").Scan(&columns).Error; err != nil {
		p.t.Fatal(err)
	}
	rest := strings.Join(columns, ", ")
	err := db.Write(p.t.Context(), func(tx *database.Tx) error {
		for i := range idle {
			m := &member{t: p.t, boot: "b1", id: fmt.Sprintf("0190a000-0000-7000-8000-%012x", i+1), token: fmt.Sprintf("%sidle-%d", wire.AgentTokenPrefix, i)}
			if err := tx.Exec("INSERT INTO hosts (id, name, name_key, token_sha256, "+rest+") SELECT ?, ?, ?, ?, "+rest+" FROM hosts WHERE id = ?",
				m.id, fmt.Sprint("idle-", i), fmt.Sprint("idle-", i), hexSum([]byte(m.token)), first.id).Error; err != nil {
				return err
			}
			p.idle = append(p.idle, m)
		}
		return nil
	})
	if err != nil {
		p.t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		p.t.Fatal(err)
	}
	for _, m := range p.idle {
		m.to[0] = m.connect(p.s.url)
	}
}

// begin holds a poll for each idle host.
func (p *pollers) begin() {
	p.t.Helper()
	p.ctx, p.stop = context.WithCancel(context.Background())
	for _, m := range p.idle {
		p.all.Go(func() {
			// As agents do: their back-off, and what Retry-After says.
			for failed := 0; p.ctx.Err() == nil; {
				if _, err := m.poll(p.ctx, 0, 25*time.Second); err == nil {
					failed = 0
				} else if p.ctx.Err() == nil {
					p.again.Add(1)
					pauseFor(p.ctx, client.Delay(failed, client.BackoffCapPoll, err))
					failed++
				}
			}
		})
	}
	eventually(p.t, 2*time.Minute, "the polls are held", func() error {
		n, err := p.s.held()
		if err == nil {
			p.most = max(p.most, n)
			if n < len(p.idle)*95/100 {
				err = fmt.Errorf("%d of %d are", n, len(p.idle))
			}
		}
		return err
	})
}

func pauseFor(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

func (p *pollers) end() {
	p.stop()
	p.all.Wait()
}

// work lets each working host take and do jobs for a time; a call that fails is made again until it is answered, as
// agents do.
func (p *pollers) work(d time.Duration) {
	until := time.Now().Add(d)
	var all sync.WaitGroup
	for n, m := range p.working {
		all.Go(func() {
			for i := 0; time.Now().Before(until); i++ {
				if err := p.one(m, n*1_000_000+i); err != nil {
					p.t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}

// one is a job from its order to its end.
func (p *pollers) one(m *member, n int) error {
	var j job
	if err := p.insist("order", func() error {
		_, err := p.s.try("POST", "/api/hosts/"+m.id+"/jobs", map[string]any{"kind": wire.KindBackup, "spec": unique(wire.KindBackup, n)}, &j)
		return err
	}); err != nil {
		return err
	}
	var offer *wire.Offer
	if err := p.insist("poll", func() error {
		r, err := m.poll(p.ctx, 0, 5*time.Second)
		if err == nil && r.Offer == nil {
			return errors.New("no offer")
		}
		offer = r.Offer
		return err
	}); err != nil {
		return err
	}
	ref := wire.JobRef{ID: offer.JobID, Lease: fmt.Sprintf("%032x", n+1)}
	began := time.Now()
	err := p.insist("accept", func() error {
		_, err := m.to[0].Accept(p.ctx, ref.ID, wire.AcceptRequest{Lease: ref.Lease, Delivery: offer.Delivery})
		return err
	})
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.times = append(p.times, time.Since(began))
	p.mu.Unlock()
	return p.insist("perform", func() error {
		if err := m.to[0].Start(p.ctx, ref, wire.StartRequest{StartNonce: ref.Lease}); err != nil && client.Code(err) != wire.ProblemLeaseLost {
			return err
		}
		_, err := m.to[0].Finish(p.ctx, ref, []byte(`{"state":"succeeded","exit_code":0,"log_lines":0,"log_sha256":"`+hexSum(nil)+`"}`))
		return err
	})
}

// insist calls until it is answered.
func (p *pollers) insist(what string, call func() error) error {
	var err error
	for range 200 {
		if err = call(); err == nil {
			return nil
		}
		p.again.Add(1)
		pauseFor(p.ctx, 100*time.Millisecond)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// accepts are the times of the accepts since the last call.
func (p *pollers) accepts() []time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	times := p.times
	p.times = nil
	if len(times) == 0 {
		p.t.Fatal("no job was accepted")
	}
	return times
}

// TestFaultServerDiskFull: the disk of the database is full while logs come. Nothing is acknowledged that is not
// stored, agents keep what they have, and all arrives by itself when there is room.
func TestFaultServerDiskFull(t *testing.T) {
	t.Parallel()
	for _, engine := range databases {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			disk := newSmallDisk(t, figures(48, 480)<<20)
			s := disk.server(engine)
			r := newFaultRig(t, s, figures(2, 6))
			const lines, size = 20_000, 300
			r.script(script.Act{Lines: lines, LineBytes: size, Rate: 5000})
			full, refused, jobs := time.Duration(0), 0, 0
			for range figures(1, 5) {
				disk.fill(64 << 10)
				ids := make([]string, len(r.agents))
				r.each(func(i int, a *scripted) {
					ids[i] = a.insist(func() { disk.spare(256 << 10) }).ID
				})
				began := time.Now()
				refused += r.meetsFullDisk(ids, disk)
				full += time.Since(began)
				disk.empty()
				for _, id := range ids {
					r.ended(id, 3*time.Minute)
					jobs++
				}
			}
			v := r.judge(succeeded(lines))
			if v.jobs != jobs {
				t.Errorf("jobs: got %d, want %d", v.jobs, jobs)
			}
			fault(t, faultRow{Row: "13", Fault: "the disk of the database is full", Variant: engine, Runs: v.jobs, Violations: v.violations,
				Figure: fmt.Sprintf("%d answers 5xx within %s of no room; %d bytes of log there after it, equal", refused, seconds(full), v.bytes)})
		})
	}
}

// meetsFullDisk waits until the server has said that it cannot store, and has gone on saying so for a while. What
// room is still needed for the jobs to start is given bit by bit.
func (r *faultRig) meetsFullDisk(ids []string, disk *smallDisk) int {
	r.t.Helper()
	refusals := func() (n int) {
		for _, p := range r.proxies {
			n += p.Counts().Refused
		}
		return n
	}
	before := refusals()
	eventually(r.t, time.Minute, "every job runs", func() error {
		for _, id := range ids {
			var j job
			if _, err := r.s.try("GET", "/api/jobs/"+id, nil, &j); err != nil || j.State == wire.StateQueued || j.State == wire.StateAccepted {
				disk.spare(32 << 10)
				return fmt.Errorf("one is %s, %v", j.State, err)
			}
		}
		return nil
	})
	disk.fill(0)
	eventually(r.t, time.Minute, "the server says that it cannot store", func() error {
		if n := refusals() - before; n < 3*len(ids) {
			return fmt.Errorf("%d times so far", n)
		}
		return nil
	})
	return refusals() - before
}

// smallDisk is a file system of the test's own, with a file that takes up its room.
type smallDisk struct {
	t   testing.TB
	dir string
	mu  sync.Mutex // one change of the ballast at a time
}

func newSmallDisk(t testing.TB, size int) *smallDisk {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "restic-manager-e2e-disk.")
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("none", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		t.Fatalf("mount a small disk (this test runs as root): %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
		os.Remove(dir)
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return &smallDisk{t: t, dir: dir}
}

// server runs on a database that lies on the disk.
func (d *smallDisk) server(engine string) *server {
	d.t.Helper()
	if engine == "sqlite" {
		data := filepath.Join(d.dir, "data")
		if err := os.Mkdir(data, 0o700); err != nil {
			d.t.Fatal(err)
		}
		return newServerIn(d.t, data, filepath.Join(d.t.TempDir(), "server.log"), "")
	}
	c := newCluster(d.t)
	space := filepath.Join(d.dir, "space")
	if err := os.Mkdir(space, 0o700); err != nil {
		d.t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if out, err := exec.Command("chown", "postgres", space).CombinedOutput(); err != nil {
			d.t.Fatalf("chown: %v: %s", err, out)
		}
	}
	c.sql("CREATE TABLESPACE small LOCATION '" + space + "'")
	c.sql("CREATE DATABASE small TABLESPACE small")
	return newServerOn(d.t, strings.Replace(c.url, "/postgres?", "/small?", 1))
}

func (d *smallDisk) ballast() string { return filepath.Join(d.dir, "ballast") }

// fill leaves so many bytes free.
func (d *smallDisk) fill(free int64) {
	d.t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	var st syscall.Statfs_t
	if err := syscall.Statfs(d.dir, &st); err != nil {
		d.t.Fatal(err)
	}
	if more := int64(st.Bavail)*st.Bsize - free; more > 0 {
		f, err := os.OpenFile(d.ballast(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			d.t.Fatal(err)
		}
		defer f.Close()
		// The database takes room meanwhile: what does not fit is what was to be taken.
		_, _ = f.Write(make([]byte, more))
	}
}

// spare gives some bytes back.
func (d *smallDisk) spare(n int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if info, err := os.Stat(d.ballast()); err == nil {
		_ = os.Truncate(d.ballast(), max(info.Size()-n, 0))
	}
}

// empty gives all of it back.
func (d *smallDisk) empty() { d.spare(1 << 40) }
