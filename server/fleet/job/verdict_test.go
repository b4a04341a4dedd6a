package job

import (
	"testing"
	"time"

	"restic-manager/shared/wire"
)

// TestVerdictDropsOnlyWhatNobodyWaitsFor: a folder is given up by the job's own fate, never by its lease alone.
func TestVerdictDropsOnlyWhatNobodyWaitsFor(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	ref := wire.JobRef{ID: "a", Lease: "older"}
	ended := func(s wire.State, nonce, finish string, ago time.Duration) Job {
		return Job{ID: "a", State: s, Lease: "newer", StartNonce: nonce, FinishSHA256: finish, EndedAt: now.Add(-ago)}
	}
	for _, c := range []struct {
		name string
		jobs map[string]Job
		want wire.Verdict
	}{
		{"unknown", nil, wire.VerdictDrop},
		{"queued again", map[string]Job{"a": {ID: "a", State: wire.StateQueued}}, wire.VerdictContinue},
		{"another lease", map[string]Job{"a": {ID: "a", State: wire.StateRunning, Lease: "newer"}}, wire.VerdictContinue},
		{"canceling", map[string]Job{"a": {ID: "a", State: wire.StateRunning, Lease: "newer", CancelRequestedAt: now}}, wire.VerdictCancel},
		{"canceled before the start", map[string]Job{"a": ended(wire.StateCanceled, "", "", time.Second)}, wire.VerdictDrop},
		{"rejected by the agent itself", map[string]Job{"a": ended(wire.StateRejected, "", "sum", time.Second)}, wire.VerdictContinue},
		{"lost after the start", map[string]Job{"a": ended(wire.StateLost, "nonce", "", time.Second)}, wire.VerdictContinue},
		{"ended just within 7 days", map[string]Job{"a": ended(wire.StateSucceeded, "nonce", "sum", EndedFor-1)}, wire.VerdictContinue},
		{"ended 7 days ago", map[string]Job{"a": ended(wire.StateSucceeded, "nonce", "sum", EndedFor)}, wire.VerdictDrop},
	} {
		if got := Verdict(c.jobs, ref, now); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}
