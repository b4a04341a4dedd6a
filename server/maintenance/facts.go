package maintenance

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"gorm.io/gorm"

	"restic-manager/server/retention"
)

// fact is a snapshot with its hostname: what retention judges, and what it does not.
type fact struct {
	retention.Snapshot
	hostname string
}

// readFacts reads what the rules go by. The list is read before the jobs: what ends in between is explained, not missed.
func readFacts(db *gorm.DB, repositoryID string, now time.Time) ([]fact, error) {
	var rows []struct {
		ID, Hostname, Tags string
		Time               time.Time
	}
	if err := db.Raw("SELECT id, hostname, tags, time FROM snapshots WHERE repository_id = ?", repositoryID).Scan(&rows).Error; err != nil {
		return nil, fmt.Errorf("read the snapshots of repository %s: %w", repositoryID, err)
	}
	facts, place := make([]fact, len(rows)), make(map[string]int, len(rows))
	for i, r := range rows {
		facts[i] = fact{retention.Snapshot{ID: r.ID, Time: r.Time.UTC()}, r.Hostname}
		if r.Tags != "" && r.Tags != "[]" {
			if err := json.Unmarshal([]byte(r.Tags), &facts[i].Tags); err != nil {
				return nil, fmt.Errorf("read the tags of snapshot %s: %w", r.ID, err)
			}
		}
		place[r.ID] = i
	}
	if err := readJobs(db, repositoryID, facts, place); err != nil {
		return nil, err
	}
	if err := readAdoptions(db, repositoryID, facts, place); err != nil {
		return nil, err
	}
	return facts, readHosts(db, repositoryID, facts, now)
}

// readJobs adds the backups that say that they made the snapshots. One that ran while the server was away may not have
// learnt the id of its repository; a snapshot's id is one of a kind.
func readJobs(db *gorm.DB, repositoryID string, facts []fact, place map[string]int) error {
	var rows []struct {
		ID, HostID, SnapshotID string
		PolicyID               *string
		DueAt                  *time.Time
		StartedAt, EndedAt     *time.Time
	}
	err := db.Raw(`SELECT j.id, j.host_id, j.snapshot_id, j.policy_id, j.due_at, j.started_at, j.ended_at
		FROM snapshots s JOIN jobs j ON j.snapshot_id = s.id AND j.repository_id IN (s.repository_id, '')
		WHERE s.repository_id = ? AND j.snapshot_id <> '' AND j.kind = 'backup' AND j.state IN ('succeeded', 'succeeded_with_issues')`, repositoryID).Scan(&rows).Error
	if err != nil {
		return fmt.Errorf("read the backups of repository %s: %w", repositoryID, err)
	}
	for _, r := range rows {
		i, ok := place[r.SnapshotID]
		if !ok || r.EndedAt == nil { // it was listed meanwhile
			continue
		}
		j := retention.Job{ID: r.ID, HostID: r.HostID, EndedAt: r.EndedAt.UTC(), StartedAt: r.EndedAt.UTC()}
		if r.StartedAt != nil {
			j.StartedAt = r.StartedAt.UTC()
		}
		if r.PolicyID != nil {
			j.PolicyID = *r.PolicyID
		}
		if r.DueAt != nil {
			j.DueAt = r.DueAt.UTC()
		}
		facts[i].Jobs = append(facts[i].Jobs, j)
	}
	return nil
}

// readAdoptions adds what people have said of snapshots.
func readAdoptions(db *gorm.DB, repositoryID string, facts []fact, place map[string]int) error {
	var rows []struct {
		SnapshotID string
		AdoptedAt  time.Time
		Counts     bool
	}
	if err := db.Raw("SELECT snapshot_id, adopted_at, counts FROM snapshot_adoptions WHERE repository_id = ?", repositoryID).Scan(&rows).Error; err != nil {
		return fmt.Errorf("read the adopted snapshots of repository %s: %w", repositoryID, err)
	}
	for _, r := range rows {
		i, ok := place[r.SnapshotID]
		switch {
		case ok && r.Counts:
			facts[i].AdoptedAt = r.AdoptedAt.UTC()
		case ok:
			facts[i].Seen = true
		}
	}
	return nil
}

// Reports that may still come: a host that was not heard of since a snapshot was made, and some time for one that was.
const (
	awaitedFor = 7 * 24 * time.Hour // as long as a silent job is waited for
	reportTime = time.Hour
)

// named is a host by one of its hostnames.
type named struct {
	Hostname   string
	HostID     string
	LastSeenAt *time.Time
	Open       bool    // a backup of it has not ended, or a due time of it is not accounted for
	Policies   int64   // that apply to it
	PolicyID   *string // one of them
}

