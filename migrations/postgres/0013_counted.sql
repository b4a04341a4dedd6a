-- +goose Up
-- What the fleet's counts need of each host, where it can be read without the rest of the row: whether its guard is broken, which is
-- also in guard; and hosts that are offline by when they were last there.
ALTER TABLE hosts ADD COLUMN guard_broken boolean NOT NULL DEFAULT false;
UPDATE hosts SET guard_broken = true WHERE strpos(guard, '"broken":"') > 0;
CREATE INDEX hosts_offline ON hosts (last_seen_at, id) WHERE status = 'offline';
