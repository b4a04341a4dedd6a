-- +goose Up
-- A person who may sign in. username_key is the lower-cased name: two names that differ in case only are one.
CREATE TABLE operators (
    id                  uuid PRIMARY KEY,
    username            text NOT NULL,
    username_key        text NOT NULL UNIQUE,
    role                text NOT NULL CHECK (role IN ('administrator', 'operator', 'viewer')),
    -- argon2id in PHC form
    password_hash       text NOT NULL,
    password_changed_at timestamptz NOT NULL,
    created_at          timestamptz NOT NULL,
    disabled_at         timestamptz,
    last_login_at       timestamptz
);

-- A sign-in that is still good. Ending it deletes the row.
CREATE TABLE sessions (
    id            uuid PRIMARY KEY,
    operator_id   uuid NOT NULL REFERENCES operators (id) ON DELETE CASCADE,
    secret_sha256 text NOT NULL UNIQUE,
    created_at    timestamptz NOT NULL,
    last_used_at  timestamptz NOT NULL,
    expires_at    timestamptz NOT NULL,
    address       text NOT NULL,
    user_agent    text NOT NULL
);
CREATE INDEX sessions_operator ON sessions (operator_id, created_at);
CREATE INDEX sessions_expiry ON sessions (expires_at);

-- One-time codes that make the first administrator; each server that starts while there is none adds one.
CREATE TABLE setup_codes (
    code_sha256 text PRIMARY KEY,
    created_at  timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL
);

-- Guesses at passwords and set-up codes, per account and per address. The key is hashed: people type
-- passwords where the name belongs.
CREATE TABLE login_throttle (
    key_sha256 text PRIMARY KEY,
    failures   integer NOT NULL,
    last_at    timestamptz NOT NULL,
    next_at    timestamptz NOT NULL
);
CREATE INDEX login_throttle_age ON login_throttle (last_at);

-- +goose StatementBegin
CREATE FUNCTION audit_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit trail is append-only';
END
$$;
-- +goose StatementEnd
CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION audit_append_only();
