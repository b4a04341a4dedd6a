package madeup

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"time"

	"restic-manager/shared/wire"
)

// slot is a job that is to be made up: small, for there are millions.
type slot struct {
	at      int64 // microseconds
	machine int32
	day     int16 // before now
	kind    uint8 // place in wire.Kinds
	by      int8  // place in staff; -1: the nightly order
}

func kindPlace(k wire.Kind) uint8 {
	return uint8(slices.IndexFunc(wire.Kinds, func(i wire.KindInfo) bool { return i.Kind == k }))
}

// settled is how long before now the last night's jobs were queued at least: all that is made up has ended.
const settled = 6 * time.Hour

// plan goes back day by day until there are as many jobs as asked for, and gives the newest of them, oldest first.
func plan(d dice, list []*machine, jobs int, now time.Time) []slot {
	slots := make([]slot, 0, jobs+jobs/16)
	for day := 0; len(slots) < jobs; day++ {
		before := len(slots)
		for _, m := range list {
			slots = m.plan(d, slots, day, now)
		}
		if len(slots) == before && day > 400 {
			break // nobody of them has jobs
		}
	}
	slices.SortFunc(slots, func(a, b slot) int {
		if a.at != b.at {
			return int(min(max(a.at-b.at, -1), 1))
		}
		return int(a.machine - b.machine)
	})
	return slots[max(len(slots)-jobs, 0):]
}

func (m *machine) plan(d dice, slots []slot, day int, now time.Time) []slot {
	if m.neverSeen || day < m.silentDays || m.fate == neverBackedUp && day > 12 {
		return slots
	}
	night := now.Truncate(24 * time.Hour).Add(m.night)
	for now.Sub(night) < settled {
		night = night.Add(-24 * time.Hour)
	}
	// The timer that orders the night's backups is not exact to the microsecond.
	night = night.Add(-time.Duration(day)*24*time.Hour + time.Duration(d.IntN(9_000_000))*time.Microsecond)
	add := func(after time.Duration, kind wire.Kind, by int8) {
		at := night.Add(after + time.Duration(d.IntN(600_000_000))*time.Microsecond)
		if now.Sub(at) > 2*time.Hour {
			slots = append(slots, slot{at.UnixMicro(), int32(m.index), int16(day), kindPlace(kind), by})
		}
	}
	if m.role.person && day > m.silentDays && day > m.troubleNights && d.chance(0.25) {
		return slots // it was not switched on
	}
	slots = append(slots, slot{night.UnixMicro(), int32(m.index), int16(day), kindPlace(wire.KindBackup), -1})
	if day <= m.troubleNights+1 || m.fate == neverBackedUp || m.restic == "" {
		return slots
	}
	if m.maintained && (day+m.index)%7 == 0 {
		add(4*time.Hour, wire.KindForget, -1)
	}
	if m.maintained && (day+m.index)%30 == 11 {
		add(5*time.Hour, wire.KindPrune, -1)
	}
	if (day+m.index)%30 == 3 {
		add(7*time.Hour, wire.KindCheck, -1)
	}
	switch n := d.Float64(); {
	case n < 0.001:
		add(11*time.Hour, wire.KindRestore, int8(d.IntN(len(staff))))
	case n < 0.004:
		add(11*time.Hour, wire.KindSnapshots, int8(d.IntN(len(staff))))
	case n < 0.005:
		add(11*time.Hour, wire.KindUnlock, int8(d.IntN(len(staff))))
	case n < 0.009:
		add(11*time.Hour, wire.KindBackup, int8(d.IntN(len(staff))))
	}
	return slots
}

// made is a job that was made up.
type made struct {
	id                               string
	m                                *machine
	kind                             wire.KindInfo
	by                               *person
	state                            wire.State
	spec                             string
	queued, accepted, started, ended time.Time
	canceled                         time.Time
	exit                             int // -1: none
	code, message                    string
	summary                          *wire.Summary
	issues                           []wire.Issue
	lines                            int
	log                              []byte // nil: it has expired
	logSHA                           string
	lease, nonce, finish             string
}

