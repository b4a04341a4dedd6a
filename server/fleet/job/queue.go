package job

import (
	"slices"
	"strings"
	"time"

	"restic-manager/server/fault"
	"restic-manager/shared/wire"
)

// KeyKept is how long an Idempotency-Key is remembered.
const KeyKept = 24 * time.Hour

// MayQueue refuses what the host will never fetch. kinds are those that its agent announced; none at all:
// it has not said.
func MayQueue(kind wire.Kind, revoked bool, kinds []wire.Kind, agentVersion string) error {
	switch {
	case revoked:
		return fault.New(fault.Conflict, "host_revoked", "this host is revoked and fetches no jobs; enroll the machine again and use the new host")
	case len(kinds) > 0 && !slices.Contains(kinds, kind):
		return fault.New(fault.Conflict, "kind_unsupported", "the agent on this host (version %s) does not know %s; upgrade it", agentVersion, kind)
	}
	return nil
}

// MayTarget refuses an order about another repository than the host's own that the host's agent would take for one about
// its own, or that is no maintenance.
func MayTarget(kind wire.Kind, features []string, agentVersion string) error {
	switch {
	case kind == wire.KindEstimate:
		return fault.Invalidf("kind: an estimate is about no repository")
	case kind == wire.KindBackup || kind == wire.KindRestore:
		return fault.Invalidf("kind: a %s is about the host's own repository", kind)
	case !slices.Contains(features, wire.FeatureTarget):
		return fault.New(fault.Conflict, "target_unsupported", "the agent on this host (version %s) works with its own repository only; upgrade it", agentVersion)
	}
	return nil
}

// LacksHooks says which of the hooks a host lacks, in words that follow its name; empty: none. runs says that its agent
// runs hooks; offered are those that the host offers.
func LacksHooks(hooks []string, runs bool, offered []string, agentVersion string) string {
	var lacks []string
	for _, name := range hooks {
		if !slices.Contains(offered, name) {
			lacks = append(lacks, name)
		}
	}
	switch {
	case len(hooks) == 0:
		return ""
	case !runs && agentVersion != "":
		return "has an agent (version " + agentVersion + ") that runs no hooks; upgrade it"
	case !runs:
		return "has not said yet which hooks it has"
	case len(lacks) > 0:
		return "has no hook " + strings.Join(lacks, ", ")
	}
	return ""
}

// NoHooks is the refusal of an order with hooks that the host lacks, as LacksHooks says.
func NoHooks(lacks string) error {
	return fault.New(fault.Conflict, "hook_missing", "this host %s; put the script into the folder of hooks on the machine and name it under hooks.allow in its guard.yaml", lacks)
}

// MayEstimate refuses an estimate to an agent that does not know it, one that has not said hello yet included.
func MayEstimate(features []string, agentVersion string) error {
	if !slices.Contains(features, wire.FeatureEstimate) {
		return fault.New(fault.Conflict, "kind_unsupported", "the agent on this host (version %s) cannot say what a backup would hold; upgrade it", agentVersion)
	}
	return nil
}

// MayLimit refuses a backup with limits that the host's agent does not know: it would refuse the whole order. said: it has
// announced what it can do.
func MayLimit(spec *wire.BackupSpec, said bool, features []string, agentVersion string) error {
	if said && spec.Limited() && !slices.Contains(features, wire.FeatureLimits) {
		return fault.New(fault.Conflict, "limits_unsupported", "the agent on this host (version %s) knows no download limit, nice and I/O class; upgrade it, or leave them out", agentVersion)
	}
	return nil
}

// MayRetry refuses to repeat a job that has not ended.
func MayRetry(state wire.State) error {
	if !state.Terminal() {
		return fault.New(fault.Conflict, "job_open", "the job has not ended (%s); cancel it first, or wait", state)
	}
	return nil
}

// KeyReused is the refusal of an Idempotency-Key that was used for another request.
func KeyReused() error {
	return fault.New(fault.Conflict, "idempotency_key_reused", "this Idempotency-Key was used for another request; take a new one")
}
