package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"restic-manager/server/e2e/scripted/script"
	"restic-manager/shared/wire"
)

// listingFaults are answers of "restic snapshots" that are no list.
var listingFaults = []script.Act{
	{Exit: 1, Message: "unable to open repository: dial tcp: connection refused"},
	{Answer: new(`[{"time":"2026-01-01T00:00:00Z","tree":"` + strings.Repeat("a", 64) + `","paths":["/x"],"hostname":"h","id":"` + strings.Repeat("b", 64) + `"},{"time":"20`)},
	{Answer: new("no JSON at all")},
	{Answer: new("[] []")},
	{Answer: new("")},
	{Answer: new("[]"), Exit: 3},
}

// TestFaultListings: three hosts on one repository list it in turns, often in vain. The list shown is always the last
// whole one, and never what a failed listing said.
func TestFaultListings(t *testing.T) {
	t.Parallel()
	for _, engine := range databases {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, engine)
			r := newFaultRig(t, s, 3)
			shared := r.agents[0].repository
			for _, a := range r.agents[1:] {
				a.terminate(t, 15*time.Second)
				if err := os.RemoveAll(a.repository); err != nil {
					t.Fatal(err)
				}
				if err := os.Symlink(shared, a.repository); err != nil {
					t.Fatal(err)
				}
				a.launch()
				a.online()
				s.run(a.hostID, wire.KindSnapshots, nil, wire.StateSucceeded)
			}
			random := rand.New(rand.NewPCG(3, 4))
			var shown []string
			failed, good, broken := 0, 0, 0
			for range figures(12, 250) {
				a := r.agents[random.IntN(len(r.agents))]
				fails := random.IntN(2) == 0
				commands := map[string]script.Act{}
				if fails {
					commands["snapshots"] = listingFaults[random.IntN(len(listingFaults))]
				}
				a.script(commands)
				s.complete(s.reaches(a.backup().ID, time.Minute, wire.StateSucceeded).ID)
				a.noFolders()
				if fails {
					failed++
					if h := s.host(a.hostID); h.ListingError == "" {
						broken++
						t.Errorf("%+v: the host has no word of the listing that failed", commands)
					}
				} else {
					good++
					shown = repositoryIDs(t, shared)
				}
				// Each host sees the snapshots of its own; all three have this machine's name.
				for _, b := range r.agents {
					if d := cmp.Diff(shown, s.listedIDs(b.hostID)); d != "" {
						broken++
						t.Errorf("after %+v, the last whole list against the list shown:\n%s", commands, d)
					}
				}
			}
			fault(t, faultRow{Row: "24", Fault: "listings that fail or are no list, three hosts on one repository", Variant: engine, Runs: good + failed, Violations: broken,
				Figure: fmt.Sprintf("%d whole lists shown, %d others changed nothing", good, failed)})
		})
	}
}

// repositoryIDs are the snapshots of a scripted repository, in order of their ids.
func repositoryIDs(t testing.TB, dir string) (ids []string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "list"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		_, rest, _ := strings.Cut(line, `"id":"`)
		ids = append(ids, rest[:64])
	}
	slices.Sort(ids)
	return ids
}

func (s *server) listedIDs(host string) (ids []string) {
	s.t.Helper()
	for _, snapshot := range s.snapshots(host).Snapshots {
		ids = append(ids, snapshot.ID)
	}
	slices.Sort(ids)
	return ids
}
