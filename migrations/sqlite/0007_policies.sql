-- +goose Up
-- A repository as people set it up: where it is and what opens it, for one host or for many. What restic calls the
-- repository's id, and the list of what is in it, are in repositories: with {host} in the address one setting stands for
-- one repository a host. Secrets are sealed with AES-256-GCM, the setting's id and the column bound in.
CREATE TABLE repository_settings (
    id              text PRIMARY KEY,
    name            text NOT NULL,
    name_key        text NOT NULL UNIQUE,
    url             text NOT NULL,
    append_only     boolean NOT NULL DEFAULT false,
    sealed_password blob NOT NULL,
    env_keys        text NOT NULL,
    sealed_env      blob NOT NULL,
    -- what the maintenance runner gets in place of env; no keys: the same
    maintenance_env_keys   text NOT NULL,
    sealed_maintenance_env blob NOT NULL,
    runner_id       text REFERENCES hosts (id) ON DELETE SET NULL,
    maintenance     text NOT NULL DEFAULT '{}',
    created_at      datetime NOT NULL,
    updated_at      datetime NOT NULL,
    -- a recovery kit made before the secrets changed is of no use
    secrets_changed_at datetime NOT NULL,
    kit_made_at     datetime
);

-- The setting that a host's repository comes from; null: it was given to the host by hand.
ALTER TABLE host_repositories ADD COLUMN setting_id text REFERENCES repository_settings (id);
CREATE INDEX host_repositories_setting ON host_repositories (setting_id) WHERE setting_id IS NOT NULL;

CREATE TABLE policies (
    id         text PRIMARY KEY,
    name       text NOT NULL,
    name_key   text NOT NULL UNIQUE,
    enabled    boolean NOT NULL,
    version    integer NOT NULL,
    spec       text NOT NULL,
    created_at datetime NOT NULL,
    updated_at datetime NOT NULL
);
CREATE TABLE policy_versions (
    policy_id text NOT NULL REFERENCES policies (id) ON DELETE CASCADE,
    version   integer NOT NULL,
    at        datetime NOT NULL,
    by_name   text NOT NULL,
    name      text NOT NULL,
    enabled   boolean NOT NULL,
    spec      text NOT NULL,
    PRIMARY KEY (policy_id, version)
);

-- Which hosts a policy applies to, and why. With a problem it does not run there. Due times up to accounted_until have
-- an outcome; next_due_at is the first one after it, null for a policy that is switched off.
CREATE TABLE assignments (
    policy_id       text NOT NULL REFERENCES policies (id) ON DELETE CASCADE,
    host_id         text NOT NULL REFERENCES hosts (id) ON DELETE CASCADE,
    why             text NOT NULL,
    problem         text NOT NULL DEFAULT '',
    since           datetime NOT NULL,
    accounted_until datetime NOT NULL,
    next_due_at     datetime,
    PRIMARY KEY (policy_id, host_id)
);
CREATE INDEX assignments_host ON assignments (host_id);
CREATE INDEX assignments_due ON assignments (next_due_at) WHERE next_due_at IS NOT NULL;

-- What became of each due time: one row, one outcome.
CREATE TABLE ticks (
    policy_id   text NOT NULL,
    host_id     text NOT NULL REFERENCES hosts (id) ON DELETE CASCADE,
    due_at      datetime NOT NULL,
    outcome     text NOT NULL CHECK (outcome IN ('run', 'coalesced', 'missed', 'skipped')),
    job_id      text,
    why         text NOT NULL DEFAULT '',
    recorded_at datetime NOT NULL,
    PRIMARY KEY (policy_id, host_id, due_at)
);
-- The list of ticks is in the order of due_at, policy_id, host_id: of all, of a policy, of a host, of an outcome.
CREATE INDEX ticks_due ON ticks (due_at, policy_id, host_id);
CREATE INDEX ticks_policy ON ticks (policy_id, due_at, host_id);
CREATE INDEX ticks_host ON ticks (host_id, due_at, policy_id);
CREATE INDEX ticks_outcome ON ticks (outcome, due_at, policy_id, host_id);

