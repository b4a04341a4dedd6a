//go:build !race

package plans

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"restic-manager/server/access"
	"restic-manager/server/database"
	"restic-manager/server/e2e/demo/madeup"
	"restic-manager/server/fleet"
	"restic-manager/server/policy"
	"restic-manager/shared/wire"
)

// rig is a made-up fleet as the server opens it.
type rig struct {
	db     *database.DB
	fleet  *fleet.Store
	access *access.Access
	now    time.Time
	hosts  []fleet.Host // some of them
	busy   fleet.Host   // one with snapshots

	policies  *policy.Store
	everyone  string // a policy of all hosts, and what became of it for a week
	favourite string // one of a few

	store string // a repository that all backups and checks went to, and whose prunes a runner did
}

// opened opens a database that is filled already.
func opened(t testing.TB, target string) *rig {
	t.Helper()
	db, err := database.Open(t.Context(), database.Options{URL: target})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	if err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := &rig{db: db, access: access.Open(access.Options{DB: db})}
	if r.fleet, err = fleet.Open(context.WithoutCancel(t.Context()), fleet.Options{DB: db, Key: bytes.Repeat([]byte{1}, fleet.KeySize)}); err != nil {
		t.Fatal(err)
	}
	newest, _, err := r.fleet.Jobs(t.Context(), fleet.JobFilter{Kind: wire.KindBackup, States: []wire.State{wire.StateSucceeded}}, fleet.Page{Limit: 1})
	if err != nil || len(newest) != 1 {
		t.Fatalf("the newest backup: %v, %v", newest, err)
	}
	r.now = *newest[0].EndedAt
	if r.busy, err = r.fleet.HostByID(t.Context(), newest[0].HostID); err != nil {
		t.Fatal(err)
	}
	page, err := r.fleet.Hosts(t.Context(), fleet.HostFilter{}, fleet.HostOrder{}, fleet.Page{Limit: 5})
	if err != nil {
		t.Fatal(err)
	}
	r.hosts = page.Hosts
	r.policies = policy.Open(policy.Options{DB: db, Fleet: r.fleet})
	return r
}

