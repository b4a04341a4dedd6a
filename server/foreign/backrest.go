package foreign

import (
	"fmt"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"

	"restic-manager/schedule"
	"restic-manager/server/fault"
	"restic-manager/server/policy"
	"restic-manager/shared/wire"
)

// Keys of Backrest's configuration that are taken over, or that say nothing that is missing here.
var (
	repoKeys = keySet("id", "uri", "password", "env", "prunePolicy", "checkPolicy", "guid", "autoInitialize")
	planKeys = keySet("id", "repo", "disabled", "paths", "excludes", "cron", "schedule", "retention", "backupFlags", "backup_flags")
	// backrestWhys are why a key is left out.
	backrestWhys = map[string]string{
		"hooks": "a command or a message of Backrest is not an order of the server", "flags": "restic's flags are not set by hand here", "commandPrefix": "the agent's own service sets its priority",
		"autoUnlock": "stale locks are removed by an unlock job", "iexcludes": "excludes that ignore upper and lower case are not offered: write them as excludes",
		"auth": "people are made here by an administrator", "instance": "the agent names its machine", "multihost": "machines are enrolled here", "sync": "machines are enrolled here",
		"skipIfUnchanged": noLike, "shared": noLike,
	}
)

func backrestWhy(key string) string {
	if w, ok := backrestWhys[key]; ok {
		return w
	}
	return noLike
}

func readBackrest(text string, o Options) (Drafts, error) {
	root, err := parse("config.json", text)
	if err != nil {
		return Drafts{}, err
	}
	d := &drafter{o: o}
	c := section(root)
	repos, _ := c["repos"].([]any)
	plans, _ := c["plans"].([]any)
	if len(repos) == 0 && len(plans) == 0 {
		return Drafts{}, fault.Invalidf("text: there are no repos and no plans in it; is it the config.json of Backrest?")
	}
	for _, k := range c.keys() {
		if k != "repos" && k != "plans" && k != "modno" && k != "version" {
			d.leave(k, "%s", backrestWhy(k))
		}
	}
	for i, v := range repos {
		m, _ := v.(map[string]any)
		d.repo(fmt.Sprintf("repos[%d]", i), m)
	}
	for i, v := range plans {
		m, _ := v.(map[string]any)
		d.backrestPlan(fmt.Sprintf("plans[%d]", i), m)
	}
	return d.finish(), nil
}

func (d *drafter) repo(at string, s section) {
	id, ok := s.text("id")
	if !ok || id == "" {
		d.leave(at, "it has no id")
		return
	}
	where := "repos." + id
	for _, k := range s.keys() {
		if !repoKeys[k] && !empty(s[k]) {
			d.leave(where+"."+k, "%s", backrestWhy(k))
		}
	}
	url, _ := s.text("uri")
	clean, keys, err := location(url)
	if err != nil {
		d.leave(where+".uri", "%v", err)
		return
	}
	if len(keys) > 0 {
		d.leave(where+".uri", "the name and the password in the address are credentials here: %s", strings.Join(keys, ", "))
	}
	r := Repository{Name: id, URL: clean, EnvKeys: keys}
	if _, ok := s.text("password"); ok {
		d.leave(where+".password", "it is secret: set it where the drafts say")
	}
	for _, e := range s.list("env") {
		k, value, _ := strings.Cut(e, "=")
		switch {
		case k == "RESTIC_PASSWORD_FILE" && path.IsAbs(value) && !strings.Contains(value, "$"):
			r.PasswordFile = value
		case wire.CheckRepositoryEnv(map[string]string{k: "x"}) == nil:
			r.EnvKeys = append(r.EnvKeys, k)
			d.leave(where+".env."+k, "it may be secret: set it where the drafts say %s", k)
		case strings.HasPrefix(k, "RESTIC_PASSWORD"):
			d.leave(where+".env."+k, "it is secret: give the password to the server")
		default:
			d.leave(where+".env."+short(k), "it is no credential of a storage")
		}
	}
	slices.Sort(r.EnvKeys)
	r.EnvKeys = slices.Compact(r.EnvKeys)
	m := &r.Maintenance
	prune, check := s.in("prunePolicy"), s.in("checkPolicy")
	var zones [2]string
	m.Prune, zones[0] = d.backrestDue(where+".prunePolicy.schedule", prune.in("schedule"))
	m.Check, zones[1] = d.backrestDue(where+".checkPolicy.schedule", check.in("schedule"))
	switch {
	case m.Prune != "" && m.Check != "" && zones[0] != zones[1]:
		m.Check = ""
		d.leave(where+".checkPolicy.schedule", "the repository's maintenance has one time zone")
		fallthrough
	case m.Prune != "":
		m.Zone = zones[0]
	case m.Check != "":
		m.Zone = zones[1]
	}
	if n, ok := prune.number("maxUnusedPercent"); ok && n <= 100 && m.Prune != "" {
		m.MaxUnusedPercent = &n
	} else if _, there := prune["maxUnusedPercent"]; there && m.Prune != "" {
		d.leave(where+".prunePolicy.maxUnusedPercent", "give a whole number up to 100")
	}
	if _, there := prune["maxUnusedBytes"]; there && !empty(prune["maxUnusedBytes"]) {
		d.leave(where+".prunePolicy.maxUnusedBytes", "give a part in percent")
	}
	if m.Check != "" {
		m.CheckParts = d.parts(where+".checkPolicy", check)
	}
	if m.Prune != "" || m.Check != "" {
		d.leave(id+": maintenance", "name a runner, and switch it on; when to forget is left to you: here it is the repository's, not each backup's")
	}
	d.Repositories = append(d.Repositories, r)
}

