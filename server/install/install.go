// Package install is how a machine is added by one pasted command: the agents that the server hands out, the shell
// script that brings one to a machine, and whom that machine is to trust. It knows nothing of HTTP.
package install

import (
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"restic-manager/server/fault"
)

// Site is the server as the machines reach it.
type Site struct {
	URL     string // as in https://backup.example, from ServerURL
	Version string // of the server and its agents
	Certificate
}

// ScriptURL is where the script is.
func (s Site) ScriptURL() string { return s.URL + "/install.sh" }

// AgentURL is where a platform's agent is.
func (s Site) AgentURL(platform string) string { return s.URL + "/download/agent/" + platform }

// Command is what a person pastes on the machine, up to the options, as in curl … | sh -s --.
func (s Site) Command() string {
	fetch := "curl -fsSL "
	if s.Private() {
		fetch = "curl -fsSLk --pinnedpubkey " + quote(s.SPKIPin) + " "
	}
	return fetch + quote(s.ScriptURL()) + s.shell()
}

// WgetCommand is the same for machines without curl.
func (s Site) WgetCommand() string {
	fetch := "wget -qO- "
	if s.Private() {
		fetch = "wget -qO- --no-check-certificate --pinnedpubkey=" + quote(s.SPKIPin) + " "
	}
	return fetch + quote(s.ScriptURL()) + s.shell()
}

func (s Site) shell() string {
	command := " | sh -s --"
	if s.Private() {
		command += " --cert-pin " + s.CertPin
	}
	if u, err := url.Parse(s.URL); err == nil && u.Scheme == "http" && !loopback(u.Hostname()) {
		command += " --insecure-http" // the agent would refuse
	}
	return command
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || err == nil && ip.IsLoopback()
}

// hostname is what a DNS name or an IPv4 address can consist of.
var hostname = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252}[A-Za-z0-9_.])?$`)

// ServerURL is scheme and host, as of a request, as a URL. A host that is none is a fault: a script would carry it.
func ServerURL(scheme, host string) (string, error) {
	name, port := host, ""
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		var err error
		if name, port, err = net.SplitHostPort(host); err != nil {
			return "", errHost()
		}
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return "", errHost()
		}
		if strings.Contains(name, ":") {
			name = "[" + name + "]" // taken off by SplitHostPort
		}
	}
	if inner, ok := strings.CutPrefix(name, "["); ok {
		a, err := netip.ParseAddr(strings.TrimSuffix(inner, "]"))
		if err != nil || !a.Is6() || a.Zone() != "" || !strings.HasSuffix(inner, "]") {
			return "", errHost()
		}
	} else if !hostname.MatchString(name) {
		return "", errHost()
	}
	if scheme != "http" && scheme != "https" {
		return "", errHost()
	}
	if port != "" {
		name += ":" + port
	}
	return scheme + "://" + name, nil
}

func errHost() error {
	return fault.New(fault.Malformed, "invalid", "The request's Host is no host name. Ask under the server's own address; behind a proxy, set --public-url to it.")
}

// plain is what no shell reads anything into.
var plain = regexp.MustCompile(`^[A-Za-z0-9_./:=+@%-]+$`)

// quote makes one word of it for a POSIX shell, whatever is in it.
func quote(s string) string {
	if plain.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
