package fleet

import (
	"context"

	"restic-manager/server/database"
	"restic-manager/shared/wire"
)

// Hooks are what rooms that stand on the fleet add to it; nil ones add nothing. Set them before the first request.
type Hooks struct {
	// HostChanged is told, in the transaction, of a host that was enrolled, renamed, labelled or revoked.
	HostChanged func(tx *database.Tx, hostID string) error
	// TargetSecrets opens the repository that a job of the host by is about; t.HostID says whose it is where the setting
	// stands for one repository a host. Nil secrets: there is no such repository any more.
	TargetSecrets func(ctx context.Context, t Target, by string) (*wire.Secrets, error)
	// Schedule is what a host is to do by itself, with the secrets of its repository; nil: nothing is known of
	// schedules.
	Schedule func(ctx context.Context, hostID string) (*wire.Schedule, error)
}

// Use sets the hooks that are not nil.
func (s *Store) Use(h Hooks) {
	if h.HostChanged != nil {
		s.hooks.HostChanged = h.HostChanged
	}
	if h.TargetSecrets != nil {
		s.hooks.TargetSecrets = h.TargetSecrets
	}
	if h.Schedule != nil {
		s.hooks.Schedule = h.Schedule
	}
}

// hostChanged tells who stands on the fleet.
func (s *Store) hostChanged(tx *database.Tx, hostID string) error {
	if s.hooks.HostChanged == nil {
		return nil
	}
	return s.hooks.HostChanged(tx, hostID)
}