-- What the agent can do beside its kinds; which schedule the host is to have, and which one its agent has.
ALTER TABLE hosts ADD COLUMN features text NOT NULL DEFAULT '[]';
ALTER TABLE hosts ADD COLUMN schedule_version integer NOT NULL DEFAULT 0;
ALTER TABLE hosts ADD COLUMN schedule_known integer NOT NULL DEFAULT 0;

-- The policy and due time a job is of; and, for maintenance, the repository it is about in place of the host's own:
-- target is restic's id ('' is not known), of target_setting for target_host (null: the setting has no {host}).
ALTER TABLE jobs ADD COLUMN policy_id text;
ALTER TABLE jobs ADD COLUMN due_at datetime;
ALTER TABLE jobs ADD COLUMN target text NOT NULL DEFAULT '';
ALTER TABLE jobs ADD COLUMN target_setting text;
ALTER TABLE jobs ADD COLUMN target_host text;
CREATE INDEX jobs_policy ON jobs (policy_id, id, host_id) WHERE policy_id IS NOT NULL;
CREATE INDEX jobs_target ON jobs (target) WHERE target <> '' AND state = 'queued';

-- Maintenance of one repository: whose setting it is, when what is due, how far the rotating check has come.
CREATE TABLE repository_maintenance (
    repository_id  text PRIMARY KEY REFERENCES repositories (id) ON DELETE CASCADE,
    setting_id     text NOT NULL REFERENCES repository_settings (id) ON DELETE CASCADE,
    host_id        text REFERENCES hosts (id) ON DELETE CASCADE,
    next_forget_at datetime,
    next_prune_at  datetime,
    next_check_at  datetime,
    check_part     integer NOT NULL DEFAULT 0,
    last_forget_at datetime,
    last_prune_at  datetime,
    -- why retention removes nothing until a person has looked; '' is not
    frozen         text NOT NULL DEFAULT '',
    frozen_at      datetime
);
-- Which part of the data was read when; the oldest of all parts is the age of the last full verification.
CREATE TABLE repository_checks (
    repository_id text NOT NULL REFERENCES repositories (id) ON DELETE CASCADE,
    parts         integer NOT NULL,
    part          integer NOT NULL,
    checked_at    datetime NOT NULL,
    job_id        text NOT NULL,
    PRIMARY KEY (repository_id, parts, part)
);
-- Snapshots that no job of ours explains, and what a person has said of them: that they count from now on, or, with counts
-- false, that they are left out and need no further look.
CREATE TABLE snapshot_adoptions (
    repository_id text NOT NULL REFERENCES repositories (id) ON DELETE CASCADE,
    snapshot_id   text NOT NULL,
    adopted_at    datetime NOT NULL,
    adopted_by    text NOT NULL,
    counts        boolean NOT NULL DEFAULT true,
    PRIMARY KEY (repository_id, snapshot_id)
);
-- Removals that retention asked for: explicit ids, the total there was, and what became of them.
CREATE TABLE removals (
    id            text PRIMARY KEY,
    repository_id text NOT NULL REFERENCES repositories (id) ON DELETE CASCADE,
    made_at       datetime NOT NULL,
    snapshot_ids  text NOT NULL,
    id_count      integer NOT NULL,
    total         integer NOT NULL,
    state         text NOT NULL CHECK (state IN ('waiting', 'ordered', 'done', 'failed', 'refused')),
    why           text NOT NULL DEFAULT '',
    job_id        text,
    decided_by    text NOT NULL DEFAULT '',
    decided_at    datetime
);
CREATE UNIQUE INDEX removals_open ON removals (repository_id) WHERE state IN ('waiting', 'ordered');
CREATE INDEX removals_repository ON removals (repository_id, id);