// readHosts finds whose the snapshots are that no backup explains: those that a host may still report are awaited, and
// adopted ones are in the group of the one policy at the one host.
func readHosts(db *gorm.DB, repositoryID string, facts []fact, now time.Time) error {
	var hostnames []string
	for _, f := range facts {
		if len(f.Jobs) != 1 {
			hostnames = append(hostnames, f.hostname)
		}
	}
	slices.Sort(hostnames)
	hosts := map[string][]named{}
	for some := range slices.Chunk(slices.Compact(hostnames), 500) {
		var rows []named
		err := db.Raw(`SELECT n.hostname, h.id AS host_id, h.last_seen_at,
				EXISTS (SELECT 1 FROM jobs j WHERE j.host_id = h.id AND j.kind = 'backup' AND j.state IN ('accepted', 'running'))
					OR EXISTS (SELECT 1 FROM assignments a WHERE a.host_id = h.id AND a.next_due_at <= @now) AS open,
				(SELECT count(*) FROM assignments a WHERE a.host_id = h.id) AS policies,
				(SELECT a.policy_id FROM assignments a WHERE a.host_id = h.id ORDER BY a.policy_id LIMIT 1) AS policy_id
			FROM host_names n JOIN hosts h ON h.id = n.host_id
			WHERE h.repository_id = @repository AND h.revoked_at IS NULL AND n.hostname IN @hostnames`,
			map[string]any{"now": now, "repository": repositoryID, "hostnames": some}).Scan(&rows).Error
		if err != nil {
			return fmt.Errorf("find the hosts of snapshots in repository %s: %w", repositoryID, err)
		}
		for _, r := range rows {
			hosts[r.Hostname] = append(hosts[r.Hostname], r)
		}
	}
	for i := range facts {
		f := &facts[i]
		if len(f.Jobs) == 1 {
			continue
		}
		of := hosts[f.hostname]
		f.Awaited = len(f.Jobs) == 0 && slices.ContainsFunc(of, func(n named) bool { return n.mayReport(f.Time, now) })
		if len(of) == 1 {
			f.HostID = of[0].HostID
			if of[0].Policies == 1 {
				f.PolicyID = *of[0].PolicyID
			}
		}
	}
	return nil
}

// mayReport reports whether the backup that made a snapshot at that time may not have been told yet.
func (n named) mayReport(made, now time.Time) bool {
	if made.Before(now.Add(-awaitedFor)) || made.After(now.Add(retention.Tolerance)) {
		return false
	}
	heard := n.LastSeenAt != nil && !n.LastSeenAt.Before(made.Add(reportTime))
	return n.Open || !heard || made.After(now.Add(-reportTime))
}

// readRules reads the rules of all policies, those that are switched off too: what they made is kept by them still.
func readRules(db *gorm.DB) (map[string]retention.Rule, error) {
	var rows []struct{ ID, Spec string }
	if err := db.Raw("SELECT id, spec FROM policies").Scan(&rows).Error; err != nil {
		return nil, fmt.Errorf("read the policies: %w", err)
	}
	rules := make(map[string]retention.Rule, len(rows))
	for _, r := range rows {
		rule, err := ruleOf(r.Spec)
		if err != nil {
			return nil, fmt.Errorf("read policy %s: %w", r.ID, err)
		}
		rules[r.ID] = rule
	}
	return rules, nil
}

// ruleOf reads a policy's spec as far as it is about what is kept.
func ruleOf(spec string) (retention.Rule, error) {
	var p struct {
		Keep     retention.Keep `json:"keep"`
		Schedule struct {
			Zone string `json:"zone"`
		} `json:"schedule"`
	}
	if err := json.Unmarshal([]byte(spec), &p); err != nil {
		return retention.Rule{}, err
	}
	zone, err := time.LoadLocation(p.Schedule.Zone)
	return retention.Rule{Keep: p.Keep, Zone: zone}, err
}

// judge is what retention says of a repository now.
func judge(db *gorm.DB, repositoryID string, now time.Time) (retention.Plan, error) {
	facts, err := readFacts(db, repositoryID, now)
	if err != nil {
		return retention.Plan{}, err
	}
	rules, err := readRules(db)
	if err != nil {
		return retention.Plan{}, err
	}
	return retention.Compute(snapshotsOf(facts), rules, now), nil
}

func snapshotsOf(facts []fact) []retention.Snapshot {
	list := make([]retention.Snapshot, len(facts))
	for i, f := range facts {
		list[i] = f.Snapshot
	}
	return list
}
