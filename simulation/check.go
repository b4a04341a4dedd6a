package simulation

import (
	"bytes"
	"slices"
	"strings"
	"time"

	"restic-manager/agent/spool"
	"restic-manager/server/fleet/job"
	"restic-manager/server/fleet/job/memory"
	"restic-manager/shared/wire"
)

// check holds the promises of the server's tables after a transaction: J1, J3 and J6.
func (s *server) check(what string) {
	w := s.w
	s.scratch = s.jobs.AppendJobs(s.scratch[:0])
	jobs := s.scratch
	changed := false
	for _, j := range jobs {
		was, known := s.shadow[j.ID]
		if was == j {
			continue
		}
		s.shadow[j.ID] = j
		if !known {
			changed = true
			continue
		}
		if was.State != j.State || was.Lease != j.Lease || was.Holding != j.Holding || was.CancelRequestedAt != j.CancelRequestedAt || was.DisconnectedSince != j.DisconnectedSince {
			changed = true
		}
		if was.State != j.State {
			w.say("server: %s is %s, was %s (%s, lease %.6s) %s", w.name(j.ID), j.State, was.State, what, j.Lease, j.ErrorCode)
			if was.State.Terminal() {
				w.violate("J1", "%s had ended as %s and is %s by %s", w.name(j.ID), was.State, j.State, what)
			}
			s.checkArrow(was, j)
		}
		if was.Active() && j.Active() && was.Lease != j.Lease && !strings.HasPrefix(what, "resume") {
			w.violate("J2", "%s, which is %s, has another lease by %s", w.name(j.ID), j.State, what)
		}
	}
	if changed {
		s.wake()
		s.checkHolds(jobs)
	}
	s.checkHosts()
	s.checkTrail(what)
}

// operate is a call of people. It is A1: what changes something writes one row, what changes nothing none.
func (s *server) operate(what string, call func()) {
	jobs, hosts, rows := s.jobs.Jobs(), s.jobs.Hosts(), len(s.jobs.Trail())
	call()
	want := 0
	if !slices.Equal(jobs, s.jobs.Jobs()) || !slices.EqualFunc(hosts, s.jobs.Hosts(), sameHost) {
		want = 1
	}
	got := len(s.jobs.Trail()) - rows
	if got != want {
		s.w.violate("A1", "%s writes %d rows of the audit trail, not %d", what, got, want)
	}
	s.w.Counts.AuditRows += got
	s.audited = len(s.jobs.Trail())
	s.check(what)
	s.wake()
}

func sameHost(a, b memory.Host) bool {
	return a.RevokedAt.Equal(b.RevokedAt) && a.Boots.Alarm == b.Boots.Alarm && a.Tie == b.Tie
}

// fenced is J2 of one call: a lease that is over changes nothing.
func fenced[T any](s *server, id, lease, what string, call func() (T, error)) (T, error) {
	was, _ := s.jobs.Job(id)
	had := s.lines(id)
	v, err := call()
	if is, _ := s.jobs.Job(id); (is != was || s.lines(id) != had) && was.Lease != lease {
		s.w.violate("J2", "%s changes by %s with the lease %.6s, and it has %.6s", s.w.name(id), what, lease, was.Lease)
	}
	return v, err
}

func (s *server) lines(id string) int64 {
	if l := s.logs[id]; l != nil {
		return l.NextLine
	}
	return 1
}

// accept is fleet's, and J2 of it: a delivery that is over takes nothing, and who has the job is told so again.
func (s *server) accept(host, id string, r wire.AcceptRequest) (wire.AcceptReply, error) {
	was, _ := s.jobs.Job(id)
	reply, err := s.jobs.Accept(host, id, r)
	is, _ := s.jobs.Job(id)
	switch {
	case was.State == wire.StateQueued && is.State == wire.StateAccepted && was.Delivery != r.Delivery:
		s.w.violate("J2", "delivery %d of %s takes delivery %d", r.Delivery, s.w.name(id), was.Delivery)
	case was.Active() && was.HostID == host && was.Lease == r.Lease && err != nil:
		s.w.violate("J5", "%s is accepted with the lease %.6s, which is then refused: %v", s.w.name(id), r.Lease, err)
	}
	return reply, err
}

