package simulation

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"hash"
	"maps"
	"slices"
	"time"

	"restic-manager/server/fault"
	"restic-manager/server/fleet/job"
	"restic-manager/server/fleet/job/memory"
	"restic-manager/shared/wire"
)

// server is one database and the replicas on it.
type server struct {
	w *World
	database
	replicas []*replica
	away     int // reasons why the database is away
	looking  bool
	backup   *database
	backedUp time.Duration
	heard    map[string]time.Duration // flushed, when the backup was made
	shadow   map[string]job.Job       // as the last check saw them
	scratch  []job.Job                // of check
	seen     map[string]time.Duration // when each host was heard
	flushed  map[string]time.Duration // the same, as far as it is durable
	online   map[string]bool
	alarmed  map[string]bool
	audited  int // rows of the audit trail that were looked at
	olders   map[string]older
}

// database is all that is durable.
type database struct {
	jobs   *memory.Store
	logs   map[string]*serverLog
	lists  map[string]*list // by repository
	tokens map[string]*token
	order  int64
	scheduling
}

// serverLog is what the server has of a job's log.
type serverLog struct {
	job.Log
	bytes []byte
	lines int64 // of the result; -1: not known
	sha   string
}

func (l *serverLog) sum() (hash.Hash, error) {
	h := sha256.New()
	h.Write(l.bytes)
	return h, nil
}

// list is the projection of a repository's snapshots.
type list struct {
	order   int64
	version int
	drawn   time.Time
}

// token is drawn before a listing.
type token struct {
	host      string
	order     int64
	drawn     time.Time
	committed bool
}

// replica is one process of the server.
type replica struct {
	name   string
	up     bool
	parked []*parked
	told   map[string]time.Duration
}

// parked is a poll that waits.
type parked struct {
	host    string
	q       wire.PollQuery
	until   time.Duration
	respond func(wire.PollReply, error)
	over    bool // it was answered
}

// tellAgain is how soon a cancel or drop ends a wait once more, as package fleet's.
const tellAgain = 5 * time.Second

func newServer(w *World) *server {
	s := &server{w: w, shadow: map[string]job.Job{}, seen: map[string]time.Duration{}, flushed: map[string]time.Duration{}, online: map[string]bool{}, olders: map[string]older{}, alarmed: map[string]bool{}}
	s.database = database{jobs: memory.New(w.clock, w.id), logs: map[string]*serverLog{}, lists: map[string]*list{}, tokens: map[string]*token{}, scheduling: newScheduling()}
	for _, name := range []string{"A", "B"} {
		s.replicas = append(s.replicas, &replica{name: name, up: true, told: map[string]time.Duration{}})
	}
	w.every(5*time.Second, s.flush)
	w.every(wire.SweepInterval, s.sweep)
	return s
}

// clone is a backup of the database.
func (d database) clone() *database {
	c := d
	c.jobs, c.logs, c.lists, c.tokens = d.jobs.Clone(), maps.Clone(d.logs), maps.Clone(d.lists), maps.Clone(d.tokens)
	c.scheduling = d.scheduling.clone()
	for id, l := range c.logs {
		one := *l
		one.bytes = slices.Clone(l.bytes)
		c.logs[id] = &one
	}
	for id, l := range c.lists {
		one := *l
		c.lists[id] = &one
	}
	for id, t := range c.tokens {
		one := *t
		c.tokens[id] = &one
	}
	return &c
}

// works: a replica is up and the database there.
func (s *server) works() bool {
	return s.away == 0 && slices.ContainsFunc(s.replicas, func(r *replica) bool { return r.up })
}

func (s *server) flush() {
	if s.works() {
		s.jobs.Flush()
		maps.Copy(s.flushed, s.seen)
		s.check("flush")
		s.look() // the floor under lost wake-ups
	}
}

func (s *server) sweep() {
	if !s.works() {
		return
	}
	if _, err := s.jobs.Sweep(); err != nil {
		s.w.violate("sweep", "%v", err)
	}
	maps.Copy(s.flushed, s.seen)
	s.check("sweep")
	s.checkSweep()
	s.wake()
}

// any is a replica that answers; nil when there is none.
func (s *server) any() *replica {
	var up []*replica
	for _, r := range s.replicas {
		if r.up {
			up = append(up, r)
		}
	}
	if len(up) == 0 {
		return nil
	}
	return up[s.w.r.IntN(len(up))]
}

