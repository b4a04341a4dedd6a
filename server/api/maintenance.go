package api

import (
	"context"

	"restic-manager/server/fleet"
	"restic-manager/server/maintenance"
	"restic-manager/server/policy"
	"restic-manager/server/retention"
	"restic-manager/shared/wire"
)

type previewRetentionInput struct {
	Body struct {
		HostID   string      `json:"host_id"`
		PolicyID string      `json:"policy_id,omitempty" doc:"Whose snapshots; empty: those of all policies of the host"`
		Keep     policy.Keep `json:"keep"`
	} `nameHint:"PreviewRetention"`
}

type previewRetentionOutput struct{ Body maintenance.RetentionPreview }

func (s *Server) previewRetention(ctx context.Context, in *previewRetentionInput) (*previewRetentionOutput, error) {
	p, err := s.o.Maintenance.Preview(ctx, in.Body.HostID, in.Body.PolicyID, retention.Keep(in.Body.Keep))
	return &previewRetentionOutput{p}, err
}

type removalsOutput struct {
	Body struct {
		Removals []maintenance.Removal `json:"removals" doc:"The newest first; the newest 50"`
	} `nameHint:"Removals"`
}

func (s *Server) listRemovals(ctx context.Context, in *ByID) (*removalsOutput, error) {
	out := &removalsOutput{}
	var err error
	out.Body.Removals, err = s.o.Maintenance.Removals(ctx, in.ID)
	return out, err
}

type removalOutput struct{ Body maintenance.Removal }

func (s *Server) approveRemoval(ctx context.Context, in *ByID) (*removalOutput, error) {
	r, err := s.o.Maintenance.Approve(ctx, exchangeOf(ctx).actor(), in.ID)
	return &removalOutput{r}, err
}

func (s *Server) refuseRemoval(ctx context.Context, in *ByID) (*removalOutput, error) {
	r, err := s.o.Maintenance.Refuse(ctx, exchangeOf(ctx).actor(), in.ID)
	return &removalOutput{r}, err
}

type adoptSnapshotsInput struct {
	ByID
	Body struct {
		RepositoryID string   `json:"repository_id" doc:"restic's own id"`
		SnapshotIDs  []string `json:"snapshot_ids,omitempty" maxItems:"10000" doc:"Full ids; none: all that do not count now"`
	} `nameHint:"AdoptSnapshots"`
}

type adoptSnapshotsOutput struct {
	Body struct {
		Adopted int64 `json:"adopted"`
	} `nameHint:"AdoptedSnapshots"`
}

func (s *Server) adoptSnapshots(ctx context.Context, in *adoptSnapshotsInput) (*adoptSnapshotsOutput, error) {
	out := &adoptSnapshotsOutput{}
	var err error
	out.Body.Adopted, err = s.o.Maintenance.Adopt(ctx, exchangeOf(ctx).actor(), in.ID, in.Body.RepositoryID, in.Body.SnapshotIDs)
	return out, err
}

type unfreezeRepositoryInput struct {
	ByID
	Body struct {
		RepositoryID string `json:"repository_id" doc:"restic's own id"`
	} `nameHint:"UnfreezeRepository"`
}

func (s *Server) unfreezeRepository(ctx context.Context, in *unfreezeRepositoryInput) (*none, error) {
	return &none{}, s.o.Maintenance.Unfreeze(ctx, exchangeOf(ctx).actor(), in.ID, in.Body.RepositoryID)
}

type maintainRepositoryInput struct {
	ByID
	Body struct {
		RepositoryID string    `json:"repository_id" doc:"restic's own id"`
		Kind         wire.Kind `json:"kind" enum:"forget,prune,check"`
	} `nameHint:"MaintainRepository"`
}

type maintainRepositoryOutput struct {
	Body struct {
		Job     *fleet.Job           `json:"job,omitempty" doc:"Of a prune or a check"`
		Removal *maintenance.Removal `json:"removal,omitempty" doc:"Of a forget"`
		Nothing string               `json:"nothing,omitempty" doc:"Why there is nothing to remove now"`
	} `nameHint:"MaintainedRepository"`
}

func (s *Server) maintainRepository(ctx context.Context, in *maintainRepositoryInput) (*maintainRepositoryOutput, error) {
	began, err := s.o.Maintenance.Begin(ctx, exchangeOf(ctx).actor(), in.ID, in.Body.RepositoryID, in.Body.Kind)
	if err != nil {
		return nil, err
	}
	out := &maintainRepositoryOutput{}
	out.Body.Removal, out.Body.Nothing = began.Removal, began.Nothing
	if began.JobID != "" {
		job, err := s.o.Fleet.JobByID(ctx, began.JobID)
		if err != nil {
			return nil, err
		}
		out.Body.Job = &job
	}
	return out, nil
}
