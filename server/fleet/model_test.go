package fleet

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"restic-manager/server/database/databasetest"
	"restic-manager/server/fault"
	"restic-manager/server/fleet/job"
	"restic-manager/server/fleet/job/memory"
	"restic-manager/shared/wire"
)

// TestStoresDoTheSame: random sequences of events give the same answers and the same rows on the store in
// memory, on SQLite and on PostgreSQL. RESTIC_MANAGER_TEST_SEQUENCES sets how many, RESTIC_MANAGER_TEST_SEED
// the first one's seed.
func TestStoresDoTheSame(t *testing.T) {
	sequences, first := number(t, "RESTIC_MANAGER_TEST_SEQUENCES", 60), number(t, "RESTIC_MANAGER_TEST_SEED", 1)
	const workers = 2
	met := &met{counts: map[string]int{}}
	t.Run("workers", func(t *testing.T) {
		for n := range uint64(workers) {
			t.Run(fmt.Sprint(n), func(t *testing.T) {
				t.Parallel()
				m := newModel(t, met)
				for seed := first + n; seed < first+sequences; seed += workers {
					steps := sequence(seed)
					if difference := m.run(steps); difference != "" {
						t.Fatalf("seed %d (set RESTIC_MANAGER_TEST_SEED): %s\nshortest sequence that differs:\n%s", seed, difference, m.shrink(steps))
					}
				}
			})
		}
	})
	t.Logf("met: %v", met.counts)
	if missing := met.missing(); first == 1 && sequences >= 60 && len(missing) > 0 {
		t.Errorf("no sequence met %q: give the events other weights", missing)
	}
}

func number(t *testing.T, variable string, without uint64) uint64 {
	s := os.Getenv(variable)
	if s == "" {
		return without
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return n
}

// met counts what the sequences came across: they must not become hollow.
type met struct {
	mu     sync.Mutex // guards counts
	counts map[string]int
}

func (m *met) add(w *world) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, j := range w.store.Jobs() {
		m.counts[string(j.State)]++
		m.counts["code "+j.ErrorCode]++
		m.counts[fmt.Sprint("late ", j.LateReport)]++
		m.counts[fmt.Sprint("stalled ", !j.StalledSince.IsZero())]++
		m.counts[fmt.Sprint("waits ", !j.WaitingSince.IsZero())]++
		m.counts[fmt.Sprint("again ", j.Delivery > 1)]++
	}
	for _, h := range w.store.Hosts() {
		m.counts[fmt.Sprint("alarm ", h.Boots.Alarm)]++
	}
	text := w.trace.String()
	for _, word := range modelWords {
		m.counts[word] += strings.Count(text, word)
	}
}

// modelWords are answers, and counts of sweeps.
var modelWords = []string{"job_gone", "host_busy", "repository_busy", "lease_lost", "not_started", "boot_superseded", "hello_required",
	"invalid", "idempotency_key_reused", "job_open", "job_ended", "kind_unsupported", "host_revoked", "unauthorized", "not_found",
	`"offer"`, `"cancel":[`, `"drop":[`, `"cancel":true`, `"late":true`, `"verdict":"cancel"`, `"verdict":"drop"`, `"name":"server"`,
	`"name":"target"`, "target_unsupported",
	"Offline:1", "Expired:1", "Requeued:1", "Disconnected:1", "HoldsFreed:1"}

func (m *met) missing() (missing []string) {
	wanted := append([]string{"code host_revoked", "code interrupted", "code silent", "code wrong_repository", "late true", "stalled true", "waits true", "again true", "alarm true"}, modelWords...)
	for _, s := range wire.States {
		wanted = append(wanted, string(s))
	}
	for _, word := range wanted {
		if m.counts[word] == 0 {
			missing = append(missing, word)
		}
	}
	return missing
}

// step is one event before it is known what it meets: pick chooses among what is there then, so that a
// sequence can be cut anywhere.
type step struct {
	event int
	pick  [6]uint32
}

func sequence(seed uint64) []step {
	r := rand.New(rand.NewPCG(seed, 99))
	total := 0
	for _, e := range modelEvents {
		total += e.weight
	}
	steps := make([]step, 30+r.IntN(20))
	for i := range steps {
		for n := r.IntN(total); n >= modelEvents[steps[i].event].weight; steps[i].event++ {
			n -= modelEvents[steps[i].event].weight
		}
		for k := range steps[i].pick {
			steps[i].pick[k] = r.Uint32()
		}
	}
	return steps
}

// world is one sequence under way.
type world struct {
	clock *databasetest.Clock
	store *memory.Store // the peer that steps are chosen by
	peers []peer
	hosts []string
	fresh int
	past  map[string][]string // leases that a job had
	marks map[string]string   // by host and process: the mark it was given last
	seq   int64
	dues  int // due times that there were
	trace strings.Builder
}

// model runs sequences, one after the other, on the same two databases.
type model struct {
	t     *testing.T
	clock *databasetest.Clock
	sqls  []*sqlPeer
	met   *met
	made  int // sequences that were run
}

func newModel(t *testing.T, met *met) *model {
	m := &model{t: t, clock: newClock(), met: met}
	for _, engine := range databasetest.Engines {
		x := &fixture{t: t, clock: m.clock, url: databasetest.Migrated(t, engine)}
		x.Store, x.db = x.open(t)
		m.sqls = append(m.sqls, &sqlPeer{fixture: x})
	}
	return m
}

