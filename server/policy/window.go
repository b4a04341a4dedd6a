package policy

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"gorm.io/gorm"

	"restic-manager/schedule"
	"restic-manager/server/database"
	"restic-manager/server/fault"
	"restic-manager/server/fleet"
	"restic-manager/shared/wire"
)

// outsideWindows is why a due time is skipped, as agents say it too.
const outsideWindows = "outside its windows"

// weekdays in the order in which they are kept.
var weekdays = []string{"mon", "tue", "wed", "thu", "fri", "sat", "sun"}

// sortedWindows has the days of each in their order; all of them are none.
func sortedWindows(list []wire.Window) []wire.Window {
	if len(list) == 0 {
		return nil
	}
	list = slices.Clone(list)
	for i := range list {
		days := slices.DeleteFunc(slices.Clone(weekdays), func(d string) bool { return !slices.Contains(list[i].Days, d) })
		if known := !slices.ContainsFunc(list[i].Days, func(d string) bool { return !slices.Contains(weekdays, d) }); !known {
			continue // to be refused as it is
		}
		if list[i].Days = days; len(days) == 0 || len(days) == len(weekdays) {
			list[i].Days = nil
		}
	}
	return list
}

// within bounds due times by windows.
func within(times *schedule.Schedule, windows []wire.Window, late time.Duration) (*schedule.Schedule, error) {
	list := make([]schedule.Window, len(windows))
	for i, w := range windows {
		list[i] = schedule.Window(w)
	}
	return times.Within(list, late)
}

// bound reports whether agents need the feature windows for it.
func (t Timing) bound() bool { return len(t.Windows) > 0 || t.SkipOnBattery || t.SkipOnMetered }

// lacking is what of the policy the host's agent cannot do; empty: nothing, or it has not said what it can.
func (t target) lacking(spec Spec) (string, error) {
	if lacks, err := fleet.LacksHooks(spec.Backup.Hooks(), t.Features, t.Hooks, t.AgentVersion); lacks != "" || err != nil {
		return lacks, err
	}
	if !t.Said {
		return "", nil
	}
	var features []string
	if err := json.Unmarshal([]byte(t.Features), &features); err != nil {
		return "", fmt.Errorf("read the features of host %s: %w", t.ID, err)
	}
	switch {
	case spec.Schedule.bound() && slices.Contains(features, wire.FeatureSchedule) && !slices.Contains(features, wire.FeatureWindows):
		return "its agent is too old for windows: upgrade it", nil
	case spec.Backup.Limited() && !slices.Contains(features, wire.FeatureLimits):
		return "its agent is too old for a download limit, nice and I/O class: upgrade it", nil
	}
	return "", nil
}

// inWindow says whether the run of a due time may begin at a moment, and for how long it may wait in the queue; 0: the
// policy's windows do not say. Else when it may begin, or the zero time: it is skipped.
func inWindow(times *schedule.Schedule, due, now time.Time) (may bool, room time.Duration, opens time.Time) {
	at, ok := times.MayBegin(due, now)
	if ok && !at.After(now) {
		closes, closing := times.Closing(now)
		if !closing {
			return true, 0, time.Time{}
		}
		if room = closes.Sub(now); room >= jobTTLLeast {
			return true, room, time.Time{}
		}
		at, ok = times.MayBegin(due, closes) // a job that waits for an agent would begin after it
	}
	if !ok {
		return false, 0, time.Time{}
	}
	return false, 0, at
}

// stops is when a job of the policy that was accepted then is to have ended.
func (s *Store) stops(ctx context.Context, policyID, hostID string, accepted time.Time) (time.Time, error) {
	var versions []int64
	db := s.db.Read(ctx)
	if err := db.Raw("SELECT version FROM policies WHERE id = ?", policyID).Scan(&versions).Error; err != nil {
		return time.Time{}, fmt.Errorf("look for policy %s: %w", policyID, err)
	}
	if len(versions) == 0 {
		return time.Time{}, nil
	}
	line, err := s.readTimeline(db, policyID, versions[0])
	if err != nil || line.current().times == nil {
		return time.Time{}, err
	}
	stop, _ := line.current().at(policyID, hostID).Stops(accepted)
	return stop, nil
}

// begins is when the next run begins by the windows of a policy, in place of when it is due; as it is where there are
// none. Nil: never.
func (s *Store) begins(spec Spec, policyID, hostID string, due *time.Time, now time.Time) *time.Time {
	if due == nil || len(spec.Schedule.Windows) == 0 {
		return utc(due)
	}
	times, err := spec.Schedule.parse()
	if err != nil {
		return nil
	}
	runs := stretch{spec: spec, times: times}.at(policyID, hostID).Runs(now, now.AddDate(1, 0, 0), 1)
	if len(runs) == 0 {
		return nil
	}
	return &runs[0]
}

// firstBegin is the first run of a policy with windows at any of its hosts. What is the same at several is computed once.
func (s *Store) firstBegin(db *gorm.DB, p *Policy, now time.Time) error {
	var hosts []string
	if err := db.Raw("SELECT host_id FROM assignments WHERE policy_id = ? AND next_due_at IS NOT NULL", p.ID).Scan(&hosts).Error; err != nil {
		return err
	}
	p.NextDueAt = nil
	spread := time.Duration(p.Spec.Schedule.SpreadSeconds) * time.Second
	seen := map[time.Duration]bool{}
	for _, h := range hosts {
		moved := schedule.Offset(spread, wire.SpreadKey(p.ID, h))
		if seen[moved] {
			continue
		}
		seen[moved] = true
		if at := s.begins(p.Spec, p.ID, h, &now, now); at != nil && (p.NextDueAt == nil || at.Before(*p.NextDueAt)) {
			p.NextDueAt = at
		}
	}
	return nil
}

// windowLines are windows for people, one a line.
func windowLines(list []wire.Window) string {
	lines := make([]string, len(list))
	for i, w := range list {
		days := strings.Join(w.Days, ", ")
		if days == "" {
			days = "every day"
		}
		lines[i] = fmt.Sprintf("%s %s to %s", days, w.From, w.To)
		if w.StopAtEnd {
			lines[i] += ", stops at its end"
		}
	}
	return strings.Join(lines, "\n")
}

// held puts off when an assignment is looked at: its due time waits for a window.
func (o *open) held(tx *database.Tx, opens time.Time) error {
	o.Row.NextDueAt = &opens
	err := tx.Exec("UPDATE assignments SET next_due_at = ? WHERE policy_id = ? AND host_id = ?", opens, o.Row.PolicyID, o.Row.HostID).Error
	if err != nil {
		return fmt.Errorf("write when policy %s may begin at host %s: %w", o.Row.PolicyID, o.Row.HostID, err)
	}
	return nil
}

// checkWindows puts what is wrong with windows into the API's words.
func (t Timing) checkWindows() error {
	if len(t.Windows) == 0 {
		return nil
	}
	times, err := schedule.Parse(t.Cron, t.Zone)
	if err != nil {
		return nil // said elsewhere
	}
	if _, err := within(times, t.Windows, 0); err != nil {
		return fault.Invalidf("schedule.%v", err)
	}
	return nil
}
