package policy

import (
	"fmt"
	"time"

	"gorm.io/gorm"

	"restic-manager/schedule"
	"restic-manager/server/database"
	"restic-manager/server/fault"
	"restic-manager/shared/wire"
)

// timeline is a policy's due times over its versions: a due time belongs to the version that was in force at that time.
type timeline struct {
	policyID string
	version  int64
	stretch  []stretch // the oldest first
	broken   error     // why one of them cannot be read; nil: all can
}

// stretch is one version's part: due times after from, up to until; a zero until is open.
type stretch struct {
	from, until time.Time
	enabled     bool
	spec        Spec
	times       *schedule.Schedule
}

// versionsLooked is of how many versions due times are known: late reports are of the last few days.
const versionsLooked = 50

// readTimeline gives the timeline of a policy at its version; what was read of a version stays true.
func (s *Store) readTimeline(db *gorm.DB, policyID string, version int64) (timeline, error) {
	s.mu.Lock()
	t, ok := s.timelines[policyID]
	s.mu.Unlock()
	if ok && t.version == version {
		return t, nil
	}
	t, err := loadTimeline(db, policyID, version)
	if err != nil {
		return timeline{}, err
	}
	if t.broken != nil {
		s.log.Error("the schedule of a policy is not understood any more: it is not due until it is saved with another one", "policy_id", policyID, "error", t.broken)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.timelines) > 2*maxPolicies { // of policies that are gone
		clear(s.timelines)
	}
	s.timelines[policyID] = t
	return t, nil
}

// loadTimeline is readTimeline for the transaction that makes the version: it may not be committed.
func loadTimeline(db *gorm.DB, policyID string, version int64) (timeline, error) {
	var rows []versionRow
	err := db.Raw("SELECT * FROM (SELECT * FROM policy_versions WHERE policy_id = ? AND version <= ? ORDER BY version DESC LIMIT ?) v ORDER BY version",
		policyID, version, versionsLooked).Scan(&rows).Error
	if err != nil {
		return timeline{}, fmt.Errorf("read the versions of policy %s: %w", policyID, err)
	}
	t := timeline{policyID: policyID, version: version}
	for i, r := range rows {
		spec, err := decodeSpec(policyID, r.Spec)
		if err != nil {
			return timeline{}, err
		}
		times, err := spec.Schedule.parse()
		if err != nil {
			t.broken = err
		}
		// What was taken once and is not understood any more is never due: one policy must not stop all others.
		p := stretch{from: r.At.UTC(), enabled: r.Enabled && err == nil, spec: spec, times: times}
		if i+1 < len(rows) {
			p.until = rows[i+1].At.UTC()
		}
		t.stretch = append(t.stretch, p)
	}
	if len(t.stretch) == 0 {
		return timeline{}, fmt.Errorf("policy %s has no version %d", policyID, version)
	}
	return t, nil
}

func (t Timing) parse() (*schedule.Schedule, error) {
	times, err := schedule.Parse(t.Cron, t.Zone)
	if err != nil {
		return nil, err
	}
	return within(times, t.Windows, time.Duration(t.LateSeconds)*time.Second)
}

func (t Timing) checkCron() error {
	if _, err := schedule.Parse(t.Cron, t.Zone); err != nil {
		return fault.Invalidf("schedule.%v", err)
	}
	return nil
}

// at is the stretch's due times as they are at a host.
func (p stretch) at(policyID, hostID string) *schedule.Schedule {
	spread := time.Duration(p.spec.Schedule.SpreadSeconds) * time.Second
	return p.times.Spread(spread, wire.SpreadKey(policyID, hostID))
}

// next is the first due time at the host after that time.
func (t timeline) next(hostID string, after time.Time) (time.Time, bool) {
	for _, p := range t.stretch {
		if !p.enabled || !p.until.IsZero() && !after.Before(p.until) {
			continue
		}
		from := after
		if from.Before(p.from) {
			from = p.from
		}
		if at, ok := p.at(t.policyID, hostID).Next(from); ok && (p.until.IsZero() || !at.After(p.until)) {
			return at, true
		}
	}
	return time.Time{}, false
}

// between are the due times at the host after from, up to until; the oldest limit of them.
func (t timeline) between(hostID string, from, until time.Time, limit int) (list []time.Time) {
	for at, ok := t.next(hostID, from); ok && !at.After(until) && len(list) < limit; at, ok = t.next(hostID, at) {
		list = append(list, at)
	}
	return list
}

// isDue reports whether the time is a due time at the host.
func (t timeline) isDue(hostID string, due time.Time) bool {
	at, ok := t.next(hostID, due.Add(-time.Second))
	return ok && at.Equal(due)
}

// current is the version in force.
func (t timeline) current() stretch { return t.stretch[len(t.stretch)-1] }

// assign is the row of a host that the policy applies to, given the one it had. Where the policy did not run and does
// now, what was due before is nobody's.
func (t timeline) assign(had assignment, r row, hostID string, v verdict, now time.Time) assignment {
	a := had
	if a.PolicyID == "" {
		a = assignment{PolicyID: r.ID, HostID: hostID, Since: now, AccountedUntil: now}
	}
	a.Why, a.Problem = v.why, v.problem
	ran := a.NextDueAt != nil
	a.NextDueAt = nil
	if !r.Enabled || a.Problem != "" {
		return a
	}
	if !ran && a.AccountedUntil.Before(now) {
		a.AccountedUntil = now
	}
	if next, ok := t.next(hostID, a.AccountedUntil); ok {
		next = database.Truncate(next)
		a.NextDueAt = &next
	}
	return a
}
