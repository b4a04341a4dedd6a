package guard

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"restic-manager/shared/wire"
)

func TestDefaultsHoldWithoutAFile(t *testing.T) {
	h := newHost(t)
	g := Open(h.options)
	for _, s := range []wire.Spec{backupOf("/"), backupOf("/etc", "/home", h.path("data")), &wire.SnapshotsSpec{}, &wire.CheckSpec{}, &wire.InitSpec{}, &wire.UnlockSpec{},
		&wire.RestoreSpec{SnapshotID: snapshotID}, &wire.RestoreSpec{SnapshotID: snapshotID, Target: "yesterday"}} {
		allowed(t, g, s, facts())
	}
	refused(t, g, &wire.ForgetSpec{SnapshotIDs: []string{snapshotID}}, facts(), wire.CodeGuard, "maintenance")
	refused(t, g, &wire.PruneSpec{}, facts(), wire.CodeGuard, "maintenance")
	for _, p := range []string{"/proc", "/proc/1", "/sys", "/sys/kernel", "/dev", "/dev/sda", h.path("state"), h.path("state/jobs"), h.path("etc/agent.yaml")} {
		refused(t, g, backupOf(p), facts(), wire.CodeGuard, "backup.deny")
		refused(t, g, backupOf(h.path("data"), p), facts(), wire.CodeGuard, "backup.deny")
	}
	for _, p := range []string{"/process", "/devices", "/sys2", h.path("state2"), h.path("etc/agent.yaml.old")} {
		allowed(t, g, backupOf(p), facts())
	}
	if got := g.RestoreRoot(); got != h.path("state/restore") {
		t.Errorf("restore root: got %s", got)
	}
	if r := g.Report(); r.SHA256 != "" || r.Broken != "" || !strings.Contains(r.Summary, "defaults") ||
		!slices.Equal(r.Kinds, []wire.Kind{wire.KindBackup, wire.KindRestore, wire.KindCheck, wire.KindInit, wire.KindSnapshots, wire.KindUnlock, wire.KindEstimate}) {
		t.Errorf("report: got %+v", r)
	}
}

func TestKindsAllowOnlyWhatIsNamed(t *testing.T) {
	g := newHost(t).guard("version: 1\nkinds: [backup]\n")
	allowed(t, g, backupOf("/srv"), facts())
	for _, s := range []wire.Spec{&wire.SnapshotsSpec{}, &wire.CheckSpec{}, &wire.InitSpec{}, &wire.UnlockSpec{}} {
		refused(t, g, s, facts(), wire.CodeGuard, "kinds")
	}
	refused(t, g, &wire.RestoreSpec{SnapshotID: snapshotID}, facts(), wire.CodeGuard, "restore.mode")
	refused(t, g, nil, facts(), wire.CodeInvalidSpec, "kinds")
	none := newHost(t).guard("version: 1\nkinds: []\n")
	refused(t, none, backupOf("/srv"), facts(), wire.CodeGuard, "kinds")
	if r := none.Report(); len(r.Kinds) != 0 || r.Kinds == nil || r.Broken != "" || r.Summary != "allows nothing" {
		t.Errorf("report of no kinds: got %+v", r)
	}
}

func estimateOf(paths ...string) wire.Spec { return &wire.EstimateSpec{Paths: paths} }

