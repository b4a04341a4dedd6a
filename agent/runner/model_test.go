package runner

import (
	"math/rand/v2"
	"testing"
	"time"

	"restic-manager/shared/wire"
)

// world is a server, a disk and a supervisor as small models around one job and the rules: random events
// at random moments, agents that crash between any two actions, requests and replies that are lost or come
// late. It says what no order of events may do.
type world struct {
	t     *testing.T
	r     *rand.Rand
	now   time.Time
	n     int
	trace []traced

	// local: the job is one of a due time, which may begin here; the server may not know of it (absent).
	local     bool
	adoptions int

	// The server.
	state    wire.State
	lease    string
	nonce    string
	delivery int
	cancel   bool
	ended    int // times it became terminal since it was last restored
	restored bool
	dropped  bool
	late     []func() // requests on their way, their sender gone

	// The disk.
	disk     *Durable
	claims   map[string]Claim // ClaimAbandoned, or ClaimLiving for a supervisor's
	ledger   bool
	result   bool
	finish   string
	kept     string
	canceled bool
	aside    bool

	// Processes.
	waiting  []string // nonces of supervisors that have not claimed yet
	living   bool
	group    bool
	runs     int
	agent    *State
	outcome  func() Event // what is awaited
	adopting func() Event // an adopt that is out
	shipping bool
	final    bool
	listing  bool
}

func (w *world) fresh() string { w.n++; return random(w.n) }

// traced is a line of the trace, made only when it is looked at.
type traced struct {
	format string
	args   []any
}

func (w *world) log(format string, args ...any) {
	w.trace = append(w.trace, traced{format, args})
}

func (w *world) fatal(format string, args ...any) {
	w.t.Helper()
	from := max(0, len(w.trace)-80)
	for _, l := range w.trace[from:] {
		w.t.Logf(l.format, l.args...)
	}
	w.t.Fatalf(format, args...)
}

func (w *world) p(percent int) bool { return w.r.IntN(100) < percent }

func (w *world) end(s wire.State) {
	w.state = s
	if w.ended++; w.ended > 1 {
		w.fatal("the job ended twice at the server")
	}
}

// absent is the state of a job that the server does not know of.
const absent wire.State = "absent"

func (w *world) terminal() bool { return w.state != absent && w.state.Terminal() }

// The server's answers.

func (w *world) doAdopt(lease, nonce string) Answer {
	switch {
	case lease == w.lease && nonce == w.nonce:
		return AnswerOK
	case w.state != absent && w.state != wire.StateQueued:
		return AnswerGone
	case w.p(10):
		return AnswerBusy
	}
	w.state, w.lease, w.nonce = wire.StateRunning, lease, nonce
	if w.adoptions++; w.adoptions > 1 {
		w.fatal("the job was adopted twice")
	}
	return AnswerOK
}

func (w *world) doAccept(lease string, delivery int) Answer {
	switch {
	case w.lease == lease && (w.state == wire.StateAccepted || w.state == wire.StateRunning):
		return AnswerOK
	case w.state == wire.StateQueued && delivery == w.delivery:
		w.state, w.lease = wire.StateAccepted, lease
		return AnswerOK
	}
	return AnswerGone
}

func (w *world) doStart(lease, nonce string) Answer {
	switch {
	case lease != w.lease:
		return AnswerGone
	case w.state == wire.StateRunning && w.nonce == nonce:
		return AnswerOK
	case w.state == wire.StateAccepted:
		w.state, w.nonce = wire.StateRunning, nonce
		return AnswerOK
	}
	return AnswerGone
}

func (w *world) doResume(old, fresh string) Resumed {
	if w.state == absent || w.state == wire.StateQueued || old != w.lease && fresh != w.lease {
		return Resumed{Answer: AnswerGone}
	}
	w.lease = fresh
	return Resumed{Answer: AnswerOK, State: w.state, Cancel: w.cancel}
}

func (w *world) doFinish(lease, what string) Finished {
	switch {
	case lease != w.lease:
		return Finished{Answer: AnswerGone}
	case w.state == wire.StateAccepted && what != "rejected":
		return Finished{Answer: AnswerNotStarted}
	case w.terminal():
		return Finished{Answer: AnswerOK, Late: true}
	}
	w.end(map[string]wire.State{"rejected": wire.StateRejected, "succeeded": wire.StateSucceeded, "failed": wire.StateFailed, "canceled": wire.StateCanceled}[what])
	return Finished{Answer: AnswerOK}
}

// request makes an action's request arrive and its reply come, unless this goes wrong: then the request may
// still arrive after its sender is gone.
func (w *world) request(do func() Event) {
	w.outcome = func() Event {
		if w.p(15) {
			w.late = append(w.late, func() { do() })
		}
		return do()
	}
}

