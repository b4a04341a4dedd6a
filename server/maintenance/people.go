package maintenance

import (
	"context"
	"fmt"
	"slices"
	"time"

	"restic-manager/server/database"
	"restic-manager/server/fault"
	"restic-manager/server/retention"
	"restic-manager/shared/wire"
)

// RetentionPreview is what a rule would keep of a host's snapshots, and what not. Nothing is removed.
type RetentionPreview struct {
	Snapshots []Judged `json:"snapshots" doc:"The newest first; the first 2000 of them"`
	Keep      int64    `json:"keep"`
	Remove    int64    `json:"remove"`
	Anomalous int64    `json:"anomalous" doc:"Of those kept, how many do not count: no backup that was ordered here explains them"`
	// Frozen and Waits are of the whole repository.
	Frozen string `json:"frozen,omitempty" doc:"Why retention would remove nothing until a person has looked"`
	Waits  string `json:"waits,omitempty" doc:"What is to be reported before retention removes anything"`
}

// Judged is a snapshot as a rule sees it.
type Judged struct {
	ID      string    `json:"id"`
	ShortID string    `json:"short_id"`
	Time    time.Time `json:"time" doc:"When the backup ended by the server's clock; the snapshot's own time where no backup explains it"`
	Keep    bool      `json:"keep"`
	Reasons []string  `json:"reasons" doc:"Why it is kept"`
	Anomaly string    `json:"anomaly,omitempty" doc:"Why it does not count: it keeps no other one from being kept, and is not removed"`
}

// maxJudged bounds the snapshots that a preview shows.
const maxJudged = 2000

// Preview judges a host's snapshots by a rule: those of the policy, or of each of its policies when policyID is empty.
func (s *Store) Preview(ctx context.Context, hostID, policyID string, keep retention.Keep) (RetentionPreview, error) {
	p := RetentionPreview{Snapshots: []Judged{}}
	if !wire.IsUUID(hostID) {
		return p, fault.NotFoundf("there is no such host")
	}
	if policyID != "" && !wire.IsUUID(policyID) {
		return p, errNoPolicy()
	}
	db := s.db.Read(ctx)
	var hosts []struct{ RepositoryID *string }
	if err := db.Raw("SELECT repository_id FROM hosts WHERE id = ?", hostID).Scan(&hosts).Error; err != nil {
		return p, fmt.Errorf("read the repository of host %s: %w", hostID, err)
	}
	if len(hosts) == 0 {
		return p, fault.NotFoundf("there is no such host")
	}
	rules, err := readRules(db)
	if err != nil {
		return p, err
	}
	if _, ok := rules[policyID]; policyID != "" && !ok {
		return p, errNoPolicy()
	}
	if hosts[0].RepositoryID == nil {
		return p, nil
	}
	now, err := s.db.Now(ctx)
	if err != nil {
		return p, err
	}
	facts, err := readFacts(db, *hosts[0].RepositoryID, now)
	if err != nil {
		return p, err
	}
	for id, rule := range rules {
		if policyID == "" || policyID == id {
			rule.Keep = keep
			rules[id] = rule
		}
	}
	plan := retention.Compute(snapshotsOf(facts), rules, now)
	p.Frozen, p.Waits = plan.Frozen, plan.Waits
	var hostnames []string
	if err := db.Raw("SELECT hostname FROM host_names WHERE host_id = ?", hostID).Scan(&hostnames).Error; err != nil {
		return p, fmt.Errorf("read the hostnames of host %s: %w", hostID, err)
	}
	theirs := make(map[string]bool, len(facts))
	for _, f := range facts {
		theirs[f.ID] = slices.Contains(hostnames, f.hostname)
	}
	for _, v := range plan.Verdicts {
		if v.Anomaly != "" && theirs[v.ID] || v.Anomaly == "" && v.HostID == hostID && (policyID == "" || v.PolicyID == policyID) {
			p.add(v)
		}
	}
	return p, nil
}

func errNoPolicy() error { return fault.Invalidf("policy_id: there is no such policy") }

func (p *RetentionPreview) add(v retention.Verdict) {
	switch {
	case !v.Keep:
		p.Remove++
	default:
		p.Keep++
		if v.Anomaly != "" {
			p.Anomalous++
		}
	}
	if len(p.Snapshots) < maxJudged {
		p.Snapshots = append(p.Snapshots, Judged{ID: v.ID, ShortID: v.ID[:min(len(v.ID), 8)], Time: v.At.UTC(), Keep: v.Keep,
			Reasons: append([]string{}, v.Reasons...), Anomaly: v.Anomaly})
	}
}