// arrive brings a request to a replica. live: its sender waits; then lost is called when no reply can come.
func (s *server) arrive(m *machine, what string, live bool, handle func(*replica, func(error, func())), lost func()) {
	w := s.w
	if !live {
		lost = func() {}
	}
	rep := s.any()
	if rep == nil || m.cut() {
		lost()
		return
	}
	s.jobs.Seen(m.host)
	s.seen[m.host] = w.now
	back := func(err error, answer func()) {
		switch {
		case !live:
		case w.faulty(w.plan.loss):
			w.Counts.Lost++
			w.say("%s: the reply to %s is lost", m.name, what)
			w.after(w.giveUp(), lost)
		default:
			w.after(w.latency(), func() {
				if m.cut() {
					lost()
					return
				}
				answer()
			})
		}
	}
	if w.faulty(w.plan.crash / 2) {
		w.Counts.KilledBeforeCommit++
		s.crash(rep, "before the commit of "+what+" of "+m.name)
		lost()
		return
	}
	dies := w.faulty(w.plan.crash / 2)
	handle(rep, func(err error, answer func()) {
		if dies && rep.up {
			w.Counts.KilledAfterCommit++
			s.crash(rep, "after the commit of "+what+" of "+m.name)
		}
		if !rep.up {
			lost()
			return
		}
		if err != nil {
			w.say("%s: %s: %v", m.name, what, err)
		}
		back(err, answer)
	})
	s.check(what)
}

// unavailable is the answer while the database is away, and unauthorized that to a revoked host.
func (s *server) refuses(host string) error {
	if s.away > 0 {
		e := fault.New(fault.Unavailable, wire.ProblemUnavailable, "the database is away; ask again")
		return e
	}
	if h, ok := s.jobs.Host(host); !ok || !h.RevokedAt.IsZero() {
		return fault.New(fault.Unauthorized, wire.ProblemUnauthorized, "this host is revoked")
	}
	return nil
}

// crash kills a replica; what it had in memory is lost.
func (s *server) crash(rep *replica, why string) {
	w := s.w
	w.say("server %s is killed %s", rep.name, why)
	s.stop(rep)
	w.after(w.between(500*time.Millisecond, 20*time.Second), func() { s.start(rep) })
}

func (s *server) stop(rep *replica) {
	waiting := rep.parked
	rep.up, rep.parked, rep.told = false, nil, map[string]time.Duration{}
	for _, p := range waiting {
		p.end(wire.PollReply{}, nil) // their connections break
	}
	s.jobs.Restart()
	maps.Copy(s.seen, s.flushed) // signs of life that nobody wrote are lost
	s.outage()
}

func (s *server) start(rep *replica) {
	if !rep.up {
		rep.up = true
		s.w.say("server %s is back", rep.name)
	}
	s.outage()
}

// outage notes since and until when nobody could be heard.
func (s *server) outage() {
	w := s.w
	last := len(w.outages) - 1
	open := last >= 0 && w.outages[last].to < 0
	switch works := s.works(); {
	case works && open:
		w.outages[last].to = w.now
	case !works && !open:
		w.outages = append(w.outages, span{w.now, -1})
	}
}

func (s *server) bothAway(d time.Duration) {
	s.w.say("both servers are away for %s", d)
	s.w.Counts.BothAway++
	for _, r := range s.replicas {
		s.stop(r)
	}
	s.w.after(d, func() {
		for _, r := range s.replicas {
			s.start(r)
		}
	})
}

func (s *server) databaseAway(d time.Duration) {
	s.w.say("the database is away for %s", d)
	s.w.Counts.DatabaseAway++
	s.away++
	s.outage()
	s.w.after(d, func() {
		if s.away == 0 {
			return // all was healed meanwhile
		}
		s.away--
		s.w.say("the database is back")
		s.outage()
	})
}

// restore puts an older backup in the place of the database.
func (s *server) restore() {
	w := s.w
	if s.backup == nil {
		return
	}
	w.say("the server is restored from an older backup")
	w.Counts.Restores++
	w.restored = true
	s.database = *s.backup.clone()
	for _, r := range s.replicas {
		r.parked, r.told = nil, map[string]time.Duration{}
	}
	for _, h := range s.jobs.Hosts() {
		w.reschedule(h.ID)
	}
	s.shadow = map[string]job.Job{}
	for _, j := range s.jobs.Jobs() {
		s.shadow[j.ID] = j
	}
	for _, id := range w.asked {
		if _, ok := s.jobs.Job(id); !ok {
			w.truth[id].forgotten = true
		}
	}
	clear(s.online)
	s.audited = len(s.jobs.Trail())
	s.seen, s.flushed = maps.Clone(s.heard), maps.Clone(s.heard)
	w.outages = append(w.outages, span{s.backedUp, w.now}) // its last sweep is as old
}

