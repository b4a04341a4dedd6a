package fleet

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"

	"restic-manager/server/database"
	"restic-manager/server/fault"
	"restic-manager/server/fleet/job"
	"restic-manager/shared/wire"
)

// Bounds of what may be asked of a job's times.
const (
	minTimeLimit = time.Second
	maxTimeLimit = 7 * 24 * time.Hour
	minTTL       = time.Minute
	maxTTL       = 30 * 24 * time.Hour
)

// order is a job that is asked for, checked.
type order struct {
	hostID    string
	kind      wire.Kind
	spec      string
	timeLimit time.Duration
	ttl       time.Duration
	key       string
	retryOf   *string
	policyID  string
	id        string // given; empty: a new one
	dueAt     time.Time
	target    *Target
	hooks     []string // of the host's own that it needs
}

// CreateJob queues a job. A job asked for by hand coalesces with a queued one that asks the same of the same
// host: then created is false. So it is when the actor has used the Idempotency-Key within 24 h for the same
// request; for another request the key is a conflict.
func (s *Store) CreateJob(ctx context.Context, actor database.Actor, n NewJob) (Job, bool, error) {
	o, err := n.order()
	if err != nil {
		return Job{}, false, err
	}
	return s.queue(ctx, actor, o)
}

func (n NewJob) order() (order, error) {
	info, ok := n.Kind.Info()
	if !ok {
		_, err := wire.NewSpec(n.Kind)
		return order{}, fault.Invalidf("%v", err)
	}
	spec := n.Spec
	if spec == nil {
		spec, _ = wire.NewSpec(n.Kind)
	}
	if spec.Kind() != n.Kind {
		return order{}, fault.Invalidf("spec: it is one of a %s, the kind is %s", spec.Kind(), n.Kind)
	}
	raw, err := json.Marshal(spec)
	if err != nil {
		return order{}, err
	}
	// What is stored is what the agent will read: it is checked in that form.
	if _, err := wire.DecodeSpec(n.Kind, raw); err != nil {
		return order{}, fault.Invalidf("%v", err)
	}
	o := order{hostID: n.HostID, kind: n.Kind, spec: string(raw), timeLimit: n.TimeLimit, ttl: n.TTL, key: n.IdempotencyKey,
		policyID: n.PolicyID, id: n.ID, dueAt: n.DueAt, target: n.Target}
	if b, ok := spec.(*wire.BackupSpec); ok {
		o.hooks = b.Hooks()
	}
	if o.timeLimit == 0 {
		o.timeLimit = info.TimeLimit
	}
	if o.ttl == 0 {
		o.ttl = wire.QueueTTL
	}
	switch {
	case o.timeLimit < minTimeLimit || o.timeLimit > maxTimeLimit:
		return order{}, fault.Invalidf("time_limit_seconds: give 1 to %d, or leave it out for the kind's own", int(maxTimeLimit.Seconds()))
	case o.ttl < minTTL || o.ttl > maxTTL:
		return order{}, fault.Invalidf("ttl_seconds: give 60 to %d, or leave it out for %d", int(maxTTL.Seconds()), int(wire.QueueTTL.Seconds()))
	}
	return o, checkIdempotencyKey(o.key)
}

func checkIdempotencyKey(key string) error {
	if len(key) > 255 || cleanLine(key, 255) != key {
		return fault.Invalidf("Idempotency-Key: at most 255 visible characters")
	}
	return nil
}

// queue stores the job, or finds the one that stands for it.
func (s *Store) queue(ctx context.Context, actor database.Actor, o order) (Job, bool, error) {
	var id string
	var created bool
	for try := 1; ; try++ {
		err := s.db.Write(ctx, func(tx *database.Tx) (err error) {
			id, created, err = s.enqueue(tx, actor, o)
			return err
		})
		if err == nil {
			break
		}
		// The same key came twice at once, for two hosts: one was first.
		if try < 3 && errors.Is(err, gorm.ErrDuplicatedKey) {
			continue
		}
		return Job{}, false, fmt.Errorf("queue a %s: %w", o.kind, err)
	}
	j, err := s.JobByID(ctx, id)
	return j, created, err
}

// Order queues a job in the caller's transaction, whose Audit row it writes; see CreateJob. Lock nothing of jobs before.
func (s *Store) Order(tx *database.Tx, actor database.Actor, n NewJob) (id string, created bool, err error) {
	o, err := n.order()
	if err != nil {
		return "", false, err
	}
	return s.enqueue(tx, actor, o)
}

func (s *Store) enqueue(tx *database.Tx, actor database.Actor, o order) (id string, created bool, err error) {
	host, err := lockHost(tx, o.hostID)
	if err != nil {
		return "", false, err
	}
	if id, err = o.keyed(tx, actor); id != "" || err != nil {
		return id, false, err
	}
	if err := mayDo(host, o.kind); err != nil {
		return "", false, err
	}
	if lacks, err := LacksHooks(o.hooks, host.Features, host.Hooks, host.AgentVersion); err != nil {
		return "", false, err
	} else if lacks != "" {
		return "", false, job.NoHooks(lacks)
	}
	if o.target != nil || o.kind == wire.KindEstimate {
		if err := o.needsFeature(host); err != nil {
			return "", false, err
		}
	}
	if err := mayLimit(host, o); err != nil {
		return "", false, err
	}
	if id, err = o.coalesce(tx); err != nil {
		return "", false, err
	}
	if id == "" {
		created = true
		if id, err = s.insert(tx, actor, host, o); err != nil {
			return "", false, err
		}
	}
	return id, created, o.remember(tx, actor, id)
}

