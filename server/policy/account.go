package policy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"gorm.io/gorm/clause"

	"restic-manager/server/database"
	"restic-manager/server/fault"
	"restic-manager/server/fleet"
	"restic-manager/shared/wire"
)

const (
	// aheadAllowed is how far an agent's due time may lie ahead of the server's clock.
	aheadAllowed = 2 * time.Minute
	// accountedAtOnce bounds the due times of one assignment that one transaction accounts for.
	accountedAtOnce = 1000
	// jobTTLLeast is the shortest time that a job may wait in the queue.
	jobTTLLeast = time.Minute
)

// scheduler is who orders the jobs of due times.
var scheduler = database.Actor{Kind: "system", Name: "schedule"}

// open is an assignment under its lock, with what decides on its due times.
type open struct {
	Row     assignment `gorm:"embedded"`
	Name    string
	Version int64
	Enabled bool

	line    timeline
	written bool // a due time got its outcome
}

const openColumns = "a.*, p.name, p.version, p.enabled FROM assignments a JOIN policies p ON p.id = a.policy_id"

// runs reports whether the policy runs at the host.
func (o *open) runs() bool { return o.Enabled && o.Row.Problem == "" }

// lockOpen locks the assignments of a host to the policies. The host's row is locked first, as by everybody.
func (s *Store) lockOpen(tx *database.Tx, hostID string, policies []string) (map[string]*open, error) {
	var ids []string
	if err := tx.Raw("SELECT id FROM hosts WHERE id = ?"+forUpdate(tx), hostID).Scan(&ids).Error; err != nil {
		return nil, fmt.Errorf("lock host %s: %w", hostID, err)
	}
	of := ""
	if tx.Postgres() {
		of = " FOR NO KEY UPDATE OF a"
	}
	var rows []*open
	err := tx.Raw("SELECT "+openColumns+" WHERE a.host_id = ? AND a.policy_id IN ? ORDER BY a.policy_id"+of, hostID, policies).Scan(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("lock the assignments of host %s: %w", hostID, err)
	}
	all := make(map[string]*open, len(rows))
	for _, o := range rows {
		if o.line, err = s.readTimeline(tx.DB, o.Row.PolicyID, o.Version); err != nil {
			return nil, err
		}
		all[o.Row.PolicyID] = o
	}
	return all, nil
}

// RecordTicks accounts for due times as a host's agent tells them, and has those run that it asks for. A due time keeps
// the first outcome it got. One that is none of the policy's is refused, and with it all of the request.
func (s *Store) RecordTicks(ctx context.Context, hostID string, r wire.TicksRequest) (wire.TicksReply, error) {
	if err := checkTicks(r.Ticks); err != nil {
		return wire.TicksReply{}, err
	}
	reply := wire.TicksReply{Ticks: []wire.TickAnswer{}}
	if len(r.Ticks) == 0 {
		return reply, nil
	}
	err := s.db.Write(ctx, func(tx *database.Tx) (err error) {
		reply.Ticks, err = s.recordTicks(tx, hostID, r.Ticks)
		return err
	})
	if err != nil {
		return wire.TicksReply{}, fmt.Errorf("record due times of host %s: %w", hostID, err)
	}
	return reply, nil
}

func checkTicks(ticks []wire.Tick) error {
	if len(ticks) > wire.MaxTicks {
		return fault.Invalidf("ticks: at most %d", wire.MaxTicks)
	}
	for i, t := range ticks {
		switch {
		case !wire.IsUUID(t.PolicyID):
			return fault.Invalidf("ticks[%d].policy_id: give a policy's id", i)
		case !slices.Contains([]wire.Outcome{"", wire.OutcomeCoalesced, wire.OutcomeMissed, wire.OutcomeSkipped}, t.Outcome):
			return fault.Invalidf("ticks[%d].outcome: leave it out to ask for the run, or give missed, skipped or coalesced; a job that was begun is adopted", i)
		case t.DueAt.Nanosecond() != 0 || t.DueAt.Year() < 2000 || t.DueAt.Year() > 9999:
			return notDue(i)
		}
	}
	return nil
}

func notDue(i int) error {
	return fault.New(fault.Invalid, "not_due", "ticks[%d].due_at: the policy is not due then", i)
}

