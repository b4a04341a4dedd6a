package foreign

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"restic-manager/server/fault"
	"restic-manager/server/policy"
	"restic-manager/shared/wire"
)

// Keys of resticprofile's sections that are taken over, or that say nothing that is missing here.
var (
	profileKeys = keySet("inherit", "description", "repository", "password-file", "env", "backup", "retention", "forget", "check", "prune", "limit-upload", "initialize")
	backupKeys  = keySet("source", "exclude", "exclude-caches", "exclude-larger-than", "one-file-system", "tag", "limit-upload", "schedule", "schedule-at", "schedule-permission",
		"schedule-log", "schedule-lock-mode", "schedule-lock-wait", "verbose")
	keepKeys = keySet("keep-last", "keep-hourly", "keep-daily", "keep-weekly", "keep-monthly", "keep-yearly", "keep-within", "keep-tag", "before-backup", "after-backup", "schedule", "schedule-permission")
	// whys says why a key is left out, where there is more to say than that nothing here is like it.
	whys = map[string]string{
		"run-before": "a command of the machine is not an order of the server", "run-after": "a command of the machine is not an order of the server",
		"run-after-fail": "a command of the machine is not an order of the server", "run-finally": "a command of the machine is not an order of the server",
		"exclude-file": "write its lines as excludes", "iexclude": "excludes that ignore upper and lower case are not offered: write them as excludes", "files-from": "write its lines as paths",
		"stdin": "only paths are backed up", "stdin-command": "only paths are backed up", "stdin-filename": "only paths are backed up",
		"password-command": "give the password to the server, or to the machine's agent.yaml", "repository-file": "write its line as the repository's url",
		"prune": "set the repository's maintenance to free space", "host": "the agent names its machine", "lock": "the server lets one job at a time run", "force-inactive-lock": "stale locks are removed by an unlock job",
		"check-before": "set the repository's maintenance to check", "check-after": "set the repository's maintenance to check", "copy": "restic copy is no job here",
		"priority": "the agent's own service sets its priority", "nice": "the agent's own service sets its priority", "ionice": "the agent's own service sets its priority",
		"global": "these settings are resticprofile's own", "includes": "give the included file too, alone", "mixins": "write what a mixin adds where it is used", "use": "write what a mixin adds here",
		"snapshots": "filters of a listing are not kept",
	}
)

const noLike = "there is nothing like it here"

func keySet(keys ...string) map[string]bool {
	m := map[string]bool{}
	for _, k := range keys {
		m[k] = true
	}
	return m
}

var (
	definitions = regexp.MustCompile(`(?s)\{\{-?\s*define\b.*?\{\{-?\s*end\s*-?\}\}`)
	actions     = regexp.MustCompile(`\{\{.*?\}\}`)
	hostnames   = regexp.MustCompile(`\{\{-?\s*\.Hostname\s*-?\}\}`)
	aloneOnLine = regexp.MustCompile(`(?m)^[ \t]*\{\{.*\}\}[ \t]*$`)
)

// templated stands in a text where a template's action stood.
const templated = "template-left-out"

// profiles is a resticprofile configuration.
type profiles struct {
	drafter
	all      map[string]section
	urls     map[string]string // name of a draft by its address
	schedule map[string]section
}

func readResticprofile(name, text string, o Options) (Drafts, error) {
	p := &profiles{drafter: drafter{o: o}, all: map[string]section{}, urls: map[string]string{}, schedule: map[string]section{}}
	text = hostnames.ReplaceAllString(text, "{host}")
	for _, found := range definitions.FindAllString(text, -1) {
		p.leave(short(found), "templates are not carried out: write what it stands for where it is used")
	}
	text = definitions.ReplaceAllString(text, "")
	for _, found := range actions.FindAllString(text, -1) {
		p.leave(short(found), "templates are not carried out: write what it stands for")
	}
	text = actions.ReplaceAllString(aloneOnLine.ReplaceAllString(text, ""), templated)
	root, err := parse(name, text)
	if err != nil {
		return Drafts{}, err
	}
	if err := p.split(root); err != nil {
		return Drafts{}, err
	}
	for _, name := range slices.Sorted(maps.Keys(p.all)) {
		p.unknown(name, p.all[name])
	}
	for _, name := range slices.Sorted(maps.Keys(p.all)) {
		merged, err := p.merged(name, nil)
		if err != nil {
			return Drafts{}, err
		}
		p.draft(name, merged)
	}
	if len(p.Policies) == 0 && len(p.Repositories) == 0 {
		return Drafts{}, fault.Invalidf("text: there is no profile with a repository or a backup in it; is it a configuration of resticprofile?")
	}
	return p.finish(), nil
}

