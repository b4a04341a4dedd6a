package runner

import (
	"context"
	"errors"
	"os"
	"time"

	"restic-manager/agent/hook"
	"restic-manager/agent/supervise"
	"restic-manager/shared/wire"
)

// hooks are what the supervisor runs around restic, within the guard's limits.
func (j *job) hooks(s *wire.BackupSpec) (supervise.Hooks, error) {
	if len(s.Hooks()) == 0 {
		return supervise.Hooks{}, nil
	}
	dir, err := j.c.Guard.HooksDir()
	if err != nil {
		return supervise.Hooks{}, err
	}
	limits := j.c.Guard.Limits()
	return supervise.Hooks{
		Dir: dir, UID: os.Geteuid(), Before: s.HooksBefore, After: s.HooksAfter, Stdin: s.StdinHook,
		Continue: s.HookFailure == wire.HookContinues, Limit: limits.TimeLimit(s.HookLimit()),
		StdinLimit: limits.TimeLimit(time.Duration(s.HookTimeLimitSeconds) * time.Second),
		Told:       hook.Told{JobID: j.id, PolicyID: j.policyID(), Kind: wire.KindBackup},
	}, nil
}

// policyID is that of the job's policy; empty: it has none.
func (j *job) policyID() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.record.Local != nil {
		return j.record.Local.PolicyID
	}
	if id := j.record.Offer.PolicyID; wire.IsUUID(id) {
		return id // hooks are told nothing that the server could write as it likes
	}
	return ""
}

// finishHooks begins those hooks after restic that a supervisor which is gone did not.
func (j *job) finishHooks(ctx context.Context) {
	spec, refusal := j.spec()
	backup, ok := spec.(*wire.BackupSpec)
	if refusal != nil || !ok || len(backup.HooksAfter) == 0 {
		return
	}
	hooks, err := j.hooks(backup)
	if err == nil {
		err = supervise.FinishHooks(ctx, j.folder, hooks, j.c.Guard.MayRun, func(text string) {
			j.log.Warn("hooks of an interrupted job", "job", j.id, "said", text)
		})
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		j.log.Error("the hooks after an interrupted job are not run", "job", j.id, "error", err)
	}
}
