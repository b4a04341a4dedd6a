package supervise

import (
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"restic-manager/agent/restic"
	"restic-manager/shared/wire"
)

// feeder tells progress from log. Both pipes feed it.
type feeder struct {
	log      logger
	progress *progress

	mu     sync.Mutex // guards what is below
	parser *restic.Parser
	// active is when there was output that says more than that restic's clock ticks.
	active time.Time
	seen   wire.Progress
}

func newFeeder(i restic.Invocation, log logger, p *progress) *feeder {
	return &feeder{log: log, progress: p, parser: restic.NewParser(i), active: time.Now()}
}

// read takes a pipe to its end. An error of the pipe is its end.
func (f *feeder) read(s wire.Stream, pipe *os.File) {
	lines := restic.NewLineReader(pipe, restic.MaxLine)
	for {
		line, truncated, err := lines.Next()
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrClosed) {
				f.log.Note(time.Now(), "restic's output could not be read on: "+err.Error())
			}
			return
		}
		f.line(s, line, truncated)
	}
}

func (f *feeder) line(s wire.Stream, line []byte, truncated bool) {
	now := time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	switch f.parser.Feed(s, line, truncated) {
	case restic.ClassProgress:
		p, _ := f.parser.Progress()
		if moved(f.seen, p) {
			f.active = now
		}
		f.seen = p
		f.progress.set(p)
	case restic.ClassLog:
		f.active = now
		// Within the lock: the two streams keep the order in which the parser saw them.
		f.log.Line(now, s, line)
	}
}

// moved reports whether anything but the time went on.
func moved(a, b wire.Progress) bool {
	return a.FilesDone != b.FilesDone || a.BytesDone != b.BytesDone || a.TotalFiles != b.TotalFiles ||
		a.TotalBytes != b.TotalBytes || a.ErrorCount != b.ErrorCount
}

func (f *feeder) lastActivity() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.active
}

func (f *feeder) outcome(e restic.Ending) restic.Outcome {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.parser.Outcome(e)
}
