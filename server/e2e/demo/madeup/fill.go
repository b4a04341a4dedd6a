// Package madeup fills an empty database with a fleet that nobody has: machines with their roles and sites, months of
// nightly backups with what goes wrong in them, the lists of snapshots, the people and what they did. It is for looking at
// the dashboard and for measuring queries; the same seed and time give the same rows.
package madeup

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"restic-manager/server/access"
	"restic-manager/server/database"
	"restic-manager/shared/wire"
)

// Options say what to make.
type Options struct {
	// Database is a path of a file that is not there yet, or the URL of a PostgreSQL database without hosts.
	Database  string
	Hosts     int
	Jobs      int // four for each host at least
	Snapshots int // at most so many of each host
	Seed      uint64
	Now       time.Time
	// AdminUser and AdminPassword make the first administrator, and a staff beside. Without them there are no operators:
	// the server's set-up is still to be done.
	AdminUser, AdminPassword string
	// Say takes a line now and then about how far it is; nil: nobody listens.
	Say func(string)
}

// filling is one fill under way.
type filling struct {
	o           Options
	d           dice
	b           bulk
	machines    []*machine
	people      []person
	backupSpecs map[*role]string
}

// portion is how many jobs are made up and written together.
const portion = 20_000

// Fill makes the schema and the rows.
func Fill(ctx context.Context, o Options) (err error) {
	if o.Hosts < 1 || o.Jobs < 4*o.Hosts || o.Snapshots < 1 {
		return errors.New("give 1 host or more, 4 jobs for each at least, 1 snapshot or more")
	}
	if o.Say == nil {
		o.Say = func(string) {}
	}
	o.Now = o.Now.UTC().Truncate(time.Microsecond)
	f := &filling{o: o, backupSpecs: map[*role]string{}}
	if f.b, err = open(ctx, o); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.b.abandon()
		}
	}()
	tighten, err := loosen(ctx, f.b, database.IsPostgres(o.Database))
	if err != nil {
		return err
	}
	if err := f.everything(ctx); err != nil {
		return err
	}
	o.Say("sorting the indexes")
	if err := all(ctx, f.b, tighten...); err != nil {
		return err
	}
	return f.b.commit(ctx)
}

func (f *filling) everything(ctx context.Context) error {
	days := f.o.Jobs/f.o.Hosts + 60
	f.machines = machines(f.o, f.o.Now.AddDate(0, 0, -days))
	f.d = newDice(f.o.Seed, 2)
	f.staff()
	if err := f.accounts(ctx); err != nil {
		return err
	}
	if err := f.trail(ctx); err != nil {
		return err
	}
	open := f.waitingHosts()
	slots := plan(newDice(f.o.Seed, 3), f.machines, f.o.Jobs-len(open), f.o.Now)
	if err := f.jobs(ctx, slots); err != nil {
		return err
	}
	if err := f.waiting(ctx, open); err != nil {
		return err
	}
	return f.hosts(ctx)
}

// rows are those of one portion of jobs.
type rows struct{ jobs, audit, logs, chunks [][]any }

// jobs makes up the next portion while the last one is written.
func (f *filling) jobs(whole context.Context, slots []slot) error {
	ctx, stop := context.WithCancel(whole)
	defer stop()
	ready := make(chan rows)
	go func() {
		defer close(ready)
		for part := range slices.Chunk(slots, portion) {
			select {
			case ready <- f.portion(part):
			case <-ctx.Done():
				return
			}
		}
	}()
	var failed error
	done := 0
	for r := range ready {
		if failed == nil {
			failed = errors.Join(f.b.insert(ctx, "jobs", jobColumns, r.jobs), f.b.insert(ctx, "audit", auditColumns, r.audit),
				f.b.insert(ctx, "logs", logColumns, r.logs), f.b.insert(ctx, "log_chunks", chunkColumns, r.chunks))
		}
		if failed != nil {
			stop()
			continue // until the other one has noticed
		}
		done += len(r.jobs)
		f.o.Say(fmt.Sprintf("%d of %d jobs", done, len(slots)))
	}
	return errors.Join(failed, whole.Err())
}

