package policy

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// state is what a version holds of a policy.
type state struct {
	name    string
	enabled bool
	spec    Spec
}

// field is one of a policy's for people.
type field struct {
	name  string
	value func(s state) string
}

// fields are all that a version may change, in the order in which they are shown.
var fields = []field{
	{"name", func(s state) string { return s.name }},
	{"enabled", func(s state) string { return yesNo(s.enabled) }},
	{"hosts.all", func(s state) string { return ifSet(s.spec.Hosts.All) }},
	{"hosts.ids", func(s state) string { return strings.Join(s.spec.Hosts.IDs, "\n") }},
	{"hosts.labels", func(s state) string { return pairs(s.spec.Hosts.Labels) }},
	{"repository_id", func(s state) string { return s.spec.RepositoryID }},
	{"backup.paths", func(s state) string { return strings.Join(s.spec.Backup.Paths, "\n") }},
	{"backup.excludes", func(s state) string { return strings.Join(s.spec.Backup.Excludes, "\n") }},
	{"backup.exclude_caches", func(s state) string { return ifSet(s.spec.Backup.ExcludeCaches) }},
	{"backup.exclude_larger_than", func(s state) string { return number(s.spec.Backup.ExcludeLargerThan) }},
	{"backup.one_file_system", func(s state) string { return ifSet(s.spec.Backup.OneFileSystem) }},
	{"backup.tags", func(s state) string { return strings.Join(s.spec.Backup.Tags, "\n") }},
	{"backup.upload_limit_kib", func(s state) string { return number(int64(s.spec.Backup.UploadLimitKiB)) }},
	{"backup.hooks_before", func(s state) string { return strings.Join(s.spec.Backup.HooksBefore, "\n") }},
	{"backup.hooks_after", func(s state) string { return strings.Join(s.spec.Backup.HooksAfter, "\n") }},
	{"backup.hook_failure", func(s state) string { return s.spec.Backup.HookFailure }},
	{"backup.hook_time_limit_seconds", func(s state) string { return number(s.spec.Backup.HookTimeLimitSeconds) }},
	{"backup.stdin_hook", func(s state) string { return s.spec.Backup.StdinHook }},
	{"backup.stdin_name", func(s state) string { return s.spec.Backup.StdinName }},
	{"backup.download_limit_kib", func(s state) string { return number(int64(s.spec.Backup.DownloadLimitKiB)) }},
	{"backup.cpu_nice", func(s state) string { return number(int64(s.spec.Backup.CPUNice)) }},
	{"backup.io_class", func(s state) string { return string(s.spec.Backup.IOClass) }},
	{"schedule.cron", func(s state) string { return s.spec.Schedule.Cron }},
	{"schedule.zone", func(s state) string { return s.spec.Schedule.Zone }},
	{"schedule.spread_seconds", func(s state) string { return number(s.spec.Schedule.SpreadSeconds) }},
	{"schedule.late_seconds", func(s state) string { return number(s.spec.Schedule.LateSeconds) }},
	{"schedule.no_catch_up", func(s state) string { return ifSet(s.spec.Schedule.NoCatchUp) }},
	{"schedule.windows", func(s state) string { return windowLines(s.spec.Schedule.Windows) }},
	{"schedule.skip_on_battery", func(s state) string { return ifSet(s.spec.Schedule.SkipOnBattery) }},
	{"schedule.skip_on_metered", func(s state) string { return ifSet(s.spec.Schedule.SkipOnMetered) }},
	{"time_limit_seconds", func(s state) string { return number(s.spec.TimeLimitSeconds) }},
	{"keep.last", keeps(func(k Keep) int { return k.Last })},
	{"keep.hourly", keeps(func(k Keep) int { return k.Hourly })},
	{"keep.daily", keeps(func(k Keep) int { return k.Daily })},
	{"keep.weekly", keeps(func(k Keep) int { return k.Weekly })},
	{"keep.monthly", keeps(func(k Keep) int { return k.Monthly })},
	{"keep.yearly", keeps(func(k Keep) int { return k.Yearly })},
	{"keep.within_days", keeps(func(k Keep) int { return k.WithinDays })},
	{"keep.tags", func(s state) string {
		if s.spec.Keep == nil {
			return ""
		}
		return strings.Join(s.spec.Keep.Tags, "\n")
	}},
}

// differences are the fields in which two states differ.
func differences(before, after state) []Change {
	changes := []Change{}
	for _, f := range fields {
		if b, a := f.value(before), f.value(after); b != a {
			changes = append(changes, Change{Field: f.name, Before: b, After: a})
		}
	}
	return changes
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func ifSet(b bool) string {
	if b {
		return "yes"
	}
	return ""
}

func number(n int64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

func keeps(of func(Keep) int) func(state) string {
	return func(s state) string {
		if s.spec.Keep == nil {
			return ""
		}
		return number(int64(of(*s.spec.Keep)))
	}
}

func pairs(m map[string]string) string {
	var list []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		list = append(list, fmt.Sprintf("%s=%s", k, m[k]))
	}
	return strings.Join(list, "\n")
}
