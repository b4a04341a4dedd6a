-- +goose Up
-- One row per job with a log: the cursor, and the running SHA-256 over all records (Go's state of it).
CREATE TABLE logs (
    job_id       text PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE,
    created_at   datetime NOT NULL,
    updated_at   datetime NOT NULL,
    next_line    integer NOT NULL DEFAULT 1,
    byte_count   integer NOT NULL DEFAULT 0,
    sum_state    blob NOT NULL,
    -- what is kept: whole chunks, the first and the last; 0 is none
    head_bytes   integer NOT NULL DEFAULT 0,
    tail_from    integer NOT NULL DEFAULT 0,
    tail_bytes   integer NOT NULL DEFAULT 0,
    dropped_from integer NOT NULL DEFAULT 0,
    dropped_to   integer NOT NULL DEFAULT 0,
    -- lines from here on may lie in chunks smaller than they should be
    loose_from   integer NOT NULL DEFAULT 1,
    tidy         boolean NOT NULL DEFAULT true,
    complete     boolean NOT NULL DEFAULT false,
    problem      text NOT NULL DEFAULT '',
    expired_at   datetime
);
CREATE INDEX logs_loose ON logs (job_id) WHERE NOT tidy;
CREATE INDEX logs_open ON logs (created_at) WHERE NOT complete AND problem = '';
CREATE INDEX logs_kept ON logs (created_at) WHERE expired_at IS NULL;

-- A chunk is one request's records as they were sent. It has no number of its own: the first line places it.
CREATE TABLE log_chunks (
    job_id      text NOT NULL REFERENCES logs (job_id) ON DELETE CASCADE,
    first_line  integer NOT NULL,
    line_count  integer NOT NULL CHECK (line_count > 0),
    plain_bytes integer NOT NULL,
    encoding    text NOT NULL CHECK (encoding IN ('', 'gzip', 'zstd')),
    body        blob NOT NULL,
    PRIMARY KEY (job_id, first_line)
);

-- A drawn token. base_order is the repository's listing_order when it was drawn.
CREATE TABLE listings (
    token           text PRIMARY KEY,
    host_id         text NOT NULL REFERENCES hosts (id) ON DELETE CASCADE,
    job_id          text NOT NULL,
    drawn_at        datetime NOT NULL,
    drawn_order     integer NOT NULL,
    base_repository text NOT NULL,
    base_order      integer NOT NULL,
    committed_at    datetime
);
CREATE INDEX listings_host ON listings (host_id, drawn_order);
CREATE INDEX listings_drawn ON listings (drawn_at);

-- Parts of a list on their way: all ids, and the lines of those that were not known.
CREATE TABLE listing_parts (
    token      text NOT NULL,
    n          integer NOT NULL,
    id_count   integer NOT NULL,
    ids        blob NOT NULL,
    fresh      blob NOT NULL,
    byte_count integer NOT NULL,
    sum_state  blob NOT NULL,
    PRIMARY KEY (token, n)
);

-- The projection of what is in a repository. A snapshot never changes under its id.
CREATE TABLE snapshots (
    repository_id   text NOT NULL REFERENCES repositories (id) ON DELETE CASCADE,
    id              text NOT NULL,
    time            datetime NOT NULL,
    hostname        text NOT NULL,
    username        text NOT NULL,
    paths           text NOT NULL,
    tags            text NOT NULL,
    excludes        text NOT NULL,
    parent          text NOT NULL,
    tree            text NOT NULL,
    original        text NOT NULL,
    program_version text NOT NULL,
    size_bytes      integer NOT NULL,
    file_count      integer NOT NULL,
    data_added      integer NOT NULL,
    summary         text NOT NULL,
    PRIMARY KEY (repository_id, id)
);
CREATE INDEX snapshots_time ON snapshots (repository_id, time DESC, id DESC);
CREATE INDEX snapshots_hostname ON snapshots (repository_id, hostname, time DESC, id DESC);

-- How many snapshots of each hostname a repository holds, kept by the same difference that writes them.
CREATE TABLE repository_hostnames (
    repository_id  text NOT NULL REFERENCES repositories (id) ON DELETE CASCADE,
    hostname       text NOT NULL,
    snapshot_count integer NOT NULL,
    PRIMARY KEY (repository_id, hostname)
);
