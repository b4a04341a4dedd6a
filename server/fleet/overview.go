package fleet

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"gorm.io/gorm"

	"restic-manager/server/database"
	"restic-manager/shared/wire"
)

// Overview is what is to be known of the hosts that match a filter.
type Overview struct {
	At             time.Time      `json:"at" doc:"When it was counted, to the whole minute: the answer stays the same while nothing changes"`
	Hosts          HostCounts     `json:"hosts"`
	Jobs           OpenJobCounts  `json:"jobs"`
	Attention      []Attention    `json:"attention" doc:"Hosts that need somebody, each with the worst of its reasons; the worst first, 50 at most"`
	AttentionTotal int64          `json:"attention_total"`
	Unprotected    int64          `json:"unprotected_count" doc:"Hosts, revoked ones apart, at which no enabled policy runs"`
	Groups         []HostGroup    `json:"groups,omitempty" doc:"By the value of the label that group names, 200 at most; value is empty for hosts without it, which come last"`
	Labels         []LabelCounts  `json:"labels" doc:"Labels of the hosts that match the filter but for its label; 50 keys with 100 values at most"`
	Versions       []VersionHosts `json:"versions" doc:"Agents of the hosts that match the filter but for its version"`
	ServerVersion  string         `json:"server_version"`
}

// HostCounts are numbers of hosts, by protection and by status.
type HostCounts struct {
	Total         int64 `json:"total"`
	Protected     int64 `json:"protected"`
	AtRisk        int64 `json:"at_risk"`
	Failing       int64 `json:"failing"`
	NeverBackedUp int64 `json:"never_backed_up"`
	Revoked       int64 `json:"revoked"`
	Online        int64 `json:"online"`
	Offline       int64 `json:"offline"`
	NeverSeen     int64 `json:"never_seen"`
	CloneAlarms   int64 `json:"clone_alarms"`
}

// OpenJobCounts are numbers of jobs that have not ended; running ones are those that their agents have accepted too.
type OpenJobCounts struct {
	Queued  int64 `json:"queued"`
	Running int64 `json:"running"`
}

// HostGroup counts the hosts with one value of a label.
type HostGroup struct {
	Value         string `json:"value"`
	Total         int64  `json:"total"`
	Protected     int64  `json:"protected"`
	AtRisk        int64  `json:"at_risk"`
	Failing       int64  `json:"failing"`
	NeverBackedUp int64  `json:"never_backed_up"`
	Offline       int64  `json:"offline"`
}

// LabelCounts are the values of one label.
type LabelCounts struct {
	Key    string       `json:"key"`
	Values []ValueHosts `json:"values"`
}

// ValueHosts is how many hosts have a label's value.
type ValueHosts struct {
	Value string `json:"value"`
	Hosts int64  `json:"hosts"`
}

// VersionHosts is how many hosts have a version of the agent.
type VersionHosts struct {
	Version string `json:"version"`
	Hosts   int64  `json:"hosts"`
}

// Attention is a host that needs somebody, and why.
type Attention struct {
	HostID        string     `json:"host_id"`
	HostName      string     `json:"host_name"`
	Reason        string     `json:"reason" enum:"clone_alarm,guard_broken,restic_missing,failing,never_backed_up,overdue,issues,listing_failed,clock_skew,offline"`
	Since         *time.Time `json:"since,omitempty"`
	JobID         string     `json:"job_id,omitempty" doc:"The backup that ended last, where it is the reason"`
	ErrorCode     string     `json:"error_code,omitempty"`
	Message       string     `json:"message,omitempty"`
	ResticVersion string     `json:"restic_version,omitempty"`
}

// reasons are those for attention, the worst first.
var reasons = []string{"clone_alarm", "guard_broken", "restic_missing", "failing", "never_backed_up", "overdue", "issues", "listing_failed", "clock_skew", "offline"}

