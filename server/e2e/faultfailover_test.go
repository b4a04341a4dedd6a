package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"restic-manager/agent/client"
	"restic-manager/server/e2e/scripted/script"
	"restic-manager/shared/wire"
)

// TestFaultRevokedAtOneReplica: a host revoked at one replica is out at both within a second, and its polls that wait
// at both end. In every other round the replicas' hearing is cut just before: the promise does not rest on it.
func TestFaultRevokedAtOneReplica(t *testing.T) {
	const within = time.Second
	rounds, requests := figures(4, 60), figures(200, 1000)
	p := newPair(t)
	var slowest [2]time.Duration // heard, deaf
	var slowestPoll time.Duration
	asked, bad := 0, 0
	for n := range rounds {
		m, deaf := p.join(""), n%2
		polls := make(chan error, len(m.to))
		for i := range m.to {
			go func() { polls <- m.waitOut(i) }()
		}
		p.replicas[0].holds(1)
		p.replicas[1].holds(1)
		s := &storm{member: m}
		s.begin()
		if deaf == 1 {
			p.deafen()
		}
		begun := time.Now()
		p.replicas[n/2%2].do("POST", "/api/hosts/"+m.id+"/revoke", nil, nil)
		revoked := time.Now()
		for range m.to {
			if err := <-polls; client.Code(err) != wire.ProblemUnauthorized {
				bad++
				t.Errorf("the poll that waited: got %v, want %s", err, wire.ProblemUnauthorized)
			}
		}
		if took := time.Since(begun); deaf == 0 {
			if slowestPoll = max(slowestPoll, took); took > patience*within {
				bad++
				t.Errorf("the polls that waited ended after %s, want %s at most", took, patience*within)
			}
		}
		count, last := s.end(revoked.Add(within+within/5), requests)
		asked += count
		took := max(last.Sub(revoked), 0)
		if slowest[deaf] = max(slowest[deaf], took); took > within {
			bad++
			t.Errorf("a request was let in %s after the revocation", took)
		}
	}
	fault(t, faultRow{Row: "16", Fault: "a host revoked at one replica asks at both", Variant: "postgres, 2 replicas", Runs: rounds, Violations: bad,
		Figure: fmt.Sprintf("%d requests: the last one let in %s after the revocation, %s with the replicas' hearing cut; held polls at both ended within %s of its request",
			asked, inMilliseconds(slowest[0]), inMilliseconds(slowest[1]), inMilliseconds(slowestPoll))})
}

// deafen cuts the connections on which the servers hear each other; they come again after a second.
func (p *pair) deafen() {
	p.t.Helper()
	err := p.db.Read(p.t.Context()).Exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'").Error
	if err != nil {
		p.t.Fatal(err)
	}
}

// storm is a host that asks both replicas without a pause.
type storm struct {
	*member
	asked atomic.Int64
	last  atomic.Int64 // when a request that was let in began, in Unix nanoseconds
	over  atomic.Bool
	all   sync.WaitGroup
}

func (s *storm) begin() {
	for n := range 4 {
		s.all.Go(func() {
			for !s.over.Load() {
				s.ask(n % 2)
			}
		})
	}
}

// ask reports on a job that is not there: let in, the host hears lease_lost.
func (s *storm) ask(replica int) {
	begun := time.Now().UnixNano()
	_, err := s.to[replica].Progress(s.t.Context(), wire.JobRef{ID: s.id, Lease: fmt.Sprintf("%032x", 1)}, wire.Progress{Seq: 1})
	s.asked.Add(1)
	switch client.Code(err) {
	case wire.ProblemUnauthorized:
	case wire.ProblemLeaseLost:
		for was := s.last.Load(); was < begun && !s.last.CompareAndSwap(was, begun); was = s.last.Load() {
		}
	default:
		s.t.Errorf("a report on a job that is not there: got %v", err)
	}
}

// end lets it go on to a time and for so many requests; last is when one that was let in began.
func (s *storm) end(until time.Time, requests int) (asked int, last time.Time) {
	limit := s.asked.Load() + int64(requests)
	for time.Now().Before(until) || s.asked.Load() < limit {
		s.ask(0)
	}
	s.over.Store(true)
	s.all.Wait()
	return int(s.asked.Load()), time.Unix(0, s.last.Load())
}

// waitOut polls until something other than a configuration comes.
func (m *member) waitOut(replica int) error {
	for {
		if reply, err := m.poll(m.t.Context(), replica, 25*time.Second); err != nil || reply.Configure == nil {
			return err
		}
	}
}

// TestFaultAnotherKey: a replica with another encryption key, none, or a broken one does not start, says what to do,
// and leaves the others at work.
func TestFaultAnotherKey(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	p.db.Close()
	write := func(text string) func(string) error {
		return func(path string) error { return os.WriteFile(path, []byte(text), 0o600) }
	}
	cases := []struct {
		name, words string
		key         func(path string) error
	}{
		{"another", "encryption key", write(strings.Repeat("0123456789abcdef", 4) + "\n")},
		{"none", "there is no encryption key at", func(string) error { return nil }},
		{"half", "is damaged", write("0123456789abcdef")},
		{"open to all", "chmod 0600", func(path string) error {
			return os.WriteFile(path, []byte(strings.Repeat("0123456789abcdef", 4)), 0o644)
		}},
	}
	bad := 0
	for _, c := range cases {
		dir := t.TempDir()
		key := filepath.Join(dir, "secret.key")
		if err := c.key(key); err != nil {
			t.Fatal(err)
		}
		before, _ := os.ReadFile(key)
		third := startProcess(t, filepath.Join(dir, "server.log"), []string{"DATABASE_URL=" + p.url},
			tool(t, "RESTIC_MANAGER_TEST_BIN", "restic-manager"), "serve", "--listen", freeAddress(t), "--data-dir", dir)
		select {
		case <-third.done:
		case <-time.After(patience * 30 * time.Second):
			third.kill()
		}
		after, _ := os.ReadFile(key)
		if code := third.cmd.ProcessState.ExitCode(); code != 78 || !strings.Contains(third.words(), c.words) || string(before) != string(after) {
			bad++
			t.Errorf("a key: %s: got exit code %d and %q, want 78 and %q; its key file was %q and is %q", c.name, code, third.words(), c.words, before, after)
		}
		t.Logf("%s: %s", c.name, tail(third.words(), 1))
	}
	for _, s := range p.replicas {
		s.do("GET", "/api/hosts", nil, nil)
	}
	fault(t, faultRow{Row: "15", Fault: "a replica starts with another encryption key, none, half of one, one open to all", Variant: "postgres, 3rd replica", Runs: len(cases), Violations: bad,
		Figure: "exit code 78 and what to do; the other two serve on"})
}

