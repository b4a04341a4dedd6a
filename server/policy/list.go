package policy

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"gorm.io/gorm"

	"restic-manager/server/database"
	"restic-manager/server/fleet"
	"restic-manager/shared/wire"
)

// lately is how far back Last counts.
const lately = 24 * time.Hour

// List gives all policies, by name.
func (s *Store) List(ctx context.Context) ([]Policy, error) {
	return s.read(ctx, "SELECT * FROM policies ORDER BY name_key")
}

// ByID is one policy, or not_found.
func (s *Store) ByID(ctx context.Context, id string) (Policy, error) {
	if !wire.IsUUID(id) {
		return Policy{}, errNoPolicy
	}
	list, err := s.read(ctx, "SELECT * FROM policies WHERE id = ?", id)
	if err != nil {
		return Policy{}, err
	}
	if len(list) == 0 {
		return Policy{}, errNoPolicy
	}
	return list[0], nil
}

// view is one state of the database for several questions.
func (s *Store) view(ctx context.Context, ask func(db *gorm.DB) error) error {
	o := &sql.TxOptions{ReadOnly: true}
	if s.db.Postgres() {
		o.Isolation = sql.LevelRepeatableRead
	}
	return s.db.Read(ctx).Transaction(ask, o)
}

func (s *Store) read(ctx context.Context, query string, args ...any) (list []Policy, err error) {
	now, err := s.db.Now(ctx)
	if err != nil {
		return nil, err
	}
	err = s.view(ctx, func(db *gorm.DB) error {
		var rows []row
		if err := db.Raw(query, args...).Scan(&rows).Error; err != nil {
			return err
		}
		list = make([]Policy, len(rows))
		index := make(map[string]*Policy, len(rows))
		for i, r := range rows {
			spec, err := decodeSpec(r.ID, r.Spec)
			if err != nil {
				return err
			}
			list[i] = Policy{ID: r.ID, Name: r.Name, Enabled: r.Enabled, Version: r.Version, Spec: spec, CreatedAt: r.CreatedAt.UTC(), UpdatedAt: r.UpdatedAt.UTC()}
			index[r.ID] = &list[i]
		}
		if len(rows) == 0 {
			return nil
		}
		if err := countHosts(db, index, now); err != nil {
			return err
		}
		for _, p := range index {
			if len(p.Spec.Schedule.Windows) > 0 {
				if err := s.firstBegin(db, p, now); err != nil {
					return err
				}
			}
		}
		if err := nameRepositories(db, list); err != nil {
			return err
		}
		return countLast(db, index, now)
	})
	if err != nil {
		return nil, fmt.Errorf("read policies: %w", err)
	}
	return list, nil
}

func countHosts(db *gorm.DB, index map[string]*Policy, now time.Time) error {
	for id, p := range index {
		var n []struct {
			Hosts    int64
			Problems int64
		}
		err := db.Raw("SELECT count(*) AS hosts, coalesce(sum(CASE WHEN problem <> '' THEN 1 ELSE 0 END), 0) AS problems FROM assignments WHERE policy_id = ?", id).Scan(&n).Error
		if err != nil {
			return err
		}
		p.HostCount, p.ProblemCount = n[0].Hosts, n[0].Problems
		var next []time.Time
		err = db.Raw("SELECT next_due_at FROM assignments WHERE policy_id = ? AND next_due_at > ? ORDER BY next_due_at LIMIT 1", id, now).Scan(&next).Error
		if err != nil {
			return err
		}
		if len(next) > 0 {
			at := next[0].UTC()
			p.NextDueAt = &at
		}
	}
	return nil
}

func nameRepositories(db *gorm.DB, list []Policy) error {
	var rows []struct{ ID, Name string }
	if err := db.Raw("SELECT id, name FROM repository_settings").Scan(&rows).Error; err != nil {
		return err
	}
	for i := range list {
		for _, r := range rows {
			if r.ID == list[i].Spec.RepositoryID {
				list[i].Repository = r.Name
			}
		}
	}
	return nil
}

