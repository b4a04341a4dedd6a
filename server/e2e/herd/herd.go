// Package herd is a fleet of simulated agents in one process. Each is a client of the real protocol with the agent's own
// HTTP client, its times, and connections of its own: it waits for work, takes it, ships log and progress, waits on
// meanwhile, and ends it with the list of its repository. There is no restic and no disk.
package herd

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"restic-manager/agent/client"
	"restic-manager/agent/runner"
	"restic-manager/shared/wire"
)

// Member is who an agent is.
type Member struct {
	HostID, Token string
	BootNumber    int64 // of the process before
	Repository    string
}

// Work is how a member does a job.
type Work struct {
	Lines     int // of log, in batches of Batch
	Batch     int
	Every     time.Duration // between two batches; zero: as fast as they go
	Progress  int           // how often it is told, once a batch at most
	Snapshots int           // that its repository keeps and each job lists; zero: none is listed
}

// Options make a herd.
type Options struct {
	Client client.Options // but for the token
	Timing runner.Timing  // the zero one: the protocol's
	// Work does each job that is offered. nil: offers are noted and left, as by an agent that was killed.
	Work *Work
}

// Offer is a job that reached its agent.
type Offer struct {
	JobID string
	At    time.Time
}

// Herd is the agents. Its counts may be read at any time.
type Herd struct {
	o      Options
	Offers chan Offer // as they come; without a reader the herd stands still once 10,000 wait

	Answered atomic.Int64 // polls
	Held     atomic.Int64 // polls that are on their way
	Finished atomic.Int64 // jobs
	Asked    atomic.Int64 // all requests
	Reached  atomic.Int64 // polls and hellos that a server answered

	wait sync.WaitGroup
	mu   sync.Mutex // guards told
	told map[string]int64
}

// Gather starts the agents; they go on until ctx ends. pace is the time between one's start and the next one's.
func Gather(ctx context.Context, members []Member, o Options, pace time.Duration) (*Herd, error) {
	if o.Timing == (runner.Timing{}) {
		o.Timing = runner.DefaultTiming
	}
	h := &Herd{o: o, Offers: make(chan Offer, 10_000), told: map[string]int64{}}
	for _, m := range members {
		c := o.Client
		c.Token = m.Token
		own, err := client.New(c)
		if err != nil {
			return nil, err
		}
		h.wait.Go(func() { (&agent{h: h, c: own, m: m, boot: randomHex(16)}).live(ctx) })
		if !pause(ctx, pace) {
			break
		}
	}
	return h, nil
}

// Wait is until all have ended.
func (h *Herd) Wait() { h.wait.Wait() }

// Errors are what went wrong, how often each.
func (h *Herd) Errors() map[string]int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := map[string]int64{}
	for k, n := range h.told {
		all[k] = n
	}
	return all
}

// reached counts an answer, whatever it says.
func (h *Herd) reached(err error) {
	if _, problem := errors.AsType[*wire.Problem](err); err == nil || problem {
		h.Reached.Add(1)
	}
}

// NoAnswer begins what Errors says of requests that got none.
const NoAnswer = "no answer"

// note counts an error by what it means: the answer's status, or that there was none, and why.
func (h *Herd) note(err error) {
	what := NoAnswer
	for cause := err; cause != nil; cause = errors.Unwrap(cause) {
		what = NoAnswer + ": " + cause.Error()
	}
	if p, ok := errors.AsType[*wire.Problem](err); ok {
		what = fmt.Sprintf("%d %s", p.Status, p.Code)
	}
	h.mu.Lock()
	h.told[what]++
	h.mu.Unlock()
}

type agent struct {
	h    *Herd
	c    *client.Client
	m    Member
	boot string
	mark string
	seq  int64
	// config is the configuration it has.
	config string
	// helloAt is when it says hello again, for its facts are old.
	helloAt time.Time
	scatter runner.Scatter
	// job is the one it does, with its lease; done is closed when it is over.
	job  *wire.JobRef
	done chan struct{}
	// snapshots are its repository's.
	snapshots []json.RawMessage
}

