-- +goose Up
-- An exclusion constraint over text needs the operators of a B-tree in a GiST index.
CREATE EXTENSION IF NOT EXISTS btree_gist;

-- One row = one execution. fillfactor leaves room for the leases' renewals beside their rows (HOT updates).
CREATE TABLE jobs (
    id                  uuid PRIMARY KEY,
    -- the order in the queue
    number              bigint GENERATED ALWAYS AS IDENTITY,
    host_id             uuid NOT NULL REFERENCES hosts (id) ON DELETE CASCADE,
    kind                text NOT NULL,
    lane                text NOT NULL CHECK (lane IN ('long', 'short')),
    hold                text NOT NULL CHECK (hold IN ('none', 'shared', 'exclusive')),
    state               text NOT NULL CHECK (state IN ('queued', 'accepted', 'running', 'succeeded',
                            'succeeded_with_issues', 'failed', 'canceled', 'lost', 'rejected', 'expired')),
    spec                text NOT NULL,
    retry_of            uuid,
    created_by          text NOT NULL,
    time_limit_seconds  bigint NOT NULL,
    queued_at           timestamptz NOT NULL,
    expires_at          timestamptz NOT NULL,
    -- first found ready to run but for shared holds of others
    waiting_since       timestamptz,

    -- each return to the queue counts it up: a late accept takes nothing
    delivery            bigint NOT NULL DEFAULT 1,
    lease               text NOT NULL DEFAULT '',
    heard_at            timestamptz,
    lease_expires_at    timestamptz,
    accepted_at         timestamptz,
    start_nonce         text NOT NULL DEFAULT '',
    started_at          timestamptz,
    ended_at            timestamptz,
    repository_name     text NOT NULL DEFAULT '',
    repository_id       text NOT NULL DEFAULT '',
    -- the repository's id, or host:<id> while that is unknown
    hold_key            text NOT NULL DEFAULT '',
    holding             boolean NOT NULL DEFAULT false,
    hold_released_at    timestamptz,
    cancel_requested_at timestamptz,
    disconnected_since  timestamptz,
    stalled_since       timestamptz,
    unnamed_boot        text NOT NULL DEFAULT '',
    unnamed_seq         bigint NOT NULL DEFAULT 0,
    unnamed_polls       bigint NOT NULL DEFAULT 0,

    error_code          text NOT NULL DEFAULT '',
    error_message       text NOT NULL DEFAULT '',
    finish_sha256       text NOT NULL DEFAULT '',
    late_report         boolean NOT NULL DEFAULT false,
    reported_at         timestamptz,
    skew_seconds        double precision NOT NULL DEFAULT 0,
    agent_started_at    timestamptz,
    agent_ended_at      timestamptz,
    elapsed_seconds     double precision,
    exit_code           bigint,
    signal_sent         boolean NOT NULL DEFAULT false,
    progress            text,
    progress_lease      text NOT NULL DEFAULT '',
    progress_seq        bigint NOT NULL DEFAULT 0,
    progress_at         timestamptz,
    summary             text,
    snapshot_id         text NOT NULL DEFAULT '',
    data_added          bigint NOT NULL DEFAULT 0,
    files_processed     bigint NOT NULL DEFAULT 0,
    bytes_processed     bigint NOT NULL DEFAULT 0,
    issues              text,
    issue_count         bigint NOT NULL DEFAULT 0,
    issues_dropped      bigint NOT NULL DEFAULT 0,
    log_lines           bigint,
    log_sha256          text NOT NULL DEFAULT '',

    slot int8range GENERATED ALWAYS AS
        (CASE WHEN hold = 'exclusive' THEN int8range(0, NULL) ELSE int8range(number, number + 1) END) STORED,
    CONSTRAINT jobs_holds EXCLUDE USING gist (hold_key WITH =, slot WITH &&) WHERE (holding AND hold <> 'none'),
    CONSTRAINT jobs_ended CHECK ((ended_at IS NULL) = (state IN ('queued', 'accepted', 'running'))),
    CONSTRAINT jobs_leased CHECK (state NOT IN ('accepted', 'running') OR (lease <> '' AND lease_expires_at IS NOT NULL)),
    CONSTRAINT jobs_started CHECK (state <> 'running' OR (start_nonce <> '' AND started_at IS NOT NULL))
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX jobs_lane ON jobs (host_id, lane) WHERE state IN ('accepted', 'running');
CREATE INDEX jobs_open ON jobs (host_id, number) WHERE state IN ('queued', 'accepted', 'running') OR holding;
CREATE INDEX jobs_host ON jobs (host_id, id);
CREATE INDEX jobs_kind ON jobs (kind, id);
CREATE INDEX jobs_state ON jobs (state, id);

-- Terminal states do not change.
-- +goose StatementBegin
CREATE FUNCTION jobs_stay_ended() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'job % is %, it cannot become %', OLD.id, OLD.state, NEW.state USING ERRCODE = 'check_violation';
END
$$;
-- +goose StatementEnd
CREATE TRIGGER jobs_stay_ended BEFORE UPDATE OF state ON jobs FOR EACH ROW
    WHEN (OLD.ended_at IS NOT NULL AND OLD.state <> NEW.state)
    EXECUTE FUNCTION jobs_stay_ended();

-- Results that came after another end.
CREATE TABLE late_reports (
    job_id      uuid NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    sha256      text NOT NULL,
    reported_at timestamptz NOT NULL,
    report      text NOT NULL,
    PRIMARY KEY (job_id, sha256)
);

-- The newest process of an agent is in hosts; here are those before it. probe was given to one after a
-- newer one's hello: whoever echoes it is alive beside the newer one.
ALTER TABLE hosts ADD COLUMN boot_seq bigint NOT NULL DEFAULT 0;
ALTER TABLE hosts ADD COLUMN hello_at timestamptz;
CREATE INDEX hosts_hello ON hosts (hello_at);
CREATE TABLE older_boots (
    host_id       uuid NOT NULL REFERENCES hosts (id) ON DELETE CASCADE,
    boot_id       text NOT NULL,
    probe         text NOT NULL,
    superseded_at timestamptz NOT NULL,
    PRIMARY KEY (host_id, boot_id)
);

CREATE TABLE idempotency_keys (
    actor          text NOT NULL,
    key            text NOT NULL,
    request_sha256 text NOT NULL,
    job_id         uuid NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    created_at     timestamptz NOT NULL,
    PRIMARY KEY (actor, key)
);
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);
