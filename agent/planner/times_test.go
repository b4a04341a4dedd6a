//go:build !race

package planner

import (
	"testing"
	"time"

	"restic-manager/shared/wire"
)

// TestDueTimesAreThoseOfTheZoneMovedForTheHost: by less than the spread, the same each day, and not the same everywhere.
func TestDueTimesAreThoseOfTheZoneMovedForTheHost(t *testing.T) {
	p := wire.ScheduledPolicy{ID: "018f0000-0000-7000-8000-00000000000b", Cron: "30 2 * * *", Zone: "Europe/Berlin", SpreadSeconds: 3600}
	first := time.Date(2026, 11, 24, 1, 30, 0, 0, time.UTC) // in winter
	offsets := map[time.Duration]bool{}
	for _, h := range []string{host, "018f0000-0000-7000-8000-00000000000c", "018f0000-0000-7000-8000-00000000000d"} {
		times, err := TimesOf(p, h)
		if err != nil {
			t.Fatal(err)
		}
		two := times.Between(first.Add(-time.Second), first.Add(47*time.Hour), 10)
		if len(two) != 2 || two[1].Sub(two[0]) != 24*time.Hour {
			t.Fatalf("%s: got %v, want two due times a day apart", h, two)
		}
		offset := two[0].Sub(first)
		if offset < 0 || offset >= time.Hour {
			t.Errorf("%s: got %s, want it moved by less than an hour", h, two[0])
		}
		offsets[offset] = true
	}
	if len(offsets) < 2 {
		t.Errorf("got offsets %v, want different ones", offsets)
	}
	p.Cron = "soon"
	if _, err := TimesOf(p, host); err == nil {
		t.Error("an expression that is none: got no error")
	}
}
