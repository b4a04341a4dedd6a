package runner

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"restic-manager/agent/guard"
	"restic-manager/agent/pattern"
	"restic-manager/agent/restic"
	"restic-manager/agent/supervise"
	"restic-manager/shared/wire"
)

// plan is what the preflight found and made: all that the launch needs.
type plan struct {
	access restic.Access
	source string // who named the repository
	run    restic.Invocation
	target string // the folder to make for a restore; empty: none
	hooks  supervise.Hooks
	proof  *restic.Proof
	// ifMissing: an init that finds a repository is good.
	ifMissing bool
	alone     bool // there is no repository: access and source are empty
	// nice and class are how much restic gives way.
	nice  int
	class wire.IOClass
}

// minFree is what must be free below the state folder before a job starts, in bytes: its log, result and
// state must find room.
const minFree = 8 << 20

// askGuard asks about the offer, before it is accepted. Where the server names the repository its location
// comes with the accept, and the preflight asks again.
func (j *job) askGuard(ctx context.Context) *wire.JobError {
	spec, refusal := j.spec()
	if refusal != nil {
		return refusal
	}
	j.awaitClockFor(ctx, spec)
	if withoutRepository(spec) {
		if r := j.c.Guard.Decide(spec, guard.Facts{Skew: j.skew()}); r != nil {
			return r.JobError()
		}
		return nil
	}
	source := j.source()
	facts := guard.Facts{Source: source, LocationPending: source != wire.RepositoryLocal, Skew: j.skew()}
	if source == wire.RepositoryLocal {
		facts.Location = j.c.Settings.Location()
		if facts.Location == "" {
			return errNoRepository().JobError()
		}
	}
	if r := j.c.Guard.Decide(spec, facts); r != nil {
		return r.JobError()
	}
	return nil
}

func withoutRepository(spec wire.Spec) bool {
	info, ok := spec.Kind().Info()
	return ok && info.NoRepository
}

func errNoRepository() *restic.Error {
	return &restic.Error{Code: wire.CodeNoRepository, Message: "this host has no repository: set repo_url and its password in agent.yaml and restart the agent, or set the host's repository at the server"}
}

// clockWait is how long a job waits for the clock to be compared with the server's.
const clockWait = 10 * time.Second

// awaitClock waits until the clock is compared: after the agent's start a job may be faster than the first
// hello, and after a jump of the clock the next one is asked for.
func (j *job) awaitClock(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, clockWait)
	defer cancel()
	for {
		measured := j.clock.next()
		skew, stale := j.clock.now(j.now())
		if skew != nil {
			return
		}
		if stale {
			j.changed()
		}
		select {
		case <-ctx.Done():
			return
		case <-measured:
		}
	}
}

// awaitClockFor waits for the kinds that the clock decides about.
func (j *job) awaitClockFor(ctx context.Context, spec wire.Spec) {
	if info, _ := spec.Kind().Info(); info.NeedsClock {
		j.awaitClock(ctx)
	}
}

func (j *job) skew() *time.Duration {
	skew, _ := j.clock.now(j.now())
	return skew
}

// spec is the job's typed order.
func (j *job) spec() (wire.Spec, *wire.JobError) {
	j.mu.Lock()
	kind, raw := j.record.Offer.Kind, j.record.Offer.Spec
	j.mu.Unlock()
	if _, ok := kind.Info(); !ok {
		return nil, &wire.JobError{Code: wire.CodeUnknownKind, Message: fmt.Sprintf("this agent (%s) does not know jobs of the kind %.40q; upgrade it", j.c.Version, string(kind))}
	}
	spec, err := wire.DecodeSpec(kind, raw)
	if err != nil {
		return nil, &wire.JobError{Code: wire.CodeInvalidSpec, Message: err.Error()}
	}
	return spec, nil
}

// source says which repository is the job's: the host's own configuration names wire.RepositoryLocal, the server any
// other, which comes with the accept. A name that is not known is never taken for the host's own.
func (j *job) source() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	if name := j.record.Offer.Repository.Name; name != "" {
		return name
	}
	return wire.RepositoryLocal
}