func TestAnEstimateIsAllowedWhereTheBackupIs(t *testing.T) {
	h := newHost(t)
	g := h.guard("version: 1\nkinds: [backup]\nbackup: {allow: [/srv], deny: [/srv/private]}\nrepositories: [{schemes: [rest]}]\n")
	nowhere := facts()
	nowhere.Location = ""
	allowed(t, g, estimateOf("/srv"), nowhere)
	for _, p := range []string{"/srv/private", "/srv/private/x"} {
		refused(t, g, estimateOf("/srv", p), nowhere, wire.CodeGuard, "backup.deny")
	}
	refused(t, g, estimateOf("/etc"), nowhere, wire.CodeGuard, "backup.allow")
	refused(t, g, &wire.EstimateSpec{Paths: []string{"/srv"}, Excludes: []string{"["}}, nowhere, wire.CodeInvalidSpec, "options")
	refused(t, Open(newHost(t).options), estimateOf("/proc"), nowhere, wire.CodeGuard, "backup.deny")
	without := newHost(t).guard("version: 1\nkinds: [snapshots]\n")
	refused(t, without, estimateOf("/srv"), nowhere, wire.CodeGuard, "kinds")
	if r := g.Report(); !slices.Equal(r.Kinds, []wire.Kind{wire.KindBackup, wire.KindEstimate}) || strings.Contains(r.Summary, "estimate") {
		t.Errorf("report: got %+v, want the estimate among the kinds and not in the words", r)
	}
	alone := newHost(t).guard("version: 1\nkinds: [estimate]\n")
	allowed(t, alone, estimateOf("/srv"), nowhere)
	refused(t, alone, backupOf("/srv"), facts(), wire.CodeGuard, "kinds")
}

func TestMaintenanceSwitchesForgetPruneAndUnlock(t *testing.T) {
	forget, prune := &wire.ForgetSpec{SnapshotIDs: []string{snapshotID}}, &wire.PruneSpec{}
	both := newHost(t).guard("version: 1\nmaintenance: {forget: true, prune: true}\n")
	allowed(t, both, forget, facts())
	allowed(t, both, prune, facts())
	allowed(t, both, backupOf("/srv"), facts())
	one := newHost(t).guard("version: 1\nmaintenance: {forget: true, unlock: disabled}\n")
	allowed(t, one, forget, facts())
	refused(t, one, prune, facts(), wire.CodeGuard, "maintenance")
	refused(t, one, &wire.UnlockSpec{}, facts(), wire.CodeGuard, "kinds")
	named := newHost(t).guard("version: 1\nkinds: [forget, prune]\nmaintenance: {prune: false, unlock: own-dead-locks-only}\n")
	allowed(t, named, forget, facts())
	allowed(t, named, &wire.UnlockSpec{}, facts())
	refused(t, named, prune, facts(), wire.CodeGuard, "maintenance")
}

func TestPathsMatchByComponents(t *testing.T) {
	h := newHost(t)
	g := h.guard("version: 1\nbackup: {allow: [/srv/www, DIR/data], deny: [/srv/www/cache, DIR/data/mail]}\n")
	for _, p := range []string{"/srv/www", "/srv/www/site", h.path("data"), h.path("data/other"), h.path("data/mail2"), "/srv/www/cache.old"} {
		allowed(t, g, backupOf(p), facts())
	}
	for _, p := range []string{"/", "/srv", "/srv/www2", "/srv/ww", "/srv/www-evil", "/home", h.dir} {
		refused(t, g, backupOf(p), facts(), wire.CodeGuard, "backup.allow")
		refused(t, g, backupOf("/srv/www", p), facts(), wire.CodeGuard, "backup.allow")
	}
	for _, p := range []string{"/srv/www/cache", "/srv/www/cache/x", h.path("data/mail"), h.path("data/mail/x"), "/proc/self"} {
		refused(t, g, backupOf(p), facts(), wire.CodeGuard, "backup.deny")
	}
	for _, p := range []string{"srv/www", "/srv/www/../../etc", "/srv/www/", "/srv//www", "", "--password-command=x"} {
		refused(t, g, backupOf(p), facts(), wire.CodeGuard, "backup.allow")
	}
	for _, p := range []string{"/srv/www/cache", h.path("data/mail"), h.path("state"), h.path("etc/agent.yaml"), "/proc", "/sys", "/dev"} {
		if !slices.Contains(g.Denied(), p) {
			t.Errorf("Denied lacks %s: %v", p, g.Denied())
		}
	}
	if r := g.Report(); !strings.Contains(r.Summary, "/srv/www") {
		t.Errorf("summary: got %q", r.Summary)
	}
	nothing := newHost(t).guard("version: 1\nbackup: {allow: []}\n")
	refused(t, nothing, backupOf("/srv"), facts(), wire.CodeGuard, "backup.allow")
}

