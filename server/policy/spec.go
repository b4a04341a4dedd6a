package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"restic-manager/server/fault"
	"restic-manager/shared/wire"
)

// Spec is what a policy says.
type Spec struct {
	Hosts            Selector        `json:"hosts"`
	RepositoryID     string          `json:"repository_id,omitempty" doc:"The repository's id; empty: the one that each machine's own configuration names"`
	Backup           wire.BackupSpec `json:"backup"`
	Schedule         Timing          `json:"schedule"`
	TimeLimitSeconds int64           `json:"time_limit_seconds,omitempty" minimum:"0" maximum:"604800" doc:"0: a day"`
	Keep             *Keep           `json:"keep,omitempty" doc:"Which snapshots are kept; left out: all"`
}

// Selector names hosts: all that any of its fields names.
type Selector struct {
	All    bool              `json:"all,omitempty" doc:"Every machine, also those that come later"`
	IDs    []string          `json:"ids,omitempty" maxItems:"10000"`
	Labels map[string]string `json:"labels,omitempty" doc:"Machines that have all of these labels"`
}

// Timing is when.
type Timing struct {
	Cron          string `json:"cron" maxLength:"200" doc:"Five fields: minute, hour, day of month, month, day of week; or @daily and the like"`
	Zone          string `json:"zone" maxLength:"64" doc:"IANA name, as in Europe/Berlin, or UTC"`
	SpreadSeconds int64  `json:"spread_seconds,omitempty" minimum:"0" maximum:"86400" doc:"Each machine begins at its own moment within so long after the due time"`
	LateSeconds   int64  `json:"late_seconds,omitempty" minimum:"0" maximum:"2592000" doc:"How long after its due time a run may still begin; 0: until the next one is due"`
	NoCatchUp     bool   `json:"no_catch_up,omitempty" doc:"What was due while the machine was off is missed; else the last of it is run once"`

	Windows       []wire.Window `json:"windows,omitempty" maxItems:"20" doc:"When a run may begin, in the schedule's zone; none: always"`
	SkipOnBattery bool          `json:"skip_on_battery,omitempty" doc:"Nothing begins while the machine runs on battery"`
	SkipOnMetered bool          `json:"skip_on_metered,omitempty" doc:"Nothing begins while the machine's connection is metered"`
}

// Keep says which snapshots of a policy at a host are kept: those that any of its fields keeps. Nothing set: all.
type Keep struct {
	Last       int      `json:"last,omitempty" minimum:"0" maximum:"10000"`
	Hourly     int      `json:"hourly,omitempty" minimum:"0" maximum:"10000"`
	Daily      int      `json:"daily,omitempty" minimum:"0" maximum:"10000"`
	Weekly     int      `json:"weekly,omitempty" minimum:"0" maximum:"10000"`
	Monthly    int      `json:"monthly,omitempty" minimum:"0" maximum:"10000"`
	Yearly     int      `json:"yearly,omitempty" minimum:"0" maximum:"10000"`
	WithinDays int      `json:"within_days,omitempty" minimum:"0" maximum:"36500" doc:"All that are no older"`
	Tags       []string `json:"tags,omitempty" maxItems:"50" doc:"All that have one of these tags"`
}

// Bounds of policies.
const (
	maxName     = 128
	maxPolicies = 500
	maxIDs      = 10_000
	maxLabels   = 50
	maxKeep     = 10_000
	maxTags     = 50
	maxSpread   = 24 * time.Hour
	maxLate     = 30 * 24 * time.Hour
	maxLimit    = 7 * 24 * time.Hour
)

// checkName gives the name as it is kept.
func checkName(name string) (string, error) {
	name = strings.TrimSpace(name)
	if name == "" || len(name) > maxName || !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return "", fault.Invalidf("name: give 1 to %d visible characters", maxName)
	}
	return name, nil
}

func nameKey(name string) string { return strings.ToLower(name) }

// checked is the spec in its one form, or what is wrong with it.
func (s Spec) checked() (Spec, error) {
	s.Hosts = s.Hosts.sorted()
	s.Schedule.Windows = sortedWindows(s.Schedule.Windows)
	if s.Keep != nil {
		if s.Keep.nothing() {
			s.Keep = nil
		} else {
			k := *s.Keep
			k.Tags = sortedSet(k.Tags)
			s.Keep = &k
		}
	}
	return s, errors.Join(s.check()...)
}

func (s Spec) check() (bad []error) {
	add := func(err error) {
		if err != nil && len(bad) == 0 { // one at a time: people mend one at a time
			bad = append(bad, err)
		}
	}
	add(s.Hosts.check())
	if s.RepositoryID != "" && !wire.IsUUID(s.RepositoryID) {
		add(errNoRepository())
	}
	if err := s.Backup.Validate(); err != nil {
		add(fault.Invalidf("backup.%v", err))
	}
	if s.Backup.DryRun {
		add(fault.Invalidf("backup.dry_run: a policy makes real backups; leave it out"))
	}
	add(s.Schedule.check())
	if s.TimeLimitSeconds < 0 || s.TimeLimitSeconds > int64(maxLimit.Seconds()) {
		add(fault.Invalidf("time_limit_seconds: give 0 (a day) to %d", int64(maxLimit.Seconds())))
	}
	if s.Keep != nil {
		add(s.Keep.check())
	}
	return bad
}

