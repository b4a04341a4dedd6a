package wire

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

var (
	host     = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.-]*$`)
	user     = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`)
	bucket   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)
	remote   = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_-]{0,127}$`)
	safePath = regexp.MustCompile(`^[A-Za-z0-9._/@+=~-]*$`)
)

// isObjectPath wants characters that no program reads as anything else, and no step upwards: a guard may
// have allowed a folder by its path.
func isObjectPath(p string) bool {
	return safePath.MatchString(p) && !slices.Contains(strings.Split(p, "/"), "..")
}

// CheckRepositoryURL checks a restic repository location and returns it in the form restic gets. A
// location is code, not data: rclone's may run programs, and restic gives sftp's host to ssh unguarded.
// Allowed are an absolute local path, rest:http(s)://, s3:, b2:, azure:, gs:, swift:, sftp: and rclone: with
// the bare name of a remote that the host's owner has set up. Passwords
// in it are refused: they belong in the environment. Source: restic doc, "Preparing a new repository".
func CheckRepositoryURL(s string) (string, error) {
	if s == "" || len(s) > maxPathLen || !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
		return "", fmt.Errorf("repository: give a location of 1 to %d printable characters", maxPathLen)
	}
	if strings.HasPrefix(s, "/") {
		return localPath(s)
	}
	scheme, rest, ok := strings.Cut(s, ":")
	if !ok {
		return "", errors.New("repository: give an absolute path or one of rest:, s3:, b2:, azure:, gs:, swift:, sftp:, rclone:")
	}
	switch scheme {
	case "local":
		return localPath(rest)
	case "rest":
		return restURL("rest:", rest)
	case "s3":
		if strings.HasPrefix(rest, "http://") || strings.HasPrefix(rest, "https://") {
			return restURL("s3:", rest)
		}
		h, p, _ := strings.Cut(strings.TrimPrefix(rest, "//"), "/")
		if !host.MatchString(hostOnly(h)) || p == "" || !isObjectPath(p) {
			return "", errors.New("repository: give s3:HOST/BUCKET/PATH or s3:https://HOST/BUCKET/PATH")
		}
		return "s3:" + h + "/" + p, nil
	case "b2", "azure", "gs", "swift":
		b, p, _ := strings.Cut(rest, ":")
		if !bucket.MatchString(b) || !isObjectPath(p) {
			return "", fmt.Errorf("repository: give %s:BUCKET:PATH", scheme)
		}
		return scheme + ":" + b + ":" + p, nil
	case "sftp":
		return sftpURL(rest)
	case "rclone":
		r, p, _ := strings.Cut(rest, ":")
		if !remote.MatchString(r) || strings.HasPrefix(p, "-") || p == "" || !isObjectPath(p) {
			return "", errors.New("repository: give rclone:REMOTE:PATH, the name of a remote that the host's own rclone.conf has; options and backends written into it are not taken")
		}
		return "rclone:" + r + ":" + p, nil
	}
	return "", fmt.Errorf("repository: %.20q is not a scheme this product takes; use an absolute path or rest:, s3:, b2:, azure:, gs:, swift:, sftp:, rclone:", scheme)
}

func localPath(p string) (string, error) {
	if !path.IsAbs(p) || path.Clean(p) == "/" {
		return "", errors.New("repository: give the absolute path of a folder")
	}
	return path.Clean(p), nil
}

func hostOnly(h string) string {
	name, port, ok := strings.Cut(h, ":")
	if !ok {
		return h
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return "" // matches nothing
	}
	return name
}

func restURL(prefix, s string) (string, error) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return "", fmt.Errorf("repository: give %shttps://HOST/PATH", prefix)
	}
	if u.User != nil {
		return "", errors.New("repository: no name or password in the address; set RESTIC_REST_USERNAME and RESTIC_REST_PASSWORD (or the backend's keys) in the environment")
	}
	if !isHostPort(u.Host) || u.ForceQuery || u.RawQuery != "" || u.Fragment != "" || u.Opaque != "" || !isObjectPath(u.Path) {
		return "", fmt.Errorf("repository: give %shttps://HOST[:PORT]/PATH with letters, digits and . _ / @ + = ~ - in the path", prefix)
	}
	return prefix + u.Scheme + "://" + u.Host + u.Path, nil
}

// isHostPort takes a name, an IPv4 address or an IPv6 address in brackets, each with or without a port.
func isHostPort(s string) bool {
	if !strings.HasPrefix(s, "[") {
		return host.MatchString(hostOnly(s))
	}
	literal, port, ok := strings.Cut(s[1:], "]")
	ip, err := netip.ParseAddr(literal)
	return ok && err == nil && ip.Is6() && ip.Zone() == "" && (port == "" || hostOnly("h"+port) == "h")
}

func sftpURL(rest string) (string, error) {
	const help = "repository: give sftp:USER@HOST:/PATH or sftp://USER@HOST:PORT//PATH"
	if after, ok := strings.CutPrefix(rest, "//"); ok {
		login, p, ok := strings.Cut(after, "/")
		u, h := "", login
		if at := strings.LastIndex(login, "@"); at >= 0 {
			u, h = login[:at], login[at+1:]
		}
		if !ok || u != "" && !user.MatchString(u) || !host.MatchString(hostOnly(h)) || p == "" || strings.HasPrefix(p, "-") || !isObjectPath(p) {
			return "", errors.New(help)
		}
		return "sftp://" + login + "/" + p, nil
	}
	login, p, ok := strings.Cut(rest, ":")
	u, h := "", login
	if at := strings.LastIndex(login, "@"); at >= 0 {
		u, h = login[:at], login[at+1:]
	}
	if !ok || p == "" || u != "" && !user.MatchString(u) || !host.MatchString(h) || strings.HasPrefix(p, "-") || !isObjectPath(p) {
		return "", errors.New(help)
	}
	return "sftp:" + login + ":" + p, nil
}
