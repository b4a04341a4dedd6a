package foreign

import (
	"bytes"
	"reflect"
	"slices"
	"strings"
	"testing"

	"restic-manager/server/fault"
	"restic-manager/server/fleetfile"
	"restic-manager/server/policy"
	"restic-manager/server/vault"
	"restic-manager/shared/wire"
)

const yamlProfiles = `version: "1"
global:
  priority: low
base:
  repository: "rest:https://joe:canary-secret@storage.example/{{ .Hostname }}"
  password-file: /etc/restic/key
  limit-upload: 500
  env:
    aws_secret_access_key: canary-secret
    tmpdir: /tmp
  retention:
    after-backup: true
    keep-daily: 7
    keep-within: 30d
    keep-tag: [forever]
    prune: true
  check:
    schedule: "*-*-1"
groups:
  all: [documents, mail]
documents:
  inherit: base
  backup:
    source: [/home, ~/Documents, relative/path]
    exclude: ["*.tmp", "$HOME/x"]
    exclude-caches: true
    exclude-larger-than: 100M
    tag: documents
    schedule: ["*:00,30", "*:15,45"]
    schedule-permission: user
    run-before: "echo canary-command"
    exclude-file: excludes
mail:
  inherit: documents
  run-after-fail: "mail root"
  retention:
    keep-daily: 3
    keep-within: 3h
  backup:
    source: /var/mail
    schedule: "Mon *-*-1 2:00"
byhand:
  repository: /srv/backup
  backup:
    source: ["/etc", "{{ .CurrentDir }}"]
    one-file-system: true
`

func where(d Drafts) (list []string) {
	for _, l := range d.LeftOut {
		list = append(list, l.Where)
	}
	return list
}

func TestProfilesBecomePoliciesAndRepositories(t *testing.T) {
	d, err := Read("resticprofile", "profiles.yaml", yamlProfiles, Options{Zone: "Europe/Berlin"})
	if err != nil {
		t.Fatal(err)
	}
	repositories := []Repository{
		{Name: "base", URL: "rest:https://storage.example/{host}", PasswordFile: "/etc/restic/key", EnvKeys: []string{"AWS_SECRET_ACCESS_KEY", "RESTIC_REST_PASSWORD", "RESTIC_REST_USERNAME"},
			Maintenance: vault.Maintenance{Check: "0 0 1 * *", Zone: "Europe/Berlin"}},
		{Name: "byhand", URL: "/srv/backup"},
	}
	if !reflect.DeepEqual(d.Repositories, repositories) {
		t.Errorf("repositories: got\n%+v\nwant\n%+v", d.Repositories, repositories)
	}
	documents := policy.Spec{Backup: wire.BackupSpec{Paths: []string{"/home"}, Excludes: []string{"*.tmp"}, ExcludeCaches: true, ExcludeLargerThan: 100 << 20, Tags: []string{"documents"}, UploadLimitKiB: 500},
		Schedule: policy.Timing{Cron: "0,15,30,45 * * * *", Zone: "Europe/Berlin"}, Keep: &policy.Keep{Daily: 7, WithinDays: 30, Tags: []string{"forever"}}}
	mail := documents
	mail.Backup.Paths, mail.Keep, mail.Schedule.Cron = []string{"/var/mail"}, &policy.Keep{Daily: 3, Tags: []string{"forever"}}, "@daily"
	byhand := policy.Spec{Backup: wire.BackupSpec{Paths: []string{"/etc"}, OneFileSystem: true}, Schedule: policy.Timing{Cron: "@daily", Zone: "Europe/Berlin"}}
	want := []Policy{{"byhand", false, "byhand", byhand}, {"documents", true, "base", documents}, {"mail", false, "base", mail}}
	if !reflect.DeepEqual(d.Policies, want) {
		t.Errorf("policies: got\n%+v\nwant\n%+v", d.Policies, want)
	}
	left := where(d)
	for _, want := range []string{"{{ .CurrentDir }}", "global", "groups.all", "base.retention.prune", "base.env.tmpdir", "base.repository", "documents.backup.run-before", "documents.backup.exclude-file",
		"documents.backup.source ~/Documents", "documents.backup.source relative/path", "documents.backup.exclude $HOME/x", "mail.run-after-fail", "mail.backup.schedule", "mail.retention.keep-within", "byhand.backup.source", "byhand: schedule"} {
		if !slices.Contains(left, want) {
			t.Errorf("%q is not named as left out, in\n%s", want, strings.Join(left, "\n"))
		}
	}
	for _, l := range d.LeftOut {
		if strings.Contains(l.Where+l.Why, "canary") {
			t.Errorf("a secret or a command is told: %+v", l)
		}
	}
}

