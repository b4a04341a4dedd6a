package job

import (
	"slices"

	"restic-manager/shared/wire"
)

// Tie is the repository that a host's jobs hold, as far as it is known.
type Tie struct {
	ID string // restic's own; empty: not known
	// ServerHeld: the server keeps location and password for the host; else its own configuration does.
	ServerHeld bool
}

// Name is which of the host's repositories its jobs use.
func (t Tie) Name() string {
	if t.ServerHeld {
		return wire.RepositoryServer
	}
	return wire.RepositoryLocal
}

// Learnt takes the id that a start gives for the repository of that name. When the host uses another one by
// now, it says nothing of that.
func (t Tie) Learnt(name, id string) Tie {
	if t.Name() == name {
		t.ID = id
	}
	return t
}

// Initialised takes the id that an init of the repository of that name gives, when none is known.
func (t Tie) Initialised(name, id string) Tie {
	if t.ID == "" {
		return t.Learnt(name, id)
	}
	return t
}

// Reported takes what a hello says of the host's own repositories, and what the last one said. When they are
// at another place than before and no id is known for it yet, the old id goes: it would hold the wrong one.
func (t Tie) Reported(before, now []wire.RepositoryReport) Tie {
	if t.ServerHeld {
		return t
	}
	local, ok := localRepository(now)
	if ok && local.ID != "" {
		t.ID = local.ID
		return t
	}
	if old, was := localRepository(before); was && (!ok || old.Location != local.Location) {
		t.ID = ""
	}
	return t
}

func localRepository(all []wire.RepositoryReport) (wire.RepositoryReport, bool) {
	i := slices.IndexFunc(all, func(r wire.RepositoryReport) bool { return r.Name == wire.RepositoryLocal })
	if i < 0 {
		return wire.RepositoryReport{}, false
	}
	return all[i], true
}
