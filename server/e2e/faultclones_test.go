package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"restic-manager/agent/client"
	"restic-manager/server/fleet"
	"restic-manager/shared/wire"
)

// again is another process with the member's identity: its own after a restart, or a copy's.
func (m *member) again(boot string) *member {
	return &member{t: m.t, id: m.id, token: m.token, to: m.to, boot: boot}
}

// hello introduces the process at one of the replicas.
func (m *member) hello(number int64) error {
	reply, err := m.to[rand.IntN(2)].Hello(m.t.Context(), helloOf(m.boot, number, m.seq.Add(1), ""))
	if err == nil {
		m.mark.Store(reply.Mark)
	}
	return err
}

// late sends a poll of the process once more, a minute late: nobody reads the answer.
func (m *member) late() error {
	mark, _ := m.mark.Load().(string)
	_, err := m.to[rand.IntN(2)].Poll(m.t.Context(), wire.PollQuery{Boot: m.boot, Seq: m.seq.Load(), Mark: mark, FreeLong: 1, FreeShort: 1})
	return err
}

// alarmed reports whether the host carries the alarm.
func alarmed(t testing.TB, s *fleet.Store, id string) bool {
	t.Helper()
	h, err := s.HostByID(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return h.CloneAlarm != nil
}

// TestFaultClones: a copy of a machine, with its state or of its disk alone, beside the living original, is told within
// two polls of the original, and neither gets work from then on; restarts, with late messages of the processes before,
// are never taken for one.
func TestFaultClones(t *testing.T) {
	t.Parallel()
	clonings, restarts := figures(20, 100), figures(120, 1000)
	const each = 8 // restarts of one host: it may say two things a second
	p := newPair(t)
	bad, most := 0, 0
	for n := range clonings {
		m := p.join("")
		c := m.again("copy")
		if _, err := m.poll(t.Context(), rand.IntN(2), 0); err != nil {
			t.Fatal(err)
		}
		if err := c.hello(int64(2 + n%3)); err != nil {
			t.Fatal(err)
		}
		polls := 0
		for ; polls < 3 && !alarmed(t, p.store, m.id); polls++ {
			if _, err := m.poll(t.Context(), rand.IntN(2), 0); err != nil {
				t.Fatal(err)
			}
			if _, err := c.poll(t.Context(), rand.IntN(2), 0); err != nil {
				t.Fatal(err)
			}
		}
		if most = max(most, polls); polls > 2 || !alarmed(t, p.store, m.id) {
			bad++
			t.Errorf("cloning %d: no alarm after %d polls of each", n, polls)
		}
		j, _, err := p.store.CreateJob(t.Context(), tester, fleet.NewJob{HostID: m.id, Kind: wire.KindBackup, Spec: unique(wire.KindBackup, n)})
		if err != nil {
			t.Fatal(err)
		}
		for i, one := range []*member{m, c} {
			reply, err := one.poll(t.Context(), rand.IntN(2), 0)
			if err != nil || reply.Offer != nil {
				bad++
				t.Errorf("a poll under the alarm: got %+v, %v, want no offer", reply.Offer, err)
			}
			if _, err := one.to[i].Accept(t.Context(), j.ID, wire.AcceptRequest{Lease: fmt.Sprintf("%032x", 2*n+i+1), Delivery: 1}); !refused(err) {
				bad++
				t.Errorf("an accept under the alarm: got %v, want it refused", err)
			}
		}
	}
	alarms, lates := 0, 0
	for range restarts / each {
		m := p.join("")
		processes := []*member{m}
		for n := range each {
			newest := m.again(fmt.Sprint("b", n+2))
			if err := newest.hello(int64(n + 2)); err != nil {
				t.Fatal(err)
			}
			if _, err := newest.poll(t.Context(), rand.IntN(2), 0); err != nil {
				t.Fatal(err)
			}
			// Of a process before, or of this one.
			processes = append(processes, newest)
			lates++
			if err := processes[rand.IntN(len(processes))].late(); err != nil && client.Code(err) != wire.ProblemHelloRequired {
				t.Fatal(err)
			}
		}
		if alarmed(t, p.store, m.id) {
			alarms++
			t.Errorf("%d restarts raised the alarm", each)
		}
	}
	fault(t, faultRow{Row: "14", Fault: "a machine copied beside the living one, against restarts", Variant: "postgres, 2 replicas", Runs: clonings + restarts/each*each, Violations: bad + alarms,
		Figure: fmt.Sprintf("%d of %d clonings told within %d polls, no work for either; %d false alarms in %d restarts with %d late messages", clonings-bad, clonings, most, alarms, restarts/each*each, lates)})
}

// TestFaultStolenToken: what lies in the database is no token; a thief who has one from elsewhere sees what is that
// host's and gets a repository's password for a job that it accepted alone; it is told beside the living agent, and out
// after the revocation.
func TestFaultStolenToken(t *testing.T) {
	t.Parallel()
	rounds := figures(2, 15)
	p := newPair(t)
	one := p.replicas[0]
	a := enrollAgent(t, one, "0.18.0")
	a.repository, a.password = filepath.Join(a.dir, "repository"), "canary-0123456789-password"
	a.start()
	one.do("PUT", "/api/hosts/"+a.hostID+"/repository", map[string]any{"url": a.repository, "password": a.password}, nil)
	token := ""
	for line := range strings.Lines(a.read()) {
		if v, ok := strings.CutPrefix(line, "agent_token:"); ok {
			token = strings.Trim(strings.TrimSpace(v), `"`)
		}
	}
	thief := &member{t: t, id: a.hostID, token: token}
	for i, s := range p.replicas {
		thief.to[i] = thief.connect(s.url)
	}
	bad := 0
	expect := func(ok bool, format string, args ...any) {
		t.Helper()
		if !ok {
			bad++
			t.Errorf(format, args...)
		}
	}
	// Somebody else's jobs are as if they were not there.
	other := p.join("")
	j := one.order(other.id, wire.KindBackup, unique(wire.KindBackup, 1))
	calls := 0
	for _, call := range []string{"accept", "start", "resume", "log", "progress", "finish"} {
		lease := strings.Repeat("0", 31) + "1"
		body := map[string]string{"accept": `{"lease":"` + lease + `","delivery":1}`, "start": `{"start_nonce":"` + lease + `"}`,
			"resume": `{"old_lease":"` + lease + `","new_lease":"` + strings.Repeat("0", 31) + `2"}`, "progress": `{"seq":1}`,
			"finish": `{"state":"failed","error":{"code":"internal","message":"x"}}`}[call]
		theirs, none := thief.raw(p, call, j.ID, lease, body), thief.raw(p, call, "0198c0de-0000-7000-8000-000000000001", lease, body)
		calls++
		expect(theirs == none && !strings.HasPrefix(theirs, "2"), "%s of another host's job: got %s, want as of one that is not there: %s", call, theirs, none)
	}
	for _, path := range []string{"/api/hosts", "/api/jobs/" + j.ID, "/api/audit", "/api/hosts/" + other.id} {
		q, _ := http.NewRequest("GET", one.url+path, nil)
		q.Header.Set("Authorization", "Bearer "+token)
		answer, err := one.http.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		calls++
		expect(answer.StatusCode == 401, "%s with an agent's secret: got %s, want 401", path, answer.Status)
	}
	expect(one.job(j.ID).State == wire.StateQueued, "the other host's job: got %s, want queued", one.job(j.ID).State)
	// The copy speaks beside the living agent.
	var times []time.Duration
	for n := range rounds {
		p.held(a)
		begun := time.Now()
		c := thief.again(fmt.Sprint("thief", n))
		eventually(t, 30*time.Second, "the thief's hello is taken", c.steal) // a busy machine may have spent the host's requests
		eventually(t, 30*time.Second, "the alarm is raised", func() error {
			if !alarmed(t, p.store, a.hostID) {
				return fmt.Errorf("not yet")
			}
			return nil
		})
		times = append(times, time.Since(begun))
		order := one.order(a.hostID, wire.KindInit, nil)
		eventually(t, 10*time.Second, "the thief's poll is answered", func() error {
			reply, err := c.poll(t.Context(), n%2, 0)
			expect(reply.Offer == nil, "a poll of the thief under the alarm: got %+v", reply)
			return err // it may ask twice a second, together with the agent
		})
		_, err := c.to[n%2].Accept(t.Context(), order.ID, wire.AcceptRequest{Lease: fmt.Sprintf("%032x", n+1), Delivery: 1})
		expect(refused(err), "an accept of the thief under the alarm: got %v", err)
		one.do("POST", "/api/jobs/"+order.ID+"/cancel", nil, nil)
		one.do("POST", "/api/hosts/"+a.hostID+"/clone-alarm/clear", nil, nil)
	}
	// What an offer says before somebody takes the job.
	quiet := p.join("")
	one.do("PUT", "/api/hosts/"+quiet.id+"/repository", map[string]any{"url": a.repository, "password": a.password}, nil)
	one.order(quiet.id, wire.KindInit, nil)
	reply, err := quiet.poll(t.Context(), 1, 0)
	if err != nil || reply.Offer == nil {
		t.Fatalf("got %+v, %v, want an offer", reply, err)
	}
	said, err := json.Marshal(reply)
	expect(err == nil && !strings.Contains(string(said), a.password) && !strings.Contains(string(said), a.repository), "the offer says too much: %s", said)
	taken, err := quiet.to[0].Accept(t.Context(), reply.Offer.JobID, wire.AcceptRequest{Lease: strings.Repeat("0", 31) + "9", Delivery: reply.Offer.Delivery})
	expect(err == nil && taken.Secrets != nil && taken.Secrets.Password == a.password, "the accept: got %+v, %v, want the password", taken, err)
	secrets := map[string]string{"the agent's secret": token, "the session": one.cookie[strings.IndexByte(one.cookie, '=')+1:], "the operator's password": adminPassword, "the repository's password": a.password}
	if found, _ := p.rowsWith("host-" + filepath.Base(a.dir)); len(found) == 0 {
		t.Error("the search does not find the host's name")
	}
	rows := 0
	for what, secret := range secrets {
		found, looked := p.rowsWith(secret)
		rows = looked
		expect(len(found) == 0, "%s is in the database: %v", what, found)
	}
	one.do("POST", "/api/hosts/"+a.hostID+"/revoke", nil, nil)
	eventually(t, time.Second, "the thief is out at both", func() error {
		for i := range thief.to {
			if _, err := thief.poll(t.Context(), i, 0); client.Code(err) != wire.ProblemUnauthorized {
				return fmt.Errorf("replica %d: %w", i, err)
			}
		}
		return nil
	})
	fault(t, faultRow{Row: "16", Fault: "a thief with the secret of a living agent", Variant: "postgres, 2 replicas", Runs: rounds, Violations: bad,
		Figure: fmt.Sprintf("%d rows hold none of %d secrets; %d calls saw nothing of others; alarm beside the living agent after p50 %s, most %s, no work and no password for the thief; revoked: out at both",
			rows, len(secrets), calls, percentile(times, .5).Round(time.Millisecond), percentile(times, 1).Round(time.Millisecond))})
}

// held waits until the agent's poll is held at one of the replicas.
func (p *pair) held(a *agent) {
	p.t.Helper()
	a.online()
	eventually(p.t, 30*time.Second, "the agent's poll is held", func() error {
		for _, s := range p.replicas {
			if n, err := s.held(); err != nil || n > 0 {
				return err
			}
		}
		return fmt.Errorf("not yet")
	})
}

// steal says hello with the number after the newest process's, as a copy of the state folder does.
func (m *member) steal() error {
	number := time.Now().Unix()
	for {
		err := m.hello(number)
		if problem, ok := errors.AsType[*wire.Problem](err); ok && problem.BootNumber >= number {
			number = problem.BootNumber + 1
			continue
		}
		return err
	}
}

// raw is the answer to a call about a job, word for word but for the request's own id.
func (m *member) raw(p *pair, call, id, lease, body string) string {
	p.t.Helper()
	s := p.replicas[0]
	q, err := http.NewRequest("POST", s.url+"/api/agents/jobs/"+id+"/"+call+"?first_line=1&lines=0", strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	if call != "log" {
		q.URL.RawQuery = ""
		q.Header.Set("Content-Type", "application/json")
	} else {
		q.Header.Set("Content-Type", "application/x-ndjson")
	}
	q.Header.Set("Authorization", "Bearer "+m.token)
	q.Header.Set(wire.HeaderProtocol, fmt.Sprint(wire.ProtocolVersion))
	q.Header.Set(wire.HeaderLease, lease)
	answer, err := s.http.Do(q)
	if err != nil {
		p.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	var said map[string]any
	if json.Unmarshal(text, &said) == nil {
		delete(said, "request_id")
		delete(said, "instance")
		text, _ = json.Marshal(said)
	}
	return fmt.Sprint(answer.StatusCode, " ", strings.ReplaceAll(string(text), id, "ID"))
}

// rowsWith looks through every row of every table for a text, as it is and as bytes in hex.
func (p *pair) rowsWith(secret string) (found []string, looked int) {
	p.t.Helper()
	db, err := pgx.Connect(p.t.Context(), p.url)
	if err != nil {
		p.t.Fatal(err)
	}
	defer db.Close(p.t.Context())
	names, err := db.Query(p.t.Context(), "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' AND table_type = 'BASE TABLE'")
	if err != nil {
		p.t.Fatal(err)
	}
	tables, err := pgx.CollectRows(names, pgx.RowTo[string])
	if err != nil || len(tables) < 10 {
		p.t.Fatalf("tables: got %v, %v", tables, err)
	}
	for _, table := range tables {
		var rows, hits int
		name := pgx.Identifier{table}.Sanitize()
		err := db.QueryRow(p.t.Context(), "SELECT count(*), count(*) FILTER (WHERE position($1 IN x::text) > 0 OR position($2 IN x::text) > 0) FROM "+name+" x",
			secret, fmt.Sprintf("%x", secret)).Scan(&rows, &hits)
		if err != nil {
			p.t.Fatalf("%s: %v", table, err)
		}
		if looked += rows; hits > 0 {
			found = append(found, table)
		}
	}
	return found, looked
}