// mayDo refuses what the host will never fetch.
func mayDo(host hostRow, kind wire.Kind) error {
	var kinds []wire.Kind
	if err := json.Unmarshal([]byte(host.Kinds), &kinds); err != nil {
		return fmt.Errorf("read the kinds of host %s: %w", host.ID, err)
	}
	return job.MayQueue(kind, host.RevokedAt != nil, kinds, host.AgentVersion)
}

// needsFeature refuses what the host's agent does not know, or would take for another order.
func (o order) needsFeature(host hostRow) error {
	var features []string
	if err := json.Unmarshal([]byte(host.Features), &features); err != nil {
		return fmt.Errorf("read the features of host %s: %w", host.ID, err)
	}
	if o.target != nil {
		return job.MayTarget(o.kind, features, host.AgentVersion)
	}
	return job.MayEstimate(features, host.AgentVersion)
}

// mayLimit refuses limits that the host's agent does not know.
func mayLimit(host hostRow, o order) error {
	if o.kind != wire.KindBackup {
		return nil
	}
	spec, err := wire.DecodeSpec(o.kind, json.RawMessage(o.spec))
	if err != nil {
		return fault.Invalidf("%v", err)
	}
	var features []string
	if err := json.Unmarshal([]byte(host.Features), &features); err != nil {
		return fmt.Errorf("read the features of host %s: %w", host.ID, err)
	}
	return job.MayLimit(spec.(*wire.BackupSpec), host.HelloAt != nil, features, host.AgentVersion)
}

// request names what is asked, for telling whether an Idempotency-Key comes with the same again.
func (o order) request() string {
	retry := ""
	if o.retryOf != nil {
		retry = *o.retryOf
	}
	asked := fmt.Appendf(nil, "%s\n%s\n%s\n%d\n%d\n%s", o.hostID, o.kind, retry, o.timeLimit, o.ttl, o.spec)
	if o.policyID != "" || o.target != nil {
		asked = fmt.Appendf(asked, "\n%s\n%v", o.policyID, o.target)
	}
	sum := sha256.Sum256(asked)
	return hex.EncodeToString(sum[:])
}

func keyOwner(a database.Actor) string { return a.Kind + ":" + a.ID }

// keyed finds the job that this key has been used for.
func (o order) keyed(tx *database.Tx, actor database.Actor) (string, error) {
	if o.key == "" {
		return "", nil
	}
	var rows []struct {
		JobID         string
		RequestSHA256 string `gorm:"column:request_sha256"`
	}
	err := tx.Raw("SELECT job_id, request_sha256 FROM idempotency_keys WHERE actor = ? AND key = ? AND created_at > ?",
		keyOwner(actor), o.key, tx.Now.Add(-job.KeyKept)).Scan(&rows).Error
	if err != nil {
		return "", fmt.Errorf("look for the idempotency key: %w", err)
	}
	if len(rows) == 0 {
		return "", nil
	}
	if rows[0].RequestSHA256 != o.request() {
		return "", job.KeyReused()
	}
	return rows[0].JobID, nil
}

func (o order) remember(tx *database.Tx, actor database.Actor, id string) error {
	if o.key == "" {
		return nil
	}
	owner := keyOwner(actor)
	if err := tx.Exec("DELETE FROM idempotency_keys WHERE actor = ? AND key = ? AND created_at <= ?", owner, o.key, tx.Now.Add(-job.KeyKept)).Error; err != nil {
		return fmt.Errorf("forget the idempotency key: %w", err)
	}
	err := tx.Exec("INSERT INTO idempotency_keys (actor, key, request_sha256, job_id, created_at) VALUES (?, ?, ?, ?, ?)",
		owner, o.key, o.request(), id, tx.Now).Error
	if err != nil {
		return fmt.Errorf("remember the idempotency key: %w", err)
	}
	return nil
}

// coalesce finds a queued job that asks the same, or one of the same policy: an offline machine does not come back to
// a pile.
func (o order) coalesce(tx *database.Tx) (string, error) {
	same, args := "policy_id = ?", []any{o.policyID}
	if o.policyID == "" {
		same, args = "policy_id IS NULL AND spec = ? AND time_limit_seconds = ?", []any{o.spec, int64(o.timeLimit.Seconds())}
	}
	if o.target == nil {
		same += " AND target_setting IS NULL"
	} else {
		same, args = same+" AND target_setting = ? AND coalesce(CAST(target_host AS text), '') = ?", append(args, o.target.SettingID, o.target.HostID)
	}
	var ids []string
	err := tx.Raw("SELECT id FROM jobs WHERE host_id = ? AND state = 'queued' AND kind = ? AND expires_at > ? AND "+same+" ORDER BY number LIMIT 1",
		append([]any{o.hostID, o.kind, tx.Now}, args...)...).Scan(&ids).Error
	if err != nil {
		return "", fmt.Errorf("look for the same job: %w", err)
	}
	if len(ids) == 0 {
		return "", nil
	}
	return ids[0], nil
}

