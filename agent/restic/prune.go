package restic

import (
	"strconv"

	"restic-manager/shared/wire"
)

// prune removes what no snapshot needs. It is a command of its own: "forget --prune" of 0.17 and 0.18 goes
// on pruning when the removal of snapshots failed.
func (i *Invocation) prune(s *wire.PruneSpec) {
	percent := 5
	if s.MaxUnusedPercent != nil {
		percent = *s.MaxUnusedPercent
	}
	i.Args = []string{"prune", "--json", flag("max-unused", strconv.Itoa(percent)+"%")}
	if s.DryRun {
		i.Args = append(i.Args, "--dry-run")
		i.DryRun = true
	}
}
