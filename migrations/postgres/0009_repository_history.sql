-- +goose Up
-- The server orders an init by itself where restic says that there is no repository yet.
ALTER TABLE repository_settings ADD COLUMN auto_init boolean NOT NULL DEFAULT true;

-- A repository's password on its way to another one. sealed_second is the password beside the setting's: the new one while
-- adding, the old one once switched; nothing when it has ended. One is open of a setting at most.
CREATE TABLE key_rotations (
    id            uuid PRIMARY KEY,
    setting_id    uuid NOT NULL REFERENCES repository_settings (id) ON DELETE CASCADE,
    host_id       uuid REFERENCES hosts (id) ON DELETE SET NULL,
    state         text NOT NULL CHECK (state IN ('adding', 'switched', 'done', 'given_up')),
    sealed_second bytea NOT NULL,
    job_id        uuid,
    tries         bigint NOT NULL DEFAULT 0,
    next_at       timestamptz NOT NULL,
    why           text NOT NULL DEFAULT '',
    created_by    text NOT NULL,
    started_at    timestamptz NOT NULL,
    switched_at   timestamptz,
    ended_at      timestamptz
);
CREATE UNIQUE INDEX key_rotations_open ON key_rotations (setting_id) WHERE state IN ('adding', 'switched');
CREATE INDEX key_rotations_setting ON key_rotations (setting_id, id);

-- Since when restic says that what was there is gone; and what prune left, as restic counted it.
ALTER TABLE repository_maintenance ADD COLUMN missing_at timestamptz;
ALTER TABLE repository_maintenance ADD COLUMN stored_bytes bigint;
CREATE INDEX repository_maintenance_setting ON repository_maintenance (setting_id, repository_id);

-- What a repository held, a row a day; day is as in 2026-11-27, in UTC. stored_bytes is null while no prune has told.
CREATE TABLE repository_growth (
    setting_id     uuid NOT NULL REFERENCES repository_settings (id) ON DELETE CASCADE,
    day            text COLLATE "C" NOT NULL,
    snapshot_count bigint NOT NULL,
    size_bytes     bigint NOT NULL,
    stored_bytes   bigint,
    PRIMARY KEY (setting_id, day)
);
CREATE INDEX repository_growth_day ON repository_growth (day);

-- The jobs about a repository of the server: those that name it, and those of hosts that used it, kind by kind.
CREATE INDEX jobs_target_setting ON jobs (target_setting, kind, id, host_id) WHERE target_setting IS NOT NULL;
CREATE INDEX jobs_repository ON jobs (repository_id, kind, id, host_id) WHERE repository_id <> '' AND target_setting IS NULL;
-- What restic said of repositories that are not there.
CREATE INDEX jobs_missing ON jobs (id) WHERE error_code = 'repository_missing';
-- The hosts of one address.
CREATE INDEX host_repositories_url ON host_repositories (setting_id, url) WHERE setting_id IS NOT NULL;
