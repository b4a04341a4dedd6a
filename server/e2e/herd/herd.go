// Package herd is a fleet of simulated agents in one process. Each is a client of the real protocol with the agent's own
// HTTP client and connections of its own: it waits for work, takes it, ships log and progress, and ends it. There is no
// restic and no disk.
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
	Lines    int // of log, in batches of Batch
	Batch    int
	Progress int // how often it is told
}

// Options make a herd.
type Options struct {
	Client client.Options // but for the token
	Wait   time.Duration  // of a poll
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

	wait sync.WaitGroup
	mu   sync.Mutex // guards told
	told map[string]int64
}

// Gather starts the agents; they go on until ctx ends. pace is the time between one's start and the next one's.
func Gather(ctx context.Context, members []Member, o Options, pace time.Duration) (*Herd, error) {
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

// note counts an error by what it means: the answer's status, or that there was none.
func (h *Herd) note(err error) {
	what := "no answer"
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
}

func (a *agent) live(ctx context.Context) {
	defer a.c.Close()
	failures := 0
	for ctx.Err() == nil {
		err := a.poll(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case client.Code(err) == wire.ProblemHelloRequired:
			if err = a.hello(ctx); err != nil && ctx.Err() == nil {
				a.h.note(err)
			}
		case err != nil:
			a.h.note(err)
		}
		if err == nil {
			failures = 0
			continue
		}
		pause(ctx, client.Delay(failures, client.BackoffCapPoll, err))
		failures++
	}
}

func (a *agent) poll(ctx context.Context) error {
	a.seq++
	a.h.Asked.Add(1)
	a.h.Held.Add(1)
	reply, err := a.c.Poll(ctx, wire.PollQuery{Wait: a.h.o.Wait, Boot: a.boot, Seq: a.seq, Mark: a.mark, FreeLong: 1, FreeShort: 1})
	a.h.Held.Add(-1)
	if err != nil {
		return err
	}
	a.h.Answered.Add(1)
	a.mark = reply.Mark
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
	return a.work(ctx, *reply.Offer)
}

func (a *agent) hello(ctx context.Context) error {
	a.seq++
	a.m.BootNumber++
	a.h.Asked.Add(1)
	var kinds []wire.Kind
	for _, k := range []wire.Kind{wire.KindBackup, wire.KindCheck, wire.KindSnapshots} {
		kinds = append(kinds, k)
	}
	reply, err := a.c.Hello(ctx, wire.HelloRequest{BootID: a.boot, BootNumber: a.m.BootNumber, Seq: a.seq, ProtocolVersion: wire.ProtocolVersion,
		AgentVersion: "herd", ResticVersion: "0.18.0", Kinds: kinds, Guard: wire.GuardReport{Kinds: kinds}, Now: time.Now(),
		Repositories: []wire.RepositoryReport{{Name: wire.RepositoryLocal, Location: "/srv/" + a.m.HostID}}})
	if p, ok := errors.AsType[*wire.Problem](err); ok && p.Code == wire.ProblemBootSuperseded {
		a.m.BootNumber = p.BootNumber
	}
	if err == nil {
		a.mark = reply.Mark
	}
	return err
}

// work does a job from accept to finish.
func (a *agent) work(ctx context.Context, o wire.Offer) error {
	ref := wire.JobRef{ID: o.JobID, Lease: randomHex(16)}
	w := a.h.o.Work
	a.h.Asked.Add(2)
	if _, err := a.c.Accept(ctx, o.JobID, wire.AcceptRequest{Lease: ref.Lease, Delivery: o.Delivery}); err != nil {
		return err
	}
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
	}
	zero := 0
	raw, err := json.Marshal(wire.FinishRequest{State: wire.StateSucceeded, ExitCode: &zero, StartedAt: begun, EndedAt: time.Now(), ElapsedSeconds: time.Since(begun).Seconds(),
		Summary: &wire.Summary{SnapshotID: randomHex(32), TotalFilesProcessed: 1000, TotalBytesProcessed: 1 << 30}, LogLines: int64(w.Lines), LogSHA256: hex.EncodeToString(sum.Sum(nil))})
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
