package simulation

import (
	"runtime"
	"testing"
	"time"
)

// TestHistoriesKeepEveryPromise runs histories with every kind of fault; see docs/simulation.md.
func TestHistoriesKeepEveryPromise(t *testing.T) {
	seeds := 500
	if testing.Short() {
		seeds = 50
	}
	began := time.Now()
	workers := runtime.GOMAXPROCS(0)
	r := RunMany(1, seeds, workers, 1)
	t.Log(r.Summary(time.Since(began), workers))
	for _, b := range r.Broken {
		w := Run(b.Seed, true)
		t.Fatalf("%s\nseed %d: %s", w.Trace(), b.Seed, b.Violation)
	}
	// The histories must have been everywhere.
	c := r.Counts
	for name, n := range map[string]int{"runs": c.Runs, "agents killed": c.AgentKills, "supervisors killed": c.SupervisorKills,
		"power cuts": c.PowerCuts, "servers killed": c.ServerCrashes, "restores": c.Restores, "copies": c.Clones, "wipes": c.Wipes,
		"full disks": c.FullDisks, "revoked": c.Revoked, "interrupted jobs": c.Interrupted, "succeeded jobs": c.Succeeded,
		"canceled jobs": c.Canceled, "rejected jobs": c.Rejected, "alarms": c.Alarms} {
		if n < seeds/50 {
			t.Errorf("%s: %d in %d histories; the simulation hardly goes there", name, n, seeds)
		}
	}
}

// TestASeedIsOneHistory: the same seed is the same history to the byte.
func TestASeedIsOneHistory(t *testing.T) {
	for seed := uint64(1); seed <= 20; seed++ {
		a, b := Run(seed, true), Run(seed, true)
		if a.Trace() != b.Trace() {
			t.Errorf("seed %d has two histories: %d and %d lines", seed, len(a.trace), len(b.trace))
		}
		if quiet := Run(seed, false); quiet.Counts != a.Counts {
			t.Errorf("seed %d is another history without its trace: %+v, %+v", seed, quiet.Counts, a.Counts)
		}
	}
}
