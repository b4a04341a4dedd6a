// Package access is who may do what from outside: operators and their passwords, sessions, the first
// set-up, and the audit trail's reading side. Every change is one transaction with its audit row.
package access

import (
	"context"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"restic-manager/server/database"
	"restic-manager/server/fault"
)

// How long things are good for.
const (
	// SessionLifetime is the longest a sign-in lasts, however busy.
	SessionLifetime = 12 * time.Hour
	// SessionIdle ends a session that made no request for so long. Use is written down every 5 minutes at
	// most, so that the end may come up to 5 minutes early, never late.
	SessionIdle = time.Hour
	// SetupCodeLifetime is how long a printed set-up code is good for.
	SetupCodeLifetime = 15 * time.Minute

	usedEvery = 5 * time.Minute
	// cacheFor bounds how long a revoked session may still pass on another replica: under the promised
	// second, without relying on a notification that a broken connection may lose.
	cacheFor = 750 * time.Millisecond
)

// Role is what an operator may do; each includes those below it.
type Role string

// The roles, highest first.
const (
	Administrator Role = "administrator" // operators, audit and everything below
	Operator      Role = "operator"      // hosts, jobs and everything below
	Viewer        Role = "viewer"        // looks only
)

// Includes reports whether r may do what other may. An unknown role includes nothing and is included in
// none.
func (r Role) Includes(other Role) bool {
	rank := map[Role]int{Viewer: 1, Operator: 2, Administrator: 3}
	return rank[r] > 0 && rank[other] > 0 && rank[r] >= rank[other]
}

// Allows is nil for a role that includes need, else a forbidden fault that names both.
func (r Role) Allows(need Role) error {
	if r.Includes(need) {
		return nil
	}
	return fault.New(fault.Forbidden, "forbidden", "This needs the role %s; yours is %s. Ask an administrator.", need, r)
}

// Options make an Access.
type Options struct {
	DB  *database.DB
	Log *slog.Logger // nil discards
	// Now is the clock of the session cache, for tests; nil is time.Now. Everything else goes by the
	// database's clock.
	Now func() time.Time
	// Parallel is how many passwords are hashed at a time, 19 MiB each; 0 is 2, or 1 where there are fewer than 4
	// processors: hashing on all of them would keep every poll waiting.
	Parallel int
	// Cheap has passwords cost next to nothing, for tests that are about something else; no setting of the program does.
	Cheap bool
}

// Access is the operators in the database. It is safe for concurrent use.
type Access struct {
	db     *database.DB
	log    *slog.Logger
	now    func() time.Time
	hasher *hasher

	hasOperator atomic.Bool // once true it stays: the last administrator cannot go

	mu    sync.Mutex // guards cache
	cache map[string]cached
}

// Open starts nothing and touches no table.
func Open(o Options) *Access {
	a := &Access{db: o.DB, log: o.Log, now: o.Now, cache: map[string]cached{}}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	if a.now == nil {
		a.now = time.Now
	}
	if o.Parallel == 0 {
		o.Parallel = min(2, max(1, runtime.GOMAXPROCS(0)/2))
	}
	price := owasp
	if o.Cheap {
		price = cost{memory: 64, time: 1, threads: 1}
	}
	a.hasher = newHasher(o.Parallel, price)
	return a
}

// Page asks for one page of a list. Cursor is opaque: empty for the first page, else the last answer's
// next cursor. Limit 0 is 50; at most 1000.
type Page struct {
	Cursor string
	Limit  int
}

func (p Page) limit() int {
	if p.Limit <= 0 {
		return 50
	}
	return min(p.Limit, 1000)
}

// lockOperators makes changes to the set of operators wait for each other, so that rules about all of them
// (the first, the last administrator) hold. SQLite's write transactions do so by themselves.
func lockOperators(tx *database.Tx) error {
	if !tx.Postgres() {
		return nil
	}
	return tx.Exec("LOCK TABLE operators IN SHARE ROW EXCLUSIVE MODE").Error
}

// Expire removes sessions, set-up codes and throttle rows whose time is over.
func (a *Access) Expire(ctx context.Context) error {
	return a.db.Write(ctx, func(tx *database.Tx) error {
		for _, q := range []struct {
			sql string
			at  time.Time
		}{
			{"DELETE FROM sessions WHERE expires_at <= ?", tx.Now},
			{"DELETE FROM sessions WHERE last_used_at <= ?", tx.Now.Add(-SessionIdle)},
			{"DELETE FROM setup_codes WHERE expires_at <= ?", tx.Now},
			{"DELETE FROM login_throttle WHERE last_at <= ?", tx.Now.Add(-forgetFailures)},
		} {
			if err := tx.Exec(q.sql, q.at).Error; err != nil {
				return err
			}
		}
		return nil
	})
}
