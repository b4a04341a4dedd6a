package fleet

import (
	"context"
	"errors"
	"io"
	"time"

	"restic-manager/server/database"
	"restic-manager/shared/wire"
)

var errPending = errors.New("pending")

type tails struct{}
type knownSnapshots struct{}

func newTails(*Store) *tails             { return nil }
func newKnownSnapshots() *knownSnapshots { return nil }
func newReplicaID() string               { return "" }

func (s *Store) AppendLog(ctx context.Context, hostID, jobID, lease string, q wire.LogQuery, b LogBody) (wire.LogReply, error) {
	return wire.LogReply{}, errPending
}
func (s *Store) logCursor(tx *database.Tx, jobID string) (next int64, complete bool, err error) {
	return 0, false, errPending
}
func (s *Store) settleLog(tx *database.Tx, jobID string) error { return errPending }
func (s *Store) LogLines(ctx context.Context, jobID string, after int64, limit int, wait time.Duration) (LogPage, error) {
	return LogPage{}, errPending
}
func (s *Store) WriteLog(ctx context.Context, jobID string, w io.Writer) error { return errPending }
func (s *Store) ExpireLogs(ctx context.Context) (int64, error)                 { return 0, errPending }
func (s *Store) SettleLogs(ctx context.Context) (int64, error)                 { return 0, errPending }

// LogCompaction tells what CompactLogs did.
type LogCompaction struct{ Jobs, ChunksBefore, ChunksAfter int64 }

func (s *Store) CompactLogs(ctx context.Context) (LogCompaction, error) {
	return LogCompaction{}, errPending
}
func (s *Store) BeginListing(ctx context.Context, hostID, jobID string) (wire.ListingReply, error) {
	return wire.ListingReply{}, errPending
}
func (s *Store) PutListingPart(ctx context.Context, hostID, token string, n int, body []byte) error {
	return errPending
}
func (s *Store) CommitListing(ctx context.Context, hostID, token string, r wire.CommitRequest) error {
	return errPending
}
func (s *Store) commitListingOnFinish(tx *database.Tx, hostID, jobID string, l *wire.Listing) error {
	return errPending
}
func (s *Store) CleanListings(ctx context.Context) (int64, error) { return 0, errPending }
func (s *Store) Snapshots(ctx context.Context, hostID string, all bool, p Page) (SnapshotPage, error) {
	return SnapshotPage{}, errPending
}
func (s *Store) Changes(ctx context.Context, since string, wait time.Duration) (ChangesPage, error) {
	return ChangesPage{}, errPending
}

func (s *Store) deleteLogsOf(ctx context.Context, hostID string) error { return errPending }
