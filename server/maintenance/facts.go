package maintenance

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"gorm.io/gorm"

	"restic-manager/server/retention"
	"restic-manager/shared/wire"
)

// fact is a snapshot with its hostname: what retention judges, and what it does not.
type fact struct {
	retention.Snapshot
	hostname string
}

// found is what there is of the repositories that were asked about, each by its id.
type found struct {
	facts map[string][]fact
	place map[string]map[string]int // of a snapshot among the facts of its repository
}

// readFacts reads what the rules go by. The list is read before the jobs: what ends in between is explained, not missed.
func readFacts(db *gorm.DB, repositoryID string, now time.Time) ([]fact, error) {
	f, err := readFactsOf(db, []string{repositoryID}, now)
	return f[repositoryID], err
}

// perQuery bounds how many repositories one query is about.
const perQuery = 500

// readFactsOf is readFacts for many repositories, by their ids.
func readFactsOf(db *gorm.DB, repositories []string, now time.Time) (map[string][]fact, error) {
	f := found{facts: make(map[string][]fact, len(repositories)), place: make(map[string]map[string]int, len(repositories))}
	for some := range slices.Chunk(repositories, perQuery) {
		if err := f.readSnapshots(db, some); err != nil {
			return nil, err
		}
		if err := f.readJobs(db, some); err != nil {
			return nil, err
		}
		if err := f.readAdoptions(db, some); err != nil {
			return nil, err
		}
	}
	for _, id := range repositories {
		if err := readHosts(db, id, f.facts[id], now); err != nil {
			return nil, err
		}
	}
	return f.facts, nil
}

// scan gives every row of a query to take, which scans it. With a hundred thousand rows what gorm does for each is felt.
func scan(db *gorm.DB, what, query string, args []any, take func(*sql.Rows) error) error {
	rows, err := db.Raw(query, args...).Rows()
	if err != nil {
		return fmt.Errorf("read the %s of repositories: %w", what, err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := take(rows); err != nil {
			return fmt.Errorf("read the %s of repositories: %w", what, err)
		}
	}
	return rows.Err()
}

func (f found) readSnapshots(db *gorm.DB, repositories []string) error {
	return scan(db, "snapshots", "SELECT repository_id, id, hostname, tags, time FROM snapshots WHERE repository_id IN ?", []any{repositories}, func(rows *sql.Rows) error {
		var repository, tags string
		var s fact
		if err := rows.Scan(&repository, &s.ID, &s.hostname, &tags, &s.Time); err != nil {
			return err
		}
		s.Time = s.Time.UTC()
		if tags != "" && tags != "[]" {
			if err := json.Unmarshal([]byte(tags), &s.Tags); err != nil {
				return fmt.Errorf("tags of snapshot %s: %w", s.ID, err)
			}
		}
		if f.place[repository] == nil {
			f.place[repository] = map[string]int{}
		}
		f.place[repository][s.ID] = len(f.facts[repository])
		f.facts[repository] = append(f.facts[repository], s)
		return nil
	})
}

// readJobs adds the backups that say that they made the snapshots. One that ran while the server was away may not have
// learnt the id of its repository; a snapshot's id is one of a kind. Kind and state are looked at
// here: as conditions SQLite would take them for its way in, and look for each job in every repository.
func (f found) readJobs(db *gorm.DB, repositories []string) error {
	return scan(db, "backups", `SELECT s.repository_id, j.snapshot_id, j.id, j.host_id, j.policy_id, j.due_at, j.started_at, j.ended_at, j.kind, j.state
		FROM snapshots s CROSS JOIN jobs j
		WHERE s.repository_id IN ? AND j.snapshot_id = s.id AND j.repository_id IN (s.repository_id, '') AND j.snapshot_id <> ''`, []any{repositories}, func(rows *sql.Rows) error {
		var repository, snapshot string
		var policy *string
		var due, started, ended *time.Time
		var j retention.Job
		var kind wire.Kind
		var state wire.State
		if err := rows.Scan(&repository, &snapshot, &j.ID, &j.HostID, &policy, &due, &started, &ended, &kind, &state); err != nil {
			return err
		}
		i, ok := f.place[repository][snapshot]
		if kind != wire.KindBackup || !state.Success() || !ok || ended == nil { // it was listed meanwhile
			return nil
		}
		j.EndedAt, j.StartedAt = ended.UTC(), ended.UTC()
		if started != nil {
			j.StartedAt = started.UTC()
		}
		if policy != nil {
			j.PolicyID = *policy
		}
		if due != nil {
			j.DueAt = due.UTC()
		}
		s := &f.facts[repository][i]
		s.Jobs = append(s.Jobs, j)
		return nil
	})
}

// readAdoptions adds what people have said of snapshots.
func (f found) readAdoptions(db *gorm.DB, repositories []string) error {
	return scan(db, "adopted snapshots", "SELECT repository_id, snapshot_id, adopted_at, counts FROM snapshot_adoptions WHERE repository_id IN ?", []any{repositories}, func(rows *sql.Rows) error {
		var repository, snapshot string
		var at time.Time
		var counts bool
		if err := rows.Scan(&repository, &snapshot, &at, &counts); err != nil {
			return err
		}
		i, ok := f.place[repository][snapshot]
		switch {
		case ok && counts:
			f.facts[repository][i].AdoptedAt = at.UTC()
		case ok:
			f.facts[repository][i].Seen = true
		}
		return nil
	})
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
