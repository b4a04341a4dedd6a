-- +goose Up
-- JSON lives in text columns on both engines: the programs read it whole; no query looks inside but for labels,
-- whose form is fixed.
CREATE TABLE server_state (
    key   text PRIMARY KEY,
    value text NOT NULL
);
-- Counters: draws and commits of listings take the next listing_order; each revocation takes the next
-- identity_revision.
INSERT INTO server_state (key, value) VALUES ('listing_order', '0'), ('identity_revision', '0');

CREATE TABLE audit (
    id            uuid PRIMARY KEY,
    at            timestamptz NOT NULL,
    actor_kind    text NOT NULL,
    actor_id      uuid,
    actor_name    text NOT NULL,
    actor_address text NOT NULL,
    action        text NOT NULL,
    target        text NOT NULL,
    detail        text NOT NULL
);
CREATE INDEX audit_at ON audit (at DESC, id DESC);

-- What is known of a repository by restic's own id. A list of snapshots belongs to it.
CREATE TABLE repositories (
    id             text PRIMARY KEY,
    created_at     timestamptz NOT NULL,
    -- of the committed listing: the token's order and time
    listing_order  bigint NOT NULL DEFAULT 0,
    refreshed_at   timestamptz,
    snapshot_count bigint NOT NULL DEFAULT 0
);

CREATE TABLE enrollment_tokens (
    id           uuid PRIMARY KEY,
    token_sha256 text NOT NULL UNIQUE,
    name         text NOT NULL,
    labels       text NOT NULL,
    created_at   timestamptz NOT NULL,
    created_by   text NOT NULL,
    expires_at   timestamptz NOT NULL,
    used_at      timestamptz,
    host_id      uuid
);

CREATE TABLE hosts (
    id                  uuid PRIMARY KEY,
    name                text NOT NULL,
    -- the name in lower case: unique for people, and the order of lists
    name_key            text COLLATE "C" NOT NULL UNIQUE,
    labels              text NOT NULL,
    status              text NOT NULL CHECK (status IN ('never_seen', 'online', 'offline', 'revoked')),
    created_at          timestamptz NOT NULL,
    last_seen_at        timestamptz,
    revoked_at          timestamptz,
    token_sha256        text NOT NULL UNIQUE,
    enrollment_token_id uuid REFERENCES enrollment_tokens (id) ON DELETE SET NULL,
    hostname            text NOT NULL,
    facts               text NOT NULL,
    guard               text NOT NULL,
    kinds               text NOT NULL,
    reported_repositories text NOT NULL,
    agent_version       text NOT NULL,
    restic_version      text NOT NULL,
    protocol_version    bigint NOT NULL,
    skew_seconds        double precision NOT NULL DEFAULT 0,
    -- the newest process of the agent, and the mark given to it after its hello
    boot_id             text NOT NULL DEFAULT '',
    boot_number         bigint NOT NULL DEFAULT 0,
    boot_mark           text NOT NULL DEFAULT '',
    clone_alarm_at      timestamptz,
    clone_alarm         text NOT NULL DEFAULT '',
    repository_id       text REFERENCES repositories (id),
    snapshot_count      bigint NOT NULL DEFAULT 0,
    listing_error       text NOT NULL DEFAULT '',
    last_success_at     timestamptz,
    CHECK ((status = 'revoked') = (revoked_at IS NOT NULL))
);
CREATE INDEX hosts_repository ON hosts (repository_id) WHERE repository_id IS NOT NULL;
CREATE INDEX hosts_online ON hosts (last_seen_at) WHERE status = 'online';

-- The hostnames a host has had: snapshots are matched by them.
CREATE TABLE host_names (
    host_id  uuid NOT NULL REFERENCES hosts (id) ON DELETE CASCADE,
    hostname text NOT NULL,
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (host_id, hostname)
);

-- The repository the server holds for a host. Password and environment are sealed with AES-256-GCM, the
-- host's id and the column bound in.
CREATE TABLE host_repositories (
    host_id         uuid PRIMARY KEY REFERENCES hosts (id) ON DELETE CASCADE,
    url             text NOT NULL,
    env_keys        text NOT NULL,
    sealed_password bytea NOT NULL,
    sealed_env      bytea NOT NULL,
    updated_at      timestamptz NOT NULL
);