// maxRemovals bounds how many removals are listed.
const maxRemovals = 50

// Removals lists what was to be removed from the repositories of a setting, the newest first.
func (s *Store) Removals(ctx context.Context, settingID string) ([]Removal, error) {
	if !wire.IsUUID(settingID) {
		return nil, errNoRepository
	}
	var known []string
	if err := s.db.Read(ctx).Raw("SELECT id FROM repository_settings WHERE id = ?", settingID).Scan(&known).Error; err != nil {
		return nil, fmt.Errorf("look for repository %s: %w", settingID, err)
	}
	if len(known) == 0 {
		return nil, errNoRepository
	}
	var rows []removalRow
	err := s.db.Read(ctx).Raw(`SELECT r.* FROM removals r JOIN repository_maintenance m ON m.repository_id = r.repository_id
		WHERE m.setting_id = ? ORDER BY r.id DESC LIMIT ?`, settingID, maxRemovals).Scan(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("list the removals of repository %s: %w", settingID, err)
	}
	all := make([]Removal, 0, len(rows))
	for _, r := range rows {
		o, err := r.removal()
		if err != nil {
			return nil, err
		}
		all = append(all, o)
	}
	return all, nil
}

// Adopt has snapshots that no backup explains count from now on, by their own time; no ids: all that there are. When
// none is left that a person must look at, the repository is not frozen any more.
func (s *Store) Adopt(ctx context.Context, actor database.Actor, settingID, repositoryID string, ids []string) (adopted int64, err error) {
	err = s.db.Write(ctx, func(tx *database.Tx) error {
		t, err := ofSetting(tx, settingID, repositoryID)
		if err != nil {
			return err
		}
		p, err := judge(tx.DB, repositoryID, tx.Now)
		if err != nil {
			return err
		}
		strange := map[string]bool{}
		for _, v := range p.Verdicts {
			strange[v.ID] = v.Anomaly != ""
		}
		chosen, err := choose(p, strange, ids)
		if err != nil {
			return err
		}
		if err := say(tx, repositoryID, actor, chosen, true); err != nil {
			return err
		}
		adopted = int64(len(chosen))
		if p, err = judge(tx.DB, repositoryID, tx.Now); err != nil {
			return err
		}
		if t.Frozen != "" && p.Frozen == "" {
			if err := thaw(tx, repositoryID); err != nil {
				return err
			}
		}
		tx.Notify(database.TopicRepositories)
		return tx.Audit(actor, "retention.adopt", "repository:"+settingID, map[string]any{"repository": t.Name, "repository_id": repositoryID, "adopted": adopted})
	})
	if err != nil {
		return 0, fmt.Errorf("adopt snapshots of repository %s: %w", settingID, err)
	}
	return adopted, nil
}

// choose gives the snapshots to adopt: those that were named, or all that do not count.
func choose(p retention.Plan, strange map[string]bool, ids []string) (chosen []string, err error) {
	if len(ids) == 0 {
		for _, v := range p.Verdicts {
			if v.Anomaly != "" {
				chosen = append(chosen, v.ID)
			}
		}
		return chosen, nil
	}
	seen := map[string]bool{}
	for _, id := range ids {
		odd, listed := strange[id]
		if !listed {
			return nil, fault.Invalidf("snapshot_ids: %.70q is not in the list of this repository; give full ids of 64 hex digits", id)
		}
		if odd && !seen[id] {
			chosen, seen[id] = append(chosen, id), true
		}
	}
	return chosen, nil
}

// say writes what a person says of snapshots: that they count, or that they are left out.
func say(tx *database.Tx, repositoryID string, actor database.Actor, ids []string, count bool) error {
	rows := make([]adoptionRow, 0, len(ids))
	for _, id := range ids {
		rows = append(rows, adoptionRow{repositoryID, id, tx.Now, actor.Name, count})
	}
	for some := range slices.Chunk(rows, 500) {
		again := make([]string, 0, len(some))
		for _, r := range some {
			again = append(again, r.SnapshotID)
		}
		if err := tx.Exec("DELETE FROM snapshot_adoptions WHERE repository_id = ? AND snapshot_id IN ?", repositoryID, again).Error; err != nil {
			return fmt.Errorf("forget what was said of snapshots: %w", err)
		}
		if err := tx.Create(&some).Error; err != nil {
			return fmt.Errorf("write down what is said of snapshots: %w", err)
		}
	}
	return nil
}

