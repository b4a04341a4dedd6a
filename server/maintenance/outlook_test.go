package maintenance

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"restic-manager/server/database"
	"restic-manager/server/retention"
)

func (r *rig) outlook(policy string, keep retention.Keep) retention.Outlook {
	r.t.Helper()
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		r.t.Fatal(err)
	}
	o, err := r.Outlook(r.db.Read(r.t.Context()), policy, retention.Rule{Keep: keep, Zone: zone}, r.clock.Now())
	if err != nil {
		r.t.Fatal(err)
	}
	return o
}

func TestAnOutlookIsWhatTheRuleThenRemoves(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		a, b := r.host("a"), r.host("b")
		p, other := r.policy("daily", `{"last":9}`), r.policy("other", `{"last":1}`)
		for range 10 {
			r.backup(a, "a", p)
		}
		for range 3 {
			r.backup(b, "b", p)
			r.backup(b, "b", other)
		}
		o := r.outlook(p, retention.Keep{Last: 2})
		if o.Snapshots != 13 || o.Removed != 9 || o.Before != 1 {
			t.Errorf("got %d snapshots, %d removed, %d before, want 13, 9 and 1: those of other policies are none of it", o.Snapshots, o.Removed, o.Before)
		}
		if len(o.Hosts) != 2 || o.Hosts[0].HostID != a || o.Hosts[0].Removed != 8 || o.Hosts[0].Before != 1 || o.Hosts[1].Removed != 1 || !o.Hosts[0].Maintained {
			t.Errorf("got %+v, want host a first, for which most changes", o.Hosts)
		}
		if o := r.outlook(p, retention.Keep{}); o.Removed != 0 || o.Before != 1 {
			t.Errorf("a rule that keeps all: got %+v", o)
		}
		// Saved, the rule removes just these.
		was := len(r.storage)
		r.exec("UPDATE policies SET spec = replace(spec, '\"last\":9', '\"last\":2') WHERE id = ?", p)
		r.exec("UPDATE policies SET spec = replace(spec, '\"last\":1', '\"last\":9') WHERE id = ?", other)
		plan, err := judge(r.db.Read(t.Context()), repositoryID, r.clock.Now())
		if err != nil || len(plan.Remove) != o.Removed || was-len(plan.Remove) != was-9 {
			t.Errorf("after saving: got %d removed, %v, want %d", len(plan.Remove), err, o.Removed)
		}
	})
}

func TestAnOutlookNamesWhereNothingGoes(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		a := r.host("a")
		p := r.policy("daily", `{"last":9}`)
		for range 3 {
			r.backup(a, "a", p)
		}
		r.exec("UPDATE repository_maintenance SET frozen = 'a person must look' WHERE repository_id = ?", repositoryID)
		if h := r.outlook(p, retention.Keep{Last: 1}).Hosts[0]; h.Frozen != "a person must look" || h.Removed != 2 {
			t.Errorf("frozen: got %+v, want the reason and what the rule says", h)
		}
		r.exec("DELETE FROM repository_maintenance WHERE repository_id = ?", repositoryID)
		if h := r.outlook(p, retention.Keep{Last: 1}).Hosts[0]; h.Maintained {
			t.Errorf("not maintained: got %+v", h)
		}
		// One that nothing explains would freeze it at the next look.
		r.put("nobody", r.clock.Now().AddDate(0, 0, -30))
		r.backup(a, "a", p)
		if h := r.outlook(p, retention.Keep{Last: 1}).Hosts[0]; !strings.Contains(h.Frozen, "no backup that was ordered here") {
			t.Errorf("a foreign snapshot: got %+v", h)
		}
	})
}

// TestAnOutlookOfManyHosts: all of them are counted, however many repositories there are. It tells how long that takes; with
// RESTIC_MANAGER_FAULTS=full there are ten times the hosts.
func TestAnOutlookOfManyHosts(t *testing.T) {
	hosts := 50
	if os.Getenv("RESTIC_MANAGER_FAULTS") == "full" {
		hosts = 1000
	}
	each(t, func(t *testing.T, r *rig) {
		const snapshots = 200
		p := r.policy("daily", `{"daily":30,"monthly":12}`)
		now := r.clock.Now()
		err := r.db.Write(t.Context(), func(tx *database.Tx) error {
			for h := range hosts {
				host, repository := database.NewID(), fmt.Sprintf("%064x", h+1000)
				if err := tx.Exec("INSERT INTO repositories (id, created_at, refreshed_at) VALUES (?, ?, ?)", repository, now, now).Error; err != nil {
					return err
				}
				name := fmt.Sprint("fleet-", h)
				if err := tx.Exec(`INSERT INTO hosts (id, name, name_key, labels, status, created_at, token_sha256, hostname, facts, guard, kinds, reported_repositories, agent_version,
					restic_version, protocol_version, repository_id) VALUES (?, ?, ?, '{}', 'online', ?, ?, ?, '{}', '{}', '[]', '[]', '1', '', 1, ?)`,
					host, name, name, now, repository, name, repository).Error; err != nil {
					return err
				}
				var rows, jobs []string
				var args, jobArgs []any
				for i := range snapshots {
					id, at := fmt.Sprintf("%08x%056x", h, i), now.Add(-time.Duration(i)*24*time.Hour)
					rows = append(rows, "(?, ?, ?, ?, '', '[\"/home\"]', '[]', '[]', ?, '', '', '', 0, 0, 0, '')")
					args = append(args, repository, id, at.Add(-time.Minute), name, fmt.Sprintf("%064x", i))
					jobs = append(jobs, "(?, ?, 'backup', 'long', 'shared', 'succeeded', '{}', 'x', 60, ?, ?, ?, ?, ?, ?, ?)")
					jobArgs = append(jobArgs, database.NewIDAt(at), host, at.Add(-time.Hour), at, at.Add(-30*time.Minute), at, repository, p, id)
				}
				if err := tx.Exec("INSERT INTO snapshots (repository_id, id, time, hostname, username, paths, tags, excludes, tree, parent, original, program_version, size_bytes, file_count, data_added, summary) VALUES "+strings.Join(rows, ","), args...).Error; err != nil {
					return err
				}
				if err := tx.Exec(`INSERT INTO jobs (id, host_id, kind, lane, hold, state, spec, created_by, time_limit_seconds, queued_at, expires_at, started_at, ended_at, repository_id, policy_id, snapshot_id)
					VALUES `+strings.Join(jobs, ","), jobArgs...).Error; err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if r.db.Postgres() {
			r.exec("ANALYZE")
		}
		began := time.Now()
		o := r.outlook(p, retention.Keep{Daily: 7})
		took := time.Since(began)
		t.Logf("%d hosts with %d snapshots each: %s", hosts, snapshots, took.Round(time.Millisecond))
		if o.Snapshots != hosts*snapshots || o.Removed != hosts*(snapshots-7) || len(o.Hosts) != hosts || o.Before == 0 {
			t.Errorf("got %d snapshots, %d removed, %d before, %d hosts", o.Snapshots, o.Removed, o.Before, len(o.Hosts))
		}
	})
}
