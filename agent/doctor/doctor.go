// Package doctor finds out why the agent of this machine does not reach its server, or cannot do its work, and says
// what to do: for the person who stands at a firewall. Each check is one function; what they touch of the world comes
// in from outside.
package doctor

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"restic-manager/agent/client"
	"restic-manager/agent/config"
	"restic-manager/agent/guard"
	"restic-manager/shared/checkup"
)

// Options say what is looked at.
type Options struct {
	Paths   config.Paths
	Version string // of this program
	// Server is the way that the command line names; with an empty ServerURL agent.yaml's is looked at.
	Server client.Options
	// FromService says that the proxy's variables are those of the agent's service, not of this shell.
	FromService bool
	// NoHold leaves out what takes a minute: how long a request may be held.
	NoHold bool
	// Guard opens guard.yaml for an agent.yaml, which may be nil.
	Guard func(*config.Config) *guard.Guard
	// Say gets each result as it comes; nil: nobody waits for it.
	Say func(checkup.Result)
	// Wait is told what the next result takes; may be nil.
	Wait func(string)
	Outside
}

// Outside is the world. The zero value of a field is the real one.
type Outside struct {
	Dial   func(ctx context.Context, network, address string) (net.Conn, error)
	Lookup func(ctx context.Context, host string) ([]string, error)
	// Proxy is the proxy for a request; nil: as the agent chooses.
	Proxy func(*http.Request) (*url.URL, error)
	Env   func(string) string
	Now   func() time.Time
	// Free is how many bytes a user may still write where path is.
	Free func(path string) (uint64, error)
	// Run runs a program of the system and returns what it printed.
	Run func(ctx context.Context, name string, args ...string) (string, error)
	UID int // 0: this process's
}

func (o *Outside) complete() {
	if o.Dial == nil {
		o.Dial = (&net.Dialer{}).DialContext
	}
	if o.Lookup == nil {
		o.Lookup = net.DefaultResolver.LookupHost
	}
	if o.Env == nil {
		o.Env = os.Getenv
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Free == nil {
		o.Free = free
	}
	if o.Run == nil {
		o.Run = run
	}
	if o.UID == 0 {
		o.UID = os.Geteuid()
	}
}

func free(path string) (uint64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(path, &s); err != nil {
		return 0, err
	}
	return s.Bavail * uint64(s.Bsize), nil
}

func run(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	return strings.TrimSpace(string(out)), err
}

// Report is everything that was found.
type Report struct {
	Version   string `json:"version"`
	ServerURL string `json:"server_url,omitempty"`
	OK        bool   `json:"ok"` // nothing is wrong
	// HoldSeconds is how long a request may be held on the way to the server; 0: it was not tried, or none was.
	HoldSeconds int              `json:"hold_seconds,omitempty"`
	Checks      []checkup.Result `json:"checks"`
}

// doctor is one run. Its later checks stand on what the earlier ones found.
type doctor struct {
	Options
	report   Report
	settings *config.Config // nil: none that can be used
	way      client.Way
	source   string // of the proxy's setting
	proxy    *url.URL
	token    string // empty: nothing to show to this server
	enrolled bool   // agent.yaml is of this server
	state    *tls.ConnectionState
	answer   *answer // the server's own, to the first call
	oldHold  bool    // the server is too old to hold a request
}

// check is one line and what finds it out. Where one with gate fails, those behind it that have needs are not tried.
type check struct {
	name  string
	do    func(context.Context) checkup.Result
	needs bool
	gate  bool
}

// Run looks at everything, from the agent's files over the way to the server to what the agent needs for its work.
func Run(ctx context.Context, o Options) Report {
	o.complete()
	d := &doctor{Options: o, report: Report{Version: o.Version, Checks: []checkup.Result{}}}
	d.run(ctx, d.checks())
	return d.report
}

func (d *doctor) run(ctx context.Context, checks []check) {
	broken := ""
	for _, c := range checks {
		if ctx.Err() != nil {
			break
		}
		var r checkup.Result
		if c.needs && broken != "" {
			r = checkup.Skip("not tried: %s comes first", broken)
		} else if r = c.do(ctx); c.gate && broken == "" && (r.State == checkup.Wrong || d.way.Base == nil) {
			broken = c.name
		}
		r.Name = c.name
		d.report.Checks = append(d.report.Checks, r)
		if d.Say != nil {
			d.Say(r)
		}
	}
	d.report.OK = checkup.Healthy(d.report.Checks) && ctx.Err() == nil
}

func (d *doctor) checks() []check {
	return []check{
		{name: "config", do: d.config},
		{name: "server", do: d.server, gate: true},
		{name: "dns", do: d.dns, needs: true, gate: true},
		{name: "tcp", do: d.tcp, needs: true, gate: true},
		{name: "proxy", do: d.throughProxy, needs: true, gate: true},
		{name: "tls", do: d.tls, needs: true, gate: true},
		{name: "answer", do: d.answers, needs: true, gate: true},
		{name: "clock", do: d.clock, needs: true},
		{name: "accepted", do: d.accepted, needs: true},
		{name: "compression", do: d.compression, needs: true},
		{name: "buffering", do: d.buffering, needs: true},
		{name: "hold", do: d.hold, needs: true},
		{name: "guard", do: d.guard},
		{name: "restic", do: d.restic},
		{name: "folders", do: d.folders},
		{name: "disk", do: d.disk},
		{name: "repository", do: d.repository},
		{name: "service", do: d.service},
	}
}

func (d *doctor) wait(format string) {
	if d.Wait != nil {
		d.Wait(format)
	}
}
