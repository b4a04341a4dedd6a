package api

import (
	"context"
	"runtime"
	"runtime/debug"
	"time"

	"restic-manager/server/database"
	"restic-manager/server/fleet"
)

// HostQuery narrows a list of hosts, and what is counted of them.
type HostQuery struct {
	Status     []string `query:"status" maxItems:"4" enum:"never_seen,online,offline,revoked" doc:"Statuses, separated by commas"`
	Protection []string `query:"protection" maxItems:"5" enum:"failing,never_backed_up,at_risk,protected,revoked" doc:"Protections, separated by commas"`
	Search     string   `query:"search" maxLength:"256" doc:"Part of a name"`
	Label      string   `query:"label" maxLength:"260" doc:"key or key=value"`
	Version    string   `query:"version" maxLength:"80" doc:"The agent's, exactly"`
	OlderThan  int64    `query:"older_than_seconds" minimum:"0" doc:"The last success is older, or there is none"`
	NewerThan  int64    `query:"newer_than_seconds" minimum:"0" doc:"The last success is newer"`
	Policy     string   `query:"policy" maxLength:"36" doc:"A policy's id: it applies to the host; none: no enabled policy runs there"`
	Group      string   `query:"group" maxLength:"128" doc:"A label's key: by its values; hosts without it come last"`
}

func (q HostQuery) filter() fleet.HostFilter {
	f := fleet.HostFilter{Statuses: q.Status, Search: q.Search, Label: q.Label, Version: q.Version, Policy: q.Policy,
		OlderThan: seconds(q.OlderThan), NewerThan: seconds(q.NewerThan)}
	for _, p := range q.Protection {
		f.Protections = append(f.Protections, fleet.Protection(p))
	}
	return f
}

type overviewOutput struct{ Body fleet.Overview }

func (s *Server) getFleet(ctx context.Context, in *HostQuery) (*overviewOutput, error) {
	o, err := s.o.Fleet.Overview(ctx, in.filter(), in.Group)
	o.ServerVersion = s.o.Version
	return &overviewOutput{o}, err
}

// ServerInfo is what there is to know of the server.
type ServerInfo struct {
	Version             string         `json:"version"`
	Commit              string         `json:"commit,omitempty" doc:"Of the source it was built from, when it is known"`
	GoVersion           string         `json:"go_version"`
	PublicURL           string         `json:"public_url" doc:"Empty: not set"`
	StartedAt           time.Time      `json:"started_at"`
	Now                 time.Time      `json:"now"`
	UptimeSeconds       int64          `json:"uptime_seconds"`
	Database            database.About `json:"database"`
	SchemaVersion       int64          `json:"schema_version"`
	Hosts               int64          `json:"hosts"`
	Jobs                int64          `json:"jobs"`
	JobsEstimated       bool           `json:"jobs_estimated"`
	Snapshots           int64          `json:"snapshots"`
	LogBytes            int64          `json:"log_bytes" doc:"Estimated from the newest logs, before compression"`
	LongPollsHeld       int64          `json:"long_polls_held" doc:"By this replica"`
	LastSweepAt         *time.Time     `json:"last_sweep_at,omitempty" doc:"When hosts and jobs were last looked at for silence"`
	InvariantViolations int64          `json:"invariant_violations" doc:"Found by this replica's last hourly check; anything above 0 is a defect worth reporting"`
	OfflineAfterSeconds float64        `json:"offline_after_seconds"`
	OverdueAfterSeconds float64        `json:"overdue_after_seconds"`
}

type serverOutput struct{ Body ServerInfo }

func (s *Server) getServer(ctx context.Context, _ *none) (*serverOutput, error) {
	i, err := s.o.Fleet.Installation(ctx)
	if err != nil {
		return nil, err
	}
	return &serverOutput{ServerInfo{
		Version: s.o.Version, Commit: commit(), GoVersion: runtime.Version(), PublicURL: s.o.PublicURL,
		StartedAt: s.started, Now: i.Now, UptimeSeconds: int64(s.now().Sub(s.started).Seconds()),
		Database: i.Database, SchemaVersion: i.SchemaVersion, Hosts: i.Hosts, Jobs: i.Jobs, JobsEstimated: i.JobsEstimated,
		Snapshots: i.Snapshots, LogBytes: i.LogBytes, LongPollsHeld: i.LongPolls, LastSweepAt: i.LastSweepAt,
		InvariantViolations: s.violations.Load(), OfflineAfterSeconds: i.OfflineAfter.Seconds(), OverdueAfterSeconds: i.OverdueAfter.Seconds(),
	}}, nil
}

// commit is what the build knows of its source.
func commit() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return ""
}
