package fleet

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"

	"gorm.io/gorm"

	"restic-manager/server/database"
	"restic-manager/server/fault"
	"restic-manager/shared/wire"
)

// A page of jobs is found in two steps: the ids that it holds, each way of looking for them bounded, then the rows. Ids
// are made of the time of their queueing: the order of a list is theirs, and a span of time is one of ids.

const (
	// fewHosts are as many as are looked at one by one without more ado.
	fewHosts = 200
	// clockSlack is how far an id's time may be from its job's: ids made by earlier versions are of the process's clock.
	clockSlack = time.Hour
)

// walks are how many of the newest jobs are looked through for those of many hosts: where a thousand are not enough, more.
var walks = []int{1_000, 20_000}

// stretch is the condition of the jobs in one stretch of an index.
type stretch struct {
	where string
	args  []any
}

// Jobs lists jobs, the newest first.
func (s *Store) Jobs(ctx context.Context, f JobFilter, p Page) (jobs []Job, next string, err error) {
	if err := f.check(); err != nil {
		return nil, "", err
	}
	within, err := f.within(p)
	if err != nil {
		return nil, "", err
	}
	var rows []shownJob
	// One view of the database: else a job might end between the steps and be shown among those that run.
	view := &sql.TxOptions{ReadOnly: true}
	if s.db.Postgres() {
		view.Isolation = sql.LevelRepeatableRead
	}
	err = s.db.Read(ctx).Transaction(func(db *gorm.DB) error {
		if err := f.readKnown(db); err != nil {
			return err
		}
		ids, err := f.page(db, within, p.limit()+1)
		if err != nil || len(ids) == 0 {
			return err
		}
		if len(ids) > p.limit() {
			ids = ids[:p.limit()]
			next = encodeCursor(ids[len(ids)-1])
		}
		return db.Raw("SELECT "+listColumns+fromJobs+" WHERE jobs.id IN ? ORDER BY jobs.id DESC", ids).Scan(&rows).Error
	}, view)
	if err != nil {
		return nil, "", fmt.Errorf("list jobs: %w", err)
	}
	jobs, err = s.shown(rows)
	return jobs, next, err
}

// page gives the ids of the newest jobs.
func (f JobFilter) page(db *gorm.DB, within stretch, limit int) ([]string, error) {
	if f.Label == "" && f.Search == "" {
		return newest(db, f.stretches(within), limit)
	}
	hosts, err := f.hosts(db.Name() == "postgres")
	if err != nil {
		return nil, err
	}
	return f.ofHosts(db, hosts, within, limit)
}

func (f JobFilter) check() error {
	if f.HostID != "" && !wire.IsUUID(f.HostID) {
		return errNoHost
	}
	if f.Policy != "" && !wire.IsUUID(f.Policy) {
		return fault.Invalidf("policy: give a policy's id")
	}
	if f.Repository != "" && !wire.IsUUID(f.Repository) {
		return fault.Invalidf("repository: give the id of a repository")
	}
	if f.Kind != "" {
		if _, err := wire.NewSpec(f.Kind); err != nil {
			return fault.Invalidf("%v", err)
		}
	}
	for _, state := range f.States {
		if !slices.Contains(wire.States, state) {
			return fault.Invalidf("state: %.40q is none of a job's states", state)
		}
	}
	return nil
}

// within is the span of ids that the page lies in, and what of the filter an id does not say exactly. A host is in it: it
// has few jobs, whichever they are.
func (f JobFilter) within(p Page) (w stretch, err error) {
	add := func(condition string, arg any) { w.where, w.args = w.where+" AND "+condition, append(w.args, arg) }
	if p.Cursor != "" {
		var before string
		if err := decodeCursor(p.Cursor, &before); err != nil {
			return w, err
		}
		if !wire.IsUUID(before) {
			return w, fault.Invalidf("cursor: it is not one of this list; begin again without a cursor")
		}
		add("jobs.id < ?", before)
	}
	if f.Before != nil {
		at := database.Truncate(saneTime(*f.Before))
		add("jobs.id < ?", database.FirstIDAt(at.Add(clockSlack)))
		add("jobs.queued_at < ?", at)
	}
	if f.After != nil {
		at := database.Truncate(saneTime(*f.After))
		add("jobs.id >= ?", database.FirstIDAt(at.Add(-clockSlack)))
		add("jobs.queued_at >= ?", at)
	}
	return w, nil
}

