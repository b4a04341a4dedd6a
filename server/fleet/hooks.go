package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"restic-manager/server/database"
	"restic-manager/server/fleet/job"
	"restic-manager/shared/wire"
)

// Hooks are what rooms that stand on the fleet add to it; nil ones add nothing. Set them before the first request.
type Hooks struct {
	// HostChanged is told, in the transaction, of a host that was enrolled, renamed, labelled or revoked, or whose
	// repository became another one, or whose agent says that it can do something else than before.
	HostChanged func(tx *database.Tx, hostID string) error
	// TargetSecrets opens the repository that a job of the host by is about; t.HostID says whose it is where the setting
	// stands for one repository a host. Nil secrets: there is no such repository any more.
	TargetSecrets func(ctx context.Context, t Target, kind wire.Kind, by string) (*wire.Secrets, error)
	// Schedule is what a host is to do by itself; the secrets of its repository are added here. nil: nothing is known of
	// schedules.
	Schedule func(ctx context.Context, hostID string) (*wire.Schedule, error)
	// Adopted is asked, in the transaction that has the host locked, before a job is taken that an agent began by
	// itself; an error refuses it. nil: none is taken.
	Adopted func(tx *database.Tx, hostID string, r wire.AdoptRequest) error
	// Stops is when the job of a policy's due time that was accepted then is to have ended; the zero time: nothing of
	// the policy's ends it.
	Stops func(ctx context.Context, policyID, hostID string, accepted time.Time) (time.Time, error)
}

// Use sets the hooks that are not nil.
func (s *Store) Use(h Hooks) {
	if h.HostChanged != nil {
		s.hooks.HostChanged = h.HostChanged
	}
	if h.TargetSecrets != nil {
		s.hooks.TargetSecrets = h.TargetSecrets
	}
	if h.Schedule != nil {
		s.hooks.Schedule = h.Schedule
	}
	if h.Adopted != nil {
		s.hooks.Adopted = h.Adopted
	}
	if h.Stops != nil {
		s.hooks.Stops = h.Stops
	}
}

// timeLimit is a job's own, in seconds, or less where the windows of its policy stop what runs when they close. The same
// accept gets the same.
func (s *Store) timeLimit(ctx context.Context, row jobRow, j job.Job) (int64, error) {
	if s.hooks.Stops == nil || row.PolicyID == nil || row.DueAt == nil || j.AcceptedAt.IsZero() {
		return row.TimeLimitSeconds, nil
	}
	stop, err := s.hooks.Stops(ctx, *row.PolicyID, j.HostID, j.AcceptedAt)
	if err != nil || stop.IsZero() {
		return row.TimeLimitSeconds, err
	}
	return min(row.TimeLimitSeconds, max(int64(stop.Sub(j.AcceptedAt)/time.Second), 1)), nil
}

// HostChanged tells who stands on the fleet.
func (s *Store) HostChanged(tx *database.Tx, hostID string) error {
	if s.hooks.HostChanged == nil {
		return nil
	}
	return s.hooks.HostChanged(tx, hostID)
}

// KeepsSchedule is the condition on hosts that the agent keeps the schedules of its policies itself. Features are JSON as
// encoding/json writes it.
const KeepsSchedule = `hosts.features LIKE '%"` + wire.FeatureSchedule + `"%'`

// runsHooks reports whether the agent of these features runs hooks.
func runsHooks(features string) bool {
	return strings.Contains(features, `"`+wire.FeatureHooks+`"`)
}

// LacksHooks says which of the hooks a host lacks, in words that follow its name; empty: none. features and offered are
// its row's.
func LacksHooks(hooks []string, features, offered, agentVersion string) (string, error) {
	if len(hooks) == 0 {
		return "", nil
	}
	var has []string
	if err := json.Unmarshal([]byte(offered), &has); err != nil {
		return "", fmt.Errorf("read hooks: %w", err)
	}
	return job.LacksHooks(hooks, runsHooks(features), has, agentVersion), nil
}

// ScheduleChanged gives the hosts a new version of what they are to do by themselves, secrets included, and wakes them.
func (s *Store) ScheduleChanged(tx *database.Tx, hostIDs []string) error {
	for ids := range slices.Chunk(hostIDs, 1000) {
		if err := tx.Exec("UPDATE hosts SET schedule_version = schedule_version + 1 WHERE id IN ?", ids).Error; err != nil {
			return fmt.Errorf("count the schedules of hosts up: %w", err)
		}
		for _, id := range ids {
			tx.Notify(database.TopicHost(id), database.TopicWake(id))
		}
	}
	return nil
}
