package keeper

import (
	"context"
	"log/slog"
	"time"

	"restic-manager/server/access"
	"restic-manager/server/fleet"
	"restic-manager/server/policy"
)

// Duties are the server's. Every replica does all of them: each is a set of conditional statements, so that
// doing one twice changes nothing. violations is told how many broken invariants the hourly check found.
func Duties(f *fleet.Store, p *policy.Store, a *access.Access, log *slog.Logger, violations func(int)) []Duty {
	counted := func(do func(context.Context) (int64, error)) func(context.Context) error {
		return func(ctx context.Context) error { _, err := do(ctx); return err }
	}
	return []Duty{
		{Name: "flush", Every: 3 * time.Second, Do: f.Flush, AtStop: true},
		{Name: "poll floor", Every: 5 * time.Second, Do: f.PollFloor},
		{Name: "sweep", Every: 15 * time.Second, Do: func(ctx context.Context) error { return sweep(ctx, f, log) }},
		{Name: "schedules", Every: 15 * time.Second, Do: func(ctx context.Context) error { return schedules(ctx, p, log) }},
		{Name: "expire due times", Every: time.Hour, Do: counted(p.Expire)},
		{Name: "compact logs", Every: time.Minute, Do: func(ctx context.Context) error { _, err := f.CompactLogs(ctx); return err }},
		{Name: "clean listings", Every: 10 * time.Minute, Do: counted(f.CleanListings)},
		{Name: "settle logs", Every: time.Hour, Do: counted(f.SettleLogs)},
		{Name: "expire logs", Every: time.Hour, Do: counted(f.ExpireLogs)},
		{Name: "expire sessions", Every: time.Hour, Do: a.Expire},
		{Name: "check invariants", Every: time.Hour, Do: func(ctx context.Context) error { return check(ctx, f, log, violations) }},
	}
}

// sweep tells what it changed, when it changed something.
func sweep(ctx context.Context, f *fleet.Store, log *slog.Logger) error {
	r, err := f.Sweep(ctx)
	if err != nil || r == (fleet.SweepReport{}) {
		return err
	}
	log.Info("swept", "amnesty", r.Amnesty, "offline", r.Offline, "expired", r.Expired, "requeued", r.Requeued,
		"disconnected", r.Disconnected, "holds_freed", r.HoldsFreed, "lost", r.Lost)
	return nil
}

// schedules tells what it did, when it did something.
func schedules(ctx context.Context, p *policy.Store, log *slog.Logger) error {
	r, err := p.RunSchedules(ctx)
	if r != (policy.Report{}) {
		log.Info("due times", "run", r.Run, "coalesced", r.Coalesced, "missed", r.Missed, "skipped", r.Skipped)
	}
	return err
}

func check(ctx context.Context, f *fleet.Store, log *slog.Logger, violations func(int)) error {
	found, err := f.CheckInvariants(ctx)
	if err != nil {
		return err
	}
	violations(len(found))
	for _, v := range found {
		log.Error("broken invariant; please report it", "rule", v.Rule, "detail", v.Detail)
	}
	return nil
}
