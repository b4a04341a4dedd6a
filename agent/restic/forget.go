package restic

import "restic-manager/shared/wire"

// forget removes snapshots by their ids, never by a rule: restic's rules go by times that a host may have
// forged, and some versions read a wrong rule as "all".
func (i *Invocation) forget(s *wire.ForgetSpec) {
	i.Args = []string{"forget", "--json"}
	if s.DryRun {
		i.Args = append(i.Args, "--dry-run")
		i.DryRun = true
	}
	i.Args = append(i.Args, "--")
	i.Args = append(i.Args, s.SnapshotIDs...)
	i.Forgets = len(s.SnapshotIDs)
}
