package config

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"restic-manager/agent/hostfile"
	"restic-manager/shared/wire"
)

// PasswordCommandLimit is how long repo_password_command may take.
const PasswordCommandLimit = 30 * time.Second

func (c *Config) checkRepository() error {
	ways := 0
	for _, w := range []string{c.RepoPassword, c.RepoPasswordFile, c.RepoPasswordCommand} {
		if w != "" {
			ways++
		}
	}
	if c.RepoURL == "" {
		if ways > 0 || len(c.Environment) > 0 {
			return errors.New("repo_url: missing, though there is a password or an environment for it")
		}
		return nil
	}
	if _, err := wire.CheckRepositoryURL(c.RepoURL); err != nil {
		return fmt.Errorf("repo_url: %w", err)
	}
	if ways != 1 {
		return errors.New("repo_password: give exactly one of repo_password, repo_password_file, repo_password_command")
	}
	if strings.ContainsAny(c.RepoPassword, "\x00\n\r") {
		return errors.New("repo_password: one line, without NUL")
	}
	if c.RepoPasswordFile != "" && !filepath.IsAbs(c.RepoPasswordFile) {
		return errors.New("repo_password_file: give an absolute path")
	}
	if c.RepoPasswordCommand != "" {
		if _, err := splitWords(c.RepoPasswordCommand); err != nil {
			return fmt.Errorf("repo_password_command: %w", err)
		}
	}
	return wire.CheckRepositoryEnv(c.Environment)
}

// Location is the repository of agent.yaml as restic gets it, without secrets; empty where there is none.
func (c *Config) Location() string {
	location, err := wire.CheckRepositoryURL(c.RepoURL)
	if err != nil {
		return ""
	}
	return location
}

// Repository is the repository of agent.yaml with its password, fetched anew at each call, so that a
// changed file or command holds at once. Nil without an error: agent.yaml names none. The result is for
// memory only.
func (c *Config) Repository(ctx context.Context) (*wire.Secrets, error) {
	if c.RepoURL == "" {
		return nil, nil
	}
	location, err := wire.CheckRepositoryURL(c.RepoURL)
	if err != nil {
		return nil, fmt.Errorf("agent.yaml: repo_url: %w", err)
	}
	password, err := c.password(ctx)
	if err != nil {
		return nil, err
	}
	return &wire.Secrets{RepositoryURL: location, Password: password, Env: maps.Clone(c.Environment)}, nil
}

// ProtectedFiles are the files with secrets that agent.yaml names; no backup may hold them.
func (c *Config) ProtectedFiles() []string {
	if c.RepoPasswordFile == "" {
		return nil
	}
	return []string{c.RepoPasswordFile}
}

func (c *Config) password(ctx context.Context) (string, error) {
	switch {
	case c.RepoPassword != "":
		return c.RepoPassword, nil
	case c.RepoPasswordFile != "":
		return passwordFromFile(c.RepoPasswordFile)
	case c.RepoPasswordCommand != "":
		return passwordFromCommand(ctx, c.RepoPasswordCommand, PasswordCommandLimit)
	}
	return "", errors.New("agent.yaml: repo_password: give one of repo_password, repo_password_file, repo_password_command")
}

func passwordFromFile(path string) (string, error) {
	f, err := hostfile.Read(path)
	if err != nil {
		return "", fmt.Errorf("repo_password_file: %w", err)
	}
	if f.Mode.Perm()&0o007 != 0 {
		return "", fmt.Errorf("repo_password_file: everybody may open %s (mode %#o): chmod 600 it", path, f.Mode.Perm())
	}
	return trimPassword(f.Data, "repo_password_file: "+path)
}

// passwordFromCommand runs the owner's command as restic's own --password-command does: words split at
// blanks, quotes honoured, no shell, standard output is the password. Its words never reach an error: they
// could hold the password.
func passwordFromCommand(ctx context.Context, command string, limit time.Duration) (string, error) {
	words, err := splitWords(command)
	if err != nil {
		return "", fmt.Errorf("repo_password_command: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Env = commandEnvironment(os.Environ())
	cmd.Dir = "/"
	// A group of its own, so that a limit ends what the command started as well.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	var out limitedBuffer
	cmd.Stdout = &out
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return "", fmt.Errorf("repo_password_command: no answer within %s: %w", limit, ctx.Err())
		}
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return "", fmt.Errorf("repo_password_command: %s; run it by hand as the user of the agent", exit.ProcessState)
		}
		return "", fmt.Errorf("repo_password_command: %s cannot be run; give an absolute path to a program", words[0])
	}
	return trimPassword(out.data, "repo_password_command")
}

// maxPassword bounds a password in bytes.
const maxPassword = 4096

type limitedBuffer struct{ data []byte }

func (b *limitedBuffer) Write(p []byte) (int, error) {
	if room := maxPassword + 2 - len(b.data); room > 0 {
		b.data = append(b.data, p[:min(room, len(p))]...)
	}
	return len(p), nil
}

// trimPassword takes blanks and line ends off, as restic does with its own password files.
func trimPassword(data []byte, from string) (string, error) {
	p := strings.TrimSpace(strings.TrimPrefix(string(data), "\ufeff"))
	switch {
	case p == "":
		return "", fmt.Errorf("%s: gives an empty password", from)
	case len(p) > maxPassword || strings.ContainsAny(p, "\x00\n\r"):
		return "", fmt.Errorf("%s: give one line of at most %d bytes, without NUL", from, maxPassword)
	}
	return p, nil
}

// commandEnvironment is the agent's own environment without what is meant for the agent alone.
func commandEnvironment(environ []string) []string {
	var kept []string
	for _, e := range environ {
		key, _, _ := strings.Cut(e, "=")
		switch {
		case key == "NOTIFY_SOCKET", key == "WATCHDOG_PID", key == "WATCHDOG_USEC", strings.HasPrefix(key, "RESTIC_MANAGER_"):
		default:
			kept = append(kept, e)
		}
	}
	return kept
}

// splitWords splits a command line at blanks. Single quotes keep everything, double quotes and the
// backslash work as in a shell; nothing is expanded.
func splitWords(s string) ([]string, error) {
	if strings.ContainsRune(s, 0) {
		return nil, errors.New("holds a NUL")
	}
	var words []string
	var word strings.Builder
	inWord := false
	var quote rune
	escaped := false
	for _, r := range s {
		switch {
		case escaped:
			if quote == '"' && r != '"' && r != '\\' {
				word.WriteByte('\\')
			}
			word.WriteRune(r)
			escaped = false
		case r == '\\' && quote != '\'':
			escaped, inWord = true, true
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			quote, inWord = r, true
		case r == ' ' || r == '\t' || r == '\n' || r == '\r':
			if inWord {
				words = append(words, word.String())
				word.Reset()
				inWord = false
			}
		default:
			word.WriteRune(r)
			inWord = true
		}
	}
	if quote != 0 || escaped {
		return nil, errors.New("a quote or a backslash at the end has no counterpart")
	}
	if inWord {
		words = append(words, word.String())
	}
	if len(words) == 0 || words[0] == "" {
		return nil, errors.New("give a program and its arguments")
	}
	return words, nil
}
