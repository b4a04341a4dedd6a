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

// runAtOnce is how many hosts one transaction orders jobs at: others have theirs to write meanwhile.
const runAtOnce = 200

// Run orders the policy's backup now: at the given hosts, or at all that it applies to when none is given. What is
// ordered when it breaks off stays; asked again, those jobs stand for themselves.
func (s *Store) Run(ctx context.Context, actor database.Actor, id string, hostIDs []string) ([]RunJob, error) {
	jobs := []RunJob{}
	var spec Spec
	err := s.db.Write(ctx, func(tx *database.Tx) (err error) {
		spec, hostIDs, err = s.beginRun(tx, actor, id, sortedSet(hostIDs))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("run policy %s: %w", id, err)
	}
	// In one order: two that run policies at the same hosts would wait for each other.
	for some := range slices.Chunk(hostIDs, runAtOnce) {
		var ordered []RunJob
		err := s.db.Write(ctx, func(tx *database.Tx) (err error) {
			ordered, err = s.runSome(tx, actor, id, spec, some)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("run policy %s: %w", id, err)
		}
		jobs = append(jobs, ordered...)
	}
	return jobs, nil
}

// beginRun checks what is asked and writes it down. It gives the hosts, sorted.
func (s *Store) beginRun(tx *database.Tx, actor database.Actor, id string, hostIDs []string) (Spec, []string, error) {
	var rows []row
	if wire.IsUUID(id) {
		if err := tx.Raw("SELECT * FROM policies WHERE id = ?", id).Scan(&rows).Error; err != nil {
			return Spec{}, nil, err
		}
	}
	if len(rows) == 0 {
		return Spec{}, nil, errNoPolicy
	}
	spec, err := decodeSpec(id, rows[0].Spec)
	if err != nil {
		return spec, nil, err
	}
	var all []string
	if err := tx.Raw("SELECT host_id FROM assignments WHERE policy_id = ? ORDER BY host_id", id).Scan(&all).Error; err != nil {
		return spec, nil, err
	}
	for _, host := range hostIDs {
		if _, applies := slices.BinarySearch(all, host); !applies {
			return spec, nil, fault.Invalidf("host_ids: the policy does not apply to one of these hosts")
		}
	}
	if len(hostIDs) == 0 {
		hostIDs = all
	}
	return spec, hostIDs, tx.Audit(actor, "policy.run", "policy:"+id, map[string]any{"name": rows[0].Name, "hosts": len(hostIDs)})
}

func (s *Store) runSome(tx *database.Tx, actor database.Actor, id string, spec Spec, hostIDs []string) (jobs []RunJob, err error) {
	var rows []assignment
	err = tx.Raw("SELECT * FROM assignments WHERE policy_id = ? AND host_id IN ? ORDER BY host_id", id, hostIDs).Scan(&rows).Error
	if err != nil {
		return nil, err
	}
	for _, a := range rows {
		j, err := s.runAt(tx, actor, a, spec)
		if err != nil {
			return nil, err
		}
		jobs = append(jobs, j)
	}
	return jobs, nil
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
