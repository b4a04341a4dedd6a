package restic

import (
	"context"

	"restic-manager/shared/wire"
)

// CatConfig asks for the repository's id: the preflight of every job but init. It takes no lock and gives
// up after wire.PreflightLimit. Errors are *Error with the code that the job is rejected with.
func (a Access) CatConfig(ctx context.Context) (id string, err error) { panic("soon") }

// ListSnapshots gives every snapshot of the repository to each, in restic's order, without a lock; it gives
// up after wire.ListingLimit. The list is complete, and may be committed, only when the error is nil:
// restic exited with 0 and its array was whole. An error of each ends the listing and is returned.
func (a Access) ListSnapshots(ctx context.Context, each func(wire.Snapshot) error) (count int, err error) {
	panic("soon")
}

// ListLocks returns the ids of the repository's locks.
func (a Access) ListLocks(ctx context.Context) (ids []string, err error) { panic("soon") }

// Unlock removes stale locks, as restic's plain unlock does, and returns how many are gone.
func (a Access) Unlock(ctx context.Context) (removed int, err error) { panic("soon") }