// TestAllFormsOfProfilesSayTheSame in YAML, TOML and JSON, of versions 1 and 2.
func TestAllFormsOfProfilesSayTheSame(t *testing.T) {
	want := Drafts{
		Repositories: []Repository{{Name: "root", URL: "/srv/backup"}},
		Policies: []Policy{{"root", true, "root", policy.Spec{Backup: wire.BackupSpec{Paths: []string{"/etc"}, Tags: []string{"a", "b"}}, Schedule: policy.Timing{Cron: "0 0 * * *", Zone: "UTC"},
			Keep: &policy.Keep{Last: 3}}}},
	}
	for name, text := range map[string]string{
		"a.yaml": "root:\n  repository: local:/srv/backup\n  backup: {source: /etc, tag: [a, b], schedule: daily}\n  retention: {before-backup: true, keep-last: 3}\n",
		"a.toml": "[root]\nrepository = \"/srv/backup\"\n[root.backup]\nsource = [\"/etc\"]\ntag = \"a,b\"\nschedule = \"daily\"\n[root.retention]\nafter-backup = true\nkeep-last = 3\n",
		"a.json": `{"version": "2", "profiles": {"root": {"repository": "/srv/backup", "backup": {"source": ["/etc"], "tag": ["a", "b"], "schedule": {"at": "daily"}}, "retention": {"after-backup": true, "keep-last": 3}}}}`,
		"a.yml":  "version: 2\nprofiles:\n  root:\n    repository: /srv/backup\n    backup: {source: /etc, tag: a, schedule: [daily]}\n    forget: {schedule: weekly, keep-last: 3}\n",
		"a":      "# comment\n[root]\nrepository = \"/srv/backup\"\n[root.backup]\nsource = \"/etc\"\ntag = [\"a\", \"b\"]\nschedule = \"daily\"\n[root.retention]\nafter-backup = true\nkeep-last = 3\n",
	} {
		d, err := Read("resticprofile", name, text, Options{Zone: "UTC"})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		d.LeftOut = nil
		if name == "a.yml" { // it says less of tags, and when to forget
			d.Policies[0].Spec.Backup.Tags = []string{"a", "b"}
			if m := d.Repositories[0].Maintenance; m.Forget != "0 0 * * 1" || m.Enabled {
				t.Errorf("maintenance: got %+v", m)
			}
			d.Repositories[0].Maintenance = vault.Maintenance{}
		}
		if !reflect.DeepEqual(d, want) {
			t.Errorf("%s: got\n%+v\nwant\n%+v", name, d, want)
		}
	}
}

func TestAGroupsScheduleIsItsProfiles(t *testing.T) {
	d, err := Read("resticprofile", "p.yaml", "version: 2\ngroups:\n  both:\n    profiles: [a, b]\n    schedules: {backup: {at: '3:00'}, check: {at: daily}}\nprofiles:\n  a: {repository: /r, backup: {source: /a}}\n  b: {repository: /r, backup: {source: /b, schedule: '4:00'}}\n", Options{Zone: "UTC"})
	if err != nil || len(d.Policies) != 2 || d.Policies[0].Spec.Schedule.Cron != "0 3 * * *" || !d.Policies[0].Enabled || d.Policies[1].Spec.Schedule.Cron != "0 4 * * *" {
		t.Errorf("got %+v, %v", d, err)
	}
	if left := where(d); !slices.Contains(left, "groups.both") || !slices.Contains(left, "groups.both.schedules.check") {
		t.Errorf("left out: got %v", left)
	}
}

