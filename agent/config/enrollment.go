package config

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"restic-manager/agent/hostfile"
	"restic-manager/shared/wire"
)

// Pending is an enrollment that was asked for and not answered yet. It is on disk before the request
// leaves, so that a retry after a lost reply speaks of the same secret and gets the same host.
type Pending struct {
	ServerURL string `yaml:"server_url"`
	// TokenSHA256 tells this token's enrollment from another's; the token itself is not kept.
	TokenSHA256 string `yaml:"enrollment_token_sha256"`
	AgentToken  string `yaml:"agent_token"`
}

// AgentTokenSHA256 is the hash in hex that travels in place of the secret.
func (p Pending) AgentTokenSHA256() string { return hexSum(p.AgentToken) }

// PendingPath is where the pending enrollment of an agent.yaml lies: beside it.
func PendingPath(config string) string {
	return filepath.Join(filepath.Dir(config), "."+filepath.Base(config)+".enrolling")
}

// Prepare returns the pending enrollment for this server and enrollment token: the one on disk, or a new
// one with a new secret, durable when it returns.
func Prepare(config, serverURL, token string) (Pending, error) {
	want := Pending{ServerURL: serverURL, TokenSHA256: hexSum(token)}
	if had, err := readPending(config); err == nil && had.ServerURL == want.ServerURL && had.TokenSHA256 == want.TokenSHA256 && had.AgentToken != "" {
		return had, nil
	}
	// Another token, another server, or an unreadable file: a new secret. The old one was never an identity
	// that this host could use.
	secret := make([]byte, 32)
	rand.Read(secret) // never fails (crypto/rand)
	want.AgentToken = wire.AgentTokenPrefix + base64.RawURLEncoding.EncodeToString(secret)
	data := fmt.Appendf(nil, "# An enrollment under way; restic-manager-agent enroll removes this file.\nserver_url: %q\nenrollment_token_sha256: %q\nagent_token: %q\n",
		want.ServerURL, want.TokenSHA256, want.AgentToken)
	return want, hostfile.Write(PendingPath(config), data, 0o600)
}

// Completed reports whether agent.yaml already holds what this server and token enrolled: only the
// removal of the pending file was left.
func Completed(config, serverURL, token string) (*Config, bool) {
	had, err := readPending(config)
	if err != nil || had.ServerURL != serverURL || had.TokenSHA256 != hexSum(token) {
		return nil, false
	}
	c, err := Load(config)
	if err != nil || c.AgentToken != had.AgentToken {
		return nil, false
	}
	return c, true
}

// ClearPending removes the pending enrollment, once agent.yaml holds it.
func ClearPending(config string) error { return hostfile.Remove(PendingPath(config)) }

func readPending(config string) (Pending, error) {
	f, err := hostfile.Read(PendingPath(config))
	if err != nil {
		return Pending{}, err
	}
	if f.Mode.Perm()&0o077 != 0 {
		return Pending{}, errors.New("the pending enrollment was readable by others")
	}
	var p Pending
	return p, hostfile.Decode(f.Data, &p)
}

// ErrEnrolled says that agent.yaml holds a live enrollment that must not be overwritten.
var ErrEnrolled = errors.New("this machine is enrolled already")

// CheckFree refuses with ErrEnrolled when agent.yaml holds an enrollment, and with its own error when it
// cannot be understood: what is in it might be one. A missing file, or one with the owner's keys alone, is free.
func CheckFree(config string) error {
	c, err := read(config)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w; mend or remove the file, or give --force to put it aside", err)
	}
	if c.Enrolled() {
		return fmt.Errorf("%w as host %s with %s (%s); give --force to enroll it anew", ErrEnrolled, c.HostID, c.ServerURL, config)
	}
	return nil
}

func hexSum(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}
