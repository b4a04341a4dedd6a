package fleet

import (
	"fmt"
	"time"

	"restic-manager/server/fleet/job"
	"restic-manager/shared/wire"
)

// modelEvent is one thing that may happen. do chooses what it meets, by the store in memory, has every store
// do it, and gives how they differ.
type modelEvent struct {
	name   string
	weight int
	do     func(w *world, pick [6]uint32) string
}

var modelEvents = []modelEvent{
	{"time", 8, func(w *world, p [6]uint32) string {
		w.clock.Advance(time.Duration(p[0]%30_000) * time.Millisecond)
		return w.all(func(p peer) string { return "" })
	}},
	{"all alive", 2, func(w *world, p [6]uint32) string {
		return w.all(func(p peer) string {
			for _, h := range w.hosts {
				p.Seen(h)
			}
			return fmt.Sprint(p.Flush())
		})
	}},
	{"sweeps", 12, sweeps},
	{"long absence", 5, func(w *world, p [6]uint32) string {
		w.clock.Advance([]time.Duration{time.Hour, 24 * time.Hour, 7 * 24 * time.Hour}[p[0]%5/2] + time.Duration(p[1]%2)*time.Second)
		if p[3]%3 > 0 { // the sweeper was there all the time
			w.watch()
		}
		p[0], p[1] = p[4]%2, 0
		return sweeps(w, p)
	}},
	{"flush", 4, func(w *world, p [6]uint32) string {
		return w.all(func(p peer) string { return fmt.Sprint(p.Flush()) })
	}},
	{"restart", 2, func(w *world, p [6]uint32) string {
		return w.all(func(p peer) string { p.Restart(); return "" })
	}},
	{"seen", 3, func(w *world, p [6]uint32) string {
		host := w.host(p[0])
		return w.all(func(p peer) string { p.Seen(host); return host })
	}},
	{"hello", 9, hello},
	{"poll", 20, poll},
	{"older process", 5, olderPoll},
	{"create", 18, create},
	{"offer taken", 34, takeOffer},
	{"accept", 10, accept},
	{"start", 8, start},
	{"resume", 6, resume},
	{"due", 8, due},
	{"adopt", 12, adopt},
	{"append", 4, func(w *world, p [6]uint32) string {
		host, id, lease, ok := w.named(p)
		if !ok {
			return ""
		}
		return w.all(func(p peer) string { return fmt.Sprint(id, lease) + outcome(p.Append(host, id, lease)) })
	}},
	{"progress", 12, func(w *world, p [6]uint32) string {
		host, id, lease, ok := w.named(p)
		if !ok {
			return ""
		}
		r := wire.Progress{Seq: 1 + int64(p[4]%6), StalledSeconds: []float64{0, 0, 1799, 1800, 4000}[p[5]%5]}
		return w.all(func(p peer) string { return fmt.Sprint(id, lease, r.Seq) + outcome(p.Progress(host, id, lease, r)) })
	}},
	{"finish", 14, finish},
	{"cancel", 7, func(w *world, p [6]uint32) string {
		id := w.open(p[0])
		return w.all(func(p peer) string { return id + outcome(nil, p.Cancel(id)) })
	}},
	{"retry", 3, func(w *world, p [6]uint32) string {
		id, key := w.job(p[0]), []string{"", "k1"}[p[1]%2]
		return w.all(func(p peer) string { return id + outcome(p.Retry(id, key)) })
	}},
	{"revoke", 1, func(w *world, p [6]uint32) string {
		host := w.host(p[0])
		return w.all(func(p peer) string { return host + outcome(nil, p.Revoke(host)) })
	}},
	{"clear alarm", 2, func(w *world, p [6]uint32) string {
		host := w.host(p[0])
		return w.all(func(p peer) string { return host + outcome(nil, p.ClearAlarm(host)) })
	}},
	{"put repository", 2, func(w *world, p [6]uint32) string {
		host, url := w.host(p[0]), []string{"/srv/a", "/srv/b"}[p[1]%2]
		return w.all(func(p peer) string { return host + outcome(url, p.PutRepository(host, url)) })
	}},
	{"delete repository", 1, func(w *world, p [6]uint32) string {
		host := w.host(p[0])
		return w.all(func(p peer) string { return host + outcome(nil, p.DeleteRepository(host)) })
	}},
}

