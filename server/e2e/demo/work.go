package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"math/rand/v2"
	"sync"
	"time"

	"restic-manager/agent/client"
	"restic-manager/server/e2e/demo/madeup"
	"restic-manager/shared/wire"
)

// work is one job on its way.
type work struct {
	m      *machine
	offer  wire.Offer
	lease  string
	over   chan struct{} // closed when it has ended
	stop   chan struct{} // closed when it is to be canceled
	once   sync.Once
	c      *client.Client
	spec   wire.Spec
	act    act
	began  time.Time
	seq    int64
	lines  int64
	sum    hash.Hash
	unsent bytes.Buffer
	count  int64 // lines in unsent
}

// act is how a job goes.
type act struct {
	seconds float64
	lines   int64 // of log, in all
	stalls  bool  // nothing moves for the middle third
	fails   *wire.JobError
	issues  []wire.Issue
}

func newWork(m *machine, o wire.Offer) *work {
	return &work{m: m, offer: o, lease: randomHex(), over: make(chan struct{}), stop: make(chan struct{}), sum: sha256.New()}
}

func (w *work) cancel() { w.once.Do(func() { close(w.stop) }) }

// run takes the job and does as if: accept, start, progress and log, finish with the list.
func (w *work) run(ctx context.Context) {
	defer close(w.over)
	defer w.m.forget(w.offer.JobID)
	c, err := w.m.dial()
	if err != nil {
		w.m.l.tell("job", err)
		return
	}
	defer c.Close()
	w.c = c
	if err := w.perform(ctx); err != nil && ctx.Err() == nil && !client.Final(err) {
		w.m.l.tell("job", err)
	}
}

func (w *work) perform(ctx context.Context) error {
	ref := wire.JobRef{ID: w.offer.JobID, Lease: w.lease}
	reply, err := w.c.Accept(ctx, w.offer.JobID, wire.AcceptRequest{Lease: w.lease, Delivery: w.offer.Delivery})
	if err != nil {
		return err
	}
	if w.spec, err = wire.DecodeSpec(reply.Kind, reply.Spec); err != nil {
		return w.finish(ctx, ref, wire.FinishRequest{State: wire.StateRejected, Error: &wire.JobError{Code: wire.CodeInvalidSpec, Message: err.Error()}})
	}
	if refused := w.refusal(); refused != nil {
		return w.finish(ctx, ref, wire.FinishRequest{State: wire.StateRejected, Error: refused})
	}
	if err := w.c.Start(ctx, ref, wire.StartRequest{StartNonce: randomHex(), RepositoryID: w.m.host.Repository}); err != nil {
		return err
	}
	w.began = time.Now()
	w.act = w.plan()
	list := w.list(ctx, ref)
	canceled, err := w.play(ctx, ref)
	if ctx.Err() != nil { // the demo ends, and its machines with it
		last, done := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer done()
		return w.finish(last, ref, interrupted())
	}
	if err != nil {
		return err
	}
	return w.finish(ctx, ref, w.result(ctx, canceled, list))
}

// refusal is what the machine's guard says.
func (w *work) refusal() *wire.JobError {
	g := w.m.host.Guard
	if g.Broken != "" {
		return &wire.JobError{Code: wire.CodeGuardBroken, Message: g.Broken + "; until that is mended everything is refused"}
	}
	if w.m.host.Facts.ResticVersion == "" {
		return &wire.JobError{Code: wire.CodeResticMissing, Message: "there is no restic in /usr/local/bin:/usr/bin:/bin; install restic 0.14.0 or newer, or set restic_path in the agent's configuration"}
	}
	for _, k := range g.Kinds {
		if k == w.offer.Kind {
			return nil
		}
	}
	return &wire.JobError{Code: wire.CodeGuard, Message: fmt.Sprintf("guard.yaml does not allow %s: its owner decides that on the machine itself", w.offer.Kind)}
}