// The bounds of an overview.
const (
	maxAttention   = 50
	maxGroups      = 200
	maxLabelKeys   = 50
	maxLabelValues = 100
	skewNoticed    = 300 // seconds
	offlineNoticed = 24 * time.Hour
)

// reasonPlace is the place in reasons of the worst one that a host has; 99: none. @overdue and @gone are times. Who is away is looked up
// apart, so that an index with no time of the last sign of life, which changes all the time, has all that is asked of a host.
const reasonPlace = `CASE WHEN h.status = 'revoked' THEN 99
		WHEN h.clone_alarm_at IS NOT NULL THEN 0
		WHEN h.guard_broken THEN 1
		WHEN h.restic_version = '' AND h.hello_at IS NOT NULL THEN 2
		WHEN h.last_success_at IS NULL THEN 4
		WHEN h.last_backup_state IN ('failed', 'lost', 'rejected', 'expired') THEN 3
		WHEN h.last_success_at < @overdue THEN 5
		WHEN h.last_backup_state = 'succeeded_with_issues' THEN 6
		WHEN h.listing_error <> '' THEN 7
		WHEN abs(h.skew_seconds) > @skew THEN 8
		WHEN h.status = 'offline' AND h.id IN (SELECT o.id FROM hosts o WHERE o.status = 'offline' AND o.last_seen_at < @gone) THEN 9
		ELSE 99 END`

// Overview counts the hosts that match the filter. group is a label's key; empty: no groups. What it gives is shared: see recent.
func (s *Store) Overview(ctx context.Context, f HostFilter, group string) (Overview, error) {
	o, err := s.recent.overview(ctx, f, group, func(now time.Time) (Overview, error) {
		o := Overview{At: now.Truncate(time.Minute), Attention: []Attention{}, Labels: []LabelCounts{}, Versions: []VersionHosts{}}
		// One view of the database: else the parts would not add up.
		view := &sql.TxOptions{ReadOnly: true}
		if s.db.Postgres() {
			view.Isolation = sql.LevelRepeatableRead
		}
		err := s.db.Read(ctx).Transaction(func(db *gorm.DB) error { return s.overview(db, &o, f, group, now) }, view)
		return o, err
	})
	if err != nil {
		return Overview{}, fmt.Errorf("count the fleet: %w", err)
	}
	return o, nil
}

func (s *Store) overview(db *gorm.DB, o *Overview, f HostFilter, group string, now time.Time) error {
	where, args, err := f.conditions(s.db.Postgres(), now)
	if err != nil {
		return err
	}
	args["overdue"], args["gone"], args["skew"] = s.overdueBefore(now), now.Add(-offlineNoticed), float64(skewNoticed)
	hosts := whereAll(where)
	if err := s.countHosts(db, o, where, args); err != nil {
		return err
	}
	if err := s.attention(db, o, hosts, args); err != nil {
		return err
	}
	if group != "" {
		if args["group"], err = groupArgument(group, s.db.Postgres()); err != nil {
			return err
		}
		if err := s.groups(db, o, hosts, args); err != nil {
			return err
		}
	}
	return s.choices(db, o, f, now)
}