func (w *world) host(n uint32) string { return w.hosts[n%uint32(len(w.hosts))] }

// job is one of the last jobs, now and then one that does not exist.
func (w *world) job(n uint32) string {
	jobs := w.store.Jobs()
	if n%16 == 15 || len(jobs) == 0 {
		return "none"
	}
	jobs = jobs[max(0, len(jobs)-6):]
	return jobs[n/16%uint32(len(jobs))].ID
}

// named is a job as an agent may name it: mostly with its lease and by its host.
func (w *world) named(p [6]uint32) (host, id, lease string, ok bool) {
	j, ok := w.store.Job(w.open(p[0]))
	if !ok {
		return "", "", "", false
	}
	host, lease = j.HostID, j.Lease
	if p[1]%12 == 0 {
		host = w.host(p[1] / 12)
	}
	if past := w.past[j.ID]; p[2]%6 == 0 && len(past) > 0 {
		lease = past[p[2]/6%uint32(len(past))]
	}
	if p[2]%24 == 1 {
		lease = hex32(0xbad)
	}
	return host, j.ID, lease, true
}

// open prefers jobs that are under way.
func (w *world) open(n uint32) string { return w.some(n, job.Job.Active) }

// some is mostly one of those, else any.
func (w *world) some(n uint32, are func(job.Job) bool) string {
	var those []string
	for _, j := range w.store.Jobs() {
		if are(j) {
			those = append(those, j.ID)
		}
	}
	if n%4 == 3 || len(those) == 0 {
		return w.job(n / 4)
	}
	return those[n/4%uint32(len(those))]
}

// lease is one that was never used.
func (w *world) lease(id string) string {
	w.fresh++
	w.past[id] = append(w.past[id], hex32(w.fresh))
	return hex32(w.fresh)
}

// sweeps are some, with so little time between them that the sweeper counts as alive, mostly. Hosts of a mask
// show that they live, or ask for work.
func sweeps(w *world, p [6]uint32) string {
	gap := []time.Duration{25 * time.Second, 30 * time.Second, 30 * time.Second, 29 * time.Second, 31 * time.Second}[p[1]%5]
	for range 1 + p[0]%5 {
		w.clock.Advance(gap)
		for i, host := range w.hosts {
			if p[2]>>i&1 == 1 {
				w.all(func(p peer) string { p.Seen(host); return "" })
			}
			if p[3]>>(3*i)&7 == 7 {
				q := w.newest(host, p[4])
				if d := w.all(func(p peer) string { return w.polled(p, host, q) }); d != "" {
					return d
				}
			}
		}
		if d := w.all(func(p peer) string { r, err := p.Sweep(); return fmt.Sprintf("%+v %v", r, err) }); d != "" {
			return d
		}
	}
	return ""
}

func hello(w *world, p [6]uint32) string {
	host := w.host(p[0])
	h, _ := w.store.Host(host)
	id := fmt.Sprint("b", 1+p[1]%4)
	number := h.Boots.Newest.Number + []int64{1, 1, 0, -1}[p[2]%4]
	if p[2]/4%3 > 0 && h.Boots.Newest.ID != "" { // the newest once more
		id, number = h.Boots.Newest.ID, h.Boots.Newest.Number
	}
	w.seq++
	r := helloOf(id, max(number, 1), w.seq-int64(p[3]%3), w.clock.Now())
	r.Repositories = [][]wire.RepositoryReport{
		nil,
		{{Name: wire.RepositoryLocal, ID: repo(1), Location: "a"}},
		{{Name: wire.RepositoryLocal, ID: repo(1), Location: "a"}},
		{{Name: wire.RepositoryLocal, Location: "a"}},
		{{Name: wire.RepositoryLocal, ID: repo(2), Location: "b"}},
		{{Name: wire.RepositoryLocal, Location: "b"}},
	}[p[4]%6]
	if p[5]%4 == 0 {
		r.Kinds = []wire.Kind{wire.KindBackup, wire.KindCheck}
	}
	if p[3]/3%6 == 0 {
		r.Features = nil
	}
	for _, ref := range w.folders(host, p[5]/4) {
		r.Jobs = append(r.Jobs, wire.JobReport{ID: ref.ID, Lease: ref.Lease})
	}
	return w.all(func(p peer) string {
		reply, err := p.Hello(host, r)
		if p == w.peers[0] && err == nil {
			w.marks[host+id] = reply.Mark
		}
		return fmt.Sprintf("%s %s %d ", host, id, r.BootNumber) + outcome(reply, err)
	})
}

