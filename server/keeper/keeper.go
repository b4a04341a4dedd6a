// Package keeper runs the server's periodic duties: each at its own interval, never beside itself, and with
// a failure told once when it begins and once when it ends.
package keeper

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/robfig/cron/v3"
)

// Duty is one thing to be done again and again.
type Duty struct {
	Name  string
	Every time.Duration // whole seconds
	Do    func(ctx context.Context) error
	// AtStop has it done a last time when the keeper stops.
	AtStop bool
	// Schedule replaces Every, for tests; nil is Every.
	Schedule cron.Schedule
}

func (d Duty) schedule() cron.Schedule {
	if d.Schedule != nil {
		return d.Schedule
	}
	return cron.Every(d.Every)
}

// limit is when a run is given up: a question that is never answered must not end a duty for good.
func (d Duty) limit() time.Duration {
	return min(max(10*d.Every, 30*time.Second), 10*time.Minute)
}

// Keeper runs duties from Start to Stop.
type Keeper struct {
	log    *slog.Logger
	cron   *cron.Cron
	runs   []*run
	stop   context.CancelFunc
	closed context.Context
}

// New arranges the duties and starts nothing. log nil discards.
func New(log *slog.Logger, duties ...Duty) *Keeper {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	k := &Keeper{log: log, cron: cron.New(cron.WithLogger(cron.DiscardLogger))}
	k.closed, k.stop = context.WithCancel(context.Background())
	for _, d := range duties {
		r := &run{Duty: d, log: log.With("duty", d.Name)}
		k.runs = append(k.runs, r)
		k.cron.Schedule(d.schedule(), cron.FuncJob(func() { r.once(k.closed) }))
	}
	return k
}

// Start begins; the first run of a duty comes one interval later.
func (k *Keeper) Start() { k.cron.Start() }

// Stop lets running duties finish until ctx ends, then cuts them off, and does the last round of those that
// have one, for 2 s at most. The keeper cannot be started again.
func (k *Keeper) Stop(ctx context.Context) {
	finished := k.cron.Stop()
	select {
	case <-finished.Done():
	case <-ctx.Done():
		k.stop()
		<-finished.Done()
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	for _, r := range k.runs {
		if r.AtStop {
			r.once(last)
		}
	}
	k.stop()
}

// run is a duty and how it went last.
type run struct {
	Duty
	log *slog.Logger

	running sync.Mutex // held by the one run
	// guarded by running
	failures int
	since    time.Time
}

// once does the duty unless it is still being done.
func (r *run) once(ctx context.Context) {
	if !r.running.TryLock() {
		return
	}
	defer r.running.Unlock()
	ctx, cancel := context.WithTimeout(ctx, r.limit())
	defer cancel()
	err := r.safely(ctx)
	switch {
	case err != nil && ctx.Err() == context.Canceled: // the server stops
	case err != nil:
		if r.failures == 0 {
			r.since = time.Now()
			r.log.Error("duty fails; it is tried again at each interval", "error", err)
		}
		r.failures++
	case r.failures > 0:
		r.log.Info("duty works again", "failures", r.failures, "after", time.Since(r.since).Round(time.Second))
		r.failures = 0
	}
}

// safely turns a panic into an error: one broken duty must not take the server down.
func (r *run) safely(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return r.Do(ctx)
}