func TestLinksAreJudgedByWhereTheyLead(t *testing.T) {
	h := newHost(t)
	h.link("data/to-state", h.path("state"))
	h.link("data/to-root", "/")
	h.link("data/to-host", h.dir)
	h.link("data/to-private", h.path("private"))
	h.link("data/to-mail", h.path("data/mail"))
	h.link("data/dangling", h.path("nowhere"))
	h.link("data/loop", h.path("data/loop"))
	h.link("real-state", h.path("state/inner"))
	h.mkdir("state/inner")
	g := h.guard("version: 1\nbackup: {allow: [DIR/data], deny: [DIR/real-state]}\n")
	allowed(t, g, backupOf(h.path("data/to-mail")), facts())
	allowed(t, g, backupOf(h.path("data/to-mail/not/there/yet")), facts())
	for _, p := range []string{"data/to-state", "data/to-state/x", "data/to-state/x/not/there", "data/to-root", "data/to-root/proc/self", "data/to-host", "data/to-host/state", "data/dangling", "data/dangling/x", "data/loop"} {
		refused(t, g, backupOf(h.path(p)), facts(), wire.CodeGuard, "backup.deny")
	}
	refused(t, g, backupOf(h.path("data/to-private")), facts(), wire.CodeGuard, "backup.follow_symlinked_roots")
	if !slices.Contains(g.Denied(), h.path("state/inner")) || !slices.Contains(g.Denied(), h.path("real-state")) {
		t.Errorf("Denied lacks a form of the link: %v", g.Denied())
	}
	follow := h.guard("version: 1\nbackup: {allow: [DIR/data], follow_symlinked_roots: true}\n")
	allowed(t, follow, backupOf(h.path("data/to-private")), facts())
	refused(t, follow, backupOf(h.path("data/to-state")), facts(), wire.CodeGuard, "backup.deny")
	refused(t, follow, backupOf(h.path("data/to-root")), facts(), wire.CodeGuard, "backup.deny")
}

func TestAProtectedFolderThatIsALinkIsDeniedByBothNames(t *testing.T) {
	h := newHost(t)
	h.mkdir("big/agent")
	h.link("var", h.path("big"))
	h.options.Protected = []string{h.path("var/agent")}
	g := Open(h.options)
	refused(t, g, backupOf(h.path("big/agent")), facts(), wire.CodeGuard, "backup.deny")
	refused(t, g, backupOf(h.path("var/agent/x")), facts(), wire.CodeGuard, "backup.deny")
	for _, p := range []string{"big/agent", "var/agent"} {
		if !slices.Contains(g.Denied(), h.path(p)) {
			t.Errorf("Denied lacks %s: %v", p, g.Denied())
		}
	}
}