// checkOffer is what holds of each offer: J2, only the newest process gets one, and none under an alarm; J3, nothing
// holds the repository or the lane; J5, no shared job passes an older exclusive one.
func (s *server) checkOffer(host string, q wire.PollQuery, o *wire.Offer) {
	w := s.w
	if o == nil {
		return
	}
	h, _ := s.jobs.Host(host)
	if h.Boots.Alarm || h.Boots.Newest.ID != q.Boot {
		w.violate("J2", "%s is offered to an older process, or under an alarm", w.name(o.JobID))
	}
	offered, _ := s.jobs.Job(o.JobID)
	key := job.HoldKey(host, h.Tie.ID)
	shared := false
	for _, j := range s.jobs.Jobs() {
		if j.ID != o.JobID && j.Holding && j.HoldKey == key {
			shared = true
			if job.Excludes(j.Hold(), offered.Hold()) {
				w.violate("J3", "%s is offered while %s holds the repository", w.name(o.JobID), w.name(j.ID))
			}
		}
		if j.Active() && j.HostID == host && j.Lane() == offered.Lane() {
			w.violate("J3", "%s is offered while %s is in its lane", w.name(o.JobID), w.name(j.ID))
		}
	}
	if shared && offered.Hold() == wire.HoldShared {
		s.checkOrder(offered, key)
	}
}

// checkOrder: an exclusive job that waits for shared ones, and could run but for them, is not passed for an hour.
func (s *server) checkOrder(passes job.Job, key string) {
	jobs := s.jobs.Jobs()
	for _, j := range jobs {
		h, _ := s.jobs.Host(j.HostID)
		waits := j.State == wire.StateQueued && j.Hold() == wire.HoldExclusive && j.Number < passes.Number && !j.WaitingSince.IsZero() &&
			s.w.clock().Sub(j.WaitingSince) < wire.HoldAfterSilence && job.HoldKey(j.HostID, h.Tie.ID) == key
		busy := slices.ContainsFunc(jobs, func(o job.Job) bool { return o.Active() && o.HostID == j.HostID && o.Lane() == j.Lane() })
		if waits && h.Online && !h.Boots.Alarm && !busy {
			s.w.violate("J5", "%s passes %s, which only shared jobs keep", s.w.name(passes.ID), s.w.name(j.ID))
		}
	}
}

// older counts the polls of one process that were answered since a newer one said hello.
type older struct {
	boot, newest string
	polls        int
}

// olderHeard is J6: who lives beside a newer process is soon known to.
func (s *server) olderHeard(host, boot string) {
	h, _ := s.jobs.Host(host)
	o := s.olders[host]
	if boot == h.Boots.Newest.ID || h.Boots.Alarm {
		return
	}
	if o.boot != boot || o.newest != h.Boots.Newest.ID {
		o = older{boot: boot, newest: h.Boots.Newest.ID}
	}
	if o.polls++; o.polls > 3 {
		s.w.violate("J6", "two processes of %s live, and there is no alarm", s.w.names[host])
	}
	s.olders[host] = o
}

// checkTrail is the rest of A1: what agents do and what time does writes no row.
func (s *server) checkTrail(what string) {
	trail := s.jobs.Trail()
	for _, e := range trail[s.audited:] {
		if e.Action != "host.clone_alarm" {
			s.w.violate("A1", "%s writes %s of %s into the audit trail", what, e.Action, e.Target)
		}
	}
	s.audited = len(trail)
}