func (s *Store) recordTicks(tx *database.Tx, hostID string, ticks []wire.Tick) ([]wire.TickAnswer, error) {
	var policies []string
	for _, t := range ticks {
		policies = append(policies, t.PolicyID)
	}
	policies = sortedSet(policies)
	all, err := s.lockOpen(tx, hostID, policies)
	if err != nil {
		return nil, err
	}
	known, err := knownTicks(tx, hostID, policies, ticks)
	if err != nil {
		return nil, err
	}
	answers := make([]wire.TickAnswer, len(ticks))
	for i, t := range ticks {
		due := t.DueAt.UTC()
		at := tickKey{t.PolicyID, due.Unix()}
		row, ok := known[at]
		if !ok {
			o := all[t.PolicyID]
			if o == nil || !o.runs() || !due.After(o.Row.AccountedUntil) {
				answers[i].Unassigned = true
				continue
			}
			if due.After(tx.Now.Add(aheadAllowed)) || !o.line.isDue(hostID, due) {
				return nil, notDue(i)
			}
			row = tickRow{PolicyID: t.PolicyID, HostID: hostID, DueAt: due, Outcome: t.Outcome, Why: cleanWhy(t.Why), RecordedAt: tx.Now}
			if t.Outcome == "" {
				var opens time.Time
				if row, opens, err = s.run(tx, o, due); err != nil {
					return nil, err
				}
				if !opens.IsZero() {
					answers[i].Later = true
					continue
				}
			}
			if err := writeTicks(tx, row); err != nil {
				return nil, err
			}
			known[at], o.written = row, true
		}
		answers[i].Outcome = row.Outcome
		if row.JobID != nil {
			answers[i].JobID = *row.JobID
		}
	}
	for _, id := range policies {
		if o := all[id]; o != nil && o.written {
			if err := o.advance(tx); err != nil {
				return nil, err
			}
		}
	}
	return answers, nil
}

// tickKey names a due time of a policy at one host.
type tickKey struct {
	policy string
	due    int64
}

// knownTicks are those that have their outcome.
func knownTicks(tx *database.Tx, hostID string, policies []string, ticks []wire.Tick) (map[tickKey]tickRow, error) {
	from, to := ticks[0].DueAt, ticks[0].DueAt
	for _, t := range ticks {
		if t.DueAt.Before(from) {
			from = t.DueAt
		}
		if t.DueAt.After(to) {
			to = t.DueAt
		}
	}
	var rows []tickRow
	err := tx.Raw("SELECT * FROM ticks WHERE host_id = ? AND due_at >= ? AND due_at <= ? AND policy_id IN ?", hostID, from.UTC(), to.UTC(), policies).Scan(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("read ticks: %w", err)
	}
	known := make(map[tickKey]tickRow, len(rows))
	for _, r := range rows {
		known[tickKey{r.PolicyID, r.DueAt.Unix()}] = r
	}
	return known, nil
}

func writeTicks(tx *database.Tx, rows ...tickRow) error {
	for rows := range slices.Chunk(rows, batch) {
		// The lock on the assignment keeps others out; what is there was there first.
		if err := tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&rows).Error; err != nil {
			return fmt.Errorf("write ticks: %w", err)
		}
	}
	if len(rows) > 0 {
		tx.Notify(database.TopicTicks)
	}
	return nil
}

// cleanWhy makes one line of what an agent says.
func cleanWhy(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return utf8.RuneError
		}
		return r
	}, s)
	for len(s) > wire.MaxWhy {
		_, size := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-size]
	}
	return s
}

// run has the job of a due time queued, or finds the one that stands for it. It is all there is to a due time that
// comes, whoever noticed: the agent or the server. A time says when it may begin: nothing is kept of it until then.
func (s *Store) run(tx *database.Tx, o *open, due time.Time) (row tickRow, opens time.Time, err error) {
	spec := o.line.current().spec
	row = tickRow{PolicyID: o.Row.PolicyID, HostID: o.Row.HostID, DueAt: due, RecordedAt: tx.Now}
	ttl := wire.QueueTTL
	if late := time.Duration(spec.Schedule.LateSeconds) * time.Second; late > 0 {
		if ttl = due.Add(late).Sub(tx.Now); ttl < 0 {
			row.Outcome, row.Why = wire.OutcomeSkipped, fmt.Sprintf("it could not begin within %s after it was due", inWords(late))
			return row, opens, nil
		}
	}
	id := wire.TickJobID(row.PolicyID, row.HostID, due)
	var there []string
	if err := tx.Raw("SELECT id FROM jobs WHERE id = ?", id).Scan(&there).Error; err != nil {
		return row, opens, fmt.Errorf("look for job %s: %w", id, err)
	}
	if len(there) > 0 {
		row.Outcome, row.JobID = wire.OutcomeRun, &id
		return row, opens, nil
	}
	if len(spec.Schedule.Windows) > 0 && o.line.current().times != nil {
		may, room, at := inWindow(o.line.current().at(row.PolicyID, row.HostID), due, tx.Now)
		switch {
		case !may && at.IsZero():
			row.Outcome, row.Why = wire.OutcomeSkipped, outsideWindows
			return row, opens, nil
		case !may:
			return row, at, nil
		case room > 0:
			ttl = min(ttl, room)
		}
	}
	got, created, err := s.fleet.Order(tx, scheduler, fleet.NewJob{HostID: row.HostID, Kind: wire.KindBackup, Spec: &spec.Backup,
		TimeLimit: spec.timeLimit(), TTL: max(ttl, jobTTLLeast), PolicyID: row.PolicyID, ID: id, DueAt: due})
	if f := fault.As(err); f != nil && f.Kind == fault.Conflict { // the agent there cannot do it
		row.Outcome, row.Why = wire.OutcomeMissed, cleanWhy(f.Message)
		return row, opens, nil
	}
	if err != nil {
		return row, opens, err
	}
	row.Outcome, row.JobID = wire.OutcomeRun, &got
	if !created {
		row.Outcome = wire.OutcomeCoalesced
	}
	return row, opens, nil
}

