//go:build !race

package schedule

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// within is a schedule with windows.
func within(t testing.TB, expression, zone string, late time.Duration, windows ...Window) *Schedule {
	t.Helper()
	s, err := must(t, expression, zone).Within(windows, late)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// shown is the furthest that the wall has come at each minute of a range: what is set back is not shown anew.
func shown(zone string, from, to time.Time) (at, wall []time.Time) {
	loc, err := time.LoadLocation(zone)
	if err != nil {
		panic(err)
	}
	var furthest time.Time
	for t := from; t.Before(to); t = t.Add(time.Minute) {
		if w := onWall(t.In(loc)); w.After(furthest) {
			furthest = w
		}
		at, wall = append(at, t), append(wall, furthest)
	}
	return at, wall
}

// isOpen is the rule as the protocol has it: one of the window's days has its from behind it, and its to before it.
func isOpen(w Window, wall time.Time) bool {
	clock := func(s string) time.Duration {
		h, m, _ := strings.Cut(s, ":")
		d, err := time.ParseDuration(h + "h" + m + "m")
		if err != nil {
			panic(err)
		}
		return d
	}
	from, to := clock(w.From), clock(w.To)
	if to <= from {
		to += 24 * time.Hour
	}
	for back := range 4 {
		day := wall.Truncate(24*time.Hour).AddDate(0, 0, -back)
		name := strings.ToLower(day.Weekday().String()[:3])
		if len(w.Days) > 0 && !slices.Contains(w.Days, name) {
			continue
		}
		if !wall.Before(day.Add(from)) && wall.Before(day.Add(to)) {
			return true
		}
	}
	return false
}

// changes are weeks in which clocks change, and one in which none does.
var changes = []struct{ zone, from string }{
	{"Europe/Berlin", "2026-03-25T00:00:00Z"}, {"Europe/Berlin", "2026-10-22T00:00:00Z"}, {"Europe/Berlin", "2026-11-20T00:00:00Z"},
	{"Australia/Lord_Howe", "2026-10-01T00:00:00Z"}, {"Australia/Lord_Howe", "2026-04-02T00:00:00Z"}, {"America/Santiago", "2026-09-03T00:00:00Z"},
	{"America/Santiago", "2026-04-02T00:00:00Z"}, {"Pacific/Apia", "2011-12-27T00:00:00Z"}, {"Asia/Kathmandu", "2026-05-01T00:00:00Z"}, {"UTC", "2026-02-25T00:00:00Z"},
}

func drawWindows(r *rand.Rand) (list []Window) {
	clock := func() string {
		return time.Date(0, 1, 1, []int{0, 1, 2, 2, 3, 6, 12, 22, 23}[r.IntN(9)], []int{0, 15, 30, 45}[r.IntN(4)], 0, 0, time.UTC).Format("15:04")
	}
	for range 1 + r.IntN(3) {
		w := Window{From: clock(), To: clock(), StopAtEnd: r.IntN(2) == 0}
		if w.From == w.To {
			w.To = "24:00"
		}
		for _, d := range weekdays {
			if r.IntN(3) == 0 {
				w.Days = append(w.Days, d)
			}
		}
		list = append(list, w)
	}
	return list
}

// TestWindowsAreOpenWhenTheRuleSaysSo: at each minute of a week, a window is open, opens next and closes next when a walk
// over the minutes says so.
func TestWindowsAreOpenWhenTheRuleSaysSo(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, c := range changes {
		from := utc(c.from)
		at, wall := shown(c.zone, from.AddDate(0, 0, -4), from.AddDate(0, 0, 16))
		for range 5 {
			windows := drawWindows(r)
			s := within(t, "0 3 * * *", c.zone, 0, windows...)
			open, stops := make([]bool, len(at)), make([]bool, len(at))
			for i := range at {
				stops[i] = true
				for _, w := range windows {
					if isOpen(w, wall[i]) {
						open[i], stops[i] = true, stops[i] && w.StopAtEnd
					}
				}
			}
			for i := 4 * 1440; i < 11*1440; i += 11 {
				if got, ok := s.Opening(at[i]); ok {
					n := slices.Index(open[i:], true)
					if n >= 0 && !got.Equal(at[i+n]) {
						t.Fatalf("%s %+v at %s: opens at %s, want %s", c.zone, windows, at[i], got, at[i+n])
					}
				}
				if !open[i] {
					if to, ok := s.Closing(at[i]); ok {
						t.Fatalf("%s %+v at %s, when none is open: closes at %s", c.zone, windows, at[i], to)
					}
					continue
				}
				n := slices.Index(open[i:], false)
				if n < 0 {
					continue
				}
				if got, ok := s.Closing(at[i]); !ok || !got.Equal(at[i+n]) {
					t.Fatalf("%s %+v at %s: closes at %s, want %s", c.zone, windows, at[i], got, at[i+n])
				}
				if got, ok := s.Stops(at[i]); ok != stops[i+n-1] || ok && !got.Equal(at[i+n]) {
					t.Fatalf("%s %+v at %s: stops at %s, %v; closes at %s", c.zone, windows, at[i], got, ok, at[i+n])
				}
			}
		}
	}
}

func TestWindowsWhereTheClockChanges(t *testing.T) {
	for _, c := range []struct {
		what, zone, from, to string
		at, opens, closes    string
	}{
		{"the gap shortens a window", "Europe/Berlin", "01:30", "03:30", "2026-03-29T00:00:00Z", "2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z"},
		{"what begins in the gap opens at its end", "Europe/Berlin", "02:30", "05:00", "2026-03-29T00:00:00Z", "2026-03-29T01:00:00Z", "2026-03-29T03:00:00Z"},
		{"what lies in the gap does not open", "Europe/Berlin", "02:10", "02:50", "2026-03-29T00:00:00Z", "2026-03-30T00:10:00Z", "2026-03-30T00:50:00Z"},
		{"the overlap lengthens a window", "Europe/Berlin", "01:30", "03:30", "2026-10-24T22:00:00Z", "2026-10-24T23:30:00Z", "2026-10-25T02:30:00Z"},
		{"what lies in the overlap opens once", "Europe/Berlin", "02:10", "02:50", "2026-10-24T23:00:00Z", "2026-10-25T00:10:00Z", "2026-10-25T00:50:00Z"},
		{"and not again in its second hour", "Europe/Berlin", "02:10", "02:50", "2026-10-25T01:15:00Z", "2026-10-26T01:10:00Z", "2026-10-26T01:50:00Z"},
		{"over midnight", "UTC", "22:00", "06:00", "2026-11-27T21:00:00Z", "2026-11-27T22:00:00Z", "2026-11-28T06:00:00Z"},
		{"over midnight, asked after it", "UTC", "22:00", "06:00", "2026-11-28T03:00:00Z", "2026-11-28T03:00:00Z", "2026-11-28T06:00:00Z"},
	} {
		s := within(t, "@daily", c.zone, 0, Window{From: c.from, To: c.to})
		opens, ok := s.Opening(utc(c.at))
		if !ok || !opens.Equal(utc(c.opens)) {
			t.Errorf("%s: opens at %s, want %s", c.what, opens, c.opens)
		}
		if closes, ok := s.Closing(utc(c.opens)); !ok || !closes.Equal(utc(c.closes)) {
			t.Errorf("%s: closes at %s, want %s", c.what, closes, c.closes)
		}
	}
}

func TestADueTimeWaitsForItsWindowOrIsNeverBegun(t *testing.T) {
	night := Window{From: "22:00", To: "06:00"}
	for _, c := range []struct {
		what, cron string
		late       time.Duration
		windows    []Window
		due, now   string
		want       string // empty: never
	}{
		{"without windows it is now", "0 12 * * *", 0, nil, "2026-11-23T12:00:00Z", "2026-11-23T13:00:00Z", "2026-11-23T13:00:00Z"},
		{"inside it is now", "0 23 * * *", 0, []Window{night}, "2026-11-23T23:00:00Z", "2026-11-23T23:00:00Z", "2026-11-23T23:00:00Z"},
		{"the opening itself is inside", "0 22 * * *", 0, []Window{night}, "2026-11-23T22:00:00Z", "2026-11-23T22:00:00Z", "2026-11-23T22:00:00Z"},
		{"the closing is not", "0 6 * * *", 0, []Window{night}, "2026-11-23T06:00:00Z", "2026-11-23T06:00:00Z", "2026-11-23T22:00:00Z"},
		{"outside it waits for the opening", "0 12 * * *", 0, []Window{night}, "2026-11-23T12:00:00Z", "2026-11-23T12:00:00Z", "2026-11-23T22:00:00Z"},
		{"an opening that is too late is none", "0 12 * * *", 9 * time.Hour, []Window{night}, "2026-11-23T12:00:00Z", "2026-11-23T12:00:00Z", ""},
		{"one that is just in time is", "0 12 * * *", 10 * time.Hour, []Window{night}, "2026-11-23T12:00:00Z", "2026-11-23T12:00:00Z", "2026-11-23T22:00:00Z"},
		{"the next one is due before the opening", "0 * * * *", 0, []Window{night}, "2026-11-23T12:00:00Z", "2026-11-23T12:00:00Z", ""},
		{"the next one is due at the opening", "0 * * * *", 0, []Window{night}, "2026-11-23T21:00:00Z", "2026-11-23T21:00:00Z", ""},
		{"late has no say over the next one", "0 * * * *", 12 * time.Hour, []Window{night}, "2026-11-23T12:00:00Z", "2026-11-23T12:00:00Z", ""},
		{"what was not begun in its window waits for the next", "0 23 * * 1", 0, []Window{night}, "2026-11-23T23:00:00Z", "2026-11-24T07:00:00Z", "2026-11-24T22:00:00Z"},
	} {
		s := within(t, c.cron, "UTC", c.late, c.windows...)
		got, ok := s.MayBegin(utc(c.due), utc(c.now))
		if ok != (c.want != "") || ok && !got.Equal(utc(c.want)) {
			t.Errorf("%s: got %s, %v, want %q", c.what, got, ok, c.want)
		}
	}
}

// TestRunsAreWhatMayBegin: no run begins outside of the windows or together with another one, and each due time inside of
// them begins when it is due.
func TestRunsAreWhatMayBegin(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, c := range changes {
		from := utc(c.from)
		at, wall := shown(c.zone, from.AddDate(0, 0, -4), from.AddDate(0, 0, 7))
		for range 6 {
			windows := drawWindows(r)
			s := within(t, []string{"0 * * * *", "30 2 * * *", "20 */5 * * *", "0 12 * * 1-5"}[r.IntN(4)], c.zone, time.Duration(r.IntN(2)*r.IntN(20))*time.Hour, windows...).Spread(time.Hour, "k")
			open := func(when time.Time) bool {
				i, found := slices.BinarySearchFunc(at, when, func(a, b time.Time) int { return a.Compare(b) })
				if !found {
					i--
				}
				return slices.ContainsFunc(windows, func(w Window) bool { return isOpen(w, wall[i]) })
			}
			runs := s.Runs(from, from.AddDate(0, 0, 6), 1000)
			for i, run := range runs {
				if !open(run) {
					t.Fatalf("%s %+v: begins at %s, when none is open", c.zone, windows, run)
				}
				if i > 0 && !run.After(runs[i-1]) {
					t.Fatalf("%s %+v: %s does not come after %s", c.zone, windows, run, runs[i-1])
				}
			}
			for _, due := range s.Between(from, from.AddDate(0, 0, 6), 1000) {
				if _, began := slices.BinarySearchFunc(runs, due, func(a, b time.Time) int { return a.Compare(b) }); open(due) != began {
					t.Fatalf("%s %+v: due at %s, in a window: %v; begins then: %v", c.zone, windows, due, open(due), began)
				}
			}
		}
	}
}

func TestAWindowThatIsNoneSaysWhatToWrite(t *testing.T) {
	for want, w := range map[string]Window{
		"windows[0].days: \"monday\" is none of mon":   {Days: []string{"monday"}, From: "22:00", To: "06:00"},
		"windows[0].from: give a time of the day":      {From: "22", To: "06:00"},
		"from 00:00 to 23:59, not \"24:00\"":           {From: "24:00", To: "06:00"},
		"windows[0].to: give a time of the day":        {From: "22:00", To: "24:01"},
		"to 24:00, not \"6:00\"":                       {From: "22:00", To: "6:00"},
		"not \"06:60\"":                                {From: "22:00", To: "06:60"},
		"not \"-1:00\"":                                {From: "-1:00", To: "06:00"},
		"give another time, or 00:00 to 24:00 for the": {From: "06:00", To: "06:00"},
	} {
		if _, err := must(t, "@daily", "UTC").Within([]Window{w}, 0); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v, want it to hold %q", w, err, want)
		}
	}
	if _, err := must(t, "@daily", "UTC").Within(make([]Window, MaxWindows+1), 0); err == nil || !strings.Contains(err.Error(), "at most 20") {
		t.Errorf("too many: got %v", err)
	}
}
