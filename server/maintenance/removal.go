package maintenance

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"restic-manager/server/database"
	"restic-manager/server/fault"
	"restic-manager/server/retention"
	"restic-manager/shared/wire"
)

type removalRow struct {
	ID           string       `gorm:"column:id;primaryKey"`
	RepositoryID string       `gorm:"column:repository_id"`
	MadeAt       time.Time    `gorm:"column:made_at"`
	SnapshotIDs  string       `gorm:"column:snapshot_ids"`
	IDCount      int64        `gorm:"column:id_count"`
	Total        int64        `gorm:"column:total"`
	State        RemovalState `gorm:"column:state"`
	Why          string       `gorm:"column:why"`
	JobID        *string      `gorm:"column:job_id"`
	DecidedBy    string       `gorm:"column:decided_by"`
	DecidedAt    *time.Time   `gorm:"column:decided_at"`
}

// TableName is removals.
func (removalRow) TableName() string { return "removals" }

func (r removalRow) ids() (ids []string, err error) {
	if err := json.Unmarshal([]byte(r.SnapshotIDs), &ids); err != nil {
		return nil, fmt.Errorf("read removal %s: %w", r.ID, err)
	}
	return ids, nil
}

func (r *removalRow) setIDs(ids []string) error {
	raw, err := json.Marshal(ids)
	r.SnapshotIDs, r.IDCount = string(raw), int64(len(ids))
	return err
}

func (r removalRow) removal() (Removal, error) {
	ids, err := r.ids()
	o := Removal{ID: r.ID, RepositoryID: r.RepositoryID, MadeAt: r.MadeAt.UTC(), SnapshotIDs: ids[:min(len(ids), maxShownIDs)], IDCount: r.IDCount,
		Total: r.Total, State: r.State, Why: r.Why, JobID: r.JobID, DecidedBy: r.DecidedBy}
	if r.DecidedAt != nil {
		at := r.DecidedAt.UTC()
		o.DecidedAt = &at
	}
	return o, err
}

// write stores what became of a removal that is locked.
func (r removalRow) write(tx *database.Tx) error {
	err := tx.Model(&removalRow{}).Where("id = ?", r.ID).Select("snapshot_ids", "id_count", "state", "why", "job_id", "decided_by", "decided_at").Updates(&r).Error
	if err != nil {
		return fmt.Errorf("write removal %s: %w", r.ID, err)
	}
	tx.Notify(database.TopicRepositories)
	return nil
}

// mostAtOnce is how many snapshots one job removes: as many as a forget may name. The rest goes the next time.
const mostAtOnce = 5000

// forgotten is what a run of retention came to.
type forgotten struct {
	removal *removalRow // nil: none was made
	// nothing says why none was made, for people.
	nothing string
	frozen  string // it is frozen, or was just now
}

// forget has retention look at a repository whose maintenance is locked. What is to go is written down, and ordered
// where no person needs to say yes. asked tells that a person asks, who is then told what is in the way of the order.
func (s *Store) forget(tx *database.Tx, actor database.Actor, t target, asked bool) (f forgotten, err error) {
	if t.Frozen != "" {
		return forgotten{frozen: t.Frozen}, nil
	}
	var open []string
	if err := tx.Raw("SELECT id FROM removals WHERE repository_id = ? AND state IN ('waiting', 'ordered')", t.RepositoryID).Scan(&open).Error; err != nil {
		return f, fmt.Errorf("look for open removals of repository %s: %w", t.RepositoryID, err)
	}
	if len(open) > 0 {
		return forgotten{nothing: "another removal has not ended"}, nil
	}
	p, err := judge(tx.DB, t.RepositoryID, tx.Now)
	if err != nil {
		return f, err
	}
	switch {
	case p.Frozen != "":
		return forgotten{frozen: p.Frozen}, freeze(tx, t, p.Frozen)
	case p.Waits != "":
		return forgotten{nothing: "a report is awaited first: " + p.Waits}, nil
	case len(p.Remove) == 0:
		return forgotten{nothing: "its policies keep all that is there"}, looked(tx, t.RepositoryID)
	}
	f.removal, err = s.remove(tx, actor, t, p, asked)
	return f, err
}

// remove writes down what is to go.
func (s *Store) remove(tx *database.Tx, actor database.Actor, t target, p retention.Plan, asked bool) (*removalRow, error) {
	row := &removalRow{ID: database.NewIDAt(tx.Now), RepositoryID: t.RepositoryID, MadeAt: tx.Now, Total: int64(len(p.Verdicts)), State: Waiting}
	ids := p.Remove[:min(len(p.Remove), mostAtOnce)]
	if err := row.setIDs(ids); err != nil {
		return nil, err
	}
	if p.NeedsApproval {
		row.Why = fmt.Sprintf("%d of %d snapshots are more than may go without a person's yes", len(p.Remove), len(p.Verdicts))
	} else {
		id, err := s.order(tx, actor, t, &wire.ForgetSpec{SnapshotIDs: ids})
		switch why := fault.As(err); {
		case err == nil:
			row.State, row.JobID = Ordered, &id
		case why == nil || asked:
			return nil, err
		default: // nobody is there to be told: it stands in the list
			row.State, row.Why = Failed, why.Message
		}
	}
	if err := tx.Create(row).Error; err != nil {
		return nil, fmt.Errorf("write down a removal of repository %s: %w", t.RepositoryID, err)
	}
	tx.Notify(database.TopicRepositories)
	return row, tx.Audit(actor, "removal.create", "removal:"+row.ID, map[string]any{"repository": t.Name, "repository_id": t.RepositoryID,
		"snapshots": row.IDCount, "total": row.Total, "state": row.State})
}