func (s *Store) insert(tx *database.Tx, actor database.Actor, host hostRow, o order) (string, error) {
	id := o.id
	if id == "" {
		id = database.NewIDAt(tx.Now)
	}
	j := job.New(id, host.ID, o.kind, o.ttl, tx.Now)
	row := jobRow{
		ID: j.ID, HostID: host.ID, Kind: j.Kind, Lane: j.Lane(), Hold: j.Hold(), State: j.State, Spec: o.spec, RetryOf: o.retryOf,
		CreatedBy: actor.Name, TimeLimitSeconds: int64(o.timeLimit.Seconds()), QueuedAt: j.QueuedAt, ExpiresAt: j.ExpiresAt, Delivery: j.Delivery,
	}
	if o.policyID != "" {
		row.PolicyID, row.DueAt = &o.policyID, ptr(o.dueAt)
	}
	if o.target != nil {
		row.Target, row.TargetSetting = o.target.RepositoryID, &o.target.SettingID
		if o.target.HostID != "" {
			row.TargetHost = &o.target.HostID
		}
	}
	if err := tx.Create(&row).Error; err != nil {
		return "", fmt.Errorf("store the job: %w", err)
	}
	tx.Notify(database.TopicJobs, database.TopicJob(j.ID), database.TopicHost(host.ID), database.TopicWake(host.ID))
	detail := map[string]any{"host": host.ID, "host_name": host.Name, "kind": j.Kind}
	if o.retryOf != nil {
		detail["retry_of"] = *o.retryOf
	}
	if o.policyID != "" {
		detail["policy"] = o.policyID
	}
	return j.ID, tx.Audit(actor, "job.create", "job:"+j.ID, detail)
}

// RetryJob queues what an ended job was asked to do once more, as a new job that names the old one; created
// is as CreateJob's.
func (s *Store) RetryJob(ctx context.Context, actor database.Actor, id, idempotencyKey string) (Job, bool, error) {
	if err := checkIdempotencyKey(idempotencyKey); err != nil {
		return Job{}, false, err
	}
	old, err := s.JobByID(ctx, id)
	if err != nil {
		return Job{}, false, err
	}
	if err := job.MayRetry(old.State); err != nil {
		return Job{}, false, err
	}
	if old.Kind == wire.KindRotateKey {
		return Job{}, false, fault.New(fault.Conflict, "rotation_step", "this is a step of a repository's change of password, which is repeated by itself; see the repository's page")
	}
	spec, err := wire.DecodeSpec(old.Kind, old.Spec)
	if err != nil {
		return Job{}, false, fault.Invalidf("what the job was asked is not taken any more: %v", err)
	}
	o, err := NewJob{HostID: old.HostID, Kind: old.Kind, Spec: spec, IdempotencyKey: idempotencyKey,
		TimeLimit: time.Duration(old.TimeLimitSeconds) * time.Second}.order()
	if err != nil {
		return Job{}, false, err
	}
	o.retryOf = &old.ID
	if o.target, err = s.targetOf(ctx, old.ID); err != nil {
		return Job{}, false, err
	}
	return s.queue(ctx, actor, o)
}

// targetOf is the repository that a job is about in place of the host's own, or nil.
func (s *Store) targetOf(ctx context.Context, id string) (*Target, error) {
	var rows []jobRow
	err := s.db.Read(ctx).Raw("SELECT target, target_setting, target_host FROM jobs WHERE id = ? AND target_setting IS NOT NULL", id).Scan(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("read the target of job %s: %w", id, err)
	}
	if len(rows) == 0 {
		return nil, nil
	}
	t := rows[0].about()
	return &t, nil
}

// CancelJob ends a job that has not started at once; a running one is asked to stop, with the next answer its
// agent gets. Canceling a canceled job changes nothing; another ended one is a job_ended conflict.
func (s *Store) CancelJob(ctx context.Context, actor database.Actor, id string) (Job, error) {
	var c change
	err := s.db.Write(ctx, func(tx *database.Tx) error {
		row, ok, err := lockJob(tx, id)
		if err != nil {
			return err
		}
		if !ok {
			return errNoJob
		}
		if c, err = s.apply(tx, row, job.Cancel{}); err != nil || c.refused != nil || c.job == c.was {
			return err
		}
		return tx.Audit(actor, "job.cancel", "job:"+id, map[string]any{"host": c.job.HostID, "kind": c.job.Kind, "state": c.was.State})
	})
	if err != nil {
		return Job{}, fmt.Errorf("cancel job %s: %w", id, err)
	}
	if c.refused != nil {
		return Job{}, c.refused
	}
	if c.fx.Ended {
		s.figures.ended(c.job)
	}
	return s.JobByID(ctx, id)
}

var errNoJob = fault.NotFoundf("there is no such job")