// jobColumns are in the order of made.row.
var jobColumns = []string{"id", "host_id", "kind", "lane", "hold", "state", "spec", "created_by", "time_limit_seconds", "queued_at", "expires_at",
	"lease", "heard_at", "lease_expires_at", "accepted_at", "start_nonce", "started_at", "ended_at", "repository_name", "repository_id", "hold_key",
	"cancel_requested_at", "error_code", "error_message", "finish_sha256", "reported_at", "skew_seconds", "agent_started_at", "agent_ended_at",
	"elapsed_seconds", "exit_code", "summary", "snapshot_id", "data_added", "files_processed", "bytes_processed", "issues", "issue_count",
	"log_lines", "log_sha256"}

func orNull(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t
}

func (j *made) row() []any {
	var summary, issues, exit, elapsed, lines, reported, agentStarted, agentEnded, heard, lease any
	var s wire.Summary
	if j.summary != nil {
		s, summary = *j.summary, text(j.summary)
	}
	if len(j.issues) > 0 {
		issues = text(j.issues)
	}
	if j.exit >= 0 && !j.started.IsZero() {
		exit = int64(j.exit)
	}
	if !j.accepted.IsZero() {
		heard, lease = j.heard(), j.heard().Add(wire.LeaseDuration)
	}
	if j.finish != "" {
		lines, reported = int64(j.lines), j.ended
		skew := time.Duration(j.m.skew * float64(time.Second)).Truncate(time.Microsecond)
		begun := j.started
		if begun.IsZero() {
			begun = j.accepted
		}
		agentStarted, agentEnded = begun.Add(skew), j.ended.Add(skew-120*time.Millisecond)
		elapsed = j.ended.Sub(begun).Seconds()
	}
	name, repository := "", ""
	if !j.accepted.IsZero() {
		name, repository = wire.RepositoryLocal, j.m.repository
	}
	return []any{j.id, j.m.id, string(j.kind.Kind), string(j.kind.Lane), string(j.kind.Hold), string(j.state), j.spec, j.by.name,
		int64(j.kind.TimeLimit / time.Second), j.queued, j.queued.Add(wire.QueueTTL), j.lease, heard, lease, orNull(j.accepted), j.nonce,
		orNull(j.started), orNull(j.ended), name, repository, repository, orNull(j.canceled), j.code, j.message, j.finish, reported,
		j.m.skew, agentStarted, agentEnded, elapsed, exit, summary, s.SnapshotID, s.DataAdded, max(s.TotalFilesProcessed, s.FilesRestored),
		max(s.TotalBytesProcessed, s.BytesRestored), issues, int64(len(j.issues)), lines, j.logSHA}
}

// heard is when the server heard of the job last.
func (j *made) heard() time.Time {
	if j.state == wire.StateLost {
		return j.ended.Add(-wire.LostAfter)
	}
	return j.ended
}

// snapshot is what a backup left behind.
type snapshot struct {
	id, parent   string
	at, ended    time.Time
	bytes, files int64
	added        int64
	changed, new int64
}

// job makes one up. Its machine goes on from it: the next backup's parent is this one's snapshot.
func (f *filling) job(s slot) *made {
	d, m := f.d, f.machines[s.machine]
	j := &made{id: d.uuid(time.UnixMicro(s.at)), m: m, kind: wire.Kinds[s.kind], queued: time.UnixMicro(s.at).UTC(), exit: -1, by: &f.people[0]}
	if s.by >= 0 {
		j.by = &f.people[1+int(s.by)]
	}
	j.spec = f.spec(j)
	t := m.outcome(d, j.kind.Kind, int(s.day), s.by < 0)
	j.state = t.state
	took := m.takes(d, j.kind.Kind, int(s.day))
	switch {
	case t.state == wire.StateExpired:
		j.ended = j.queued.Add(wire.QueueTTL + time.Duration(d.IntN(15_000_000))*time.Microsecond)
	case t.state == wire.StateCanceled && d.chance(0.3):
		j.ended = j.queued.Add(time.Duration(d.IntN(30_000_000)) * time.Microsecond)
		j.canceled, t.message, t.exit = j.ended, "canceled before it started", -1
	default:
		j.run(d, t, took)
	}
	if t.code != "" {
		j.code, j.message = t.code, t.words(m)
	}
	f.result(j, int(s.day))
	if j.finish != "" {
		f.log(j)
	}
	return j
}

