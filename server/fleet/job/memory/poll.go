package memory

import (
	"time"

	"restic-manager/server/fleet/job"
	"restic-manager/shared/wire"
)

// Poll is fleet's without waiting. All that is to be canceled and dropped is told each time; fleet tells it
// again only after a while.
func (s *Store) Poll(host string, q wire.PollQuery) (wire.PollReply, error) {
	s.Seen(host)
	now := s.now()
	for _, ref := range q.Jobs {
		s.pulse.renew(ref, now)
	}
	return s.Look(host, q)
}

// Look answers a poll that waits already: unlike Poll it is no sign of life.
func (s *Store) Look(host string, q wire.PollQuery) (wire.PollReply, error) {
	now := s.now()
	for {
		reply, ended, err := s.look(host, q, now)
		if err != nil || !ended || !reply.IsEmpty() {
			return reply, err
		}
	}
}

// look answers once; ended: the poll proved a job's end, so that there may be more to tell.
func (s *Store) look(host string, q wire.PollQuery, now time.Time) (reply wire.PollReply, ended bool, err error) {
	h := s.hosts[host]
	if h == nil || !h.RevokedAt.IsZero() {
		return reply, false, errRevoked
	}
	boots, known, err := h.Boots.Poll(q.Boot, q.Mark, s.random())
	if err != nil {
		return reply, false, err
	}
	if boots.Alarm && !h.Boots.Alarm {
		s.audit("host.clone_alarm", "host:"+host)
	}
	h.Boots = boots
	v := s.view(h, q, now)
	v.Newest, v.Closed = known.Newest, boots.Alarm
	d := job.Answer(v, now)
	reply = wire.PollReply{Mark: known.Mark, Cancel: d.Cancel, Drop: d.Drop}
	if d.Offer != nil {
		ask := s.jobs[d.Offer.ID].ask
		reply.Offer = &wire.Offer{
			JobID: d.Offer.ID, Delivery: d.Offer.Delivery, Kind: d.Offer.Kind, Spec: raw(ask.Spec),
			Repository:       reference(*d.Offer, h.Tie),
			TimeLimitSeconds: int64(ask.TimeLimit.Seconds()), QueuedAt: d.Offer.QueuedAt, PolicyID: ask.PolicyID,
		}
	}
	for _, id := range d.Waits {
		s.apply(s.jobs[id], job.Waiting{}, now)
	}
	for _, id := range d.Unnamed {
		fx, _ := s.apply(s.jobs[id], job.UnnamedPoll{Boot: q.Boot, Seq: q.Seq}, now)
		ended = ended || fx.Ended
	}
	return reply, ended, nil
}

func reference(j job.Job, own job.Tie) wire.RepositoryRef {
	name, id := j.Uses(own)
	return wire.RepositoryRef{Name: name, ID: id}
}

// view is what the rules of polling look at.
func (s *Store) view(h *Host, q wire.PollQuery, now time.Time) job.View {
	v := job.View{Query: q, Amnesty: s.Vigil.Forgives(now), Jobs: s.named(h.ID, q.Jobs...)}
	for _, id := range s.queue {
		j := s.jobs[id].Job
		switch {
		case j.HostID != h.ID:
		case j.State == wire.StateQueued:
			v.Queue = append(v.Queue, job.Candidate{
				Job: j, LaneFree: !s.laneBusy(h.ID, j.Lane()), Repository: s.repository(j.Key(h.Tie)),
			})
		case j.State == wire.StateRunning && !j.DisconnectedSince.IsZero():
			v.Disconnected = append(v.Disconnected, j)
		}
	}
	return v
}

// repository is what holds the key and what waits for it.
func (s *Store) repository(key string) job.Repository {
	var r job.Repository
	for _, id := range s.queue {
		j := s.jobs[id].Job
		h := s.hosts[j.HostID]
		switch {
		case j.Holding && j.HoldKey == key:
			r.ExclusiveHeld = r.ExclusiveHeld || j.Hold() == wire.HoldExclusive
			r.SharedHeld = r.SharedHeld || j.Hold() == wire.HoldShared
		case j.State == wire.StateQueued && j.Hold() == wire.HoldExclusive && j.Key(h.Tie) == key:
			r.Waiting = append(r.Waiting, job.Waiter{
				Number: j.Number, HostOnline: h.Status() == "online", LaneFree: !s.laneBusy(h.ID, j.Lane()),
				Alarm: h.Boots.Alarm, WaitingSince: j.WaitingSince,
			})
		}
	}
	return r
}
