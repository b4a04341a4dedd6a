-- +goose Up
-- Names of the host's own scripts that its guard lets policies name, as JSON.
ALTER TABLE hosts ADD COLUMN hooks text NOT NULL DEFAULT '[]';
