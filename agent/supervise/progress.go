package supervise

import (
	"sync"
	"time"

	"restic-manager/agent/spool"
	"restic-manager/shared/wire"
)

const (
	// progressEvery is how often progress is written at most.
	progressEvery = time.Second
	// stalledEvery is how often a stall is told.
	stalledEvery = 30 * time.Second
)

// progress hands the latest progress on, at most once a second, and the last one always.
type progress struct {
	file    *spool.ProgressWriter
	started time.Time

	mu      sync.Mutex // guards what is below
	latest  wire.Progress
	seq     int64
	changed bool
	written time.Time
}

func newProgress(f *spool.ProgressWriter, started time.Time) *progress {
	return &progress{file: f, started: started}
}

func (p *progress) set(latest wire.Progress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	latest.StalledSeconds = p.latest.StalledSeconds
	p.latest, p.changed = latest, true
}

// tick writes what is due. A disk that does not take it loses nothing that matters.
func (p *progress) tick(now time.Time, stalled time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	since := now.Sub(p.written)
	was := p.latest.StalledSeconds
	p.latest.StalledSeconds = stalled.Seconds()
	due := p.changed && since >= progressEvery
	if stalled > 0 && since >= stalledEvery || stalled == 0 && was > 0 {
		p.latest.ElapsedSeconds = now.Sub(p.started).Seconds()
		due = true
	}
	if due {
		_ = p.write(now)
	}
}

func (p *progress) write(now time.Time) error {
	p.seq++
	p.changed, p.written = false, now
	out := p.latest
	out.Seq = p.seq
	return p.file.Write(out)
}

// last writes what is not written yet.
func (p *progress) last() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.changed {
		return nil
	}
	p.latest.StalledSeconds = 0
	return p.write(time.Now())
}

func (p *progress) close() { _ = p.file.Close() }
