package fleet

import (
	"slices"
	"testing"
	"time"

	"restic-manager/server/database"
	"restic-manager/server/fault"
	"restic-manager/shared/wire"
)

func TestCalendarCountsByTheDayOfTheEnd(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		h, other := x.host("web"), x.host("db")
		end := func(at string, host string, state wire.State, dry bool) {
			when, err := time.Parse(time.RFC3339Nano, at)
			if err != nil {
				t.Fatal(err)
			}
			x.clock.Set(when.Add(-time.Second)) // backup takes one
			x.backup(host, state, 1, dry)
		}
		end("2026-03-08T23:30:00Z", h, wire.StateSucceeded, false)
		end("2026-03-09T00:00:00Z", h, wire.StateSucceededWithIssues, false)
		end("2026-03-09T12:00:00.000001Z", h, wire.StateFailed, false)
		end("2026-03-09T12:00:01Z", h, wire.StateRejected, false)
		end("2026-03-09T23:59:59.999999Z", h, wire.StateSucceeded, false)
		end("2026-03-10T01:00:00Z", h, wire.StateSucceeded, true)
		end("2026-03-10T02:00:00Z", other, wire.StateSucceeded, false)
		end("2026-03-12T10:00:00Z", h, wire.StateSucceeded, false)
		if _, err := x.CancelJob(t.Context(), tester, x.queue(h, wire.KindBackup)); err != nil {
			t.Fatal(err)
		}
		x.queue(h, wire.KindBackup)
		for _, c := range []struct {
			what   string
			days   int
			offset time.Duration
			want   []CalendarDay
		}{
			{"UTC", 90, 0, []CalendarDay{{"2026-03-08", 1, 0, 0, 0}, {"2026-03-09", 1, 1, 2, 0}, {"2026-03-12", 1, 0, 0, 1}}},
			{"an hour ahead", 90, time.Hour, []CalendarDay{{"2026-03-09", 1, 1, 2, 0}, {"2026-03-10", 1, 0, 0, 0}, {"2026-03-12", 1, 0, 0, 1}}},
			{"half an hour behind", 90, -30 * time.Minute, []CalendarDay{{"2026-03-08", 1, 1, 0, 0}, {"2026-03-09", 1, 0, 2, 0}, {"2026-03-12", 1, 0, 0, 1}}},
			{"14 hours ahead", 90, 14 * time.Hour, []CalendarDay{{"2026-03-09", 1, 1, 0, 0}, {"2026-03-10", 1, 0, 2, 0}, {"2026-03-13", 1, 0, 0, 1}}},
			{"today", 1, 0, []CalendarDay{{"2026-03-12", 1, 0, 0, 1}}},
			{"the day begins at its midnight", 4, 0, []CalendarDay{{"2026-03-09", 1, 1, 2, 0}, {"2026-03-12", 1, 0, 0, 1}}},
			{"and with the offset", 3, time.Hour, []CalendarDay{{"2026-03-10", 1, 0, 0, 0}, {"2026-03-12", 1, 0, 0, 1}}},
		} {
			got, err := x.Calendar(t.Context(), h, c.days, c.offset)
			if err != nil || !slices.Equal(got.Days, c.want) {
				t.Errorf("%s: got %v, %v, want %v", c.what, got.Days, err, c.want)
			}
		}
		for _, bad := range []struct {
			days   int
			offset time.Duration
		}{{0, 0}, {367, 0}, {1, 15 * time.Hour}, {1, -15 * time.Hour}} {
			if _, err := x.Calendar(t.Context(), h, bad.days, bad.offset); !fault.Is(err, "invalid") {
				t.Errorf("%+v: got %v, want invalid", bad, err)
			}
		}
		for _, id := range []string{"x", database.NewID()} {
			if _, err := x.Calendar(t.Context(), id, 1, 0); !fault.Is(err, "not_found") {
				t.Errorf("host %s: got %v, want not_found", id, err)
			}
		}
	})
}
