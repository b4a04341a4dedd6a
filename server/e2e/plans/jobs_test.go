//go:build !race

package plans

import (
	"slices"
	"strings"
	"testing"
	"time"

	"restic-manager/server/database/databasetest"
	"restic-manager/server/fleet"
	"restic-manager/shared/wire"
)

// TestAListOfJobsHoldsWhatItsFilterSays compares every page, however it was looked for, with the plain question.
func TestAListOfJobsHoldsWhatItsFilterSays(t *testing.T) {
	for _, engine := range databasetest.Engines {
		t.Run(engine, func(t *testing.T) {
			r := filled(t, databasetest.New(t, engine), 600, 7_000)
			r.due(t)
			long := r.now.AddDate(0, 0, -4)
			failed := []wire.State{wire.StateFailed, wire.StateRejected, wire.StateLost}
			for _, f := range []fleet.JobFilter{
				{},
				{Label: "env=prod"},
				{Label: "env=prod", States: failed},
				{Label: "env=prod", Kind: wire.KindBackup, Before: &long},
				{Label: "role=nas"},
				{Label: "role=nas", States: failed},
				{Search: "web-", After: &long, States: []wire.State{wire.StateSucceeded}},
				{Search: "EXAMPLE.net", Label: "site=ber", Kind: wire.KindCheck},
				{Kind: wire.KindForget},
				{Kind: wire.KindForget, States: failed},
				{States: failed, Before: &long},
				{HostID: r.busy.ID},
				{HostID: r.busy.ID, States: failed, Label: "env"},
				{HostID: r.busy.ID, Label: "env=nowhere"},
				{Policy: r.everyone},
				{Policy: r.everyone, HostID: r.busy.ID},
				{Policy: r.everyone, Label: "env=prod", States: failed},
				{Policy: r.favourite, Search: "a"},
				{Policy: r.favourite, Kind: wire.KindCheck},
				{Repository: r.store},
				{Repository: r.store, Kind: wire.KindPrune},
				{Repository: r.store, Kind: wire.KindCheck, States: failed},
				{Repository: r.store, HostID: r.busy.ID},
				{Repository: r.store, Label: "env=prod", Kind: wire.KindPrune},
				{Repository: r.store, Policy: r.everyone},
				{Repository: r.everyone},
			} {
				var got []string
				for p := (fleet.Page{Limit: 97}); ; {
					jobs, next, err := r.fleet.Jobs(t.Context(), f, p)
					if err != nil {
						t.Fatal(err)
					}
					for _, j := range jobs {
						got = append(got, j.ID)
					}
					if p.Cursor = next; next == "" {
						break
					}
				}
				if want := r.plainly(t, f); !slices.Equal(got, want) {
					t.Errorf("%+v: got %d jobs, want %d, or in another order", f, len(got), len(want))
				}
			}
		})
	}
}

// plainly asks for all jobs and compares them one by one.
func (r *rig) plainly(t *testing.T, f fleet.JobFilter) (ids []string) {
	t.Helper()
	var rows []struct {
		ID, HostID, Labels, Name, Hostname string
		PolicyID, TargetSetting            *string
		RepositoryID                       string
		Kind                               wire.Kind
		State                              wire.State
		QueuedAt                           time.Time
	}
	err := r.db.Read(t.Context()).Raw(`SELECT jobs.id, jobs.host_id, jobs.kind, jobs.state, jobs.queued_at, jobs.policy_id, jobs.target_setting, jobs.repository_id, hosts.labels, hosts.name, hosts.hostname
		FROM jobs JOIN hosts ON hosts.id = jobs.host_id ORDER BY jobs.id DESC`).Scan(&rows).Error
	if err != nil {
		t.Fatal(err)
	}
	key, value, exact := strings.Cut(f.Label, "=")
	label := `"` + key + `":"` + value
	if exact {
		label += `"`
	}
	part := strings.ToLower(f.Search)
	for _, j := range rows {
		if (f.HostID == "" || f.HostID == j.HostID) && (f.Kind == "" || f.Kind == j.Kind) && (len(f.States) == 0 || slices.Contains(f.States, j.State)) &&
			(f.Repository == "" || j.TargetSetting != nil && *j.TargetSetting == f.Repository || f.Repository == r.store && j.TargetSetting == nil && j.RepositoryID == storeID) &&
			(f.Policy == "" || j.PolicyID != nil && *j.PolicyID == f.Policy) &&
			(f.Before == nil || j.QueuedAt.Before(*f.Before)) && (f.After == nil || !j.QueuedAt.Before(*f.After)) &&
			(f.Label == "" || strings.Contains(j.Labels, label)) &&
			(strings.Contains(strings.ToLower(j.Name), part) || strings.Contains(strings.ToLower(j.Hostname), part)) {
			ids = append(ids, j.ID)
		}
	}
	return ids
}
