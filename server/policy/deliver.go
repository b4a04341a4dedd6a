package policy

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"restic-manager/shared/wire"
)

// schedule is what a host is to do by itself: the policies that apply to it and run there.
func (s *Store) schedule(ctx context.Context, hostID string) (*wire.Schedule, error) {
	var rows []struct {
		ScheduleVersion int64
		ServerHeld      bool
		ID              *string
		Name            string
		Version         int64
		Spec            string
		AccountedUntil  *time.Time
	}
	// One statement: the version and what it names are of one moment.
	err := s.db.Read(ctx).Raw(`SELECT h.schedule_version, EXISTS (SELECT 1 FROM host_repositories r WHERE r.host_id = h.id) AS server_held,
			p.id, coalesce(p.name, '') AS name, coalesce(p.version, 0) AS version, coalesce(p.spec, '') AS spec,
			a.accounted_until
		FROM hosts h LEFT JOIN (assignments a JOIN policies p ON p.id = a.policy_id AND p.enabled) ON a.host_id = h.id AND a.problem = ''
		WHERE h.id = ? ORDER BY p.id`, hostID).Scan(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("read the schedule of host %s: %w", hostID, err)
	}
	out := &wire.Schedule{Policies: []wire.ScheduledPolicy{}, Repository: wire.RepositoryLocal}
	for _, r := range rows {
		out.Version = r.ScheduleVersion
		if r.ServerHeld {
			out.Repository = wire.RepositoryServer
		}
		if r.ID == nil { // no policy applies
			continue
		}
		spec, err := decodeSpec(*r.ID, r.Spec)
		if err != nil {
			return nil, err
		}
		backup, err := json.Marshal(spec.Backup)
		if err != nil {
			return nil, err
		}
		out.Policies = append(out.Policies, wire.ScheduledPolicy{
			ID: *r.ID, Name: r.Name, Version: r.Version, Kind: wire.KindBackup, Spec: backup,
			Cron: spec.Schedule.Cron, Zone: spec.Schedule.Zone, SpreadSeconds: spec.Schedule.SpreadSeconds,
			LateSeconds: spec.Schedule.LateSeconds, NoCatchUp: spec.Schedule.NoCatchUp,
			Windows: spec.Schedule.Windows, SkipOnBattery: spec.Schedule.SkipOnBattery, SkipOnMetered: spec.Schedule.SkipOnMetered,
			TimeLimitSeconds: int64(spec.timeLimit().Seconds()), AccountedUntil: r.AccountedUntil.UTC(),
		})
	}
	return out, nil
}
