package memory

import (
	"crypto/sha256"
	"encoding/hex"
	"time"

	"restic-manager/server/fleet/job"
	"restic-manager/shared/wire"
)

// Accept is fleet's.
func (s *Store) Accept(host, id string, a wire.AcceptRequest) (wire.AcceptReply, error) {
	r, ok := s.of(host, id)
	if !ok {
		return wire.AcceptReply{}, errGone
	}
	h := s.hosts[host]
	name, repository := r.Uses(h.Tie)
	_, err := s.apply(r, job.Accept{
		Lease: a.Lease, Delivery: a.Delivery, RepositoryName: name, RepositoryID: repository,
		LaneBusy: s.laneBusy(host, r.Lane()), Held: s.held(r.Key(h.Tie), id, r.Hold()),
		Alarm: h.Boots.Alarm || !h.RevokedAt.IsZero(),
	}, s.now())
	if err != nil {
		return wire.AcceptReply{}, err
	}
	return wire.AcceptReply{
		Kind: r.Kind, Spec: raw(r.ask.Spec), TimeLimitSeconds: int64(r.ask.TimeLimit.Seconds()),
		Repository: wire.RepositoryRef{Name: r.RepositoryName, ID: r.RepositoryID},
	}, nil
}

// Start is fleet's.
func (s *Store) Start(host, id, lease string, q wire.StartRequest) error {
	r, ok := s.of(host, id)
	if !ok {
		return errLeaseLost
	}
	e := job.Start{Lease: lease, Nonce: q.StartNonce, RepositoryID: q.RepositoryID}
	if q.RepositoryID != "" && q.RepositoryID != r.RepositoryID && r.State == wire.StateAccepted && r.Lease == lease {
		h := s.hosts[host]
		h.Tie = h.Tie.Learnt(r.RepositoryName, q.RepositoryID)
		e.Held = r.Holding && s.held(q.RepositoryID, id, r.Hold())
	}
	_, err := s.apply(r, e, s.now())
	return err
}

// Adopt is fleet's, for a request whose fields are whole and a policy that was due then. Of due times it knows nothing.
func (s *Store) Adopt(host, id, lease string, q wire.AdoptRequest) error {
	h := s.hosts[host]
	if id != wire.TickJobID(q.PolicyID, host, q.DueAt) || h == nil || !h.RevokedAt.IsZero() {
		return errGone
	}
	now := s.now()
	ask := Order{HostID: host, Kind: q.Kind, Spec: string(q.Spec), TimeLimit: time.Duration(q.TimeLimitSeconds) * time.Second, TTL: wire.QueueTTL, PolicyID: q.PolicyID, ID: id}
	was := job.New(id, host, q.Kind, ask.TTL, now)
	r := s.jobs[id]
	if r != nil {
		was = r.Job
	}
	e := job.Adopt{Lease: lease, Nonce: q.StartNonce, RepositoryName: q.Repository, RepositoryID: q.RepositoryID,
		LaneBusy: s.any(func(j job.Job) bool { return j.ID != id && j.HostID == host && j.Lane() == was.Lane() && j.Active() }),
		Held:     s.held(job.HoldKey(host, q.RepositoryID), id, was.Hold())}
	if _, _, err := job.Apply(was, e, now); err != nil {
		return err // and nothing is left of it
	}
	if q.RepositoryID != "" {
		h.Tie = h.Tie.Learnt(q.Repository, q.RepositoryID)
	}
	if r == nil {
		s.add(ask, now)
		r = s.jobs[id]
	}
	if _, err := s.apply(r, e, now); err != nil || was.State != wire.StateQueued {
		return err
	}
	for _, other := range s.queue {
		if o := s.jobs[other]; other != id && o.HostID == host && o.ask.PolicyID == q.PolicyID && o.Kind == q.Kind && o.State == wire.StateQueued {
			if _, err := s.apply(o, job.Coalesce{Into: id}, now); err != nil {
				return err
			}
			s.audit("job.coalesce", "job:"+other)
		}
	}
	return nil
}

// Resume is fleet's; of the log it knows nothing.
func (s *Store) Resume(host, id string, q wire.ResumeRequest) (wire.ResumeReply, error) {
	r, ok := s.of(host, id)
	if !ok {
		return wire.ResumeReply{}, errLeaseLost
	}
	if _, err := s.apply(r, job.Resume{Old: q.OldLease, New: q.NewLease}, s.now()); err != nil {
		return wire.ResumeReply{}, err
	}
	return wire.ResumeReply{
		State: r.State, Cancel: r.Canceling(), Kind: r.Kind, Spec: raw(r.ask.Spec), TimeLimitSeconds: int64(r.ask.TimeLimit.Seconds()),
		Repository: wire.RepositoryRef{Name: r.RepositoryName, ID: r.RepositoryID},
	}, nil
}

// Append reports whether log lines of that lease are taken, as fleet's AppendLog does before it looks at
// them; they are a sign of life of the job.
func (s *Store) Append(host, id, lease string) (wire.LogReply, error) {
	r, ok := s.of(host, id)
	if !ok {
		return wire.LogReply{}, errLeaseLost
	}
	if err := job.MayAppend(r.Job, lease); err != nil {
		return wire.LogReply{}, err
	}
	s.pulse.renew(wire.JobRef{ID: id, Lease: lease}, s.now())
	return wire.LogReply{Cancel: r.Canceling()}, nil
}

// Progress is fleet's: kept in memory, written by Flush.
func (s *Store) Progress(host, id, lease string, p wire.Progress) (wire.ProgressReply, error) {
	r, ok := s.of(host, id)
	if !ok {
		return wire.ProgressReply{}, errLeaseLost
	}
	if _, _, err := job.Apply(r.Job, job.Progress{Lease: lease}, r.HeardAt); err != nil {
		return wire.ProgressReply{}, err
	}
	s.pulse.renew(wire.JobRef{ID: id, Lease: lease}, s.now())
	if r.State == wire.StateRunning {
		s.pulse.report(r.Job, p, s.now())
	}
	return wire.ProgressReply{Cancel: r.Canceling()}, nil
}

// Finish is fleet's, for a result whose fields are whole; body is its bytes. A listing that rides on it is
// passed over.
func (s *Store) Finish(host, id, lease string, body []byte, q wire.FinishRequest) (wire.FinishReply, error) {
	r, ok := s.of(host, id)
	if !ok {
		return wire.FinishReply{}, errLeaseLost
	}
	sum := sha256.Sum256(body)
	e := job.Finish{Lease: lease, SHA256: hex.EncodeToString(sum[:]), State: q.State}
	if q.Error != nil {
		e.Error = *q.Error
	}
	fx, err := s.apply(r, e, s.now())
	if err != nil {
		return wire.FinishReply{}, err
	}
	if fx.Ended {
		if p, ok := s.pulse.progress[id]; ok && p.lease == lease {
			r.ProgressLease, r.ProgressSeq = p.lease, p.seq
		}
		delete(s.pulse.progress, id)
		if h := s.hosts[host]; r.State.Success() && r.Kind == wire.KindInit && q.Summary != nil && q.Summary.RepositoryID != "" {
			h.Tie = h.Tie.Initialised(r.RepositoryName, q.Summary.RepositoryID)
		}
	}
	return wire.FinishReply{Late: fx.KeepReport}, nil
}