const backrestConfig = `{"modno": 3, "version": 4, "instance": "web1", "auth": {"users": [{"name": "joe", "passwordBcrypt": "canary-hash"}]},
"repos": [
 {"id": "off-site", "uri": "s3:https://s3.example/bucket", "password": "canary-password", "env": ["AWS_ACCESS_KEY_ID=canary-id", "AWS_SECRET_ACCESS_KEY=canary-key", "FOO=bar"], "flags": ["--no-cache"],
  "prunePolicy": {"schedule": {"cron": "0 4 1 * *", "clock": "CLOCK_LOCAL"}, "maxUnusedPercent": 10}, "checkPolicy": {"schedule": {"cron": "0 5 1 * *"}, "readDataSubsetPercent": 5}, "autoUnlock": true, "hooks": []},
 {"id": "broken", "uri": "nowhere", "password": "canary"}],
"plans": [
 {"id": "system", "repo": "off-site", "paths": ["/etc", "C:\\data"], "excludes": ["*.tmp"], "iexcludes": ["*.BAK"], "schedule": {"cron": "30 2 * * *", "clock": "CLOCK_UTC"},
  "retention": {"policyTimeBucketed": {"hourly": 24, "daily": 7, "keepLastN": 2}}, "backup_flags": ["--one-file-system", "--tag=a,b", "--exclude-larger-than 1G", "--verbose"], "hooks": [{"actionCommand": {"command": "canary-command"}}]},
 {"id": "hourly", "repo": "off-site", "paths": ["/srv"], "schedule": {"maxFrequencyHours": 6}, "retention": {"policyKeepLastN": 5}},
 {"id": "rare", "repo": "gone", "paths": ["/srv"], "schedule": {"maxFrequencyDays": 3}, "retention": {"policyKeepAll": true}},
 {"id": "off", "repo": "off-site", "paths": ["/srv"], "schedule": {"disabled": true}},
 {"id": "windows", "repo": "off-site", "paths": ["C:\\x"]}]}`

func TestBackrestsPlansBecomePolicies(t *testing.T) {
	d, err := Read("backrest", "config.json", backrestConfig, Options{Zone: "Europe/Berlin"})
	if err != nil {
		t.Fatal(err)
	}
	ten := 10
	repositories := []Repository{{Name: "off-site", URL: "s3:https://s3.example/bucket", EnvKeys: []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"},
		Maintenance: vault.Maintenance{Zone: "Europe/Berlin", Prune: "0 4 1 * *", Check: "0 5 1 * *", CheckParts: 20, MaxUnusedPercent: &ten}}}
	if !reflect.DeepEqual(d.Repositories, repositories) {
		t.Errorf("repositories: got\n%+v\nwant\n%+v", d.Repositories, repositories)
	}
	srv := func(cron string, keep *policy.Keep) policy.Spec {
		return policy.Spec{Backup: wire.BackupSpec{Paths: []string{"/srv"}}, Schedule: policy.Timing{Cron: cron, Zone: "Europe/Berlin"}, Keep: keep}
	}
	want := []Policy{
		{"system", true, "off-site", policy.Spec{Backup: wire.BackupSpec{Paths: []string{"/etc"}, Excludes: []string{"*.tmp"}, OneFileSystem: true, Tags: []string{"a", "b"}, ExcludeLargerThan: 1 << 30},
			Schedule: policy.Timing{Cron: "30 2 * * *", Zone: "UTC"}, Keep: &policy.Keep{Hourly: 24, Daily: 7, Last: 2}}},
		{"hourly", true, "off-site", srv("0 */6 * * *", &policy.Keep{Last: 5})},
		{"rare", false, "", srv("@daily", nil)},
		{"off", false, "off-site", srv("@daily", nil)},
	}
	if !reflect.DeepEqual(d.Policies, want) {
		t.Errorf("policies: got\n%+v\nwant\n%+v", d.Policies, want)
	}
	left := where(d)
	for _, want := range []string{"instance", "auth", "repos.off-site.password", "repos.off-site.flags", "repos.off-site.env.FOO", "repos.off-site.autoUnlock", "repos.broken.uri", "plans.system.hooks", "plans.system.iexcludes",
		`plans.system.paths C:\data`, "plans.system.backup_flags --verbose", "plans.hourly.schedule.maxFrequencyHours", "plans.rare.schedule.maxFrequencyDays", "plans.rare.repo", "off: schedule", "plans.windows"} {
		if !slices.Contains(left, want) {
			t.Errorf("%q is not named as left out, in\n%s", want, strings.Join(left, "\n"))
		}
	}
	if slices.Contains(left, "repos.off-site.hooks") {
		t.Error("hooks that are none are named")
	}
	for _, l := range d.LeftOut {
		if strings.Contains(l.Where+l.Why, "canary") {
			t.Errorf("a secret or a command is told: %+v", l)
		}
	}
}