// run gives the job its times and what the agent and the server agreed on.
func (j *made) run(d dice, t trouble, took time.Duration) {
	j.lease = d.hex(32)
	j.accepted = j.queued.Add(time.Duration(80_000+d.IntN(2_000_000)) * time.Microsecond)
	if t.state == wire.StateRejected {
		j.finish, j.ended = d.hex(64), j.accepted.Add(time.Duration(40_000+d.IntN(900_000))*time.Microsecond)
		return
	}
	j.nonce, j.exit = d.hex(32), t.exit
	j.started = j.accepted.Add(time.Duration(600_000+d.IntN(3_000_000)) * time.Microsecond)
	if t.code != "" {
		took = max(time.Duration(float64(took)*t.part), time.Duration(900+d.IntN(4000))*time.Millisecond)
	}
	j.ended = j.started.Add(took)
	switch t.state {
	case wire.StateLost:
		j.exit, j.ended = -1, j.ended.Add(wire.LostAfter)
	case wire.StateCanceled:
		j.finish, j.canceled = d.hex(64), j.ended.Add(-time.Duration(300+d.IntN(3000))*time.Millisecond)
		if j.canceled.Before(j.started) {
			j.canceled = j.started
		}
	default:
		j.finish = d.hex(64)
	}
}

// outcome is how a job of this machine ends; the zero code is a success.
func (m *machine) outcome(d dice, k wire.Kind, day int, nightly bool) trouble {
	good := trouble{state: wire.StateSucceeded}
	if k != wire.KindBackup {
		switch n := d.Float64(); {
		case n < 0.02:
			return pick(d, troubles[:4])
		case n < 0.025:
			return troubleOf(wire.CodeCanceled)
		}
		return good
	}
	switch {
	case m.fate == neverBackedUp, nightly && day < m.troubleNights:
		return m.trouble
	case m.fate == issues && day < 3:
		return trouble{state: wire.StateSucceededWithIssues, exit: 3}
	case day <= m.silentDays+1: // what stands last is the machine's fate, not chance
		return good
	}
	switch n := d.Float64(); {
	case n < 0.022:
		return pick(d, troubles)
	case n < 0.0225 && day > 9:
		return troubleOf(wire.CodeSilent)
	case n < 0.026 && day > 2:
		return troubleOf(wire.CodeExpired)
	case n < 0.030:
		return troubleOf(wire.CodeCanceled)
	case n < 0.045:
		return trouble{state: wire.StateSucceededWithIssues, exit: 3}
	}
	return good
}

// size is what the machine held so many days ago.
func (m *machine) size(day int) float64 { return m.bytes / (1 + m.role.growth*float64(day)) }

// longest keeps the made-up jobs apart from now.
const longest = 100 * time.Minute

func (m *machine) takes(d dice, k wire.Kind, day int) time.Duration {
	size := m.size(day)
	seconds := 4.0
	switch k {
	case wire.KindBackup: // it looks at every file and reads what changed
		seconds = 6 + size/gib*m.role.files/14000 + size*m.role.changes/m.speed
	case wire.KindCheck:
		seconds = 20 + size/(900<<20)
	case wire.KindPrune:
		seconds = 35 + size/(400<<20)
	case wire.KindRestore:
		seconds = 10 + size/m.speed/30
	}
	return min(time.Duration(d.around(seconds, 0.25)*1e6)*time.Microsecond, longest)
}