// access is restic with the job's repository and what opens it.
func (j *job) access(ctx context.Context) (restic.Access, string, error) {
	binary, err := j.finder.Find(ctx)
	if err != nil {
		return restic.Access{}, "", err
	}
	source := j.source()
	j.mu.Lock()
	secrets := j.secrets
	j.mu.Unlock()
	if source == wire.RepositoryLocal {
		if secrets, err = j.c.Settings.Repository(ctx); err != nil {
			return restic.Access{}, "", &restic.Error{Code: wire.CodeNoRepository, Message: err.Error()}
		}
	}
	if secrets == nil && j.current().Local {
		secrets = j.schedule.opens() // of an earlier process: told anew since
	}
	if secrets == nil {
		return restic.Access{}, "", errNoRepository()
	}
	location, err := wire.CheckRepositoryURL(secrets.RepositoryURL)
	if err != nil {
		return restic.Access{}, "", &restic.Error{Code: wire.CodeNoRepository, Message: err.Error()}
	}
	return restic.Access{Binary: binary, Host: j.host(ctx),
		Repository: restic.Repository{URL: location, Password: secrets.Password, Env: secrets.Env}}, source, nil
}

// preflight sees to all that can be known before the start: a job that cannot run is refused, and never
// holds its repository.
func (j *job) preflight(ctx context.Context) Event {
	limited, cancel := context.WithTimeout(ctx, j.t.Preflight)
	defer cancel()
	id, err := j.prepare(limited)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		j.log.Warn("job refused", "job", j.id, "error", err)
		return Preflighted{Refusal: refusalOf(limited, err)}
	}
	return Preflighted{RepositoryID: id}
}

// refusalOf is why the preflight rejects a job.
func refusalOf(ctx context.Context, err error) *wire.JobError {
	if r, ok := errors.AsType[*refused](err); ok {
		return r.why
	}
	if e, ok := errors.AsType[*restic.Error](err); ok {
		return e.JobError()
	}
	if ctx.Err() != nil {
		return &wire.JobError{Code: wire.CodePreflight, Message: "the preparations took longer than a minute: is the repository reachable? Look at the agent's log, then retry the job"}
	}
	return &wire.JobError{Code: wire.CodePreflight, Message: err.Error()}
}

// refused carries a refusal that is made already.
type refused struct{ why *wire.JobError }

func (r *refused) Error() string { return r.why.Message }

// prepare makes the plan and learns the repository's id; empty where there is none yet.
func (j *job) prepare(ctx context.Context) (string, error) {
	spec, refusal := j.spec()
	if refusal != nil {
		return "", &refused{refusal}
	}
	if withoutRepository(spec) {
		return "", j.prepareAlone(spec)
	}
	access, source, err := j.access(ctx)
	if err != nil {
		return "", err
	}
	j.awaitClockFor(ctx, spec)
	p := &plan{access: access, source: source}
	if r := j.c.Guard.Decide(spec, guard.Facts{Source: source, Location: access.Repository.URL, Skew: j.skew()}); r != nil {
		return "", &refused{r.JobError()}
	}
	if err := j.checkSpace(); err != nil {
		return "", err
	}
	if p.run, err = j.command(ctx, access, spec, p); err != nil {
		return "", err
	}
	id := ""
	if spec.Kind() == wire.KindInit {
		j.ids.forget(access.Repository.URL) // there is none, or restic makes none
	} else if id, err = j.ids.learn(ctx, access, j.now()); err != nil {
		return "", err
	}
	j.plan = p
	return id, nil
}

// prepareAlone makes the plan of a job that does without the repository, and so without restic.
func (j *job) prepareAlone(spec wire.Spec) error {
	if r := j.c.Guard.Decide(spec, guard.Facts{Skew: j.skew()}); r != nil {
		return &refused{r.JobError()}
	}
	if err := j.checkSpace(); err != nil {
		return err
	}
	order := j.order(spec)
	order.TimeLimit = estimateLimit(order.TimeLimit)
	run, err := restic.BuildEstimate(order, j.c.Guard.Denied())
	if err != nil {
		return err
	}
	j.plan = &plan{run: run, alone: true}
	return nil
}

// estimateLimit is the kind's own for who asks for more: reading trees for days is not asking what a backup would hold.
func estimateLimit(asked time.Duration) time.Duration {
	info, _ := wire.KindEstimate.Info()
	if asked <= 0 || asked > info.TimeLimit {
		return info.TimeLimit
	}
	return asked
}

func (j *job) checkSpace() error {
	if free, err := j.store.FreeBytes(); err == nil && free < minFree {
		return &refused{&wire.JobError{Code: wire.CodeNoSpace, Message: fmt.Sprintf("only %d KiB are free for the agent's state folder %s; free some space and retry the job", free>>10, j.c.Paths.State)}}
	}
	return nil
}