func (f *filling) portion(slots []slot) (r rows) {
	for _, s := range slots {
		j := f.job(s)
		r.jobs = append(r.jobs, j.row())
		r.audit = append(r.audit, f.audit(j.queued, *j.by, "job.create", "job:"+j.id, jobDetail(j)))
		if !j.canceled.IsZero() {
			state := wire.StateQueued
			if !j.accepted.IsZero() {
				state = wire.StateRunning
			}
			r.audit = append(r.audit, f.audit(j.canceled, f.people[1], "job.cancel", "job:"+j.id, text(map[string]any{"host": j.m.id, "kind": j.kind.Kind, "state": state})))
		}
		log, chunk := j.logRows()
		if log != nil {
			r.logs = append(r.logs, log)
		}
		if chunk != nil {
			r.chunks = append(r.chunks, chunk)
		}
	}
	return r
}

// waitingHosts are some that are away while a backup waits for them.
func (f *filling) waitingHosts() (list []*machine) {
	for _, m := range f.machines {
		if m.offline && len(list) < 6 {
			list = append(list, m)
		}
	}
	return list
}

func (f *filling) waiting(ctx context.Context, hosts []*machine) error {
	var jobs, audit [][]any
	for i, m := range hosts {
		at := f.o.Now.Add(-time.Duration(20+i*37) * time.Minute)
		j := &made{id: f.d.uuid(at), m: m, kind: wire.Kinds[kindPlace(wire.KindBackup)], by: &f.people[1], state: wire.StateQueued, queued: at, exit: -1}
		j.spec = f.spec(j)
		jobs = append(jobs, j.row())
		audit = append(audit, f.audit(at, *j.by, "job.create", "job:"+j.id, jobDetail(j)))
	}
	return errors.Join(f.b.insert(ctx, "jobs", jobColumns, jobs), f.b.insert(ctx, "audit", auditColumns, audit))
}

var (
	hostColumns = []string{"id", "name", "name_key", "labels", "status", "created_at", "last_seen_at", "revoked_at", "token_sha256",
		"enrollment_token_id", "hostname", "facts", "guard", "guard_broken", "kinds", "reported_repositories", "agent_version", "restic_version", "protocol_version",
		"skew_seconds", "boot_id", "boot_number", "boot_mark", "hello_at", "clone_alarm_at", "clone_alarm", "repository_id", "snapshot_count",
		"listing_error", "last_success_at", "last_backup_state", "last_backup_at", "last_backup_job_id", "last_backup_error", "success_bytes",
		"latest_size_bytes"}
	nameColumns       = []string{"host_id", "hostname", "recorded_at"}
	repositoryColumns = []string{"id", "created_at", "listing_order", "refreshed_at", "snapshot_count"}
	countColumns      = []string{"repository_id", "hostname", "snapshot_count"}
	snapshotColumns   = []string{"repository_id", "id", "time", "hostname", "username", "paths", "tags", "excludes", "parent", "tree", "original",
		"program_version", "size_bytes", "file_count", "data_added", "summary"}
)

// hosts writes the machines as their jobs have left them, and their repositories.
func (f *filling) hosts(ctx context.Context) error {
	var hosts, names, counts, snapshots [][]any
	lists := map[string]*listed{}
	for _, m := range f.machines {
		hosts = append(hosts, m.row(f))
		if m.neverSeen {
			continue
		}
		names = append(names, []any{m.id, m.hostname, m.created})
		l := lists[m.repository]
		if l == nil {
			l = &listed{created: m.created, refreshed: m.created}
			lists[m.repository] = l
		}
		l.snapshots += len(m.snapshots)
		if m.success.After(l.refreshed) {
			l.refreshed = m.success.Add(3 * time.Second)
		}
		if len(m.snapshots) > 0 {
			counts = append(counts, []any{m.repository, m.hostname, int64(len(m.snapshots))})
		}
		for _, s := range m.snapshots {
			snapshots = append(snapshots, s.row(f.d, m))
		}
	}
	var repositories [][]any
	for i, id := range slices.Sorted(maps.Keys(lists)) {
		l := lists[id]
		repositories = append(repositories, []any{id, l.created, int64(i + 1), l.refreshed, int64(l.snapshots)})
	}
	f.o.Say(fmt.Sprintf("%d hosts with %d snapshots in %d repositories", len(hosts), len(snapshots), len(repositories)))
	return errors.Join(f.b.insert(ctx, "repositories", repositoryColumns, repositories), f.b.insert(ctx, "hosts", hostColumns, hosts),
		f.b.insert(ctx, "host_names", nameColumns, names), f.b.insert(ctx, "repository_hostnames", countColumns, counts),
		f.b.insert(ctx, "snapshots", snapshotColumns, snapshots),
		f.b.exec(ctx, fmt.Sprintf("UPDATE server_state SET value = '%d' WHERE key = 'listing_order'", len(repositories)+1)))
}