// countLast counts what became of the policies lately.
func countLast(db *gorm.DB, index map[string]*Policy, now time.Time) error {
	for id, p := range index {
		var outcomes []struct {
			Outcome wire.Outcome
			N       int64
		}
		// No index is to serve the grouping: SQLite would read all of it.
		err := db.Raw("SELECT outcome || '' AS outcome, count(*) AS n FROM ticks WHERE policy_id = ? AND due_at > ? AND due_at <= ? GROUP BY outcome || ''",
			id, now.Add(-lately), now).Scan(&outcomes).Error
		if err != nil {
			return err
		}
		for _, o := range outcomes {
			n := map[wire.Outcome]*int64{wire.OutcomeRun: &p.Last.Run, wire.OutcomeCoalesced: &p.Last.Coalesced, wire.OutcomeMissed: &p.Last.Missed, wire.OutcomeSkipped: &p.Last.Skipped}[o.Outcome]
			*n = o.N
		}
		var states []struct {
			State wire.State
			N     int64
		}
		err = db.Raw("SELECT state || '' AS state, count(*) AS n FROM jobs WHERE policy_id = ? AND id >= ? GROUP BY state || ''", id, database.FirstIDAt(now.Add(-lately))).Scan(&states).Error
		if err != nil {
			return err
		}
		for _, j := range states {
			switch {
			case j.State == wire.StateSucceeded:
				p.Last.Succeeded += j.N
			case j.State == wire.StateSucceededWithIssues:
				p.Last.Issues += j.N
			case !j.State.Terminal():
				p.Last.Open += j.N
			case j.State != wire.StateCanceled:
				p.Last.Failed += j.N
			}
		}
	}
	return nil
}

// Versions gives what the policy was, the newest first; 1000 at most.
func (s *Store) Versions(ctx context.Context, id string) ([]Version, error) {
	if _, err := s.ByID(ctx, id); err != nil {
		return nil, err
	}
	const most = 1000
	var rows []versionRow
	// One more than is shown: to tell what the oldest one changed.
	if err := s.db.Read(ctx).Raw("SELECT * FROM policy_versions WHERE policy_id = ? ORDER BY version DESC LIMIT ?", id, most+1).Scan(&rows).Error; err != nil {
		return nil, fmt.Errorf("read the versions of policy %s: %w", id, err)
	}
	list := make([]Version, 0, len(rows))
	for _, r := range slices.Backward(rows) {
		spec, err := decodeSpec(id, r.Spec)
		if err != nil {
			return nil, err
		}
		v := Version{Version: r.Version, At: r.At.UTC(), By: r.ByName, Name: r.Name, Enabled: r.Enabled, Spec: spec, Changes: []Change{}}
		if len(list) > 0 {
			before := list[len(list)-1]
			v.Changes = differences(state{before.Name, before.Enabled, before.Spec}, state{v.Name, v.Enabled, v.Spec})
		}
		list = append(list, v)
	}
	slices.Reverse(list)
	return list[:min(len(list), most)], nil
}

// HostPage is a page of the hosts that a policy applies to.
type HostPage struct {
	Hosts      []AssignedHost `json:"hosts"`
	Total      int64          `json:"total"`
	NextCursor string         `json:"next_cursor,omitempty"`
}

