package simulation

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"restic-manager/agent/client"
	"restic-manager/agent/runner"
	"restic-manager/agent/spool"
	"restic-manager/shared/wire"
)

// shipper sends one job's log, as runner's shipping does: one request in flight, from the server's cursor on.
type shipper struct {
	*jobRun
	lease  string
	over   bool
	final  bool
	cursor int64
	stuck  int
	reader *spool.LogReader
}

func (j *jobRun) ship(final bool) {
	if j.shipper == nil {
		j.shipper = &shipper{jobRun: j, lease: j.state.Lease, final: final}
		j.shipper.begin()
		return
	}
	j.shipper.final = j.shipper.final || final
}

func (j *jobRun) stopShipping() {
	if j.shipper != nil {
		j.shipper.over = true
		j.shipper = nil
	}
}

func (s *shipper) begin() {
	var err error
	if s.reader, err = s.folder.ReadLog(); err != nil {
		s.end(runner.LogStopped{Why: fmt.Sprintf("the log cannot be read: %v", err)})
		return
	}
	s.post(spool.Batch{FirstLine: 1})
}

// end reports the event that ends the shipping.
func (s *shipper) end(e runner.Event) {
	s.after(0, func() {
		if !s.over && !s.state.Done {
			s.stopShipping()
			s.step(e)
		}
	})
}

func (s *shipper) later(d time.Duration, f func()) {
	s.live(d, func() {
		if !s.over {
			f()
		}
	})
}

// The batches are small, so that a log takes many.
const (
	batchBytes = 700
	batchLines = 6
)

// next sends what there is, or waits for more.
func (s *shipper) next() {
	final := s.final
	batch, err := s.reader.Next(s.cursor, batchBytes, batchLines)
	_, damaged := errors.AsType[*spool.DamagedError](err)
	switch {
	case errors.Is(err, spool.ErrBeyondLog):
		s.m.w.stopped(s.m, s.id, "the server has more lines than the host")
		s.end(runner.LogStopped{Why: fmt.Sprintf("the server has line %d of the log, and the log here ends before it; the folder is kept", s.cursor-1)})
	case damaged:
		s.end(runner.LogStopped{Why: fmt.Sprintf("the log is damaged: %v; the folder is kept", err)})
	case err != nil:
		s.later(5*time.Second, s.next)
	case batch.Lines == 0 && final:
		s.end(runner.LogSettled{})
	case batch.Lines == 0:
		s.later(s.m.w.between(time.Second, 3*time.Second), s.next)
	default:
		batch.Body = slices.Clone(batch.Body)
		s.post(batch)
	}
}

// post sends one batch until it is answered.
func (s *shipper) post(b spool.Batch) {
	srv, host, id, lease := s.m.w.server, s.m.host, s.id, s.lease
	q := wire.LogQuery{FirstLine: b.FirstLine, Lines: b.Lines, SumBefore: b.SumBefore}
	what := fmt.Sprintf("log of %s from %d, %d lines", s.m.w.name(id), b.FirstLine, b.Lines)
	until(s.jobRun, 0, what, func() (wire.LogReply, error) {
		return srv.appendLog(host, id, lease, q, b.Body)
	}, func() bool { return !s.over }, func(reply wire.LogReply, err error) {
		before := s.cursor
		if err == nil {
			if reply.Cancel {
				s.step(runner.CancelAsked{})
				if s.over {
					return
				}
			}
			s.cursor = reply.NextLine
		} else {
			if client.Code(err) == wire.ProblemLogConflict {
				s.m.w.stopped(s.m, s.id, "the server has other lines than the host")
			}
			cursor, end := runner.LogRefused(err, b.FirstLine, lease)
			if end != nil {
				s.end(end)
				return
			}
			s.cursor = cursor
		}
		if s.stuck++; s.cursor > before {
			s.stuck = 0
			s.next()
			return
		}
		s.later(s.backoff(s.stuck, client.BackoffCap, nil), s.next)
	})
}