// failover is an address with two servers behind it: a connection goes to the first that takes it, and ends with it.
type failover struct {
	net.Listener
	servers [2]string
	// first is which server is asked first.
	first atomic.Int64
	mu    sync.Mutex
	ended bool // guarded by mu
	open  map[net.Conn]struct{}
}

func newFailover(t testing.TB, servers [2]string) *failover {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &failover{Listener: l, servers: servers, open: map[net.Conn]struct{}{}}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { f.carry(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		f.mu.Lock()
		f.ended = true
		for c := range f.open {
			c.Close()
		}
		f.mu.Unlock()
		all.Wait()
	})
	return f
}

// keep remembers a connection that is to be closed in the end; false when that has come.
func (f *failover) keep(c net.Conn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended {
		c.Close()
		return false
	}
	f.open[c] = struct{}{}
	return true
}

func (f *failover) drop(c net.Conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c.Close()
	delete(f.open, c)
}

func (f *failover) carry(c net.Conn) {
	if !f.keep(c) {
		return
	}
	defer f.drop(c)
	for i := range f.servers {
		s, err := net.Dial("tcp", f.servers[(int(f.first.Load())+i)%len(f.servers)])
		if err != nil {
			continue
		}
		if !f.keep(s) {
			return
		}
		defer f.drop(s)
		var both sync.WaitGroup
		both.Go(func() { io.Copy(s, c); s.Close(); c.Close() })
		both.Go(func() { io.Copy(c, s); s.Close(); c.Close() })
		both.Wait()
		return
	}
}

// TestFaultReplicaKilled: agents know one address, behind which one replica after the other is killed: they are served
// by the other one within their back-off, and the backups under way end as if nothing had been.
func TestFaultReplicaKilled(t *testing.T) {
	agents, rounds, lines := figures(2, 6), figures(2, 20), figures(100, 2000)
	p := newPair(t)
	f := newFailover(t, [2]string{p.replicas[0].listen, p.replicas[1].listen})
	front := *p.replicas[0]
	front.url = "http://" + f.Addr().String()
	front.http = &http.Client{Timeout: 90 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	var fleetOf []*scripted
	var jobs []job
	over := filepath.Join(t.TempDir(), "over")
	for range agents {
		a := newScripted(t, &front)
		a.script(map[string]script.Act{"backup": {Lines: lines, LineBytes: 80, Rate: 50, Until: over}})
		j := a.backup()
		front.reaches(j.ID, time.Minute, wire.StateRunning)
		fleetOf, jobs = append(fleetOf, a), append(jobs, j)
	}
	var times []time.Duration
	bad := 0
	for n := range rounds {
		victim, other := p.replicas[n%2], p.replicas[1-n%2]
		victim.holds(agents)
		f.first.Store(int64(1 - n%2)) // who comes again stays with the other, also once this one is back
		victim.kill()
		begun := time.Now()
		other.holds(agents)
		took := time.Since(begun)
		if times = append(times, took); took > client.BackoffCapPoll {
			bad++
			t.Errorf("all agents poll at the other replica %s after the kill, want %s at most", took, client.BackoffCapPoll)
		}
		for _, a := range fleetOf { // an order is served, and a poll is answered before the next kill
			other.run(a.hostID, wire.KindSnapshots, nil, wire.StateSucceeded)
		}
		for i, a := range fleetOf {
			if h, j := other.host(a.hostID), other.job(jobs[i].ID); h.Status != "online" || j.State != wire.StateRunning {
				bad++
				t.Errorf("at the other replica: got the host %s, its backup %s, want it online and running", h.Status, j)
			}
		}
		victim.start()
	}
	if err := os.WriteFile(over, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for i, a := range fleetOf {
		front.reaches(jobs[i].ID, 2*time.Minute, wire.StateSucceeded)
		if got := strings.Count(front.logOf(jobs[i]), " line "); got != lines {
			bad++
			t.Errorf("the backup's log: got %d lines, want %d", got, lines)
		}
		bad += a.twice()
	}
	bad += violations(t, p.store)
	fault(t, faultRow{Row: "3", Fault: "one of two replicas killed -9 under backups", Variant: "postgres, 2 replicas, one address", Runs: rounds * agents, Violations: bad,
		Figure: fmt.Sprintf("%d agents, %d kills: all polls held at the other replica p50 %s, most %s after the kill, a job done there by each; every backup ran once and succeeded, its %d lines whole",
			agents, rounds, percentile(times, .5).Round(time.Millisecond), percentile(times, 1).Round(time.Millisecond), lines)})
}

// logOf is the log of a job once it is whole.
func (s *server) logOf(j job) string {
	s.t.Helper()
	s.complete(j.ID)
	return s.log(j.ID)
}
