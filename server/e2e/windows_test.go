package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"restic-manager/shared/wire"
)

// TestADueTimeWaitsForItsWindow: what is due while no window is open begins when one opens, once, and gives way as the
// policy and the machine's owner say.
func TestADueTimeWaitsForItsWindow(t *testing.T) {
	t.Parallel()
	for _, v := range []variant{{"sqlite", "0.18.0"}, {"postgres", "0.14.0"}} {
		t.Run(v.String(), func(t *testing.T) {
			t.Parallel()
			s := newServer(t, v.database)
			a := newAgent(t, s, v.restic)
			source := filepath.Join(a.dir, "source")
			if err := os.MkdirAll(source, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(source, "file"), []byte("kept"), 0o600); err != nil {
				t.Fatal(err)
			}
			a.init()
			var policy struct {
				ID      string         `json:"id"`
				Version int64          `json:"version"`
				Name    string         `json:"name"`
				Spec    map[string]any `json:"spec"`
			}
			now := time.Now().UTC()
			due := now.Add(8 * time.Second).Truncate(time.Minute).Add(time.Minute)
			clock := func(at time.Time) string { return at.Format("15:04") }
			schedule := map[string]any{"cron": fmt.Sprintf("%d %d * * *", due.Minute(), due.Hour()), "zone": "UTC", "skip_on_metered": true,
				"windows": []map[string]any{{"from": clock(now.Add(2 * time.Hour)), "to": clock(now.Add(3 * time.Hour))}}}
			s.do("POST", "/api/policies", map[string]any{"name": "at night", "spec": map[string]any{"hosts": map[string]any{"all": true},
				"backup": map[string]any{"paths": []string{source}, "cpu_nice": 15, "io_class": "low", "download_limit_kib": 5000}, "schedule": schedule}}, &policy)

			eventually(t, 2*time.Minute, "the due time is held", func() error {
				book, err := os.ReadFile(filepath.Join(a.data, "schedule.json"))
				if err != nil || !strings.Contains(string(book), `"held":"outside its windows"`) {
					return fmt.Errorf("got %s, %v", book, err)
				}
				return nil
			})
			if got := s.ticks(policy.ID); len(got) != 0 {
				t.Fatalf("while no window is open: got %+v, want nothing told", got)
			}
			schedule["windows"] = []map[string]any{{"from": clock(now.Add(-2 * time.Hour)), "to": clock(now.Add(3 * time.Hour)), "stop_at_end": true}}
			policy.Spec["schedule"] = schedule
			s.do("PUT", "/api/policies/"+policy.ID, map[string]any{"name": policy.Name, "enabled": true, "spec": policy.Spec, "version": policy.Version}, nil)
			eventually(t, time.Minute, "it is run once a window is open", func() error {
				k := s.ticks(policy.ID)
				if len(k) != 1 || k[0].Outcome != wire.OutcomeRun || s.job(k[0].JobID).State != wire.StateSucceeded {
					return fmt.Errorf("got %+v", k)
				}
				return nil
			})
			k := s.ticks(policy.ID)[0]
			if !k.DueAt.Equal(due) || k.JobID != wire.TickJobID(policy.ID, a.hostID, due) {
				t.Errorf("got %+v, want the due time %s", k, due)
			}
			if n := len(a.resticSnapshots()); n != 1 {
				t.Errorf("got %d snapshots, want one", n)
			}
		})
	}
}