type listed struct {
	created, refreshed time.Time
	snapshots          int
}

func (s snapshot) row(d dice, m *machine) []any {
	size, files, added, summary := int64(0), int64(0), int64(0), ""
	if m.restic == modernRestic {
		size, files, added = s.bytes, s.files, s.added
		summary = text(wire.SnapshotSummary{BackupStart: s.at, BackupEnd: s.ended, FilesNew: s.new, FilesChanged: s.changed,
			FilesUnmodified: max(s.files-s.new-s.changed, 0), DataAdded: s.added, DataAddedPacked: s.added * 6 / 10, TotalFilesProcessed: s.files, TotalBytesProcessed: s.bytes})
	}
	return []any{m.repository, s.id, s.at, m.hostname, "root", text(m.role.paths), `["nightly"]`, `["*.tmp","/var/cache"]`, s.parent, d.hex(64), "",
		m.program(), size, files, added, summary}
}

// program is what this machine's snapshots say of their maker; restic says it since 0.16.
func (m *machine) program() string {
	if m.restic == "0.14.0" || m.restic == "" {
		return ""
	}
	return "restic " + m.restic
}

func (m *machine) row(f *filling) []any {
	d := f.d
	repositories := []wire.RepositoryReport{{Name: wire.RepositoryLocal, ID: m.repository, Location: m.location}}
	facts, guard, kinds := text(m.facts()), text(m.guard), text(m.kinds())
	agent, restic, boot, number, mark := m.agent, m.restic, "boot-"+d.hex(16), int64(1), d.hex(32)
	hello, seen, repository := orNull(f.o.Now.Add(-time.Duration(d.IntN(20*86400))*time.Second)), orNull(m.lastSeen), any(m.repository)
	if m.neverSeen { // enrolled, but its agent never ran
		facts, guard, kinds, repositories = text(wire.Facts{Hostname: m.hostname, OS: "linux", Arch: "amd64", AgentVersion: m.agent}), "{}", "[]", []wire.RepositoryReport{}
		boot, number, mark, hello, seen, repository = "", 0, "", nil, nil, nil
	}
	if m.offline || m.fate == revoked {
		hello = m.lastSeen.Add(-36 * time.Hour)
	}
	var alarmAt, last, lastJob, revokedAt any
	alarm := ""
	if m.cloned {
		alarmAt, alarm = f.o.Now.Add(-7*time.Hour), "two processes use this identity at the same time, as after copying a machine; its jobs wait until one of them is stopped"
	}
	if m.fate == revoked {
		revokedAt = m.lastSeen.Add(time.Hour)
	}
	if m.last.job != "" {
		last, lastJob = m.last.at, m.last.job
	}
	size := m.sizeNow
	return []any{m.id, m.name, lower(m.name), text(m.labels()), m.status(), m.created, seen, revokedAt, hashed(AgentToken(f.o.Seed, m.id)),
		m.tokenID, m.hostname, facts, guard, m.guardBroken && !m.neverSeen, kinds, text(repositories), agent, restic, int64(wire.ProtocolVersion), m.skew, boot, number, mark, hello,
		alarmAt, alarm, repository, int64(len(m.snapshots)), m.listingError, orNull(m.success), string(m.last.state), last, lastJob, m.last.code,
		m.successBytes, size}
}

// administrator makes the first operator as the server would.
func administrator(ctx context.Context, db *database.DB, o Options) error {
	if o.AdminUser == "" {
		return nil
	}
	return access.Open(access.Options{DB: db}).EnsureAdmin(ctx, o.AdminUser, o.AdminPassword)
}