// keepBackup is the nightly backup, more often.
func (s *server) keepBackup() {
	if s.works() {
		s.backup, s.backedUp, s.heard = s.clone(), s.w.now, maps.Clone(s.flushed)
		s.w.say("the database is backed up")
	}
}

// wake lets waiting polls look soon.
func (s *server) wake() {
	if s.looking {
		return
	}
	s.looking = true
	s.w.after(20*time.Millisecond, func() { s.looking = false; s.look() })
}

// look lets every waiting poll look.
func (s *server) look() {
	if s.away > 0 {
		return
	}
	for _, rep := range s.replicas {
		for _, p := range slices.Clone(rep.parked) {
			if p.over || !rep.up {
				continue
			}
			reply, err := s.jobs.Look(p.host, p.q)
			s.configure(p.host, p.q, &reply)
			s.checkOffer(p.host, p.q, reply.Offer)
			if reply, end := s.tell(rep, p, reply, err); end {
				p.end(reply, err)
			}
		}
		rep.parked = slices.DeleteFunc(rep.parked, func(p *parked) bool { return p.over })
	}
	s.check("look")
}

func (p *parked) end(reply wire.PollReply, err error) {
	if !p.over {
		p.over = true
		p.respond(reply, err)
	}
}

// tell decides whether a reply ends the wait, and passes over what was told a moment ago.
func (s *server) tell(rep *replica, p *parked, reply wire.PollReply, err error) (wire.PollReply, bool) {
	if err != nil {
		return reply, true
	}
	urgent := reply.Offer != nil || reply.Configure != nil
	words := make([]string, 0, 4)
	for _, id := range reply.Cancel {
		words = append(words, p.host+" cancel "+id)
	}
	for _, ref := range reply.Drop {
		words = append(words, p.host+" drop "+ref.ID+" "+ref.Lease)
	}
	for _, word := range words {
		at, told := rep.told[word]
		urgent = urgent || !told || s.w.now-at >= tellAgain
	}
	if !urgent {
		reply.Cancel, reply.Drop = nil, nil
	} else {
		for _, word := range words {
			rep.told[word] = s.w.now
		}
	}
	h, _ := s.jobs.Host(p.host)
	probe := h.Boots.Newest.ID != p.q.Boot && reply.Mark != p.q.Mark
	return reply, !reply.IsEmpty() || probe
}

// poll answers now or parks.
func (s *server) poll(rep *replica, host string, q wire.PollQuery, respond func(wire.PollReply, error)) {
	if err := s.refuses(host); err != nil {
		respond(wire.PollReply{}, err)
		return
	}
	for _, o := range slices.Clone(rep.parked) { // a newer poll ends an older one
		if o.host == host && o.q.Boot == q.Boot && o.q.Seq < q.Seq {
			o.end(wire.PollReply{Mark: o.q.Mark}, nil)
		}
	}
	rep.parked = slices.DeleteFunc(rep.parked, func(p *parked) bool { return p.over })
	p := &parked{host: host, q: q, until: s.w.now + q.Wait, respond: respond}
	reply, err := s.jobs.Poll(host, q)
	s.configure(host, q, &reply)
	s.checkOffer(host, q, reply.Offer)
	reply, end := s.tell(rep, p, reply, err)
	if end || q.Wait == 0 {
		p.end(reply, err)
		return
	}
	rep.parked = append(rep.parked, p)
	s.w.after(q.Wait, func() {
		if !p.over && rep.up && slices.Contains(rep.parked, p) {
			p.end(wire.PollReply{Mark: reply.Mark}, nil)
			rep.parked = slices.DeleteFunc(rep.parked, func(o *parked) bool { return o == p })
		}
	})
}

// once makes a handler of a call that is answered at once.
func once[T any](s *server, host string, f func() (T, error)) func(*replica, func(T, error)) {
	return func(_ *replica, respond func(T, error)) {
		if err := s.refuses(host); err != nil {
			var zero T
			respond(zero, err)
			return
		}
		v, err := f()
		respond(v, err)
	}
}