// short is a text as it may be named.
func short(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > 60 {
		s = s[:57] + "..."
	}
	return strings.ToValidUTF8(s, "")
}

// split finds the profiles: below profiles in version 2, beside the rest in version 1.
func (p *profiles) split(root section) error {
	version, _ := root.text("version")
	profiles := root
	switch version {
	case "", "1":
	case "2":
		profiles = root.in("profiles")
	default:
		return fault.Invalidf("version: %.20q is not read; 1 and 2 are", version)
	}
	for _, k := range root.keys() {
		switch {
		case k == "version" || k == "profiles" && version == "2":
		case k == "groups":
			p.groups(root.in(k))
		case k == "global" || k == "includes" || k == "mixins" || version == "2":
			p.leave(k, "%s", why(k))
		}
	}
	for _, k := range profiles.keys() {
		if k == "version" || k == "groups" || k == "global" || k == "includes" || k == "mixins" {
			continue
		}
		if s := profiles.in(k); s != nil {
			p.all[k] = s
		} else {
			p.leave(k, "it is no profile")
		}
	}
	return nil
}

// groups run profiles one after another; here each profile is a policy of its own. A schedule of a group is its profiles'.
func (p *profiles) groups(groups section) {
	for _, name := range groups.keys() {
		members := groups.list(name)
		if g := groups.in(name); g != nil {
			members = g.list("profiles")
			for _, k := range g.keys() {
				if k != "profiles" && k != "description" && k != "schedules" {
					p.leave("groups."+name+"."+k, "%s", why(k))
				}
			}
			for _, command := range g.in("schedules").keys() {
				if command != "backup" {
					p.leave("groups."+name+".schedules."+command, "only a group's schedule of backups is taken over")
					continue
				}
				for _, m := range members {
					p.schedule[m] = section{"schedule": g.in("schedules")[command]}
				}
			}
		}
		p.leave("groups."+name, "its profiles are policies of their own (%s): they run at their own due times, and not one after another", strings.Join(members, ", "))
	}
}

func why(key string) string {
	if w, ok := whys[key]; ok {
		return w
	}
	return noLike
}

// unknown names what a profile itself says and nothing here takes over.
func (p *profiles) unknown(name string, s section) {
	for _, k := range s.keys() {
		if !profileKeys[k] {
			p.leave(name+"."+k, "%s", why(k))
		}
	}
	for part, known := range map[string]map[string]bool{"backup": backupKeys, "retention": keepKeys, "forget": keepKeys,
		"check": keySet("schedule", "schedule-permission"), "prune": keySet("schedule", "schedule-permission")} {
		for _, k := range s.in(part).keys() {
			if !known[k] {
				p.leave(name+"."+part+"."+k, "%s", why(k))
			}
		}
	}
}

// merged is a profile with what it inherits: its own values win, sections are merged key by key.
func (p *profiles) merged(name string, below []string) (section, error) {
	if slices.Contains(below, name) {
		return nil, fault.Invalidf("text: profile %.60q inherits from itself", name)
	}
	s, ok := p.all[name]
	if !ok {
		return nil, fault.Invalidf("text: profile %.60q inherits from %.60q, which is not there", below[len(below)-1], name)
	}
	parent, ok := s.text("inherit")
	if !ok {
		return s, nil
	}
	base, err := p.merged(parent, append(below, name))
	if err != nil {
		return nil, err
	}
	return over(base, s), nil
}

func over(base, own section) section {
	m := section(maps.Clone(base))
	for k, v := range own {
		if sub := own.in(k); sub != nil && m.in(k) != nil {
			v = map[string]any(over(m.in(k), sub))
		}
		m[k] = v
	}
	return m
}

