package fleet

import "restic-manager/server/database"

// forUpdate ends a SELECT that locks its rows until the transaction ends. On SQLite a write transaction has
// the whole database to itself. Rows are locked in this order: repositories, hosts by id, jobs, logs, the
// counters of server_state.
func forUpdate(tx *database.Tx) string {
	if tx.Postgres() {
		return " FOR NO KEY UPDATE"
	}
	return ""
}