func TestRepositoriesMatchWholeParts(t *testing.T) {
	g := newHost(t).guard(`version: 1
repositories:
  - {schemes: [rest], hosts: ["backup.example.com:8000"], path_prefix: /host17}
  - {schemes: [sftp], hosts: [store.example.com]}
  - {schemes: [s3], path_prefix: bucket/host17}
  - {schemes: [b2, gs], path_prefix: my-bucket}
  - {schemes: [local], path_prefix: /mnt/backup}
`)
	for _, l := range []string{"rest:https://backup.example.com:8000/host17", "rest:https://BACKUP.example.com:8000/host17/sub", "rest:http://backup.example.com:8000/host17",
		"sftp:u@store.example.com:/x", "sftp:store.example.com:x", "sftp://u@store.example.com:2222//x", "s3:s3.amazonaws.com/bucket/host17", "s3:https://minio:9000/bucket/host17/a",
		"b2:my-bucket:", "gs:my-bucket:/x", "/mnt/backup", "/mnt/backup/x"} {
		allowed(t, g, &wire.SnapshotsSpec{}, at(wire.RepositoryLocal, l))
		allowed(t, g, &wire.SnapshotsSpec{}, at(wire.RepositoryServer, l))
		allowed(t, g, &wire.SnapshotsSpec{}, at(wire.RepositoryTarget, l))
	}
	for _, l := range []string{"", "nonsense", "rclone::x:y", "rest:https://backup.example.com/host17", "rest:https://backup.example.com:8001/host17", "rest:https://backup.example.com:8000/host170",
		"rest:https://backup.example.com:8000/", "rest:https://backup.example.com:8000/host17/../host18", "rest:https://backup.example.com:8000/x/host17", "rest:https://evil.example.com:8000/host17",
		"sftp:u@evil.example.com:/x", "sftp:store.example.com@evil:/x", "s3:s3.amazonaws.com/bucket2/host17", "s3:s3.amazonaws.com/bucket", "b2:my-bucket2:", "azure:my-bucket:", "/mnt/backup2", "/mnt"} {
		refused(t, g, &wire.SnapshotsSpec{}, at(wire.RepositoryLocal, l), wire.CodeGuard, "repositories")
		refused(t, g, &wire.SnapshotsSpec{}, at(wire.RepositoryTarget, l), wire.CodeGuard, "repositories")
	}
	pending := Facts{Source: wire.RepositoryServer, LocationPending: true}
	allowed(t, g, &wire.SnapshotsSpec{}, pending)
	pending.Location = "rest:https://evil.example.com/x"
	refused(t, g, &wire.SnapshotsSpec{}, pending, wire.CodeGuard, "repositories")
	refused(t, Open(newHost(t).options), &wire.SnapshotsSpec{}, at(wire.RepositoryServer, ""), wire.CodeGuard, "repositories")
}

func TestHostsOfRulesMatchWithTheirPort(t *testing.T) {
	for _, tc := range []struct {
		rule, host string
		want       bool
	}{
		{"a.example", "a.example", true}, {"a.example", "a.example:8000", true}, {"a.example:8000", "a.example", false}, {"a.example:8000", "a.example:8000", true},
		{"a.example", "b.a.example", false}, {"a.example", "", false}, {"[::1]", "[::1]:80", true}, {"[::1]", "[::1]", true}, {"[::2]", "[::1]:80", false}, {"a.example", "a.example.evil", false},
	} {
		if got := hostFits(tc.rule, tc.host); got != tc.want {
			t.Errorf("%q for %q: got %t, want %t", tc.rule, tc.host, got, tc.want)
		}
	}
}

// TestTheServerMayNotUseSystemFolders: a repository is a folder that restic writes into.
func TestTheServerMayNotUseSystemFolders(t *testing.T) {
	h := newHost(t)
	h.link("data/way", "/etc")
	g := Open(h.options)
	for _, l := range []string{"/etc/cron.d", "/usr/local", "/boot", "/proc/1/root", h.path("state/x"), h.path("data/way/x"), "/home/user/.ssh", "local:/etc/x"} {
		refused(t, g, &wire.InitSpec{}, at(wire.RepositoryServer, l), wire.CodeGuard, "repositories")
		refused(t, g, &wire.InitSpec{}, at(wire.RepositoryTarget, l), wire.CodeGuard, "repositories")
		allowed(t, g, &wire.InitSpec{}, at(wire.RepositoryLocal, l)) // the owner's own choice
	}
	for _, l := range []string{"/mnt/backup", h.path("data/repository"), "/home/user/backup"} {
		allowed(t, g, &wire.InitSpec{}, at(wire.RepositoryServer, l))
	}
}

func TestRestoresGoIntoNewFoldersBelowTheRoot(t *testing.T) {
	h := newHost(t)
	h.mkdir("staging/taken")
	h.link("staging/link", "/etc")
	g := h.guard("version: 1\nrestore: {mode: staging, root: DIR/staging}\n")
	allowed(t, g, &wire.RestoreSpec{SnapshotID: snapshotID, Target: "new"}, facts())
	for _, target := range []string{"taken", "link"} {
		refused(t, g, &wire.RestoreSpec{SnapshotID: snapshotID, Target: target}, facts(), wire.CodeRestoreTarget, "restore.mode")
	}
	for _, target := range []string{"..", ".", "a/b", "../x", "/etc", "x\x00"} {
		refused(t, g, &wire.RestoreSpec{SnapshotID: snapshotID, Target: target}, facts(), wire.CodeGuard, "restore.root")
	}
	off := newHost(t).guard("version: 1\nrestore: {mode: disabled}\n")
	refused(t, off, &wire.RestoreSpec{SnapshotID: snapshotID}, facts(), wire.CodeGuard, "restore.mode")
	if off.RestoreRoot() != "" {
		t.Errorf("restore root of disabled restores: got %s", off.RestoreRoot())
	}
	rootless := newHost(t)
	rootless.options.RestoreRoot = ""
	refused(t, Open(rootless.options), &wire.RestoreSpec{SnapshotID: snapshotID}, facts(), wire.CodeGuard, "restore.root")
}