// The scripts of the first actors' backups; all others' are of a minute or some.
const (
	scriptLong = iota
	scriptPartner
	scriptMillion
	scriptStalled
	scriptCanceled
)

func (w *work) plan() act {
	a := act{seconds: 3, lines: 6}
	switch w.offer.Kind {
	case wire.KindBackup:
		a = act{seconds: 40 + rand.Float64()*150, lines: 60 + rand.Int64N(400)}
		switch w.m.script {
		case scriptLong:
			a.seconds, a.lines = 35*60, 20_000
		case scriptMillion:
			a.seconds, a.lines = 10*60, 1_000_000
		case scriptStalled:
			a.seconds, a.stalls = 60*60, true
		case scriptCanceled:
			a.seconds = 20 * 60
		default:
			switch n := rand.Float64(); {
			case n < 0.06:
				a.fails = &wire.JobError{Code: wire.CodeRepositoryUnreachable, Message: "Fatal: unable to save snapshot: dial tcp 198.51.100.24:443: connect: connection refused; check the repository's address, the network and the certificate"}
			case n < 0.12:
				a.issues = []wire.Issue{{Path: "/var/log/journal/system.journal", Message: "open /var/log/journal/system.journal: permission denied"}}
			}
		}
	case wire.KindCheck:
		a = act{seconds: 45 + rand.Float64()*60, lines: 40}
	case wire.KindPrune, wire.KindRestore:
		a = act{seconds: 30 + rand.Float64()*60, lines: 80}
	case wire.KindInit:
		a.fails = &wire.JobError{Code: wire.CodeRepositoryExists, Message: "Fatal: config file already exists; there is a repository already; use it, or give another location"}
	}
	return a
}

// play sends log and progress, each at most once a second, until the act is over or the job canceled.
func (w *work) play(ctx context.Context, ref wire.JobRef) (canceled bool, err error) {
	w.say(wire.StreamAgent, fmt.Sprintf("restic %s runs %s", w.m.host.Facts.ResticVersion, w.offer.Kind))
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for part := 0.0; part < 1; {
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-w.stop:
			return true, w.flush(ctx, ref)
		case <-tick.C:
		}
		elapsed := time.Since(w.began).Seconds()
		part = min(elapsed/w.act.seconds, 1)
		p := w.progress(elapsed, part)
		if err := w.write(ctx, ref, part); err != nil {
			return false, err
		}
		if p == nil {
			continue
		}
		reply, err := w.c.Progress(ctx, ref, *p)
		if err != nil {
			return false, err
		}
		if reply.Cancel {
			w.cancel()
		}
	}
	return false, w.flush(ctx, ref)
}

// progress is how far the job is: two thirds of it are done when the middle third is over, in which one that stalls
// does nothing.
func (w *work) progress(elapsed, part float64) *wire.Progress {
	if w.offer.Kind != wire.KindBackup && w.offer.Kind != wire.KindRestore {
		return nil // restic tells none that is worth to be sent
	}
	w.seq++
	bytes, files := max(w.m.host.Bytes, 1<<30), max(w.m.host.Files, 1000)
	p := &wire.Progress{Seq: w.seq, ElapsedSeconds: elapsed, TotalBytes: bytes, TotalFiles: files, ErrorCount: int64(len(w.act.issues))}
	if w.act.stalls && part > 0.02 && part < 0.9 {
		// As if it had stood still for long already: nobody looks at a demo for the half hour that it takes.
		p.StalledSeconds = wire.StallAfter.Seconds() + elapsed
		part = 0.34
	}
	p.PercentDone, p.BytesDone, p.FilesDone = part, int64(part*float64(bytes)), int64(part*float64(files))
	p.CurrentFiles = []string{w.path(p.FilesDone)}
	return p
}