func (a *agent) live(ctx context.Context) {
	defer a.c.Close()
	failures := 0
	for ctx.Err() == nil {
		a.settle()
		var err error
		if !a.helloAt.IsZero() && time.Now().After(a.helloAt) {
			err = a.hello(ctx)
		} else if err = a.poll(ctx); client.Code(err) == wire.ProblemHelloRequired {
			a.scatter.Failed()
			err = a.hello(ctx)
		}
		if ctx.Err() != nil {
			break
		}
		if err == nil {
			failures = 0
			continue
		}
		a.scatter.Failed()
		a.h.note(err)
		pause(ctx, client.Delay(failures, client.BackoffCapPoll, err))
		failures++
	}
	if a.job != nil {
		<-a.done
	}
}

// settle forgets a job that is over.
func (a *agent) settle() {
	if a.job == nil {
		return
	}
	select {
	case <-a.done:
		a.job = nil
	default:
	}
}

// poll waits once. Like the agent's own, it ends when the job under way does, for the next one to say so.
func (a *agent) poll(ctx context.Context) error {
	a.seq++
	q := wire.PollQuery{Boot: a.boot, Seq: a.seq, Mark: a.mark, FreeLong: 1, FreeShort: 1, Config: a.config}
	polling, cancel := context.WithCancel(ctx)
	defer cancel()
	if a.job != nil {
		q.FreeLong, q.FreeShort, q.Jobs = 0, 0, []wire.JobRef{*a.job}
		ended := a.done
		go func() {
			select {
			case <-ended:
				cancel()
			case <-polling.Done():
			}
		}()
	}
	q.Wait = a.scatter.Span(a.h.o.Timing, a.job != nil).Draw().Truncate(time.Second)
	a.h.Asked.Add(1)
	a.h.Held.Add(1)
	begun := time.Now()
	reply, err := a.c.Poll(polling, q)
	a.h.Held.Add(-1)
	a.h.reached(err)
	if err != nil {
		if polling.Err() != nil && ctx.Err() == nil {
			return nil
		}
		return err
	}
	a.scatter.Held(q.Wait, time.Since(begun))
	a.h.Answered.Add(1)
	a.mark = reply.Mark
	if reply.Configure != nil {
		a.config = reply.Configure.Version
	}
	if reply.Offer == nil {
		return nil
	}
	select {
	case a.h.Offers <- Offer{JobID: reply.Offer.JobID, At: time.Now()}:
	case <-ctx.Done():
		return ctx.Err()
	}
	if a.h.o.Work == nil {
		<-ctx.Done()
		return nil
	}
	if a.job != nil { // on its way when the last one ended: it comes again
		return nil
	}
	ref := wire.JobRef{ID: reply.Offer.JobID, Lease: randomHex(16)}
	a.h.Asked.Add(1)
	if _, err := a.c.Accept(ctx, ref.ID, wire.AcceptRequest{Lease: ref.Lease, Delivery: reply.Offer.Delivery}); err != nil {
		return err
	}
	a.job, a.done = &ref, make(chan struct{})
	go func(done chan struct{}) {
		defer close(done)
		if err := a.work(ctx, ref); err != nil && ctx.Err() == nil {
			a.h.note(err)
		}
	}(a.done)
	return nil
}

func (a *agent) hello(ctx context.Context) error {
	a.seq++
	if a.helloAt.IsZero() {
		a.m.BootNumber++
	}
	a.h.Asked.Add(1)
	kinds := []wire.Kind{wire.KindBackup, wire.KindCheck, wire.KindSnapshots}
	r := wire.HelloRequest{BootID: a.boot, BootNumber: a.m.BootNumber, Seq: a.seq, ProtocolVersion: wire.ProtocolVersion,
		AgentVersion: "herd", ResticVersion: "0.18.0", Kinds: kinds, Guard: wire.GuardReport{Kinds: kinds}, Now: time.Now(),
		Repositories: []wire.RepositoryReport{{Name: wire.RepositoryLocal, Location: "/srv/" + a.m.HostID}}}
	if a.job != nil {
		r.Jobs = []wire.JobReport{{ID: a.job.ID, Lease: a.job.Lease, Phase: wire.PhaseRunning}}
	}
	reply, err := a.c.Hello(ctx, r)
	a.h.reached(err)
	if p, ok := errors.AsType[*wire.Problem](err); ok && p.Code == wire.ProblemBootSuperseded {
		a.m.BootNumber = p.BootNumber
	}
	if err == nil {
		a.mark, a.helloAt = reply.Mark, time.Now().Add(a.h.o.Timing.Hello.Draw())
	}
	return err
}

