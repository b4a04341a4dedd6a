package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"gorm.io/gorm"

	"restic-manager/server/database"
	"restic-manager/server/fleet/boot"
	"restic-manager/server/fleet/job"
	"restic-manager/shared/wire"
)

// answer is what one look found.
type answer struct {
	mark   string
	newest bool
	offer  *wire.Offer
	cancel []string
	drop   []wire.JobRef
	// unsettled: the next look may find more though nothing is told: a disconnected job that polls do not
	// name, a queued one that waited long enough behind another, an ended one whose time to resume is over.
	unsettled bool
	schedule  schedulePlace
}

type pollingHost struct {
	Boots        bootRow `gorm:"embedded"`
	Revoked      bool
	RepositoryID string
	ServerHeld   bool
	Schedule     schedulePlace `gorm:"embedded"`
	Clock        *time.Time
}

// tie is what is known of the host's own repository.
func (h pollingHost) tie() job.Tie { return job.Tie{ID: h.RepositoryID, ServerHeld: h.ServerHeld} }

// schedulePlace is which schedule the host is to have, and which one its agent is known to have.
type schedulePlace struct {
	KeepsSchedule   bool
	ScheduleVersion int64
	ScheduleKnown   int64
}

// maxQueueLooked is about how many of a host's jobs one look considers.
const maxQueueLooked = 100

// answer reads what a poll is to be told, and writes what the poll proves: a probe, an alarm, a wait, a lost
// folder. In the usual case it writes nothing.
func (s *Store) answer(ctx context.Context, hostID string, q wire.PollQuery) (answer, error) {
	db := s.db.Read(ctx)
	host, err := s.readPolling(db, hostID)
	if err != nil {
		return answer{}, err
	}
	now := s.db.Selected(host.Clock)
	if host.Revoked {
		return answer{}, errUnauthorized // also for a poll that waits since before
	}
	known := boot.Reply{Mark: host.Boots.BootMark, Newest: true}
	alarm := host.Boots.CloneAlarmAt != nil
	if q.Boot == "" || q.Boot != host.Boots.BootID {
		if known, alarm, err = s.olderPoll(ctx, hostID, q); err != nil {
			return answer{}, err
		}
	}
	v, specs, err := s.view(db, hostID, host, q, now)
	if err != nil {
		return answer{}, err
	}
	v.Newest, v.Closed = known.Newest, alarm
	d := job.Answer(v, now)
	a := answer{mark: known.Mark, newest: known.Newest, cancel: d.Cancel, drop: d.Drop, unsettled: unsettled(v), schedule: host.Schedule}
	if d.Offer != nil {
		a.offer = &wire.Offer{
			JobID: d.Offer.ID, Delivery: d.Offer.Delivery, Kind: d.Offer.Kind, Spec: json.RawMessage(specs[d.Offer.ID].Spec),
			TimeLimitSeconds: specs[d.Offer.ID].TimeLimitSeconds, QueuedAt: d.Offer.QueuedAt,
		}
		if policy := specs[d.Offer.ID].PolicyID; policy != nil {
			a.offer.PolicyID = *policy
		}
		a.offer.Repository.Name, a.offer.Repository.ID = d.Offer.Uses(host.tie())
	}
	return a, s.note(ctx, hostID, q, d)
}

func unsettled(v job.View) bool {
	return len(v.Disconnected)+len(v.Queue) > 0 ||
		slices.ContainsFunc(v.Query.Jobs, func(ref wire.JobRef) bool { return v.Jobs[ref.ID].State.Terminal() })
}

func (s *Store) readPolling(db *gorm.DB, hostID string) (pollingHost, error) {
	var rows []pollingHost
	err := db.Raw("SELECT "+bootColumns+`, hosts.revoked_at IS NOT NULL AS revoked, coalesce(hosts.repository_id, '') AS repository_id,
		EXISTS (SELECT 1 FROM host_repositories r WHERE r.host_id = hosts.id) AS server_held,
		`+KeepsSchedule+` AS keeps_schedule, hosts.schedule_version, hosts.schedule_known, `+s.db.ClockColumn()+` AS clock
		FROM hosts WHERE id = ?`, hostID).Scan(&rows).Error
	if err != nil {
		return pollingHost{}, fmt.Errorf("read host %s: %w", hostID, err)
	}
	if len(rows) == 0 {
		return pollingHost{}, errUnauthorized // deleted while it waited
	}
	return rows[0], nil
}

