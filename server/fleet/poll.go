package fleet

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"restic-manager/server/database"
	"restic-manager/server/fault"
	"restic-manager/shared/failpoint"
	"restic-manager/shared/wire"
)

// maxHold is the longest a poll is held, whatever it asks: proxies cut at 60 s.
const maxHold = 55 * time.Second

// Poll answers with what there is for the host, else waits for it as long as asked and answers with the mark
// alone. While it waits it holds no database connection. It ends early when the server stops, when a newer
// poll of the host comes and when the host is revoked. Errors are unauthorized (401), hello_required (409) and
// unavailable (503).
func (s *Store) Poll(ctx context.Context, hostID string, q wire.PollQuery) (wire.PollReply, error) {
	p, err := s.beginPoll(hostID, q)
	if err != nil {
		return wire.PollReply{}, err
	}
	defer p.end()
	for first := true; ; first = false {
		if done, err := p.look(ctx, first); done || err != nil {
			return p.reply, err
		}
		if err := failpoint.Hit("server.poll.held"); err != nil {
			return wire.PollReply{}, err
		}
		if p.park(ctx) {
			return p.reply, ctx.Err()
		}
	}
}

// polling is one poll under way. It is no local variable, and the frames in which it waits are few and small: a
// stack that has grown by a look at the database goes back to half its size only when three quarters of it are
// unused, and there are as many stacks as agents.
type polling struct {
	s      *Store
	hostID string
	q      wire.PollQuery
	asked  string // all of q that the answer depends on
	seat   *seat
	place  *waiting
	events <-chan string
	cancel func() // of events
	over   *time.Timer
	again  <-chan time.Time // when to look again though nothing is told; nil: never
	reply  wire.PollReply
}

func (s *Store) beginPoll(hostID string, q wire.PollQuery) (*polling, error) {
	s.Seen(hostID)
	now := s.db.Clock()
	for _, j := range q.Jobs {
		s.pulse.renewAt(j.ID, j.Lease, now)
	}
	select {
	case <-s.db.Hub.Closed():
		e := fault.New(fault.Unavailable, wire.ProblemUnavailable, "the server is stopping; ask again")
		e.RetryAfter = time.Second
		return nil, e
	default:
	}
	p := &polling{s: s, hostID: hostID, q: q, asked: question(q), seat: s.seats.take(hostID, now)}
	hold := min(q.Wait, maxHold)
	if s.settings.PollHold > 0 {
		hold = min(hold, s.settings.PollHold)
	}
	var late bool
	if p.place, late = p.seat.enter(q); late {
		hold = 0
	}
	p.over = time.NewTimer(hold)
	p.events, p.cancel = s.db.Hub.Subscribe(database.TopicWake(hostID)) // before the look: nothing is missed
	return p, nil
}

func (p *polling) end() {
	p.cancel()
	p.over.Stop()
	p.seat.leave(p.place)
}

// look fills the reply; done is true when it is to be sent now. The first time it asks nobody when it knows that
// there is nothing new.
func (p *polling) look(ctx context.Context, first bool) (done bool, err error) {
	if mark, ok := p.seat.nothingNew(p.asked); ok && first {
		p.reply.Mark = mark
		return false, nil
	}
	var newest bool
	var soon time.Time
	err = p.s.aside(ctx, func() (err error) {
		p.reply, newest, soon, err = p.s.look(ctx, p.hostID, p.q, p.seat, p.place, p.asked)
		return err
	})
	if err != nil {
		return false, err
	}
	if found := p.reply; !found.IsEmpty() || !newest && found.Mark != p.q.Mark { // a probe: only a living process can echo it
		return true, nil
	}
	p.again = nil
	if !soon.IsZero() {
		p.again = time.After(max(soon.Sub(p.s.db.Clock()), 0))
	}
	return false, nil
}

// park waits; end is true when the poll is over. What was told goes before the end: it may be of the look's
// own doing.
func (p *polling) park(ctx context.Context) (end bool) {
	select {
	case <-p.events:
		return false
	default:
	}
	p.s.seats.parked.Add(1)
	defer p.s.seats.parked.Add(-1)
	select {
	case <-p.events:
		return false
	case <-p.again:
		return false
	case <-p.over.C:
	case <-p.place.end:
	case <-p.s.db.Hub.Closed():
	case <-ctx.Done():
	}
	return true
}

// look asks the database. soon is when to look again though nothing is told; zero: never.
func (s *Store) look(ctx context.Context, hostID string, q wire.PollQuery, t *seat, w *waiting, asked string) (reply wire.PollReply, newest bool, soon time.Time, err error) {
	a, err := s.answer(ctx, hostID, q)
	if err != nil {
		return wire.PollReply{}, false, time.Time{}, err
	}
	reply = wire.PollReply{Mark: a.mark, Offer: a.offer}
	words := make([]string, 0, len(a.cancel)+len(a.drop))
	for _, id := range a.cancel {
		words = append(words, "cancel "+id)
	}
	for _, ref := range a.drop {
		words = append(words, "drop "+ref.ID+" "+ref.Lease)
	}
	now := s.db.Clock()
	urgent, soon := t.urgent(words, tellAgain, now)
	if urgent || a.offer != nil {
		reply.Cancel, reply.Drop = a.cancel, a.drop
	}
	var retell time.Time
	if reply.Configure, retell, err = s.configure(ctx, hostID, q, a, t, now); err != nil {
		return wire.PollReply{}, false, time.Time{}, err
	}
	if soon.IsZero() || !retell.IsZero() && retell.Before(soon) {
		soon = retell
	}
	if a.offer != nil && t.firstOffer(a.offer) {
		s.figures.offered(now.Sub(a.offer.QueuedAt))
	}
	// What is only not told again yet is no quiet: its answer may have been lost.
	quiet := reply.IsEmpty() && len(words) == 0 && retell.IsZero() && !a.unsettled
	t.looked(w, asked, a.mark, a.newest, quiet)
	return reply, a.newest, soon, nil
}

