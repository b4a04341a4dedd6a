-- +goose Up
-- Lists are read along an index in their order, whatever they are filtered by: what a page costs is its length, not the
-- table's. Of a kind alone they are put together from its states. The columns after the id spare a look at the rows where
-- hosts are filtered, too.
DROP INDEX jobs_kind;
CREATE INDEX jobs_kind_state ON jobs (kind, state, id, host_id);
DROP INDEX jobs_state;
CREATE INDEX jobs_state ON jobs (state, id, host_id);
DROP INDEX jobs_host;
CREATE INDEX jobs_host ON jobs (host_id, id, kind, state);

CREATE INDEX audit_action ON audit (action, at DESC, id DESC);
CREATE INDEX audit_action_noun ON audit (substr(action, 1, instr(action || '.', '.') - 1), at DESC, id DESC);
CREATE INDEX audit_target ON audit (target, at DESC, id DESC);
CREATE INDEX audit_target_noun ON audit (substr(target, 1, instr(target || ':', ':') - 1), at DESC, id DESC);
CREATE INDEX audit_actor ON audit (actor_name, at DESC, id DESC);
CREATE INDEX audit_actor_id ON audit (actor_id, at DESC, id DESC) WHERE actor_id IS NOT NULL;
