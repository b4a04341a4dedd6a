package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"restic-manager/shared/wire"
)

// resticSnapshots is what restic itself lists, newest first.
func (a *agent) resticSnapshots() []string {
	a.t.Helper()
	var list []struct {
		ID   string    `json:"id"`
		Time time.Time `json:"time"`
	}
	if err := json.Unmarshal(a.mustRestic("snapshots", "--json", "--no-lock"), &list); err != nil {
		a.t.Fatal(err)
	}
	slices.SortFunc(list, func(x, y struct {
		ID   string    `json:"id"`
		Time time.Time `json:"time"`
	}) int {
		if c := y.Time.Compare(x.Time); c != 0 {
			return c
		}
		return strings.Compare(y.ID, x.ID)
	})
	ids := []string{}
	for _, s := range list {
		ids = append(ids, s.ID)
	}
	return ids
}

// listed waits until the server's list is restic's own.
func (a *agent) listed() snapshotPage {
	a.t.Helper()
	want := a.resticSnapshots()
	var page snapshotPage
	eventually(a.t, 60*time.Second, "the list of snapshots is restic's own", func() error {
		page = a.server.snapshots(a.hostID)
		got := []string{}
		for _, s := range page.Snapshots {
			got = append(got, s.ID)
		}
		if d := cmp.Diff(want, got); d != "" {
			return fmt.Errorf("restic's list against the server's:\n%s", d)
		}
		if n := a.server.host(a.hostID).SnapshotCount; n != int64(len(want)) {
			return fmt.Errorf("snapshot_count: got %d, want %d", n, len(want))
		}
		return nil
	})
	return page
}

// TestRoundtrip is a repository's whole life through the product.
func TestRoundtrip(t *testing.T) {
	each(t, func(t *testing.T, v variant) {
		s := newServer(t, v.database)
		a := newAgent(t, s, v.restic)
		source := filepath.Join(a.dir, "source")
		oddTree(t, source)

		a.init()
		if again := s.run(a.hostID, wire.KindInit, nil, wire.StateFailed); again.Error == nil || again.Error.Code != wire.CodeRepositoryExists {
			t.Errorf("a second init: got %s, want failed with %s", again, wire.CodeRepositoryExists)
		}

		first := s.run(a.hostID, wire.KindBackup, map[string]any{"paths": []string{source}, "tags": []string{"first"}}, wire.StateSucceeded)
		if first.Summary == nil || !wire.IsSHA256(first.Summary.SnapshotID) || first.Summary.TotalFilesProcessed < 20 {
			t.Fatalf("summary of the first backup: got %s", first)
		}
		s.complete(first.ID)
		page := a.listed()
		if len(page.Snapshots) != 1 || page.Snapshots[0].ID != first.Summary.SnapshotID || page.RefreshedAt == nil {
			t.Fatalf("snapshots after the first backup: got %+v", page)
		}
		if got := page.Snapshots[0]; !slices.Equal(got.Paths, []string{source}) || !slices.Equal(got.Tags, []string{"first"}) || !strings.HasPrefix(got.ID, got.ShortID) {
			t.Errorf("the snapshot: got %+v", got)
		}
		// restic 0.14 stores no summary: its figures are those of the backup.
		if got := page.Snapshots[0]; got.SizeBytes < 8<<20 || got.JobID != first.ID {
			t.Errorf("with restic %s: got %d bytes made by %q, want 8 MiB and more made by %s", v.restic, got.SizeBytes, got.JobID, first.ID)
		}

		if err := os.WriteFile(filepath.Join(source, "second file"), []byte("new"), 0o600); err != nil {
			t.Fatal(err)
		}
		var short job
		s.do("POST", "/api/hosts/"+a.hostID+"/jobs", map[string]any{"kind": "backup", "args": []string{source}}, &short)
		second := s.reaches(short.ID, time.Minute, wire.StateSucceeded)
		if second.Summary.FilesNew != 1 {
			t.Errorf("the second backup's files_new: got %d, want 1", second.Summary.FilesNew)
		}
		if n := len(a.listed().Snapshots); n != 2 {
			t.Errorf("snapshots after two backups: got %d", n)
		}

		s.run(a.hostID, wire.KindCheck, map[string]any{"read_data": true}, wire.StateSucceeded)

		// Restore: all of the second snapshot, compared with the source.
		restored := s.run(a.hostID, wire.KindRestore, map[string]any{"snapshot_id": second.Summary.SnapshotID}, wire.StateSucceeded)
		if restored.Summary == nil || restored.Summary.RestoredTo == "" {
			t.Fatalf("restore: got %s", restored)
		}
		t.Cleanup(func() { os.RemoveAll(restored.Summary.RestoredTo) })
		if d := cmp.Diff(describe(t, source), describe(t, filepath.Join(restored.Summary.RestoredTo, source))); d != "" {
			t.Errorf("the source against what was restored:\n%s", d)
		}
		// Chosen paths only.
		part := s.run(a.hostID, wire.KindRestore, map[string]any{"snapshot_id": second.Summary.SnapshotID, "paths": []string{source + "/deep"}}, wire.StateSucceeded)
		t.Cleanup(func() { os.RemoveAll(part.Summary.RestoredTo) })
		if d := cmp.Diff(describe(t, source+"/deep"), describe(t, filepath.Join(part.Summary.RestoredTo, source, "deep"))); d != "" {
			t.Errorf("the chosen folder against what was restored:\n%s", d)
		}
		if left, err := os.ReadDir(filepath.Join(part.Summary.RestoredTo, source)); err != nil || len(left) != 1 {
			t.Errorf("a restore of one folder brought %v, %v", left, err)
		}

		// Forget and prune are the owner's to allow; by default the guard refuses, and names the rule.
		refused := s.run(a.hostID, wire.KindForget, map[string]any{"snapshot_ids": []string{first.Summary.SnapshotID}}, wire.StateRejected)
		if refused.Error == nil || refused.Error.Code != wire.CodeGuard {
			t.Errorf("forget without leave: got %s", refused)
		}
		// Done behind our back, the next list shows it.
		a.mustRestic("forget", "--prune", first.Summary.SnapshotID)
		s.run(a.hostID, wire.KindSnapshots, nil, wire.StateSucceeded)
		if page := a.listed(); len(page.Snapshots) != 1 {
			t.Errorf("snapshots after forget and prune elsewhere: got %d, want 1", len(page.Snapshots))
		}

		// The repository is wiped and made anew: the list is empty, authoritatively.
		if err := os.RemoveAll(a.repository); err != nil {
			t.Fatal(err)
		}
		if gone := s.run(a.hostID, wire.KindBackup, map[string]any{"paths": []string{source}}, wire.StateFailed, wire.StateRejected); gone.Error.Code != wire.CodeRepositoryMissing {
			t.Errorf("backup into a missing repository: got %s", gone)
		}
		a.init()
		if page := a.listed(); len(page.Snapshots) != 0 {
			t.Errorf("snapshots of a new repository: got %d", len(page.Snapshots))
		}
		s.run(a.hostID, wire.KindBackup, map[string]any{"paths": []string{source}}, wire.StateSucceeded)
		if page := a.listed(); len(page.Snapshots) != 1 {
			t.Errorf("snapshots after the first backup into it: got %d", len(page.Snapshots))
		}
	})
}