// parts is in how many parts the data is read, of the percentage that one check reads.
func (d *drafter) parts(where string, check section) int64 {
	t, ok := check.text("readDataSubsetPercent")
	percent, err := strconv.ParseFloat(t, 64)
	switch {
	case !ok || percent == 0:
		d.leave(where+".structureOnly", "a check here also reads a part of the data each time: a tenth, unless check_parts says otherwise")
		return 0
	case err == nil && percent > 0 && percent <= 100:
		if n := 100 / percent; n == math.Trunc(n) && n <= 256 {
			return int64(n)
		}
	}
	d.leave(where+".readDataSubsetPercent", "%.20s percent is no whole part: give check_parts, in how many parts the data is read", t)
	return 0
}

func empty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case string:
		return v == ""
	case bool:
		return !v
	case []any:
		return len(v) == 0
	case map[string]any:
		return len(v) == 0
	}
	t, _ := text(v)
	return t == "0"
}

func (d *drafter) backrestPlan(at string, s section) {
	id, ok := s.text("id")
	if !ok || id == "" {
		d.leave(at, "it has no id")
		return
	}
	where := "plans." + id
	for _, k := range s.keys() {
		if !planKeys[k] && !empty(s[k]) {
			d.leave(where+"."+k, "%s", backrestWhy(k))
		}
	}
	p := Policy{Name: id, Enabled: !s.is("disabled"), Spec: policy.Spec{Backup: wire.BackupSpec{Excludes: s.list("excludes")}}}
	repo, _ := s.text("repo")
	if slices.ContainsFunc(d.Repositories, func(r Repository) bool { return r.Name == repo }) {
		p.Repository = repo
	} else {
		d.leave(where+".repo", "there is no draft of the repository %.60q", repo)
	}
	for _, one := range s.list("paths") {
		if !path.IsAbs(one) || strings.ContainsAny(one, "$~*?[") {
			d.leave(where+".paths "+short(one), "only absolute paths of Unix without patterns are backed up")
			continue
		}
		p.Spec.Backup.Paths = append(p.Spec.Backup.Paths, path.Clean(one))
	}
	if len(p.Spec.Backup.Paths) == 0 {
		d.leave(where, "none of its paths could be taken over: it is no draft")
		return
	}
	d.flags(where, append(s.list("backupFlags"), s.list("backup_flags")...), &p.Spec.Backup)
	due := s.in("schedule")
	if due == nil && s["cron"] != nil {
		due = section{"cron": s["cron"]}
	}
	p.Spec.Schedule.Cron, p.Spec.Schedule.Zone = d.backrestDue(where+".schedule", due)
	p.Spec.Keep = d.backrestKeep(where+".retention", s.in("retention"))
	d.Policies = append(d.Policies, p)
}

