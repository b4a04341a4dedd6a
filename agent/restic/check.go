package restic

import "restic-manager/shared/wire"

// check looks whether the repository is whole. Source: restic doc, "Checking integrity and consistency".
func (i *Invocation) check(s *wire.CheckSpec) {
	i.Args = []string{"check", "--json"}
	if s.ReadData {
		i.Args = append(i.Args, "--read-data")
	}
	if s.ReadDataSubset != "" {
		i.Args = append(i.Args, flag("read-data-subset", s.ReadDataSubset))
	}
}
