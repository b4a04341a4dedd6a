package e2e

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"restic-manager/agent/client"
	"restic-manager/server/config"
	"restic-manager/server/database"
	"restic-manager/server/database/databasetest"
	"restic-manager/server/fleet"
	"restic-manager/shared/wire"
)

// pair is two real servers on one PostgreSQL. The store is the test's own beside them: it enrolls hosts and reads
// what the tables say.
type pair struct {
	t        testing.TB
	url, key string
	replicas [2]*server
	store    *fleet.Store
	db       *database.DB
}

const metricsToken = "a token for tests only"

func newPair(t testing.TB, env ...string) *pair {
	t.Helper()
	env = append([]string{"RESTIC_MANAGER_METRICS_TOKEN=" + metricsToken}, env...)
	p := &pair{t: t, url: databasetest.New(t, "postgres")}
	one := newServerOn(t, p.url, env...)
	p.key = filepath.Join(one.dir, "secret.key")
	p.replicas = [2]*server{one, newServerOn(t, p.url, append(env, "RESTIC_MANAGER_KEY_FILE="+p.key)...)}
	p.store, p.db = p.open(nil)
	return p
}

// open is one more store on the database; now nil is the database's clock.
func (p *pair) open(now func() time.Time) (*fleet.Store, *database.DB) {
	p.t.Helper()
	key, _, err := config.LoadKey(p.key)
	if err != nil {
		p.t.Fatal(err)
	}
	return openStore(p.t, p.url, key, now)
}

