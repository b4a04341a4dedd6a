package config

import (
	"os"
	"path/filepath"
	"strings"
)

// Root's files and folders (systemd's names override the last three).
const (
	rootConfig  = "/etc/restic-manager/agent.yaml"
	rootGuard   = "/etc/restic-manager/guard.yaml"
	rootState   = "/var/lib/restic-manager-agent"
	rootCache   = "/var/cache/restic-manager-agent"
	rootRuntime = "/run/restic-manager-agent"
)

// Paths say where the agent's files live. All are absolute.
type Paths struct {
	Config  string // agent.yaml
	Guard   string // guard.yaml
	State   string // job folders, ledger, status
	Cache   string // restic's cache
	Runtime string // secrets for a running restic, gone after a restart where the system has such a folder
}

// Locate finds the paths for this process. config and state, where not empty, are what the command line
// said. Root has the folders of the Filesystem Hierarchy Standard, others the XDG Base Directory ones;
// systemd's STATE_DIRECTORY, CACHE_DIRECTORY and RUNTIME_DIRECTORY stand over both.
func Locate(config, state string) (Paths, error) {
	return locate(config, state, os.Geteuid(), os.Getenv, exists)
}

func locate(config, state string, uid int, env func(string) string, exists func(string) bool) (Paths, error) {
	p := Paths{Config: config, State: state}
	home := env("HOME")
	xdg := func(key, fallback string) string {
		// Relative values are invalid and ignored (XDG Base Directory Specification).
		if v := env(key); filepath.IsAbs(v) {
			return v
		}
		return filepath.Join(home, fallback)
	}
	folder := func(systemd, root, user string) string {
		if v := env(systemd); v != "" {
			first := filepath.SplitList(v)[0]
			if filepath.IsAbs(first) {
				return first
			}
		}
		if uid == 0 {
			return root
		}
		return user
	}
	const name = "restic-manager-agent"
	if p.Config == "" {
		p.Config = rootConfig
		if uid != 0 {
			p.Config = filepath.Join(xdg("XDG_CONFIG_HOME", ".config"), "restic-manager", "agent.yaml")
		}
	}
	if p.State == "" {
		p.State = folder("STATE_DIRECTORY", rootState, filepath.Join(xdg("XDG_STATE_HOME", ".local/state"), name))
	}
	p.Cache = folder("CACHE_DIRECTORY", rootCache, filepath.Join(xdg("XDG_CACHE_HOME", ".cache"), name))
	p.Runtime = folder("RUNTIME_DIRECTORY", rootRuntime, "")
	if p.Runtime == "" {
		if v := env("XDG_RUNTIME_DIR"); filepath.IsAbs(v) {
			p.Runtime = filepath.Join(v, name)
		} else {
			p.Runtime = filepath.Join(p.State, "run")
		}
	}
	var err error
	for _, path := range []*string{&p.Config, &p.State, &p.Cache, &p.Runtime} {
		if *path, err = filepath.Abs(*path); err != nil {
			return Paths{}, err
		}
	}
	p.Guard = filepath.Join(filepath.Dir(p.Config), "guard.yaml")
	// Root's word stands over that of the user whose agent this is.
	if uid != 0 && exists(rootGuard) {
		p.Guard = rootGuard
	}
	return p, nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	// Unreadable counts as there: the guard then says that it cannot read it and refuses.
	return !os.IsNotExist(err)
}

// Protected are the files and folders that a backup must never hold: the agent's own secrets,
// configuration and state. The folder of agent.yaml is one of them where it is the agent's alone.
func (p Paths) Protected() []string {
	protected := []string{p.Config, p.Config + brokenSuffix, p.Guard, PendingPath(p.Config), p.State, p.Cache, p.Runtime}
	folder := filepath.Dir(p.Config)
	if filepath.Base(folder) == "restic-manager" {
		return append(protected, folder)
	}
	// What a write left behind that was killed before its rename (hostfile.Write). No pattern here is malformed.
	halves, _ := filepath.Glob(filepath.Join(escapeGlob(folder), "."+escapeGlob(filepath.Base(p.Config))+".*"))
	return append(protected, halves...)
}

// escapeGlob is the text as a pattern that matches it alone.
func escapeGlob(s string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(s)
}