// checkArrow: only the arrows of the protocol are taken.
func (s *server) checkArrow(was, j job.Job) {
	w := s.w
	allowed := map[wire.State][]wire.State{
		wire.StateQueued:   {wire.StateAccepted, wire.StateRunning, wire.StateCanceled, wire.StateExpired},
		wire.StateAccepted: {wire.StateQueued, wire.StateRunning, wire.StateRejected, wire.StateCanceled},
		wire.StateRunning:  {wire.StateSucceeded, wire.StateSucceededWithIssues, wire.StateFailed, wire.StateCanceled, wire.StateLost},
	}[was.State]
	if !slices.Contains(allowed, j.State) {
		w.violate("J1", "%s went from %s to %s", w.name(j.ID), was.State, j.State)
	}
	if was.State == wire.StateQueued && j.State == wire.StateRunning && w.truth[j.ID].adoptions == 0 {
		w.violate("J1", "%s runs, and was neither accepted nor adopted", w.name(j.ID))
	}
	if h, _ := s.jobs.Host(j.HostID); j.State == wire.StateAccepted && h.Boots.Alarm {
		w.violate("J2", "%s is accepted under a clone alarm", w.name(j.ID))
	}
	t := w.truth[j.ID]
	if late := w.now - t.created; w.plan.calm && t.free && j.Delivery == 1 && j.State == wire.StateAccepted && late > 2*time.Second {
		w.violate("J5", "nothing is in the way of %s, and it is accepted %s after it was queued", w.name(j.ID), late)
	}
	if j.State == wire.StateCanceled && len(t.cancels) == 0 && !t.stoodFor && j.ErrorCode != wire.CodeHostRevoked {
		w.violate("J4", "%s is canceled and nobody asked for it", w.name(j.ID))
	}
	if j.State == wire.StateLost && j.ErrorCode != wire.CodeHostRevoked && w.clock().Sub(j.HeardAt) < wire.LostAfter {
		w.violate("J4", "%s is lost after %s of silence", w.name(j.ID), w.clock().Sub(j.HeardAt))
	}
}

// idle: the host is there and nothing else of the fleet is under way or waits.
func (s *server) idle(host, except string) bool {
	if h, _ := s.jobs.Host(host); !h.Online || s.w.now < 2*time.Minute {
		return false
	}
	return !slices.ContainsFunc(s.jobs.Jobs(), func(j job.Job) bool { return j.ID != except && !j.State.Terminal() }) &&
		!slices.ContainsFunc(s.w.machines, func(m *machine) bool { return m.agent == nil || len(m.agent.jobs) > 0 })
}

// checkHolds is J3 at the server: one exclusive hold or any number of shared ones, one job per lane and host.
func (s *server) checkHolds(jobs []job.Job) {
	w := s.w
	for i, a := range jobs {
		for _, b := range jobs[:i] {
			if a.Holding && b.Holding && a.HoldKey == b.HoldKey && job.Excludes(a.Hold(), b.Hold()) {
				w.violate("J3", "%s (%s) and %s (%s) hold %.12s together", w.name(a.ID), a.Hold(), w.name(b.ID), b.Hold(), a.HoldKey)
			}
			if a.Active() && b.Active() && a.HostID == b.HostID && a.Lane() == b.Lane() {
				w.violate("J3", "%s and %s are in the lane %s of %s together", w.name(a.ID), w.name(b.ID), a.Lane(), a.HostID)
			}
		}
		if a.State == wire.StateRunning && a.Hold() != wire.HoldNone && !a.Holding && a.HoldReleasedAt.IsZero() {
			w.violate("J3", "%s runs and holds nothing", w.name(a.ID))
		}
		if a.Holding && a.State == wire.StateQueued {
			w.violate("J3", "%s is queued and holds %s", w.name(a.ID), a.HoldKey)
		}
	}
}

// checkHosts is J6: who speaks is not shown as offline, nor is anybody because the server was away; no clone
// alarm without a clone.
func (s *server) checkHosts() {
	w := s.w
	for _, h := range s.jobs.Hosts() {
		was := s.online[h.ID]
		s.online[h.ID] = h.Online
		if was && !h.Online {
			w.say("server: %s is offline", h.ID)
			if heard := w.now - s.seen[h.ID]; heard < wire.OfflineAfter-flushEvery {
				w.violate("J6", "%s is shown as offline %s after it was heard", h.ID, heard)
			}
			for _, o := range w.outages {
				if o.to-o.from > longAway && w.now-o.to < wire.Amnesty-wire.SweepInterval {
					w.violate("J6", "%s is shown as offline %s after the server was away for %s", h.ID, w.now-o.to, o.to-o.from)
				}
			}
		}
		if h.Boots.Alarm && !s.alarmed[h.ID] {
			w.say("server: %s is under a clone alarm", h.ID)
			w.Counts.Alarms++
		}
		s.alarmed[h.ID] = h.Boots.Alarm
		if h.Boots.Alarm && !w.copied(h.ID) && !w.restored {
			w.violate("J6", "%s is under a clone alarm and was never copied", h.ID)
		}
	}
}