// run gives how the stores differ, and after which steps; empty when they do not.
func (m *model) run(steps []step) string {
	m.clock.Set(newClock().Now())
	w := &world{clock: m.clock, seq: 10, past: map[string][]string{}, marks: map[string]string{}}
	m.made++
	made := 0
	w.store = memory.New(w.clock.Now, func() string { made++; return fmt.Sprint("n", made) })
	w.peers = []peer{&memoryPeer{Store: w.store, marks: newNames("mark")}}
	for _, p := range m.sqls {
		p.reset(w.store)
		w.peers = append(w.peers, p)
	}
	for i := range 3 {
		// Never twice: the audit trail outlives the hosts it tells of.
		id := fmt.Sprintf("0190a000-0000-7000-%04x-%012x", 0x8000+m.made%0x4000, i)
		w.hosts = append(w.hosts, id)
		for _, p := range w.peers {
			p.AddHost(id)
		}
	}
	if d := w.begin(); d != "" {
		return d
	}
	for i, s := range steps {
		e := modelEvents[s.event]
		fmt.Fprintf(&w.trace, "%s %d %s\n", w.clock.Now().Format("01-02 15:04:05.000"), i, e.name)
		if d := cmp.Or(e.do(w, s.pick), w.rows()); d != "" {
			return fmt.Sprintf("after step %d, %s: %s\n%s", i, e.name, d, w.trace.String())
		}
	}
	for _, p := range m.sqls {
		if found, err := p.CheckInvariants(m.t.Context()); err != nil || len(found) > 0 {
			return fmt.Sprintf("invariants: got %v, %v, want none\n%s", found, err, w.trace.String())
		}
	}
	m.met.add(w)
	return ""
}

// begin brings all hosts online, with no amnesty open.
func (w *world) begin() string {
	for i, host := range w.hosts {
		r := helloOf("b1", 1, 1, w.clock.Now())
		r.Repositories = []wire.RepositoryReport{{Name: wire.RepositoryLocal, ID: repo(1 + i/2), Location: "a"}}
		d := w.all(func(p peer) string {
			reply, err := p.Hello(host, r)
			if p == w.peers[0] {
				w.marks[host+"b1"] = reply.Mark
			}
			return outcome(reply, err)
		})
		if d != "" {
			return d
		}
	}
	w.watch()
	return w.all(func(p peer) string { return fmt.Sprint(p.Flush()) })
}

// watch has the last sweep be now.
func (w *world) watch() {
	for _, p := range w.peers {
		p.Watch(job.Vigil{SweptAt: w.clock.Now()})
	}
}

// all has every peer do the same, and gives how the answers differ. The store in memory goes first: the
// others translate into its names.
func (w *world) all(do func(peer) string) string {
	answers := together(w.peers, do)
	if answers[0] != "" {
		fmt.Fprintf(&w.trace, "      %s\n", answers[0])
	}
	for i := range w.peers[1:] {
		if answers[i+1] != answers[0] {
			return fmt.Sprintf("the answer on %s:\n got %s\nwant %s", databasetest.Engines[i], answers[i+1], answers[0])
		}
	}
	return ""
}

// rows gives how the rows differ.
func (w *world) rows() string {
	pictures := together(w.peers, peer.picture)
	for i := range w.peers[1:] {
		if d := pictures[i+1].differs(pictures[0]); d != "" {
			return fmt.Sprintf("the rows on %s: %s", databasetest.Engines[i], d)
		}
	}
	return ""
}

func together[T any](peers []peer, do func(peer) T) []T {
	got := make([]T, len(peers))
	got[0] = do(peers[0])
	var wg sync.WaitGroup
	for i, p := range peers[1:] {
		wg.Go(func() { got[i+1] = do(p) })
	}
	wg.Wait()
	return got
}

func (p picture) differs(want picture) string {
	if len(p.Jobs) != len(want.Jobs) || len(p.Hosts) != len(want.Hosts) {
		return fmt.Sprintf("got %d jobs of %d hosts, want %d of %d", len(p.Jobs), len(p.Hosts), len(want.Jobs), len(want.Hosts))
	}
	for i := range p.Hosts {
		if p.Hosts[i] != want.Hosts[i] {
			return fmt.Sprintf("host %d:\n got %+v\nwant %+v", i, p.Hosts[i], want.Hosts[i])
		}
	}
	for i := range p.Jobs {
		if p.Jobs[i] != want.Jobs[i] {
			return fmt.Sprintf("job %s:\n got %+v\nwant %+v", want.Jobs[i].ID, p.Jobs[i], want.Jobs[i])
		}
	}
	if !slices.Equal(p.Trail, want.Trail) {
		return fmt.Sprintf("the audit trail:\n got %v\nwant %v", p.Trail, want.Trail)
	}
	return ""
}

// shrink leaves out steps for as long as the stores still differ.
func (m *model) shrink(steps []step) string {
	for size := len(steps) / 2; size > 0; size /= 2 {
		for from := 0; from+size <= len(steps); {
			if shorter := slices.Delete(slices.Clone(steps), from, from+size); m.run(shorter) != "" {
				steps = shorter
			} else {
				from += size
			}
		}
	}
	return m.run(steps)
}

// outcome is an answer as text: the error's code, or the reply.
func outcome(reply any, err error) string {
	if e := fault.As(err); e != nil {
		return fmt.Sprintf("%s %d", e.Code, e.BootNumber)
	}
	if err != nil {
		return "error: " + err.Error()
	}
	raw, err := json.Marshal(reply)
	return fmt.Sprint(string(raw), err)
}
