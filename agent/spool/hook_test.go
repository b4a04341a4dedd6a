package spool

import (
	"errors"
	"testing"

	"restic-manager/shared/wire"
)

func TestAHookIsBegunOnce(t *testing.T) {
	m, s, c := openMemory(t)
	f := create(t, s, wire.PhaseStarting)
	for _, want := range []bool{true, false} {
		if first, err := f.BeginHook("before", 0); err != nil || first != want {
			t.Errorf("got %v %v, want %v", first, err, want)
		}
	}
	for _, other := range []struct {
		stage string
		n     int
	}{{"before", 1}, {"after", 0}} {
		if begun, err := f.HookBegun(other.stage, other.n); err != nil || begun {
			t.Errorf("%s %d: got %v %v, want it not begun", other.stage, other.n, begun, err)
		}
	}
	m.Crash(nil)
	f = reopen(t, m, c).Folder(testID)
	if begun, err := f.HookBegun("before", 0); err != nil || !begun {
		t.Errorf("after a power cut: got %v %v, want it begun", begun, err)
	}
}

// Whatever the disk refuses, a hook that is told to be the first is known to be begun after a power cut.
func TestAHookThatIsNotMarkedIsNotBegun(t *testing.T) {
	for n := 0; ; n++ {
		m, s, c := openMemory(t)
		f := create(t, s, wire.PhaseStarting)
		m.FailWrites(func(i int, _ string) error {
			if i >= n {
				return errPower
			}
			return nil
		})
		first, err := f.BeginHook("after", 3)
		if err != nil && (first || !errors.Is(err, errPower)) {
			t.Fatalf("write %d: got %v %v", n, first, err)
		}
		m.FailWrites(nil)
		m.Crash(nil)
		begun, lookErr := reopen(t, m, c).Folder(testID).HookBegun("after", 3)
		if lookErr != nil || first && !begun {
			t.Errorf("write %d: got first %v, begun %v %v", n, first, begun, lookErr)
		}
		if err == nil {
			if n < 2 {
				t.Errorf("a marker took %d writes: is something not durable?", n)
			}
			return
		}
	}
}