// flags takes the flags of restic over that a policy has fields for.
func (d *drafter) flags(where string, flags []string, b *wire.BackupSpec) {
	for _, all := range flags {
		words := strings.Fields(all)
		for len(words) > 0 {
			name, value, joined := strings.Cut(words[0], "=")
			words = words[1:]
			next := func() string {
				if !joined && len(words) > 0 {
					value, words = words[0], words[1:]
				}
				return strings.Trim(value, `"'`)
			}
			switch name {
			case "--exclude-caches":
				b.ExcludeCaches = true
			case "--one-file-system", "-x":
				b.OneFileSystem = true
			case "--tag":
				b.Tags = append(b.Tags, strings.Split(next(), ",")...)
			case "--exclude", "-e":
				b.Excludes = append(b.Excludes, next())
			case "--exclude-larger-than":
				n, ok := bytesOf(next())
				if b.ExcludeLargerThan = n; !ok {
					d.leave(where+".backup_flags "+name, "%.40q is no size", value)
				}
			case "--limit-upload":
				n, err := strconv.Atoi(next())
				if b.UploadLimitKiB = n; err != nil || n < 0 {
					b.UploadLimitKiB = 0
					d.leave(where+".backup_flags "+name, "%.40q is no number", value)
				}
			default:
				d.leave(where+".backup_flags "+short(all), "%s", noLike)
				words = nil
			}
		}
	}
}

// backrestDue gives the cron expression of a schedule and its zone; empty where there is none, or none that is exact.
func (d *drafter) backrestDue(where string, s section) (cron, zone string) {
	if s == nil || s.is("disabled") {
		return "", ""
	}
	zone = d.zone()
	switch clock, _ := s.text("clock"); clock {
	case "CLOCK_UTC":
		zone = "UTC"
	case "CLOCK_LAST_RUN_TIME":
		d.leave(where+".clock", "due times here are those of the clock, not of the last run")
	default:
		if d.o.Zone == "" {
			d.leave("time zone", "the file's times are those of its machine; they are taken as UTC unless a zone is named")
		}
	}
	if text, ok := s.text("cron"); ok {
		if _, err := schedule.Parse(text, zone); err != nil {
			d.leave(where+".cron", "%v", err)
			return "", ""
		}
		return text, zone
	}
	if n, ok := s.number("maxFrequencyHours"); ok && n > 0 {
		if 24%n != 0 {
			d.leave(where+".maxFrequencyHours", "every %d hours is at other times each day, which cron cannot say", n)
			return "", ""
		}
		d.leave(where+".maxFrequencyHours", "the times of day are chosen here: the first is midnight")
		switch n {
		case 1:
			return "0 * * * *", zone
		case 24:
			return "0 0 * * *", zone
		}
		return fmt.Sprintf("0 */%d * * *", n), zone
	}
	if n, ok := s.number("maxFrequencyDays"); ok && n > 0 {
		if n != 1 {
			d.leave(where+".maxFrequencyDays", "every %d days is on other days each month, which cron cannot say", n)
			return "", ""
		}
		d.leave(where+".maxFrequencyDays", "the time of day is chosen here: midnight")
		return "0 0 * * *", zone
	}
	d.leave(where, "it names no due time")
	return "", ""
}

func (d *drafter) backrestKeep(where string, r section) *policy.Keep {
	if r == nil || r.is("policyKeepAll") {
		return nil
	}
	var k policy.Keep
	take := func(s section, at string, fields map[string]*int) {
		for key, to := range fields {
			if empty(s[key]) {
				continue
			}
			n, ok := s.number(key)
			if !ok || n > 10_000 {
				d.leave(at+"."+key, "give a number up to 10000")
				continue
			}
			*to = n
		}
	}
	take(r, where, map[string]*int{"policyKeepLastN": &k.Last, "keepLastN": &k.Last, "keepHourly": &k.Hourly, "keepDaily": &k.Daily, "keepWeekly": &k.Weekly, "keepMonthly": &k.Monthly, "keepYearly": &k.Yearly})
	take(r.in("policyTimeBucketed"), where+".policyTimeBucketed", map[string]*int{"keepLastN": &k.Last, "hourly": &k.Hourly, "daily": &k.Daily, "weekly": &k.Weekly, "monthly": &k.Monthly, "yearly": &k.Yearly})
	if within, ok := r.text("keepWithinDuration"); ok && within != "" {
		if k.WithinDays, ok = daysOf(within); !ok {
			k.WithinDays = 0
			d.leave(where+".keepWithinDuration", "%.40q is not whole days", within)
		}
	}
	if k.Last+k.Hourly+k.Daily+k.Weekly+k.Monthly+k.Yearly+k.WithinDays == 0 {
		return nil
	}
	return &k
}
