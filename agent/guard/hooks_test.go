package guard

import (
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"

	"restic-manager/shared/wire"
)

// hook makes a script in a folder of the host.
func (h *host) hook(name string, mode fs.FileMode) {
	h.t.Helper()
	if err := os.WriteFile(h.path(name), []byte("#!/bin/sh\n"), mode); err != nil {
		h.t.Fatal(err)
	}
	if err := os.Chmod(h.path(name), mode); err != nil {
		h.t.Fatal(err)
	}
}

func withHooks(names ...string) *wire.BackupSpec {
	return &wire.BackupSpec{Paths: []string{"/srv"}, HooksBefore: names}
}

func TestHooksAreAllowedByNameAlone(t *testing.T) {
	h := newHost(t)
	h.mkdir("etc/hooks.d")
	h.hook("etc/hooks.d/dump", 0o755)
	h.hook("etc/hooks.d/thaw", 0o700)
	h.hook("etc/hooks.d/other", 0o755)
	none := Open(h.options)
	refused(t, none, withHooks("dump"), facts(), wire.CodeGuard, "hooks.allow")
	if got := none.Hooks(); len(got) != 0 {
		t.Errorf("offered without a file: got %v", got)
	}
	g := h.guard("version: 1\nhooks: {allow: [thaw, dump, gone]}\n")
	allowed(t, g, withHooks("dump", "thaw"), facts())
	allowed(t, g, &wire.BackupSpec{Paths: []string{"/srv"}, HooksAfter: []string{"thaw"}}, facts())
	allowed(t, g, &wire.BackupSpec{StdinHook: "dump", StdinName: "x"}, facts())
	refused(t, g, withHooks("other"), facts(), wire.CodeGuard, "hooks.allow")
	refused(t, g, withHooks("dump", "other"), facts(), wire.CodeGuard, "hooks.allow")
	refused(t, g, &wire.BackupSpec{Paths: []string{"/srv"}, HooksAfter: []string{"other"}}, facts(), wire.CodeGuard, "hooks.allow")
	refused(t, g, &wire.BackupSpec{StdinHook: "other", StdinName: "x"}, facts(), wire.CodeGuard, "hooks.allow")
	refused(t, g, withHooks("gone"), facts(), wire.CodeGuard, "hooks.dir")
	for _, name := range []string{"", "..", "../hooks.d/dump", "/bin/sh", "./dump", "dump/", "-c", "dump\x00"} {
		refused(t, g, withHooks(name), facts(), wire.CodeGuard, "hooks.allow")
	}
	if got := g.Hooks(); !slices.Equal(got, []string{"dump", "thaw"}) {
		t.Errorf("offered: got %v, want what is allowed and there", got)
	}
	if got := g.Report().Summary; !strings.Contains(got, "the hooks dump, thaw") || !strings.Contains(got, "not the hooks gone") {
		t.Errorf("summary: got %q", got)
	}
	if err := g.MayRun("dump"); err != nil {
		t.Errorf("dump: got %v", err)
	}
	for _, name := range []string{"other", "gone", "", "../x"} {
		if g.MayRun(name) == nil {
			t.Errorf("%q may run", name)
		}
	}
}

func TestAHookThatOthersMayChangeIsRefused(t *testing.T) {
	h := newHost(t)
	h.mkdir("own/hooks")
	h.hook("own/hooks/dump", 0o755)
	g := h.guard("version: 1\nhooks: {dir: DIR/own/hooks, allow: [dump, link]}\n")
	allowed(t, g, withHooks("dump"), facts())
	h.link("own/hooks/link", "/bin/true")
	refused(t, g, withHooks("link"), facts(), wire.CodeGuard, "hooks.dir")
	for _, path := range []string{"own/hooks/dump", "own/hooks", "own"} {
		if err := os.Chmod(h.path(path), 0o775); err != nil {
			t.Fatal(err)
		}
		refused(t, g, withHooks("dump"), facts(), wire.CodeGuard, "hooks.dir")
		if got := g.Hooks(); len(got) != 0 {
			t.Errorf("%s open to the group: got %v offered", path, got)
		}
		if err := os.Chmod(h.path(path), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	allowed(t, g, withHooks("dump"), facts())
	h.write("nonsense")
	refused(t, g, withHooks("dump"), facts(), wire.CodeGuardBroken, "file")
	if _, err := g.HooksDir(); err == nil || len(g.Hooks()) != 0 || g.MayRun("dump") == nil {
		t.Error("a broken guard runs hooks")
	}
}

func TestTheOwnerOfAHookIsRootOrTheAgent(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("only root can give files away; the rule itself is in package hook")
		return
	}
	h := newHost(t)
	h.mkdir("etc/hooks.d")
	h.hook("etc/hooks.d/dump", 0o755)
	g := h.guard("version: 1\nhooks: {allow: [dump]}\n")
	if err := os.Chown(h.path("etc/hooks.d/dump"), 12345, 0); err != nil {
		t.Fatal(err)
	}
	refused(t, g, withHooks("dump"), facts(), wire.CodeGuard, "hooks.dir")
	h.options.UID = 12345
	allowed(t, Open(h.options), withHooks("dump"), facts())
}

func TestRestoresAndRepositoriesNeverBringAHook(t *testing.T) {
	for _, yaml := range []string{
		"version: 1\nhooks: {dir: DIR/state/restore, allow: [x]}\n",
		"version: 1\nhooks: {dir: DIR/state/restore/hooks, allow: [x]}\n",
		"version: 1\nhooks: {dir: DIR/state, allow: [x]}\n",
		"version: 1\nhooks: {dir: /srv/r/hooks, allow: [x]}\nrestore: {root: /srv/r}\n",
	} {
		broken(t, newHost(t).guard(yaml), "hooks.dir")
	}
	h := newHost(t)
	g := h.guard("version: 1\nhooks: {dir: DIR/own, allow: [x]}\n")
	for _, location := range []string{h.path("own"), h.path("own/repository")} {
		refused(t, g, &wire.InitSpec{}, at(wire.RepositoryServer, location), wire.CodeGuard, "repositories")
	}
	for yaml, want := range map[string]string{
		"version: 1\nhooks: {allow: [../x]}\n":            "hooks.allow",
		"version: 1\nhooks: {allow: [/bin/sh]}\n":         "hooks.allow",
		"version: 1\nhooks: {dir: hooks.d, allow: [x]}\n": "hooks.dir",
		"version: 1\nhooks: {dir: /a/../b, allow: [x]}\n": "hooks.dir",
		"version: 1\nhooks: [x]\n":                        "line 2",
		"version: 1\nhooks: {alow: [x]}\n":                `unknown key "alow"`,
	} {
		broken(t, newHost(t).guard(yaml), want)
	}
}