func TestOptionsAreValidatedAgain(t *testing.T) {
	g := Open(newHost(t).options)
	for _, s := range []wire.Spec{&wire.BackupSpec{Paths: []string{"/srv"}, Excludes: []string{"a\nb"}}, &wire.BackupSpec{Paths: []string{"/srv"}, Tags: []string{"--x"}}, &wire.BackupSpec{},
		&wire.RestoreSpec{SnapshotID: "latest"}, &wire.CheckSpec{ReadDataSubset: "1/0"}} {
		refused(t, g, s, facts(), wire.CodeInvalidSpec, "options")
	}
}

func TestClockBoundsMaintenance(t *testing.T) {
	g := newHost(t).guard("version: 1\nmaintenance: {forget: true, prune: true}\n")
	needy := []wire.Spec{&wire.ForgetSpec{SnapshotIDs: []string{snapshotID}}, &wire.PruneSpec{}, &wire.UnlockSpec{}}
	free := []wire.Spec{backupOf("/srv"), &wire.CheckSpec{}, &wire.SnapshotsSpec{}, &wire.InitSpec{}, &wire.RestoreSpec{SnapshotID: snapshotID}}
	for _, skew := range []time.Duration{wire.MaxSkew, -wire.MaxSkew, wire.MaxSkew + 1, -wire.MaxSkew - 1, 24 * time.Hour, -24 * time.Hour} {
		f := facts()
		f.Skew = &skew
		for _, s := range needy {
			if skew.Abs() <= wire.MaxSkew {
				allowed(t, g, s, f)
			} else {
				refused(t, g, s, f, wire.CodeClockSkew, "clock")
			}
		}
		for _, s := range free {
			allowed(t, g, s, f)
		}
	}
	f := facts()
	f.Skew = nil
	for _, s := range needy {
		refused(t, g, s, f, wire.CodeClockSkew, "clock")
	}
}

// TestRulesAreAskedInOrder breaks every rule and mends them one by one.
func TestRulesAreAskedInOrder(t *testing.T) {
	h := newHost(t)
	kindless := h.guard("version: 1\nkinds: [check]\nrepositories: [{schemes: [s3]}]\n")
	s := &wire.BackupSpec{Paths: []string{"/proc"}, Tags: []string{"-"}}
	refused(t, kindless, s, Facts{}, wire.CodeGuard, "kinds")
	g := h.guard("version: 1\nrepositories: [{schemes: [rest]}]\nmaintenance: {forget: true}\n")
	refused(t, g, s, Facts{}, wire.CodeGuard, "repositories")
	refused(t, g, s, facts(), wire.CodeGuard, "backup.deny")
	s.Paths[0] = "/srv"
	refused(t, g, s, facts(), wire.CodeInvalidSpec, "options")
	late := facts()
	late.Skew = nil
	refused(t, g, &wire.ForgetSpec{}, late, wire.CodeInvalidSpec, "options")
	refused(t, g, &wire.ForgetSpec{SnapshotIDs: []string{snapshotID}}, late, wire.CodeClockSkew, "clock")
}

