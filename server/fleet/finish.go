package fleet

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"time"

	"restic-manager/server/database"
	"restic-manager/server/fleet/job"
	"restic-manager/shared/failpoint"
	"restic-manager/shared/wire"
)

// maxLateReports bounds how many results are kept beside the one that counts.
const maxLateReports = 10

// Finish takes a job's result. body is the request's bytes as they were sent: the same bytes are the same
// result, also a week later. Another result after the end is kept as a late report. A listing that rides on
// it is committed for itself: when it is not taken, the answer says so, and the result stands.
func (s *Store) Finish(ctx context.Context, hostID, jobID, lease string, body []byte, r wire.FinishRequest) (wire.FinishReply, error) {
	sum := sha256.Sum256(body)
	listing := r.Listing
	r = cleanFinish(r)
	var reply wire.FinishReply
	var c change
	err := s.db.Write(ctx, func(tx *database.Tx) (err error) {
		c, err = s.finish(tx, hostID, jobID, lease, hex.EncodeToString(sum[:]), r)
		reply = wire.FinishReply{Late: c.fx.KeepReport}
		if err != nil {
			return err
		}
		return failpoint.Hit("server.finish.uncommitted")
	})
	if err == nil {
		err = failpoint.Hit("server.finish.committed")
	}
	switch {
	case err != nil:
		return wire.FinishReply{}, fmt.Errorf("finish job %s: %w", jobID, err)
	case c.refused != nil:
		return wire.FinishReply{}, c.refused
	}
	if c.fx.Ended {
		s.figures.ended(c.job)
		s.pulse.forget(jobID)
	}
	if listing != nil {
		reply.ListingRefused = !s.listed(ctx, hostID, jobID, listing)
	}
	return reply, nil
}

func (s *Store) finish(tx *database.Tx, hostID, jobID, lease, sum string, r wire.FinishRequest) (change, error) {
	host, err := lockHost(tx, hostID)
	if err != nil {
		return change{}, err
	}
	row, ok, err := lockJob(tx, jobID)
	if err != nil {
		return change{}, err
	}
	if !ok || row.HostID != hostID {
		return change{refused: errLeaseLost}, nil
	}
	e := job.Finish{Lease: lease, SHA256: sum, State: r.State}
	if r.Error != nil {
		e.Error = *r.Error
	}
	c, err := s.apply(tx, row, e)
	switch {
	case err != nil || c.refused != nil:
		return c, err
	case c.fx.KeepReport:
		return c, keepLateReport(tx, jobID, sum, r)
	case c.fx.Ended:
		return c, s.storeResult(tx, host, c.job, r)
	}
	return c, nil
}

// storeResult writes what the result says beside the state, and what follows from it for the host.
func (s *Store) storeResult(tx *database.Tx, host hostRow, j job.Job, r wire.FinishRequest) error {
	row := jobRow{
		ReportedAt: &tx.Now, AgentStartedAt: ptr(r.StartedAt), AgentEndedAt: ptr(r.EndedAt),
		ElapsedSeconds: &r.ElapsedSeconds, ExitCode: r.ExitCode, SignalSent: r.SignalSent,
		IssueCount: int64(len(r.Issues)), IssuesDropped: r.IssuesDropped, LogLines: &r.LogLines, LogSHA256: r.LogSHA256,
	}
	columns := []string{"reported_at", "agent_started_at", "agent_ended_at", "elapsed_seconds", "exit_code", "signal_sent",
		"issue_count", "issues_dropped", "log_lines", "log_sha256"}
	if j.StartedAt.IsZero() {
		row.SkewSeconds = host.SkewSeconds // else that of its start stays
		columns = append(columns, "skew_seconds")
	}
	if r.Summary != nil {
		raw, err := json.Marshal(r.Summary)
		if err != nil {
			return err
		}
		text := string(raw)
		row.Summary, row.SnapshotID, row.DataAdded = &text, r.Summary.SnapshotID, r.Summary.DataAdded
		row.FilesProcessed = max(r.Summary.TotalFilesProcessed, r.Summary.FilesRestored)
		row.BytesProcessed = max(r.Summary.TotalBytesProcessed, r.Summary.BytesRestored)
		columns = append(columns, "summary", "snapshot_id", "data_added", "files_processed", "bytes_processed")
	}
	if r.Estimate != nil && j.Kind == wire.KindEstimate {
		text, err := estimateOf(tx, j.ID, r.Estimate)
		if err != nil {
			return err
		}
		row.Estimate = &text
		columns = append(columns, "estimate")
	}
	if len(r.Issues) > 0 {
		raw, err := json.Marshal(r.Issues)
		if err != nil {
			return err
		}
		text := string(raw)
		row.Issues = &text
		columns = append(columns, "issues")
	}
	if p, ok := s.pulse.latest(j.ID, j.Lease); ok {
		row.Progress, row.ProgressAt, row.ProgressSeq, row.ProgressLease = &p.text, &tx.Now, p.progress.Seq, p.lease
		columns = append(columns, "progress", "progress_at", "progress_seq", "progress_lease")
	}
	if err := tx.Model(&jobRow{}).Where("id = ?", j.ID).Select(columns).Updates(row).Error; err != nil {
		return fmt.Errorf("store the result: %w", err)
	}
	if err := s.settleLog(tx, j.ID); err != nil {
		return err
	}
	return s.succeeded(tx, host, j, r)
}

