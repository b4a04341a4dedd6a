package guard

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"restic-manager/shared/wire"
)

// hostileTargets are names of a folder to restore into that would lead elsewhere, or that something would read as
// something else.
func hostileTargets() []string {
	all := []string{".", "..", "...", "....", "~", "~root", "$HOME", "${HOME}", "`id`", "$(id)", "-", "-rf", "--target", " ", "  x", "\t", "\n", "x\n", "x\r", "\x00", "x\x00", "\xff", "\x1b[2J", "\u202ex", "\u200b", "ａ/ｂ", "\u2024\u2024", "\u2215etc", "\u2044",
		"C:\\Windows", "\\\\server\\share", "C:/x", "\\", "..\\..", "x\\..\\y", "*", "?", "[a]", "{a,b}", "!x", "#x", "%2e%2e", "%2f", "%00", "a b", "a|b", "a;b", "a&b", "a>b", "a<b", "a\"b", "a'b", "a=b", "a,b", "é", strings.Repeat("a", 129), strings.Repeat("x", 5000), strings.Repeat("../", 100) + "etc"}
	for _, folder := range []string{"etc", "etc/passwd", "proc/self/root", "dev/shm", "root/.ssh", "var/lib", "tmp"} {
		for _, form := range []string{"/%s", "//%s", "../%s", "../../%s", "./../%s", "x/../../%s", "x/%s", "./%s", "%s/", "%s/..", "%s/.", "..//%s", "..\\%s", "/%s/"} {
			all = append(all, fmt.Sprintf(form, folder))
		}
	}
	return all
}

// A restore goes into a new folder right below the root or nowhere: none of these is taken for a name, neither by
// the rule that both sides share nor by the guard, and what stands beside the root stays as it was.
func TestNoTargetOrPathLeadsOutOfTheRestoreRoot(t *testing.T) {
	h := newHost(t)
	h.mkdir("staging", "canary/deep")
	if err := os.WriteFile(h.path("canary/deep/file"), []byte("as it was"), 0o600); err != nil {
		t.Fatal(err)
	}
	h.link("staging/out", h.path("canary"))
	h.link("staging/up", "..")
	h.link("staging/dangling", h.path("nowhere"))
	h.mkdir("staging/there")
	before := tree(t, h.dir)
	g := h.guard("version: 1\nrestore: {mode: staging, root: DIR/staging}\n")
	targets := append(hostileTargets(), "out", "up", "dangling", "there", "out/deep", "up/canary")
	n := 0
	for _, target := range targets {
		n++
		s := &wire.RestoreSpec{SnapshotID: snapshotID, Target: target}
		if g.Decide(s, facts()) == nil {
			t.Errorf("the target %q is allowed", target)
		}
	}
	for _, p := range []string{"", "etc", "./etc", "../etc", "/etc/../root", "/etc//x", "/etc/", "/./etc", "/etc/.", "/etc/..", "~/x", "/a\x00b", "-x", "--include=/", "@/etc/x", "/a*", "/a?b", "/[ab]", "/a\\b", "C:\\x", "/a\xffb", "\\\\x\\y", "/" + strings.Repeat("a", 5000), "file:///etc", "!/etc"} {
		n++
		s := &wire.RestoreSpec{SnapshotID: snapshotID, Target: "new", Paths: []string{p}}
		if g.Decide(s, facts()) == nil {
			t.Errorf("the path %q is allowed", p)
		}
	}
	if n < 150 {
		t.Errorf("%d targets and paths, want 150 and more", n)
	}
	if after := tree(t, h.dir); strings.Replace(after, "etc/guard.yaml\n", "", 1) != before {
		t.Errorf("the folders became\n%s\nwant\n%s", after, before)
	}
	allowed(t, g, &wire.RestoreSpec{SnapshotID: snapshotID, Target: "new", Paths: []string{"/srv/a b"}}, facts())
	t.Logf("%d targets and paths", n)
}

// tree is every name below the folder.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(p string, _ os.DirEntry, err error) error {
		name, _ := filepath.Rel(dir, p)
		b.WriteString(name + "\n")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}
