// Package retention says which snapshots of a repository are kept and which may go. It is pure: no database, no clock.
//
// Who holds a repository's password can write snapshots with any time, host and tag. Rules that go by those remove the
// good ones in favour of forged ones: restic's own --keep-daily 7 leaves none of 7. Here a snapshot counts by what the
// server saw: the job that made it, and when that ended by the server's clock. A snapshot that no job of ours explains
// keeps no other from being kept, is never removed, and stops all removals until a person has looked.
package retention

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Tolerance is how far a snapshot's own time may lie outside its job's, for clocks that differ.
const Tolerance = 10 * time.Minute

// approvalPart is how many of a repository's snapshots, in percent, may go in one run without a person's yes.
const approvalPart = 20

// Snapshot is a snapshot with what the server knows of it.
type Snapshot struct {
	ID   string
	Time time.Time // restic's own: what the machine that wrote it says
	Tags []string
	// Jobs are those that say they made it; more than one is anomalous.
	Jobs []Job
	// AdoptedAt is when a person said that it counts, although no job explains it; zero: nobody did. PolicyID and HostID
	// are then its group, where Jobs does not say.
	AdoptedAt        time.Time
	PolicyID, HostID string
	// Awaited: no job explains it yet, but one still may: its host has not reported for a while, or just now.
	Awaited bool
	// Seen: a person has looked at it and left it out. It stays what it is, and stops nothing.
	Seen bool
}

// Job is the backup that made a snapshot, by the server's clock.
type Job struct {
	ID       string
	PolicyID string // empty: asked for by hand
	HostID   string
	DueAt    time.Time // of the policy's schedule; zero: none
	// StartedAt is when the server learnt that it runs: for one begun while the server was away, long after it was due.
	StartedAt time.Time
	EndedAt   time.Time
}

// Keep says which snapshots of a policy at a host are kept: those that any of its fields keeps. Numbers below 1 keep
// nothing. Where none is set all are kept: tags alone are no rule, they only add to one.
type Keep struct {
	Last       int      `json:"last,omitempty"`
	Hourly     int      `json:"hourly,omitempty"`
	Daily      int      `json:"daily,omitempty"`
	Weekly     int      `json:"weekly,omitempty"`
	Monthly    int      `json:"monthly,omitempty"`
	Yearly     int      `json:"yearly,omitempty"`
	WithinDays int      `json:"within_days,omitempty"`
	Tags       []string `json:"tags,omitempty"`
}

// Nothing reports whether the rule removes nothing.
func (k Keep) Nothing() bool {
	return max(k.Last, k.Hourly, k.Daily, k.Weekly, k.Monthly, k.Yearly, k.WithinDays) < 1
}

// Rule is a policy's rule, and the zone that its days and hours are counted in; nil is UTC.
type Rule struct {
	Keep Keep
	Zone *time.Location
}

// Plan is what is to become of a repository's snapshots.
type Plan struct {
	// Verdicts has one for each snapshot, the newest first.
	Verdicts []Verdict
	// Remove are the ids that may go, the oldest first. It is empty while Frozen or Waits says why nothing goes.
	Remove []string
	// NeedsApproval: it is more than may go without a person's yes.
	NeedsApproval bool
	// Frozen says why a person must look before anything goes; empty: nobody must.
	Frozen string
	// Waits says what is to be reported before anything goes; empty: nothing.
	Waits string
}

// Verdict is what the rules say of one snapshot.
type Verdict struct {
	ID string
	// At is the time that counts: the server's where it knows one, else the snapshot's own.
	At   time.Time
	Keep bool
	// Reasons are why it is kept, in words; at least one where Keep is set.
	Reasons []string
	// Anomaly is why it does not count; empty: it does.
	Anomaly string

	PolicyID, HostID string // of its group; empty for none
}

