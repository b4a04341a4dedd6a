package api

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"restic-manager/server/fault"
	"restic-manager/server/fleet"
	"restic-manager/shared/wire"
)

// rawSpec is a spec before its kind's own check has read it (wire.DecodeSpec).
type rawSpec struct{ json.RawMessage }

// Schema lets any object through to that check.
func (rawSpec) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}
}

// OrderJob orders a job by its typed spec or, for a backup, by its paths alone.
type OrderJob struct {
	Kind             wire.Kind `json:"kind" enum:"backup,restore,check,prune,forget,init,snapshots,unlock,estimate"`
	Args             []string  `json:"args,omitempty" maxItems:"1000" doc:"The absolute paths of a backup; in place of spec"`
	Spec             *rawSpec  `json:"spec,omitempty"`
	TimeLimitSeconds int64     `json:"time_limit_seconds,omitempty" minimum:"0" maximum:"604800" doc:"0: the kind's own"`
	TTLSeconds       int64     `json:"ttl_seconds,omitempty" minimum:"0" maximum:"2592000" doc:"How long the job may wait for the host; 0: a day"`
}

// spec is the order's, checked.
func (o OrderJob) spec() (wire.Spec, error) {
	switch {
	case o.Args != nil && o.Spec != nil:
		return nil, fault.Invalidf("args, spec: give one of them")
	case o.Args != nil:
		spec, err := wire.SpecFromArgs(o.Kind, o.Args)
		return spec, asInvalid(err)
	}
	var raw json.RawMessage
	if o.Spec != nil {
		raw = o.Spec.RawMessage
	}
	spec, err := wire.DecodeSpec(o.Kind, raw)
	return spec, asInvalid(err)
}

// asInvalid is the check's own words: they name the field and say what to give. The decoder's might repeat a
// value, so they are replaced.
func asInvalid(err error) error {
	switch {
	case err == nil:
		return nil
	case strings.Contains(err.Error(), "json: cannot unmarshal"):
		return fault.Invalidf("spec: a field has the wrong type for this kind; GET /api/openapi.json has the specs")
	}
	return fault.Invalidf("%s", strings.ReplaceAll(err.Error(), "json: ", ""))
}

// Idempotency is the header by which a repeated order is known.
type Idempotency struct {
	Key string `header:"Idempotency-Key" maxLength:"128" pattern:"^[!-~]*$" doc:"Orders of one operator with one key within 24 hours are one order"`
}

type createJobInput struct {
	ByID
	Idempotency
	Body OrderJob
}

type jobOutput struct {
	Status int
	Body   fleet.Job
}

func (s *Server) createJob(ctx context.Context, in *createJobInput) (*jobOutput, error) {
	spec, err := in.Body.spec()
	if err != nil {
		return nil, err
	}
	job, created, err := s.o.Fleet.CreateJob(ctx, exchangeOf(ctx).actor(), fleet.NewJob{
		HostID: in.ID, Kind: in.Body.Kind, Spec: spec, IdempotencyKey: in.Key,
		TimeLimit: seconds(in.Body.TimeLimitSeconds), TTL: seconds(in.Body.TTLSeconds)})
	return ordered(job, created, err)
}

// ordered is 201 for a new job and 200 for the one that was ordered before.
func ordered(job fleet.Job, created bool, err error) (*jobOutput, error) {
	if !created {
		return &jobOutput{http.StatusOK, job}, err
	}
	return &jobOutput{http.StatusCreated, job}, err
}

type jobsInput struct {
	Page
	Host       string    `query:"host" doc:"A host's id"`
	Kind       wire.Kind `query:"kind" enum:"backup,restore,check,prune,forget,init,snapshots,unlock,rotate_key,estimate"`
	State      []string  `query:"state" maxItems:"10" enum:"queued,accepted,running,succeeded,succeeded_with_issues,failed,canceled,lost,rejected,expired" doc:"States, separated by commas"`
	Label      string    `query:"label" maxLength:"260" doc:"Of the host: key or key=value"`
	Search     string    `query:"search" maxLength:"256" doc:"Part of the host's name"`
	Policy     string    `query:"policy" doc:"A policy's id"`
	Repository string    `query:"repository" doc:"A repository's id: jobs about it, and those of hosts that used it; where each host has one of its own, maintenance alone"`
	Before     time.Time `query:"before" doc:"Queued before"`
	After      time.Time `query:"after" doc:"Queued at or after"`
}

type jobsOutput struct {
	Body struct {
		Jobs       []fleet.Job `json:"jobs"`
		NextCursor string      `json:"next_cursor,omitempty"`
	} `nameHint:"Jobs"`
}

func (s *Server) listJobs(ctx context.Context, in *jobsInput) (*jobsOutput, error) {
	out := &jobsOutput{}
	if in.Host != "" && !wire.IsUUID(in.Host) {
		in.Host = nobody
	}
	if in.Policy != "" && !wire.IsUUID(in.Policy) {
		in.Policy = nobody
	}
	if in.Repository != "" && !wire.IsUUID(in.Repository) {
		in.Repository = nobody
	}
	f := fleet.JobFilter{HostID: in.Host, Policy: in.Policy, Repository: in.Repository, Kind: in.Kind, Label: in.Label, Search: in.Search, Before: given(in.Before), After: given(in.After)}
	for _, state := range in.State {
		f.States = append(f.States, wire.State(state))
	}
	var err error
	out.Body.Jobs, out.Body.NextCursor, err = s.o.Fleet.Jobs(ctx, f, in.page())
	return out, err
}

func (s *Server) getJob(ctx context.Context, in *ByID) (*jobOutput, error) {
	j, err := s.o.Fleet.JobByID(ctx, in.ID)
	if err == nil {
		j, err = s.o.Fleet.WithWaiting(ctx, j)
	}
	return &jobOutput{http.StatusOK, j}, err
}

func (s *Server) cancelJob(ctx context.Context, in *ByID) (*jobOutput, error) {
	j, err := s.o.Fleet.CancelJob(ctx, exchangeOf(ctx).actor(), in.ID)
	return &jobOutput{http.StatusAccepted, j}, err
}

type retryInput struct {
	ByID
	Idempotency
}

func (s *Server) retryJob(ctx context.Context, in *retryInput) (*jobOutput, error) {
	job, created, err := s.o.Fleet.RetryJob(ctx, exchangeOf(ctx).actor(), in.ID, in.Key)
	return ordered(job, created, err)
}