type adoptionRow struct {
	RepositoryID string    `gorm:"column:repository_id;primaryKey"`
	SnapshotID   string    `gorm:"column:snapshot_id;primaryKey"`
	AdoptedAt    time.Time `gorm:"column:adopted_at"`
	AdoptedBy    string    `gorm:"column:adopted_by"`
	Counts       bool      `gorm:"column:counts"`
}

// TableName is snapshot_adoptions.
func (adoptionRow) TableName() string { return "snapshot_adoptions" }

func thaw(tx *database.Tx, repositoryID string) error {
	if err := tx.Exec("UPDATE repository_maintenance SET frozen = '', frozen_at = NULL WHERE repository_id = ?", repositoryID).Error; err != nil {
		return fmt.Errorf("unfreeze repository %s: %w", repositoryID, err)
	}
	return nil
}

// Unfreeze says that a person has looked: what does not count now is left out for good, and freezes nothing any more.
func (s *Store) Unfreeze(ctx context.Context, actor database.Actor, settingID, repositoryID string) error {
	err := s.db.Write(ctx, func(tx *database.Tx) error {
		t, err := ofSetting(tx, settingID, repositoryID)
		if err != nil {
			return err
		}
		facts, err := readFacts(tx.DB, repositoryID, tx.Now)
		if err != nil {
			return err
		}
		awaited := map[string]bool{}
		for _, f := range facts {
			awaited[f.ID] = f.Awaited || f.Seen
		}
		var out []string
		for _, v := range retention.Compute(snapshotsOf(facts), nil, tx.Now).Verdicts {
			if v.Anomaly != "" && !awaited[v.ID] {
				out = append(out, v.ID)
			}
		}
		if err := say(tx, repositoryID, actor, out, false); err != nil {
			return err
		}
		if err := thaw(tx, repositoryID); err != nil {
			return err
		}
		tx.Notify(database.TopicRepositories)
		return tx.Audit(actor, "retention.unfreeze", "repository:"+settingID,
			map[string]any{"repository": t.Name, "repository_id": repositoryID, "was": t.Frozen, "left_out": len(out)})
	})
	if err != nil {
		return fmt.Errorf("unfreeze repository %s: %w", settingID, err)
	}
	return nil
}

// Began is what an order of maintenance came to: a job, a removal, or neither with a reason.
type Began struct {
	JobID   string
	Removal *Removal
	Nothing string
}

// Begin does one kind of maintenance now, whatever its schedule says.
func (s *Store) Begin(ctx context.Context, actor database.Actor, settingID, repositoryID string, kind wire.Kind) (Began, error) {
	var b Began
	var frozen string
	err := s.db.Write(ctx, func(tx *database.Tx) error {
		b, frozen = Began{}, ""
		t, err := ofSetting(tx, settingID, repositoryID)
		if err != nil {
			return err
		}
		p, err := readPlan(t.Maintenance)
		if err != nil {
			return err
		}
		switch kind {
		case wire.KindForget:
			frozen, err = s.beginForget(tx, actor, t, &b)
			return err
		case wire.KindPrune, wire.KindCheck:
			b.JobID, err = s.orderWork(tx, actor, t, p, kind)
			return err
		}
		return fault.Invalidf("kind: give forget, prune or check")
	})
	if err == nil && frozen != "" {
		err = errFrozen(frozen) // after the transaction: that it is frozen stays
	}
	if err != nil {
		return Began{}, fmt.Errorf("begin a %s of repository %s: %w", kind, settingID, err)
	}
	return b, nil
}

func (s *Store) beginForget(tx *database.Tx, actor database.Actor, t target, b *Began) (frozen string, err error) {
	fresh, err := s.fresh(tx, t)
	if err != nil {
		return "", err
	}
	if !fresh {
		b.Nothing = "its snapshots are being listed first, as the last list is older than an hour; try again in a minute"
		return "", nil
	}
	f, err := s.forget(tx, actor, t, true)
	if err != nil || f.frozen != "" {
		return f.frozen, err
	}
	b.Nothing = f.nothing
	if f.removal != nil {
		removal, err := f.removal.removal()
		if err != nil {
			return "", err
		}
		b.Removal = &removal
	}
	return "", nil
}
