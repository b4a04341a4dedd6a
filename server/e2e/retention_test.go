package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"restic-manager/shared/wire"
)

// What a policy does not keep is removed by the runner, from storage where the hosts' credentials remove nothing; a
// snapshot that somebody with the password has written stops that until a person has looked, and pushes no good one out.
func TestRetentionByTheRunner(t *testing.T) {
	t.Parallel()
	for _, database := range databases {
		t.Run(database, func(t *testing.T) { t.Parallel(); retentionByTheRunner(t, variant{database, "0.18.0"}) })
	}
}

type removal struct {
	ID          string
	SnapshotIDs []string `json:"snapshot_ids"`
	State, Why  string
	JobID       string `json:"job_id"`
}

func retentionByTheRunner(t *testing.T, v variant) {
	s, store := newServer(t, v.database), newStorage(t)
	host, runner := enrollAgent(t, s, v.restic), enrollAgent(t, s, v.restic, "--allow", "maintenance")
	host.start()
	runner.start()
	source := t.TempDir()
	var o struct {
		ID       string
		Contents []struct {
			RepositoryID string `json:"repository_id"`
			Frozen       string
			LastForgetAt *time.Time `json:"last_forget_at"`
			LastPruneAt  *time.Time `json:"last_prune_at"`
			CheckedParts int        `json:"checked_parts"`
		}
	}
	s.do("POST", "/api/repositories", map[string]any{"name": "Off site", "url": "rest:" + store.url + "/store", "password": host.password,
		"env":             map[string]string{"RESTIC_REST_USERNAME": "hosts", "RESTIC_REST_PASSWORD": hostsSecret},
		"maintenance_env": map[string]string{"RESTIC_REST_USERNAME": "maintenance", "RESTIC_REST_PASSWORD": maintenanceSecret},
		"append_only":     true, "runner_id": runner.hostID}, &o)
	var policy struct{ ID string }
	s.do("POST", "/api/policies", map[string]any{"name": "Homes", "enabled": true, "spec": map[string]any{
		"hosts": map[string]any{"ids": []string{host.hostID}}, "repository_id": o.ID, "backup": map[string]any{"paths": []string{source}},
		"schedule": map[string]any{"cron": "0 4 1 1 *", "zone": "UTC"}, "keep": map[string]any{"last": 2}}}, &policy)
	host.init()
	var made []string
	backup := func() {
		t.Helper()
		if err := os.WriteFile(filepath.Join(source, "file"), fmt.Appendf(nil, "precious %d", len(made)), 0o600); err != nil {
			t.Fatal(err)
		}
		var run struct {
			Jobs []struct {
				JobID string `json:"job_id"`
			}
		}
		s.do("POST", "/api/policies/"+policy.ID+"/run", map[string]any{}, &run)
		j := s.reaches(run.Jobs[0].JobID, time.Minute, wire.StateSucceeded)
		made = append(made, j.Summary.SnapshotID)
	}
	backup()
	backup()
	backup()

	at, err := url.Parse(store.url)
	if err != nil {
		t.Fatal(err)
	}
	at.User = url.UserPassword("hosts", hostsSecret)
	host.repository = "rest:" + at.String() + "/store"
	host.mustRestic("backup", "--time", "2020-01-01 00:00:00", "--host", "anybody", source) // who has the password
	backup()                                                                                // whose list shows it
	there := func() (ids []string) {
		t.Helper()
		var list []struct{ ID string }
		if err := json.Unmarshal(host.mustRestic("snapshots", "--json", "--no-lock"), &list); err != nil {
			t.Fatal(err)
		}
		for _, one := range list {
			ids = append(ids, one.ID)
		}
		return ids
	}
	all := there()
	forged := slices.DeleteFunc(slices.Clone(all), func(id string) bool { return slices.Contains(made, id) })
	eventually(t, 20*time.Second, "all of it is listed", func() error {
		if n := s.host(host.hostID).SnapshotCount; n != 4 {
			return fmt.Errorf("%d snapshots of the host", n)
		}
		return nil
	})
	s.do("GET", "/api/repositories/"+o.ID, nil, &o)
	if len(forged) != 1 || len(o.Contents) != 1 {
		t.Fatalf("got %d forged snapshots and %+v", len(forged), o.Contents)
	}
	of := map[string]any{"repository_id": o.Contents[0].RepositoryID}
	maintain := func(kind wire.Kind) map[string]any {
		return map[string]any{"repository_id": o.Contents[0].RepositoryID, "kind": kind}
	}
	if a, err := s.try("POST", "/api/repositories/"+o.ID+"/maintain", maintain(wire.KindForget), nil); err == nil || a == nil || a.StatusCode != http.StatusConflict {
		t.Fatalf("with a forged snapshot: got %v, want a conflict", err)
	}
	s.do("GET", "/api/repositories/"+o.ID, nil, &o)
	if !strings.Contains(o.Contents[0].Frozen, forged[0][:8]) {
		t.Errorf("got frozen %q, want the forged one named", o.Contents[0].Frozen)
	}
	s.do("POST", "/api/repositories/"+o.ID+"/unfreeze", of, nil)

	var began struct{ Removal removal }
	s.do("POST", "/api/repositories/"+o.ID+"/maintain", maintain(wire.KindForget), &began)
	if began.Removal.State != "waiting" || !slices.Equal(began.Removal.SnapshotIDs, made[:2]) {
		t.Fatalf("got %+v, want the two oldest good ones to wait for a yes", began.Removal)
	}
	store.came()
	var approved removal
	s.do("POST", "/api/removals/"+began.Removal.ID+"/approve", nil, &approved)
	s.reaches(approved.JobID, time.Minute, wire.StateSucceeded)
	if got := store.came(); !slices.Equal(got, []string{"maintenance"}) {
		t.Errorf("the removal came as %v, want the credentials of maintenance alone", got)
	}
	got, want := slices.Sorted(slices.Values(there())), slices.Sorted(slices.Values(append(slices.Clone(made[2:]), forged...)))
	if !slices.Equal(got, want) {
		t.Errorf("in the storage: got %v, want the two newest good ones and the forged one: %v", got, want)
	}
	for _, kind := range []wire.Kind{wire.KindPrune, wire.KindCheck} {
		var began struct{ Job job }
		s.do("POST", "/api/repositories/"+o.ID+"/maintain", maintain(kind), &began)
		s.reaches(began.Job.ID, time.Minute, wire.StateSucceeded)
	}
	eventually(t, 90*time.Second, "the duty has noted it", func() error {
		var list struct{ Removals []removal }
		s.do("GET", "/api/repositories/"+o.ID+"/removals", nil, &list)
		s.do("GET", "/api/repositories/"+o.ID, nil, &o)
		c := o.Contents[0]
		if len(list.Removals) != 1 || list.Removals[0].State != "done" || c.LastForgetAt == nil || c.LastPruneAt == nil || c.CheckedParts != 1 {
			return fmt.Errorf("got %+v and %+v", list.Removals, c)
		}
		return nil
	})
	host.mustRestic("check", "--read-data", "--no-lock")
}