// Hosts gives the hosts that the policy applies to: those with a problem first, then by name.
func (s *Store) Hosts(ctx context.Context, id string, p fleet.Page) (HostPage, error) {
	page := HostPage{Hosts: []AssignedHost{}}
	policy, err := s.ByID(ctx, id)
	if err != nil {
		return page, err
	}
	now, err := s.db.Now(ctx)
	if err != nil {
		return page, err
	}
	var place struct {
		Sound int    `json:"s"`
		Name  string `json:"n"`
	}
	if err := readCursor(p.Cursor, &place); err != nil {
		return page, err
	}
	db := s.db.Read(ctx)
	if err := db.Raw("SELECT count(*) FROM assignments WHERE policy_id = ?", id).Scan(&page.Total).Error; err != nil {
		return page, fmt.Errorf("count the hosts of policy %s: %w", id, err)
	}
	var rows []struct {
		ID, Name, NameKey, Why, Problem string
		Sound                           int
		NextDueAt                       *time.Time
	}
	err = db.Raw(`SELECT * FROM (SELECT h.id, h.name, h.name_key, a.why, a.problem, a.next_due_at, CASE WHEN a.problem <> '' THEN 0 ELSE 1 END AS sound
			FROM assignments a JOIN hosts h ON h.id = a.host_id WHERE a.policy_id = ?) x
		WHERE sound > ? OR sound = ? AND name_key > ? ORDER BY sound, name_key LIMIT ?`,
		id, place.Sound, place.Sound, place.Name, pageSize(p)+1).Scan(&rows).Error
	if err != nil {
		return page, fmt.Errorf("list the hosts of policy %s: %w", id, err)
	}
	if len(rows) > pageSize(p) {
		rows = rows[:pageSize(p)]
		last := rows[len(rows)-1]
		place.Sound, place.Name = last.Sound, last.NameKey
		page.NextCursor = writeCursor(place)
	}
	hosts := make([]string, len(rows))
	for i, r := range rows {
		hosts[i] = r.ID
		page.Hosts = append(page.Hosts, AssignedHost{ID: r.ID, Name: r.Name, Why: r.Why, Problem: r.Problem, NextDueAt: s.begins(policy.Spec, id, r.ID, r.NextDueAt, now)})
	}
	last, err := s.lastTicks(db, "ticks.policy_id = ? AND ticks.host_id IN ?", id, hosts)
	for i, h := range page.Hosts {
		page.Hosts[i].LastTick = last[key{id, h.ID}]
	}
	return page, err
}

// OfHost gives the policies that apply to the host, by name; not_found for a host that is not there.
func (s *Store) OfHost(ctx context.Context, hostID string) (HostPolicies, error) {
	all := HostPolicies{Policies: []HostPolicy{}}
	if _, err := s.fleet.HostByID(ctx, hostID); err != nil {
		return all, err
	}
	db := s.db.Read(ctx)
	var hosts []struct {
		ScheduleVersion, ScheduleKnown int64
		KeepsSchedule                  bool
	}
	err := db.Raw("SELECT schedule_version, schedule_known, "+fleet.KeepsSchedule+" AS keeps_schedule FROM hosts WHERE id = ?", hostID).Scan(&hosts).Error
	if err != nil {
		return all, fmt.Errorf("read the schedule of host %s: %w", hostID, err)
	}
	if len(hosts) > 0 {
		all.ScheduleVersion, all.ScheduleKnown, all.KeepsSchedule = hosts[0].ScheduleVersion, hosts[0].ScheduleKnown, hosts[0].KeepsSchedule
	}
	var rows []struct {
		PolicyRef      PolicyRef `gorm:"embedded"`
		Why, Problem   string
		AccountedUntil time.Time
		NextDueAt      *time.Time
		Spec           string
	}
	err = db.Raw(`SELECT p.id, p.name, p.version, p.enabled, p.spec, a.why, a.problem, a.accounted_until, a.next_due_at
		FROM assignments a JOIN policies p ON p.id = a.policy_id WHERE a.host_id = ? ORDER BY p.name_key`, hostID).Scan(&rows).Error
	if err != nil {
		return all, fmt.Errorf("list the policies of host %s: %w", hostID, err)
	}
	now, err := s.db.Now(ctx)
	if err != nil {
		return all, err
	}
	ids := make([]string, len(rows))
	for i, r := range rows {
		ids[i] = r.PolicyRef.ID
		spec, err := decodeSpec(r.PolicyRef.ID, r.Spec)
		if err != nil {
			return all, err
		}
		all.Policies = append(all.Policies, HostPolicy{Policy: r.PolicyRef, Why: r.Why, Problem: r.Problem, AccountedUntil: r.AccountedUntil.UTC(),
			NextDueAt: s.begins(spec, r.PolicyRef.ID, hostID, r.NextDueAt, now)})
	}
	last, err := s.lastTicks(db, "ticks.host_id = ? AND ticks.policy_id IN ?", hostID, ids)
	for i, p := range all.Policies {
		all.Policies[i].LastTick = last[key{p.Policy.ID, hostID}]
	}
	return all, err
}

func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	at := t.UTC()
	return &at
}
