package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"restic-manager/server/database"
	"restic-manager/server/fleet/job"
	"restic-manager/shared/wire"
)

const (
	progressEvery = 5 * time.Second  // at most so often is a job's progress written
	progressTrust = 15 * time.Second // so long is a job taken to be as it was read, unless something is told of it
	progressIdle  = 5 * time.Minute  // after that a job's progress leaves the memory
)

// Progress takes news of a running job. The latest of a lease wins; it is kept in memory and written at most
// every 5 s. The database is asked only when something changed about the job.
func (s *Store) Progress(ctx context.Context, hostID, jobID, lease string, p wire.Progress) (wire.ProgressReply, error) {
	p = cleanProgress(p)
	raw, err := json.Marshal(p)
	if err != nil {
		return wire.ProgressReply{}, err
	}
	now := s.db.Clock()
	if !s.pulse.trusts(hostID, jobID, lease, now) {
		if err := s.checkProgress(ctx, hostID, jobID, lease, now); err != nil {
			return wire.ProgressReply{}, err
		}
	}
	s.pulse.renewAt(jobID, lease, now)
	reply, news := s.pulse.report(jobID, lease, p, string(raw), now)
	if news {
		s.db.Hub.Publish(database.TopicJob(jobID)) // this replica's browsers; the others hear of it at the flush
	}
	return reply, nil
}

// trusts reports whether the host's job is known to be running with this lease, and nothing was told of it since.
func (p *pulse) trusts(hostID, jobID, lease string, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.progress[jobID]
	if l == nil {
		return false
	}
	for {
		select {
		case <-l.events:
			l.checked = time.Time{} // until a look has succeeded
			continue
		default:
		}
		return l.host == hostID && l.lease == lease && now.Sub(l.checked) < progressTrust
	}
}

// checkProgress reads the job, and remembers what it is.
func (s *Store) checkProgress(ctx context.Context, hostID, jobID, lease string, now time.Time) error {
	// Before the look: nothing is missed. A cancel, an end and a new lease wake the host.
	events, stop := s.db.Hub.Subscribe(database.TopicWake(hostID))
	j, err := s.lookForProgress(ctx, hostID, jobID, lease)
	if err != nil {
		stop()
		return err // what is known of the job stays: anybody may ask with a wrong lease
	}
	if j.State != wire.StateRunning {
		stop()
		s.pulse.forget(jobID)
		return nil
	}
	p := s.pulse
	p.mu.Lock()
	defer p.mu.Unlock()
	l := &latest{host: hostID, lease: lease}
	if old := p.progress[jobID]; old != nil {
		old.stop()
		if old.lease == lease {
			*l = *old
		}
	}
	if l.text == "" && j.ProgressLease == lease {
		l.progress.Seq = j.ProgressSeq // what another replica took already
	}
	l.checked, l.canceling, l.events, l.stop = now, j.Canceling(), events, stop
	p.progress[jobID] = l
	return nil
}

// lookForProgress gives the job, or what the rules say to a progress of it.
func (s *Store) lookForProgress(ctx context.Context, hostID, jobID, lease string) (job.Job, error) {
	if !wire.IsUUID(jobID) {
		return job.Job{}, errLeaseLost
	}
	var rows []jobRow
	if err := s.db.Read(ctx).Raw("SELECT "+ruleColumns+" FROM jobs WHERE id = ? AND host_id = ?", jobID, hostID).Scan(&rows).Error; err != nil {
		return job.Job{}, fmt.Errorf("read job %s: %w", jobID, err)
	}
	if len(rows) == 0 {
		return job.Job{}, errLeaseLost
	}
	j := rows[0].rules()
	_, _, err := job.Apply(j, job.Progress{Lease: lease}, j.HeardAt)
	return j, err
}

// report takes the progress if it is newer than what is known; news is true when it is.
func (p *pulse) report(jobID, lease string, progress wire.Progress, text string, now time.Time) (reply wire.ProgressReply, news bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.progress[jobID]
	if l == nil || l.lease != lease {
		return wire.ProgressReply{}, false // it has ended: nothing is to be told, nothing kept
	}
	if progress.Seq > l.progress.Seq {
		l.progress, l.text, l.at, l.dirty, news = progress, text, now, true, true
	}
	return wire.ProgressReply{Cancel: l.canceling}, news
}

// overlay puts newer progress from this replica's memory on the jobs.
func (p *pulse) overlay(jobs []Job) {
	for i := range jobs {
		if jobs[i].State != wire.StateRunning {
			continue
		}
		if progress, at, ok := p.newer(jobs[i].ID, jobs[i].Progress != nil); ok {
			jobs[i].Progress, jobs[i].ProgressAt = &progress, &at
		}
	}
}

// newer is a running job's progress in this replica's memory, when it is newer than what is stored, if anything is.
func (p *pulse) newer(jobID string, stored bool) (progress wire.Progress, at time.Time, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.progress[jobID]
	if l == nil || l.text == "" || stored && !l.dirty {
		return wire.Progress{}, time.Time{}, false
	}
	return l.progress, database.Truncate(l.at), true
}

const (
	maxCurrentFiles = 16
	maxCurrentFile  = 1 << 10
)

// cleanProgress makes progress fit for storing and showing.
func cleanProgress(p wire.Progress) wire.Progress {
	p.ElapsedSeconds, p.StalledSeconds = seconds(p.ElapsedSeconds), seconds(p.StalledSeconds)
	if math.IsNaN(p.PercentDone) {
		p.PercentDone = 0
	}
	p.PercentDone = min(max(p.PercentDone, 0), 1)
	for _, n := range []*int64{&p.TotalFiles, &p.FilesDone, &p.TotalBytes, &p.BytesDone, &p.ErrorCount} {
		*n = max(*n, 0)
	}
	files := make([]string, 0, min(len(p.CurrentFiles), maxCurrentFiles))
	for _, f := range p.CurrentFiles[:min(len(p.CurrentFiles), maxCurrentFiles)] {
		files = append(files, shown(f, maxCurrentFile))
	}
	p.CurrentFiles = files
	return p
}
