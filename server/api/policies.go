package api

import (
	"context"
	"time"

	"restic-manager/server/policy"
	"restic-manager/shared/wire"
)

type policiesOutput struct {
	Body struct {
		Policies []policy.Policy `json:"policies"`
	} `nameHint:"Policies"`
}

func (s *Server) listPolicies(ctx context.Context, _ *none) (*policiesOutput, error) {
	out := &policiesOutput{}
	var err error
	out.Body.Policies, err = s.o.Policies.List(ctx)
	return out, err
}

type policyOutput struct{ Body policy.Policy }

type createPolicyInput struct {
	Body struct {
		Name    string      `json:"name" maxLength:"128"`
		Enabled *bool       `json:"enabled,omitempty" doc:"Left out: yes"`
		Spec    policy.Spec `json:"spec"`
	} `nameHint:"CreatePolicy"`
}

func (s *Server) createPolicy(ctx context.Context, in *createPolicyInput) (*policyOutput, error) {
	d := policy.Draft{Name: in.Body.Name, Enabled: in.Body.Enabled == nil || *in.Body.Enabled, Spec: in.Body.Spec}
	p, err := s.o.Policies.Create(ctx, exchangeOf(ctx).actor(), d)
	return &policyOutput{p}, err
}

func (s *Server) getPolicy(ctx context.Context, in *ByID) (*policyOutput, error) {
	p, err := s.o.Policies.ByID(ctx, in.ID)
	return &policyOutput{p}, err
}

type putPolicyInput struct {
	ByID
	Body struct {
		Name    string      `json:"name" maxLength:"128"`
		Enabled bool        `json:"enabled"`
		Spec    policy.Spec `json:"spec"`
		Version int64       `json:"version" minimum:"1" doc:"The version that this change is based on"`
	} `nameHint:"PutPolicy"`
}

func (s *Server) putPolicy(ctx context.Context, in *putPolicyInput) (*policyOutput, error) {
	p, err := s.o.Policies.Put(ctx, exchangeOf(ctx).actor(), in.ID, policy.Draft{Name: in.Body.Name, Enabled: in.Body.Enabled, Spec: in.Body.Spec}, in.Body.Version)
	return &policyOutput{p}, err
}

func (s *Server) deletePolicy(ctx context.Context, in *ByID) (*none, error) {
	return &none{}, s.o.Policies.Delete(ctx, exchangeOf(ctx).actor(), in.ID)
}

type versionsOutput struct {
	Body struct {
		Versions []policy.Version `json:"versions"`
	} `nameHint:"PolicyVersions"`
}

func (s *Server) listPolicyVersions(ctx context.Context, in *ByID) (*versionsOutput, error) {
	out := &versionsOutput{}
	var err error
	out.Body.Versions, err = s.o.Policies.Versions(ctx, in.ID)
	return out, err
}

type policyHostsInput struct {
	ByID
	Page
}

type policyHostsOutput struct {
	Body policy.HostPage `nameHint:"PolicyHosts"`
}

func (s *Server) listPolicyHosts(ctx context.Context, in *policyHostsInput) (*policyHostsOutput, error) {
	p, err := s.o.Policies.Hosts(ctx, in.ID, in.page())
	return &policyHostsOutput{p}, err
}

type runPolicyInput struct {
	ByID
	Body struct {
		HostIDs []string `json:"host_ids,omitempty" maxItems:"10000" doc:"Left out: all that it applies to"`
	} `nameHint:"RunPolicy"`
}

type runPolicyOutput struct {
	Body struct {
		Jobs []policy.RunJob `json:"jobs"`
	} `nameHint:"PolicyRun"`
}

func (s *Server) runPolicy(ctx context.Context, in *runPolicyInput) (*runPolicyOutput, error) {
	out := &runPolicyOutput{}
	var err error
	out.Body.Jobs, err = s.o.Policies.Run(ctx, exchangeOf(ctx).actor(), in.ID, in.Body.HostIDs)
	return out, err
}

