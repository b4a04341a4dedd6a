// Package doctor finds out whether a server is well: its settings, its database, the address under which it is
// reached, and its duties. It works beside a server that runs and beside one that cannot start, and writes nothing.
package doctor

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"syscall"
	"time"

	"restic-manager/server/config"
	"restic-manager/server/database"
	"restic-manager/server/install"
	"restic-manager/shared/checkup"
)

// Options say what is looked at.
type Options struct {
	Settings *config.Settings
	// SettingsErr is why the server would not start with them; the rest is looked at as far as it goes.
	SettingsErr error
	// NoStorage says that they do not even tell which database is meant.
	NoStorage bool
	Version   string // of this program
	// LocalURL is how this machine reaches the server that runs with these settings.
	LocalURL string
	// NoHold leaves out what takes half a minute: a request that is held, over the public URL.
	NoHold bool
	Say    func(checkup.Result) // gets each result as it comes; may be nil
	Wait   func(string)         // is told what the next result takes; may be nil
	Outside
}

// Outside is the world. The zero value of a field is the real one.
type Outside struct {
	Now func() time.Time
	// Free is how many bytes may still be written where path is.
	Free func(path string) (uint64, error)
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// HoldFor is how long a request is held over the public URL; 0 is agents' longest poll.
	HoldFor time.Duration
}

func (o *Outside) complete() {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Free == nil {
		o.Free = free
	}
	if o.Dial == nil {
		o.Dial = (&net.Dialer{}).DialContext
	}
	if o.HoldFor == 0 {
		o.HoldFor = 30 * time.Second
	}
}

func free(path string) (uint64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(path, &s); err != nil {
		return 0, err
	}
	return s.Bavail * uint64(s.Bsize), nil
}

// Report is everything that was found.
type Report struct {
	Version string           `json:"version"`
	OK      bool             `json:"ok"` // nothing is wrong
	Checks  []checkup.Result `json:"checks"`
}

// doctor is one run. Its later checks stand on what the earlier ones found.
type doctor struct {
	Options
	db     *database.DB // nil: it does not open
	schema bool         // the database's is this program's
	key    []byte       // nil: none that can be used
	up     bool         // a server answers on this machine
	client *http.Client // verifies, and follows nothing
	seen   *seen        // of the public URL; nil: it does not answer
}

// Run looks at everything.
func Run(ctx context.Context, o Options) Report {
	o.complete()
	d := &doctor{Options: o}
	defer d.close()
	report := Report{Version: o.Version, Checks: []checkup.Result{}}
	for _, c := range []struct {
		name string
		do   func(context.Context) checkup.Result
	}{
		{"settings", d.settings},
		{"database", d.database},
		{"schema", d.schemaState},
		{"key", d.encryptionKey},
		{"disk", d.disk},
		{"clock", d.clock},
		{"invariants", d.invariants},
		{"server", d.server},
		{"sweeper", d.sweeper},
		{"certificate", d.certificate},
		{"address", d.address},
		{"hold", d.hold},
		{"agents", d.agents},
	} {
		if ctx.Err() != nil {
			break
		}
		r := c.do(ctx)
		r.Name = c.name
		report.Checks = append(report.Checks, r)
		if d.Say != nil {
			d.Say(r)
		}
	}
	report.OK = checkup.Healthy(report.Checks) && ctx.Err() == nil
	return report
}

func (d *doctor) close() {
	if d.db != nil {
		d.db.Close()
	}
	if d.client != nil {
		d.client.CloseIdleConnections()
	}
}

func (d *doctor) wait(format string, args ...any) {
	if d.Wait != nil {
		d.Wait(fmt.Sprintf(format, args...))
	}
}

func (d *doctor) settings(context.Context) checkup.Result {
	if d.SettingsErr != nil {
		return checkup.Fail("the server does not start like this; restic-manager config print shows where each setting comes from", "%s", d.SettingsErr)
	}
	at := d.Settings.PublicURL
	if at == "" {
		return checkup.Warn("set public-url: the command that adds a machine needs it, and what this cannot try without it", "they can be used; public-url is not set")
	}
	return checkup.Ok("they can be used; the server is %s", at)
}

// agents looks for the programs that machines fetch when they are added.
func (d *doctor) agents(context.Context) checkup.Result {
	dir := d.Settings.AgentsDir
	if dir == "" {
		return checkup.Skip("not known: the settings come first")
	}
	list, err := install.OpenAgents(dir).List()
	if err != nil {
		return checkup.Fail("see the rights of the folder", "%s", err)
	}
	if len(list) == 0 {
		return checkup.Warn("put them there or set agents-dir; until then the agent is installed by hand", "there are no agents in %s: machines cannot be added by the one command", dir)
	}
	text := ""
	for _, p := range list {
		text += ", " + p.Platform
	}
	return checkup.Ok("%s, in %s", text[2:], dir)
}
