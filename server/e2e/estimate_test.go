package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"restic-manager/shared/wire"
)

// TestAnEstimateIsWhatTheBackupHolds asks the real programs, and has the real backup answer.
func TestAnEstimateIsWhatTheBackupHolds(t *testing.T) {
	each(t, func(t *testing.T, v variant) {
		s := newServer(t, v.database)
		a := newAgent(t, s, v.restic)
		source := filepath.Join(a.dir, "source")
		oddTree(t, source)
		for _, dir := range []string{"logs", "cache/deep"} {
			if err := os.MkdirAll(filepath.Join(source, dir), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		writeRandom(t, filepath.Join(source, "logs", "old.leave-out"), 5000, 1)
		writeRandom(t, filepath.Join(source, "cache", "deep", "blob"), 7000, 2)
		spec := map[string]any{"paths": []string{source}, "excludes": []string{"*.leave-out", "cache/**", "nothing"}, "exclude_larger_than": 1 << 20}

		// Before there is a repository.
		first := s.run(a.hostID, wire.KindEstimate, spec, wire.StateSucceeded)
		e := first.Estimate
		if e == nil || len(e.Patterns) != 3 || e.Patterns[0].Bytes != 5000 || e.Patterns[1].Bytes != 7000 || e.Patterns[2].Matches != 0 {
			t.Fatalf("got %+v", e)
		}
		a.init()
		backup := s.run(a.hostID, wire.KindBackup, spec, wire.StateSucceeded)
		if got := backup.Summary; got.TotalFilesProcessed != e.Files || got.TotalBytesProcessed != e.Bytes {
			t.Errorf("the backup has %d files of %d bytes, the estimate said %d of %d", got.TotalFilesProcessed, got.TotalBytesProcessed, e.Files, e.Bytes)
		}
		if refused := s.run(a.hostID, wire.KindEstimate, map[string]any{"paths": []string{a.config}}, wire.StateRejected); refused.Error.Code != wire.CodeGuard {
			t.Errorf("of the agent's own secrets: got %s, want the guard's refusal", refused)
		}
	})
}
