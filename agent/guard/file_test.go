package guard

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"restic-manager/shared/wire"
)

// broken checks that everything is refused and the reason holds want.
func broken(t *testing.T, g *Guard, want string) {
	t.Helper()
	for _, s := range []wire.Spec{backupOf("/srv"), &wire.SnapshotsSpec{}, &wire.CheckSpec{}, &wire.InitSpec{}, &wire.UnlockSpec{}, &wire.RestoreSpec{SnapshotID: snapshotID}, &wire.PruneSpec{}, &wire.ForgetSpec{}, nil} {
		r := g.Decide(s, facts())
		if r == nil || r.Code != wire.CodeGuardBroken || !strings.Contains(r.Message, want) {
			t.Errorf("got %+v, want everything refused with %q", r, want)
		}
	}
	if r := g.Report(); len(r.Kinds) != 0 || r.Kinds == nil || !strings.Contains(r.Broken, want) || r.Summary == "" {
		t.Errorf("report: got %+v, want %q", r, want)
	}
}

func TestWhatIsNotUnderstoodRefusesEverything(t *testing.T) {
	for yaml, want := range map[string]string{
		"":                                                   "version: give 1",
		"# only a comment\n":                                 "version: give 1",
		"kinds: [backup]\n":                                  "version: give 1",
		"version: 2\n":                                       "version: give 1",
		"version: one\n":                                     "line 1",
		"version: 1\nkindz: [backup]\n":                      `line 2: unknown key "kindz"`,
		"version: 1\nbackup: {alow: [/srv]}\n":               `unknown key "alow"`,
		"version: 1\nbackup: {hooks: [/x]}\n":                `unknown key "hooks"`,
		"version: 1\nversion: 1\n":                           `line 2: the key "version" was given in line 1 already`,
		"version: 1\nkinds: [backups]\n":                     `"backups" is not a kind`,
		"version: 1\nkinds: backup\n":                        "line 2",
		"version: 1\nkinds:\n":                               `line 2: the key "kinds" has no value`,
		"version: 1\nbackup:\n  allow:\n":                    `line 3: the key "allow" has no value`,
		"version: 1\nbackup: {allow: [srv]}\n":               "backup.allow",
		"version: 1\nbackup: {allow: [/srv/]}":               "backup.allow",
		"version: 1\nbackup: {deny: [/a/../b]}":              "backup.deny",
		"version: 1\nbackup: {allow: [\"/a\\u0000\"]}":       "",
		"version: 1\nrepositories: []\n":                     "repositories: the list is empty",
		"version: 1\nrepositories: [{}]\n":                   "repositories",
		"version: 1\nrepositories: [{schemes: [ftp]}]\n":     "ftp",
		"version: 1\nrclone: {remotes: [\"a,b=c\"]}\n":       "rclone.remotes",
		"version: 1\nrclone: {config: rclone.conf}\n":        "rclone.config",
		"version: 1\nrepositories: [{hosts: [\"-x\"]}]\n":    "hosts",
		"version: 1\nrepositories: [{path_prefix: /a/../b}]": "path_prefix",
		"version: 1\nrestore: {mode: allowed}\n":             "restore.mode",
		"version: 1\nrestore: {root: here}\n":                "restore.root",
		"version: 1\nrestore: {root: /}\n":                   "restore.root",
		"version: 1\nmaintenance: {forget: perhaps}\n":       "line 2",
		"version: 1\nmaintenance: {unlock: all}\n":           "maintenance.unlock",
		"version: 1\nlimits: {max_runtime: long}\n":          "limits.max_runtime",
		"version: 1\nlimits: {max_runtime: 5s}\n":            "limits.max_runtime",
		"version: 1\nlimits: {upload_kib: -1}\n":             "limits.upload_kib",
		"version: 1\nlimits: {download_kib: -1}\n":           "limits.download_kib",
		"version: 1\nlimits: {nice: -1}\n":                   "limits.nice",
		"version: 1\nlimits: {nice: 20}\n":                   "limits.nice",
		"version: 1\nlimits: {io_class: realtime}\n":         "limits.io_class",
		"version: 1\n---\nversion: 1\n":                      "second YAML document",
		"- version: 1\n":                                     "key: value",
		"version: &a 1\n":                                    "anchors",
		"version: 1\nbackup: {allow: [/srv]\n":               "not valid YAML",
		"version: 1\n\tkinds: [backup]\n":                    "line 2",
		"version: 1\n<<: {kinds: [prune]}\n":                 "line 2",
	} {
		broken(t, newHost(t).guard(yaml), want)
	}
}