// Compute judges all snapshots of one repository by the rules of their policies. A snapshot of a policy without a rule, or
// of none, is kept.
func Compute(snapshots []Snapshot, rules map[string]Rule, now time.Time) Plan {
	var p Plan
	claims := claims(snapshots)
	groups := map[group][]*member{}
	members := make([]member, len(snapshots))
	anomalous, awaited := findings{}, findings{}
	for i, s := range snapshots {
		m := &members[i]
		m.tags = s.Tags
		m.Verdict, m.counts = judge(s, claims, now)
		switch {
		case m.counts && m.PolicyID != "":
			g := group{m.PolicyID, m.HostID}
			groups[g] = append(groups[g], m)
		case m.counts:
			m.keep("no policy made it")
		default:
			m.keep("not removed by itself: " + m.Anomaly)
			if s.Seen {
				break
			}
			if s.Awaited {
				awaited.add(m.Verdict)
			} else {
				anomalous.add(m.Verdict)
			}
		}
	}
	for g, list := range groups {
		rule, ok := rules[g.policy]
		keepGroup(list, rule, ok)
	}
	p.finish(members, anomalous, awaited)
	return p
}

// group is what a rule is counted in.
type group struct{ policy, host string }

type member struct {
	Verdict
	tags   []string
	counts bool
}

func (m *member) keep(reason string) {
	m.Keep = true
	m.Reasons = append(m.Reasons, reason)
}

// findings are snapshots that do not count, of which one is told.
type findings struct {
	count int
	first Verdict
}

func (f *findings) add(v Verdict) {
	if f.count++; f.count == 1 || v.ID < f.first.ID {
		f.first = v
	}
}

func (f *findings) words() string {
	if f.count == 1 {
		return fmt.Sprintf("snapshot %s: %s", short(f.first.ID), f.first.Anomaly)
	}
	return fmt.Sprintf("%d snapshots, the first of them %s: %s", f.count, short(f.first.ID), f.first.Anomaly)
}

func short(id string) string { return id[:min(len(id), 8)] }

// claims counts the snapshots that each job is said to have made, adopted ones aside: those count by a person's word.
func claims(snapshots []Snapshot) map[string]int {
	n := make(map[string]int, len(snapshots))
	for _, s := range snapshots {
		for _, j := range s.Jobs {
			n[j.ID]++
		}
	}
	return n
}

// judge tells when a snapshot was made and for whom; counts is false for one that nothing explains.
func judge(s Snapshot, claims map[string]int, now time.Time) (v Verdict, counts bool) {
	v = Verdict{ID: s.ID, At: s.Time}
	adopted := !s.AdoptedAt.IsZero()
	switch {
	case len(s.Jobs) == 0:
		v.Anomaly = "no backup that was ordered here made it"
		if s.Time.After(now.Add(Tolerance)) {
			v.Anomaly = "no backup that was ordered here made it, and its time is in the future"
		}
	case len(s.Jobs) > 1:
		v.Anomaly = "several backups say that they made it"
	case claims[s.Jobs[0].ID] > 1:
		v.Anomaly = "another snapshot is said to be of the same backup"
	default:
		j := s.Jobs[0]
		v.At, v.PolicyID, v.HostID = j.at(s.Time), j.PolicyID, j.HostID
		if own := j.contains(s.Time); !own && !adopted {
			v.At, v.PolicyID, v.HostID = s.Time, "", ""
			v.Anomaly = "its time is not that of the backup that made it"
		}
		return v, v.Anomaly == ""
	}
	if !adopted {
		return v, false
	}
	v.Anomaly, v.PolicyID, v.HostID = "", s.PolicyID, s.HostID
	// It was there when it was adopted, whatever it says.
	if v.At.After(s.AdoptedAt) {
		v.At = s.AdoptedAt
	}
	return v, true
}

// contains reports whether a snapshot's own time may be the job's.
func (j Job) contains(own time.Time) bool {
	from := j.StartedAt
	if !j.DueAt.IsZero() && j.DueAt.Before(from) {
		from = j.DueAt // begun while the server was away
	}
	return !own.Before(from.Add(-Tolerance)) && !own.After(j.EndedAt.Add(Tolerance))
}

// at is when the backup was made: its end as the server saw it. Of one that ran while the server was away that is when
// the machine came back, the same for all that it made meanwhile; these count by the time they were due, of which each
// has one job.
func (j Job) at(own time.Time) time.Time {
	if !j.DueAt.IsZero() && own.Before(j.StartedAt.Add(-Tolerance)) && j.DueAt.Before(j.EndedAt) {
		return j.DueAt
	}
	return j.EndedAt
}