func (s *Store) countHosts(db *gorm.DB, o *Overview, where []string, args map[string]any) error {
	hosts := whereAll(where)
	var rows []struct {
		Severity int
		Status   string
		Place    int
		Count    int64
		Alarms   int64
	}
	query := `SELECT severity, status, place, count(*) AS count, sum(alarm) AS alarms FROM (
		SELECT ` + severity + ` AS severity, h.status, ` + reasonPlace + ` AS place, CASE WHEN h.clone_alarm_at IS NULL THEN 0 ELSE 1 END AS alarm
		FROM hosts h` + hosts + `) x GROUP BY severity, status, place`
	if err := db.Raw(query, named(query, args)...).Scan(&rows).Error; err != nil {
		return err
	}
	c := &o.Hosts
	protections := []*int64{&c.Failing, &c.NeverBackedUp, &c.AtRisk, &c.Protected, &c.Revoked} // in the order of Protections
	statuses := map[string]*int64{"online": &c.Online, "offline": &c.Offline, "never_seen": &c.NeverSeen}
	for _, r := range rows {
		c.Total += r.Count
		c.CloneAlarms += r.Alarms
		*protections[r.Severity] += r.Count
		if n := statuses[r.Status]; n != nil {
			*n += r.Count
		}
		if r.Place < len(reasons) {
			o.AttentionTotal += r.Count
		}
	}
	query = "SELECT count(*) FROM hosts h" + whereAll(append(where, unprotected))
	if err := db.Raw(query, named(query, args)...).Scan(&o.Unprotected).Error; err != nil {
		return err
	}
	query = `SELECT coalesce(sum(CASE WHEN jobs.state = 'queued' THEN 1 ELSE 0 END), 0) AS queued,
		coalesce(sum(CASE WHEN jobs.state = 'queued' THEN 0 ELSE 1 END), 0) AS running
		FROM jobs WHERE jobs.state IN ('queued', 'accepted', 'running') AND jobs.host_id IN (SELECT h.id FROM hosts h` + hosts + `)`
	return db.Raw(query, named(query, args)...).Scan(&o.Jobs).Error
}

func (s *Store) attention(db *gorm.DB, o *Overview, hosts string, args map[string]any) error {
	var rows []struct {
		Row          hostRow `gorm:"embedded"`
		Place        int
		ErrorMessage *string
	}
	query := `SELECT h.*, x.place, jobs.error_message FROM (
			SELECT y.* FROM (SELECT h.id, h.name_key, ` + reasonPlace + ` AS place FROM hosts h` + hosts + `) y
			WHERE y.place < 99 ORDER BY y.place, y.name_key LIMIT @most) x
		JOIN hosts h ON h.id = x.id LEFT JOIN jobs ON jobs.id = h.last_backup_job_id ORDER BY x.place, x.name_key`
	args["most"] = maxAttention
	if err := db.Raw(query, named(query, args)...).Scan(&rows).Error; err != nil {
		return err
	}
	for _, r := range rows {
		message := ""
		if r.ErrorMessage != nil {
			message = *r.ErrorMessage
		}
		a, err := r.Row.attention(reasons[r.Place], message)
		if err != nil {
			return err
		}
		o.Attention = append(o.Attention, a)
	}
	return nil
}

// attention says what is known of the reason. message is that of the last backup's error.
func (r hostRow) attention(reason, message string) (Attention, error) {
	a := Attention{HostID: r.ID, HostName: r.Name, Reason: reason, ResticVersion: r.ResticVersion}
	backup := func() {
		if r.LastBackupJobID != nil && r.LastBackupState != wire.StateSucceeded {
			a.JobID, a.ErrorCode, a.Message = *r.LastBackupJobID, r.LastBackupError, message
		}
	}
	switch reason {
	case "clone_alarm":
		a.Since, a.Message = database.InUTC(r.CloneAlarmAt), r.CloneAlarm
	case "guard_broken":
		var g wire.GuardReport
		if err := json.Unmarshal([]byte(r.Guard), &g); err != nil {
			return a, fmt.Errorf("read the guard of host %s: %w", r.ID, err)
		}
		a.Message = g.Broken
	case "failing", "issues":
		a.Since = database.InUTC(r.LastBackupAt)
		backup()
	case "never_backed_up":
		created := r.CreatedAt.UTC()
		a.Since = &created
		backup()
	case "overdue":
		a.Since = database.InUTC(r.LastSuccessAt)
	case "listing_failed":
		a.Message = r.ListingError
	case "clock_skew":
		a.Message = fmt.Sprintf("its clock is %.0f seconds ahead of the server's", r.SkewSeconds)
		if r.SkewSeconds < 0 {
			a.Message = fmt.Sprintf("its clock is %.0f seconds behind the server's", -r.SkewSeconds)
		}
	case "offline":
		a.Since = database.InUTC(r.LastSeenAt)
	}
	return a, nil
}

