// Package runner is the agent at work: one loop per file. poll asks the server for orders, execute leads
// each job from its offer to its end, ship sends its log, listing the repository's snapshots. What a job
// may do next is decided by Step alone; the loops do its actions and report events.
package runner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"restic-manager/agent/client"
	"restic-manager/agent/config"
	"restic-manager/agent/guard"
	"restic-manager/agent/planner"
	"restic-manager/agent/restic"
	"restic-manager/agent/spool"
	"restic-manager/shared/wire"
)

// Config is all that the runner needs. Client, Guard, Settings, Paths, Facts and Logger must be set.
type Config struct {
	Client   *client.Client
	Guard    *guard.Guard
	Settings *config.Config // agent.yaml
	Paths    config.Paths   // State, Cache and Runtime must exist
	Version  string         // of this agent
	// Facts describe the machine; what concerns restic, the agent and the guard is filled in here.
	Facts func(context.Context) wire.Facts
	// Conditions are those of this moment; nil: they cannot be known.
	Conditions func(context.Context) (wire.Power, wire.Metered)
	Logger     *slog.Logger
	// ExitOnFatal makes Run return ErrProtocolTooOld or ErrUnauthorized in place of asking again rarely.
	ExitOnFatal bool
	// Ready is called once when the loops run; Alive at every turn of the poll loop, every 10 s at least
	// while it waits; Status when it changed. All may be nil.
	Ready  func()
	Alive  func()
	Status func(Status)
	// StatusPath is the file that the status command reads; empty: StatusPath(Paths.State).
	StatusPath string
	// Disk is the spool's; nil: the real one.
	Disk spool.Disk
	// Booted is when this machine was started, by its clock; zero: not known.
	Booted time.Time
	// Timing is how fast the loops go; the zero value means DefaultTiming.
	Timing Timing
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// Timing is how fast the loops go. Tests shorten it.
type Timing struct {
	HoldFirst  Span // of a poll after the start or a failure, until one was held to its end
	HoldIdle   Span // of a poll
	HoldBusy   Span // of a poll while a job runs
	Backoff    time.Duration
	BackoffCap time.Duration // of short calls
	PollCap    time.Duration // of polls
	Fatal      Span          // between tries after 401 or 426
	Hello      Span          // between two hellos that nobody asked for: facts and skew are refreshed
	Look       time.Duration // between two looks at a supervisor
	Result     time.Duration // between two looks for a result, or for new log lines
	Progress   time.Duration // between two progress messages
	Flush      time.Duration // after the first unsent line
	Ride       time.Duration // how long a finish waits for its listing
	Beat       time.Duration // between two signs of life to the watchdog
	KeepAside  time.Duration // how long folders that were put aside are kept
	Unlock     time.Duration // limit of an unlock
	Reap       time.Duration // how long a killed restic may stay in the process table before an unlock
	Preflight  time.Duration // limit of a preflight
	Grace      time.Duration // from SIGINT to SIGKILL
	Leave      time.Duration // how long an agent that is to end waits for a job that begins
	Local      time.Duration // how long after a due time the server's answer is waited for
}

// Span is a range that a duration is drawn from.
type Span struct{ From, To time.Duration }

// Draw is a duration of the range, From included; From alone where the range is empty.
func (s Span) Draw() time.Duration {
	if s.To <= s.From {
		return s.From
	}
	return s.From + rand.N(s.To-s.From)
}

// DefaultTiming is the protocol's.
var DefaultTiming = Timing{
	HoldFirst: Span{time.Second, 30 * time.Second}, HoldIdle: Span{20 * time.Second, 30 * time.Second}, HoldBusy: Span{10 * time.Second, 15 * time.Second},
	Backoff: time.Second, BackoffCap: client.BackoffCap, PollCap: client.BackoffCapPoll,
	Fatal: Span{5 * time.Minute, 10 * time.Minute}, Hello: Span{50 * time.Minute, 70 * time.Minute},
	Look: 5 * time.Second, Result: 250 * time.Millisecond, Progress: time.Second, Flush: time.Second,
	Ride: 2 * time.Second, Beat: 10 * time.Second, KeepAside: 30 * 24 * time.Hour,
	Unlock: time.Minute, Reap: 15 * time.Second, Preflight: wire.PreflightLimit, Grace: wire.CancelGrace,
	Leave: 10 * time.Second, Local: planner.LocalAfter,
}

// Fatal errors of Run, under ExitOnFatal alone.
var (
	// ErrProtocolTooOld: the server no longer speaks this agent's protocol; upgrade the agent.
	ErrProtocolTooOld = errors.New("this agent's protocol is too old for the server; upgrade the agent")
	// ErrUnauthorized: the server does not know this agent's secret, or the host was revoked.
	ErrUnauthorized = errors.New("the server does not accept this agent: the host was revoked or deleted; enroll it again with --force")
)

// Runner is one process of the agent.
type Runner struct {
	c       Config
	t       Timing
	log     *slog.Logger
	now     func() time.Time
	client  *client.Client // one try per call: the loops wait by themselves
	store   *spool.Store
	finder  *restic.Finder
	contact *contact
	ids     *repositoryIDs
	clock   *skewClock
	status  *statusWriter
	// schedule is what this host does by itself.
	schedule *scheduler
	started  time.Time
	// poke ends a waiting poll: a lane became free, or a job folder appeared or went.
	poke chan struct{}
	// taking is held from the look at a lane until its job is begun: offers and due times come from two loops.
	taking sync.Mutex

	mu       sync.Mutex // guards the fields below
	jobs     map[string]*job
	rest     map[wire.Lane]time.Time // until when a lane asks for nothing
	settings wire.Settings
	version  string // of the configuration the server sent
	wait     sync.WaitGroup
}

// Run takes up the jobs in the state folder and works until ctx ends; then it returns nil, and restic and
// the supervisors go on. Other errors are the state folder's, or fatal ones under ExitOnFatal.
func Run(ctx context.Context, c Config) error {
	r, err := open(c)
	if err != nil {
		return err
	}
	defer r.store.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer r.wait.Wait()
	defer cancel()
	if err := r.recover(ctx); err != nil {
		return err
	}
	r.wait.Go(func() { r.status.run(ctx, r.snapshot) })
	r.wait.Go(func() { r.housekeep(ctx) })
	r.wait.Go(func() { r.schedule.run(ctx) })
	if r.c.Ready != nil {
		r.c.Ready()
	}
	return r.poll(ctx)
}

func open(c Config) (*Runner, error) {
	r := &Runner{c: c, t: c.Timing, log: c.Logger, now: c.Now, client: c.Client.Once(), poke: make(chan struct{}, 1),
		jobs: map[string]*job{}, rest: map[wire.Lane]time.Time{}, ids: newRepositoryIDs(), clock: newSkewClock()}
	if r.t == (Timing{}) {
		r.t = DefaultTiming
	}
	if r.now == nil {
		r.now = time.Now
	}
	r.started = r.now()
	disk := c.Disk
	if disk == nil {
		disk = spool.OS{}
	}
	if r.c.StatusPath == "" {
		r.c.StatusPath = StatusPath(c.Paths.State)
	}
	r.contact = newContact(r.log, r.now)
	r.finder = restic.NewFinder(c.Settings.ResticPath)
	r.status = newStatusWriter(r.c.StatusPath, r.log, c.Status)
	var err error
	if r.store, err = spool.Open(disk, c.Paths.State, r.now); err != nil {
		return nil, err
	}
	r.schedule = newScheduler(r)
	if err := r.schedule.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("take up the schedule: %w", err), r.store.Close())
	}
	return r, nil
}

