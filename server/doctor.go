package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"restic-manager/server/config"
	"restic-manager/server/doctor"
	"restic-manager/shared/checkup"
)

type doctorCommand struct {
	config.Settings `embed:""`
	JSON            bool `name:"json" help:"Print as JSON, at the end."`
	NoHold          bool `help:"Leave out what takes half a minute: a request that is held, over the public URL."`
}

// errUnwell is the end of a doctor that found something wrong; what it was is said already.
var errUnwell = errors.New("something is wrong")

// Run looks at the server of these settings, which may run or not, and writes nothing. It exits with 1 when something
// is wrong.
func (d *doctorCommand) Run(ctx context.Context, c console, l *config.Loader) error {
	o := doctor.Options{Settings: &d.Settings, SettingsErr: l.Complete(&d.Settings), Version: serverVersion(), NoHold: d.NoHold}
	if o.SettingsErr == nil {
		o.LocalURL = localURL(&d.Settings, d.Listen)
	} else {
		o.NoStorage = l.CompleteStorage(&d.Storage) != nil
	}
	if !d.JSON {
		o.Say = func(r checkup.Result) { fmt.Fprint(c.out, redact(r.Text())) }
		if terminal(c.err) {
			o.Wait = func(what string) { fmt.Fprintf(c.err, "… %s\n", what) }
		}
	}
	report := doctor.Run(ctx, o)
	var err error
	if d.JSON {
		for i, r := range report.Checks {
			report.Checks[i].Detail = redact(r.Detail)
		}
		e := json.NewEncoder(c.out)
		e.SetIndent("", "  ")
		err = e.Encode(report)
	}
	if !report.OK {
		err = errors.Join(err, errUnwell)
	}
	return err
}