// keepGroup marks what the rule keeps of one policy at one host.
func keepGroup(list []*member, rule Rule, known bool) {
	slices.SortFunc(list, func(a, b *member) int { return newestFirst(a.Verdict, b.Verdict) })
	if !known || rule.Keep.Nothing() {
		reason := "its policy keeps all"
		if !known {
			reason = "its policy is gone"
		}
		for _, m := range list {
			m.keep(reason)
		}
		return
	}
	zone := rule.Zone
	if zone == nil {
		zone = time.UTC
	}
	within := list[0].At.In(zone).AddDate(0, 0, -rule.Keep.WithinDays)
	buckets := rule.Keep.buckets()
	for i, m := range list {
		local := m.At.In(zone)
		for b := range buckets {
			if reason := buckets[b].take(local, i, i == len(list)-1); reason != "" {
				m.keep(reason)
			}
		}
		if rule.Keep.WithinDays > 0 && m.At.After(within) {
			m.keep(fmt.Sprintf("within %s of the newest", counted(rule.Keep.WithinDays, "day")))
		}
		for _, tag := range rule.Keep.Tags {
			if slices.Contains(m.tags, tag) {
				m.keep("tag " + tag)
			}
		}
	}
	if !list[0].Keep { // no rule leaves a group without its newest
		list[0].keep("the newest")
	}
}

func newestFirst(a, b Verdict) int {
	return cmp.Or(b.At.Compare(a.At), cmp.Compare(b.ID, a.ID))
}

// bucket keeps the newest snapshot of each of so many periods, as restic does (doc/060_forget.rst), and the oldest of all
// while there are fewer periods.
type bucket struct {
	name string
	of   func(t time.Time, place int) int
	left int
	kept int
	last int
}

func (k Keep) buckets() []bucket {
	all := []bucket{
		{name: "last", left: k.Last, of: func(_ time.Time, place int) int { return place }},
		{name: "hour", left: k.Hourly, of: func(t time.Time, _ int) int { return ((t.Year()*100+int(t.Month()))*100+t.Day())*100 + t.Hour() }},
		{name: "day", left: k.Daily, of: func(t time.Time, _ int) int { return (t.Year()*100+int(t.Month()))*100 + t.Day() }},
		{name: "week", left: k.Weekly, of: func(t time.Time, _ int) int { year, week := t.ISOWeek(); return year*100 + week }},
		{name: "month", left: k.Monthly, of: func(t time.Time, _ int) int { return t.Year()*100 + int(t.Month()) }},
		{name: "year", left: k.Yearly, of: func(t time.Time, _ int) int { return t.Year() }},
	}
	return slices.DeleteFunc(all, func(b bucket) bool { return b.left < 1 })
}

// take gives the reason to keep the next snapshot, going from the newest on; empty: none.
func (b *bucket) take(local time.Time, place int, oldest bool) string {
	if b.left == 0 {
		return ""
	}
	period := b.of(local, place)
	if b.kept > 0 && period == b.last {
		if oldest {
			return "the oldest, while there are fewer " + b.name + "s than are kept"
		}
		return ""
	}
	b.left, b.kept, b.last = b.left-1, b.kept+1, period
	if b.name == "last" {
		return fmt.Sprintf("the last, number %d", b.kept)
	}
	return fmt.Sprintf("the newest of its %s, number %d", b.name, b.kept)
}

func counted(n int, unit string) string {
	if n == 1 {
		return "a " + unit
	}
	return fmt.Sprintf("%d %ss", n, unit)
}

// finish orders the verdicts and says what may go.
func (p *Plan) finish(members []member, anomalous, awaited findings) {
	p.Verdicts = make([]Verdict, len(members))
	sound := 0
	for i, m := range members {
		p.Verdicts[i] = m.Verdict
		if m.counts {
			sound++
		}
	}
	slices.SortFunc(p.Verdicts, newestFirst)
	if anomalous.count > 0 {
		p.Frozen = anomalous.words()
	}
	if awaited.count > 0 {
		p.Waits = awaited.words()
	}
	if p.Frozen != "" || p.Waits != "" {
		return
	}
	for _, v := range slices.Backward(p.Verdicts) {
		if !v.Keep {
			p.Remove = append(p.Remove, v.ID)
		}
	}
	p.NeedsApproval = len(p.Remove) > WithoutApproval(sound)
}

// WithoutApproval is how many of so many snapshots may go in one run without a person's yes. Those that do not count are
// not counted here either, or forged ones would widen it.
func WithoutApproval(snapshots int) int { return max(1, snapshots*approvalPart/100) }