// feed gives the rules an event and does what they say. It is false when the agent crashed on the way.
func (w *world) feed(e Event) bool {
	for e != nil {
		s, actions := Step(*w.agent, e, w.now, w.fresh())
		*w.agent = s
		w.log("%T %+v -> %+v (doing %q phase %s lease %s)", e, e, actions, s.Doing, s.Phase, s.Lease)
		if err := obey(s, actions); err != nil {
			w.fatal("%v", err)
		}
		e = nil
		for _, a := range actions {
			if w.p(2) {
				w.crash()
				return false
			}
			if e = w.do(a); e != nil {
				break
			}
		}
	}
	if w.agent.Done {
		w.agent, w.outcome, w.adopting = nil, nil, nil
	}
	return true
}

func (w *world) crash() {
	w.log("crash")
	if f := w.outcome; f != nil && w.p(50) {
		w.late = append(w.late, func() { f() })
	}
	if w.agent != nil && w.agent.InMemory {
		w.finish = ""
	}
	if f := w.adopting; f != nil && w.p(50) {
		w.late = append(w.late, func() { f() })
	}
	w.agent, w.outcome, w.adopting, w.shipping, w.final, w.listing = nil, nil, nil, false, false, false
}

func (w *world) do(a Action) Event {
	lease := w.agent.Lease
	switch a := a.(type) {
	case Create:
		if w.p(5) {
			return SaveFailed{wire.JobError{Code: wire.CodeNoSpace}}
		}
		d := a.Durable
		w.disk = &d
	case Save:
		if w.p(3) {
			if !a.Optional {
				return SaveFailed{wire.JobError{Code: wire.CodeNoSpace}}
			}
			return nil
		}
		if w.agent.InMemory {
			w.fatal("a job without a folder is saved")
		}
		d := a.Durable
		w.disk = &d
	case CheckGuard:
		w.outcome = func() Event {
			if w.p(5) {
				return Guarded{Refusal: &wire.JobError{Code: wire.CodeGuard}}
			}
			return Guarded{}
		}
	case Accept:
		w.mustBeDurable(a.Lease)
		w.request(func() Event { return Accepted{Answer: w.doAccept(a.Lease, a.Delivery)} })
	case CheckMachine:
		w.outcome = func() Event {
			if w.p(5) {
				return Preflighted{Refusal: &wire.JobError{Code: wire.CodeResticMissing}}
			}
			return Preflighted{RepositoryID: "r"}
		}
	case Start:
		if w.disk == nil || w.disk.Nonce != a.Nonce {
			w.fatal("a start is sent whose nonce is not on disk")
		}
		w.request(func() Event { return StartAnswered{Answer: w.doStart(lease, a.Nonce)} })
	case Launch:
		nonce := a.Nonce
		w.outcome = func() Event {
			if w.p(3) {
				return LaunchDone{Error: &wire.JobError{Code: wire.CodeInterrupted}}
			}
			w.waiting = append(w.waiting, nonce)
			return LaunchDone{}
		}
	case Adopt:
		w.mustBeDurable(lease)
		if w.disk.Nonce != a.Nonce {
			w.fatal("an adopt is sent whose nonce is not on disk")
		}
		w.adopting = func() Event { return Adopted{Answer: w.doAdopt(lease, a.Nonce)} }
	case GiveUp:
		if w.living || w.group {
			w.fatal("a job is given up and its restic lives")
		}
	case Abandon:
		nonce := a.Nonce
		w.outcome = func() Event {
			if w.p(5) {
				return AbandonDone{Failed: true}
			}
			if w.claims[nonce] == "" {
				w.claims[nonce] = ClaimAbandoned
			}
			return AbandonDone{Won: w.claims[nonce] == ClaimAbandoned}
		}
	case Resume:
		w.mustBeDurable(a.New)
		w.request(func() Event { return w.doResume(a.Old, a.New) })
	case EndGroup:
		w.outcome = func() Event { w.group = false; return GroupEnded{} }
	case Unlock:
		w.outcome = func() Event { return Unlocked{} }
	case WriteCancel:
		if w.p(5) {
			return nil // its failure is reported below
		}
		w.canceled = true
	case Ship:
		w.shipping, w.final = true, a.Final
	case StopShipping:
		w.shipping, w.final = false, false
	case List:
		w.listing = true
		rides := w.p(50)
		w.outcome = func() Event {
			if rides {
				w.listing = false
			}
			return Listed{Rides: rides}
		}
	case FollowListing:
		w.listing = true
	case MakeFinish:
		w.makeFinish(a)
	case Finish:
		what := w.finish
		if what == "" {
			w.fatal("a finish is sent and there is none")
		}
		w.request(func() Event { return w.doFinish(lease, what) })
	case Remove:
		if w.agent.ran() && !a.KeepFinish {
			w.fatal("the folder of a job that ran is deleted without its result")
		}
		w.remove(a.KeepFinish)
	case PutAside:
		w.aside = true
		w.remove(true)
	}
	return nil
}