// work does a job that was accepted, to its finish.
func (a *agent) work(ctx context.Context, ref wire.JobRef) error {
	w := a.h.o.Work
	a.h.Asked.Add(1)
	if err := a.c.Start(ctx, ref, wire.StartRequest{StartNonce: randomHex(16), RepositoryID: a.m.Repository}); err != nil {
		return err
	}
	begun := time.Now()
	sum := sha256.New()
	told := 0
	for sent := 0; sent < w.Lines; {
		n := min(w.Batch, w.Lines-sent)
		var batch []byte
		for i := range n {
			batch = wire.AppendRecord(batch, time.Now(), wire.StreamOut, fmt.Appendf(nil, "unchanged /srv/www/%02x/%02x/file-%07d", i>>4&0xff, sent&0xff, sent+i), wire.MaxRecord)
		}
		a.h.Asked.Add(1)
		if _, err := a.c.AppendLog(ctx, ref, wire.LogQuery{FirstLine: int64(sent + 1), Lines: int64(n), SumBefore: hex.EncodeToString(sum.Sum(nil))}, client.PrepareBody(batch)); err != nil {
			return err
		}
		sum.Write(batch)
		sent += n
		if told < w.Progress {
			told++
			a.h.Asked.Add(1)
			if _, err := a.c.Progress(ctx, ref, wire.Progress{Seq: int64(told), PercentDone: float64(sent) / float64(w.Lines), TotalBytes: 1 << 30, BytesDone: int64(sent) << 10}); err != nil {
				return err
			}
		}
		if !pause(ctx, w.Every) {
			return ctx.Err()
		}
	}
	made := randomHex(32)
	list, err := a.list(ctx, ref, made)
	if err != nil {
		return err
	}
	zero := 0
	raw, err := json.Marshal(wire.FinishRequest{State: wire.StateSucceeded, ExitCode: &zero, StartedAt: begun, EndedAt: time.Now(), ElapsedSeconds: time.Since(begun).Seconds(), Listing: list,
		Summary: &wire.Summary{SnapshotID: made, TotalFilesProcessed: 1000, TotalBytesProcessed: 1 << 30}, LogLines: int64(w.Lines), LogSHA256: hex.EncodeToString(sum.Sum(nil))})
	if err != nil {
		return err
	}
	a.h.Asked.Add(1)
	if _, err := a.c.Finish(ctx, ref, raw); err != nil {
		return err
	}
	a.h.Finished.Add(1)
	return nil
}

// list is the repository's snapshots with the one that was made, which the finish carries as the agent's own does.
func (a *agent) list(ctx context.Context, ref wire.JobRef, made string) (*wire.Listing, error) {
	keeps := a.h.o.Work.Snapshots
	if keeps == 0 {
		return nil, nil
	}
	a.h.Asked.Add(1)
	token, err := a.c.BeginListing(ctx, ref)
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(wire.Snapshot{ID: made, Time: time.Now(), Tree: randomHex(32), Paths: []string{"/srv", "/etc", "/home"}, Hostname: a.m.HostID, Username: "root", ProgramVersion: "restic 0.18.0",
		Summary: &wire.SnapshotSummary{TotalFilesProcessed: 1000, TotalBytesProcessed: 1 << 30}})
	if err != nil {
		return nil, err
	}
	a.snapshots = append(a.snapshots[max(0, len(a.snapshots)+1-keeps):], raw)
	return &wire.Listing{Token: token.Token, RepositoryID: a.m.Repository, Snapshots: a.snapshots}, nil
}

func randomHex(bytes int) string {
	b := make([]byte, bytes)
	rand.Read(b)
	return hex.EncodeToString(b)
}

// pause is until d is over; false: ctx ended before.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
