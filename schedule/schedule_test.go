//go:build !race

package schedule

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func must(t testing.TB, expression, zone string) *Schedule {
	t.Helper()
	s, err := Parse(expression, zone)
	if err != nil {
		t.Fatalf("%s in %s: %v", expression, zone, err)
	}
	return s
}

func utc(s string) time.Time {
	t, err := time.Parse("2006-01-02T15:04:05Z", s)
	if err != nil {
		panic(err)
	}
	return t
}

// minute is what the wall shows.
type minute struct {
	minute, hour, day int
	month             time.Month
	weekday           time.Weekday
}

func minuteOf(wall time.Time) minute {
	return minute{wall.Minute(), wall.Hour(), wall.Day(), wall.Month(), wall.Weekday()}
}

func (m minute) matches(s *Schedule) bool {
	if !has(s.spec.Minute, m.minute) || !has(s.spec.Hour, m.hour) || !has(s.spec.Month, int(m.month)) {
		return false
	}
	dom, dow := has(s.spec.Dom, m.day), has(s.spec.Dow, int(m.weekday))
	if s.spec.Dom&(1<<63) != 0 || s.spec.Dow&(1<<63) != 0 {
		return dom && dow
	}
	return dom || dow
}

// oracle is written from the rule, not from the code: it looks at every minute of the range once, for all schedules of a
// zone. A named hour is due at the first minute of a day's list that shows it; what the wall has jumped over is due where
// it landed.
func oracle(zone *time.Location, all []*Schedule, from, to time.Time) [][]time.Time {
	due := make([][]time.Time, len(all))
	wallAt := func(t time.Time) time.Time {
		_, offset := t.In(zone).Zone()
		return t.UTC().Add(time.Duration(offset) * time.Second)
	}
	reached := wallAt(from) // the latest that the wall has shown
	var fresh []minute      // what it shows for the first time now, or has jumped over
	for t := from.Add(time.Minute); !t.After(to); t = t.Add(time.Minute) {
		wall := wallAt(t)
		fresh = fresh[:0]
		for w := reached.Add(time.Minute); !w.After(wall); w = w.Add(time.Minute) {
			fresh = append(fresh, minuteOf(w))
		}
		shown := minuteOf(wall)
		for i, s := range all {
			if s.byWall && slices.ContainsFunc(fresh, func(m minute) bool { return m.matches(s) }) || !s.byWall && shown.matches(s) {
				due[i] = append(due[i], t)
			}
		}
		if wall.After(reached) {
			reached = wall
		}
	}
	return due
}

var zones = []string{"UTC", "Europe/Berlin", "America/New_York", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kolkata",
	"Africa/Casablanca", "America/Santiago", "Pacific/Chatham", "Asia/Tehran", "Atlantic/Azores"}

var expressions = []string{"30 2 * * *", "0 0 * * *", "15 1,2,3 * * *", "*/15 * * * *", "0 * * * *", "0 */6 * * *", "45 23 * * 0", "0 3 1 * *",
	"59 23 28-31 * 5", "30 1-3 * 3,4,10,11 *", "7 */5 * * 1-5", "*/20 2 * * *"}

// TestEveryDueTimeIsAccountedFor: in 11 zones, over 3 years, each expression is due exactly when the oracle says.
func TestEveryDueTimeIsAccountedFor(t *testing.T) {
	from, to := utc("2025-01-01T00:00:00Z"), utc("2028-01-01T00:00:00Z")
	total := 0
	for _, zone := range zones {
		t.Run(zone, func(t *testing.T) {
			all := make([]*Schedule, len(expressions))
			for i, e := range expressions {
				all[i] = must(t, e, zone)
			}
			due := oracle(all[0].zone, all, from, to)
			for i, e := range expressions {
				s, want := all[i], due[i]
				got := s.Between(from, to, 1<<20)
				total += len(want)
				if slices.EqualFunc(got, want, time.Time.Equal) {
					continue
				}
				for i := range min(len(got), len(want)) {
					if !got[i].Equal(want[i]) {
						t.Fatalf("%s: due time %d: got %s, want %s", e, i, got[i].In(s.zone), want[i].In(s.zone))
					}
				}
				t.Errorf("%s: got %d due times, want %d", e, len(got), len(want))
			}
		})
	}
	if total < 1_000_000 {
		t.Errorf("looked at %d due times, want a million and more", total)
	}
}