// TestDraftsAreADocumentThatCanBeRead: what import prints, apply reads.
func TestDraftsAreADocumentThatCanBeRead(t *testing.T) {
	for kind, text := range map[string]string{"resticprofile": yamlProfiles, "backrest": backrestConfig} {
		o := Options{Zone: "UTC", Hosts: []string{"web1"}}
		d, err := Read(kind, "", text, o)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := d.File(o).Write(&b); err != nil {
			t.Fatal(err)
		}
		f, err := fleetfile.Read("f", bytes.NewReader(b.Bytes()))
		if err != nil || len(f.Policies) != len(d.Policies) || len(f.Repositories) != len(d.Repositories) || f.Policies[0].HostNames[0] != "web1" {
			t.Errorf("%s: got %+v, %v of\n%s", kind, f, err, &b)
		}
		if strings.Contains(b.String(), "canary") {
			t.Errorf("%s: a secret stands in\n%s", kind, &b)
		}
	}
}

func TestTextsThatAreRefused(t *testing.T) {
	for name, c := range map[string]struct{ kind, file, text, says string }{
		"an unknown kind":     {"borg", "x", "a: b", "give resticprofile or backrest"},
		"nothing":             {"resticprofile", "a.yaml", "", "cannot be read"},
		"no YAML":             {"resticprofile", "a.yaml", "a: [", "cannot be read"},
		"no TOML":             {"resticprofile", "a.toml", "a =", "cannot be read"},
		"no JSON":             {"backrest", "config.json", "{", "cannot be read"},
		"HCL":                 {"resticprofile", "a.hcl", "a {}", "HCL is not read"},
		"another version":     {"resticprofile", "a.yaml", "version: 3\nprofiles: {}", "1 and 2 are"},
		"something else":      {"resticprofile", "a.yaml", "services: {db: {image: x}}", "no profile with a repository"},
		"something else too":  {"backrest", "config.json", `{"a": 1}`, "no repos and no plans"},
		"inherits itself":     {"resticprofile", "a.yaml", "a: {inherit: b}\nb: {inherit: a}", "inherits from itself"},
		"inherits nothing":    {"resticprofile", "a.yaml", "a: {inherit: b}", "which is not there"},
		"a list":              {"backrest", "config.json", "[]", "cannot be read"},
		"more than it may be": {"backrest", "config.json", strings.Repeat(" ", maxText+1), "larger than"},
	} {
		_, err := Read(c.kind, c.file, c.text, Options{})
		if name == "a list" { // and a zone that is none
			_, zone := Read(c.kind, c.file, backrestConfig, Options{Zone: "Nowhere"})
			if f := fault.As(zone); f == nil || !strings.Contains(f.Error(), "not a time zone") {
				t.Errorf("a zone that is none: got %v", zone)
			}
		}
		if f := fault.As(err); f == nil || f.Kind != fault.Invalid || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v, want an invalid fault with %q", name, err, c.says)
		}
	}
}

// FuzzRead looks for a panic, and for drafts that cannot be written.
func FuzzRead(f *testing.F) {
	f.Add("resticprofile", "a.yaml", yamlProfiles)
	f.Add("backrest", "config.json", backrestConfig)
	f.Fuzz(func(t *testing.T, kind, name, text string) {
		d, err := Read(kind, name, text, Options{})
		if err != nil {
			return
		}
		if err := d.File(Options{}).Write(new(bytes.Buffer)); err != nil {
			t.Fatal(err)
		}
	})
}