func (w *work) path(n int64) string {
	root := "/srv"
	if s, ok := w.spec.(*wire.BackupSpec); ok {
		root = s.Paths[int(n)%len(s.Paths)]
	}
	return fmt.Sprintf("%s/%02x/%02x/file-%07d", root, n>>4&0xff, n&0xff, n)
}

// write sends the lines that are due by now.
func (w *work) write(ctx context.Context, ref wire.JobRef, part float64) error {
	for due := int64(part * float64(w.act.lines)); w.lines < due; {
		w.say(wire.StreamOut, "unchanged "+w.path(w.lines))
		if w.unsent.Len() > 256<<10 {
			if err := w.flush(ctx, ref); err != nil {
				return err
			}
		}
	}
	return w.flush(ctx, ref)
}

func (w *work) say(s wire.Stream, line string) {
	w.unsent.Write(wire.AppendRecord(nil, time.Now(), s, []byte(line), wire.MaxRecord))
	w.lines, w.count = w.lines+1, w.count+1
}

func (w *work) flush(ctx context.Context, ref wire.JobRef) error {
	if w.count == 0 {
		return nil
	}
	q := wire.LogQuery{FirstLine: w.lines - w.count + 1, Lines: w.count, SumBefore: hex.EncodeToString(w.sum.Sum(nil))}
	reply, err := w.c.AppendLog(ctx, ref, q, client.PrepareBody(bytes.Clone(w.unsent.Bytes())))
	if err != nil {
		return err
	}
	w.sum.Write(w.unsent.Bytes())
	w.unsent.Reset()
	w.count = 0
	if reply.Cancel {
		w.cancel()
	}
	return nil
}

// list draws the token of the list that will ride on the result; nil: the kind has none, or the server gave none.
func (w *work) list(ctx context.Context, ref wire.JobRef) *wire.Listing {
	if info, _ := w.offer.Kind.Info(); !info.Lists || w.m.host.Repository == "" {
		return nil
	}
	reply, err := w.c.BeginListing(ctx, ref)
	if err != nil {
		w.m.l.tell("listing", err)
		return nil
	}
	return &wire.Listing{Token: reply.Token, RepositoryID: w.m.host.Repository}
}

// result is what the job came to.
func (w *work) result(ctx context.Context, canceled bool, list *wire.Listing) wire.FinishRequest {
	zero := 0
	r := wire.FinishRequest{State: wire.StateSucceeded, ExitCode: &zero}
	switch {
	case canceled:
		interrupted := 130
		r.State, r.ExitCode, r.SignalSent = wire.StateCanceled, &interrupted, true
		r.Error = &wire.JobError{Code: wire.CodeCanceled, Message: "canceled; restic was interrupted"}
		return r
	case w.act.fails != nil:
		one := 1
		r.State, r.ExitCode, r.Error = wire.StateFailed, &one, w.act.fails
		return r
	case len(w.act.issues) > 0:
		three := 3
		r.State, r.ExitCode, r.Issues = wire.StateSucceededWithIssues, &three, w.act.issues
	}
	made := w.summary(&r)
	if list != nil {
		r.Listing = w.listed(ctx, list, made)
	}
	return r
}

