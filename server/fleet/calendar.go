package fleet

import (
	"context"
	"fmt"
	"time"

	"restic-manager/server/database"
	"restic-manager/server/fault"
	"restic-manager/shared/wire"
)

// Calendar is how a host's backups ended, day by day.
type Calendar struct {
	Days []CalendarDay `json:"days" doc:"The oldest first; days on which none ended are left out"`
}

// CalendarDay counts the backups that ended on a day. Failed ones are lost, rejected and expired ones too; dry runs do
// not count.
type CalendarDay struct {
	Date                string `json:"date" format:"date"`
	Succeeded           int64  `json:"succeeded"`
	SucceededWithIssues int64  `json:"succeeded_with_issues"`
	Failed              int64  `json:"failed"`
	Canceled            int64  `json:"canceled"`
}

// Bounds of a calendar.
const (
	maxCalendarDays = 366
	maxUTCOffset    = 14 * time.Hour
)

// Calendar counts the host's backups by the day of their end, over so many days up to today. offset is how far the
// days' midnight is ahead of UTC's.
func (s *Store) Calendar(ctx context.Context, hostID string, days int, offset time.Duration) (Calendar, error) {
	c := Calendar{Days: []CalendarDay{}}
	if err := checkCalendar(days, offset); err != nil {
		return c, err
	}
	if !wire.IsUUID(hostID) {
		return c, errNoHost
	}
	now, err := s.db.Now(ctx)
	if err != nil {
		return c, err
	}
	var known []string
	db := s.db.Read(ctx)
	if err := db.Raw("SELECT id FROM hosts WHERE id = ?", hostID).Scan(&known).Error; err != nil {
		return c, fmt.Errorf("look for host %s: %w", hostID, err)
	}
	if len(known) == 0 {
		return c, errNoHost
	}
	first := firstDay(now, days, offset)
	day, shift := DayColumn(s.db.Postgres(), "jobs.ended_at", offset)
	query := countDays + `(SELECT ` + day + ` AS date, jobs.state FROM jobs WHERE jobs.host_id = @host AND ` + realBackup + `
			AND jobs.ended_at IS NOT NULL AND jobs.ended_at >= @first) x
		GROUP BY date ORDER BY date`
	err = db.Raw(query, map[string]any{"host": hostID, "first": first, "shift": shift}).Scan(&c.Days).Error
	if err != nil {
		return c, fmt.Errorf("count the backups of host %s: %w", hostID, err)
	}
	return c, nil
}

// countDays begins a query that counts (date, state) rows by their date.
const countDays = `SELECT date, sum(CASE WHEN state = 'succeeded' THEN 1 ELSE 0 END) AS succeeded,
		sum(CASE WHEN state = 'succeeded_with_issues' THEN 1 ELSE 0 END) AS succeeded_with_issues,
		sum(CASE WHEN state IN ('failed', 'lost', 'rejected', 'expired') THEN 1 ELSE 0 END) AS failed,
		sum(CASE WHEN state = 'canceled' THEN 1 ELSE 0 END) AS canceled
	FROM `

func checkCalendar(days int, offset time.Duration) error {
	if days < 1 || days > maxCalendarDays {
		return fault.Invalidf("days: give 1 to %d", maxCalendarDays)
	}
	if offset.Abs() > maxUTCOffset {
		return fault.Invalidf("utc_offset_minutes: give -840 to 840")
	}
	return nil
}

// firstDay is the midnight at which so many days up to today begin.
func firstDay(now time.Time, days int, offset time.Duration) time.Time {
	today := now.Add(offset).Truncate(24 * time.Hour)
	return database.Truncate(today.AddDate(0, 0, 1-days).Add(-offset))
}

// DayColumn is the day of a column's time in SQL, and its argument @shift: days whose midnight is so far ahead of UTC's.
func DayColumn(postgres bool, column string, offset time.Duration) (sql, shift string) {
	if postgres {
		return "to_char(" + column + " AT TIME ZONE 'UTC' + CAST(@shift AS interval), 'YYYY-MM-DD')", fmt.Sprintf("%d minutes", int(offset.Minutes()))
	}
	return "strftime('%Y-%m-%d', " + column + ", @shift)", fmt.Sprintf("%+d minutes", int(offset.Minutes()))
}

// EndedBackups counts the backups of the whole fleet by the day of their end, as Calendar does those of a host. first is
// when the days begin.
func (s *Store) EndedBackups(ctx context.Context, days int, offset time.Duration) (list []CalendarDay, first time.Time, err error) {
	if err := checkCalendar(days, offset); err != nil {
		return nil, first, err
	}
	now, err := s.db.Now(ctx)
	if err != nil {
		return nil, first, err
	}
	first = firstDay(now, days, offset)
	day, shift := DayColumn(s.db.Postgres(), "jobs.ended_at", offset)
	// A job that ended since then was queued in the weeks before at the earliest: it waits and runs no longer.
	query := countDays + "(SELECT " + day + " AS date, jobs.state FROM jobs WHERE jobs.id >= @oldest AND " + realBackup + `
		AND jobs.ended_at IS NOT NULL AND jobs.ended_at >= @first) x GROUP BY date ORDER BY date`
	oldest := database.FirstIDAt(first.Add(-maxTTL - maxTimeLimit))
	if err := s.db.Read(ctx).Raw(query, map[string]any{"first": first, "oldest": oldest, "shift": shift}).Scan(&list).Error; err != nil {
		return nil, first, fmt.Errorf("count the backups of the fleet: %w", err)
	}
	return list, first, nil
}
