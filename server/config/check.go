package config

import (
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Complete fills in what depends on the machine, and checks. Errors are *Error and say what to change.
func (l *Loader) Complete(s *Settings) error {
	if err := l.load(""); err != nil {
		return err
	}
	for i, p := range []*string{&s.AdminUser, &s.AdminPassword} {
		v, source, err := l.lookup(offFlags[i])
		if err != nil {
			return err
		}
		if *p = v; source != "" {
			l.sources[offFlags[i].Name] = source
		}
	}
	if err := l.CompleteStorage(&s.Storage); err != nil {
		return err
	}
	if s.AgentsDir == "" {
		s.AgentsDir = agentsDir()
	}
	return s.check()
}

// agentsDir is where a build leaves the agents, or where a package puts them.
func agentsDir() string {
	if program, err := os.Executable(); err == nil {
		dir := filepath.Join(filepath.Dir(program), "agents")
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			return dir
		}
	}
	return "/usr/lib/restic-manager/agents"
}

// CompleteStorage does the same for the commands that only open the database.
func (l *Loader) CompleteStorage(s *Storage) error {
	if s.DataDir == "" {
		s.DataDir = l.dataDir()
	}
	dir, err := filepath.Abs(s.DataDir)
	if err != nil {
		return Errorf("data-dir: %v", err)
	}
	s.DataDir = dir
	if s.KeyFile == "" {
		s.KeyFile = filepath.Join(dir, "secret.key")
	}
	if s.Database != "" && !postgres(s.Database) {
		return Errorf("database: give a postgres:// URL, or leave it out for SQLite in the data folder")
	}
	if s.DatabaseConnections < 2 || s.DatabaseConnections > 1000 {
		return Errorf("database-connections: %d is not between 2 and 1000", s.DatabaseConnections)
	}
	return nil
}

func postgres(u string) bool {
	return strings.HasPrefix(u, "postgres://") || strings.HasPrefix(u, "postgresql://")
}

func (l *Loader) dataDir() string {
	if dir := l.env["STATE_DIRECTORY"]; dir != "" {
		first, _, _ := strings.Cut(dir, ":") // systemd.exec(5): several are separated by colons
		return first
	}
	if os.Geteuid() == 0 {
		return "/var/lib/restic-manager"
	}
	if dir := l.env["XDG_STATE_HOME"]; filepath.IsAbs(dir) {
		return filepath.Join(dir, "restic-manager")
	}
	return filepath.Join(l.env["HOME"], ".local", "state", "restic-manager")
}

// Source is the database to open: the URL, or the SQLite file's path.
func (s *Storage) Source() string {
	if s.Database != "" {
		return s.Database
	}
	return filepath.Join(s.DataDir, "restic-manager.db")
}

// SQLite reports whether the database is a file in the data folder.
func (s *Storage) SQLite() bool { return s.Database == "" }

func (s *Settings) check() error {
	if (s.TLSCert == "") != (s.TLSKey == "") {
		return Errorf("tls-cert and tls-key belong together: set both or none")
	}
	if (s.AdminUser == "") != (s.AdminPassword == "") {
		return Errorf("RESTIC_MANAGER_ADMIN_USER and RESTIC_MANAGER_ADMIN_PASSWORD belong together: set both or none")
	}
	for name, addr := range map[string]string{"listen": s.Listen, "metrics-listen": s.MetricsListen} {
		if _, _, err := net.SplitHostPort(addr); err != nil && addr != "" {
			return Errorf("%s: %q is not an address with a port: write for example :8080 or 127.0.0.1:8080", name, addr)
		}
	}
	if s.Listen == "" {
		return Errorf("listen: give an address and a port, for example :8080")
	}
	if s.MetricsToken != "" && len(s.MetricsToken) < 16 {
		return Errorf("metrics-token: it is too short to be a secret: use 16 characters or more")
	}
	if d := time.Duration(s.OfflineAfter); d < time.Second {
		return Errorf("offline-after: %s is shorter than a second", s.OfflineAfter)
	}
	if d := time.Duration(s.OverdueAfter); d < time.Minute {
		return Errorf("overdue-after: %s is shorter than a minute", s.OverdueAfter)
	}
	if d := time.Duration(s.PollHold); d != 0 && d < time.Second {
		return Errorf("poll-hold: %s is shorter than a second; 0 leaves it to the agents", s.PollHold)
	}
	if time.Duration(s.LogKeep) < time.Hour {
		return Errorf("log-keep: %s is shorter than an hour", s.LogKeep)
	}
	for name, size := range map[string]Size{"log-bytes-per-job": s.LogBytesPerJob, "log-head-bytes": s.LogHeadBytes, "log-tail-bytes": s.LogTailBytes} {
		if size < 64<<10 {
			return Errorf("%s: %s is less than 64KiB, the longest line", name, size)
		}
	}
	return s.checkURLs()
}

func (s *Settings) checkURLs() error {
	if s.HelpURL != "" {
		if _, err := webURL(s.HelpURL); err != nil {
			return Errorf("help-url: %v", err)
		}
	}
	if s.PublicURL == "" {
		return nil
	}
	u, err := webURL(s.PublicURL)
	if err != nil {
		return Errorf("public-url: %v", err)
	}
	if strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return Errorf("public-url: the server wants a host name of its own: leave out %q", u.RequestURI())
	}
	if u.Scheme == "http" && !loopback(u.Hostname()) && !s.InsecureHTTP {
		return Errorf("public-url: %s is plain HTTP, where passwords can be read on the way. Use https:// (tls-cert and tls-key, or a reverse proxy), or allow it with insecure-http", s.PublicURL)
	}
	s.PublicURL = u.Scheme + "://" + u.Host
	if s.HelpURL == "" {
		s.HelpURL = s.PublicURL
	}
	return nil
}

func webURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil {
		return nil, Errorf("write it as https://host or https://host:port")
	}
	return u, nil
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || err == nil && ip.IsLoopback()
}
