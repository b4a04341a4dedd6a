package policy

import (
	"context"
	"time"

	"restic-manager/schedule"
	"restic-manager/server/fault"
)

// Preview is what a cron expression means.
type Preview struct {
	Text         string      `json:"text" doc:"In words"`
	Next         []time.Time `json:"next" doc:"The next five due times, before they are spread; with windows, when those begin that do"`
	EverySeconds int64       `json:"every_seconds,omitempty" doc:"The shortest distance between two of the next 50"`
}

// Preview says what an expression means; the error says what to write in its place. Of t its expression, zone, windows
// and lateness are looked at.
func (s *Store) Preview(ctx context.Context, t Timing) (Preview, error) {
	times, err := schedule.Parse(t.Cron, t.Zone)
	if err == nil {
		times, err = within(times, t.Windows, time.Duration(t.LateSeconds)*time.Second)
	}
	if err != nil {
		return Preview{}, fault.Invalidf("%v", err)
	}
	now, err := s.db.Now(ctx)
	if err != nil {
		return Preview{}, err
	}
	return Preview{
		Text: times.Describe(), Next: times.Runs(now, now.AddDate(50, 0, 0), 5),
		EverySeconds: int64(times.Every(now, 50).Seconds()),
	}, nil
}
