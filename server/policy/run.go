package policy

import (
	"context"
	"fmt"
	"slices"

	"restic-manager/server/database"
	"restic-manager/server/fault"
	"restic-manager/server/fleet"
	"restic-manager/shared/wire"
)

// RunJob is the job that a host got.
type RunJob struct {
	HostID  string `json:"host_id"`
	JobID   string `json:"job_id,omitempty"`
	Created bool   `json:"created" doc:"False where a job of the policy that had not begun stands for it"`
	Problem string `json:"problem,omitempty" doc:"Why the host got none"`
}

// Run orders the policy's backup now: at the given hosts, or at all that it applies to when none is given.
func (s *Store) Run(ctx context.Context, actor database.Actor, id string, hostIDs []string) ([]RunJob, error) {
	jobs := []RunJob{}
	err := s.db.Write(ctx, func(tx *database.Tx) error {
		jobs = jobs[:0]
		if !wire.IsUUID(id) {
			return errNoPolicy
		}
		var rows []row
		if err := tx.Raw("SELECT * FROM policies WHERE id = ?", id).Scan(&rows).Error; err != nil {
			return err
		}
		if len(rows) == 0 {
			return errNoPolicy
		}
		spec, err := decodeSpec(id, rows[0].Spec)
		if err != nil {
			return err
		}
		had, err := assigned(tx, "SELECT * FROM assignments WHERE policy_id = ?", id)
		if err != nil {
			return err
		}
		if len(hostIDs) == 0 {
			for k := range had {
				hostIDs = append(hostIDs, k.host)
			}
		}
		// In one order: two that run policies at the same hosts would wait for each other.
		for _, host := range sortedSet(hostIDs) {
			a, ok := had[key{id, host}]
			if !ok {
				return fault.Invalidf("host_ids: the policy does not apply to one of these hosts")
			}
			j, err := s.runAt(tx, actor, a, spec)
			if err != nil {
				return err
			}
			jobs = append(jobs, j)
		}
		return tx.Audit(actor, "policy.run", "policy:"+id, map[string]any{"name": rows[0].Name, "hosts": len(jobs)})
	})
	if err != nil {
		return nil, fmt.Errorf("run policy %s: %w", id, err)
	}
	return slices.Clip(jobs), nil
}

func (s *Store) runAt(tx *database.Tx, actor database.Actor, a assignment, spec Spec) (RunJob, error) {
	if a.Problem != "" {
		return RunJob{HostID: a.HostID, Problem: a.Problem}, nil
	}
	id, created, err := s.fleet.Order(tx, actor, fleet.NewJob{HostID: a.HostID, Kind: wire.KindBackup, Spec: &spec.Backup, TimeLimit: spec.timeLimit(), PolicyID: a.PolicyID})
	if f := fault.As(err); f != nil && f.Kind == fault.Conflict { // the agent there cannot do it
		return RunJob{HostID: a.HostID, Problem: f.Message}, nil
	}
	return RunJob{HostID: a.HostID, JobID: id, Created: created}, err
}
