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
	if days < 1 || days > maxCalendarDays {
		return c, fault.Invalidf("days: give 1 to %d", maxCalendarDays)
	}
	if offset.Abs() > maxUTCOffset {
		return c, fault.Invalidf("utc_offset_minutes: give -840 to 840")
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
	today := now.Add(offset).Truncate(24 * time.Hour)
	first := database.Truncate(today.AddDate(0, 0, 1-days).Add(-offset))
	day := "strftime('%Y-%m-%d', jobs.ended_at, @shift)"
	shift := any(fmt.Sprintf("%+d minutes", int(offset.Minutes())))
	if s.db.Postgres() {
		day, shift = "to_char(jobs.ended_at AT TIME ZONE 'UTC' + CAST(@shift AS interval), 'YYYY-MM-DD')", fmt.Sprintf("%d minutes", int(offset.Minutes()))
	}
	query := `SELECT date, sum(CASE WHEN state = 'succeeded' THEN 1 ELSE 0 END) AS succeeded,
			sum(CASE WHEN state = 'succeeded_with_issues' THEN 1 ELSE 0 END) AS succeeded_with_issues,
			sum(CASE WHEN state IN ('failed', 'lost', 'rejected', 'expired') THEN 1 ELSE 0 END) AS failed,
			sum(CASE WHEN state = 'canceled' THEN 1 ELSE 0 END) AS canceled
		FROM (SELECT ` + day + ` AS date, jobs.state FROM jobs WHERE jobs.host_id = @host AND ` + realBackup + `
			AND jobs.ended_at IS NOT NULL AND jobs.ended_at >= @first) x
		GROUP BY date ORDER BY date`
	err = db.Raw(query, map[string]any{"host": hostID, "first": first, "shift": shift}).Scan(&c.Days).Error
	if err != nil {
		return c, fmt.Errorf("count the backups of host %s: %w", hostID, err)
	}
	return c, nil
}