func TestFilesThatOthersMayChangeRefuseEverything(t *testing.T) {
	const sound = "version: 1\n"
	for _, mode := range []fs.FileMode{0o664, 0o646, 0o666, 0o777} {
		h := newHost(t)
		g := h.guard(sound)
		if err := os.Chmod(h.options.Path, mode); err != nil {
			t.Fatal(err)
		}
		broken(t, g, "chmod go-w")
		if err := os.Chmod(h.options.Path, 0o644); err != nil {
			t.Fatal(err)
		}
		allowed(t, g, backupOf("/srv"), facts())
		if err := os.Chmod(h.path("etc"), mode|0o111); err != nil {
			t.Fatal(err)
		}
		broken(t, g, "the folder of guard.yaml can be changed")
	}
	for _, mode := range []fs.FileMode{0o400, 0o600, 0o644, 0o755} {
		h := newHost(t)
		g := h.guard(sound)
		if err := os.Chmod(h.options.Path, mode); err != nil {
			t.Fatal(err)
		}
		allowed(t, g, backupOf("/srv"), facts())
	}
}

func TestOwnerMustBeRootOrTheAgentItself(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("only root can give files away; the rule itself is in TestOwnersAreJudged")
		return
	}
	h := newHost(t)
	g := h.guard("version: 1\n")
	if err := os.Chown(h.options.Path, 12345, 0); err != nil {
		t.Fatal(err)
	}
	broken(t, g, "user 12345")
	// The user of an agent that is not root may own its guard, and so may root.
	h.options.UID = 12345
	if err := os.Chown(h.path("etc"), 12345, 0); err != nil {
		t.Fatal(err)
	}
	allowed(t, Open(h.options), backupOf("/srv"), facts())
	h.options.UID = 0
	if err := os.Chown(h.options.Path, 0, 0); err != nil {
		t.Fatal(err)
	}
	broken(t, Open(h.options), "the folder of guard.yaml belongs to user 12345")
}

func TestOwnersAreJudged(t *testing.T) {
	for _, tc := range []struct {
		owner, uid int
		mode       fs.FileMode
		ok         bool
	}{{0, 0, 0o644, true}, {0, 1000, 0o644, true}, {1000, 1000, 0o600, true}, {1000, 0, 0o644, false}, {1001, 1000, 0o644, false}, {-1, 1000, 0o644, false}, {0, 0, 0o664, false}, {0, 0, 0o602, false}} {
		if err := checkOwner("guard.yaml", "/x", tc.mode, tc.owner, tc.uid); (err == nil) != tc.ok {
			t.Errorf("%+v: got %v", tc, err)
		}
	}
}

func TestOtherFilesThanRegularOnesRefuseEverything(t *testing.T) {
	h := newHost(t)
	if err := syscall.Mkfifo(h.options.Path, 0o644); err != nil {
		t.Fatal(err)
	}
	broken(t, Open(h.options), "not a regular file")
	h = newHost(t)
	h.mkdir("etc/guard.yaml")
	broken(t, Open(h.options), "not a regular file")
	h = newHost(t)
	h.link("etc/guard.yaml", h.path("nowhere"))
	broken(t, Open(h.options), "link")
	h = newHost(t)
	h.write("version: 1\n" + strings.Repeat("# long\n", 1<<18))
	broken(t, Open(h.options), "larger")
}