// stretches are those of the indexes in which the filter's jobs lie, each in the order of ids. within begins with AND.
func (f JobFilter) stretches(within stretch) (list []stretch) {
	add := func(where string, args ...any) {
		list = append(list, stretch{where + within.where, append(args, within.args...)})
	}
	switch {
	case f.HostID != "":
		also, args := f.also()
		add("jobs.host_id = ?"+also, append([]any{f.HostID}, args...)...)
	case f.Repository != "":
		f.inRepository(add)
	case f.Policy != "":
		also, args := f.also()
		add("1 = 1"+also, args...)
	case f.Kind != "":
		states := f.States
		if len(states) == 0 {
			states = wire.States
		}
		for _, state := range states {
			add("jobs.kind = ? AND jobs.state = ?", f.Kind, state)
		}
	case len(f.States) > 0:
		for _, state := range f.States {
			add("jobs.state = ?", state)
		}
	default:
		add("1 = 1")
	}
	return list
}

// maxKnown bounds how many of restic's repositories of one setting are looked at: with all kinds these are as many
// stretches as one statement may have.
const maxKnown = 20

// readKnown reads which of restic's repositories the filter's is. Where each host has one of its own, its jobs are on
// the host's page.
func (f *JobFilter) readKnown(db *gorm.DB) error {
	if f.Repository == "" {
		return nil
	}
	err := db.Raw("SELECT repository_id FROM repository_maintenance WHERE setting_id = ? AND host_id IS NULL ORDER BY repository_id LIMIT ?", f.Repository, maxKnown).Scan(&f.known).Error
	if err != nil {
		return fmt.Errorf("read what is in repository %s: %w", f.Repository, err)
	}
	return nil
}

// inRepository adds the stretches of one repository, kind by kind: among the backups of many hosts the few checks would
// not be found soon.
func (f JobFilter) inRepository(add func(where string, args ...any)) {
	kinds := []wire.Kind{f.Kind}
	if f.Kind == "" {
		kinds = kinds[:0]
		for _, k := range wire.Kinds {
			kinds = append(kinds, k.Kind)
		}
	}
	rest := f
	rest.Kind, rest.Repository = "", ""
	also, args := rest.also()
	for _, k := range kinds {
		add("jobs.target_setting = ? AND jobs.kind = ?"+also, append([]any{f.Repository, k}, args...)...)
		for _, id := range f.known {
			add("jobs.repository_id = ? AND jobs.repository_id <> '' AND jobs.target_setting IS NULL AND jobs.kind = ?"+also, append([]any{id, k}, args...)...)
		}
	}
}

// also is the condition on the jobs of one host. It is none that an index serves: to find those of a state among a host's
// hundred, PostgreSQL would read all of that state.
func (f JobFilter) also() (where string, args []any) {
	if f.Policy != "" {
		where, args = " AND jobs.policy_id = ?", []any{f.Policy}
	}
	if f.Kind != "" {
		where, args = where+" AND jobs.kind || '' = ?", append(args, f.Kind)
	}
	if len(f.States) > 0 {
		where, args = where+" AND jobs.state || '' IN ?", append(args, f.States)
	}
	if f.Repository != "" {
		of, ids := "jobs.target_setting = ?", []any{f.Repository}
		if len(f.known) > 0 {
			of, ids = of+" OR jobs.target_setting IS NULL AND jobs.repository_id IN ?", append(ids, f.known)
		}
		where, args = where+" AND ("+of+")", append(args, ids...)
	}
	return where, args
}

// union is the newest of the stretches, as a query of ids and hosts; the newest first.
func union(stretches []stretch, limit int) (query string, args []any) {
	const order = " ORDER BY id DESC LIMIT ?"
	var parts []string
	for _, s := range stretches {
		parts = append(parts, "SELECT * FROM (SELECT jobs.id, jobs.host_id FROM jobs WHERE "+s.where+order+") x")
		args = append(append(args, s.args...), limit)
	}
	if len(parts) == 1 {
		return parts[0] + order, append(args, limit)
	}
	return strings.Join(parts, " UNION ALL ") + order, append(args, limit)
}

// newest gives the ids of the newest jobs in the stretches.
func newest(db *gorm.DB, stretches []stretch, limit int) (ids []string, err error) {
	query, args := union(stretches, limit)
	err = db.Raw("SELECT id FROM ("+query+") y ORDER BY id DESC", args...).Scan(&ids).Error
	return ids, err
}