// due makes two policies, has the backups be theirs, and writes 84 due times for each host: every two hours for a week,
// one of 50 missed.
func (r *rig) due(t testing.TB) {
	t.Helper()
	few := policy.Selector{}
	for _, h := range r.hosts {
		few.IDs = append(few.IDs, h.ID)
	}
	for name, hosts := range map[string]policy.Selector{"everyone": {All: true}, "favourite": few} {
		p, err := r.policies.Create(t.Context(), database.System, policy.Draft{Name: name, Enabled: true, Spec: policy.Spec{Hosts: hosts,
			Backup: wire.BackupSpec{Paths: []string{"/srv"}}, Schedule: policy.Timing{Cron: "0 */2 * * *", Zone: "UTC"}}})
		if err != nil {
			t.Fatal(err)
		}
		if name == "everyone" {
			r.everyone = p.ID
		} else {
			r.favourite = p.ID
		}
	}
	last := r.now.Truncate(2 * time.Hour)
	err := r.db.Write(t.Context(), func(tx *database.Tx) error {
		for n := range 84 {
			due := last.Add(-2 * time.Duration(n) * time.Hour)
			err := tx.Exec(`INSERT INTO ticks (policy_id, host_id, due_at, outcome, recorded_at)
				SELECT ?, id, ?, CASE WHEN (length(name) + ?) % 50 = 0 THEN 'missed' ELSE 'coalesced' END, ? FROM hosts`, r.everyone, due, n, due).Error
			if err != nil {
				return err
			}
		}
		if err := tx.Exec("UPDATE jobs SET policy_id = ? WHERE kind = 'backup'", r.everyone).Error; err != nil {
			return err
		}
		if err := tx.Exec("UPDATE jobs SET policy_id = ? WHERE kind = 'backup' AND host_id = ?", r.favourite, r.hosts[0].ID).Error; err != nil {
			return err
		}
		return r.shared(tx)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.db.Write(t.Context(), func(tx *database.Tx) error { return tx.Exec("ANALYZE").Error }); err != nil {
		t.Fatal(err)
	}
}

// storeID is restic's id of the repository that is shared.
const storeID = "00000000000000000000000000000000000000000000000000000000000000cc"

// shared has all backups and checks be of one repository, and the prunes about it.
func (r *rig) shared(tx *database.Tx) error {
	r.store = database.NewID()
	for _, s := range []struct {
		statement string
		args      []any
	}{
		{`INSERT INTO repository_settings (id, name, name_key, url, sealed_password, env_keys, sealed_env, maintenance_env_keys, sealed_maintenance_env,
			created_at, updated_at, secrets_changed_at) VALUES (?, 'store', 'store', '/srv/store', ?, '[]', ?, '[]', ?, ?, ?, ?)`,
			[]any{r.store, []byte{1}, []byte{1}, []byte{1}, r.now, r.now, r.now}},
		{"INSERT INTO repositories (id, created_at) VALUES (?, ?)", []any{storeID, r.now}},
		{"INSERT INTO repository_maintenance (repository_id, setting_id) VALUES (?, ?)", []any{storeID, r.store}},
		{"UPDATE jobs SET repository_id = ? WHERE kind IN ('backup', 'check') AND ended_at IS NOT NULL", []any{storeID}},
		{"UPDATE jobs SET target_setting = ?, repository_id = ? WHERE kind = 'prune'", []any{r.store, storeID}},
	} {
		if err := tx.Exec(s.statement, s.args...).Error; err != nil {
			return err
		}
	}
	return nil
}

// policyLists are those of policies, once there are some.
func (r *rig) policyLists() (all []list) {
	long, lately := r.now.AddDate(0, 0, -5), r.now.Add(-6*time.Hour)
	ticks := func(name string, f policy.TickFilter) {
		all = append(all, list{"ticks " + name, func(ctx context.Context, cursor string) (string, error) {
			page, err := r.policies.Ticks(ctx, f, fleet.Page{Cursor: cursor})
			return page.NextCursor, err
		}})
	}
	ticks("all", policy.TickFilter{})
	ticks("of a policy", policy.TickFilter{PolicyID: r.everyone})
	ticks("of a policy without any", policy.TickFilter{PolicyID: r.favourite})
	ticks("of a host", policy.TickFilter{HostID: r.busy.ID})
	ticks("of a host and a policy", policy.TickFilter{HostID: r.busy.ID, PolicyID: r.everyone})
	ticks("missed", policy.TickFilter{Outcome: wire.OutcomeMissed})
	ticks("missed, of a policy", policy.TickFilter{Outcome: wire.OutcomeMissed, PolicyID: r.everyone})
	ticks("missed, of a host", policy.TickFilter{Outcome: wire.OutcomeMissed, HostID: r.busy.ID})
	ticks("that never were", policy.TickFilter{Outcome: wire.OutcomeSkipped})
	ticks("before a time", policy.TickFilter{Until: &long})
	ticks("before a time, of a policy", policy.TickFilter{Until: &long, PolicyID: r.everyone})
	ticks("after a time", policy.TickFilter{Since: &lately, PolicyID: r.everyone})
	jobs := func(name string, f fleet.JobFilter) {
		all = append(all, list{"jobs " + name, func(ctx context.Context, cursor string) (string, error) {
			_, next, err := r.fleet.Jobs(ctx, f, fleet.Page{Cursor: cursor})
			return next, err
		}})
	}
	jobs("of a policy", fleet.JobFilter{Policy: r.everyone})
	jobs("of a small policy", fleet.JobFilter{Policy: r.favourite})
	jobs("of a policy, of a host", fleet.JobFilter{Policy: r.everyone, HostID: r.busy.ID})
	jobs("of a policy, by a label", fleet.JobFilter{Policy: r.everyone, Label: "env=prod"})
	jobs("of a small policy, by a label", fleet.JobFilter{Policy: r.favourite, Label: "env=prod"})
	jobs("of a repository", fleet.JobFilter{Repository: r.store})
	jobs("checks of a repository", fleet.JobFilter{Repository: r.store, Kind: wire.KindCheck})
	jobs("prunes of a repository", fleet.JobFilter{Repository: r.store, Kind: wire.KindPrune})
	jobs("forgets of a repository that has none", fleet.JobFilter{Repository: r.store, Kind: wire.KindForget})
	jobs("of a repository, of a host", fleet.JobFilter{Repository: r.store, HostID: r.busy.ID})
	jobs("of a repository, by a label", fleet.JobFilter{Repository: r.store, Label: "env=prod"})
	jobs("of a policy, by a name's part", fleet.JobFilter{Policy: r.everyone, Search: "nas-muc-00"})
	add := func(name string, read func(ctx context.Context, cursor string) (string, error)) {
		all = append(all, list{name, read})
	}
	add("policies", func(ctx context.Context, _ string) (string, error) { _, err := r.policies.List(ctx); return "", err })
	add("hosts of a policy", func(ctx context.Context, cursor string) (string, error) {
		page, err := r.policies.Hosts(ctx, r.everyone, fleet.Page{Cursor: cursor})
		return page.NextCursor, err
	})
	add("policies of a host", func(ctx context.Context, _ string) (string, error) {
		_, err := r.policies.OfHost(ctx, r.busy.ID)
		return "", err
	})
	for _, p := range []string{r.everyone, fleet.NoPolicy} {
		add("hosts with policy "+p, func(ctx context.Context, cursor string) (string, error) {
			page, err := r.fleet.Hosts(ctx, fleet.HostFilter{Policy: p}, fleet.HostOrder{}, fleet.Page{Cursor: cursor})
			return page.NextCursor, err
		})
	}
	return all
}

// filled makes up a fleet and opens it.
func filled(t testing.TB, target string, hosts, jobs int) *rig {
	t.Helper()
	err := madeup.Fill(t.Context(), madeup.Options{Database: target, Hosts: hosts, Jobs: jobs, Snapshots: 20, Seed: 1,
		Now: time.Now(), AdminUser: "admin", AdminPassword: "A-long-password-4711"})
	if err != nil {
		t.Fatal(err)
	}
	return opened(t, target)
}

// list is one that people may ask for: its first page, or with the cursor that this gave another one.
type list struct {
	name string
	read func(ctx context.Context, cursor string) (next string, err error)
}

// lists are all the ways to ask that read along another index, or might not.
func (r *rig) lists() (all []list) {
	hosts := func(name string, f fleet.HostFilter, o fleet.HostOrder) {
		all = append(all, list{"hosts " + name, func(ctx context.Context, cursor string) (string, error) {
			page, err := r.fleet.Hosts(ctx, f, o, fleet.Page{Cursor: cursor})
			return page.NextCursor, err
		}})
	}
	for _, sort := range fleet.HostSorts {
		hosts("by "+sort, fleet.HostFilter{}, fleet.HostOrder{Sort: sort})
		hosts("by "+sort+", the other way", fleet.HostFilter{}, fleet.HostOrder{Sort: sort, Descending: true})
	}
	hosts("grouped by site", fleet.HostFilter{}, fleet.HostOrder{Group: "site"})
	hosts("failing", fleet.HostFilter{Protections: []fleet.Protection{fleet.Failing}}, fleet.HostOrder{})
	hosts("offline", fleet.HostFilter{Statuses: []string{"offline"}}, fleet.HostOrder{Sort: "last_seen"})
	hosts("with a label", fleet.HostFilter{Label: "role=db"}, fleet.HostOrder{})
	hosts("searched for", fleet.HostFilter{Search: "nas-ber"}, fleet.HostOrder{})
	hosts("of a version", fleet.HostFilter{Version: "1.2.0"}, fleet.HostOrder{})
	hosts("overdue", fleet.HostFilter{OlderThan: 48 * time.Hour}, fleet.HostOrder{Sort: "last_success"})
	overview := func(name string, f fleet.HostFilter, group string) {
		all = append(all, list{"fleet " + name, func(ctx context.Context, _ string) (string, error) {
			_, err := r.fleet.Overview(ctx, f, group)
			return "", err
		}})
	}
	overview("", fleet.HostFilter{}, "")
	overview("grouped, with a label", fleet.HostFilter{Label: "env=prod"}, "role")
	all = append(all, r.jobLists()...)
	all = append(all, r.otherLists()...)
	return all
}

func (r *rig) jobLists() (all []list) {
	long, lately := r.now.AddDate(0, 0, -45), r.now.Add(-6*time.Hour)
	jobs := func(name string, f fleet.JobFilter) {
		all = append(all, list{"jobs " + name, func(ctx context.Context, cursor string) (string, error) {
			_, next, err := r.fleet.Jobs(ctx, f, fleet.Page{Cursor: cursor})
			return next, err
		}})
	}
	failed := []wire.State{wire.StateFailed, wire.StateLost, wire.StateRejected, wire.StateExpired}
	lost := []wire.State{wire.StateLost}
	open := []wire.State{wire.StateQueued, wire.StateAccepted, wire.StateRunning}
	base := []struct {
		name string
		f    fleet.JobFilter
	}{
		{"all", fleet.JobFilter{}},
		{"of a kind", fleet.JobFilter{Kind: wire.KindBackup}},
		{"of a rare kind", fleet.JobFilter{Kind: wire.KindRestore}},
		{"of a kind that never was", fleet.JobFilter{Kind: wire.KindInit}},
		{"succeeded", fleet.JobFilter{States: []wire.State{wire.StateSucceeded}}},
		{"failed in any way", fleet.JobFilter{States: failed}},
		{"lost", fleet.JobFilter{States: lost}},
		{"open", fleet.JobFilter{States: open}},
		{"prunes that failed", fleet.JobFilter{Kind: wire.KindPrune, States: failed}},
	}
	for _, b := range base {
		f := b.f
		jobs(b.name, f)
		f.HostID = r.busy.ID
		jobs(b.name+", of a host", f)
		f = b.f
		f.Label = "env=prod"
		jobs(b.name+", of most hosts, by a label", f)
		f.Label = "role=cache"
		jobs(b.name+", of some hosts, by a label", f)
		f = b.f
		f.Search = "nas-muc-00"
		jobs(b.name+", of few hosts, by a name's part", f)
		f.Search = "no such host"
		jobs(b.name+", of no host, by a name's part", f)
		f = b.f
		f.Before = &long
		jobs(b.name+", before a time long ago", f)
		f = b.f
		f.After = &lately
		jobs(b.name+", after a time", f)
		f.Before, f.Label = &long, "team=search"
		jobs(b.name+", in no time, by a label", f)
	}
	return all
}

func (r *rig) otherLists() (all []list) {
	add := func(name string, read func(ctx context.Context, cursor string) (string, error)) {
		all = append(all, list{name, read})
	}
	add("calendar", func(ctx context.Context, _ string) (string, error) {
		_, err := r.fleet.Calendar(ctx, r.busy.ID, 366, 0)
		return "", err
	})
	for name, f := range map[string]fleet.SnapshotFilter{"": {}, " of the whole repository": {All: true}, " by a path": {Path: "etc"}, " by a tag": {Tag: "nightly"},
		" of the whole repository, by a path and a tag": {All: true, Path: "srv", Tag: "never"}} {
		add("snapshots"+name, func(ctx context.Context, cursor string) (string, error) {
			page, err := r.fleet.Snapshots(ctx, r.busy.ID, f, fleet.Page{Cursor: cursor, Limit: 10})
			return page.NextCursor, err
		})
	}
	admin := ""
	audit := func(name string, f access.AuditFilter) {
		add("audit "+name, func(ctx context.Context, cursor string) (string, error) {
			entries, next, err := r.access.Audit(ctx, f, access.Page{Cursor: cursor})
			if admin == "" && len(entries) > 0 {
				admin = entries[0].Actor.ID
			}
			return next, err
		})
	}
	long := r.now.AddDate(0, 0, -45)
	audit("all", access.AuditFilter{})
	audit("of a frequent action", access.AuditFilter{Action: "job.create"})
	audit("of a rare action", access.AuditFilter{Action: "host.revoke"})
	audit("of no action", access.AuditFilter{Action: "host.dance"})
	audit("of an action's noun", access.AuditFilter{Action: "host"})
	audit("of a target", access.AuditFilter{Target: "host:" + r.busy.ID})
	audit("of a target's noun", access.AuditFilter{Target: "enrollment_token"})
	audit("by a name", access.AuditFilter{Actor: "marek"})
	audit("by a frequent name", access.AuditFilter{Actor: "nightly"})
	audit("by an id", access.AuditFilter{Actor: r.busy.ID})
	audit("before", access.AuditFilter{Before: &long})
	audit("before, of a noun", access.AuditFilter{Before: &long, Action: "host"})
	audit("after", access.AuditFilter{After: &long, Actor: "lena"})
	add("tokens", func(ctx context.Context, cursor string) (string, error) {
		_, next, err := r.fleet.EnrollmentTokens(ctx, fleet.Page{Cursor: cursor})
		return next, err
	})
	add("sessions", func(ctx context.Context, _ string) (string, error) {
		_, err := r.access.Sessions(ctx, r.hosts[0].ID)
		return "", err
	})
	return all
}

// pages reads the first page and the one after it, where there is one.
func (l list) pages(ctx context.Context) error {
	next, err := l.read(ctx, "")
	if err == nil && next != "" {
		_, err = l.read(ctx, next)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", l.name, err)
	}
	return nil
}