func openStore(t testing.TB, url string, key []byte, now func() time.Time) (*fleet.Store, *database.DB) {
	t.Helper()
	db, err := database.Open(t.Context(), database.Options{URL: url, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	if err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	s, err := fleet.Open(t.Context(), fleet.Options{DB: db, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	return s, db
}

// violations counts the broken invariants of the tables; that they cannot be looked at is one.
func violations(t testing.TB, s *fleet.Store) int {
	t.Helper()
	found, err := s.CheckInvariants(t.Context())
	if err != nil {
		t.Error(err)
		return 1
	}
	for _, v := range found {
		t.Errorf("invariant broken: %s: %s", v.Rule, v.Detail)
	}
	return len(found)
}

// deadlocks ends the servers and the test's store: a connection tells what it met when it ends.
func (p *pair) deadlocks() (n int) {
	p.t.Helper()
	for _, s := range p.replicas {
		s.kill()
	}
	if err := p.db.Close(); err != nil {
		p.t.Fatal(err)
	}
	db, err := pgx.Connect(p.t.Context(), p.url)
	if err != nil {
		p.t.Fatal(err)
	}
	defer db.Close(context.WithoutCancel(p.t.Context()))
	ask := func(query string) (n int) {
		p.t.Helper()
		if err := db.QueryRow(p.t.Context(), query).Scan(&n); err != nil {
			p.t.Fatal(err)
		}
		return n
	}
	eventually(p.t, 10*time.Second, "the servers' connections are over", func() error {
		if n := ask("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"); n > 0 {
			return fmt.Errorf("%d are left", n)
		}
		return nil
	})
	return ask("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
}

// held is how many polls wait at the server.
func (s *server) held() (int, error) {
	n, err := s.metric("restic_manager_long_polls_held")
	return int(n), err
}

// holds waits until so many polls wait at the server.
func (s *server) holds(n int) {
	s.t.Helper()
	eventually(s.t, 10*time.Second, fmt.Sprintf("%d polls are held", n), func() error {
		got, err := s.held()
		if err == nil && got != n {
			err = fmt.Errorf("it is %d", got)
		}
		return err
	})
}

// member is a host that speaks the protocol to both replicas without an agent's program: a process of its own per boot.
type member struct {
	t     testing.TB
	id    string
	token string
	to    [2]*client.Client
	boot  string
	seq   atomic.Int64
	mark  atomic.Value // string
}

var members atomic.Int64

// join enrolls a host whose own configuration names the repository; empty: none.
func (p *pair) join(repository string) *member {
	p.t.Helper()
	m := &member{t: p.t, boot: "b1"}
	m.id, m.token = enroll(p.t, p.store, repository)
	for i, s := range p.replicas {
		m.to[i] = m.connect(s.url)
	}
	return m
}

// enroll is a host in the store that has said hello as process "b1".
func enroll(t testing.TB, s *fleet.Store, repository string) (id, token string) {
	t.Helper()
	n := members.Add(1)
	_, once, err := s.CreateEnrollmentToken(t.Context(), tester, fleet.NewEnrollmentToken{Name: fmt.Sprintf("member-%d", n)})
	if err != nil {
		t.Fatal(err)
	}
	token = fmt.Sprintf("%s%s", wire.AgentTokenPrefix, hexSum(fmt.Append(nil, t.Name(), n)))
	reply, err := s.Enroll(t.Context(), wire.EnrollRequest{Token: once, AgentTokenSHA256: hexSum([]byte(token)), Hostname: fmt.Sprintf("member-%d", n),
		OS: "linux", Arch: "amd64", AgentVersion: "1.0.0", ProtocolVersion: wire.ProtocolVersion}, "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Hello(t.Context(), reply.HostID, helloOf("b1", 1, 1, repository)); err != nil {
		t.Fatal(err)
	}
	return reply.HostID, token
}

var tester = database.Actor{Kind: "operator", ID: "0190a000-0000-7000-8000-000000000001", Name: "tester"}

func helloOf(boot string, number, seq int64, repository string) wire.HelloRequest {
	h := wire.HelloRequest{BootID: boot, BootNumber: number, Seq: seq, ProtocolVersion: wire.ProtocolVersion, AgentVersion: "1.0.0",
		ResticVersion: "0.18.0", Now: time.Now(), Facts: wire.Facts{Hostname: "h"}}
	for _, k := range wire.Kinds {
		h.Kinds = append(h.Kinds, k.Kind)
	}
	if repository != "" {
		h.Repositories = []wire.RepositoryReport{{Name: wire.RepositoryLocal, ID: repository, Location: "/srv/repository"}}
	}
	return h
}

// connect is a client that tries once: what it gets is what the server said.
func (m *member) connect(url string) *client.Client {
	m.t.Helper()
	c, err := client.New(client.Options{ServerURL: url, Token: m.token})
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(c.Close)
	return c.Once()
}

// poll asks a replica, with both lanes free; jobs are the folders it has.
func (m *member) poll(ctx context.Context, replica int, wait time.Duration, jobs ...wire.JobRef) (wire.PollReply, error) {
	mark, _ := m.mark.Load().(string)
	r, err := m.to[replica].Poll(ctx, wire.PollQuery{Boot: m.boot, Seq: m.seq.Add(1) + 1, Mark: mark, Wait: wait, FreeLong: 1, FreeShort: 1, Jobs: jobs, Config: "none"})
	if err == nil {
		m.mark.Store(r.Mark)
	}
	return r, err
}

// unique is a spec that coalesces with no other.
func unique(kind wire.Kind, n int) wire.Spec {
	switch kind {
	case wire.KindForget:
		return &wire.ForgetSpec{SnapshotIDs: []string{fmt.Sprintf("%064x", n)}}
	case wire.KindCheck:
		return &wire.CheckSpec{ReadDataSubset: fmt.Sprintf("%d/%d", n%256+1, 256)}
	case wire.KindBackup:
		return &wire.BackupSpec{Paths: []string{fmt.Sprintf("/data/%d", n)}}
	}
	spec, err := wire.NewSpec(kind)
	if err != nil {
		panic(err)
	}
	return spec
}

// taken is a job that was accepted.
type taken struct {
	wire.JobRef
	replica int
}

// race has two copies of the agent accept one offer, one at each replica, at the same time. won are those that
// were let: one, or none while somebody else has the lane or the repository.
func (m *member) race(ctx context.Context, o offer, lease func() string) (won []taken, err error) {
	var (
		both  sync.WaitGroup
		mu    sync.Mutex
		wrong []error
	)
	for i := range m.to {
		both.Go(func() {
			ref := wire.JobRef{ID: o.id, Lease: lease()}
			_, err := m.to[i].Accept(ctx, o.id, wire.AcceptRequest{Lease: ref.Lease, Delivery: o.delivery})
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				won = append(won, taken{ref, i})
			case !refused(err):
				wrong = append(wrong, fmt.Errorf("accept at replica %d: %w", i, err))
			}
		})
	}
	both.Wait()
	if len(wrong) > 0 {
		err = wrong[0]
	}
	return won, err
}

type offer struct {
	id       string
	delivery int
}

// refused reports whether an accept got one of the protocol's own refusals.
func refused(err error) bool {
	switch client.Code(err) {
	case wire.ProblemJobGone, wire.ProblemHostBusy, wire.ProblemRepositoryBusy:
		return true
	}
	return false
}

// perform starts a job at one replica and finishes it at the other.
func (m *member) perform(ctx context.Context, j taken) error {
	if err := m.to[1-j.replica].Start(ctx, j.JobRef, wire.StartRequest{StartNonce: j.Lease}); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	if _, err := m.to[j.replica].Finish(ctx, j.JobRef, []byte(`{"state":"succeeded","exit_code":0,"log_lines":0,"log_sha256":"`+hexSum(nil)+`"}`)); err != nil {
		return fmt.Errorf("finish: %w", err)
	}
	return nil
}

// leases gives each call another lease.
func leases() func() string {
	var n atomic.Int64
	return func() string { return fmt.Sprintf("%032x", n.Add(1)) }
}

// percentile of sorted times.
func percentile(times []time.Duration, p float64) time.Duration {
	slices.Sort(times)
	return times[min(int(p*float64(len(times))), len(times)-1)]
}

func inMilliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
}
