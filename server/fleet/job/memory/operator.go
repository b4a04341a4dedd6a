package memory

import (
	"encoding/json"
	"time"

	"restic-manager/server/fault"
	"restic-manager/server/fleet/boot"
	"restic-manager/server/fleet/job"
	"restic-manager/shared/wire"
)

// Order is a job that is asked for. It is comparable: equal ones ask the same.
type Order struct {
	HostID    string
	Kind      wire.Kind // a known one
	Spec      string    // as it is stored
	TimeLimit time.Duration
	TTL       time.Duration
	RetryOf   string // empty: not a retry
	Target    job.Target
	PolicyID  string // empty: none
	ID        string // of a policy's due time; empty: a new one
}

// Key is an Idempotency-Key with the actor it belongs to. The zero value is none.
type Key struct{ Actor, Key string }

type (
	ownedKey = Key
	used     struct {
		order Order
		job   string
		at    time.Time
	}
)

// Create queues a job, or finds the one that stands for it: of the same key within 24 h, or a queued one that
// asks the same. created tells which. Errors are those of fleet's CreateJob.
func (s *Store) Create(o Order, key Key) (id string, created bool, err error) {
	now := s.now()
	h := s.hosts[o.HostID]
	if h == nil {
		return "", false, errNoHost
	}
	if u, ok := s.keys[key]; ok && key.Key != "" && u.at.After(now.Add(-job.KeyKept)) {
		if u.order != o {
			return "", false, job.KeyReused()
		}
		return u.job, false, nil
	}
	if err := job.MayQueue(o.Kind, !h.RevokedAt.IsZero(), h.kinds, h.version); err != nil {
		return "", false, err
	}
	if o.Target != (job.Target{}) {
		if err := job.MayTarget(o.Kind, h.features, h.version); err != nil {
			return "", false, err
		}
	} else if o.Kind == wire.KindEstimate {
		if err := job.MayEstimate(h.features, h.version); err != nil {
			return "", false, err
		}
	}
	id = s.same(o, now)
	if created = id == ""; created {
		id = s.add(o, now)
	}
	if key.Key != "" {
		s.keys[key] = used{o, id, now}
	}
	return id, created, nil
}

// add queues a job.
func (s *Store) add(o Order, now time.Time) (id string) {
	if id = o.ID; id == "" {
		id = s.random()
	}
	j := job.New(id, o.HostID, o.Kind, o.TTL, now)
	s.number++
	j.Number, j.Target = s.number, o.Target
	s.jobs[id] = &record{j, o}
	s.queue = append(s.queue, id)
	s.audit("job.create", "job:"+id)
	return id
}

// same finds a queued job that asks the same, or one of the same policy; how long each may wait does not count.
func (s *Store) same(o Order, now time.Time) string {
	for _, id := range s.queue {
		r := s.jobs[id]
		ask := r.ask
		ask.TTL, ask.RetryOf, ask.ID, ask.Target.RepositoryID = o.TTL, o.RetryOf, o.ID, o.Target.RepositoryID
		if o.PolicyID != "" {
			ask.Spec, ask.TimeLimit = o.Spec, o.TimeLimit
		}
		if r.State == wire.StateQueued && now.Before(r.ExpiresAt) && ask == o {
			return id
		}
	}
	return ""
}

// Retry queues what an ended job was asked once more. Errors are those of fleet's RetryJob.
func (s *Store) Retry(id string, key Key) (again string, err error) {
	r := s.jobs[id]
	if r == nil {
		return "", errNoJob
	}
	if err := job.MayRetry(r.State); err != nil {
		return "", err
	}
	o := r.ask
	o.TTL, o.RetryOf, o.Target, o.PolicyID, o.ID = wire.QueueTTL, id, r.Target, "", ""
	again, _, err = s.Create(o, key)
	return again, err
}

