-- +goose Up
-- What a backup would hold, as JSON: the result of jobs of the kind estimate.
ALTER TABLE jobs ADD COLUMN estimate text;