func (s *server) log(id string) *serverLog {
	l := s.logs[id]
	if l == nil {
		l = &serverLog{Log: job.Log{NextLine: 1}, lines: -1}
		s.logs[id] = l
	}
	return l
}

// appendLog is fleet's AppendLog.
func (s *server) appendLog(host, id, lease string, q wire.LogQuery, body []byte) (wire.LogReply, error) {
	return fenced(s, id, lease, "log lines", func() (wire.LogReply, error) { return s.append(host, id, lease, q, body) })
}

func (s *server) append(host, id, lease string, q wire.LogQuery, body []byte) (wire.LogReply, error) {
	reply, err := s.jobs.Append(host, id, lease)
	if err != nil {
		return reply, err
	}
	l := s.log(id)
	reply.NextLine = l.NextLine
	stores, err := l.Admit(q, l.sum)
	if err != nil || !stores {
		return reply, err
	}
	l.bytes = append(l.bytes, body...)
	l.NextLine += q.Lines
	reply.NextLine = l.NextLine
	s.w.Counts.Lines += int(q.Lines)
	s.settle(l)
	s.checkLog(id, l)
	return reply, nil
}

func (s *server) settle(l *serverLog) {
	if l.lines < 0 {
		return
	}
	l.Log, _ = l.Settle(l.lines, l.sha, l.sum)
}

// resume is fleet's Resume with what it says of the log.
func (s *server) resume(host, id string, q wire.ResumeRequest) (wire.ResumeReply, error) {
	reply, err := s.jobs.Resume(host, id, q)
	if err == nil {
		l := s.log(id)
		reply.NextLine, reply.LogComplete = l.NextLine, l.Complete
	}
	return reply, err
}

// finish is fleet's Finish.
func (s *server) finish(host, id, lease string, body []byte) (wire.FinishReply, error) {
	var q wire.FinishRequest
	if err := json.Unmarshal(body, &q); err != nil {
		s.w.violate("finish", "a result cannot be read: %v", err)
	}
	before, _ := s.jobs.Job(id)
	reply, err := fenced(s, id, lease, "finish", func() (wire.FinishReply, error) { return s.jobs.Finish(host, id, lease, body, q) })
	if err != nil {
		return reply, err
	}
	if after, _ := s.jobs.Job(id); !before.State.Terminal() && after.State.Terminal() {
		l := s.log(id)
		l.lines, l.sha = q.LogLines, q.LogSHA256
		s.settle(l)
		s.checkLog(id, l)
	}
	if q.Listing != nil {
		_ = s.commit(host, q.Listing.Token, q.Listing.RepositoryID, versionOf(q.Listing.Snapshots))
	}
	return reply, nil
}

var errListing = fault.New(fault.Conflict, wire.ProblemListingSuperseded, "another list was committed since the token was drawn")

// beginListing is fleet's.
func (s *server) beginListing(host, id string) (wire.ListingReply, error) {
	if j, ok := s.jobs.Job(id); !ok || j.HostID != host {
		return wire.ListingReply{}, fault.NotFoundf("there is no such job")
	}
	s.order++
	t := s.w.hex()
	s.tokens[t] = &token{host: host, order: s.order, drawn: s.w.clock()}
	return wire.ListingReply{Token: t, MaxPartBytes: wire.MaxBody}, nil
}

// commit is fleet's, by the same rule: a list that was committed since the token was drawn is newer.
func (s *server) commit(host, name, repository string, version int) error {
	t := s.tokens[name]
	if t == nil || t.host != host {
		return errListing
	}
	if t.committed {
		return nil
	}
	l := s.lists[repository]
	if l == nil {
		l = &list{}
		s.lists[repository] = l
	}
	if l.order > t.order {
		return errListing
	}
	s.checkList(repository, l, version, t)
	s.order++
	s.w.Counts.Lists++
	l.order, l.version, l.drawn = s.order, version, t.drawn
	t.committed = true
	return nil
}

// versionOf is the one entry that a virtual list holds.
func versionOf(snapshots []json.RawMessage) int {
	var v int
	if len(snapshots) == 1 {
		_ = json.Unmarshal(bytes.TrimSpace(snapshots[0]), &v)
	}
	return v
}