func TestLimitsShorten(t *testing.T) {
	l := newHost(t).guard("version: 1\nlimits: {max_runtime: 90m, upload_kib: 500}\n").Limits()
	for asked, want := range map[time.Duration]time.Duration{0: 90 * time.Minute, time.Hour: time.Hour, 24 * time.Hour: 90 * time.Minute} {
		if got := l.TimeLimit(asked); got != want {
			t.Errorf("time limit for %s: got %s, want %s", asked, got, want)
		}
	}
	for asked, want := range map[int]int{0: 500, 100: 100, 501: 500} {
		if got := l.Upload(asked); got != want {
			t.Errorf("upload for %d: got %d, want %d", asked, got, want)
		}
	}
	none := Open(newHost(t).options).Limits()
	if none.TimeLimit(time.Hour) != time.Hour || none.TimeLimit(0) != 0 || none.Upload(7) != 7 || none.Upload(0) != 0 {
		t.Errorf("without limits: got %+v", none)
	}
}

func TestDeniedHoldsAlsoWhenTheGuardIsBroken(t *testing.T) {
	h := newHost(t)
	g := h.guard("nonsense")
	for _, p := range []string{h.path("state"), "/proc"} {
		if !slices.Contains(g.Denied(), p) {
			t.Errorf("Denied lacks %s", p)
		}
	}
	if g.RestoreRoot() != "" || g.Limits() != (Limits{}) {
		t.Error("a broken guard still names a restore root or limits")
	}
	if err := os.Remove(h.options.Path); err != nil {
		t.Fatal(err)
	}
	broken(t, g, "gone")
}

// rclone is a program with the owner's configuration: without a word of the owner none of its remotes is used, also where
// the owner's own agent.yaml names it.
func TestRemotesOfRcloneAreTheOwnersToName(t *testing.T) {
	none := Open(newHost(t).options)
	some := newHost(t).guard("version: 1\nrclone: {remotes: [drive]}\n")
	refused(t, some, &wire.BackupSpec{Paths: []string{some.RcloneConfig()}}, at(wire.RepositoryLocal, "/mnt/backup"), wire.CodeGuard, "backup.deny")
	narrow := newHost(t).guard("version: 1\nrclone: {remotes: [drive]}\nrepositories: [{schemes: [rclone], path_prefix: /backup}]\n")
	for _, source := range []string{wire.RepositoryLocal, wire.RepositoryServer, wire.RepositoryTarget} {
		refused(t, none, &wire.SnapshotsSpec{}, at(source, "rclone:drive:backup"), wire.CodeGuard, "rclone.remotes")
		refused(t, some, &wire.SnapshotsSpec{}, at(source, "rclone:other:backup"), wire.CodeGuard, "rclone.remotes")
		refused(t, some, &wire.SnapshotsSpec{}, at(source, "rclone:drive,x=y:backup"), wire.CodeGuard, "repositories")
		allowed(t, some, &wire.SnapshotsSpec{}, at(source, "rclone:drive:backup"))
		allowed(t, narrow, &wire.SnapshotsSpec{}, at(source, "rclone:drive:backup/web1"))
		refused(t, narrow, &wire.SnapshotsSpec{}, at(source, "rclone:drive:other"), wire.CodeGuard, "repositories")
	}
}

func TestTheStricterOfPolicyAndGuardHolds(t *testing.T) {
	l := newHost(t).guard("version: 1\nlimits: {download_kib: 300, nice: 10, io_class: low}\n").Limits()
	for asked, want := range map[int]int{0: 300, 200: 200, 301: 300} {
		if got := l.Download(asked); got != want {
			t.Errorf("download for %d: got %d, want %d", asked, got, want)
		}
	}
	for _, c := range []struct {
		nice      int
		class     wire.IOClass
		want      int
		wantClass wire.IOClass
	}{{0, "", 10, "low"}, {5, "low", 10, "low"}, {15, "idle", 15, "idle"}} {
		if nice, class := l.Priority(c.nice, c.class); nice != c.want || class != c.wantClass {
			t.Errorf("asked for %d and %q: got %d and %q, want %d and %q", c.nice, c.class, nice, class, c.want, c.wantClass)
		}
	}
	if nice, class := (Limits{}).Priority(3, wire.IOClassIdle); nice != 3 || class != wire.IOClassIdle {
		t.Errorf("without a guard's: got %d and %q, want what was asked for", nice, class)
	}
}