func (p *profiles) draft(name string, s section) {
	repository := p.repository(name, s)
	backup := s.in("backup")
	if len(backup.list("source")) == 0 {
		if repository != "" && backup != nil && p.all[name].in("backup") != nil {
			p.leave(name+".backup", "it names no source")
		}
		p.maintenance(name, repository, s)
		return
	}
	spec := policy.Spec{Backup: wire.BackupSpec{Excludes: backup.list("exclude"), ExcludeCaches: backup.is("exclude-caches"), OneFileSystem: backup.is("one-file-system")}}
	for _, source := range backup.list("source") {
		switch {
		case strings.Contains(source, templated):
			p.leave(name+".backup.source", "a path with a template in it: write it out")
		case strings.ContainsAny(source, "$~*?["):
			p.leave(name+".backup.source "+short(source), "write the path out: variables, ~ and patterns are not known here")
		case !path.IsAbs(source):
			p.leave(name+".backup.source "+short(source), "write the path from / on: it is one of the configuration's folder")
		default:
			spec.Backup.Paths = append(spec.Backup.Paths, path.Clean(source))
		}
	}
	for _, list := range backup.list("tag") {
		spec.Backup.Tags = append(spec.Backup.Tags, strings.Split(list, ",")...)
	}
	spec.Backup.Excludes = slices.DeleteFunc(spec.Backup.Excludes, func(e string) bool {
		bad := strings.Contains(e, templated) || strings.Contains(e, "$")
		if bad {
			p.leave(name+".backup.exclude "+short(e), "write it out: variables and templates are not known here")
		}
		return bad
	})
	if size, ok := backup.text("exclude-larger-than"); ok {
		if spec.Backup.ExcludeLargerThan, ok = bytesOf(size); !ok {
			p.leave(name+".backup.exclude-larger-than", "%.40q is no size", size)
		}
	}
	limit := backup
	if _, ok := backup["limit-upload"]; !ok {
		limit = s
	}
	if n, ok := limit.number("limit-upload"); ok {
		spec.Backup.UploadLimitKiB = n
	}
	if len(spec.Backup.Paths) == 0 {
		p.leave(name+".backup", "none of its paths could be taken over: it is no draft")
		p.maintenance(name, repository, s)
		return
	}
	due := section(backup)
	if len(calendarsOf(backup)) == 0 && p.schedule[name] != nil {
		due = p.schedule[name]
	}
	spec.Schedule.Cron, spec.Schedule.Zone = p.due(name+".backup.schedule", due)
	spec.Keep = p.keep(name, s)
	p.Policies = append(p.Policies, Policy{Name: name, Enabled: true, Repository: repository, Spec: spec})
	p.maintenance(name, repository, s)
}

// calendarsOf are the expressions of a section's schedule: a text, a list, or a section with at.
func calendarsOf(s section) []string {
	if list := s.list("schedule"); len(list) > 0 {
		return list
	}
	return s.in("schedule").list("at")
}

func (p *profiles) due(where string, s section) (cron, zone string) {
	list := calendarsOf(s)
	if len(list) == 0 {
		return "", ""
	}
	cron, zone, err := calendars(list)
	if err != nil {
		p.leave(where, "%v", err)
		return "", ""
	}
	for _, k := range s.in("schedule").keys() {
		if k != "at" {
			p.leave(where+"."+k, "%s", why(k))
		}
	}
	if zone == "" && p.o.Zone == "" {
		p.leave("time zone", "the file's times are those of its machine; they are taken as UTC unless a zone is named")
	}
	return cron, zone
}

// keep is the rule of the retention section where that is carried out, else of a forget that is scheduled.
func (p *profiles) keep(name string, s section) *policy.Keep {
	r, where := s.in("retention"), name+".retention"
	if !r.is("after-backup") && !r.is("before-backup") {
		if r != nil {
			p.leave(where, "neither before-backup nor after-backup is set: it removes nothing there either")
		}
		if r, where = s.in("forget"), name+".forget"; len(calendarsOf(r)) == 0 {
			return nil
		}
	}
	return p.keepOf(where, r)
}