// recover takes up every job folder. One that cannot be read is put aside and never runs.
func (r *Runner) recover(ctx context.Context) error {
	found, damaged, err := r.store.Scan()
	if err != nil {
		return fmt.Errorf("take up the jobs of the state folder: %w", err)
	}
	for _, d := range damaged {
		r.log.Error("a job's folder cannot be read; its job is not run, and the folder is put aside", "folder", d.ID, "reason", d.Reason, "alive", d.Alive)
		if d.Alive {
			continue
		}
		if err := r.store.PutAside(d.ID, d.Reason); err != nil {
			r.log.Error("the damaged folder cannot be put aside", "folder", d.ID, "error", err)
		}
	}
	folders := map[string]bool{}
	for _, f := range found {
		folders[f.ID] = true
	}
	if err := r.schedule.recovered(folders); err != nil {
		return fmt.Errorf("take up the schedule: %w", err)
	}
	for _, f := range found {
		known, err := r.store.Known(f.ID)
		if err != nil {
			return fmt.Errorf("look up job %s in the ledger: %w", f.ID, err)
		}
		j := newJob(r, f.Job)
		r.begin(ctx, j, Recovered{Durable: DurableOf(f.Job), Folder: FolderOf(f, known)})
	}
	return nil
}

// begin runs a job in its own goroutine.
func (r *Runner) begin(ctx context.Context, j *job, first Event) {
	r.mu.Lock()
	r.jobs[j.id] = j
	r.mu.Unlock()
	r.wait.Go(func() {
		j.run(ctx, first)
		if !j.current().Done {
			return // the agent stops
		}
		r.mu.Lock()
		delete(r.jobs, j.id)
		r.mu.Unlock()
		r.changed()
	})
}