// ofHosts gives the ids of the newest jobs of those hosts that match. Of few hosts each is asked for its newest job; of
// many, the newest jobs of all are looked through first, where those of many hosts soon are enough.
func (f JobFilter) ofHosts(db *gorm.DB, hosts, within stretch, limit int) ([]string, error) {
	var some []string
	if err := db.Raw("SELECT h.id FROM hosts h WHERE "+hosts.where+" LIMIT ?", append(slices.Clone(hosts.args), fewHosts+1)...).Scan(&some).Error; err != nil {
		return nil, err
	}
	if len(some) == 0 {
		return nil, nil
	}
	if len(some) <= fewHosts {
		return f.byHost(db, stretch{"h.id IN ?", []any{some}}, within, limit)
	}
	for _, walk := range walks {
		ids, enough, err := f.walk(db, hosts, within, walk, limit)
		if err != nil || enough {
			return ids, err
		}
	}
	return f.byHost(db, hosts, within, limit)
}

// walk looks through so many of the newest jobs for those of the hosts. enough is true when the page is full or there are
// no more jobs.
func (f JobFilter) walk(db *gorm.DB, hosts, within stretch, walk, limit int) (ids []string, enough bool, err error) {
	query, args := union(f.stretches(within), walk)
	var walked struct {
		Seen  int
		Found string
	}
	err = db.Raw(`WITH seen AS (`+query+`) SELECT (SELECT count(*) FROM seen) AS seen, coalesce((SELECT `+joined(db)+` FROM
			(SELECT seen.id FROM seen JOIN hosts h ON h.id = seen.host_id WHERE `+hosts.where+` ORDER BY seen.id DESC LIMIT ?) z), '') AS found`,
		append(append(args, hosts.args...), limit)...).Scan(&walked).Error
	if err != nil {
		return nil, false, err
	}
	ids = strings.Fields(walked.Found)
	slices.Sort(ids)
	slices.Reverse(ids)
	return ids, len(ids) == limit || walked.Seen < walk, nil
}

// joined makes one text of many ids.
func joined(db *gorm.DB) string {
	if db.Name() == "postgres" {
		return "string_agg(CAST(z.id AS text), ' ')"
	}
	return "group_concat(z.id, ' ')"
}

// byHost asks each of the hosts for its newest job. Only hosts with the newest of these can be on the page, and when they
// are enough, no job is on it that is older than all of theirs.
func (f JobFilter) byHost(db *gorm.DB, hosts, within stretch, limit int) (ids []string, err error) {
	where, args := f.also()
	where, args = where+within.where, append(args, within.args...)
	var heads []struct{ HostID, Newest string }
	query := "SELECT h.id AS host_id, (SELECT jobs.id FROM jobs WHERE jobs.host_id = h.id" + where + " ORDER BY jobs.id DESC LIMIT 1) AS newest FROM hosts h WHERE " + hosts.where
	err = db.Raw("SELECT * FROM ("+query+") x WHERE newest IS NOT NULL ORDER BY newest DESC LIMIT ?", append(append(slices.Clone(args), hosts.args...), limit)...).Scan(&heads).Error
	if err != nil || len(heads) == 0 {
		return nil, err
	}
	oldest := database.FirstID
	if len(heads) == limit {
		oldest = heads[len(heads)-1].Newest
	}
	of := make([]string, len(heads))
	for i, h := range heads {
		of[i] = h.HostID
	}
	err = db.Raw("SELECT jobs.id FROM jobs WHERE jobs.host_id IN ? AND jobs.id >= ?"+where+" ORDER BY jobs.id DESC LIMIT ?",
		append(append([]any{of, oldest}, args...), limit)...).Scan(&ids).Error
	return ids, err
}

// hosts is the condition on hosts h.
func (f JobFilter) hosts(postgres bool) (s stretch, err error) {
	s.where = "1 = 1"
	if f.HostID != "" {
		s.where, s.args = "h.id = ?", []any{f.HostID}
	}
	if f.Label != "" {
		text, err := labelText(f.Label)
		if err != nil {
			return s, err
		}
		find := " AND instr(h.labels, ?) > 0"
		if postgres {
			find = " AND strpos(h.labels, ?) > 0"
		}
		s.where, s.args = s.where+find, append(s.args, text)
	}
	if f.Search != "" {
		part := "%" + escapeLike(nameKey(cleanLine(f.Search, maxHostname))) + "%"
		s.where, s.args = s.where+" AND (h.name_key LIKE ? ESCAPE '!' OR lower(h.hostname) LIKE ? ESCAPE '!')", append(s.args, part, part)
	}
	return s, nil
}