// olderPoll answers a process that is not the newest: it gets its probe, or raises the alarm, or has to say
// hello.
func (s *Store) olderPoll(ctx context.Context, hostID string, q wire.PollQuery) (reply boot.Reply, alarm bool, err error) {
	var refused error
	err = s.db.Write(ctx, func(tx *database.Tx) error {
		was, err := lockBoots(tx, hostID)
		if err != nil {
			return err
		}
		var h boot.Host
		h, reply, refused = was.Poll(q.Boot, q.Mark, newMark())
		alarm = h.Alarm
		return writeBoots(tx, hostID, was, h)
	})
	if err != nil {
		return boot.Reply{}, false, fmt.Errorf("poll of an older process of host %s: %w", hostID, err)
	}
	return reply, alarm, refused
}

// view reads what the rules of polling look at, the host's closing apart.
func (s *Store) view(db *gorm.DB, hostID string, host pollingHost, q wire.PollQuery, now time.Time) (job.View, map[string]jobRow, error) {
	v := job.View{Query: q, Jobs: map[string]job.Job{}}
	open, err := readOpen(db, hostID)
	if err != nil {
		return v, nil, fmt.Errorf("read the open jobs of host %s: %w", hostID, err)
	}
	rows, busy := map[string]jobRow{}, map[wire.Lane]bool{}
	for _, row := range open {
		j := row.rules()
		rows[row.ID], v.Jobs[row.ID] = row, j
		busy[j.Lane()] = busy[j.Lane()] || j.Active()
		if j.State == wire.StateRunning && !j.DisconnectedSince.IsZero() {
			v.Disconnected = append(v.Disconnected, j)
		}
	}
	if err := readNamed(db, hostID, q.Jobs, v.Jobs); err != nil {
		return v, nil, err
	}
	facts := map[string]job.Repository{} // by key: the host's own, and those that its jobs are about
	for _, row := range open {
		j := v.Jobs[row.ID]
		if j.State != wire.StateQueued {
			continue
		}
		c := job.Candidate{Job: j, LaneFree: !busy[j.Lane()]}
		if j.Hold() != wire.HoldNone && c.LaneFree {
			key := j.Key(host.tie())
			read, ok := facts[key]
			if !ok {
				if read, err = readRepository(db, key); err != nil {
					return v, nil, err
				}
				facts[key] = read
			}
			c.Repository = read
		}
		v.Queue = append(v.Queue, c)
	}
	if len(v.Disconnected) > 0 {
		// The silence of others is judged in the transaction that writes; here it is only a hint.
		v.Amnesty, err = inAmnesty(db, now)
	}
	return v, rows, err
}

// readOpen reads a host's jobs that have not ended. Of a long queue it reads the first of each sort: those
// behind them wait for the same.
func readOpen(db *gorm.DB, hostID string) (open []jobRow, err error) {
	err = db.Raw("SELECT "+ruleColumns+`, jobs.spec, jobs.policy_id FROM jobs WHERE host_id = ? AND state IN ('queued', 'accepted', 'running')
		ORDER BY number LIMIT ?`, hostID, maxQueueLooked).Scan(&open).Error
	if err != nil || len(open) < maxQueueLooked {
		return open, err
	}
	open = nil
	err = db.Raw("SELECT "+ruleColumns+`, jobs.spec, jobs.policy_id FROM jobs WHERE host_id = ? AND (state IN ('accepted', 'running') OR number IN (
		SELECT number FROM (SELECT number, row_number() OVER (PARTITION BY lane, hold ORDER BY number) AS place
			FROM jobs WHERE host_id = ? AND state = 'queued') AS sorts WHERE place <= ?)) ORDER BY number`,
		hostID, hostID, maxQueueLooked/4).Scan(&open).Error
	return open, err
}