const (
	flushEvery = 5 * time.Second
	// longAway is an absence that a sweep must notice.
	longAway = job.SweepAway + 2*wire.SweepInterval
)

func (w *World) copied(host string) bool {
	return slices.ContainsFunc(w.machines, func(m *machine) bool { return m.host == host && m.copied })
}

// wasFull: a disk was full, so that a result may have been told from memory and made anew after a kill.
func (w *World) wasFull(host string) bool {
	return slices.ContainsFunc(w.machines, func(m *machine) bool { return m.host == host && m.wasFull })
}

func (w *World) wiped(host string) bool {
	return slices.ContainsFunc(w.machines, func(m *machine) bool { return m.host == host && m.wiped })
}

// checkSweep: what never started does not stay with an agent that is gone.
func (s *server) checkSweep() {
	w := s.w
	for _, o := range w.outages {
		if o.to < 0 || w.now-o.to < wire.Amnesty+longAway {
			return
		}
	}
	for _, j := range s.jobs.Jobs() {
		if late := w.clock().Sub(j.LeaseExpiresAt); j.State == wire.StateAccepted && late > 2*wire.SweepInterval {
			w.violate("J5", "%s was accepted, its lease ran out %s ago, and it is not queued again", w.name(j.ID), late)
		}
	}
}

// started is called when restic starts: J2, and J3 as it is in the world.
func (w *World) started(r *run) {
	t := w.truth[r.job]
	w.Counts.Runs++
	w.say("%s: restic runs for %s", r.machine.name, w.name(r.job))
	if m := r.machine; needsClock(t.kind) && !m.jumped && !w.blindToClocks && m.off.Abs() > wire.MaxSkew+time.Minute {
		w.violate("T1", "restic runs for %s on a host whose clock is off by %s", w.name(r.job), m.off)
	}
	if r.hold == wire.HoldExclusive {
		w.Counts.ExclusiveRuns++
	}
	if t.local {
		w.Counts.LocalRuns++
	}
	starts := 0
	for _, o := range t.runs {
		if !o.copied {
			starts++
		}
	}
	t.runs = append(t.runs, r)
	lostLedger := (r.machine.wiped || r.machine.copied) && w.restored
	apart := t.local && (r.machine.copied || r.machine.wiped) // nobody kept the copies apart, or nothing says that it ran
	if starts > 0 && !t.excepted && !lostLedger && !apart {
		w.violate("J2", "restic is started a second time for %s", w.name(r.job))
	}
	if j, ok := w.server.jobs.Job(r.job); ok && !w.restored && !t.local && j.State.Terminal() && j.StartNonce == "" {
		w.violate("J2", "restic is started for %s, which had ended as %s and was never started", w.name(r.job), j.State)
	}
	for _, id := range w.asked {
		for _, o := range w.truth[id].runs {
			if o == r || !o.living() || o.job == r.job {
				continue
			}
			if o.machine == r.machine && o.lane != r.lane {
				w.Counts.TwoLanes++
			}
			if o.machine.host != r.machine.host && o.repo == r.repo {
				w.Counts.Neighbours++
			}
			if o.repo == r.repo && job.Excludes(o.hold, r.hold) && !t.local && !w.truth[o.job].local && !w.mayOverlap(o) && !w.mayOverlap(r) {
				w.violate("J3", "restic runs for %s (%s) while it runs for %s (%s) on the same repository", w.name(r.job), r.hold, w.name(o.job), o.hold)
			}
			if o.machine == r.machine && o.lane == r.lane && !w.mayOverlap(o) && !w.mayOverlap(r) {
				w.violate("J3", "restic runs for %s while it runs for %s in the same lane of %s", w.name(r.job), w.name(o.job), r.machine.name)
			}
		}
	}
}

func needsClock(k wire.Kind) bool {
	info, _ := k.Info()
	return info.NeedsClock
}

