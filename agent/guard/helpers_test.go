package guard

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"restic-manager/shared/wire"
)

const snapshotID = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// host is a machine in a temporary folder.
type host struct {
	t       *testing.T
	dir     string // resolved, so that the folder itself is no link
	options Options
}

func newHost(t *testing.T) *host {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	h := &host{t: t, dir: dir}
	h.mkdir("etc", "state", "data/mail", "private")
	h.options = Options{Path: h.path("etc/guard.yaml"), Protected: []string{h.path("etc/agent.yaml"), h.path("state")}, RestoreRoot: h.path("state/restore"), UID: os.Geteuid()}
	return h
}

func (h *host) path(name string) string { return filepath.Join(h.dir, name) }

func (h *host) mkdir(names ...string) {
	h.t.Helper()
	for _, n := range names {
		if err := os.MkdirAll(h.path(n), 0o755); err != nil {
			h.t.Fatal(err)
		}
	}
}

func (h *host) link(name, to string) {
	h.t.Helper()
	if err := os.Symlink(to, h.path(name)); err != nil {
		h.t.Fatal(err)
	}
}

// guard is the guard of this host with a file; DIR in it stands for the folder of the host.
func (h *host) guard(yaml string) *Guard {
	h.t.Helper()
	h.write(yaml)
	return Open(h.options)
}

func (h *host) write(yaml string) {
	h.t.Helper()
	if err := os.WriteFile(h.options.Path, []byte(strings.ReplaceAll(yaml, "DIR", h.dir)), 0o644); err != nil {
		h.t.Fatal(err)
	}
}

func backupOf(paths ...string) *wire.BackupSpec { return &wire.BackupSpec{Paths: paths} }

// facts are those of a host whose clock and repository are in order.
func facts() Facts {
	skew := time.Second
	return Facts{Source: wire.RepositoryLocal, Location: "rest:https://backup.example.com/host", Skew: &skew}
}

func at(source, location string) Facts {
	f := facts()
	f.Source, f.Location = source, location
	return f
}

func allowed(t *testing.T, g *Guard, s wire.Spec, f Facts) {
	t.Helper()
	if r := g.Decide(s, f); r != nil {
		t.Errorf("%s %+v: refused by %s (%s): %s", s.Kind(), s, r.Rule, r.Code, r.Message)
	}
}

func refused(t *testing.T, g *Guard, s wire.Spec, f Facts, code, rule string) {
	t.Helper()
	r := g.Decide(s, f)
	if r == nil {
		t.Errorf("%s %+v: allowed, want it refused by %s", s.Kind(), s, rule)
		return
	}
	if r.Code != code || r.Rule != rule || r.Message == "" {
		t.Errorf("%s %+v: got %s by %s, want %s by %s: %s", s.Kind(), s, r.Code, r.Rule, code, rule, r.Message)
	}
	if e := r.JobError(); e.Code != r.Code || e.Message != r.Message {
		t.Errorf("job error: got %+v", e)
	}
}
