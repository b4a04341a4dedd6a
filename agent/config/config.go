// Package config is agent.yaml: what enrollment learnt, and the repository that the host's owner adds
// below it. See docs/enroll.md for the keys.
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"restic-manager/agent/hostfile"
	"restic-manager/shared/wire"
)

// Config is agent.yaml. The first block is written by enroll; the rest is the owner's.
type Config struct {
	ServerURL    string   `yaml:"server_url,omitempty"`
	HostID       string   `yaml:"host_id,omitempty"`
	Name         string   `yaml:"name,omitempty"`
	AgentToken   string   `yaml:"agent_token,omitempty"`   // prefix wire.AgentTokenPrefix
	CertPins     []string `yaml:"cert_pins,omitempty"`     // at most two: the second is for rotation
	CAFile       string   `yaml:"ca_file,omitempty"`       // PEM; empty: the system's roots
	InsecureHTTP bool     `yaml:"insecure_http,omitempty"` // allow http:// to a host that is not loopback

	RepoURL             string            `yaml:"repo_url,omitempty"`
	RepoPassword        string            `yaml:"repo_password,omitempty"`
	RepoPasswordFile    string            `yaml:"repo_password_file,omitempty"`
	RepoPasswordCommand string            `yaml:"repo_password_command,omitempty"` // words, no shell
	ResticPath          string            `yaml:"restic_path,omitempty"`           // absolute; empty: searched for
	Environment         map[string]string `yaml:"environment,omitempty"`           // keys of wire.RepositoryEnvKeys
	// Proxy is for the connection to the server; empty: HTTPS_PROXY, HTTP_PROXY, NO_PROXY. Enrollment writes
	// it only when it was given one.
	Proxy string `yaml:"proxy,omitempty"`
}

// ErrNotEnrolled says that agent.yaml is missing or holds no enrollment yet.
var ErrNotEnrolled = errors.New("this machine is not enrolled")

// Load reads and checks agent.yaml. A file that others can read is refused: it holds the agent's secret.
// A missing one, or one without an enrollment, is ErrNotEnrolled.
func Load(path string) (*Config, error) {
	c, err := read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is not there: %w; run restic-manager-agent enroll", path, ErrNotEnrolled)
	}
	if err != nil {
		return nil, err
	}
	if !c.Enrolled() {
		return nil, fmt.Errorf("%s: %w; run restic-manager-agent enroll", path, ErrNotEnrolled)
	}
	if err := c.Check(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// read checks who may read and change the file, and its form, not what it says.
func read(path string) (*Config, error) {
	f, err := hostfile.Read(path)
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("read agent.yaml: %w; do this as root, or as the user of the agent", err)
	}
	if err != nil {
		return nil, fmt.Errorf("read agent.yaml: %w", err)
	}
	if f.Mode.Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s holds the agent's secret and its mode is %#o; the mode must be 0600: chmod 600 %s", path, f.Mode.Perm(), path)
	}
	if f.UID > 0 && f.UID != os.Geteuid() {
		return nil, fmt.Errorf("%s belongs to user %d; it must belong to the user of the agent (%d) or to root", path, f.UID, os.Geteuid())
	}
	c := &Config{}
	if err := hostfile.Decode(f.Data, c); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// Enrolled reports whether the file holds an identity.
func (c *Config) Enrolled() bool { return c.HostID != "" && c.AgentToken != "" }

// Check refuses values that cannot work; those about the connection are the client's to check. Errors name
// the key and say what to give.
func (c *Config) Check() error {
	if !wire.IsUUID(c.HostID) {
		return errors.New("host_id: not an id that a server gave; enroll this machine again with --force")
	}
	if !strings.HasPrefix(c.AgentToken, wire.AgentTokenPrefix) || len(c.AgentToken) < len(wire.AgentTokenPrefix)+32 {
		return fmt.Errorf("agent_token: not a secret that enroll made (it begins with %s); enroll this machine again with --force", wire.AgentTokenPrefix)
	}
	if len(c.CertPins) > MaxCertPins {
		return fmt.Errorf("cert_pins: at most %d, the one in use and the next one", MaxCertPins)
	}
	if c.CAFile != "" && !filepath.IsAbs(c.CAFile) {
		return errors.New("ca_file: give an absolute path")
	}
	if c.ResticPath != "" && !filepath.IsAbs(c.ResticPath) {
		return errors.New("restic_path: give an absolute path")
	}
	return c.checkRepository()
}

// MaxCertPins is how many pins there may be: the leaf in use and the next one.
const MaxCertPins = 2
