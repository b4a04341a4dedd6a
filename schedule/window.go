package schedule

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Window is when a run may begin: on the days on which it opens, from From up to and without To, as the wall's clock
// shows them. A To that is not later than From is of the next day.
type Window struct {
	Days      []string // mon to sun; none: every day
	From, To  string   // as in 22:00; To may be 24:00
	StopAtEnd bool     // a run ends when the window closes
}

// MaxWindows bounds how many windows a schedule has.
const MaxWindows = 20

// searched is how far ahead an opening is looked for: each window opens once a week, and what a change of the clock left
// out a week later.
const searched = 15 * 24 * time.Hour

var weekdays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// window is a Window that is understood: days as a mask of time.Weekday, times in minutes after midnight; to may be more
// than a day.
type window struct {
	days     uint64
	from, to int
	stops    bool
}

// Within gives the schedule whose runs begin in windows only; late is how long after its due time one may begin, 0:
// until the next one is due. The error is for people.
func (s *Schedule) Within(windows []Window, late time.Duration) (*Schedule, error) {
	if len(windows) > MaxWindows {
		return nil, fmt.Errorf("windows: at most %d", MaxWindows)
	}
	bound := *s
	bound.windows, bound.late = nil, late
	for i, w := range windows {
		parsed, err := w.parse()
		if err != nil {
			return nil, fmt.Errorf("windows[%d].%w", i, err)
		}
		bound.windows = append(bound.windows, parsed)
	}
	return &bound, nil
}

func (w Window) parse() (window, error) {
	p := window{stops: w.StopAtEnd}
	for _, d := range w.Days {
		n := slices.Index(weekdays, d)
		if n < 0 {
			return p, fmt.Errorf("days: %.20q is none of mon, tue, wed, thu, fri, sat, sun", d)
		}
		p.days |= 1 << n
	}
	if len(w.Days) == 0 {
		p.days = 1<<7 - 1
	}
	var err error
	if p.from, err = minutes(w.From); err != nil || p.from == 24*60 {
		return p, fmt.Errorf("from: give a time of the day from 00:00 to 23:59, not %.20q", w.From)
	}
	if p.to, err = minutes(w.To); err != nil {
		return p, fmt.Errorf("to: give a time of the day from 00:00 to 24:00, not %.20q", w.To)
	}
	if p.to == p.from {
		return p, errors.New("to: it is the same as from; give another time, or 00:00 to 24:00 for the whole day")
	}
	if p.to < p.from {
		p.to += 24 * 60
	}
	return p, nil
}

var errClock = errors.New("no time of the day")

// minutes reads a time of the day as it is written: two digits, a colon, two digits.
func minutes(s string) (int, error) {
	if len(s) != 5 || s[2] != ':' || strings.Trim(s[:2]+s[3:], "0123456789") != "" {
		return 0, errClock
	}
	n := (int(s[0]-'0')*10+int(s[1]-'0'))*60 + int(s[3]-'0')*10 + int(s[4]-'0')
	if s[3] > '5' || n > 24*60 {
		return 0, errClock
	}
	return n, nil
}

// stretch is when a window opens and closes next: the first stretch of it that closes after a moment.
func (s *Schedule) stretch(w window, after time.Time) (opens, closes time.Time, ok bool) {
	y, m, d := after.In(s.zone).Date()
	// Two days before: one that opened yesterday may close today, and the day itself may be shown twice.
	day := time.Date(y, m, d-2, 0, 0, 0, 0, time.UTC)
	for end := after.Add(searched); day.Before(end); day = day.AddDate(0, 0, 1) {
		if !has(w.days, int(day.Weekday())) {
			continue
		}
		opens, closes = s.instant(day.Add(time.Duration(w.from)*time.Minute)), s.instant(day.Add(time.Duration(w.to)*time.Minute))
		if closes.After(opens) && closes.After(after) {
			return opens.UTC(), closes.UTC(), true
		}
	}
	return time.Time{}, time.Time{}, false
}

// Opening is the first moment from t on at which a run may begin, t itself while a window is open or where there are
// none; false: none opens in the next two weeks.
func (s *Schedule) Opening(t time.Time) (time.Time, bool) {
	if len(s.windows) == 0 {
		return t, true
	}
	var first time.Time
	for _, w := range s.windows {
		opens, _, ok := s.stretch(w, t)
		if !ok {
			continue
		}
		if !opens.After(t) {
			return t, true
		}
		if first.IsZero() || opens.Before(first) {
			first = opens
		}
	}
	return first, !first.IsZero()
}

// Closing is the first moment after t at which no window is open, if one is at t; false: none closes then, or not in
// the next two weeks.
func (s *Schedule) Closing(t time.Time) (time.Time, bool) {
	at := t
	for end := t.Add(searched); at.Before(end); {
		to := at
		for _, w := range s.windows {
			if opens, closes, ok := s.stretch(w, at); ok && !opens.After(at) && closes.After(to) {
				to = closes
			}
		}
		if to.Equal(at) {
			return at, at.After(t)
		}
		at = to // another one may be open by then
	}
	return time.Time{}, false
}

// Stops is when a run that begins at t is to have ended: at the closing, if all windows that close then stop at their
// end. False: nothing ends it.
func (s *Schedule) Stops(t time.Time) (time.Time, bool) {
	at, ok := s.Closing(t)
	if !ok {
		return time.Time{}, false
	}
	before := at.Add(-time.Second)
	for _, w := range s.windows {
		if opens, _, ok := s.stretch(w, before); ok && !opens.After(before) && !w.stops {
			return time.Time{}, false
		}
	}
	return at, true
}

// MayBegin is the first moment from now on at which the run of a due time may begin; false: none, for no window opens
// before it is too late or the next one is due. Without windows it is now.
func (s *Schedule) MayBegin(due, now time.Time) (time.Time, bool) {
	if now.Before(due) {
		now = due
	}
	at, ok := s.Opening(now)
	if !ok || at.Equal(now) {
		return at, ok
	}
	if s.late > 0 && at.Sub(due) > s.late {
		return time.Time{}, false
	}
	if next, there := s.Next(due); there && !at.Before(next) {
		return time.Time{}, false
	}
	return at, true
}

// Runs gives when runs begin after from, up to and with to, where nothing is in their way but the windows: the first
// limit of them. A due time of before that waits for its window counts.
func (s *Schedule) Runs(from, to time.Time, limit int) []time.Time {
	if len(s.windows) == 0 {
		return s.Between(from, to, limit)
	}
	var all []time.Time
	due, ok := s.waiting(from)
	for n := 0; ok && !due.After(to) && len(all) < limit && n < mostLooked; n++ {
		at, begins := s.MayBegin(due, due)
		if begins && at.After(from) && !at.After(to) {
			all = append(all, at)
		}
		due, ok = s.Next(due)
	}
	return all
}

// mostLooked bounds the due times that are looked at for runs that may never come.
const mostLooked = 20_000

// waiting is the last due time up to a moment, if it is not too long ago to wait for a window; else the next one.
func (s *Schedule) waiting(at time.Time) (time.Time, bool) {
	for _, back := range []time.Duration{time.Minute, time.Hour, 24 * time.Hour, searched} {
		due, ok := s.Next(at.Add(-back))
		if !ok || due.After(at) {
			continue
		}
		for next, ok := s.Next(due); ok && !next.After(at); next, ok = s.Next(due) {
			due = next
		}
		return due, true
	}
	return s.Next(at)
}