func (s *Store) groups(db *gorm.DB, o *Overview, hosts string, args map[string]any) error {
	label := labelColumn(s.db.Postgres())
	query := `SELECT value, count(*) AS total, sum(CASE WHEN severity = 0 THEN 1 ELSE 0 END) AS failing,
			sum(CASE WHEN severity = 1 THEN 1 ELSE 0 END) AS never_backed_up, sum(CASE WHEN severity = 2 THEN 1 ELSE 0 END) AS at_risk,
			sum(CASE WHEN severity = 3 THEN 1 ELSE 0 END) AS protected, sum(CASE WHEN status = 'offline' THEN 1 ELSE 0 END) AS offline
		FROM (SELECT ` + label + ` AS value, ` + severity + ` AS severity, h.status FROM hosts h` + hosts + `) x
		GROUP BY value ORDER BY CASE WHEN value = '' THEN 1 ELSE 0 END, value LIMIT @most`
	args["most"] = maxGroups
	return db.Raw(query, named(query, args)...).Scan(&o.Groups).Error
}

// choices counts the labels and the versions that there are to choose from. Sets of labels are few; they are taken apart here.
func (s *Store) choices(db *gorm.DB, o *Overview, f HostFilter, now time.Time) error {
	all := f
	all.Label, all.Version = "", ""
	where, args, err := all.conditions(s.db.Postgres(), now)
	if err != nil {
		return err
	}
	label := ""
	if f.Label != "" {
		if label, err = labelText(f.Label); err != nil {
			return err
		}
	}
	args["overdue"] = s.overdueBefore(now)
	var rows []struct {
		Labels  string
		Version string
		Count   int64
	}
	query := "SELECT h.labels, h.agent_version AS version, count(*) AS count FROM hosts h" + whereAll(where) + " GROUP BY h.labels, h.agent_version"
	if err := db.Raw(query, named(query, args)...).Scan(&rows).Error; err != nil {
		return err
	}
	sets, versions := map[string]int64{}, map[string]int64{}
	for _, r := range rows {
		if strings.Contains(r.Labels, label) {
			versions[r.Version] += r.Count
		}
		if f.Version == "" || r.Version == f.Version {
			sets[r.Labels] += r.Count
		}
	}
	counts := map[string]map[string]int64{}
	for set, n := range sets {
		var labels map[string]string
		if err := json.Unmarshal([]byte(set), &labels); err != nil {
			return fmt.Errorf("read labels: %w", err)
		}
		for k, v := range labels {
			if counts[k] == nil {
				counts[k] = map[string]int64{}
			}
			counts[k][v] += n
		}
	}
	o.Labels = labelCounts(counts)
	for version, n := range versions {
		o.Versions = append(o.Versions, VersionHosts{Version: version, Hosts: n})
	}
	slices.SortFunc(o.Versions, func(a, b VersionHosts) int {
		return cmp.Or(cmp.Compare(b.Hosts, a.Hosts), cmp.Compare(a.Version, b.Version))
	})
	return nil
}

// labelCounts are the keys by name, each with its most frequent values.
func labelCounts(counts map[string]map[string]int64) []LabelCounts {
	all := []LabelCounts{}
	for _, key := range slices.Sorted(maps.Keys(counts)) {
		if len(all) == maxLabelKeys {
			break
		}
		l := LabelCounts{Key: key}
		for value, n := range counts[key] {
			l.Values = append(l.Values, ValueHosts{Value: value, Hosts: n})
		}
		slices.SortFunc(l.Values, func(a, b ValueHosts) int { return cmp.Or(cmp.Compare(b.Hosts, a.Hosts), cmp.Compare(a.Value, b.Value)) })
		l.Values = l.Values[:min(len(l.Values), maxLabelValues)]
		all = append(all, l)
	}
	return all
}