func (p *profiles) keepOf(where string, r section) *policy.Keep {
	var k policy.Keep
	for key, to := range map[string]*int{"keep-last": &k.Last, "keep-hourly": &k.Hourly, "keep-daily": &k.Daily, "keep-weekly": &k.Weekly, "keep-monthly": &k.Monthly, "keep-yearly": &k.Yearly} {
		if _, there := r[key]; !there {
			continue
		}
		n, ok := r.number(key)
		if !ok || n > 10_000 {
			p.leave(where+"."+key, "give a number up to 10000")
			continue
		}
		*to = n
	}
	if within, ok := r.text("keep-within"); ok {
		if k.WithinDays, ok = daysOf(within); !ok {
			k.WithinDays = 0
			p.leave(where+".keep-within", "%.40q is not whole days: months and years have no fixed length, and hours are not offered", within)
		}
	}
	k.Tags = r.list("keep-tag")
	if k.Last+k.Hourly+k.Daily+k.Weekly+k.Monthly+k.Yearly+k.WithinDays == 0 && len(k.Tags) == 0 {
		return nil
	}
	return &k
}

// repository gives the name of the draft of the profile's repository, and makes it when it is the first that names it.
func (p *profiles) repository(name string, s section) string {
	url, ok := s.text("repository")
	if !ok {
		return ""
	}
	where := name + ".repository"
	if strings.Contains(url, templated) || strings.Contains(url, "$") {
		p.leave(where, "write it out: variables and templates are not known here")
		return ""
	}
	if known, ok := p.urls[url]; ok {
		return known
	}
	clean, keys, err := location(url)
	if err != nil {
		p.leave(where, "%v", err)
		return ""
	}
	if len(keys) > 0 {
		p.leave(where, "the name and the password in the address are credentials here: %s", strings.Join(keys, ", "))
	}
	r := Repository{Name: p.owner(name, url), URL: clean, EnvKeys: keys}
	if file, ok := s.text("password-file"); ok {
		if path.IsAbs(file) && !strings.Contains(file, templated) && !strings.ContainsAny(file, "$~") {
			r.PasswordFile = file
		} else {
			p.leave(name+".password-file", "write its path from / on, or give the password in another way")
		}
	}
	env := s.in("env")
	for _, k := range env.keys() {
		key := strings.ToUpper(k) // resticprofile's own: YAML and TOML keys are read in lower case
		switch {
		case wire.CheckRepositoryEnv(map[string]string{key: "x"}) == nil:
			r.EnvKeys = append(r.EnvKeys, key)
			p.leave(name+".env."+k, "it may be secret: set it where the drafts say %s", key)
		case strings.HasPrefix(key, "RESTIC_PASSWORD"):
			p.leave(name+".env."+k, "it is secret: give the password to the server")
		default:
			p.leave(name+".env."+k, "it is no credential of a storage")
		}
	}
	slices.Sort(r.EnvKeys)
	r.EnvKeys = slices.Compact(r.EnvKeys)
	p.urls[url] = r.Name
	p.Repositories = append(p.Repositories, r)
	return r.Name
}

// owner is the profile that names the repository: the farthest one that this one has it from.
func (p *profiles) owner(name, url string) string {
	for {
		s := p.all[name]
		parent, ok := s.text("inherit")
		if own, has := s.text("repository"); !ok || has && own == url {
			return name
		}
		name = parent
	}
}

// maintenance takes the schedules of forget, prune and check for the repository; the first profile that names one wins.
func (p *profiles) maintenance(name, repository string, s section) {
	i := slices.IndexFunc(p.Repositories, func(r Repository) bool { return r.Name == repository })
	if i < 0 {
		return
	}
	m := &p.Repositories[i].Maintenance
	for _, part := range []struct {
		key string
		to  *string
	}{{"forget", &m.Forget}, {"prune", &m.Prune}, {"check", &m.Check}} {
		where := fmt.Sprintf("%s.%s.schedule", name, part.key)
		cron, zone := p.due(where, s.in(part.key))
		if zone = p.zoneOr(zone); cron == "" {
			continue
		}
		switch {
		case m.Zone != "" && m.Zone != zone:
			p.leave(where, "the repository's maintenance has one time zone")
		case *part.to != "" && *part.to != cron:
			p.leave(where, "the repository is looked after once for all: %s is what another profile says", *part.to)
		case *part.to == "":
			*part.to, m.Zone = cron, zone
			p.leave(repository+": maintenance", "name a runner, and switch it on")
		}
	}
}
