package guard

import (
	"net/url"
	"path"
	"slices"
	"strings"

	"restic-manager/shared/wire"
)

// systemFolders are where a repository that the server names on this host's own disks would harm: restic
// makes files called "config" and folders called "data" and "keys" in it.
var systemFolders = []string{"/bin", "/boot", "/etc", "/lib", "/lib32", "/lib64", "/run", "/sbin", "/usr", "/var/spool", "/var/lib/dpkg"}

// checkLocation allows a repository that fits one entry of repositories, or any where there is no entry.
func (p *policy) checkLocation(f Facts) *Refusal {
	l := parseLocation(f.Location)
	if l.scheme == "" {
		return refuse("repositories", "the order names no repository that this host knows")
	}
	// rclone is a program, and its remotes may run others: the owner names those that may be used, whoever names the location.
	if l.scheme == "rclone" && !slices.Contains(p.remotes, l.host) {
		return refuse("rclone.remotes", "the remote %s may not be used here; name it in guard.yaml: rclone: {remotes: [%s]}", l.host, l.host)
	}
	if l.scheme == "local" && f.Source != wire.RepositoryLocal {
		if r := p.checkServerFolder(l.path); r != nil {
			return r
		}
	}
	if len(p.repositories) == 0 || slices.ContainsFunc(p.repositories, func(r repositoryRule) bool { return r.fits(l) }) {
		return nil
	}
	return refuse("repositories", "%s fits none of its entries; add one in guard.yaml", f.Location)
}

// checkServerFolder bounds where the server may have a repository made or changed on this host: "write
// nothing" must not be undone by calling a system folder a repository.
func (p *policy) checkServerFolder(folder string) *Refusal {
	real, err := resolve(folder)
	if err != nil {
		return refuse("repositories", "%.200q cannot be resolved: %v", folder, reason(err))
	}
	forbidden := withResolved(slices.Concat(p.denied, systemFolders, []string{p.hooks.Dir}))
	for _, name := range []string{folder, real} {
		if in, yes := insideAny(name, forbidden); yes {
			return refuse("repositories", "the server may not have a repository in %s of this host; set repo_url in agent.yaml if you want it there", in)
		}
		if strings.Contains(name, "/.") {
			return refuse("repositories", "the server may not have a repository in a hidden folder of this host; set repo_url in agent.yaml if you want it there")
		}
	}
	return nil
}

// location is a repository taken apart; host is empty where the backend has none.
type location struct{ scheme, host, path string }

// parseLocation takes apart what wire.CheckRepositoryURL returned; the zero location means none.
func parseLocation(s string) location {
	s, err := wire.CheckRepositoryURL(s)
	if err != nil {
		return location{}
	}
	if strings.HasPrefix(s, "/") {
		return location{scheme: "local", path: s}
	}
	scheme, rest, _ := strings.Cut(s, ":")
	if u, err := url.Parse(rest); err == nil && (u.Scheme == "http" || u.Scheme == "https") {
		return location{scheme: scheme, host: strings.ToLower(u.Host), path: cleanPath(u.Path)}
	}
	switch scheme {
	case "s3":
		host, p, _ := strings.Cut(rest, "/")
		return location{scheme: scheme, host: strings.ToLower(host), path: cleanPath(p)}
	case "sftp":
		return parseSFTP(rest)
	case "rclone":
		remote, p, _ := strings.Cut(rest, ":")
		return location{scheme: scheme, host: remote, path: cleanPath(p)}
	}
	bucket, p, _ := strings.Cut(rest, ":")
	return location{scheme: scheme, path: cleanPath(bucket + "/" + p)}
}

func parseSFTP(rest string) location {
	sep := ":"
	if after, ok := strings.CutPrefix(rest, "//"); ok {
		rest, sep = after, "/"
	}
	login, p, _ := strings.Cut(rest, sep)
	host := strings.ToLower(login[strings.LastIndex(login, "@")+1:])
	return location{scheme: "sftp", host: host, path: cleanPath(p)}
}

func cleanPath(p string) string { return path.Clean("/" + p) }

// fits reports whether everything that the rule names holds.
func (r *repositoryRule) fits(l location) bool {
	if len(r.Schemes) > 0 && !slices.Contains(r.Schemes, l.scheme) {
		return false
	}
	if len(r.Hosts) > 0 && !slices.ContainsFunc(r.Hosts, func(h string) bool { return hostFits(strings.ToLower(h), l.host) }) {
		return false
	}
	return r.PathPrefix == "" || inside(l.path, cleanPath(r.PathPrefix))
}

// hostFits compares HOST or HOST:PORT with the location's; HOST alone is any of its ports.
func hostFits(rule, host string) bool {
	if rule == host {
		return true
	}
	name := host
	if i := strings.LastIndex(host, ":"); i > strings.LastIndex(host, "]") {
		name = host[:i]
	}
	return rule == name && name != ""
}
