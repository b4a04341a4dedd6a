package keeper

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/robfig/cron/v3"

	"restic-manager/server/access"
	"restic-manager/server/fleet"
	"restic-manager/server/policy"
)

// instants is a schedule of chosen moments.
type instants []time.Time

func (s instants) Next(after time.Time) time.Time {
	for _, t := range s {
		if t.After(after) {
			return t
		}
	}
	return time.Time{} // never again (cron.Schedule)
}

func messages(log *bytes.Buffer) (list []string) {
	for line := range strings.Lines(log.String()) {
		if _, rest, ok := strings.Cut(line, "msg="); ok {
			list = append(list, strings.TrimSpace(rest))
		}
	}
	return list
}

func TestADutyIsDoneAtItsInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var got []time.Duration
		k := New(nil, Duty{Name: "x", Every: 3 * time.Second, Do: func(context.Context) error {
			got = append(got, time.Since(start))
			return nil
		}})
		k.Start()
		time.Sleep(10 * time.Second)
		k.Stop(t.Context())
		time.Sleep(time.Minute)
		if want := []time.Duration{3 * time.Second, 6 * time.Second, 9 * time.Second}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

func TestADutyNeverRunsBesideItselfAndDelaysNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		running, most, slow, quick := 0, 0, 0, 0
		k := New(nil,
			Duty{Name: "slow", Every: time.Second, Do: func(context.Context) error {
				running++
				most, slow = max(most, running), slow+1
				time.Sleep(2500 * time.Millisecond)
				running--
				return nil
			}},
			Duty{Name: "quick", Every: time.Second, Do: func(context.Context) error { quick++; return nil }})
		k.Start()
		time.Sleep(10*time.Second + 100*time.Millisecond)
		k.Stop(t.Context())
		if most != 1 || slow != 4 || quick != 10 {
			t.Errorf("got %d at a time, %d slow runs, %d quick; want 1, 4 and 10", most, slow, quick)
		}
	})
}

func TestAFailureIsToldOnceWhenItBeginsAndOnceWhenItEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		start, n := time.Now(), 0
		outcomes := []error{nil, errors.New("no database"), errors.New("no database"), errors.New("still none"), nil, nil, errors.New("again")}
		var moments instants
		for i := range outcomes {
			moments = append(moments, start.Add(time.Duration(i+1)*time.Second))
		}
		k := New(slog.New(slog.NewTextHandler(&log, nil)), Duty{Name: "x", Schedule: moments, Do: func(context.Context) error { n++; return outcomes[n-1] }})
		k.Start()
		time.Sleep(time.Minute)
		k.Stop(t.Context())
		want := []string{
			`"duty fails; it is tried again at each interval" duty=x error="no database"`,
			`"duty works again" duty=x failures=3 after=3s`,
			`"duty fails; it is tried again at each interval" duty=x error=again`,
		}
		if got := messages(&log); !slices.Equal(got, want) {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}

func TestAPanicIsAFailureAndNotTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		n := 0
		k := New(slog.New(slog.NewTextHandler(&log, nil)), Duty{Name: "x", Every: time.Second, Do: func(context.Context) error {
			if n++; n == 1 {
				panic("broken")
			}
			return nil
		}})
		k.Start()
		time.Sleep(2500 * time.Millisecond)
		k.Stop(t.Context())
		got := messages(&log)
		if n != 2 || len(got) != 2 || !strings.Contains(got[0], "panic: broken") || !strings.Contains(got[0], "keeper_test.go") || !strings.Contains(got[1], "works again") {
			t.Errorf("got %d runs, log %v", n, got)
		}
	})
}

func TestARunThatHangsIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		k := New(nil, Duty{Name: "x", Every: time.Second, Do: func(ctx context.Context) error {
			if n++; n == 1 {
				<-ctx.Done()
			}
			return ctx.Err()
		}})
		k.Start()
		time.Sleep(33 * time.Second)
		k.Stop(t.Context())
		if n < 2 {
			t.Errorf("got %d runs, want the next one after the limit of 30 s", n)
		}
	})
}

func TestStopWaitsThenDoesTheLastRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		var got []string
		k := New(slog.New(slog.NewTextHandler(&log, nil)),
			Duty{Name: "flush", Every: time.Second, AtStop: true, Do: func(context.Context) error {
				time.Sleep(300 * time.Millisecond)
				got = append(got, "flushed")
				return nil
			}},
			Duty{Name: "stuck", Every: time.Second, Do: func(ctx context.Context) error {
				<-ctx.Done()
				got = append(got, "cut off")
				return ctx.Err()
			}})
		k.Start()
		time.Sleep(1100 * time.Millisecond)
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		k.Stop(ctx)
		if want := []string{"flushed", "cut off", "flushed"}; !slices.Equal(got, want) || time.Since(start) != 2300*time.Millisecond {
			t.Errorf("got %v after %v, want %v after 2.3s", got, time.Since(start), want)
		}
		if m := messages(&log); m != nil {
			t.Errorf("stopping is no failure: got %v", m)
		}
	})
}

func TestTheServersDutiesHaveTheirIntervals(t *testing.T) {
	want := map[string]time.Duration{
		"flush": 3 * time.Second, "poll floor": 5 * time.Second, "sweep": 15 * time.Second, "schedules": 15 * time.Second, "expire due times": time.Hour, "compact logs": time.Minute, "clean listings": 10 * time.Minute,
		"settle logs": time.Hour, "expire logs": time.Hour, "expire sessions": time.Hour, "check invariants": time.Hour,
	}
	now := time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)
	for _, d := range Duties(&fleet.Store{}, &policy.Store{}, &access.Access{}, slog.New(slog.DiscardHandler), func(int) {}) {
		if got := d.schedule().Next(now).Sub(now); got != want[d.Name] || d.Every != got || d.AtStop != (d.Name == "flush") {
			t.Errorf("%s: got every %v, at stop %v; want every %v", d.Name, got, d.AtStop, want[d.Name])
		}
		delete(want, d.Name)
	}
	if len(want) != 0 {
		t.Errorf("these are missing: %v", want)
	}
	var _ cron.Schedule = instants{}
}
