package simulation

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"restic-manager/shared/wire"
)

// epoch is when every history begins.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// World is one history: all machines, the server, and what is true of them.
type World struct {
	seed  uint64
	r     *rand.Rand
	plan  plan
	now   time.Duration // since epoch
	order uint64
	queue eventQueue
	ids   uint64
	// healed: no more faults happen.
	healed bool
	steps  int

	server   *server
	machines []*machine
	network  network
	repos    []*repository
	truth    map[string]*truth
	asked    []string // ids of the jobs that were ever queued, in order
	names    map[string]string
	restored bool // the server was restored from a backup
	outages  []span
	Counts   Counts

	// scheduled: hosts have policies. looked are the due times that they saw, unassigned those that the server did not
	// take, wentAway the assignments that a host forgot once.
	scheduled  bool
	looked     map[string]tick
	unassigned map[string]bool
	wentAway   map[[2]string]bool

	tracing bool
	// blindToClocks: no agent refuses anything by its clock, and no clock is set at the end of the faults.
	blindToClocks bool
	trace         []string
	// Violation is the first broken promise; empty: none was.
	Violation string
}

// Counts say where a history has been.
type Counts struct {
	// What happened, and where it went.
	Jobs, Retries, Runs, ExclusiveRuns, TwoLanes, Neighbours                          int
	Interrupted, Succeeded, WithIssues, Failed, Canceled, Rejected, Expired, LostJobs int
	Requests, Lines, Lists, AuditRows, Aside                                          int
	// Faults of the network.
	Lost, Duplicates, Late, Reordered, Partitions int
	// Faults of the hosts.
	AgentKills, SupervisorKills, PowerCuts, Wipes, FullDisks, DiskCopies, LivingCopies int
	Dead, WrongClocks, WrongByADay, Revoked, Alarms                                    int
	// Faults of the server.
	KilledBeforeCommit, KilledAfterCommit, BothAway, DatabaseAway, Restores int
	// Due times, by their outcome, and jobs that hosts began by themselves.
	TicksRun, TicksCoalesced, TicksMissed, TicksSkipped, TicksLater, LocalBegins, LocalRuns, Adopted int
	// Cancels, by what the job was then.
	CancelsQueued, CancelsAccepted, CancelsRunning int
	Virtual                                        time.Duration
}

// span is a while.
type span struct{ from, to time.Duration }

// clock is the time of the server, and of machines whose clock is right.
func (w *World) clock() time.Time { return epoch.Add(w.now) }

// event is what happens at a time.
type event struct {
	at    time.Duration
	order uint64
	do    func()
}

// eventQueue is a heap: the earliest first, those of one time in the order they came.
type eventQueue []event

func (q eventQueue) before(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].order < q[j].order
}

func (q *eventQueue) push(e event) {
	*q = append(*q, e)
	for i := len(*q) - 1; i > 0; {
		up := (i - 1) / 2
		if !q.before(i, up) {
			return
		}
		(*q)[i], (*q)[up] = (*q)[up], (*q)[i]
		i = up
	}
}

func (q *eventQueue) pop() event {
	h := *q
	first, last := h[0], len(h)-1
	h[0], h[last] = h[last], event{}
	h = h[:last]
	*q = h
	for i := 0; ; {
		down := 2*i + 1
		if down >= last {
			return first
		}
		if down+1 < last && h.before(down+1, down) {
			down++
		}
		if !h.before(down, i) {
			return first
		}
		h[i], h[down] = h[down], h[i]
		i = down
	}
}

// after lets something happen d from now.
func (w *World) after(d time.Duration, do func()) {
	w.order++
	w.queue.push(event{w.now + max(d, 0).Truncate(time.Millisecond), w.order, do})
}

// every lets something happen again and again, until the history ends.
func (w *World) every(d time.Duration, do func()) {
	w.after(d, func() { do(); w.every(d, do) })
}

// step lets the next event happen; false when a promise is broken.
func (w *World) step() bool {
	e := w.queue.pop()
	w.now = e.at
	w.steps++
	e.do()
	return w.Violation == ""
}

// chance is true with probability p.
func (w *World) chance(p float64) bool { return p > 0 && w.r.Float64() < p }

// between draws a duration.
func (w *World) between(from, to time.Duration) time.Duration {
	if to <= from {
		return from
	}
	return from + time.Duration(w.r.Int64N(int64(to-from)))
}

// some draws a duration whose logarithm is even: short ones are as frequent as long ones.
func (w *World) some(from, to time.Duration) time.Duration {
	d := from
	for d < to && w.r.IntN(3) > 0 {
		d *= 3
	}
	return w.between(d, min(3*d, to))
}

// pick draws one.
func pick[T any](w *World, of ...T) T { return of[w.r.IntN(len(of))] }

// hex draws a lease, a nonce, a boot id.
func (w *World) hex() string {
	var b [32]byte
	const digits = "0123456789abcdef"
	for i := 0; i < len(b); i += 16 {
		v := w.r.Uint64()
		for k := range 16 {
			b[i+k] = digits[v&15]
			v >>= 4
		}
	}
	return string(b[:])
}

// id counts ids: of jobs, which are UUIDs, and marks.
func (w *World) id() string {
	w.ids++
	return fmt.Sprintf("01900000-0000-7000-8000-%012x", w.ids)
}

// say writes a line of the trace.
func (w *World) say(format string, args ...any) {
	if !w.tracing {
		return
	}
	text := fmt.Sprintf(format, args...)
	w.trace = append(w.trace, fmt.Sprintf("%s  %s", stamp(w.now), text))
}

func stamp(d time.Duration) string {
	ms := d.Milliseconds()
	return fmt.Sprintf("%02d:%02d:%02d.%03d", ms/3_600_000, ms/60_000%60, ms/1000%60, ms%1000)
}

// violate notes a broken promise; the history ends with the first.
func (w *World) violate(promise, format string, args ...any) {
	if w.Violation == "" {
		w.Violation = promise + ": " + fmt.Sprintf(format, args...)
		w.say("VIOLATION %s", w.Violation)
	}
}

// Trace is what happened, a line each; empty unless it was asked for.
func (w *World) Trace() string { return strings.Join(w.trace, "\n") + "\n" }

// name is a job's short name in traces.
func (w *World) name(id string) string {
	if n := w.names[id]; n != "" {
		return n
	}
	return id
}

// truth is what is so of a job, whoever knows it.
type truth struct {
	kind      wire.Kind
	host      string
	created   time.Duration
	cancels   []time.Duration // when people asked for its end
	runs      []*run
	excepted  bool // two living copies of one machine stood at its start
	forgotten bool // the server was restored to before it
	free      bool // it could run at once when it was queued
	local     bool // a host began it by itself
	adoptions int
	stoodFor  bool // another one of its policy stands for it
	ahead     bool // a wrong clock began it before its time: the server does not take it
}

// run is one execution of restic.
type run struct {
	machine *machine
	began   time.Duration
	ended   time.Duration // 0: it runs
	hold    wire.Hold
	lane    wire.Lane
	repo    *repository
	job     string
	log     []byte
	// result is what it left durable; tried what it was about to leave: a kill may come between its being there and
	// its being known as durable. Empty: nothing.
	result, tried wire.State
	copied        bool // of a copy of a living machine, or it never came to restic
}

func (r *run) living() bool { return r.ended == 0 }