func (w *world) mustBeDurable(lease string) {
	if !w.agent.InMemory && (w.disk == nil || w.disk.Lease != lease) {
		w.fatal("lease %s is sent and not on disk: %+v", lease, w.disk)
	}
}

func (w *world) makeFinish(a MakeFinish) {
	what := ""
	switch a.From {
	case FromResult:
		if !w.result {
			w.fatal("a result is made of nothing")
		}
		what = "succeeded"
		if w.canceled && w.runs == 0 {
			what = "canceled"
		}
	case FromRefusal:
		what = "rejected"
		if w.agent.ran() {
			w.fatal("a job that ran is rejected")
		}
	case FromInterruption:
		what = "failed"
	case FromLedger:
		if what = w.kept; what == "" {
			what = "failed"
		}
	}
	if w.finish != "" && w.finish != what {
		w.fatal("the result was %s and is made anew as %s", w.finish, what)
	}
	w.finish = what
}

func (w *world) remove(keep bool) {
	if w.living || w.group {
		w.fatal("the folder goes and its restic lives")
	}
	if keep && w.finish != "" && w.finish != "rejected" && w.kept == "" && (w.ledger || w.aside) {
		w.kept = w.finish
	}
	w.disk, w.claims, w.result, w.finish, w.canceled = nil, map[string]Claim{}, false, "", false
	w.waiting = nil // a supervisor without its folder claims nothing
	w.shipping, w.listing = false, false
	w.ledger = w.ledger || w.aside
}

// folder is what a look finds.
func (w *world) folder() Folder {
	f := Folder{Claim: ClaimNone, Result: w.result, Lists: w.result, Finish: w.finish != "", Cancel: w.canceled, InLedger: w.ledger}
	switch c := w.claims[w.disk.Nonce]; {
	case c == "":
	case c == ClaimAbandoned:
		f.Claim = ClaimAbandoned
	case w.living:
		f.Claim = ClaimLiving
	default:
		f.Claim, f.Group = ClaimGone, w.group
	}
	return f
}

// agentMoves lets the agent's process do one thing.
func (w *world) agentMoves() {
	if w.agent == nil {
		switch {
		case w.disk != nil:
			w.agent = &State{}
			w.feed(Recovered{Durable: *w.disk, Folder: w.folder()})
		case w.local && !w.ledger && (w.state == absent || w.state == wire.StateQueued) && w.p(30):
			w.agent = &State{}
			w.feed(Begun{ID: testID, Lease: w.fresh()})
		case w.state == wire.StateQueued:
			w.agent = &State{}
			w.feed(Offered{ID: testID, Delivery: w.delivery, Lease: w.fresh(), InLedger: w.ledger})
		}
		return
	}
	if f := w.outcome; f != nil && w.p(60) {
		w.outcome = nil
		w.feed(f())
		return
	}
	s := *w.agent
	switch {
	case w.adopting != nil && w.p(20):
		f := w.adopting
		w.adopting = nil
		if e := f(); w.p(80) {
			w.feed(e)
		} else {
			w.adopting = f // the answer was lost: it is asked again
		}
	case w.shipping && w.p(40):
		w.ship(s.Lease)
	case w.listing && w.outcome == nil && w.p(40):
		w.listing = false
		w.feed(ListingSettled{})
	case w.cancel && !w.canceled && w.p(30) && s.Lease == w.lease:
		w.feed(CancelAsked{})
		if w.agent != nil && w.agent.Canceled && !w.canceled {
			w.feed(CancelFailed{})
		}
	case s.Watched() && w.disk != nil:
		w.feed(Looked{w.folder()})
	default:
		w.feed(Tick{})
	}
}

func (w *world) ship(lease string) {
	switch {
	case lease != w.lease:
		w.shipping = false
		w.feed(LeaseLost{Lease: lease})
	case w.state == wire.StateAccepted:
		w.shipping = false
		w.feed(NotStarted{})
	case w.final:
		w.shipping = false
		w.feed(LogSettled{})
	}
}

// supervisorMoves lets supervisors and restic do one thing.
func (w *world) supervisorMoves() {
	if len(w.waiting) > 0 {
		nonce := w.waiting[0]
		w.waiting = w.waiting[1:]
		ready := w.disk != nil && w.disk.Nonce == nonce && (w.disk.Phase == wire.PhaseStarting || w.disk.Phase == wire.PhaseRunning)
		if !ready || w.claims[nonce] != "" || w.ledger || w.living {
			return
		}
		w.claims[nonce], w.ledger, w.living = ClaimLiving, true, true
		if w.canceled {
			w.log("canceled before it ran")
			w.result, w.living = true, false
			return
		}
		w.runs++
		w.log("restic runs")
		if w.runs > 1 {
			w.fatal("restic ran twice")
		}
		return
	}
	if w.living {
		w.result, w.living = true, false
	}
}

