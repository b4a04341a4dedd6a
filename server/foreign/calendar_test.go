package foreign

import (
	"strings"
	"testing"
)

func TestCalendarsThatCronCanSay(t *testing.T) {
	for text, want := range map[string]string{
		"daily": "0 0 * * *", "hourly": "0 * * * *", "weekly": "0 0 * * 1", "monthly": "0 0 1 * *", "yearly": "0 0 1 1 *", "quarterly": "0 0 1 1,4,7,10 *", "minutely": "* * * * *",
		"10:30": "30 10 * * *", "*:00,30": "0,30 * * * *", "*:0/15": "0,15,30,45 * * * *", "*-*-* 02:30:00": "30 2 * * *", "*-*-1": "0 0 1 * *", "*-1..3-1,15 4:05": "5 4 1,15 1,2,3 *",
		"Mon..Fri 22:00": "0 22 * * 1,2,3,4,5", "Sat,Sun *-*-* 10:00": "0 10 * * 0,6", "Fri..Mon 1:00": "0 1 * * 0,1,5,6", "sunday": "0 0 * * 0", "Mon-Wed 3:00": "0 3 * * 1,2,3",
		"*-*-* 9..17/4:00": "0 9,13,17 * * *", "*-*-* *:*": "* * * * *", "Mon..Sun 5:00": "0 5 * * *",
	} {
		got, zone, err := calendars([]string{text})
		if err != nil || got != want || zone != "" {
			t.Errorf("%s: got %q in %q, %v, want %q", text, got, zone, err, want)
		}
	}
	if got, zone, err := calendars([]string{"02:00 Europe/Berlin"}); err != nil || got != "0 2 * * *" || zone != "Europe/Berlin" {
		t.Errorf("with a zone: got %q in %q, %v", got, zone, err)
	}
	for _, c := range []struct{ list, want string }{
		{"*:00,30|*:15,45", "0,15,30,45 * * * *"}, {"02:00|14:00", "0 2,14 * * *"}, {"Mon 2:00|Thu 2:00", "0 2 * * 1,4"}, {"daily|daily", "0 0 * * *"}, {"*-*-* *:00|*-*-* 3:00", "0 * * * *"},
	} {
		if got, _, err := calendars(strings.Split(c.list, "|")); err != nil || got != c.want {
			t.Errorf("%s: got %q, %v, want %q", c.list, got, err, c.want)
		}
	}
}

// TestCalendarsThatCronCannotSay are refused, and not made nearly right.
func TestCalendarsThatCronCannotSay(t *testing.T) {
	for text, says := range map[string]string{
		"2027-*-* 2:00": "no years", "*-*-* 02:30:15": "no seconds", "*:*:0/10": "no seconds", "Mon *-*-1 2:00": "both at once", "*-*~1": "month's end", "25:00": "not within 0 to 23", "*:0/0": "cannot be read",
		"soon": "no weekday", "02:00 Nowhere/Else": "no time zone", "": "empty", "*-*-* 2:00 3:00": "cannot be read", "*-2-30": "never due", "*-13-1": "not within 1 to 12", "2:00|Mon 3:00": "one cron expression cannot",
		"2:00 UTC|3:00 Europe/Berlin": "two time zones", "5..3:00": "not within",
	} {
		if got, _, err := calendars(strings.Split(text, "|")); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: got %q, %v, want %q", text, got, err, says)
		}
	}
}

func FuzzCalendars(f *testing.F) {
	f.Add("Mon..Fri *-*-* 9..17/2:0/15 UTC")
	f.Fuzz(func(t *testing.T, text string) {
		cron, _, err := calendars([]string{text})
		if (err == nil) != (cron != "") {
			t.Errorf("%q: got %q, %v", text, cron, err)
		}
	})
}

func TestSizesAndDurations(t *testing.T) {
	for text, want := range map[string]int64{"100": 100, "1K": 1024, "2m": 2 << 20, "3G": 3 << 30, "1T": 1 << 40, "7B": 7, "": 0, "M": 0, "-1": 0, "1.5G": 0, "99999999T": 0} {
		if got, ok := bytesOf(text); got != want || ok != (want != 0) {
			t.Errorf("%q: got %d, %v, want %d", text, got, ok, want)
		}
	}
	for text, want := range map[string]int{"30d": 30, "7d24h": 8, "48h": 2, "1y": 0, "3h": 0, "2m": 0, "d": 0, "30": 0, "": 0, "99999d": 0} {
		if got, ok := daysOf(text); ok != (want != 0) || ok && got != want {
			t.Errorf("%q: got %d, %v, want %d", text, got, ok, want)
		}
	}
}