// mayOverlap: the server cannot keep this run apart from others: it forgot it, its agent lost the folder or lives
// twice, or the hold was let go after an hour of silence.
func (w *World) mayOverlap(r *run) bool {
	j, ok := w.server.jobs.Job(r.job)
	if w.truth[r.job].local { // its own agent keeps it apart in its lane
		return w.restored || r.machine.wiped || r.machine.copied
	}
	return w.restored || !ok || w.truth[r.job].kind == wire.KindInit || r.machine.wiped || r.machine.copied || !j.HoldReleasedAt.IsZero()
}

// leaves is called when a result is about to be written, left when it is durable.
func (w *World) leaves(s *supervisor, state wire.State) {
	if s.run == nil {
		t := w.truth[s.job]
		s.run = &run{machine: s.m, began: w.now, ended: w.now, hold: wire.HoldNone, lane: s.kind.Lane, repo: s.m.repo, job: s.job, copied: true}
		if file, err := s.m.openLog(s.folder); err == nil {
			size, _ := file.Size()
			s.run.log = make([]byte, size)
			_, _ = file.ReadAt(s.run.log, 0)
		}
		t.runs = append(t.runs, s.run)
	}
	s.run.tried = state
}

func (w *World) left(s *supervisor, state wire.State) {
	w.say("%s: the result of %s is left: %s", s.m.name, w.name(s.job), state)
	s.run.result = state
}

// interrupted is called when restic gets SIGINT: J7 where nothing is in the way.
func (w *World) interrupted(r *run) {
	t := w.truth[r.job]
	if len(t.cancels) == 0 {
		w.violate("J7", "restic is interrupted for %s, which nobody canceled", w.name(r.job))
		return
	}
	if late := w.now - max(t.cancels[0], r.began); w.plan.calm && late > 2*time.Second {
		w.violate("J7", "the cancel of %s reached restic after %s", w.name(r.job), late)
	}
}

// checkLog is L1: what the server has is the beginning of what one supervisor wrote.
func (s *server) checkLog(id string, l *serverLog) {
	w := s.w
	if len(l.bytes) > 0 && !slices.ContainsFunc(w.truth[id].runs, func(r *run) bool { return bytes.HasPrefix(r.log, l.bytes) }) {
		// A supervisor that never came to restic writes a few words too.
		if len(w.truth[id].runs) > 0 {
			w.violate("L1", "the log of %s at the server, %d lines, is no beginning of what was written", w.name(id), l.NextLine-1)
		}
	}
	if l.Complete && int64(bytes.Count(l.bytes, []byte("\n"))) != l.lines {
		w.violate("L1", "the log of %s is complete with %d lines of %d", w.name(id), bytes.Count(l.bytes, []byte("\n")), l.lines)
	}
}

// stopped is L1 while a log is shipped: only where two machines write one log do host and server disagree.
func (w *World) stopped(m *machine, id, why string) {
	if !m.copied {
		w.violate("L1", "the log of %s is shipped no further: %s", w.name(id), why)
	}
}

// checkList is P1: a list never gives way to an older one.
func (s *server) checkList(repository string, l *list, version int, t *token) {
	if version < l.version && !s.w.restored {
		s.w.violate("P1", "the list of version %d of %.8s gives way to one of version %d", l.version, repository, version)
	}
	if t.drawn.Before(l.drawn) && !s.w.restored {
		s.w.violate("P1", "the list of %s gives way to one of %s", l.drawn, t.drawn)
	}
}

// damagedFolder: no crash damages a job.json, so that none of a job that was accepted is put aside for it.
func (w *World) damagedFolder(m *machine, d spool.Damaged) {
	if j, ok := w.server.jobs.Job(d.ID); ok && !w.restored && !m.copied && j.State != wire.StateQueued {
		w.violate("J4", "%s finds the folder of %s damaged: %s", m.name, w.name(d.ID), d.Reason)
	}
}

// putAside: folders are kept for people where the server gave the job up, no sooner.
func (w *World) putAside(m *machine, id, why string) {
	w.say("%s: the folder of %s is put aside: %s", m.name, w.name(id), why)
	w.Counts.Aside++
	j, ok := w.server.jobs.Job(id)
	if w.restored || m.copied || !ok || w.truth[id].local && j.StartNonce == "" { // it ended before it was adopted
		return
	}
	if j.ErrorCode != wire.CodeHostRevoked && j.ErrorCode != wire.CodeSilent && !w.wiped(m.host) {
		w.violate("L1", "the folder of %s is put aside without need: %s", w.name(id), why)
	}
}