// folders are the jobs that an agent names: all of its host's that are open, or some, with any lease.
func (w *world) folders(host string, n uint32) (refs []wire.JobRef) {
	for _, j := range w.store.Jobs() {
		if j.HostID != host || j.State == wire.StateQueued && j.Delivery == 1 || n%5 == 4 && j.Active() {
			continue
		}
		if j.State.Terminal() && len(j.ID)%2 == int(n/5%2) {
			continue
		}
		ref := wire.JobRef{ID: j.ID, Lease: j.Lease}
		if past := w.past[j.ID]; n/10%6 == 0 && len(past) > 0 {
			ref.Lease = past[0]
		}
		refs = append(refs, ref)
	}
	if n%17 == 0 {
		refs = append(refs, wire.JobRef{ID: "none", Lease: hex32(0xbad)})
	}
	return refs
}

// newest is a poll of a host's newest process, for whatever there is.
func (w *world) newest(host string, n uint32) wire.PollQuery {
	h, _ := w.store.Host(host)
	w.seq++
	boot := h.Boots.Newest.ID
	return wire.PollQuery{Boot: boot, Seq: w.seq, Mark: w.marks[host+boot], FreeLong: 1, FreeShort: 1, Jobs: w.folders(host, n)}
}

func poll(w *world, p [6]uint32) string {
	host := w.host(p[0])
	q := w.newest(host, p[1])
	if p[2]%4 == 0 {
		q.Boot = fmt.Sprint("b", 1+p[2]/4%5)
		q.Mark = w.marks[host+q.Boot]
	}
	q.FreeLong, q.FreeShort = min(1, int(p[3]%8)), min(1, int(p[3]/8%8))
	w.seq -= int64(p[4] % 3) // the next one repeats
	// What is to be canceled and dropped is told again only after a while; here it always is.
	w.clock.Advance(tellAgain)
	return w.all(func(p peer) string { return w.polled(p, host, q) })
}

// olderPoll is a process that a newer one has followed, and that lives on or whose poll comes late.
func olderPoll(w *world, p [6]uint32) string {
	host := w.host(p[0])
	h, _ := w.store.Host(host)
	if len(h.Boots.Older) == 0 {
		return hello(w, [6]uint32{p[0], p[1]})
	}
	q := w.newest(host, p[1])
	q.Boot = h.Boots.Older[p[2]%uint32(len(h.Boots.Older))].ID
	q.Mark = w.marks[host+q.Boot]
	w.clock.Advance(tellAgain)
	return w.all(func(p peer) string { return w.polled(p, host, q) })
}

func (w *world) polled(p peer, host string, q wire.PollQuery) string {
	reply, err := p.Poll(host, q)
	if p == w.peers[0] && err == nil {
		w.marks[host+q.Boot] = reply.Mark
	}
	return fmt.Sprintf("%s %s %d %v ", host, q.Boot, q.Seq, q.Jobs) + outcome(reply, err)
}

const (
	settingA = "0190a000-0000-7000-8000-0000000000aa"
	settingB = "0190a000-0000-7000-8000-0000000000bb"
)

