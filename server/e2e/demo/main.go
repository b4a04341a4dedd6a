// Command demo fills an empty database with a made-up fleet, or speaks to a server as the machines of one.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"restic-manager/server/e2e/demo/madeup"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	var o madeup.Options
	var l livingOptions
	now := ""
	f := flag.NewFlagSet("demo", flag.ContinueOnError)
	f.StringVar(&o.Database, "database", "", "path of the SQLite file, or postgres:// URL")
	f.IntVar(&o.Hosts, "hosts", 10_000, "hosts to make up")
	f.IntVar(&o.Jobs, "jobs", 1_000_000, "jobs to make up, four per host at least")
	f.IntVar(&o.Snapshots, "snapshots", 20, "snapshots per host, at most")
	f.Uint64Var(&o.Seed, "seed", 1, "what the fleet is made of: the same seed and time give the same")
	f.StringVar(&now, "now", "", "the time at which all was made, as in 2027-01-31T12:00:00Z; empty: the clock's")
	f.StringVar(&l.server, "server", "", "address of the server: speak as machines of the fleet in the database, and fill nothing")
	f.IntVar(&l.machines, "live", 8, "machines that always wait for work, and always have some")
	if err := f.Parse(args); err != nil {
		return err
	}
	o.AdminUser, o.AdminPassword = os.Getenv("RESTIC_MANAGER_ADMIN_USER"), os.Getenv("RESTIC_MANAGER_ADMIN_PASSWORD")
	if l.server != "" {
		l.database, l.seed, l.user, l.password = o.Database, o.Seed, o.AdminUser, o.AdminPassword
		return live(ctx, l)
	}
	o.Now = time.Now()
	if now != "" {
		at, err := time.Parse(time.RFC3339, now)
		if err != nil {
			return err
		}
		o.Now = at
	}
	begun := time.Now()
	o.Say = func(s string) { fmt.Printf("%6.1f s  %s\n", time.Since(begun).Seconds(), s) }
	if err := madeup.Fill(ctx, o); err != nil {
		return err
	}
	o.Say("filled")
	return nil
}
