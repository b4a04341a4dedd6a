package simulation

import (
	"runtime"
	"slices"
	"testing"
	"time"

	"restic-manager/server/fleet/job"
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
	for name, n := range r.Counts.named() {
		if n < seeds/100 {
			t.Errorf("%s: %d in %d histories; the simulation hardly goes there", name, n, seeds)
		}
	}
}

// TestClocksOfHostsDecideNothing is T1: but for what the agent refuses by its own clock, a host whose clock is
// wrong from the beginning has the same history as one whose clock is right.
func TestClocksOfHostsDecideNothing(t *testing.T) {
	compared := 0
	for seed := uint64(1); compared < 20; seed++ {
		wrong := newWorld(seed, false)
		if !wrong.plan.skew || wrong.plan.jumps > 0 {
			continue
		}
		compared++
		wrong.blindToClocks = true
		right := newWorld(seed, false)
		right.blindToClocks = true
		for _, m := range right.machines {
			m.off = 0
		}
		wrong.play()
		right.play()
		if wrong.Counts != right.Counts || wrong.now != right.now {
			t.Errorf("seed %d: with wrong clocks %+v, with right ones %+v", seed, wrong.Counts, right.Counts)
		}
		if got, want := wrong.server.jobs.Jobs(), right.server.jobs.Jobs(); !slices.EqualFunc(got, want, sameOutcome) {
			t.Errorf("seed %d: with wrong clocks the jobs are %+v, with right ones %+v", seed, got, want)
		}
	}
}

// sameOutcome leaves out the sum of the result's bytes, in which the host's times are.
func sameOutcome(a, b job.Job) bool {
	a.FinishSHA256, b.FinishSHA256 = "", ""
	return a == b
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
