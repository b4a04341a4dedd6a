package fleet

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gorm.io/gorm"

	"restic-manager/server/database"
	"restic-manager/shared/wire"
)

// on is one text on SQLite, another on PostgreSQL.
func (x *fixture) on(sqlite, postgres string) string {
	if x.db.Postgres() {
		return postgres
	}
	return sqlite
}

// TestEachInvariantIsTold: whole tables break nothing, and each rule tells of the row that breaks it.
func TestEachInvariantIsTold(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		a, b := x.host("a"), x.host("b")
		x.use(a, repo(1))
		x.use(b, repo(1))
		done, running, other := x.queue(a, wire.KindBackup), x.queue(a, wire.KindBackup), x.queue(b, wire.KindBackup)
		x.begin(a, done, 1)
		file := lines(3)
		if _, err := x.put(a, done, file, 1, 3); err != nil {
			t.Fatal(err)
		}
		x.finish(a, done, 3, shaHex(bytes.Join(file, nil)))
		x.begin(a, running, 2)
		x.begin(b, other, 3)
		queued := x.queue(a, wire.KindSnapshots)
		if err := x.list(a, x.draw(a, done), repo(1), [][]byte{snapshotLine(1, "h"), snapshotLine(2, "h")}, 2); err != nil {
			t.Fatal(err)
		}
		x.whole()

		unbound := x.on("DROP TRIGGER jobs_holds", "ALTER TABLE jobs DROP CONSTRAINT jobs_holds")
		free := x.on("DROP TRIGGER audit_no_delete", "DROP TRIGGER audit_append_only ON audit")
		id := func(s, id string) string { return strings.ReplaceAll(s, "$", "'"+id+"'") }
		breaks := map[string][]string{
			"J1 an ended job has its end and its reason, an open one has neither": {id("UPDATE jobs SET error_code = 'x' WHERE id = $", done)},
			"J1 a reported end has its report":                                    {id("UPDATE jobs SET finish_sha256 = '' WHERE id = $", done)},
			"J2 restic is started once per job":                                   {id("UPDATE jobs SET start_nonce = '' WHERE id = $", done)},
			"J2 a nonce starts one job":                                           {id("UPDATE jobs SET start_nonce = 'same' WHERE id = $", running), id("UPDATE jobs SET start_nonce = 'same' WHERE id = $", other)},
			"J3 one job per lane and host":                                        {"DROP INDEX jobs_lane", id("UPDATE jobs SET state = 'accepted', lease = 'l', hold = 'none', lane = 'long', lease_expires_at = queued_at WHERE id = $", queued)},
			"J3 one exclusive hold or any number of shared ones":                  {unbound, id("UPDATE jobs SET hold = 'exclusive' WHERE id = $", running)},
			"J3 a job that runs holds its repository, a queued one none":          {id("UPDATE jobs SET holding = false WHERE id = $", running)},
			"J3 one queued job per host, policy and kind":                         {id("UPDATE jobs SET state = 'queued', kind = 'snapshots', policy_id = host_id WHERE host_id = $ AND ended_at IS NULL", a)},
			"T1 a due time that was run names its job":                            {id("INSERT INTO ticks (policy_id, host_id, due_at, outcome, job_id, recorded_at) SELECT id, id, created_at, 'run', id, created_at FROM hosts WHERE id = $", a)},
			"T1 a due time up to which all is accounted for has its outcome": {
				id("INSERT INTO policies (id, name, name_key, enabled, version, spec, created_at, updated_at) SELECT id, 'p', 'p', true, 1, '{}', created_at, created_at FROM hosts WHERE id = $", a),
				id("INSERT INTO assignments (policy_id, host_id, why, since, accounted_until, next_due_at) SELECT id, id, 'x', created_at, created_at, created_at FROM hosts WHERE id = $", a)},
			"J4 a revoked host has no open job":                                     {id("UPDATE hosts SET status = 'revoked', revoked_at = created_at WHERE id = $", b)},
			"L1 a complete log has every line":                                      {id("UPDATE logs SET complete = true WHERE job_id = $", done), id("UPDATE jobs SET log_lines = 9 WHERE id = $", done)},
			"L1 the chunks of a log hold its lines, but for those it says are gone": {id("DELETE FROM log_chunks WHERE job_id = $", done)},
			"P1 a list has as many snapshots as it says":                            {"DELETE FROM snapshots"},
			"P1 the snapshots of each host name add up to the list":                 {"UPDATE repository_hostnames SET snapshot_count = 1"},
			"P1 a host has as many snapshots as its names have":                     {id("UPDATE hosts SET snapshot_count = 77 WHERE id = $", a)},
			"A1 a job was queued with one row of the audit trail":                   {free, id("DELETE FROM audit WHERE target = 'job:' || $", queued)},
			"A1 a job was canceled with one row of the audit trail":                 {id("UPDATE jobs SET cancel_requested_at = queued_at WHERE id = $", other)},
			"A1 a host was revoked with one row of the audit trail":                 {id("UPDATE hosts SET status = 'revoked', revoked_at = created_at WHERE id = $", b)},
		}
		for _, i := range invariants {
			sql := breaks[i.rule]
			if len(sql) == 0 {
				t.Errorf("nothing here breaks %q", i.rule)
			}
			x.broken(i.rule, sql)
		}
	})
}

var errTakenBack = errors.New("taken back")

// broken breaks a rule, and takes that back.
func (x *fixture) broken(rule string, statements []string) {
	x.t.Helper()
	var found []Violation
	err := x.db.Write(x.t.Context(), func(tx *database.Tx) (err error) {
		for _, s := range statements {
			if err := tx.Exec(s).Error; err != nil {
				return fmt.Errorf("%s: %w", s, err)
			}
		}
		if found, err = checkInvariants(tx.DB, tx.Now); err != nil {
			return err
		}
		return errTakenBack
	})
	if !errors.Is(err, errTakenBack) {
		x.t.Fatal(err)
	}
	if !slices.ContainsFunc(found, func(v Violation) bool { return v.Rule == rule && v.Detail != "" }) {
		x.t.Errorf("%s: got %v, want it told", rule, found)
	}
}

// TestInvariantsReadNoBigTableWhole: what grows for ever is read by an index, from a bound on or where a partial one
// ends.
func TestInvariantsReadNoBigTableWhole(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		whole := regexp.MustCompile(x.on(`SCAN (jobs|logs|log_chunks|snapshots|audit)($|\s+($|[^U]))`, `Seq Scan on (jobs|logs|log_chunks|snapshots|audit)\b`))
		bounds, err := bounds(x.db.Read(t.Context()), x.clock.Now())
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range invariants {
			if plan := x.planAfter(withoutWholeTables, i.query, i.arguments(bounds)...); whole.MatchString(plan) {
				t.Errorf("%s reads a big table whole: %s", i.rule, plan)
			}
		}
	})
}

// withoutWholeTables has PostgreSQL read a table whole only where there is no other way: it would any that is empty.
func withoutWholeTables(db *gorm.DB) error {
	if db.Name() != "postgres" {
		return nil
	}
	return db.Exec("SELECT set_config('enable_seqscan', 'off', true)").Error
}
