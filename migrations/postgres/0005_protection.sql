-- +goose Up
-- How each host's last backup ended, kept by the transaction that ends a backup: a list of 10,000 hosts is filtered and
-- sorted by it. Dry runs and canceled backups are no end. success_bytes is what the last one that succeeded read,
-- latest_size_bytes what the newest backup holds; 0: not known.
ALTER TABLE hosts ADD COLUMN last_backup_state text NOT NULL DEFAULT '';
ALTER TABLE hosts ADD COLUMN last_backup_at timestamptz;
ALTER TABLE hosts ADD COLUMN last_backup_job_id uuid;
ALTER TABLE hosts ADD COLUMN last_backup_error text NOT NULL DEFAULT '';
ALTER TABLE hosts ADD COLUMN success_bytes bigint NOT NULL DEFAULT 0;
ALTER TABLE hosts ADD COLUMN latest_size_bytes bigint NOT NULL DEFAULT 0;

-- A host's backups by their end, and the backup that made a snapshot.
CREATE INDEX jobs_backups ON jobs (host_id, ended_at) WHERE kind = 'backup' AND ended_at IS NOT NULL;
CREATE INDEX jobs_snapshot ON jobs (snapshot_id) WHERE snapshot_id <> '';

UPDATE hosts SET last_backup_state = j.state, last_backup_at = j.ended_at, last_backup_job_id = j.id, last_backup_error = j.error_code
FROM (SELECT id, host_id, state, ended_at, error_code, row_number() OVER (PARTITION BY host_id ORDER BY ended_at DESC, id DESC) AS place
    FROM jobs WHERE kind = 'backup' AND ended_at IS NOT NULL AND state <> 'canceled' AND spec NOT LIKE '%"dry_run":true%') j
WHERE j.host_id = hosts.id AND j.place = 1;

UPDATE hosts SET success_bytes = j.bytes_processed
FROM (SELECT host_id, bytes_processed, row_number() OVER (PARTITION BY host_id ORDER BY ended_at DESC, id DESC) AS place
    FROM jobs WHERE kind = 'backup' AND state IN ('succeeded', 'succeeded_with_issues') AND spec NOT LIKE '%"dry_run":true%') j
WHERE j.host_id = hosts.id AND j.place = 1;

UPDATE hosts SET latest_size_bytes = coalesce(nullif((SELECT
        (SELECT s.size_bytes FROM snapshots s WHERE s.repository_id = hosts.repository_id AND s.hostname = n.hostname ORDER BY s.time DESC, s.id DESC LIMIT 1)
    FROM host_names n WHERE n.host_id = hosts.id
    ORDER BY (SELECT max(s.time) FROM snapshots s WHERE s.repository_id = hosts.repository_id AND s.hostname = n.hostname) DESC NULLS LAST LIMIT 1), 0), success_bytes);