func (f *filling) spec(j *made) string {
	switch m := j.m; j.kind.Kind {
	case wire.KindBackup:
		if f.backupSpecs[m.role] == "" {
			f.backupSpecs[m.role] = text(wire.BackupSpec{Paths: m.role.paths, Excludes: []string{"*.tmp", "/var/cache"}, ExcludeCaches: true, OneFileSystem: true, Tags: []string{"nightly"}})
		}
		return f.backupSpecs[m.role]
	case wire.KindForget:
		if ids := m.forgettable(); len(ids) > 0 {
			return text(wire.ForgetSpec{SnapshotIDs: ids})
		}
		return text(wire.ForgetSpec{SnapshotIDs: []string{f.d.hex(64)}})
	case wire.KindCheck:
		return text(wire.CheckSpec{ReadDataSubset: "2%"})
	case wire.KindRestore:
		s := wire.RestoreSpec{SnapshotID: f.d.hex(64), Paths: m.role.paths[:1], Verify: true}
		if n := len(m.snapshots); n > 0 {
			s.SnapshotID = m.snapshots[f.d.IntN(n)].id
		}
		return text(s)
	}
	return "{}"
}

// forgettable are the oldest snapshots, those that the next ones push out.
func (m *machine) forgettable() (ids []string) {
	for _, s := range m.snapshots[:min(len(m.snapshots)/3, 7)] {
		ids = append(ids, s.id)
	}
	return ids
}

// result is what the job came to, and what that means for its machine.
func (f *filling) result(j *made, day int) {
	d, m := f.d, j.m
	good := j.state.Success()
	switch j.kind.Kind {
	case wire.KindBackup:
		f.backup(j, day, good)
	case wire.KindForget:
		if good {
			n := min(len(m.snapshots)/3, 7)
			j.summary = &wire.Summary{SnapshotsRemoved: int64(n)}
			m.snapshots = m.snapshots[n:]
		}
	case wire.KindRestore:
		if good {
			bytes := int64(m.size(day) / 30)
			j.summary = &wire.Summary{FilesRestored: 1 + bytes/int64(gib)*int64(m.role.files), BytesRestored: bytes,
				RestoredTo: "/var/lib/restic-manager/restore/" + j.id}
			j.summary.TotalFilesProcessed, j.summary.TotalBytesProcessed = j.summary.FilesRestored, bytes
		}
	case wire.KindUnlock:
		if good {
			j.summary = &wire.Summary{LocksRemoved: int64(d.IntN(3))}
		}
	}
}

func (f *filling) backup(j *made, day int, good bool) {
	d, m := f.d, j.m
	if good {
		size := m.size(day)
		s := snapshot{id: d.hex(64), at: j.started, ended: j.ended, bytes: int64(size), files: 1 + int64(size/gib*m.role.files)}
		s.added = int64(d.around(size*m.role.changes, 0.6))
		if n := len(m.snapshots); n > 0 {
			s.parent = m.snapshots[n-1].id
			s.new, s.changed = int64(d.around(float64(s.files)*0.002, 0.5)), int64(d.around(float64(s.files)*0.004, 0.5))
		} else {
			s.new, s.added = s.files, int64(size*0.8)
		}
		if m.snapshots = append(m.snapshots, s); len(m.snapshots) > f.o.Snapshots {
			m.snapshots = slices.Delete(m.snapshots, 0, len(m.snapshots)-f.o.Snapshots)
		}
		j.summary = &wire.Summary{SnapshotID: s.id, FilesNew: s.new, FilesChanged: s.changed, FilesUnmodified: max(s.files-s.new-s.changed, 0),
			DirsChanged: s.changed/3 + 1, DirsUnmodified: s.files / 12, DataBlobs: s.added/(1<<20) + 1, TreeBlobs: s.changed/3 + 2,
			DataAdded: s.added, TotalFilesProcessed: s.files, TotalBytesProcessed: s.bytes, ResticSeconds: j.ended.Sub(j.started).Seconds()}
		if m.restic == modernRestic {
			j.summary.DataAddedPacked = s.added * 6 / 10
		}
		m.success, m.successBytes, m.sizeNow = j.ended, s.bytes, s.bytes
	}
	if j.state == wire.StateSucceededWithIssues {
		for range 1 + d.IntN(4) {
			j.issues = append(j.issues, pick(d, unreadable))
		}
	}
	if j.state != wire.StateCanceled && !j.ended.Before(m.last.at) {
		m.last = ending{j.id, j.state, j.ended, j.code}
	}
}