// freeze stops all removals of a repository until a person has looked.
func freeze(tx *database.Tx, t target, why string) error {
	err := tx.Exec("UPDATE repository_maintenance SET frozen = ?, frozen_at = ? WHERE repository_id = ? AND frozen = ''", why, tx.Now, t.RepositoryID).Error
	if err != nil {
		return fmt.Errorf("freeze repository %s: %w", t.RepositoryID, err)
	}
	tx.Notify(database.TopicRepositories)
	return tx.Audit(database.System, "retention.freeze", "repository:"+t.SettingID, map[string]any{"repository": t.Name, "repository_id": t.RepositoryID, "why": why})
}

// looked notes that what policies do not keep is gone.
func looked(tx *database.Tx, repositoryID string) error {
	if err := tx.Exec("UPDATE repository_maintenance SET last_forget_at = ? WHERE repository_id = ?", tx.Now, repositoryID).Error; err != nil {
		return fmt.Errorf("note a removal of repository %s: %w", repositoryID, err)
	}
	tx.Notify(database.TopicRepositories)
	return nil
}

// lockRemoval reads a removal after its repository's maintenance is locked, so that nobody else has it in hand; ok is
// false when there is none, or its repository is not looked after any more.
func lockRemoval(tx *database.Tx, id string, pass bool) (r removalRow, t target, ok bool, err error) {
	if !wire.IsUUID(id) {
		return r, t, false, nil
	}
	var repositories []string
	if err := tx.Raw("SELECT repository_id FROM removals WHERE id = ?", id).Scan(&repositories).Error; err != nil {
		return r, t, false, fmt.Errorf("read removal %s: %w", id, err)
	}
	if len(repositories) == 0 {
		return r, t, false, nil
	}
	if t, ok, err = lockTarget(tx, repositories[0], pass); err != nil || !ok {
		return r, t, false, err
	}
	var rows []removalRow
	if err := tx.Raw("SELECT * FROM removals WHERE id = ?", id).Scan(&rows).Error; err != nil {
		return r, t, false, fmt.Errorf("read removal %s: %w", id, err)
	}
	if len(rows) == 0 {
		return r, t, false, nil
	}
	return rows[0], t, true, nil
}

// Approve orders a removal that waits for a person's yes: what of it may still go by now.
func (s *Store) Approve(ctx context.Context, actor database.Actor, id string) (Removal, error) {
	return s.decide(ctx, actor, id, "removal.approve", func(tx *database.Tx, r *removalRow, t target) error {
		if t.Frozen != "" {
			return errFrozen(t.Frozen)
		}
		p, err := judge(tx.DB, t.RepositoryID, tx.Now)
		if err != nil {
			return err
		}
		if p.Frozen != "" {
			return errFrozen(p.Frozen)
		}
		asked, err := r.ids()
		if err != nil {
			return err
		}
		ids := stillIn(asked, p.Remove)
		if len(ids) == 0 {
			why := "policies keep all of them by now, or they are gone"
			if p.Waits != "" {
				why = "a report is awaited first: " + p.Waits
			}
			return fault.New(fault.Conflict, "nothing_to_remove", "none of these snapshots may go now: %s. Refuse this removal, or try again later", why)
		}
		job, err := s.order(tx, actor, t, &wire.ForgetSpec{SnapshotIDs: ids})
		if err != nil {
			return err
		}
		r.State, r.Why, r.JobID = Ordered, "", &job
		return r.setIDs(ids)
	})
}

// stillIn are those of the ids that are in the other list too, in their order.
func stillIn(ids, other []string) (both []string) {
	in := make(map[string]bool, len(other))
	for _, id := range other {
		in[id] = true
	}
	for _, id := range ids {
		if in[id] {
			both = append(both, id)
		}
	}
	return both
}

// Refuse ends a removal that waits for a person's yes. Retention asks again the next time.
func (s *Store) Refuse(ctx context.Context, actor database.Actor, id string) (Removal, error) {
	return s.decide(ctx, actor, id, "removal.refuse", func(_ *database.Tx, r *removalRow, _ target) error {
		r.State, r.Why = Refused, ""
		return nil
	})
}

