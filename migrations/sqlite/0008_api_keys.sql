-- +goose Up
-- Keys for programs. Expiry null: none. Deleting the row voids the key.
CREATE TABLE api_keys (
    id            text PRIMARY KEY,
    name          text NOT NULL,
    role          text NOT NULL CHECK (role IN ('operator', 'viewer')),
    secret_sha256 text NOT NULL UNIQUE,
    created_at    datetime NOT NULL,
    created_by    text NOT NULL,
    expires_at    datetime,
    last_used_at  datetime
);