// order is the job's order within the guard's time limit.
func (j *job) order(spec wire.Spec) restic.Order {
	j.mu.Lock()
	seconds := j.record.Offer.TimeLimitSeconds
	j.mu.Unlock()
	limits := j.c.Guard.Limits()
	return restic.Order{Spec: spec, JobDir: j.folder.Dir(), TimeLimit: limits.TimeLimit(time.Duration(seconds) * time.Second), DownloadKiB: limits.DownloadKiB}
}

// command is the job's command line, within the guard's limits.
func (j *job) command(ctx context.Context, access restic.Access, spec wire.Spec, p *plan) (restic.Invocation, error) {
	order, limits := j.order(spec), j.c.Guard.Limits()
	p.nice, p.class = limits.Priority(0, wire.IOClassOwn)
	switch s := spec.(type) {
	case *wire.BackupSpec:
		own := *s
		own.UploadLimitKiB = limits.Upload(s.UploadLimitKiB)
		own.DownloadLimitKiB = limits.Download(s.DownloadLimitKiB)
		p.nice, p.class = limits.Priority(s.CPUNice, s.IOClass)
		own.Excludes = append(slices.Clone(s.Excludes), excludesFor(s.Paths, j.c.Guard.Denied())...)
		order.Spec = &own
		var err error
		if p.hooks, err = j.hooks(s); err != nil {
			return restic.Invocation{}, &refused{&wire.JobError{Code: wire.CodeGuardBroken, Message: err.Error()}}
		}
	case *wire.RestoreSpec:
		target, err := j.target(s)
		if err != nil {
			return restic.Invocation{}, &refused{&wire.JobError{Code: wire.CodeRestoreTarget, Message: err.Error()}}
		}
		p.target, order.RestoreTarget = target, target
	case *wire.InitSpec:
		p.ifMissing = s.IfMissing
	case *wire.RotateKeySpec:
		keys, err := access.FindKeys(ctx, j.secondPassword())
		if err != nil {
			return restic.Invocation{}, err
		}
		order.Keys, p.proof = &keys, keys.Proof(access, s.Step)
	}
	return restic.Build(access, order)
}

// secondPassword is the other one of a rotation, which comes with the accept.
func (j *job) secondPassword() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.secrets == nil {
		return ""
	}
	return j.secrets.SecondPassword
}

// excludesFor are the patterns that keep the denied folders out of a backup of the paths above them.
func excludesFor(paths, denied []string) []string {
	var out []string
	for _, d := range denied {
		if slices.ContainsFunc(paths, func(p string) bool { return p == "/" || d == p || strings.HasPrefix(d, p+"/") }) {
			text, ok := pattern.Literal(d)
			if !ok {
				text = d // no pattern can name it: the order is refused for it
			}
			out = append(out, text)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// mayUnlock: a plain unlock after a kill is for the guard and the clock to allow, as an ordered one is.
func (j *job) mayUnlock(access restic.Access, source string) bool {
	return j.c.Guard.Decide(&wire.UnlockSpec{}, guard.Facts{Source: source, Location: access.Repository.URL, Skew: j.skew()}) == nil
}

// repositoryIDs remembers restic's ids of repositories by their location, so that a job need not ask.
type repositoryIDs struct {
	mu sync.Mutex // guards ids
	// ids are by location.
	ids map[string]knownID
}

type knownID struct {
	id string
	at time.Time
}

// idsKept is how long an id is believed: a repository may be made anew in the place of another one.
const idsKept = time.Hour

func newRepositoryIDs() *repositoryIDs { return &repositoryIDs{ids: map[string]knownID{}} }

func (r *repositoryIDs) known(location string, now time.Time) (string, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k, ok := r.ids[location]
	return k.id, ok && now.Sub(k.at) < idsKept
}

// learn asks restic where the id is not known.
func (r *repositoryIDs) learn(ctx context.Context, a restic.Access, now time.Time) (string, error) {
	if id, ok := r.known(a.Repository.URL, now); ok {
		return id, nil
	}
	id, err := a.CatConfig(ctx)
	if err != nil {
		return "", err
	}
	r.set(a.Repository.URL, id, now)
	return id, nil
}

func (r *repositoryIDs) set(location, id string, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ids[location] = knownID{id: id, at: now}
}

func (r *repositoryIDs) forget(location string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.ids, location)
}