func create(w *world, p [6]uint32) string {
	n := NewJob{HostID: w.host(p[0]), Kind: wire.Kinds[p[1]%uint32(len(wire.Kinds))].Kind}
	if p[1]/8%2 == 0 {
		n.Kind = []wire.Kind{wire.KindBackup, wire.KindBackup, wire.KindPrune}[p[1]/16%3]
	}
	switch n.Kind {
	case wire.KindBackup:
		n.Spec = &wire.BackupSpec{Paths: []string{fmt.Sprint("/data/", p[2]%3)}}
	case wire.KindEstimate:
		n.Spec = &wire.EstimateSpec{Paths: []string{"/data"}}
	case wire.KindForget:
		n.Spec = &wire.ForgetSpec{SnapshotIDs: []string{repo(int(p[2] % 2))}}
	case wire.KindRestore:
		n.Spec = &wire.RestoreSpec{SnapshotID: repo(7)}
	}
	if p[2]/6%3 == 0 { // about another repository than the host's own
		if p[4]/3%2 == 0 { // and of a kind that may be
			n.Kind, n.Spec = []wire.Kind{wire.KindPrune, wire.KindCheck}[p[4]/6%2], nil
		}
		n.Target = &Target{SettingID: []string{settingA, settingB}[p[2]/24%2], RepositoryID: []string{"", repo(1), repo(2)}[p[2]/48%3]}
		if p[2]/144%2 == 0 {
			n.Target.HostID = w.host(p[2] / 288)
		}
	}
	n.TTL = []time.Duration{0, 0, 0, 2 * time.Minute}[p[3]%4]
	n.TimeLimit = []time.Duration{0, 0, time.Hour}[p[4]%3]
	n.IdempotencyKey = []string{"", "", "", "k1", "k2"}[p[5]%5]
	return w.all(func(p peer) string {
		id, created, err := p.Create(n)
		return fmt.Sprint(n.HostID, n.Kind, created) + outcome(id, err)
	})
}

// takeOffer is the usual way: a poll of the newest process, and its offer accepted, mostly started too.
func takeOffer(w *world, p [6]uint32) string {
	host := w.host(p[0])
	q := w.newest(host, 0)
	w.clock.Advance(tellAgain)
	var offer *wire.Offer
	d := w.all(func(p peer) string {
		reply, err := p.Poll(host, q)
		if p == w.peers[0] {
			offer = reply.Offer
		}
		return fmt.Sprintf("%s %s %d %v ", host, q.Boot, q.Seq, q.Jobs) + outcome(reply, err)
	})
	if d != "" || offer == nil {
		return d
	}
	r := wire.AcceptRequest{Lease: w.lease(offer.JobID), Delivery: offer.Delivery}
	d = w.all(func(p peer) string { return outcome(p.Accept(host, offer.JobID, r)) })
	if d != "" || p[1]%4 == 0 {
		return d
	}
	begin := wire.StartRequest{StartNonce: r.Lease, RepositoryID: []string{"", repo(1), repo(1), repo(2)}[p[2]%4]}
	return w.all(func(p peer) string { return outcome(nil, p.Start(host, offer.JobID, r.Lease, begin)) })
}

func accept(w *world, p [6]uint32) string {
	j, ok := w.store.Job(w.some(p[0], func(j job.Job) bool { return j.State == wire.StateQueued }))
	if !ok {
		j = job.Job{ID: "none", HostID: w.host(p[1])}
	}
	r := wire.AcceptRequest{Lease: j.Lease, Delivery: j.Delivery}
	if p[2]%3 > 0 || r.Lease == "" {
		r.Lease = w.lease(j.ID)
	}
	if p[3]%6 == 0 {
		r.Delivery += int(p[3]/6%3) - 1
	}
	host := j.HostID
	if p[4]%12 == 0 {
		host = w.host(p[5])
	}
	return w.all(func(p peer) string { return fmt.Sprint(host, j.ID, r) + outcome(p.Accept(host, j.ID, r)) })
}

func start(w *world, p [6]uint32) string {
	host, id, lease, ok := w.named(p)
	if !ok {
		return ""
	}
	j, _ := w.store.Job(id)
	r := wire.StartRequest{StartNonce: hex32(0x5000 + int(p[3]%64)), RepositoryID: []string{"", repo(1), repo(1), repo(2)}[p[4]%4]}
	if p[5]%3 == 0 && j.StartNonce != "" {
		r.StartNonce = j.StartNonce
	}
	return w.all(func(p peer) string { return fmt.Sprint(host, id, lease, r) + outcome(nil, p.Start(host, id, lease, r)) })
}

