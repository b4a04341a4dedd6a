package runner

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"restic-manager/agent/client"
	"restic-manager/agent/spool"
	"restic-manager/shared/wire"
)

// shipping is one shipper of a job's log.
type shipping struct {
	*job
	lease  string
	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{}
	final  chan struct{} // closed when the file grows no more
	once   sync.Once
	reader *spool.LogReader
}

// ship begins to send the log, or tells the shipper that the file is final.
func (j *job) ship(final bool) {
	if j.shipping == nil {
		s := &shipping{job: j, lease: j.state.Lease, done: make(chan struct{}), final: make(chan struct{})}
		s.ctx, s.cancel = context.WithCancel(j.ctx)
		j.shipping = s
		j.helpers.Go(s.run)
	}
	if final {
		j.shipping.once.Do(func() { close(j.shipping.final) })
	}
}

// stopShipping ends the shipper and waits for it; what it still reports is not heard.
func (j *job) stopShipping() {
	if j.shipping == nil {
		return
	}
	j.shipping.cancel()
	<-j.shipping.done
	j.shipping = nil
}

// run sends until the server has all of a final file, or an answer ends it.
func (s *shipping) run() {
	defer close(s.done)
	defer s.cancel()
	e := s.send()
	if s.ctx.Err() == nil {
		s.reportFrom(s, e)
	}
}

// send returns the event that ends the shipping; nil when ctx did.
func (s *shipping) send() Event {
	var err error
	if s.reader, err = s.folder.ReadLog(); err != nil {
		return LogStopped{Why: fmt.Sprintf("the log cannot be read: %v", err)}
	}
	defer func() { s.reader.Close() }()
	// The server holds the only cursor: a request without lines learns it.
	cursor, end := s.post(spool.Batch{FirstLine: 1})
	for stuck := 0; end == nil; {
		batch, final, err := s.next(cursor)
		switch {
		case errors.Is(err, spool.ErrBeyondLog):
			return LogStopped{Why: fmt.Sprintf("the server has line %d of the log, and the log here ends before it; the folder is kept", cursor-1)}
		case s.ctx.Err() != nil:
			return nil
		case isDamaged(err):
			return LogStopped{Why: fmt.Sprintf("the log is damaged: %v; the folder is kept", err)}
		case err != nil:
			s.log.Error("a job's log cannot be read; it is tried again", "job", s.id, "error", err)
			if sleep(s.ctx, s.t.Look) != nil {
				return nil
			}
			continue
		case batch.Lines == 0 && final:
			return LogSettled{}
		case batch.Lines == 0:
			continue
		}
		before := cursor
		cursor, end = s.post(batch)
		if stuck++; cursor > before {
			stuck = 0
		} else if end == nil && sleep(s.ctx, s.backoff(stuck, s.t.BackoffCap, nil)) != nil {
			return nil
		}
	}
	return end
}

func isDamaged(err error) bool {
	_, ok := errors.AsType[*spool.DamagedError](err)
	return ok
}

// soon is how many bytes are sent without waiting for more: 500 short lines may be fewer than a batch.
const soon = wire.MaxBatchBytes / 2

// next waits for lines worth a request: a batch full, a second since the first unsent line, or the end.
// final says that the file was final before it was read.
func (s *shipping) next(cursor int64) (batch spool.Batch, final bool, err error) {
	tick := time.NewTicker(s.t.Result)
	defer tick.Stop()
	var flush <-chan time.Time
	for {
		select {
		case <-s.final:
			batch, err = s.reader.Next(cursor, wire.MaxBatchBytes, wire.MaxBatchLines)
			return batch, true, err
		default:
		}
		pending, err := s.reader.Pending()
		if err != nil {
			return spool.Batch{}, false, err
		}
		if pending >= soon {
			batch, err = s.reader.Next(cursor, wire.MaxBatchBytes, wire.MaxBatchLines)
			if err != nil || batch.Lines > 0 {
				return batch, false, err
			}
		}
		if pending > 0 && flush == nil {
			flush = time.After(s.t.Flush) // armed once, by the first unsent line
		}
		select {
		case <-s.ctx.Done():
			return spool.Batch{}, false, s.ctx.Err()
		case <-s.final:
		case <-flush:
			batch, err = s.reader.Next(cursor, wire.MaxBatchBytes, wire.MaxBatchLines)
			return batch, false, err
		case <-tick.C:
		}
	}
}

// post sends one batch until it is answered: the server's cursor, or the event that ends the shipping.
func (s *shipping) post(b spool.Batch) (cursor int64, end Event) {
	query := wire.LogQuery{FirstLine: b.FirstLine, Lines: b.Lines, SumBefore: b.SumBefore}
	body := client.PrepareBody(b.Body)
	var reply wire.LogReply
	err := s.until(s.ctx, func(ctx context.Context) (err error) {
		reply, err = s.client.AppendLog(ctx, wire.JobRef{ID: s.id, Lease: s.lease}, query, body)
		return err
	})
	if err == nil {
		if reply.Cancel {
			s.report(CancelAsked{})
		}
		return reply.NextLine, nil
	}
	return LogRefused(err, b.FirstLine, s.lease)
}

// LogRefused is what the server's final refusal of a batch means: the cursor to go on from, or the event that
// ends the shipping.
func LogRefused(err error, first int64, lease string) (cursor int64, end Event) {
	problem, _ := errors.AsType[*wire.Problem](err)
	switch client.Code(err) {
	case wire.ProblemLogGap:
		return max(problem.NextLine, 1), nil
	case wire.ProblemLeaseLost, wire.ProblemJobGone:
		return first, LeaseLost{Lease: lease}
	case wire.ProblemNotStarted:
		return first, NotStarted{}
	case wire.ProblemLogConflict:
		return first, LogStopped{Why: fmt.Sprintf("the server's log of this job differs from the one here before line %d; nothing more is sent and the folder is kept", first)}
	case wire.ProblemLogFull:
		return first, LogStopped{Why: "the server takes no more of this job's log; the rest is in the folder, which is kept"}
	}
	return first, LogStopped{Why: fmt.Sprintf("the server refuses the log from line %d on (%v); the folder is kept", first, err)}
}
