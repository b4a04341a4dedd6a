package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"restic-manager/shared/wire"
)

// tick is what the API tells of a due time.
type tick struct {
	PolicyID string       `json:"policy_id"`
	HostID   string       `json:"host_id"`
	DueAt    time.Time    `json:"due_at"`
	Outcome  wire.Outcome `json:"outcome"`
	JobID    string       `json:"job_id"`
	Why      string       `json:"why"`
}

func (s *server) ticks(policy string) []tick {
	s.t.Helper()
	var page struct {
		Ticks []tick `json:"ticks"`
	}
	s.do("GET", "/api/ticks?limit=1000&policy_id="+policy, nil, &page)
	return page.Ticks
}

// TestAPolicyHoldsWhileTheServerIsAway: a repository and a policy from the server; its due times run while the server is
// there and while it is not, each once, and all of it is told afterwards.
func TestAPolicyHoldsWhileTheServerIsAway(t *testing.T) {
	t.Parallel()
	for _, v := range []variant{{"sqlite", "0.18.0"}, {"postgres", "0.14.0"}} {
		t.Run(v.String(), func(t *testing.T) {
			t.Parallel()
			s := newServer(t, v.database)
			a := enrollAgent(t, s, v.restic)
			a.repository = filepath.Join(a.dir, "repository")
			a.start()
			source := filepath.Join(a.dir, "source")
			if err := os.MkdirAll(source, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(source, "file"), []byte("kept"), 0o600); err != nil {
				t.Fatal(err)
			}
			var repository, policy struct {
				ID string `json:"id"`
			}
			s.do("POST", "/api/repositories", map[string]any{"name": "main", "url": a.repository, "password": a.password}, &repository)
			s.do("PUT", "/api/hosts/"+a.hostID+"/repository", map[string]any{"setting_id": repository.ID}, nil)
			a.init()
			s.do("POST", "/api/policies", map[string]any{"name": "each minute", "enabled": true, "spec": map[string]any{
				"hosts": map[string]any{"all": true}, "repository_id": repository.ID, "backup": map[string]any{"paths": []string{source}},
				"schedule": map[string]any{"cron": "* * * * *", "zone": "UTC"},
			}}, &policy)

			eventually(t, 3*time.Minute, "a due time is run", func() error {
				for _, k := range s.ticks(policy.ID) {
					if k.Outcome == wire.OutcomeRun && s.job(k.JobID).State == wire.StateSucceeded {
						return nil
					}
				}
				return fmt.Errorf("got %+v", s.ticks(policy.ID))
			})
			s.kill()
			// A run that was offered already may still end; the next one is the agent's own.
			eventually(t, 30*time.Second, "what was under way has ended", func() error {
				if pids := a.children(); len(pids) > 0 {
					return fmt.Errorf("%v", pids)
				}
				return nil
			})
			before := len(a.resticSnapshots())
			eventually(t, 5*time.Minute, "the agent backs up by itself", func() error {
				if n := len(a.resticSnapshots()); n <= before {
					return fmt.Errorf("%d snapshots, %d when the server went away", n, before)
				}
				return nil
			})
			// It is killed as well: what it began and was not told is on its disk.
			a.restart()
			s.start()
			s.signIn()
			a.online()
			back := time.Now()
			var ticks []tick
			eventually(t, 3*time.Minute, "every due time until the server was back has its outcome, and every job has ended", func() error {
				ticks = s.ticks(policy.ID)
				if len(ticks) == 0 || ticks[0].DueAt.Before(back.Truncate(time.Minute)) {
					return fmt.Errorf("the latest of %d is %+v", len(ticks), ticks[:min(1, len(ticks))])
				}
				for _, k := range ticks {
					if k.Outcome == wire.OutcomeRun {
						if j := s.job(k.JobID); !j.State.Terminal() || !j.LogComplete {
							return fmt.Errorf("job of %s: %s", k.DueAt, j)
						}
					}
				}
				return nil
			})
			made := map[string]bool{}
			for i, k := range ticks {
				if i > 0 && ticks[i-1].DueAt.Sub(k.DueAt) != time.Minute {
					t.Errorf("due times: got %s after %s, want one a minute", ticks[i-1].DueAt, k.DueAt)
				}
				switch k.Outcome {
				case wire.OutcomeRun:
					j := s.job(k.JobID)
					if k.JobID != wire.TickJobID(policy.ID, a.hostID, k.DueAt) || j.State != wire.StateSucceeded || made[j.Summary.SnapshotID] {
						t.Errorf("due at %s: got %+v, %s", k.DueAt, k, j)
					}
					made[j.Summary.SnapshotID] = true
				case wire.OutcomeMissed, wire.OutcomeSkipped:
					if k.Why == "" {
						t.Errorf("due at %s: %s, and not why", k.DueAt, k.Outcome)
					}
				}
			}
			// One of restic's snapshots for each run, none that no job tells of. A run may have begun since.
			for _, id := range a.resticSnapshots() {
				if !made[id] && !made[id[:8]] {
					eventually(t, 2*time.Minute, "the job of snapshot "+id, func() error {
						for _, k := range s.ticks(policy.ID) {
							if k.Outcome == wire.OutcomeRun {
								if j := s.job(k.JobID); j.Summary != nil && j.Summary.SnapshotID == id {
									return nil
								}
							}
						}
						return fmt.Errorf("no job tells of it")
					})
				}
			}
			if a.terminate(t, 30*time.Second) != 0 {
				t.Errorf("the agent ended badly:\n%s", tail(a.words(), 20))
			}
		})
	}
}
