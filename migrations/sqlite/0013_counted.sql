-- +goose Up
-- What the fleet's counts need of each host, where it can be read without the rest of the row: whether its guard is broken, which is
-- also in guard; hosts that are offline by when they were last there; and the rest. last_seen_at is not among it: it changes every
-- minute.
ALTER TABLE hosts ADD COLUMN guard_broken boolean NOT NULL DEFAULT false;
UPDATE hosts SET guard_broken = true WHERE instr(guard, '"broken":"') > 0;
CREATE INDEX hosts_offline ON hosts (last_seen_at, id) WHERE status = 'offline';
CREATE INDEX hosts_counted ON hosts (labels, agent_version, status, last_success_at, last_backup_state, clone_alarm_at, guard_broken,
    restic_version, hello_at, listing_error, skew_seconds, revoked_at, name_key, hostname, id);
