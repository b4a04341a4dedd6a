// Package schedule computes the due times of cron expressions, for the server and for agents alike: the same expression,
// zone, spread and key give the same times to the second on both sides.
//
// Of robfig/cron only the parser is used. Its Next leaves out a time in the gap that daylight saving time makes and gives
// one in the overlap twice; here both come once:
//
//   - Where the hour is named ("30 2 * * *", "0 8-18 * * 1-5"), the expression means the clock on the wall. What falls
//     into the gap is due once, at the first moment after it; what falls into the overlap is due the first time.
//   - Where the hour is * or has a step ("*/15 * * * *", "0 */6 * * *"), it means the time that passes: every hour that
//     there is, also the one that the wall shows twice, and none that it does not show.
package schedule

import (
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"strings"
	"time"
	_ "time/tzdata" // zones where the machine has none

	"github.com/robfig/cron/v3"
)

// horizon is how far ahead a due time is looked for: a 29 February may be 8 years away.
const horizon = 9 * 366 * 24 * time.Hour

// Schedule is a parsed expression in its zone. It is safe for concurrent use.
type Schedule struct {
	expression string
	zone       *time.Location
	spec       cron.SpecSchedule
	byWall     bool          // the hour is named
	offset     time.Duration // each due time is that much later
	windows    []window      // in which runs begin; none: always
	late       time.Duration // with windows, how long after its due time a run may begin; 0: until the next one is due
}

const help = "give five fields: minute, hour, day of month, month, day of week, as in 30 2 * * * for every day at 02:30"

// aliases are the words that stand for five fields.
var aliases = map[string]string{
	"@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
	"@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
}

// Parse reads a cron expression of five fields, or one of @hourly, @daily, @weekly, @monthly and @yearly, in an IANA zone.
// The error is for people. An expression that is never due is an error.
func Parse(expression, zone string) (*Schedule, error) {
	expression = strings.Join(strings.Fields(expression), " ")
	loc, err := parseZone(zone)
	if err != nil {
		return nil, err
	}
	fields, err := fields(expression)
	if err != nil {
		return nil, err
	}
	spec, err := parse(strings.Join(fields, " "))
	if err != nil {
		return nil, err
	}
	s := &Schedule{expression: expression, zone: loc, spec: spec, byWall: !strings.ContainsAny(fields[1], "*/")}
	if _, ok := s.Next(time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)); !ok {
		return nil, fmt.Errorf("cron: %q is never due: there is no such day; choose another day or month", expression)
	}
	return s, nil
}

func parseZone(zone string) (*time.Location, error) {
	if zone == "" || strings.EqualFold(zone, "local") {
		return nil, errors.New("zone: give the name of a time zone, as in Europe/Berlin or UTC")
	}
	loc, err := time.LoadLocation(zone)
	if err != nil {
		return nil, fmt.Errorf("zone: %.60q is not a time zone; give a name as in Europe/Berlin or UTC", zone)
	}
	return loc, nil
}

// fields are the five of the expression in the form that the parser takes.
func fields(expression string) ([]string, error) {
	switch {
	case expression == "":
		return nil, errors.New("cron: it is empty; " + help)
	case len(expression) > 200:
		return nil, errors.New("cron: it is longer than 200 characters; " + help)
	case strings.Contains(strings.ToUpper(expression), "TZ="):
		return nil, errors.New("cron: no time zone in the expression; it has a field of its own")
	case strings.HasPrefix(strings.ToLower(expression), "@every"):
		return nil, errors.New("cron: @every has no fixed times; write */15 * * * * for every 15 minutes, or 0 */6 * * * for every 6 hours")
	case strings.HasPrefix(expression, "@"):
		five, ok := aliases[strings.ToLower(expression)]
		if !ok {
			return nil, fmt.Errorf("cron: %.40q is none of @hourly, @daily, @weekly, @monthly, @yearly; or %s", expression, help)
		}
		return strings.Fields(five), nil
	case strings.ContainsAny(expression, "?#"):
		return nil, errors.New("cron: ? and # are not understood; write * for any, and a day's number or its first three letters")
	}
	f := strings.Fields(expression)
	if len(f) != 5 {
		return nil, fmt.Errorf("cron: %d fields; %s", len(f), help)
	}
	f[4] = sunday(f[4])
	return f, nil
}

// sunday writes 7 as 0 in a list of days of the week: Vixie's cron takes both, the parser only 0.
func sunday(field string) string {
	parts := strings.Split(field, ",")
	for i, p := range parts {
		days, step, stepped := strings.Cut(p, "/")
		from, to, ranged := strings.Cut(days, "-")
		switch {
		case !ranged && days == "7":
			days = "0"
		case ranged && to == "7" && from != "7":
			// 5-7 is 5, 6 and 0. With a step it stays for the parser to refuse.
			if !stepped {
				parts[i] = from + "-6,0"
				if from == "0" {
					parts[i] = "0-6"
				}
				continue
			}
		}
		parts[i] = days
		if stepped {
			parts[i] += "/" + step
		}
	}
	return strings.Join(parts, ",")
}

// parse is the parser with its panics caught.
func parse(five string) (spec cron.SpecSchedule, err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("cron: it cannot be read; " + help)
		}
	}()
	parser := cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow)
	got, err := parser.Parse(five)
	if err != nil {
		return spec, fmt.Errorf("cron: %s; %s", plain(err), help)
	}
	s, ok := got.(*cron.SpecSchedule)
	if !ok {
		return spec, errors.New("cron: it cannot be read; " + help)
	}
	return *s, nil
}

