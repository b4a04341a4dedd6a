package fleet

import (
	"restic-manager/server/database"
	"restic-manager/shared/wire"
)

// forUpdate ends a SELECT that locks its rows until the transaction ends. On SQLite a write transaction has
// the whole database to itself. Rows are locked in this order: policies, settings of repositories,
// repositories, hosts by id, assignments, jobs, logs, the counters of server_state.
func forUpdate(tx *database.Tx) string {
	if tx.Postgres() {
		return " FOR NO KEY UPDATE"
	}
	return ""
}

// forHold ends a SELECT that locks a repository's row for a hold, on PostgreSQL: shared ones pass beside each
// other, an exclusive one waits for all others to be committed. Without it two that exclude each other would
// meet at the constraint and wait for each other.
func forHold(h wire.Hold) string {
	if h == wire.HoldExclusive {
		return " FOR UPDATE"
	}
	return " FOR KEY SHARE"
}