// modernRestic is the one of those used here that stores a summary in its snapshots.
const modernRestic = "0.18.0"

// keptLogs is how long the lines of made-up logs are kept: of older ones it is known that they were.
const keptLogs = 3 * 24 * time.Hour

// log writes the job's lines, as the agent does.
func (f *filling) log(j *made) {
	if f.o.Now.Sub(j.ended) > keptLogs || j.started.IsZero() {
		j.lines, j.logSHA = 0, emptySHA
		if !j.started.IsZero() {
			j.lines, j.logSHA = 5+len(j.issues), f.d.hex(64)
		}
		return
	}
	var b []byte
	say := func(at time.Time, s wire.Stream, format string, args ...any) {
		b = wire.AppendRecord(b, at, s, fmt.Appendf(nil, format, args...), wire.MaxRecord)
		j.lines++
	}
	say(j.started, wire.StreamAgent, "restic %s runs %s on the repository %s", j.m.restic, j.kind.Kind, j.m.location)
	say(j.started.Add(800*time.Millisecond), wire.StreamOut, "repository %s opened (version 2, compression level auto)", j.m.repository[:8])
	if n := len(j.m.snapshots); j.summary != nil && j.summary.SnapshotID != "" && n > 1 {
		say(j.started.Add(time.Second), wire.StreamOut, "using parent snapshot %s", j.m.snapshots[n-1].parent[:8])
	}
	for _, i := range j.issues {
		say(j.started.Add(2*time.Second), wire.StreamErr, "error: %s", i.Message)
	}
	if s := j.summary; s != nil && s.SnapshotID != "" {
		say(j.ended, wire.StreamOut, "Files:       %5d new, %5d changed, %5d unmodified", s.FilesNew, s.FilesChanged, s.FilesUnmodified)
		say(j.ended, wire.StreamOut, "processed %d files, %d bytes in %s", s.TotalFilesProcessed, s.TotalBytesProcessed, j.ended.Sub(j.started).Round(time.Second))
		say(j.ended, wire.StreamOut, "snapshot %s saved", s.SnapshotID[:8])
	}
	if j.message != "" {
		say(j.ended, wire.StreamErr, "%s", j.message)
	}
	sum := sha256.Sum256(b)
	j.log, j.logSHA = b, hex.EncodeToString(sum[:])
}

var emptySHA = hex.EncodeToString(sha256.New().Sum(nil))

var (
	logColumns   = []string{"job_id", "created_at", "updated_at", "next_line", "byte_count", "sum_state", "head_bytes", "tidy", "complete", "problem", "expired_at"}
	chunkColumns = []string{"job_id", "first_line", "line_count", "plain_bytes", "encoding", "body"}
)

// logRows are the cursor of the job's log and its lines.
func (j *made) logRows() (log, chunk []any) {
	switch {
	case j.state == wire.StateLost:
		return []any{j.id, j.started, j.started, int64(1), int64(0), []byte{}, int64(0), true, false, "the host did not send the rest in time", nil}, nil
	case j.finish == "":
		return nil, nil
	}
	begun := j.started
	if begun.IsZero() {
		begun = j.accepted
	}
	size := int64(len(j.log))
	log = []any{j.id, begun, j.ended, int64(j.lines + 1), size, []byte{}, size, true, true, "", nil}
	if j.log == nil && j.lines > 0 {
		log[len(log)-1] = j.ended.Add(keptLogs)
		return log, nil
	}
	if j.lines > 0 {
		chunk = []any{j.id, int64(1), int64(bytes.Count(j.log, []byte{'\n'})), size, "", j.log}
	}
	return log, chunk
}

// jobDetail is what the audit trail says of a job's order, as the server writes it: its keys are sorted.
func jobDetail(j *made) string {
	return `{"host":"` + j.m.id + `","host_name":` + strconv.Quote(j.m.name) + `,"kind":"` + string(j.kind.Kind) + `"}`
}