// changed ends a waiting poll, so that the next one says what is true now.
func (r *Runner) changed() {
	select {
	case r.poke <- struct{}{}:
	default:
	}
	r.status.changed()
}

// all are the jobs of now, by id.
func (r *Runner) all() []*job {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.SortedFunc(maps.Values(r.jobs), func(a, b *job) int { return strings.Compare(a.id, b.id) })
}

func (r *Runner) job(id string) *job {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.jobs[id]
}

// free is how many jobs each lane can take: one in all, none while it rests.
func (r *Runner) free() map[wire.Lane]int {
	free := map[wire.Lane]int{wire.LaneLong: 1, wire.LaneShort: 1}
	for _, j := range r.all() {
		if j.current().Occupies() {
			free[j.lane()] = 0
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for lane, until := range r.rest {
		if r.now().Before(until) {
			free[lane] = 0
		}
	}
	return free
}

// restLane lets a lane ask for nothing for a while.
func (r *Runner) restLane(lane wire.Lane, d time.Duration) {
	if d <= 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rest[lane] = r.now().Add(min(d, r.t.BackoffCap))
}

func (r *Runner) serverSettings() wire.Settings {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.settings
}

// logLimits are the server's wishes for a job's log, within what both sides can take.
func (r *Runner) logLimits() spool.LogLimits {
	s := r.serverSettings()
	return spool.LogLimits{Bytes: s.LogBytesPerJob, Record: min(s.MaxRecordBytes, wire.MaxRecord)}
}

// host is what this machine gives to restic.
func (r *Runner) host(ctx context.Context) restic.Host {
	return restic.Host{Hostname: r.c.Facts(ctx).Hostname, StateDir: r.c.Paths.State, CacheDir: r.c.Paths.Cache, TempDir: r.c.Paths.Runtime, RcloneConfig: r.c.Guard.RcloneConfig()}
}

// keepAsideBytes bounds what all folders put aside take together: a few of the longest logs.
const keepAsideBytes = 512 << 20

// housekeep deletes kept results and folders put aside once they are old, or too large in all.
func (r *Runner) housekeep(ctx context.Context) {
	for {
		if _, err := r.store.Expire(); err != nil {
			r.log.Warn("old results cannot be deleted", "error", err)
		}
		deleted, err := r.store.ExpireAside(r.t.KeepAside, keepAsideBytes)
		if len(deleted) > 0 {
			r.log.Info("old folders that were put aside are deleted", "folders", deleted)
		}
		if err != nil {
			r.log.Warn("old folders that were put aside cannot be deleted", "error", err)
		}
		if sleep(ctx, time.Hour) != nil {
			return
		}
	}
}

// sleep waits, or returns the context's error.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
