package e2e

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"restic-manager/server/e2e/scripted/script"
	"restic-manager/shared/wire"
)

// TestFaultLongLogUnderKills kills agent, server and database at random while restic writes a long log: every line
// arrives once, in order, and the sums agree.
func TestFaultLongLogUnderKills(t *testing.T) {
	t.Parallel()
	lines, seconds := figures(50_000, 1_000_000), figures(4, 60)
	c := newCluster(t)
	l := newLabOn(t, c.url, 1, "RESTIC_MANAGER_LOG_BYTES_PER_JOB=1GiB", "RESTIC_MANAGER_LOG_HEAD_BYTES=1GiB")
	l.a.script(map[string]script.Act{"backup": {Lines: lines, Rate: float64(lines) / float64(seconds)}})
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	j := l.a.backup()
	l.api.reaches(j.ID, time.Minute, wire.StateRunning)
	victims := []struct {
		name         string
		kill, revive func()
	}{
		{"agent", func() { l.a.kill() }, func() { l.a.launch() }},
		{"server", func() { l.servers[0].kill() }, func() { l.servers[0].start() }},
		{"database", c.kill, c.again},
	}
	kills := map[string]int{}
	pause := func(most time.Duration) { <-time.After(time.Duration(random.Int64N(int64(most)))) }
	for n := 0; ; n++ {
		if p, err := l.h.job(j.ID); err == nil && p.State.Terminal() && n >= len(victims) {
			break
		}
		v := victims[n%len(victims)]
		if n >= len(victims) {
			v = victims[random.IntN(len(victims))]
		}
		pause(1500 * time.Millisecond)
		v.kill()
		kills[v.name]++
		pause(500 * time.Millisecond)
		v.revive()
	}
	began := time.Now()
	p := l.h.settled(j.ID)
	if p.State != wire.StateSucceeded || p.LogLines < int64(lines) {
		l.h.breaks("L1", "seed %d: job %s is %s with %d lines, want it succeeded with %d", seed, j.ID, p.State, p.LogLines, lines)
	}
	fault(t, faultRow{Row: "3", Fault: "agent, server and database killed at random under a long log", Variant: "postgres", Runs: 1, Violations: l.h.end(),
		Figure: fmt.Sprintf("%d lines, sums equal; kills: agent %d, server %d, database %d; whole %.1f s after the last", p.LogLines, kills["agent"], kills["server"], kills["database"], time.Since(began).Seconds())})
}
