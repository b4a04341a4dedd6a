package restic

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"restic-manager/shared/wire"
)

// restore writes one snapshot, or chosen paths of it, below a folder. Source: restic doc, "Restoring from
// backup".
func (i *Invocation) restore(o Order, s *wire.RestoreSpec) error {
	t := o.RestoreTarget
	if !filepath.IsAbs(t) || filepath.Clean(t) != t || t == "/" || strings.ContainsRune(t, 0) {
		return coded(wire.CodeRestoreTarget, "the folder to restore into, %.200q, is not a clean absolute path below /", t)
	}
	i.Args = []string{"restore", "--json", flag("target", t)}
	if s.Verify {
		i.Args = append(i.Args, "--verify")
	}
	// The root as a pattern would match nothing: it means all.
	if !slices.Contains(s.Paths, "/") {
		for _, p := range s.Paths {
			i.Args = append(i.Args, flag("include", p))
		}
		i.Chosen = len(s.Paths)
	}
	i.Args = append(i.Args, "--", s.SnapshotID)
	i.RestoredTo = t
	return nil
}

// NothingRestored reports, after restic's end, whether a restore of chosen paths left its folder as empty as
// it was made: up to 0.15 restic does not say how much it restored. A folder that cannot be read is not
// empty.
func (i Invocation) NothingRestored() bool {
	if i.Chosen == 0 || i.RestoredTo == "" {
		return false
	}
	entries, err := os.ReadDir(i.RestoredTo)
	return err == nil && len(entries) == 0
}