// succeeded notes what a success means for the host.
func (s *Store) succeeded(tx *database.Tx, host hostRow, j job.Job, r wire.FinishRequest) error {
	if !j.State.Success() {
		return nil
	}
	if j.Kind == wire.KindBackup {
		bytes := int64(0)
		if r.Summary != nil {
			bytes = max(r.Summary.TotalBytesProcessed, 0)
		}
		if err := recordSuccess(tx, j, bytes); err != nil {
			return err
		}
	}
	if j.Kind != wire.KindInit || r.Summary == nil || r.Summary.RepositoryID == "" {
		return nil
	}
	was, err := tieOf(tx, host)
	if err != nil || was.Initialised(j.RepositoryName, r.Summary.RepositoryID) == was {
		return err
	}
	// The row is not locked: that lock comes before the job's, and here nothing is held by the new id.
	err = tx.Exec("INSERT INTO repositories (id, created_at) VALUES (?, ?) ON CONFLICT (id) DO NOTHING", r.Summary.RepositoryID, tx.Now).Error
	if err != nil {
		return fmt.Errorf("add repository %s: %w", r.Summary.RepositoryID, err)
	}
	return tieRepository(tx, host.ID, r.Summary.RepositoryID)
}

func keepLateReport(tx *database.Tx, jobID, sum string, r wire.FinishRequest) error {
	raw, err := json.Marshal(r)
	if err != nil {
		return err
	}
	err = tx.Exec(`INSERT INTO late_reports (job_id, sha256, reported_at, report) SELECT ?, ?, ?, ?
		WHERE (SELECT count(*) FROM late_reports WHERE job_id = ?) < ? ON CONFLICT (job_id, sha256) DO NOTHING`,
		jobID, sum, tx.Now, string(raw), jobID, maxLateReports).Error
	if err != nil {
		return fmt.Errorf("keep a late report: %w", err)
	}
	return nil
}

// listed commits the listing that rode on a finish, in a transaction of its own, and reports whether it was taken.
func (s *Store) listed(ctx context.Context, hostID, jobID string, l *wire.Listing) bool {
	err := s.commitListingOnFinish(ctx, hostID, l)
	if err != nil {
		s.log.Warn("the list of snapshots that came with a result was not taken; the agent is told to list again", "job", jobID, "host", hostID, "error", err)
	}
	return err == nil
}

// Limits of what a result may say.
const (
	maxErrorMessage = 8 << 10
	maxIssuePath    = 4 << 10
	maxIssueMessage = 2 << 10
)

var errorCode = regexp.MustCompile(`^[a-z][a-z0-9_]{0,63}$`)

// cleanFinish makes a result fit for storing and showing, whatever the agent sent: the result counts more
// than its words.
func cleanFinish(r wire.FinishRequest) wire.FinishRequest {
	r.Listing = nil
	if r.Error != nil {
		e := wire.JobError{Code: r.Error.Code, Message: cleanText(r.Error.Message, maxErrorMessage)}
		if !errorCode.MatchString(e.Code) {
			e.Code = "" // the rules give one that fits the state
		}
		r.Error = &e
	}
	if extra := len(r.Issues) - wire.MaxIssues; extra > 0 {
		r.Issues, r.IssuesDropped = r.Issues[:wire.MaxIssues], r.IssuesDropped+int64(extra)
	}
	issues := make([]wire.Issue, len(r.Issues))
	for i, x := range r.Issues {
		issues[i] = wire.Issue{Path: shown(x.Path, maxIssuePath), Message: shown(x.Message, maxIssueMessage)}
	}
	r.Issues = issues
	if r.Summary != nil {
		r.Summary = cleanSummary(*r.Summary)
	}
	r.IssuesDropped, r.LogLines = max(r.IssuesDropped, 0), max(r.LogLines, 0)
	if !wire.IsSHA256(r.LogSHA256) {
		r.LogSHA256 = ""
	}
	r.ElapsedSeconds = seconds(r.ElapsedSeconds)
	r.StartedAt, r.EndedAt = plausible(r.StartedAt), plausible(r.EndedAt)
	if r.ExitCode != nil && (*r.ExitCode < math.MinInt32 || *r.ExitCode > math.MaxInt32) {
		r.ExitCode = nil
	}
	return r
}

func cleanSummary(s wire.Summary) *wire.Summary {
	for _, id := range []*string{&s.SnapshotID, &s.RepositoryID} {
		if !wire.IsSHA256(*id) {
			*id = ""
		}
	}
	s.StoredBytes = max(s.StoredBytes, 0)
	s.RestoredTo = shown(s.RestoredTo, maxIssuePath)
	s.ResticSeconds = seconds(s.ResticSeconds)
	s.Hooks = cleanHookRuns(s.Hooks)
	return &s
}

// maxHookRuns is how many hooks a job can have begun: before, after, and the one that writes.
const maxHookRuns = 2*wire.MaxHooks + 1

func cleanHookRuns(all []wire.HookRun) (clean []wire.HookRun) {
	for _, h := range all[:min(len(all), maxHookRuns)] {
		if wire.CheckHookName(h.Name) != nil || !slices.Contains([]string{"before", "after", "stdin"}, h.Stage) {
			continue
		}
		h.ElapsedSeconds, h.Bytes, h.Failure = seconds(h.ElapsedSeconds), max(h.Bytes, 0), shown(h.Failure, maxIssueMessage)
		clean = append(clean, h)
	}
	return clean
}

// shown writes text out so that it cannot act, cut to its limit.
func shown(s string, limit int) string {
	return cleanLine(visible([]byte(cleanLength(s, limit))), limit)
}

func cleanLength(s string, limit int) string { return s[:min(len(s), limit)] }

// seconds is a duration that can be stored and shown.
func seconds(f float64) float64 {
	if math.IsNaN(f) || f < 0 {
		return 0
	}
	return min(f, 1e9)
}

// plausible is the time as both databases keep it, zero for one that no clock shows.
func plausible(t time.Time) time.Time {
	if t.Year() < 1970 || t.Year() > 9999 {
		return time.Time{}
	}
	return database.Truncate(t)
}