func TestALinkIsJudgedByItsTargetsFolder(t *testing.T) {
	h := newHost(t)
	h.mkdir("store", "open")
	for _, folder := range []string{"store", "open"} {
		if err := os.WriteFile(h.path(folder+"/g.yaml"), []byte("version: 1\nkinds: [check]\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(h.path("open"), 0o777); err != nil {
		t.Fatal(err)
	}
	h.link("etc/guard.yaml", h.path("store/g.yaml"))
	g := Open(h.options)
	refused(t, g, backupOf("/srv"), facts(), wire.CodeGuard, "kinds")
	if err := os.Remove(h.options.Path); err != nil {
		t.Fatal(err)
	}
	h.link("etc/guard.yaml", h.path("open/g.yaml"))
	broken(t, g, "the folder of guard.yaml")
}

func TestChangesHoldAtOnce(t *testing.T) {
	h := newHost(t)
	g := Open(h.options)
	allowed(t, g, backupOf("/srv"), facts())
	h.write("version: 1\nkinds: [check]\n")
	refused(t, g, backupOf("/srv"), facts(), wire.CodeGuard, "kinds")
	// The same size and time, by another file in its place.
	info, err := os.Stat(h.options.Path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(h.path("etc/new"), []byte("version: 1\nkinds: [prune]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(h.path("etc/new"), info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(h.path("etc/new"), h.options.Path); err != nil {
		t.Fatal(err)
	}
	allowed(t, g, &wire.PruneSpec{}, facts())
	sum := sha256.Sum256([]byte("version: 1\nkinds: [prune]\n"))
	if got := g.Report().SHA256; got != hex.EncodeToString(sum[:]) {
		t.Errorf("sum: got %s", got)
	}
	h.write("broken")
	broken(t, g, "guard.yaml")
	if err := os.Remove(h.options.Path); err != nil {
		t.Fatal(err)
	}
	broken(t, g, "gone")
	g.Reload()
	allowed(t, g, backupOf("/srv"), facts())
}

// A file that vanishes while the agent runs opens nothing: not for the moment in which an editor replaces it, and not
// for as long as its folder is away.
func TestAGuardThatVanishesRefusesEverythingUntilItIsBack(t *testing.T) {
	for name, yaml := range map[string]string{"sound": "version: 1\nkinds: [check]\n", "broken": "nonsense"} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			g := h.guard(yaml)
			refusedAtAll := func() {
				t.Helper()
				for _, s := range []wire.Spec{backupOf("/srv"), &wire.CheckSpec{}, &wire.InitSpec{}, &wire.SnapshotsSpec{}, &wire.UnlockSpec{}, &wire.RestoreSpec{SnapshotID: snapshotID}} {
					if g.Decide(s, facts()) == nil {
						t.Errorf("%s is allowed without the file that was there", s.Kind())
					}
				}
			}
			if err := os.Rename(h.path("etc"), h.path("away")); err != nil {
				t.Fatal(err)
			}
			refusedAtAll()
			refusedAtAll() // and so at each later look
			if g.RestoreRoot() != "" {
				t.Error("restores have a root")
			}
			if err := os.Rename(h.path("away"), h.path("etc")); err != nil {
				t.Fatal(err)
			}
			h.write("version: 1\nkinds: [check]\n")
			allowed(t, g, &wire.CheckSpec{}, facts())
			refused(t, g, backupOf("/srv"), facts(), wire.CodeGuard, "kinds")
			if err := os.Remove(h.options.Path); err != nil {
				t.Fatal(err)
			}
			refusedAtAll()
			allowed(t, Open(h.options), backupOf("/srv"), facts()) // a restart goes by the defaults
		})
	}
}

func TestWriteMakesAGuardThatHolds(t *testing.T) {
	h := newHost(t)
	odd := h.path("it's: [odd] # name")
	p := Permissions{Maintenance: true, Paths: []string{"/srv", odd}}
	if p.IsZero() || !(Permissions{}).IsZero() {
		t.Error("IsZero is wrong")
	}
	if err := Write(h.options.Path, p); err != nil {
		t.Fatal(err)
	}
	g := Open(h.options)
	allowed(t, g, backupOf("/srv/x", odd), facts())
	allowed(t, g, &wire.PruneSpec{}, facts())
	allowed(t, g, &wire.RestoreSpec{SnapshotID: snapshotID}, facts())
	refused(t, g, backupOf("/home"), facts(), wire.CodeGuard, "backup.allow")
	info, err := os.Stat(h.options.Path)
	if err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("mode: got %v, %v", info.Mode(), err)
	}
	if err := Write(h.options.Path, p); err != nil {
		t.Errorf("the same again: got %v", err)
	}
	before, _ := os.ReadFile(h.options.Path)
	if err := Write(h.options.Path, Permissions{Maintenance: true}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("another one: got %v, want fs.ErrExist", err)
	}
	if after, _ := os.ReadFile(h.options.Path); string(after) != string(before) {
		t.Error("a guard that was there was changed")
	}
	if err := Write(h.path("etc/other.yaml"), Permissions{Paths: []string{"srv"}}); err == nil {
		t.Error("a relative path was taken")
	}
	if left, _ := filepath.Glob(h.path("etc/.guard*")); len(left) != 0 {
		t.Errorf("temporary files were left: %v", left)
	}
}