// notRun: what the ledger knows is not run again; nothing is in it that never ran, but for what was put aside.
func (w *World) notRun(m *machine, id string) {
	if t := w.truth[id]; len(t.runs) == 0 && !w.restored && !m.copied {
		w.violate("J4", "%s does not run %s, which never ran", m.name, w.name(id))
	}
}

// checkEnd holds what must be true when nothing is under way any more.
func (w *World) checkEnd() {
	for _, id := range w.asked {
		t := w.truth[id]
		j, ok := w.server.jobs.Job(id)
		if !ok {
			if t.local && (t.ahead || len(t.runs) == 0 || w.odd(t.host) || w.revoked(t.host) || w.deadHost(t.host)) {
				continue // nothing of it ran, or nobody is there to tell
			}
			if !w.restored {
				w.violate("J1", "%s is gone", w.name(id))
			}
			continue
		}
		if !j.State.Terminal() {
			w.violate("J5", "%s is %s at the end", w.name(id), j.State)
			continue
		}
		w.count(j)
		w.checkResult(id, t, j)
	}
	w.checkDues()
	for _, m := range w.machines {
		if m.dead || m.copied {
			continue
		}
		if names, err := m.disk.List(stateDir + "/jobs"); err == nil && len(names) > 0 && !w.revoked(m.host) {
			w.violate("J5", "%s still has the folder of %s", m.name, w.name(names[0]))
		}
	}
}

func (w *World) revoked(host string) bool {
	h, _ := w.server.jobs.Host(host)
	return !h.RevokedAt.IsZero()
}

func (w *World) deadHost(host string) bool {
	return !slices.ContainsFunc(w.machines, func(m *machine) bool { return m.host == host && !m.dead })
}

// checkResult is J4 and L1 of one ended job.
func (w *World) checkResult(id string, t *truth, j job.Job) {
	if w.restored || w.copied(t.host) || w.wiped(t.host) || w.revoked(t.host) || w.deadHost(t.host) {
		return
	}
	if t.local && j.StartNonce == "" {
		return // it ended before it was adopted
	}
	var last *run
	for _, r := range t.runs {
		last = r
	}
	switch {
	case last == nil && j.State.Success():
		w.violate("J4", "%s is %s and restic never ran", w.name(id), j.State)
	case last != nil && last.result != "" && last.result != j.State:
		w.violate("J4", "%s is %s (%s), and restic %s", w.name(id), j.State, j.ErrorCode, last.result)
	case last != nil && last.result == "" && j.State != wire.StateFailed && j.State != last.tried:
		w.violate("J4", "%s is %s and left no result", w.name(id), j.State)
	case j.State == wire.StateLost:
		w.violate("J4", "%s is lost", w.name(id))
	}
	if j.StartNonce == "" {
		return
	}
	if j.LateReport && !w.wasFull(t.host) {
		w.violate("J1", "%s has a late report beside its one result", w.name(id))
	}
	if t.ahead {
		return // its log was put aside with its folder, before its due time came
	}
	l := w.server.log(id)
	if !l.Complete {
		w.violate("L1", "the log of %s is not complete: %d lines of %d, %s", w.name(id), l.NextLine-1, l.lines, l.Problem)
	}
	if last != nil && last.result != "" && !bytes.Equal(last.log, l.bytes) {
		w.violate("L1", "the log of %s has %d bytes of %d", w.name(id), len(l.bytes), len(last.log))
	}
}

func (w *World) count(j job.Job) {
	c := &w.Counts
	switch {
	case j.State == wire.StateSucceeded:
		c.Succeeded++
	case j.State == wire.StateSucceededWithIssues:
		c.WithIssues++
	case j.ErrorCode == wire.CodeInterrupted:
		c.Interrupted++
	case j.State == wire.StateCanceled:
		c.Canceled++
	case j.State == wire.StateRejected:
		c.Rejected++
	case j.State == wire.StateExpired:
		c.Expired++
	case j.State == wire.StateLost:
		c.LostJobs++
	case j.State == wire.StateFailed:
		c.Failed++
	}
}