func resume(w *world, p [6]uint32) string {
	host, id, lease, ok := w.named(p)
	if !ok {
		return ""
	}
	r := wire.ResumeRequest{OldLease: lease, NewLease: lease}
	if p[3]%3 > 0 || lease == "" {
		r.NewLease = w.lease(id)
	}
	return w.all(func(p peer) string { return fmt.Sprint(host, id, r) + outcome(p.Resume(host, id, r)) })
}

func finish(w *world, p [6]uint32) string {
	host, id, lease, ok := w.named(p)
	if !ok {
		return ""
	}
	r := wire.FinishRequest{State: wire.States[p[3]%uint32(len(wire.States))]}
	j, _ := w.store.Job(id)
	switch {
	case j.State == wire.StateAccepted && p[3]/10%2 == 0:
		r.State = wire.StateRejected
	case p[3]/10%2 == 0:
		r.State = wire.StateSucceeded
	}
	if r.State == wire.StateFailed || p[4]%5 == 0 {
		r.Error = &wire.JobError{Code: []string{"", wire.CodeInterrupted}[p[4]/5%2], Message: "m"}
	}
	if p[5]%2 == 0 {
		r.Summary = &wire.Summary{RepositoryID: []string{repo(1), repo(2)}[p[5]/2%2]}
	}
	body := mustJSON(r)
	return w.all(func(p peer) string {
		return fmt.Sprint(host, id, lease, string(body)) + outcome(p.Finish(host, id, lease, body, r))
	})
}

// modelPolicies are two that may be due at any host.
var modelPolicies = []string{"0190a000-0000-7000-9000-000000000001", "0190a000-0000-7000-9000-000000000002"}

// tick is a due time that was never before, or one of the last few.
func (w *world) tick(host string, policy, n uint32) (id string, r wire.AdoptRequest) {
	r.PolicyID = modelPolicies[policy%2]
	if n%3 > 0 || w.dues == 0 {
		w.dues++
		n = 0
	}
	r.DueAt = time.Date(2026, 3, 1, 0, w.dues-int(n/3)%min(w.dues, 4), 0, 0, time.UTC)
	return wire.TickJobID(r.PolicyID, host, r.DueAt), r
}

// due is a due time of a policy: its job is queued, or one that is queued stands for it.
func due(w *world, p [6]uint32) string {
	host := w.host(p[0])
	id, r := w.tick(host, p[1], 1)
	n := NewJob{HostID: host, Kind: wire.KindBackup, Spec: &wire.BackupSpec{Paths: []string{fmt.Sprint("/data/", p[2]%3)}},
		PolicyID: r.PolicyID, ID: id, DueAt: r.DueAt}
	return w.all(func(p peer) string {
		id, created, err := p.Create(n)
		return fmt.Sprint(host, created) + outcome(id, err)
	})
}

// adopt is a due time whose job the agent began by itself: one that the server knows nothing of, or one that is queued,
// or has begun, or was adopted before.
func adopt(w *world, p [6]uint32) string {
	host := w.host(p[0])
	id, r := w.tick(host, p[1], p[2])
	r.Kind, r.Spec, r.TimeLimitSeconds = wire.KindBackup, mustJSON(&wire.BackupSpec{Paths: []string{"/data/0"}}), 3600
	r.Repository, r.RepositoryID = wire.RepositoryLocal, []string{"", repo(1), repo(1), repo(2)}[p[3]%4]
	if p[3]/4%4 == 0 {
		r.Repository = wire.RepositoryServer
	}
	lease := w.lease(id)
	r.StartNonce = lease
	if j, ok := w.store.Job(id); ok && p[4]%3 > 0 && j.Lease != "" && j.StartNonce != "" { // once more
		lease, r.StartNonce = j.Lease, j.StartNonce
	}
	if p[5]%16 == 0 {
		id = w.job(p[5] / 16) // of another due time
	}
	return w.all(func(p peer) string { return fmt.Sprint(host, id, lease) + outcome(nil, p.Adopt(host, id, lease, r)) })
}