// Cancel ends a job that has not started, and asks for the end of one that has.
func (s *Store) Cancel(id string) error {
	r := s.jobs[id]
	if r == nil {
		return errNoJob
	}
	was := r.Job
	_, err := s.apply(r, job.Cancel{}, s.now())
	if r.Job != was {
		s.audit("job.cancel", "job:"+id)
	}
	return err
}

// Revoke ends all that the host had; again it changes nothing.
func (s *Store) Revoke(host string) error {
	h := s.hosts[host]
	if h == nil {
		return errNoHost
	}
	if !h.RevokedAt.IsZero() {
		return nil
	}
	h.RevokedAt = s.now()
	for _, id := range s.queue {
		if r := s.jobs[id]; r.HostID == host {
			if _, err := s.apply(r, job.Revoke{}, h.RevokedAt); err != nil {
				return err
			}
		}
	}
	s.audit("host.revoke", "host:"+host)
	return nil
}

// ClearAlarm forgets all processes of a host under a clone alarm; without one it changes nothing.
func (s *Store) ClearAlarm(host string) error {
	h := s.hosts[host]
	if h == nil {
		return errNoHost
	}
	if h.Boots.Alarm {
		h.Boots = h.Boots.Clear()
		s.audit("host.clear_clone_alarm", "host:"+host)
	}
	return nil
}

// PutRepository has the server keep the host's repository.
func (s *Store) PutRepository(host, url string) error {
	h := s.hosts[host]
	switch {
	case h == nil:
		return errNoHost
	case !h.RevokedAt.IsZero():
		return fault.New(fault.Conflict, "host_revoked", "this host is revoked; enroll the machine again and set the repository of the new host")
	}
	if h.url != url {
		h.Tie.ID = ""
	}
	h.url, h.Tie.ServerHeld = url, true
	s.audit("repository.put", "host:"+host)
	return nil
}

// DeleteRepository has the host use its own again.
func (s *Store) DeleteRepository(host string) error {
	h := s.hosts[host]
	switch {
	case h == nil:
		return errNoHost
	case !h.Tie.ServerHeld:
		return fault.NotFoundf("the server holds no repository for this host")
	}
	h.url, h.Tie = "", job.Tie{}
	s.audit("repository.delete", "host:"+host)
	return nil
}

// Hello is fleet's, for a hello whose fields are whole.
func (s *Store) Hello(host string, r wire.HelloRequest) (wire.HelloReply, error) {
	s.Seen(host)
	h := s.hosts[host]
	if h == nil {
		return wire.HelloReply{}, errNoHost
	}
	now := s.now()
	var answer boot.Reply
	var err error
	if h.Boots, answer, err = h.Boots.Hello(r.BootID, r.BootNumber, r.Seq, s.random()); err != nil {
		return wire.HelloReply{}, err
	}
	if answer.Refresh {
		h.Tie = h.Tie.Reported(h.reported, r.Repositories)
		h.kinds, h.features, h.version, h.reported = r.Kinds, r.Features, r.AgentVersion, r.Repositories
	}
	reply := wire.HelloReply{ServerTime: now, Mark: answer.Mark, Jobs: []wire.JobVerdict{}}
	for _, report := range r.Jobs {
		ref := wire.JobRef{ID: report.ID, Lease: report.Lease}
		s.pulse.renew(ref, now)
		reply.Jobs = append(reply.Jobs, wire.JobVerdict{ID: ref.ID, Verdict: job.Verdict(s.named(host, ref), ref, now)})
	}
	return reply, nil
}

// named is the host's job of that id, as the rules of verdicts take it.
func (s *Store) named(host string, refs ...wire.JobRef) map[string]job.Job {
	jobs := map[string]job.Job{}
	for _, ref := range refs {
		if r, ok := s.of(host, ref.ID); ok {
			jobs[ref.ID] = r.Job
		}
	}
	return jobs
}

func raw(spec string) json.RawMessage { return json.RawMessage(spec) }