func TestDaylightSaving(t *testing.T) {
	for _, c := range []struct {
		what, expression, zone, from string
		want                         []string
	}{
		{"a time in the gap is due once, when it is over", "30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", []string{"2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"}},
		{"two times in the gap are due once", "0,30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", []string{"2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z"}},
		{"a time in the overlap is due the first time alone", "30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", []string{"2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"}},
		{"asked in the overlap's second hour, tomorrow is next", "30 2 * * *", "Europe/Berlin", "2026-10-25T01:10:00Z", []string{"2026-10-26T01:30:00Z"}},
		{"every hour goes on through the overlap", "0 * * * *", "Europe/Berlin", "2026-10-24T23:30:00Z", []string{"2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z"}},
		{"every hour knows no gap", "0 * * * *", "Europe/Berlin", "2026-03-29T00:10:00Z", []string{"2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z"}},
		{"half an hour's shift", "15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", []string{"2026-10-03T15:30:00Z", "2026-10-04T15:15:00Z"}},
		{"midnight that does not exist", "0 0 * * *", "America/Santiago", "2026-09-05T12:00:00Z", []string{"2026-09-06T04:00:00Z", "2026-09-07T03:00:00Z"}},
		{"a day that does not exist", "0 12 * * *", "Pacific/Apia", "2011-12-29T22:30:00Z", []string{"2011-12-30T10:00:00Z", "2011-12-30T22:00:00Z"}},
	} {
		s := must(t, c.expression, c.zone)
		at := utc(c.from)
		for _, want := range c.want {
			next, ok := s.Next(at)
			if !ok || !next.Equal(utc(want)) {
				t.Errorf("%s: after %s got %s, want %s", c.what, at, next, want)
			}
			at = next
		}
	}
}

func TestWhatIsRefusedSaysWhatToWrite(t *testing.T) {
	for expression, want := range map[string]string{
		"":                             "cron: it is empty; give five fields",
		"TZ=UTC":                       "time zone in the expression",
		"CRON_TZ=Europe/Berlin":        "time zone in the expression",
		"TZ= 0 0 * * *":                "time zone in the expression",
		"@every 15m":                   "*/15 * * * *",
		"@reboot":                      "is none of @hourly",
		"0 0 * *":                      "4 fields; give five fields",
		"0 0 0 * * *":                  "6 fields; give five fields",
		"0 0 31 2 *":                   "is never due",
		"0 0 30 2 *":                   "is never due",
		"60 * * * *":                   "give five fields",
		"0 24 * * *":                   "give five fields",
		"0 0 L * *":                    "L is not a number",
		"0 0 ? * *":                    "? and # are not understood",
		"0 0 * * 1#2":                  "? and # are not understood",
		"0 0 * * 8":                    "give five fields",
		"a b c d e":                    "a is not a number",
		"*/0 * * * *":                  "give five fields",
		strings.Repeat("1,", 150):      "longer than 200 characters",
		"5-1 * * * *":                  "give five fields",
		"99999999999999999999 * * * *": "is not a number",
	} {
		if _, err := Parse(expression, "UTC"); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "strconv") {
			t.Errorf("%q: got %v, want it to hold %q", expression, err, want)
		}
	}
	for _, zone := range []string{"", "Local", "local", "Mars/Olympus", "../etc/passwd", "+02:00"} {
		if _, err := Parse("0 0 * * *", zone); err == nil || !strings.Contains(err.Error(), "zone: ") {
			t.Errorf("zone %q: got %v, want an error about the zone", zone, err)
		}
	}
}

func TestSundayIsSeven(t *testing.T) {
	from := utc("2026-11-23T00:00:00Z") // a Monday
	for expression, same := range map[string]string{"0 0 * * 7": "0 0 * * 0", "0 0 * * 5-7": "0 0 * * 0,5,6", "0 0 * * 0-7": "0 0 * * *", "0 0 * * 1,7": "0 0 * * 0,1", "0 0 * * 7,3": "0 0 * * 0,3"} {
		got, want := must(t, expression, "UTC").Between(from, from.AddDate(0, 0, 21), 100), must(t, same, "UTC").Between(from, from.AddDate(0, 0, 21), 100)
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want those of %s: %v", expression, got, same, want)
		}
	}
}