// advance moves the assignment past all due times that have their outcome, without a gap.
func (o *open) advance(tx *database.Tx) error {
	var dues []time.Time
	err := tx.Raw("SELECT due_at FROM ticks WHERE policy_id = ? AND host_id = ? AND due_at > ? ORDER BY due_at LIMIT ?",
		o.Row.PolicyID, o.Row.HostID, o.Row.AccountedUntil, accountedAtOnce).Scan(&dues).Error
	if err != nil {
		return fmt.Errorf("read what is accounted for: %w", err)
	}
	until := o.Row.AccountedUntil.UTC()
	next, ok := o.line.next(o.Row.HostID, until)
	for _, due := range dues {
		if !ok || next.Before(due) {
			break
		}
		if next.Equal(due) {
			until = next
			next, ok = o.line.next(o.Row.HostID, until)
		}
	}
	return o.move(tx, until, next, ok)
}

// move writes how far the assignment is accounted for.
func (o *open) move(tx *database.Tx, until, next time.Time, ok bool) error {
	o.Row.AccountedUntil, o.Row.NextDueAt = until, nil
	if ok && o.runs() {
		o.Row.NextDueAt = &next
	}
	err := tx.Exec("UPDATE assignments SET accounted_until = ?, next_due_at = ? WHERE policy_id = ? AND host_id = ?",
		o.Row.AccountedUntil, o.Row.NextDueAt, o.Row.PolicyID, o.Row.HostID).Error
	if err != nil {
		return fmt.Errorf("write how far policy %s is accounted for at host %s: %w", o.Row.PolicyID, o.Row.HostID, err)
	}
	return nil
}

// inWords is a length of time for people.
func inWords(d time.Duration) string {
	n, unit := int64(d/time.Second), "second"
	switch {
	case d%(24*time.Hour) == 0:
		n, unit = int64(d/(24*time.Hour)), "day"
	case d%time.Hour == 0:
		n, unit = int64(d/time.Hour), "hour"
	case d%time.Minute == 0:
		n, unit = int64(d/time.Minute), "minute"
	}
	if n != 1 {
		unit += "s"
	}
	return fmt.Sprintf("%d %s", n, unit)
}

// lastAdopted is how long ago a due time may be that an agent began by itself: what was silent longer is lost.
const lastAdopted = 30 * 24 * time.Hour

// adopted writes down that a due time's job was begun by the host's agent, in the transaction that takes the job and has
// the host locked. A due time that has an outcome keeps it: the job ran all the same. The error refuses the job.
func (s *Store) adopted(tx *database.Tx, hostID string, r wire.AdoptRequest) error {
	refused := fault.New(fault.Conflict, wire.ProblemJobGone, "this policy has never been due at this host then; the job stays on its own")
	due := r.DueAt.UTC()
	if due.After(tx.Now.Add(aheadAllowed)) || due.Before(tx.Now.Add(-lastAdopted)) {
		return refused
	}
	all, err := s.lockOpen(tx, hostID, []string{r.PolicyID})
	if err != nil {
		return err
	}
	o := all[r.PolicyID]
	if err := s.wasDue(tx, o, hostID, r.PolicyID, due); err != nil {
		if errors.Is(err, errNeverDue) {
			return refused
		}
		return err
	}
	id := wire.TickJobID(r.PolicyID, hostID, due)
	if err := writeTicks(tx, tickRow{PolicyID: r.PolicyID, HostID: hostID, DueAt: due, Outcome: wire.OutcomeRun, JobID: &id, RecordedAt: tx.Now}); err != nil {
		return err
	}
	if o == nil || !o.runs() {
		return nil
	}
	return o.advance(tx)
}

var errNeverDue = errors.New("never due")

// wasDue makes sure that the policy was due then at the host: by its versions, or, when it is gone, as far as the audit
// trail knows of it.
func (s *Store) wasDue(tx *database.Tx, o *open, hostID, policyID string, due time.Time) error {
	if o != nil {
		if !o.line.isDue(hostID, due) {
			return errNeverDue
		}
		return nil
	}
	var versions []int64
	if err := tx.Raw("SELECT version FROM policies WHERE id = ?", policyID).Scan(&versions).Error; err != nil {
		return fmt.Errorf("look for policy %s: %w", policyID, err)
	}
	if len(versions) > 0 { // it does not apply to the host any more
		line, err := s.readTimeline(tx.DB, policyID, versions[0])
		if err == nil && !line.isDue(hostID, due) {
			err = errNeverDue
		}
		return err
	}
	var deleted []time.Time
	err := tx.Raw("SELECT at FROM audit WHERE target = ? AND action = 'policy.delete' ORDER BY at DESC LIMIT 1", "policy:"+policyID).Scan(&deleted).Error
	if err != nil {
		return fmt.Errorf("look for policy %s: %w", policyID, err)
	}
	if len(deleted) == 0 {
		return errNeverDue
	}
	return nil
}