// TestMaintenanceAllowedByTheOwner is forget and prune where `enroll --allow maintenance` wrote the guard.
func TestMaintenanceAllowedByTheOwner(t *testing.T) {
	each(t, func(t *testing.T, v variant) {
		s := newServer(t, v.database)
		a := newMaintenanceAgent(t, s, v.restic)
		source := filepath.Join(a.dir, "source")
		oddTree(t, source)
		a.init()
		var ids []string
		for i := range 3 {
			writeRandom(t, filepath.Join(source, "random.bin"), 1<<20, uint64(i))
			ids = append(ids, s.run(a.hostID, wire.KindBackup, map[string]any{"paths": []string{source}}, wire.StateSucceeded).Summary.SnapshotID)
		}
		a.listed()
		forgot := s.run(a.hostID, wire.KindForget, map[string]any{"snapshot_ids": ids[:2]}, wire.StateSucceeded)
		if forgot.Summary == nil || forgot.Summary.SnapshotsRemoved != 2 {
			t.Errorf("forget of two: got %s", forgot)
		}
		if page := a.listed(); len(page.Snapshots) != 1 || page.Snapshots[0].ID != ids[2] {
			t.Errorf("snapshots after forget: got %+v", page.Snapshots)
		}
		s.run(a.hostID, wire.KindPrune, map[string]any{"max_unused_percent": 0}, wire.StateSucceeded)
		s.run(a.hostID, wire.KindCheck, map[string]any{"read_data": true}, wire.StateSucceeded)
		a.mustRestic("check", "--read-data")
	})
}

// TestUnreadablePathsAreIssues is exit code 3: a snapshot exists, and what could not be read is listed.
func TestUnreadablePathsAreIssues(t *testing.T) {
	each(t, func(t *testing.T, v variant) {
		s := newServer(t, v.database)
		a := enrollAgent(t, s, "")
		a.restic = v.restic
		a.repository = filepath.Join(a.dir, "repository")
		// Root reads everything; this restic has no such right.
		wrapper := filepath.Join(a.dir, "restic")
		script := fmt.Sprintf("#!/bin/sh\nexec setpriv --bounding-set=-dac_override,-dac_read_search -- %s \"$@\"\n", resticPath(t, v.restic))
		if err := os.WriteFile(wrapper, []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
		a.own("repo_url: "+a.repository, "repo_password: "+a.password, "restic_path: "+wrapper)
		a.start()
		source := filepath.Join(a.dir, "source")
		oddTree(t, source)
		secret := filepath.Join(source, "unreadable")
		if err := os.WriteFile(secret, []byte("x"), 0o000); err != nil {
			t.Fatal(err)
		}
		a.init()
		j := s.run(a.hostID, wire.KindBackup, map[string]any{"paths": []string{source}}, wire.StateSucceededWithIssues)
		if len(j.Issues) != 1 || j.Issues[0].Path != secret || j.Issues[0].Message == "" {
			t.Errorf("issues: got %+v, want the one unreadable path", j.Issues)
		}
		if j.ExitCode == nil || *j.ExitCode != 3 || j.Summary == nil || j.Summary.SnapshotID == "" {
			t.Errorf("exit 3: got %s", j)
		}
		if page := a.listed(); len(page.Snapshots) != 1 {
			t.Errorf("snapshots: got %d, want 1", len(page.Snapshots))
		}
	})
}

// newMaintenanceAgent is newAgent with the owner's leave to forget and prune.
func newMaintenanceAgent(t testing.TB, s *server, restic string) *agent {
	a := enrollAgent(t, s, restic, "--allow", "maintenance")
	a.repository = filepath.Join(a.dir, "repository")
	a.own("repo_url: "+a.repository, "repo_password: "+a.password)
	a.start()
	return a
}