// fate does something to the world from outside.
func (w *world) fate() {
	switch w.r.IntN(9) {
	case 0:
		w.crash()
	case 1:
		if w.living && w.p(30) {
			w.living, w.group = false, w.p(50)
			w.log("supervisor killed, group %v", w.group)
		}
	case 2:
		if w.state == wire.StateAccepted && w.p(40) { // the lease ran out
			w.state, w.lease = wire.StateQueued, ""
			w.delivery++
			w.log("queued again")
		}
	case 3:
		if w.p(10) && w.state != absent {
			w.cancel = true
			if w.state == wire.StateQueued || w.state == wire.StateAccepted {
				w.end(wire.StateCanceled)
			}
		}
	case 4:
		if w.agent != nil && w.p(10) && w.state.Terminal() && !w.agent.Silent() {
			w.dropped = w.dropped || w.state != absent
			w.feed(DropAsked{Lease: w.agent.Lease})
		}
	case 5:
		if w.agent != nil && len(w.agent.Leases) > 0 && w.p(10) { // the server is restored from a backup
			w.restored, w.ended, w.cancel = true, 0, false
			w.lease, w.nonce = w.agent.Leases[w.r.IntN(len(w.agent.Leases))], ""
			w.state = []wire.State{wire.StateQueued, wire.StateAccepted, wire.StateRunning}[w.r.IntN(3)]
			if w.adoptions = 0; w.local && w.p(50) {
				w.state, w.lease = absent, ""
			}
			if w.state == wire.StateQueued {
				w.lease = ""
				w.delivery++
			}
			if w.state == wire.StateRunning {
				w.nonce = w.agent.Nonce
			}
			w.log("restored to %s", w.state)
		}
	case 6:
		if len(w.late) > 0 {
			f := w.late[0]
			w.late = w.late[1:]
			if w.agent == nil { // nobody hears the answer
				f()
				w.log("a late request arrives: %s", w.state)
			}
		}
	default:
		w.now = w.now.Add(10 * time.Second)
		if w.state == absent && w.p(20) { // its due time was asked for
			w.state, w.lease = wire.StateQueued, ""
		}
	}
}

// TestNoOrderOfEventsBreaksTheRules: whatever crashes, is lost or comes late, restic runs once at most, a
// result is never altered, nothing runs on without its folder, and all comes to an end.
func TestNoOrderOfEventsBreaksTheRules(t *testing.T) {
	seeds := 20_000
	if testing.Short() {
		seeds = 2_000
	}
	runs, succeeded, interrupted, adopted := 0, 0, 0, 0
	for seed := range seeds {
		w := &world{t: t, r: rand.New(rand.NewPCG(1, uint64(seed))), now: testNow, state: wire.StateQueued, delivery: 1, claims: map[string]Claim{}}
		if w.local = seed%2 == 1; w.local && w.p(70) {
			w.state = absent
		}
		w.log("seed %d", seed)
		for range 200 {
			switch n := w.r.IntN(10); {
			case n < 6:
				w.agentMoves()
			case n < 8:
				w.supervisorMoves()
			default:
				w.fate()
			}
		}
		w.settle()
		runs += w.runs
		adopted += w.adoptions
		switch w.state {
		case wire.StateSucceeded:
			succeeded++
		case wire.StateFailed:
			interrupted++
		}
	}
	// The model must have been somewhere.
	if runs < seeds/2 || succeeded < seeds/4 || interrupted < seeds/50 || adopted < seeds/8 {
		t.Errorf("of %d seeds restic ran in %d, %d succeeded, %d were interrupted and %d adopted: the model goes nowhere", seeds, runs, succeeded, interrupted, adopted)
	}
}

// settle lets everything that is under way end; the server gives up what nobody has.
func (w *world) settle() {
	for n := 0; ; n++ {
		if n > 5000 {
			w.fatal("it does not come to an end: server %s, agent %+v, disk %+v", w.state, w.agent, w.disk)
		}
		w.now = w.now.Add(time.Second)
		w.agentMoves()
		if n%3 == 0 {
			w.supervisorMoves()
		}
		if w.agent != nil || w.disk != nil {
			continue
		}
		switch {
		case w.living || w.group:
			w.fatal("the folder is gone and restic lives")
		case w.state == absent: // the agent asks when its server is back
			w.state = wire.StateQueued
		case w.state.Terminal():
			return
		case w.state == wire.StateAccepted: // the lease runs out
			w.state, w.lease = wire.StateQueued, ""
			w.delivery++
		case w.state == wire.StateRunning: // the newest boot does not name it
			w.end(wire.StateFailed)
		}
	}
}