// configure is what the agent is to go by, when it has another configuration and was not told lately; soon is when it
// is to be told again, zero when it is told now or has it. What it has of the schedule is written down when it is news.
func (s *Store) configure(ctx context.Context, hostID string, q wire.PollQuery, a answer, t *seat, now time.Time) (c *wire.Configure, soon time.Time, err error) {
	version := s.configVersion()
	keeps := a.schedule.KeepsSchedule && s.hooks.Schedule != nil
	if keeps {
		if err := s.noteSchedule(ctx, hostID, q, a); err != nil {
			return nil, time.Time{}, err
		}
		version = fmt.Sprintf("%s.%d", version, a.schedule.ScheduleVersion)
	}
	if q.Config == version {
		return nil, time.Time{}, nil
	}
	yes, soon := t.urgent([]string{"config " + q.Boot + " " + version}, configureAgain, now)
	if !yes {
		return nil, soon, nil
	}
	c = &wire.Configure{Version: version, Settings: s.agentSettings()}
	if !keeps {
		return c, time.Time{}, nil
	}
	if c.Schedule, err = s.hooks.Schedule(ctx, hostID); err != nil {
		return nil, time.Time{}, err
	}
	// The look may be older than the schedule: the name is that of what is told.
	c.Version = fmt.Sprintf("%s.%d", s.configVersion(), c.Schedule.Version)
	if c.Schedule.Repository == wire.RepositoryServer && len(c.Schedule.Policies) > 0 {
		c.Schedule.Secrets, err = s.readSecrets(s.db.Read(ctx), hostID)
	}
	return c, time.Time{}, err
}

// noteSchedule writes down which schedule the agent has, as the newest process names it.
func (s *Store) noteSchedule(ctx context.Context, hostID string, q wire.PollQuery, a answer) error {
	_, text, ok := strings.Cut(q.Config, ".")
	known, err := strconv.ParseInt(text, 10, 64)
	if !ok || err != nil || !a.newest || known == a.schedule.ScheduleKnown || known < 0 || known > a.schedule.ScheduleVersion {
		return nil
	}
	err = s.db.Write(ctx, func(tx *database.Tx) error {
		tx.Notify(database.TopicHost(hostID))
		return tx.Exec("UPDATE hosts SET schedule_known = ? WHERE id = ? AND schedule_version >= ?", known, hostID, known).Error
	})
	if err != nil {
		return fmt.Errorf("note the schedule that host %s has: %w", hostID, err)
	}
	return nil
}

// configVersion names the settings that agents are told to go by.
func (s *Store) configVersion() string {
	raw, err := json.Marshal(s.agentSettings())
	if err != nil {
		panic(fmt.Sprintf("settings of agents: %v", err)) // numbers only
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:8])
}

// PollFloor looks once for all hosts that wait at this replica: the floor under wake-ups that were lost.
// Call it every 5 s.
func (s *Store) PollFloor(ctx context.Context) error {
	waiting := s.seats.waitingHosts(s.db.Clock())
	if len(waiting) == 0 {
		return nil
	}
	now, err := s.db.Now(ctx)
	if err != nil {
		return err
	}
	var hosts []string
	err = s.db.Read(ctx).Raw(`SELECT DISTINCT jobs.host_id FROM jobs JOIN hosts ON hosts.id = jobs.host_id
			WHERE jobs.state = 'queued' AND jobs.expires_at > @now AND hosts.clone_alarm_at IS NULL
			AND NOT EXISTS (SELECT 1 FROM jobs o WHERE o.host_id = jobs.host_id AND o.lane = jobs.lane AND o.state IN ('accepted', 'running'))
			AND (jobs.hold = 'none' OR NOT EXISTS (SELECT 1 FROM jobs o WHERE o.holding AND o.hold <> 'none'
				AND o.hold_key = `+keyOfJob+` AND (o.hold = 'exclusive' OR jobs.hold = 'exclusive')))
		UNION SELECT host_id FROM jobs WHERE state = 'running' AND (cancel_requested_at IS NOT NULL OR disconnected_since IS NOT NULL)
		UNION SELECT id FROM hosts WHERE hello_at > @lately OR revoked_at > @lately
			OR schedule_known < schedule_version AND `+KeepsSchedule,
		map[string]any{"now": now, "lately": now.Add(-15 * time.Second)}).Scan(&hosts).Error
	if err != nil {
		return fmt.Errorf("look for what waits: %w", err)
	}
	for _, id := range hosts {
		if _, ok := waiting[id]; ok {
			s.db.Hub.Publish(database.TopicWake(id))
		}
	}
	return nil
}
