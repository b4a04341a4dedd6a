package fleet

import (
	"context"
	"errors"

	"restic-manager/server/database"
	"restic-manager/shared/wire"
)

type core struct{}

func newCore(*Store) core { return core{} }

var errTodo = errors.New("being written")

func (s *Store) CreateJob(ctx context.Context, actor database.Actor, n NewJob) (job Job, created bool, err error) {
	return Job{}, false, errTodo
}
func (s *Store) CancelJob(ctx context.Context, actor database.Actor, id string) (Job, error) {
	return Job{}, errTodo
}
func (s *Store) RetryJob(ctx context.Context, actor database.Actor, id, idempotencyKey string) (Job, error) {
	return Job{}, errTodo
}
func (s *Store) Jobs(ctx context.Context, f JobFilter, p Page) (jobs []Job, next string, err error) {
	return nil, "", errTodo
}
func (s *Store) JobByID(ctx context.Context, id string) (Job, error) { return Job{}, errTodo }
func (s *Store) Hello(ctx context.Context, hostID string, h wire.HelloRequest) (wire.HelloReply, error) {
	return wire.HelloReply{}, errTodo
}
func (s *Store) Poll(ctx context.Context, hostID string, q wire.PollQuery) (wire.PollReply, error) {
	return wire.PollReply{}, errTodo
}
func (s *Store) Accept(ctx context.Context, hostID, jobID string, r wire.AcceptRequest) (wire.AcceptReply, error) {
	return wire.AcceptReply{}, errTodo
}
func (s *Store) Start(ctx context.Context, hostID, jobID, lease string, r wire.StartRequest) error {
	return errTodo
}
func (s *Store) Resume(ctx context.Context, hostID, jobID string, r wire.ResumeRequest) (wire.ResumeReply, error) {
	return wire.ResumeReply{}, errTodo
}
func (s *Store) Progress(ctx context.Context, hostID, jobID, lease string, p wire.Progress) (wire.ProgressReply, error) {
	return wire.ProgressReply{}, errTodo
}
func (s *Store) Finish(ctx context.Context, hostID, jobID, lease string, body []byte, r wire.FinishRequest) (wire.FinishReply, error) {
	return wire.FinishReply{}, errTodo
}
func (s *Store) Seen(hostID string)                                {}
func (s *Store) Flush(ctx context.Context) error                   { return errTodo }
func (s *Store) Sweep(ctx context.Context) (SweepReport, error)    { return SweepReport{}, errTodo }
func (s *Store) PollFloor(ctx context.Context) error               { return errTodo }
func (s *Store) Writable() error                                   { return errTodo }
func (s *Store) CheckInvariants(ctx context.Context) ([]Violation, error) { return nil, errTodo }
func (s *Store) Stats(ctx context.Context) (Stats, error)          { return Stats{}, errTodo }

// For content: revokeJobs ends a host's jobs in the revoking transaction.
func (s *Store) revokeJobs(tx *database.Tx, hostID string) error { return errTodo }

// jobForLog: the job of that host and lease, or lease_lost (410), not_started (409). Renews the lease.
func (s *Store) jobForLog(tx *database.Tx, hostID, jobID, lease string) (jobRow, error) {
	return jobRow{}, errTodo
}

// forgetBoots clears the clone alarm and all boots of a host (ClearCloneAlarm calls it in its transaction).
func (s *Store) forgetBoots(tx *database.Tx, hostID string) error { return errTodo }

// jobRow: what content needs: ID, HostID, State, CancelRequestedAt, LogLines, LogSHA256.
type jobRow struct {
	ID                string
}