// FuzzGuardYAML: whatever the file says, nothing panics, an unsound file allows nothing, and no file ever
// allows a built-in denied path.
func FuzzGuardYAML(f *testing.F) {
	for _, s := range []string{"version: 1\n", "version: 1\nkinds: [backup, prune]\nbackup: {allow: [/], deny: []}\n", "version: 1\nlimits: {max_runtime: 1h}\n", "a: *b", "version: 1\nrepositories:\n- hosts: [x]\n",
		"? {a: b}\n: c\n", "version: !!int '1'", "version: 1\nbackup: {allow: [/proc]}\n", "\xff\xfe", "version: 1\nrestore: {mode: staging, root: /proc}\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := parse(data, Options{Protected: []string{"/var/lib/agent"}, RestoreRoot: "/r"})
		if (p == nil) == (err == nil) {
			t.Fatalf("%q: got %v and %v", data, p, err)
		}
		if err != nil {
			return
		}
		for _, denied := range []string{"/proc", "/proc/1", "/sys/x", "/dev/null", "/var/lib/agent", "/var/lib/agent/jobs"} {
			if r := p.backupPath(denied); r == nil {
				t.Errorf("%q: allows %s", data, denied)
			}
		}
		if p.limits.MaxRuntime < 0 || p.limits.UploadKiB < 0 {
			t.Errorf("%q: limits %+v", data, p.limits)
		}
	})
}

// FuzzInside compares the match by components with a checker that splits both into their parts.
func FuzzInside(f *testing.F) {
	for _, s := range [][2]string{{"/etc", "/etc"}, {"/etc-evil", "/etc"}, {"/etc/x", "/etc"}, {"/", "/"}, {"/a", "/"}, {"/a/b", "/a/b/c"}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		p, folder := path.Clean("/"+a), path.Clean("/"+b)
		if got, want := inside(p, folder), naive(p, folder); got != want {
			t.Errorf("%q in %q: got %t, want %t", p, folder, got, want)
		}
	})
}

// FuzzRestoreTarget: what a restore may be called is the name of one new folder directly below the root.
func FuzzRestoreTarget(f *testing.F) {
	for _, s := range []string{"", "yesterday", "..", ".", "...", "a/b", "../x", "a\x00b", "/etc", "-x", "~", "a ", "C:\\x", "taken", "link", "\xff", strings.Repeat("x", 300)} {
		f.Add(s)
	}
	root := f.TempDir()
	if err := os.Mkdir(filepath.Join(root, "taken"), 0o700); err != nil {
		f.Fatal(err)
	}
	if err := os.Symlink("/nowhere", filepath.Join(root, "link")); err != nil {
		f.Fatal(err)
	}
	p := newPolicy(Options{RestoreRoot: root})
	f.Fuzz(func(t *testing.T, target string) {
		if p.restoreTarget(target) != nil || target == "" {
			return
		}
		folder := filepath.Join(root, target)
		if filepath.Dir(folder) != root || folder == root || filepath.Base(folder) != target {
			t.Errorf("%q: allows %q", target, folder)
		}
		if _, err := os.Lstat(folder); err == nil {
			t.Errorf("%q: allows what is there", target)
		}
	})
}

func naive(p, folder string) bool {
	parts := func(s string) (all []string) {
		for part := range strings.SplitSeq(s, "/") {
			if part != "" {
				all = append(all, part)
			}
		}
		return all
	}
	have, want := parts(p), parts(folder)
	if len(have) < len(want) {
		return false
	}
	for i := range want {
		if have[i] != want[i] {
			return false
		}
	}
	return true
}

// TestConcurrentDecisionsSeeWholePolicies is for the race detector.
func TestConcurrentDecisionsSeeWholePolicies(t *testing.T) {
	h := newHost(t)
	g := h.guard("version: 1\n")
	done := make(chan struct{})
	for range 4 {
		go func() {
			defer func() { done <- struct{}{} }()
			for range 200 {
				if r := g.Decide(backupOf("/srv"), facts()); r != nil && r.Code != wire.CodeGuardBroken {
					t.Errorf("got %+v", r)
				}
				g.Report()
			}
		}()
	}
	for end := time.After(5 * time.Second); ; {
		select {
		case <-done:
			for range 3 {
				<-done
			}
			return
		case <-end:
			t.Fatal("the decisions do not end")
		default:
			g.Reload()
		}
	}
}