// summary adds what restic would say at the end, and gives the snapshot that a backup made.
func (w *work) summary(r *wire.FinishRequest) *wire.Snapshot {
	h := w.m.host
	switch spec := w.spec.(type) {
	case *wire.BackupSpec:
		files, size := max(h.Files, 1000), max(h.Bytes, 1<<30)
		added := size/200 + rand.Int64N(size/100+1)
		r.Summary = &wire.Summary{FilesNew: files / 500, FilesChanged: files / 200, FilesUnmodified: files - files/200 - files/500, DataAdded: added,
			DataAddedPacked: added * 6 / 10, TotalFilesProcessed: files, TotalBytesProcessed: size + added/4, ResticSeconds: time.Since(w.began).Seconds(), DryRun: spec.DryRun}
		if spec.DryRun {
			return nil
		}
		r.Summary.SnapshotID = randomHex() + randomHex()
		return &wire.Snapshot{ID: r.Summary.SnapshotID, Time: w.began, Tree: randomHex() + randomHex(), Paths: spec.Paths, Hostname: h.Facts.Hostname, Username: "root",
			Excludes: spec.Excludes, Tags: spec.Tags, ProgramVersion: "restic " + h.Facts.ResticVersion,
			Summary: &wire.SnapshotSummary{BackupStart: w.began, BackupEnd: time.Now(), FilesNew: r.Summary.FilesNew, FilesChanged: r.Summary.FilesChanged,
				FilesUnmodified: r.Summary.FilesUnmodified, DataAdded: added, DataAddedPacked: r.Summary.DataAddedPacked,
				TotalFilesProcessed: files, TotalBytesProcessed: r.Summary.TotalBytesProcessed}}
	case *wire.RestoreSpec:
		r.Summary = &wire.Summary{FilesRestored: 1 + h.Files/40, BytesRestored: 1 + h.Bytes/40, RestoredTo: h.Facts.RestoreRoot + "/" + w.offer.JobID}
	case *wire.ForgetSpec:
		r.Summary = &wire.Summary{SnapshotsRemoved: int64(len(spec.SnapshotIDs))}
	case *wire.UnlockSpec:
		r.Summary = &wire.Summary{LocksRemoved: rand.Int64N(2)}
	}
	return nil
}

// listed is the repository's list with what the job did to it.
func (w *work) listed(ctx context.Context, l *wire.Listing, made *wire.Snapshot) *wire.Listing {
	all, err := w.m.l.lists.Of(ctx, w.m.host.Repository)
	if err != nil {
		w.m.l.tell("listing", err)
		return nil
	}
	gone := map[string]bool{}
	if f, ok := w.spec.(*wire.ForgetSpec); ok && !f.DryRun {
		for _, id := range f.SnapshotIDs {
			gone[id] = true
		}
	}
	if made != nil {
		all = append(all, *made)
	}
	l.Snapshots = []json.RawMessage{}
	for _, s := range all {
		if raw, err := json.Marshal(s); err == nil && !gone[s.ID] {
			l.Snapshots = append(l.Snapshots, raw)
		}
	}
	return l
}

// interrupted is the end of a job whose machine went away.
func interrupted() wire.FinishRequest {
	return wire.FinishRequest{State: wire.StateFailed, Error: &wire.JobError{Code: wire.CodeInterrupted,
		Message: "the machine or restic went away in the middle: the demo was ended; start the job again"}}
}

// settle ends what an earlier demo had under way and could not end itself: nothing else would, for a week.
func (l *living) settle(ctx context.Context) error {
	left, err := l.lists.Open(ctx)
	if err != nil {
		return err
	}
	for _, o := range left {
		m := newMachine(l, madeup.Host{ID: o.HostID}, madeup.AgentToken(l.o.seed, o.HostID))
		w := newWork(m, wire.Offer{JobID: o.JobID})
		if w.c, err = m.dial(); err != nil {
			return err
		}
		r := interrupted()
		if !o.Started {
			r.State, r.Error.Code = wire.StateRejected, wire.CodePreflight
		}
		w.lines = o.Lines
		err := w.finish(ctx, wire.JobRef{ID: o.JobID, Lease: o.Lease}, r)
		w.c.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *work) finish(ctx context.Context, ref wire.JobRef, r wire.FinishRequest) error {
	begun := w.began
	if begun.IsZero() {
		begun = time.Now()
	}
	r.StartedAt, r.EndedAt, r.ElapsedSeconds = begun, time.Now(), time.Since(begun).Seconds()
	r.LogLines, r.LogSHA256 = w.lines-w.count, hex.EncodeToString(w.sum.Sum(nil))
	raw, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_, err = w.c.Finish(ctx, ref, raw)
	return err
}
