package policy

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"gorm.io/gorm"

	"restic-manager/schedule"
	"restic-manager/server/database"
	"restic-manager/server/fault"
	"restic-manager/server/fleet"
	"restic-manager/shared/wire"
)

// FleetCalendar is how the whole fleet's backups went, and when the next ones are due.
type FleetCalendar struct {
	Days []FleetDay `json:"days" doc:"The oldest first; days without anything are left out"`
	Due  []DueHour  `json:"due" doc:"By the hour, from this one on; hours in which nothing is due are left out"`
}

// FleetDay counts the backups that ended on a day, and the due times of that day on which none began.
type FleetDay struct {
	Date      string `json:"date" format:"date"`
	Succeeded int64  `json:"succeeded"`
	Issues    int64  `json:"issues" doc:"Succeeded with issues"`
	Failed    int64  `json:"failed" doc:"Lost, rejected and expired ones too"`
	Missed    int64  `json:"missed"`
	Skipped   int64  `json:"skipped"`
}

// DueHour is how many backups are due in the hour that begins then.
type DueHour struct {
	At    time.Time `json:"at"`
	Count int64     `json:"count"`
}

const maxAhead = 7 * 24

// Calendar counts so many days up to today, and so many hours ahead. offset is how far the days' midnight is ahead of
// UTC's.
func (s *Store) Calendar(ctx context.Context, days, ahead int, offset time.Duration) (FleetCalendar, error) {
	c := FleetCalendar{Days: []FleetDay{}, Due: []DueHour{}}
	if ahead < 0 || ahead > maxAhead {
		return c, fault.Invalidf("ahead_hours: give 0 to %d", maxAhead)
	}
	ended, first, err := s.fleet.EndedBackups(ctx, days, offset)
	if err != nil {
		return c, err
	}
	now, err := s.db.Now(ctx)
	if err != nil {
		return c, err
	}
	by := map[string]*FleetDay{}
	for _, d := range ended {
		by[d.Date] = &FleetDay{Date: d.Date, Succeeded: d.Succeeded, Issues: d.SucceededWithIssues, Failed: d.Failed}
	}
	err = s.view(ctx, func(db *gorm.DB) error {
		for _, outcome := range []wire.Outcome{wire.OutcomeMissed, wire.OutcomeSkipped} {
			if err := countTicks(db, by, outcome, first, offset); err != nil {
				return err
			}
		}
		c.Due, err = s.due(db, now, ahead)
		return err
	})
	if err != nil {
		return c, fmt.Errorf("count the fleet's days: %w", err)
	}
	for _, date := range slices.Sorted(maps.Keys(by)) {
		c.Days = append(c.Days, *by[date])
	}
	return c, nil
}

// countRuns is due for a policy with windows: each host's moment in the spread meets them for itself.
func countRuns(counts map[time.Time]int64, p stretch, policyID string, hosts []string, now, until time.Time) {
	by := map[time.Duration][]time.Time{}
	for _, host := range hosts {
		moved := schedule.Offset(time.Duration(p.spec.Schedule.SpreadSeconds)*time.Second, wire.SpreadKey(policyID, host))
		runs, known := by[moved]
		if !known {
			runs = p.at(policyID, host).Runs(now, until.Add(-time.Second), 60*(maxAhead+24))
			by[moved] = runs
		}
		for _, at := range runs {
			counts[at.Truncate(time.Hour)]++
		}
	}
}

func countTicks(db *gorm.DB, by map[string]*FleetDay, outcome wire.Outcome, first time.Time, offset time.Duration) error {
	var rows []struct {
		Date string
		N    int64
	}
	day, shift := fleet.DayColumn(db.Name() == "postgres", "due_at", offset)
	err := db.Raw("SELECT date, count(*) AS n FROM (SELECT "+day+" AS date FROM ticks WHERE outcome = @outcome AND due_at >= @first) x GROUP BY date",
		map[string]any{"outcome": outcome, "first": first, "shift": shift}).Scan(&rows).Error
	if err != nil {
		return err
	}
	for _, r := range rows {
		d := by[r.Date]
		if d == nil {
			d = &FleetDay{Date: r.Date}
			by[r.Date] = d
		}
		if outcome == wire.OutcomeMissed {
			d.Missed = r.N
		} else {
			d.Skipped = r.N
		}
	}
	return nil
}

// due counts what is due in the hours ahead. An expression is computed once for all hosts: a spread only moves it.
func (s *Store) due(db *gorm.DB, now time.Time, ahead int) ([]DueHour, error) {
	var policies []row
	if err := db.Raw("SELECT * FROM policies WHERE enabled").Scan(&policies).Error; err != nil {
		return nil, err
	}
	until := now.Truncate(time.Hour).Add(time.Duration(ahead) * time.Hour)
	counts := map[time.Time]int64{}
	for _, r := range policies {
		spec, err := decodeSpec(r.ID, r.Spec)
		if err != nil {
			return nil, err
		}
		times, err := spec.Schedule.parse()
		if err != nil { // as in timeline: it is never due
			continue
		}
		var hosts []string
		if err := db.Raw("SELECT host_id FROM assignments WHERE policy_id = ? AND problem = ''", r.ID).Scan(&hosts).Error; err != nil {
			return nil, err
		}
		if len(spec.Schedule.Windows) > 0 {
			countRuns(counts, stretch{spec: spec, times: times}, r.ID, hosts, now, until)
			continue
		}
		spread := time.Duration(spec.Schedule.SpreadSeconds) * time.Second
		base := times.Between(now.Add(-spread), until, 60*(maxAhead+24))
		for _, host := range hosts {
			moved := schedule.Offset(spread, wire.SpreadKey(r.ID, host))
			for _, at := range base {
				if at = at.Add(moved); at.After(now) && at.Before(until) {
					counts[at.Truncate(time.Hour)]++
				}
			}
		}
	}
	list := []DueHour{}
	for _, at := range slices.SortedFunc(maps.Keys(counts), time.Time.Compare) {
		list = append(list, DueHour{At: database.Truncate(at), Count: counts[at]})
	}
	return list, nil
}