type previewInput struct {
	Body struct {
		Cron          string `json:"cron" maxLength:"200"`
		Zone          string `json:"zone" maxLength:"64"`
		SpreadSeconds int64  `json:"spread_seconds,omitempty" minimum:"0" maximum:"86400"`

		LateSeconds int64         `json:"late_seconds,omitempty" minimum:"0" maximum:"2592000" doc:"Counts with windows alone"`
		Windows     []wire.Window `json:"windows,omitempty" maxItems:"20"`
	} `nameHint:"PreviewSchedule"`
}

type previewOutput struct {
	Body policy.Preview `nameHint:"SchedulePreview"`
}

func (s *Server) previewSchedule(ctx context.Context, in *previewInput) (*previewOutput, error) {
	p, err := s.o.Policies.Preview(ctx, policy.Timing{Cron: in.Body.Cron, Zone: in.Body.Zone, LateSeconds: in.Body.LateSeconds, Windows: in.Body.Windows})
	return &previewOutput{p}, err
}

type hostPoliciesOutput struct{ Body policy.HostPolicies }

func (s *Server) listHostPolicies(ctx context.Context, in *ByID) (*hostPoliciesOutput, error) {
	p, err := s.o.Policies.OfHost(ctx, in.ID)
	return &hostPoliciesOutput{p}, err
}

type ticksInput struct {
	Page
	Policy  string       `query:"policy_id" doc:"A policy's id"`
	Host    string       `query:"host_id" doc:"A host's id"`
	Outcome wire.Outcome `query:"outcome" enum:"run,coalesced,missed,skipped"`
	Since   time.Time    `query:"since" doc:"Due at or after"`
	Until   time.Time    `query:"until" doc:"Due before"`
}

type ticksOutput struct{ Body policy.TickPage }

func (s *Server) listTicks(ctx context.Context, in *ticksInput) (*ticksOutput, error) {
	for _, id := range []*string{&in.Policy, &in.Host} {
		if *id != "" && !wire.IsUUID(*id) {
			*id = nobody
		}
	}
	p, err := s.o.Policies.Ticks(ctx, policy.TickFilter{PolicyID: in.Policy, HostID: in.Host, Outcome: in.Outcome,
		Since: given(in.Since), Until: given(in.Until)}, in.page())
	return &ticksOutput{p}, err
}

type planPolicyInput struct {
	Body struct {
		ID      string      `json:"id,omitempty" doc:"Of the policy that is to be changed; left out: a new one"`
		Name    string      `json:"name" maxLength:"128"`
		Enabled *bool       `json:"enabled,omitempty" doc:"Left out: yes"`
		Spec    policy.Spec `json:"spec"`
	} `nameHint:"PlanPolicy"`
}

type planOutput struct{ Body policy.Plan }

func (s *Server) planPolicy(ctx context.Context, in *planPolicyInput) (*planOutput, error) {
	d := policy.Draft{Name: in.Body.Name, Enabled: in.Body.Enabled == nil || *in.Body.Enabled, Spec: in.Body.Spec}
	p, err := s.o.Policies.Plan(ctx, in.Body.ID, d)
	return &planOutput{p}, err
}

type fleetCalendarInput struct {
	Days      int `query:"days" minimum:"1" maximum:"366" default:"30" doc:"So many days up to today"`
	Ahead     int `query:"ahead_hours" minimum:"0" maximum:"168" default:"48" doc:"So many hours from this one on"`
	UTCOffset int `query:"utc_offset_minutes" minimum:"-840" maximum:"840" doc:"How far the days' midnight is ahead of UTC's"`
}

type fleetCalendarOutput struct{ Body policy.FleetCalendar }

func (s *Server) getFleetCalendar(ctx context.Context, in *fleetCalendarInput) (*fleetCalendarOutput, error) {
	c, err := s.o.Policies.Calendar(ctx, in.Days, in.Ahead, time.Duration(in.UTCOffset)*time.Minute)
	return &fleetCalendarOutput{c}, err
}
