package planner

import (
	"time"

	"restic-manager/schedule"
	"restic-manager/shared/wire"
)

// TimesOf are a policy's due times at a host: the server computes the same. The error is for people.
func TimesOf(p wire.ScheduledPolicy, host string) (Times, error) {
	s, err := schedule.Parse(p.Cron, p.Zone)
	if err != nil {
		return nil, err
	}
	windows := make([]schedule.Window, len(p.Windows))
	for i, w := range p.Windows {
		windows[i] = schedule.Window(w)
	}
	if s, err = s.Within(windows, time.Duration(p.LateSeconds)*time.Second); err != nil {
		return nil, err
	}
	return s.Spread(time.Duration(p.SpreadSeconds)*time.Second, wire.SpreadKey(p.ID, host)), nil
}