func (s *Store) decide(ctx context.Context, actor database.Actor, id, action string, do func(tx *database.Tx, r *removalRow, t target) error) (Removal, error) {
	var decided removalRow
	err := s.db.Write(ctx, func(tx *database.Tx) error {
		r, t, ok, err := lockRemoval(tx, id, false)
		if err != nil {
			return err
		}
		if !ok {
			return errNoRemoval
		}
		if r.State != Waiting {
			return fault.New(fault.Conflict, "removal_decided", "this removal waits for nobody any more: it is %s", r.State)
		}
		if err := do(tx, &r, t); err != nil {
			return err
		}
		r.DecidedBy, r.DecidedAt = actor.Name, &tx.Now
		if err := r.write(tx); err != nil {
			return err
		}
		decided = r
		return tx.Audit(actor, action, "removal:"+id, map[string]any{"repository": t.Name, "repository_id": r.RepositoryID, "snapshots": r.IDCount})
	})
	if err != nil {
		return Removal{}, fmt.Errorf("decide on removal %s: %w", id, err)
	}
	return decided.removal()
}

// How long a removal's job is followed by no list before one is asked for, and before it counts as failed.
const (
	listAfter = 15 * time.Minute
	failAfter = 24 * time.Hour
)

// ending is how the job of a removal ended.
type ending struct {
	State        wire.State
	ErrorMessage string
	EndedAt      *time.Time
	Listed       bool // the list that it made itself is in
}

// settle holds a removal whose job has ended against the list that came after it.
func (s *Store) settle(tx *database.Tx, id string) error {
	r, t, ok, err := lockRemoval(tx, id, true)
	if err != nil || !ok || r.State != Ordered {
		return err
	}
	var jobs []ending
	err = tx.Raw(`SELECT j.state, j.error_message, j.ended_at, EXISTS (SELECT 1 FROM listings l WHERE l.job_id = j.id AND l.committed_at IS NOT NULL) AS listed
		FROM jobs j WHERE j.id = ?`, r.JobID).Scan(&jobs).Error
	if err != nil {
		return fmt.Errorf("read the job of removal %s: %w", id, err)
	}
	if len(jobs) == 0 {
		return r.fail(tx, "its job is gone, with the machine that had it")
	}
	j := jobs[0]
	if j.EndedAt == nil {
		return nil
	}
	if j.State != wire.StateSucceeded && j.State != wire.StateSucceededWithIssues {
		why := fmt.Sprintf("its job ended as %s", j.State)
		if j.ErrorMessage != "" {
			why += ": " + j.ErrorMessage
		}
		return r.fail(tx, why)
	}
	if !j.Listed && (t.RefreshedAt == nil || !t.RefreshedAt.After(*j.EndedAt)) {
		return s.awaitList(tx, r, t, *j.EndedAt)
	}
	return r.compare(tx)
}

// awaitList asks for a list where the job's own does not come.
func (s *Store) awaitList(tx *database.Tx, r removalRow, t target, ended time.Time) error {
	since := tx.Now.Sub(ended)
	switch {
	case since > failAfter:
		return r.fail(tx, "no list of snapshots came after its job, to tell whether they are gone")
	case since > listAfter:
		_, err := s.list(tx, t)
		return err
	}
	return nil
}

// list asks for the repository's snapshots, at most once in listEvery; the reason why it cannot be is no error.
func (s *Store) list(tx *database.Tx, t target) (why string, err error) {
	busy, err := underWay(tx, t, wire.KindSnapshots, tx.Now.Add(-listEvery))
	if err != nil || busy {
		return "", err
	}
	_, err = s.order(tx, database.System, t, &wire.SnapshotsSpec{})
	if f := fault.As(err); f != nil {
		return f.Message, nil
	}
	return "", err
}

// listEvery keeps a repository that cannot be listed from being asked again and again.
const listEvery = time.Hour

func (r removalRow) fail(tx *database.Tx, why string) error {
	r.State, r.Why = Failed, why
	return r.write(tx)
}

// compare ends the removal by what is still listed.
func (r removalRow) compare(tx *database.Tx) error {
	ids, err := r.ids()
	if err != nil {
		return err
	}
	var left []string
	for from := 0; from < len(ids); from += 500 {
		var some []string
		err := tx.Raw("SELECT id FROM snapshots WHERE repository_id = ? AND id IN ? ORDER BY id", r.RepositoryID, ids[from:min(from+500, len(ids))]).Scan(&some).Error
		if err != nil {
			return fmt.Errorf("look what is left of removal %s: %w", r.ID, err)
		}
		left = append(left, some...)
	}
	if len(left) == 0 {
		r.State, r.Why = Done, ""
		if err := looked(tx, r.RepositoryID); err != nil {
			return err
		}
		return r.write(tx)
	}
	short := make([]string, 0, 5)
	for _, id := range left[:min(len(left), cap(short))] {
		short = append(short, id[:min(len(id), 8)])
	}
	return r.fail(tx, fmt.Sprintf("%d of %d are still there (%s): the credentials of the machine that maintains it may not remove anything", len(left), len(ids), strings.Join(short, ", ")))
}
