-- +goose Up
-- What a key may do, as words with spaces between. Null: all that its role may, as keys from before have it.
ALTER TABLE api_keys ADD COLUMN scopes text;
