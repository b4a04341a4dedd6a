-- +goose Up
-- One row = one execution.
CREATE TABLE jobs (
    id                  text NOT NULL UNIQUE,
    -- the order in the queue
    number              integer PRIMARY KEY AUTOINCREMENT,
    host_id             text NOT NULL REFERENCES hosts (id) ON DELETE CASCADE,
    kind                text NOT NULL,
    lane                text NOT NULL CHECK (lane IN ('long', 'short')),
    hold                text NOT NULL CHECK (hold IN ('none', 'shared', 'exclusive')),
    state               text NOT NULL CHECK (state IN ('queued', 'accepted', 'running', 'succeeded',
                            'succeeded_with_issues', 'failed', 'canceled', 'lost', 'rejected', 'expired')),
    spec                text NOT NULL,
    retry_of            text,
    created_by          text NOT NULL,
    time_limit_seconds  integer NOT NULL,
    queued_at           datetime NOT NULL,
    expires_at          datetime NOT NULL,
    -- first found ready to run but for shared holds of others
    waiting_since       datetime,

    -- each return to the queue counts it up: a late accept takes nothing
    delivery            integer NOT NULL DEFAULT 1,
    lease               text NOT NULL DEFAULT '',
    heard_at            datetime,
    lease_expires_at    datetime,
    accepted_at         datetime,
    start_nonce         text NOT NULL DEFAULT '',
    started_at          datetime,
    ended_at            datetime,
    repository_name     text NOT NULL DEFAULT '',
    repository_id       text NOT NULL DEFAULT '',
    -- the repository's id, or host:<id> while that is unknown
    hold_key            text NOT NULL DEFAULT '',
    holding             boolean NOT NULL DEFAULT false,
    hold_released_at    datetime,
    cancel_requested_at datetime,
    disconnected_since  datetime,
    stalled_since       datetime,
    unnamed_boot        text NOT NULL DEFAULT '',
    unnamed_seq         integer NOT NULL DEFAULT 0,
    unnamed_polls       integer NOT NULL DEFAULT 0,

    error_code          text NOT NULL DEFAULT '',
    error_message       text NOT NULL DEFAULT '',
    finish_sha256       text NOT NULL DEFAULT '',
    late_report         boolean NOT NULL DEFAULT false,
    reported_at         datetime,
    skew_seconds        real NOT NULL DEFAULT 0,
    agent_started_at    datetime,
    agent_ended_at      datetime,
    elapsed_seconds     real,
    exit_code           integer,
    signal_sent         boolean NOT NULL DEFAULT false,
    progress            text,
    progress_lease      text NOT NULL DEFAULT '',
    progress_seq        integer NOT NULL DEFAULT 0,
    progress_at         datetime,
    summary             text,
    snapshot_id         text NOT NULL DEFAULT '',
    data_added          integer NOT NULL DEFAULT 0,
    files_processed     integer NOT NULL DEFAULT 0,
    bytes_processed     integer NOT NULL DEFAULT 0,
    issues              text,
    issue_count         integer NOT NULL DEFAULT 0,
    issues_dropped      integer NOT NULL DEFAULT 0,
    log_lines           integer,
    log_sha256          text NOT NULL DEFAULT '',

    CONSTRAINT jobs_ended CHECK ((ended_at IS NULL) = (state IN ('queued', 'accepted', 'running'))),
    CONSTRAINT jobs_leased CHECK (state NOT IN ('accepted', 'running') OR (lease <> '' AND lease_expires_at IS NOT NULL)),
    CONSTRAINT jobs_started CHECK (state <> 'running' OR (start_nonce <> '' AND started_at IS NOT NULL))
);
CREATE UNIQUE INDEX jobs_lane ON jobs (host_id, lane) WHERE state IN ('accepted', 'running');
CREATE INDEX jobs_open ON jobs (host_id, number) WHERE state IN ('queued', 'accepted', 'running') OR holding;
CREATE INDEX jobs_host ON jobs (host_id, id);
CREATE INDEX jobs_kind ON jobs (kind, id);
CREATE INDEX jobs_state ON jobs (state, id);

-- Holds: many shared ones or one exclusive one on a repository.
CREATE INDEX jobs_holding ON jobs (hold_key) WHERE holding;
-- +goose StatementBegin
CREATE TRIGGER jobs_holds BEFORE UPDATE OF holding, hold_key, hold ON jobs FOR EACH ROW
    WHEN NEW.holding AND NEW.hold <> 'none'
BEGIN
    SELECT RAISE(ABORT, 'the repository is held by another job') WHERE EXISTS (
        SELECT 1 FROM jobs WHERE hold_key = NEW.hold_key AND holding AND hold <> 'none' AND number <> NEW.number
            AND (hold = 'exclusive' OR NEW.hold = 'exclusive'));
END;
-- +goose StatementEnd

-- Terminal states do not change.
-- +goose StatementBegin
CREATE TRIGGER jobs_stay_ended BEFORE UPDATE OF state ON jobs FOR EACH ROW
    WHEN OLD.ended_at IS NOT NULL AND OLD.state <> NEW.state
BEGIN
    SELECT RAISE(ABORT, 'an ended job does not change its state');
END;
-- +goose StatementEnd

-- Results that came after another end.
CREATE TABLE late_reports (
    job_id      text NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    sha256      text NOT NULL,
    reported_at datetime NOT NULL,
    report      text NOT NULL,
    PRIMARY KEY (job_id, sha256)
);

-- The newest process of an agent is in hosts; here are those before it. probe was given to one after a
-- newer one's hello: whoever echoes it is alive beside the newer one.
ALTER TABLE hosts ADD COLUMN boot_seq integer NOT NULL DEFAULT 0;
ALTER TABLE hosts ADD COLUMN hello_at datetime;
CREATE INDEX hosts_hello ON hosts (hello_at);
CREATE TABLE older_boots (
    host_id       text NOT NULL REFERENCES hosts (id) ON DELETE CASCADE,
    boot_id       text NOT NULL,
    probe         text NOT NULL,
    superseded_at datetime NOT NULL,
    PRIMARY KEY (host_id, boot_id)
);

CREATE TABLE idempotency_keys (
    actor          text NOT NULL,
    key            text NOT NULL,
    request_sha256 text NOT NULL,
    job_id         text NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    created_at     datetime NOT NULL,
    PRIMARY KEY (actor, key)
);
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);
