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
    id            text PRIMARY KEY,
    at            datetime NOT NULL,
    actor_kind    text NOT NULL,
    actor_id      text,
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
    created_at     datetime NOT NULL,
    -- of the committed listing: the token's order and time
    listing_order  integer NOT NULL DEFAULT 0,
    refreshed_at   datetime,
    snapshot_count integer NOT NULL DEFAULT 0
);

CREATE TABLE enrollment_tokens (
    id           text PRIMARY KEY,
    token_sha256 text NOT NULL UNIQUE,
    name         text NOT NULL,
    labels       text NOT NULL,
    created_at   datetime NOT NULL,
    created_by   text NOT NULL,
    expires_at   datetime NOT NULL,
    used_at      datetime,
    host_id      text
);

CREATE TABLE hosts (
    id                  text PRIMARY KEY,
    name                text NOT NULL,
    -- the name in lower case: unique for people, and the order of lists
    name_key            text NOT NULL UNIQUE,
    labels              text NOT NULL,
    status              text NOT NULL CHECK (status IN ('never_seen', 'online', 'offline', 'revoked')),
    created_at          datetime NOT NULL,
    last_seen_at        datetime,
    revoked_at          datetime,
    token_sha256        text NOT NULL UNIQUE,
    enrollment_token_id text REFERENCES enrollment_tokens (id) ON DELETE SET NULL,
    hostname            text NOT NULL,
    facts               text NOT NULL,
    guard               text NOT NULL,
    kinds               text NOT NULL,
    reported_repositories text NOT NULL,
    agent_version       text NOT NULL,
    restic_version      text NOT NULL,
    protocol_version    integer NOT NULL,
    skew_seconds        real NOT NULL DEFAULT 0,
    -- the newest process of the agent, and the mark given to it after its hello
    boot_id             text NOT NULL DEFAULT '',
    boot_number         integer NOT NULL DEFAULT 0,
    boot_mark           text NOT NULL DEFAULT '',
    clone_alarm_at      datetime,
    clone_alarm         text NOT NULL DEFAULT '',
    repository_id       text REFERENCES repositories (id),
    snapshot_count      integer NOT NULL DEFAULT 0,
    listing_error       text NOT NULL DEFAULT '',
    last_success_at     datetime,
    CHECK ((status = 'revoked') = (revoked_at IS NOT NULL))
);
CREATE INDEX hosts_repository ON hosts (repository_id) WHERE repository_id IS NOT NULL;
CREATE INDEX hosts_online ON hosts (last_seen_at) WHERE status = 'online';

-- The hostnames a host has had: snapshots are matched by them.
CREATE TABLE host_names (
    host_id  text NOT NULL REFERENCES hosts (id) ON DELETE CASCADE,
    hostname text NOT NULL,
    recorded_at datetime NOT NULL,
    PRIMARY KEY (host_id, hostname)
);

-- The repository the server holds for a host. Password and environment are sealed with AES-256-GCM, the
-- host's id and the column bound in.
CREATE TABLE host_repositories (
    host_id         text PRIMARY KEY REFERENCES hosts (id) ON DELETE CASCADE,
    url             text NOT NULL,
    env_keys        text NOT NULL,
    sealed_password blob NOT NULL,
    sealed_env      blob NOT NULL,
    updated_at      datetime NOT NULL
);
