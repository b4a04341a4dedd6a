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

type identities struct{}
type tails struct{}
type knownSnapshots struct{}
type sealer struct{}

func newIdentities(*database.Hub) *identities { return nil }
func newTails(*Store) *tails                  { return nil }
func newKnownSnapshots() *knownSnapshots      { return nil }
func newSealer([]byte) *sealer                { return nil }
func newReplicaID() string                    { return "" }

func (s *Store) checkKey(ctx context.Context) error { return nil }

func (s *Store) CreateEnrollmentToken(ctx context.Context, actor database.Actor, n NewEnrollmentToken) (EnrollmentToken, string, error) {
	return EnrollmentToken{}, "", errPending
}
func (s *Store) EnrollmentTokens(ctx context.Context, p Page) ([]EnrollmentToken, string, error) {
	return nil, "", errPending
}
func (s *Store) DeleteEnrollmentToken(ctx context.Context, actor database.Actor, id string) error {
	return errPending
}
func (s *Store) Enroll(ctx context.Context, r wire.EnrollRequest, address string) (wire.EnrollReply, error) {
	return wire.EnrollReply{}, errPending
}
func (s *Store) Authenticate(ctx context.Context, bearer string) (string, error) {
	return "", errPending
}
func (s *Store) Hosts(ctx context.Context, f HostFilter, p Page) ([]Host, string, error) {
	return nil, "", errPending
}
func (s *Store) HostByID(ctx context.Context, id string) (Host, error) { return Host{}, errPending }
func (s *Store) UpdateHost(ctx context.Context, actor database.Actor, id string, p HostPatch) (Host, error) {
	return Host{}, errPending
}
func (s *Store) RevokeHost(ctx context.Context, actor database.Actor, id string) (Host, error) {
	return Host{}, errPending
}
func (s *Store) DeleteHost(ctx context.Context, actor database.Actor, id string) error {
	return errPending
}
func (s *Store) ClearCloneAlarm(ctx context.Context, actor database.Actor, id string) (Host, error) {
	return Host{}, errPending
}
func (s *Store) recordHostname(tx *database.Tx, hostID, hostname string) error { return errPending }
func (s *Store) PutRepository(ctx context.Context, actor database.Actor, hostID string, c RepositoryConfig) error {
	return errPending
}
func (s *Store) DeleteRepository(ctx context.Context, actor database.Actor, hostID string) error {
	return errPending
}
func (s *Store) secretsFor(tx *database.Tx, hostID string) (*wire.Secrets, error) {
	return nil, errPending
}
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