// readNamed adds the jobs of the host that the poll names and that are not there yet.
func readNamed(db *gorm.DB, hostID string, refs []wire.JobRef, jobs map[string]job.Job) error {
	var ids []string
	for _, ref := range refs {
		if _, ok := jobs[ref.ID]; !ok {
			ids = append(ids, ref.ID)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	var rows []jobRow
	if err := db.Raw("SELECT "+ruleColumns+" FROM jobs WHERE host_id = ? AND id IN ?", hostID, ids).Scan(&rows).Error; err != nil {
		return fmt.Errorf("read the jobs that host %s names: %w", hostID, err)
	}
	for _, row := range rows {
		jobs[row.ID] = row.rules()
	}
	return nil
}

// readRepository reads what holds the key and what waits for it.
func readRepository(db *gorm.DB, key string) (job.Repository, error) {
	var held []struct {
		Exclusive bool
		Shared    bool
	}
	err := db.Raw(`SELECT EXISTS (SELECT 1 FROM jobs WHERE holding AND hold_key = @key AND hold = 'exclusive') AS exclusive,
		EXISTS (SELECT 1 FROM jobs WHERE holding AND hold_key = @key AND hold = 'shared') AS shared`, map[string]any{"key": key}).Scan(&held).Error
	if err != nil {
		return job.Repository{}, fmt.Errorf("read the holds on %s: %w", key, err)
	}
	r := job.Repository{ExclusiveHeld: held[0].Exclusive, SharedHeld: held[0].Shared}
	if !r.SharedHeld || r.ExclusiveHeld {
		return r, nil // nobody yields then
	}
	var rows []struct {
		Number       int64
		HostOnline   bool
		LaneFree     bool
		Alarm        bool
		WaitingSince *time.Time
	}
	err = db.Raw(queuedOn(key, `jobs.number, hosts.status = 'online' AS host_online, hosts.clone_alarm_at IS NOT NULL AS alarm, jobs.waiting_since,
		NOT EXISTS (SELECT 1 FROM jobs o WHERE o.host_id = jobs.host_id AND o.lane = jobs.lane AND o.state IN ('accepted', 'running')) AS lane_free`,
		"jobs.hold = 'exclusive'"), keyArg(key)).Scan(&rows).Error
	if err != nil {
		return r, fmt.Errorf("read who waits for %s: %w", key, err)
	}
	for _, w := range rows {
		r.Waiting = append(r.Waiting, job.Waiter{Number: w.Number, HostOnline: w.HostOnline, LaneFree: w.LaneFree, Alarm: w.Alarm, WaitingSince: at(w.WaitingSince)})
	}
	return r, nil
}

// note writes what a poll proves about jobs.
func (s *Store) note(ctx context.Context, hostID string, q wire.PollQuery, d job.Decision) error {
	for _, id := range d.Waits {
		if err := s.noteJob(ctx, hostID, id, job.Waiting{}); err != nil {
			return err
		}
	}
	for _, id := range d.Unnamed {
		if err := s.noteJob(ctx, hostID, id, job.UnnamedPoll{Boot: q.Boot, Seq: q.Seq}); err != nil {
			return err
		}
	}
	return nil
}

// noteJob applies an event that only matters while its job is still what the poll saw.
func (s *Store) noteJob(ctx context.Context, hostID, id string, e job.Event) error {
	var c change
	err := s.db.Write(ctx, func(tx *database.Tx) error {
		if _, judges := e.(job.UnnamedPoll); judges && tx.Postgres() { // it may end the job
			if err := tx.Exec("SELECT id FROM hosts WHERE id = ?"+forUpdate(tx), hostID).Error; err != nil {
				return err
			}
		}
		row, ok, err := lockJob(tx, id)
		if err != nil || !ok {
			return err
		}
		if _, judges := e.(job.UnnamedPoll); judges {
			if forgiven, err := inAmnesty(tx.DB, tx.Now); err != nil || forgiven {
				return err
			}
		}
		c, err = s.apply(tx, row, e)
		return err
	})
	if err != nil {
		return fmt.Errorf("note %T on job %s: %w", e, id, err)
	}
	if c.fx.Ended {
		s.figures.ended(c.job)
	}
	return nil
}
