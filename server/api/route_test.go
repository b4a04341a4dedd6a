package api

import (
	"testing"
	"time"
)

// TestCommitOfAListingOutlastsOtherCalls and ends, with its answer, before the agent gives the try up.
func TestCommitOfAListingOutlastsOtherCalls(t *testing.T) {
	const agentWaits = 2 * time.Minute
	for _, r := range (&Server{}).table() {
		if r.ID != "commitListing" {
			continue
		}
		if r.timeout <= 2*usualTimeout || r.timeout >= agentWaits {
			t.Errorf("the time for a commit: got %s, want over %s and under %s", r.timeout, 2*usualTimeout, agentWaits)
		}
		return
	}
	t.Error("no route commitListing")
}