// plain is the parser's error without what it says about Go.
func plain(err error) string {
	s := err.Error()
	if i := strings.Index(s, "strconv."); i >= 0 {
		if from, to := strings.Index(s, "from "), strings.Index(s[:i], ": "); from >= 0 && to > from {
			return fmt.Sprintf("%s is not a number", s[from+len("from "):to])
		}
		return "there is something that is not a number"
	}
	return s
}

// Spread gives the schedule of one of many that share an expression: each due time is later by a part of the window that
// is always the same for the key. A window below two seconds moves nothing.
func (s *Schedule) Spread(window time.Duration, key string) *Schedule {
	moved := *s
	moved.offset = Offset(window, key)
	return &moved
}

// Offset is a stable part of a window for a key: whole seconds, 0 or more, less than the window.
func Offset(window time.Duration, key string) time.Duration {
	seconds := uint64(max(window, 0) / time.Second)
	if seconds < 2 {
		return 0
	}
	h := fnv.New64a()
	h.Write([]byte(key))
	// The hash's low bits alone are poor for keys that differ at their end.
	x := h.Sum64()
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	return time.Duration(x%seconds) * time.Second
}

// Next is the first due time after a moment, in UTC; false when there is none in 9 years.
func (s *Schedule) Next(after time.Time) (time.Time, bool) {
	after = after.Add(-s.offset)
	next := s.nextPassed
	if s.byWall {
		next = s.nextByWall
	}
	t, ok := next(after)
	if !ok {
		return time.Time{}, false
	}
	return t.Add(s.offset).UTC(), true
}

// Between gives the due times after from, up to to and with it: the first limit of them.
func (s *Schedule) Between(from, to time.Time, limit int) []time.Time {
	var all []time.Time
	for len(all) < limit {
		t, ok := s.Next(from)
		if !ok || t.After(to) {
			break
		}
		all, from = append(all, t), t
	}
	return all
}

// Every is the shortest distance between the next n due times after a moment; 0 for fewer than two.
func (s *Schedule) Every(after time.Time, n int) time.Duration {
	shortest := time.Duration(0)
	all := s.Between(after, after.Add(math.MaxInt64/2), n)
	for i := 1; i < len(all); i++ {
		if d := all[i].Sub(all[i-1]); shortest == 0 || d < shortest {
			shortest = d
		}
	}
	return shortest
}

func has(mask uint64, n int) bool { return mask&(1<<uint(n)) != 0 }

// star is the parser's mark of a field that was * (cron.starBit).
const star = 1 << 63

// dayMatches is cron's rule of days: where day of month and day of week are both named, one of them is enough.
func (s *Schedule) dayMatches(month time.Month, day int, weekday time.Weekday) bool {
	if !has(s.spec.Month, int(month)) {
		return false
	}
	dom, dow := has(s.spec.Dom, day), has(s.spec.Dow, int(weekday))
	if s.spec.Dom&star != 0 || s.spec.Dow&star != 0 {
		return dom && dow
	}
	return dom || dow
}

// nextByWall walks the days of the calendar, and in them the times of the wall's clock.
func (s *Schedule) nextByWall(after time.Time) (time.Time, bool) {
	y, m, d := after.In(s.zone).Date()
	// The day before too: what fell into a gap at its end is due in this one.
	day := time.Date(y, m, d-1, 0, 0, 0, 0, time.UTC)
	for end := after.Add(horizon); day.Before(end); day = day.AddDate(0, 0, 1) {
		if !s.dayMatches(day.Month(), day.Day(), day.Weekday()) {
			continue
		}
		for h := range 24 {
			if !has(s.spec.Hour, h) {
				continue
			}
			for minute := range 60 {
				if !has(s.spec.Minute, minute) {
					continue
				}
				if t := s.instant(day.Add(time.Duration(h)*time.Hour + time.Duration(minute)*time.Minute)); t.After(after) {
					return t, true
				}
			}
		}
	}
	return time.Time{}, false
}

// instant is when the wall shows a time (given in UTC) first; when it never does, the first moment after the gap.
func (s *Schedule) instant(wall time.Time) time.Time {
	t := time.Date(wall.Year(), wall.Month(), wall.Day(), wall.Hour(), wall.Minute(), 0, 0, s.zone)
	start, end := t.ZoneBounds()
	if shown := onWall(t); !shown.Equal(wall) {
		if shown.After(wall) {
			return start
		}
		return end
	}
	if start.IsZero() {
		return t
	}
	_, before := start.Add(-time.Second).In(s.zone).Zone()
	if earlier := wall.Add(-time.Duration(before) * time.Second).In(s.zone); earlier.Before(t) && onWall(earlier).Equal(wall) {
		return earlier
	}
	return t
}

// onWall is what the wall shows, as if it were UTC.
func onWall(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), 0, time.UTC)
}

// nextPassed walks the time that passes, and looks what the wall shows.
func (s *Schedule) nextPassed(after time.Time) (time.Time, bool) {
	t := after.Truncate(time.Minute).Add(time.Minute)
	for end := after.Add(horizon); t.Before(end); {
		local := t.In(s.zone)
		switch {
		case !s.dayMatches(local.Month(), local.Day(), local.Weekday()):
			t = s.leap(local, 24*60-local.Hour()*60-local.Minute())
		case !has(s.spec.Hour, local.Hour()):
			t = s.leap(local, 60-local.Minute())
		case !has(s.spec.Minute, local.Minute()):
			t = t.Add(time.Minute)
		default:
			return t, true
		}
	}
	return time.Time{}, false
}

// leap goes so many minutes ahead, but not past a change of the clock.
func (s *Schedule) leap(local time.Time, minutes int) time.Time {
	to := local.Add(time.Duration(minutes) * time.Minute)
	if _, end := local.ZoneBounds(); !end.IsZero() && end.After(local) && end.Before(to) {
		return end
	}
	return to
}
