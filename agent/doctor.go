package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"restic-manager/agent/client"
	"restic-manager/agent/config"
	"restic-manager/agent/doctor"
	"restic-manager/agent/guard"
	"restic-manager/shared/checkup"
)

type doctorCommand struct {
	folders
	JSON         bool     `name:"json" help:"Print as JSON, at the end."`
	NoHold       bool     `help:"Leave out what takes a minute: how long a request may wait on the way."`
	Server       string   `placeholder:"URL" help:"Server to try the way to, before this machine is enrolled. Default: agent.yaml's."`
	CertPin      []string `placeholder:"sha256:SUM" sep:"none" help:"As for enroll; with --server."`
	CA           string   `name:"ca" placeholder:"FILE" type:"path" help:"As for enroll; with --server."`
	InsecureHTTP bool     `name:"insecure-http" help:"As for enroll; with --server."`
	Proxy        string   `placeholder:"URL" help:"As for enroll; with --server."`
}

// errUnwell is the end of a doctor that found something wrong; what it was is said already.
var errUnwell = errors.New("something is wrong")

// Run looks at this machine and the way to its server. It exits with 0 when nothing is wrong, with 1 when something is,
// with 2 for a command line that makes no sense.
func (d *doctorCommand) Run(ctx context.Context, c console) error {
	if d.Server == "" && (len(d.CertPin) > 0 || d.CA != "" || d.InsecureHTTP || d.Proxy != "") {
		return fail(exitUsage, errors.New("--cert-pin, --ca, --insecure-http and --proxy belong to --server; without it agent.yaml says how its server is reached"))
	}
	paths, err := config.Locate(d.Config, d.StateDir)
	if err != nil {
		return err
	}
	if d.CA != "" {
		if d.CA, err = filepath.Abs(d.CA); err != nil {
			return err
		}
	}
	o := doctor.Options{Paths: paths, Version: agentVersion(), NoHold: d.NoHold,
		Server: client.Options{ServerURL: d.Server, CertPins: d.CertPin, CAFile: d.CA, InsecureHTTP: d.InsecureHTTP, Proxy: d.Proxy},
		Guard:  func(s *config.Config) *guard.Guard { return openGuard(paths, s) }}
	if !d.JSON {
		o.Say = func(r checkup.Result) { fmt.Fprint(c.out, r.Text()) }
		if isTerminal(c.out) {
			o.Wait = func(what string) { fmt.Fprintf(c.err, "… %s\n", what) }
		}
	}
	// Before the first request: net/http reads them once.
	for name, value := range doctor.ServiceProxy(ctx, doctor.Outside{}) {
		o.FromService = true
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	report := doctor.Run(ctx, o)
	if d.JSON {
		err = printJSON(c, report)
	}
	if !report.OK {
		err = errors.Join(err, errUnwell)
	}
	return err
}