func errNoRepository() error { return fault.Invalidf("repository_id: there is no such repository") }

func (h Selector) sorted() Selector {
	h.IDs = sortedSet(h.IDs)
	if len(h.Labels) == 0 {
		h.Labels = nil
	}
	return h
}

// sortedSet is nil for nothing, so that two that mean the same are the same.
func sortedSet(list []string) []string {
	if len(list) == 0 {
		return nil
	}
	list = slices.Clone(list)
	slices.Sort(list)
	return slices.Compact(list)
}

func (h Selector) check() error {
	if len(h.IDs) > maxIDs || len(h.Labels) > maxLabels {
		return fault.Invalidf("hosts: at most %d ids and %d labels", maxIDs, maxLabels)
	}
	for _, id := range h.IDs {
		if !wire.IsUUID(id) {
			return fault.Invalidf("hosts.ids: give the ids of hosts")
		}
	}
	for _, k := range slices.Sorted(maps.Keys(h.Labels)) {
		if err := wire.CheckName(k); err != nil {
			return fault.Invalidf("hosts.labels: a key: %v", err)
		}
		if v := h.Labels[k]; v != "" && wire.CheckName(v) != nil {
			return fault.Invalidf("hosts.labels: the value of %s: %v", k, wire.CheckName(v))
		}
	}
	return nil
}

// why says what of the selector names the host; empty: nothing does.
func (h Selector) why(id string, labels map[string]string) string {
	if h.All {
		return "all machines"
	}
	var parts []string
	if _, named := slices.BinarySearch(h.IDs, id); named {
		parts = append(parts, "by name")
	}
	if len(h.Labels) > 0 {
		all := true
		var pairs []string
		for _, k := range slices.Sorted(maps.Keys(h.Labels)) {
			v, has := labels[k]
			all = all && has && v == h.Labels[k]
			pairs = append(pairs, k+"="+h.Labels[k])
		}
		if all {
			word := "label "
			if len(pairs) > 1 {
				word = "labels "
			}
			parts = append(parts, word+strings.Join(pairs, ", "))
		}
	}
	return strings.Join(parts, "; ")
}

func (t Timing) check() error {
	switch {
	case t.SpreadSeconds < 0 || t.SpreadSeconds > int64(maxSpread.Seconds()):
		return fault.Invalidf("schedule.spread_seconds: give 0 (none) to %d", int64(maxSpread.Seconds()))
	case t.LateSeconds < 0 || t.LateSeconds > int64(maxLate.Seconds()):
		return fault.Invalidf("schedule.late_seconds: give 0 (until the next one is due) to %d", int64(maxLate.Seconds()))
	}
	if err := t.checkCron(); err != nil {
		return err
	}
	return t.checkWindows()
}

func (k Keep) nothing() bool {
	return k.Last == 0 && k.Hourly == 0 && k.Daily == 0 && k.Weekly == 0 && k.Monthly == 0 && k.Yearly == 0 && k.WithinDays == 0 && len(k.Tags) == 0
}

func (k Keep) check() error {
	for name, n := range map[string]int{"last": k.Last, "hourly": k.Hourly, "daily": k.Daily, "weekly": k.Weekly, "monthly": k.Monthly, "yearly": k.Yearly} {
		if n < 0 || n > maxKeep {
			return fault.Invalidf("keep.%s: give 0 (does not count) to %d", name, maxKeep)
		}
	}
	if k.WithinDays < 0 || k.WithinDays > 36500 {
		return fault.Invalidf("keep.within_days: give 0 (does not count) to 36500")
	}
	if len(k.Tags) > maxTags {
		return fault.Invalidf("keep.tags: at most %d", maxTags)
	}
	for _, tag := range k.Tags {
		if err := wire.CheckName(tag); err != nil {
			return fault.Invalidf("keep.tags: %v", err)
		}
	}
	return nil
}

// encode is the spec as it is stored: the same text for the same meaning.
func (s Spec) encode() (string, error) {
	raw, err := json.Marshal(s)
	return string(raw), err
}

// Same reports whether two specs say the same, whatever their form.
func (s Spec) Same(other Spec) bool {
	// What is wrong with either is not asked: the form is made all the same.
	a, _ := s.checked()
	b, _ := other.checked()
	mine, err := a.encode()
	theirs, err2 := b.encode()
	return err == nil && err2 == nil && mine == theirs
}

func decodeSpec(policyID, text string) (Spec, error) {
	var s Spec
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return s, fmt.Errorf("read policy %s: %w", policyID, err)
	}
	return s, nil
}

// timeLimit is that of its jobs.
func (s Spec) timeLimit() time.Duration {
	if s.TimeLimitSeconds > 0 {
		return time.Duration(s.TimeLimitSeconds) * time.Second
	}
	info, _ := wire.KindBackup.Info()
	return info.TimeLimit
}