func TestSpreadIsStableAndEven(t *testing.T) {
	const window = time.Hour
	parts := make([]int, 12)
	for i := range 12_000 {
		key := fmt.Sprintf("policy host-%d", i)
		o := Offset(window, key)
		if o != Offset(window, key) || o < 0 || o >= window || o%time.Second != 0 {
			t.Fatalf("offset of %s: got %s", key, o)
		}
		parts[o/(window/12)]++
	}
	for i, n := range parts {
		if n < 850 || n > 1150 {
			t.Errorf("twelfth %d: got %d of 12000 keys, want about 1000", i, n)
		}
	}
	if got := Offset(window, "01a20bc7-bcb3-7d18-9728-79f284f77099 01a20bc8-30f2-7d0b-852c-af7b15720839"); got != 55*time.Minute+22*time.Second {
		t.Errorf("a known key: got %s; a change moves every host's due times", got)
	}
	s := must(t, "30 2 * * *", "Europe/Berlin")
	moved := s.Spread(window, "k")
	plain, _ := s.Next(utc("2026-05-01T00:00:00Z"))
	got, _ := moved.Next(utc("2026-05-01T00:00:00Z"))
	if d := got.Sub(plain); d != Offset(window, "k") || d == 0 {
		t.Errorf("moved by %s, want %s", d, Offset(window, "k"))
	}
	// Between the expression's time and the host's own, the host's is next.
	if again, _ := moved.Next(plain.Add(time.Second)); !again.Equal(got) {
		t.Errorf("after the expression's own time: got %s, want %s", again, got)
	}
	if Offset(time.Second, "k") != 0 || Offset(-time.Hour, "k") != 0 {
		t.Error("a window of a second or less moves something")
	}
}

func TestInWords(t *testing.T) {
	for expression, want := range map[string]string{
		"30 2 * * *": "every day at 02:30", "@daily": "every day at 00:00", "*/15 * * * *": "every 15 minutes", "@hourly": "every hour",
		"5 * * * *": "every hour at minute 5", "0 */6 * * *": "every 6 hours", "10 */8 * * *": "every 8 hours at minute 10", "* * * * *": "every minute",
		"0 22 * * 1-5": "Monday to Friday at 22:00", "0 3 * * 0": "every Sunday at 03:00", "0 3 * * 6,7": "every Sunday and Saturday at 03:00",
		"0 8,12,18 * * *": "every day at 08:00, 12:00 and 18:00", "0 4 1 * *": "every month on day 1 at 04:00", "0 4 1,15 * *": "every month on day 1 and 15 at 04:00",
		"@yearly": "every year on 1 January at 00:00", "0 4 1 * 1": "cron 0 4 1 * 1", "0-10 3 * * *": "cron 0-10 3 * * *",
		"*/15 * * * 1-5": "Monday to Friday every 15 minutes",
	} {
		if got := must(t, expression, "UTC").Describe(); got != want {
			t.Errorf("%s: got %q, want %q", expression, got, want)
		}
	}
}

func TestTheShortestDistance(t *testing.T) {
	for expression, want := range map[string]time.Duration{"*/15 * * * *": 15 * time.Minute, "0 0 * * *": 24 * time.Hour, "0,5 3 * * *": 5 * time.Minute} {
		if got := must(t, expression, "UTC").Every(utc("2026-11-01T00:00:00Z"), 50); got != want {
			t.Errorf("%s: got %s, want %s", expression, got, want)
		}
	}
}

// FuzzParse: whatever is written, there is an answer, and a due time comes after the moment it is asked for.
func FuzzParse(f *testing.F) {
	for _, e := range append(expressions, "TZ=", "CRON_TZ=UTC", "TZ=0", "@every 1s", "0 0 29 2 *", "0 0 * * 5-7/2") {
		f.Add(e, "Europe/Berlin", int64(1_790_000_000))
	}
	f.Fuzz(func(t *testing.T, expression, zone string, at int64) {
		s, err := Parse(expression, zone)
		if err != nil {
			return
		}
		after := time.Unix(at%4_000_000_000, 0)
		next, ok := s.Next(after)
		if ok && !next.After(after) {
			t.Errorf("%q in %q after %s: got %s", expression, zone, after, next)
		}
		_ = s.Describe()
	})
}

func BenchmarkNext(b *testing.B) {
	for _, e := range []string{"30 2 * * *", "*/15 * * * *", "0 0 29 2 *"} {
		s := must(b, e, "Europe/Berlin")
		b.Run(e, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.Next(utc("2026-11-27T07:00:00Z"))
			}
		})
	}
}
