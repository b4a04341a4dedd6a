package api

import (
	"strings"
	"testing"
	"time"

	"restic-manager/server/access"
)

// TestARouteThatSaysTooLittleIsNotServed: what nobody decided is open to nobody.
func TestARouteThatSaysTooLittleIsNotServed(t *testing.T) {
	bound := raw((*Server).healthz, contractOfText)
	for name, c := range map[string]struct {
		row  *Route
		says string
	}{
		"no permission":           {route(get, "/api/x", "", "x", "X", bound), "declares no permission"},
		"no scope":                {route(post, "/api/x", Operator, "x", "X", bound), "declares no scope"},
		"a scope of lookers":      {route(post, "/api/x", Operator, "x", "X", bound, needs(access.FleetRead)), "declares no scope"},
		"a scope and no key":      {route(post, "/api/x", Administrator, "x", "X", bound, needs(access.JobsWrite)), "is for no API key"},
		"an agents' call outside": {route(post, "/api/x", Agent, "x", "X", bound), "the path prefix"},
		"a viewer's call":         {route(get, "/api/x", Viewer, "x", "X", bound), ""},
		"an operator's call":      {route(post, "/api/x", Operator, "x", "X", bound, needs(access.JobsWrite)), ""},
	} {
		said := func() (said string) {
			defer func() {
				if r := recover(); r != nil {
					said = r.(string)
				}
			}()
			c.row.check()
			return ""
		}()
		if (said == "") != (c.says == "") || !strings.Contains(said, c.says) {
			t.Errorf("%s: got %q, want %q", name, said, c.says)
		}
	}
}

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
