package fleet

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"gorm.io/gorm"

	"restic-manager/server/database"
	"restic-manager/server/fleet/job"
	"restic-manager/shared/wire"
)

// Waiting says what a queued job waits for, and which job or host that is.
type Waiting struct {
	Reason   string     `json:"reason" enum:"host_offline,clone_alarm,host_busy,repository_busy,turn,delivery" doc:"host_busy: another job of the same lane runs on the host; repository_busy: another job holds the repository; turn: others are before it; delivery: nothing is in the way, the agent fetches it with its next call"`
	JobID    string     `json:"job_id,omitempty"`
	HostID   string     `json:"host_id,omitempty"`
	HostName string     `json:"host_name,omitempty"`
	Kind     wire.Kind  `json:"kind,omitempty"`
	Since    *time.Time `json:"since,omitempty"`
}

// The reasons.
const (
	waitsForHost       = "host_offline"
	waitsForAlarm      = "clone_alarm"
	waitsForLane       = "host_busy"
	waitsForRepository = "repository_busy"
	waitsForTurn       = "turn"
	waitsForDelivery   = "delivery"
)

// blocker is the job that another one waits for; it stands in the way since the last of its times.
type blocker struct {
	ID         string
	HostID     string
	HostName   string
	Kind       wire.Kind
	QueuedAt   *time.Time
	AcceptedAt *time.Time
	StartedAt  *time.Time
}

func (b blocker) waiting(reason string) *Waiting {
	return &Waiting{Reason: reason, JobID: b.ID, HostID: b.HostID, HostName: b.HostName, Kind: b.Kind, Since: database.InUTC(cmp.Or(b.StartedAt, b.AcceptedAt, b.QueuedAt))}
}

const selectBlockers = `SELECT jobs.id, jobs.host_id, hosts.name AS host_name, jobs.kind, jobs.queued_at, jobs.accepted_at, jobs.started_at
	FROM jobs JOIN hosts ON hosts.id = jobs.host_id WHERE `

// WithWaiting adds to a queued job why it does not run yet, as the host's next poll would find it.
func (s *Store) WithWaiting(ctx context.Context, j Job) (Job, error) {
	if j.State != wire.StateQueued {
		return j, nil
	}
	var err error
	if j.Waiting, err = s.waiting(ctx, j); err != nil {
		return j, fmt.Errorf("find what job %s waits for: %w", j.ID, err)
	}
	return j, nil
}

func (s *Store) waiting(ctx context.Context, j Job) (*Waiting, error) {
	db := s.db.Read(ctx)
	host, err := s.HostByID(ctx, j.HostID)
	if err != nil {
		return nil, err
	}
	switch {
	case host.CloneAlarm != nil:
		return &Waiting{Reason: waitsForAlarm, HostID: host.ID, HostName: host.Name, Since: &host.CloneAlarm.At}, nil
	case host.Status != "online":
		return &Waiting{Reason: waitsForHost, HostID: host.ID, HostName: host.Name, Since: host.LastSeenAt}, nil
	}
	polling, err := s.readPolling(db, j.HostID)
	if err != nil {
		return nil, err
	}
	now := s.db.Selected(polling.Clock)
	v, _, err := s.view(db, j.HostID, polling, wire.PollQuery{FreeLong: 1, FreeShort: 1}, now)
	if err != nil {
		return nil, err
	}
	v.Newest = true
	place := slices.IndexFunc(v.Queue, func(c job.Candidate) bool { return c.Job.ID == j.ID })
	if place < 0 { // far back in a long queue, or fetched meanwhile
		return &Waiting{Reason: waitsForTurn}, nil
	}
	return s.blocked(db, v, v.Queue[place], polling, now)
}

// blocked asks the rules what keeps the job of a view from being offered.
func (s *Store) blocked(db *gorm.DB, v job.View, own job.Candidate, host pollingHost, now time.Time) (*Waiting, error) {
	j, lane := own.Job, own.Job.Lane()
	if !own.LaneFree {
		return s.blockedBy(db, waitsForLane, "jobs.host_id = @host AND jobs.lane = @lane AND jobs.state IN ('accepted', 'running')",
			map[string]any{"host": j.HostID, "lane": string(lane)})
	}
	key := j.Key(host.tie())
	if own.Repository.Held(j.Hold()) {
		return s.blockedBy(db, waitsForRepository, `jobs.holding AND jobs.hold_key = @key AND jobs.hold <> 'none' AND (jobs.hold = 'exclusive' OR @hold = 'exclusive')`,
			map[string]any{"key": key, "hold": string(j.Hold())})
	}
	v.Queue = slices.DeleteFunc(slices.Clone(v.Queue), func(c job.Candidate) bool { return c.Job.Lane() != lane })
	switch next := job.Answer(v, now).Offer; {
	case next != nil && next.ID == j.ID:
		return &Waiting{Reason: waitsForDelivery}, nil
	case next != nil && next.Number < j.Number:
		return s.blockedBy(db, waitsForTurn, "jobs.id = @id", map[string]any{"id": next.ID})
	}
	if first, ok := own.Repository.Before(j, now); ok {
		return s.blockedBy(db, waitsForTurn, "jobs.number = @number", map[string]any{"number": first.Number})
	}
	return &Waiting{Reason: waitsForTurn}, nil
}

// blockedBy names the job that meets the condition: the oldest of several.
func (s *Store) blockedBy(db *gorm.DB, reason, condition string, args map[string]any) (*Waiting, error) {
	var rows []blocker
	if err := db.Raw(selectBlockers+condition+" ORDER BY jobs.number LIMIT 1", args).Scan(&rows).Error; err != nil {
		return nil, err
	}
	if len(rows) == 0 { // it ended meanwhile
		return &Waiting{Reason: waitsForDelivery}, nil
	}
	return rows[0].waiting(reason), nil
}
