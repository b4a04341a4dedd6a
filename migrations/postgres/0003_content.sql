-- +goose Up
-- One row per job with a log: the cursor, and the running SHA-256 over all records (Go's state of it).
CREATE TABLE logs (
    job_id       uuid PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE,
    created_at   timestamptz NOT NULL,
    updated_at   timestamptz NOT NULL,
    next_line    bigint NOT NULL DEFAULT 1,
    byte_count   bigint NOT NULL DEFAULT 0,
    sum_state    bytea NOT NULL,
    -- what is kept: whole chunks, the first and the last; 0 is none
    head_bytes   bigint NOT NULL DEFAULT 0,
    tail_from    bigint NOT NULL DEFAULT 0,
    tail_bytes   bigint NOT NULL DEFAULT 0,
    dropped_from bigint NOT NULL DEFAULT 0,
    dropped_to   bigint NOT NULL DEFAULT 0,
    -- lines from here on may lie in chunks smaller than they should be
    loose_from   bigint NOT NULL DEFAULT 1,
    tidy         boolean NOT NULL DEFAULT true,
    complete     boolean NOT NULL DEFAULT false,
    problem      text NOT NULL DEFAULT '',
    expired_at   timestamptz
);
-- The columns of these change seldom, so that an append stays a heap-only update.
CREATE INDEX logs_loose ON logs (job_id) WHERE NOT tidy;
CREATE INDEX logs_open ON logs (created_at) WHERE NOT complete AND problem = '';
CREATE INDEX logs_kept ON logs (created_at) WHERE expired_at IS NULL;

-- A chunk is one request's records as they were sent. It has no number of its own: the first line places it.
CREATE TABLE log_chunks (
    job_id      uuid NOT NULL REFERENCES logs (job_id) ON DELETE CASCADE,
    first_line  bigint NOT NULL,
    line_count  bigint NOT NULL CHECK (line_count > 0),
    plain_bytes bigint NOT NULL,
    encoding    text NOT NULL CHECK (encoding IN ('', 'gzip', 'zstd')),
    body        bytea NOT NULL,
    PRIMARY KEY (job_id, first_line)
);
-- The bodies are compressed already.
ALTER TABLE log_chunks ALTER COLUMN body SET STORAGE EXTERNAL;

-- A drawn token. base_order is the repository's listing_order when it was drawn.
CREATE TABLE listings (
    token           text PRIMARY KEY,
    host_id         uuid NOT NULL REFERENCES hosts (id) ON DELETE CASCADE,
    job_id          uuid NOT NULL,
    drawn_at        timestamptz NOT NULL,
    drawn_order     bigint NOT NULL,
    base_repository text NOT NULL,
    base_order      bigint NOT NULL,
    committed_at    timestamptz
);
CREATE INDEX listings_host ON listings (host_id, drawn_order);
CREATE INDEX listings_drawn ON listings (drawn_at);

-- Parts of a list on their way: all ids, and the lines of those that were not known. Unlogged: after a crash
-- of the database they are gone, and the agent lists anew.
CREATE UNLOGGED TABLE listing_parts (
    token      text NOT NULL,
    n          bigint NOT NULL,
    id_count   bigint NOT NULL,
    ids        bytea NOT NULL,
    fresh      bytea NOT NULL,
    byte_count bigint NOT NULL,
    sum_state  bytea NOT NULL,
    PRIMARY KEY (token, n)
);
ALTER TABLE listing_parts ALTER COLUMN ids SET STORAGE EXTERNAL;
ALTER TABLE listing_parts ALTER COLUMN fresh SET STORAGE EXTERNAL;

-- The projection of what is in a repository. A snapshot never changes under its id.
CREATE TABLE snapshots (
    repository_id   text NOT NULL REFERENCES repositories (id) ON DELETE CASCADE,
    id              text NOT NULL,
    time            timestamptz NOT NULL,
    hostname        text NOT NULL,
    username        text NOT NULL,
    paths           text NOT NULL,
    tags            text NOT NULL,
    excludes        text NOT NULL,
    parent          text NOT NULL,
    tree            text NOT NULL,
    original        text NOT NULL,
    program_version text NOT NULL,
    size_bytes      bigint NOT NULL,
    file_count      bigint NOT NULL,
    data_added      bigint NOT NULL,
    summary         text NOT NULL,
    PRIMARY KEY (repository_id, id)
);
CREATE INDEX snapshots_time ON snapshots (repository_id, time DESC, id DESC);
CREATE INDEX snapshots_hostname ON snapshots (repository_id, hostname, time DESC, id DESC);

-- How many snapshots of each hostname a repository holds, kept by the same difference that writes them.
CREATE TABLE repository_hostnames (
    repository_id  text NOT NULL REFERENCES repositories (id) ON DELETE CASCADE,
    hostname       text NOT NULL,
    snapshot_count bigint NOT NULL,
    PRIMARY KEY (repository_id, hostname)
);
