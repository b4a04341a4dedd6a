package restic

import (
	"fmt"
	"strings"
	"syscall"

	"restic-manager/shared/wire"
)

// Ending is how a run ended: what the kernel said, and the runner's own record of its signals.
type Ending struct {
	// ExitCode is restic's; -1 when Signal ended it.
	ExitCode int
	// Signal is what ended restic; 0 when it exited.
	Signal syscall.Signal
	// Canceled says that a cancel made the runner send a signal; TimeLimit, that the time limit did. Set
	// the one that came first.
	Canceled  bool
	TimeLimit bool
	// Killed says that restic did not end within the grace and was sent SIGKILL.
	Killed bool
	// NothingRestored is what Invocation.NothingRestored found after restic's end.
	NothingRestored bool
}

// Outcome is a job's result.
type Outcome struct {
	State         wire.State     `json:"state"`
	Error         *wire.JobError `json:"error,omitempty"`   // nil on success
	Summary       *wire.Summary  `json:"summary,omitempty"` // nil where restic gave none
	Estimate      *wire.Estimate `json:"estimate,omitempty"`
	Issues        []wire.Issue   `json:"issues,omitempty"`
	IssuesDropped int64          `json:"issues_dropped,omitempty"`
	// ShortSnapshotID is what 0.14 says of a new snapshot's id, 8 digits; the listing has the whole id.
	ShortSnapshotID string `json:"short_snapshot_id,omitempty"`
	// Holder is who holds the lock that made the job fail; nil for other failures.
	Holder *Holder `json:"holder,omitempty"`
}

// Outcome tells the result once both pipes were read to their end and restic is gone. Success with issues
// and every failure's code come from the exit code where the version has one, else from restic's words;
// canceled and time_limit only from the runner's own record.
func (p *Parser) Outcome(e Ending) Outcome {
	o := Outcome{Summary: p.summary, Estimate: p.estimate, IssuesDropped: p.issues.dropped, ShortSnapshotID: p.shortID}
	p.complete(&o)
	ours := e.Canceled || e.TimeLimit
	ended := e.Signal == 0 && (e.ExitCode == 0 || e.ExitCode == 3 && p.kind == wire.KindBackup)
	// A backup has made its snapshot when it says so in its summary, which it prints in every version, for a
	// dry run too; nothing else proves it. Who finished all the same while a signal was under way has
	// finished: a summary shows it, or where there is none, the exit code of a kind that never has one.
	if ended && p.summary == nil && (p.kind == wire.KindBackup || p.kind == wire.KindEstimate || ours && p.summarises()) {
		ended = false
	}
	o.Issues = p.issues.all(ended && e.ExitCode == 0)
	switch {
	case ended && p.kind == wire.KindForget && p.unremoved > 0:
		p.fail(&o, p.notRemoved())
	case ended && p.restoredNothing(e):
		p.fail(&o, &wire.JobError{Code: wire.CodeSourceMissing, Message: "nothing was restored: " +
			"no file of the snapshot matches the chosen paths; look at what the snapshot holds and give paths as they stand in it"})
	case ended && (e.ExitCode == 3 || len(o.Issues) > 0 || o.IssuesDropped > 0):
		o.State = wire.StateSucceededWithIssues
	case ended:
		o.State = wire.StateSucceeded
	case e.Canceled:
		o.State = wire.StateCanceled
		o.Error = &wire.JobError{Code: wire.CodeCanceled, Message: "canceled" + e.how(p.kind)}
	case e.TimeLimit:
		p.fail(&o, p.overTime(e))
	default:
		p.fail(&o, p.failure(e))
	}
	if o.Error != nil && o.Error.Code == wire.CodeRepositoryLocked {
		if h, ok := parseHolder(strings.Join(p.said(), "\n")); ok {
			o.Holder = &h
		}
	}
	if !ended {
		o.ShortSnapshotID = ""
	}
	return o
}

func (p *Parser) fail(o *Outcome, err *wire.JobError) {
	o.State, o.Error = wire.StateFailed, err
}

// restoredNothing: restic itself calls it a success when no file matches the chosen paths. Who asked for
// those files does not. A snapshot that is restored whole may be empty.
func (p *Parser) restoredNothing(e Ending) bool {
	if p.kind != wire.KindRestore || p.chosen == 0 {
		return false
	}
	s := p.summary
	return e.NothingRestored || s != nil && s.TotalFilesProcessed == 0 && s.FilesRestored == 0 && s.FilesSkipped == 0
}

// complete adds what the agent knows to what restic said.
func (p *Parser) complete(o *Outcome) {
	add := func() *wire.Summary {
		s := wire.Summary{}
		if o.Summary != nil {
			s = *o.Summary
		}
		o.Summary = &s
		return &s
	}
	switch {
	case p.kind == wire.KindRestore && p.restoredTo != "":
		add().RestoredTo = p.restoredTo
	case p.kind == wire.KindForget && p.forgets > 0 && p.dryRun:
		add().DryRun = true
	case p.kind == wire.KindForget && p.forgets > 0:
		add().SnapshotsRemoved = int64(max(p.forgets-p.ignored-p.unremoved, 0))
	case p.kind == wire.KindPrune && p.dryRun:
		add().DryRun = true
	case p.kind == wire.KindPrune && p.stored > 0:
		add().StoredBytes = p.stored
	case p.kind == wire.KindUnlock && p.unlockSaid:
		add().LocksRemoved = p.unlocked
	}
}

func (e Ending) how(kind wire.Kind) string {
	if kind == wire.KindEstimate {
		return "; the estimate was ended"
	}
	if e.Killed {
		return "; restic did not end after SIGINT and was killed"
	}
	return "; restic was interrupted"
}

func (p *Parser) overTime(e Ending) *wire.JobError {
	m := "the job's time limit was reached" + e.how(p.kind)
	if p.kind == wire.KindEstimate {
		return &wire.JobError{Code: wire.CodeTimeLimit, Message: m + "; name fewer or smaller folders"}
	}
	if p.retry != "" {
		m += "; it was retrying: " + clean(p.retry, 300)
	}
	return &wire.JobError{Code: wire.CodeTimeLimit, Message: m + "; raise the limit, or see in the log what took so long"}
}

// notRemoved is forget's failure, which 0.17 and 0.18 report with exit code 0.
func (p *Parser) notRemoved() *wire.JobError {
	code, why, ok := classify([]string{p.retry})
	if !ok {
		code, why = wire.CodeRestic, p.retry
	}
	m := fmt.Sprintf("snapshots that restic could not remove: %d", p.unremoved)
	if p.forgets > 0 {
		m += fmt.Sprintf(" of %d", p.forgets)
	}
	if why != "" {
		m += ": " + reason(why)
	}
	return &wire.JobError{Code: code, Message: sentence(code, m)}
}

// reason is what follows the retried operation's name.
func reason(retry string) string {
	if _, why, ok := strings.Cut(retry, "failed: "); ok {
		return why
	}
	if _, why, ok := strings.Cut(retry, "retrying after "); ok {
		if _, why, ok := strings.Cut(why, ": "); ok {
			return why
		}
	}
	return retry
}

// failure tells the code and the words of an end that nobody here asked for.
func (p *Parser) failure(e Ending) *wire.JobError {
	if p.kind == wire.KindEstimate {
		return p.estimateFailure(e)
	}
	if e.Signal != 0 {
		return &wire.JobError{Code: wire.CodeCrashed, Message: fmt.Sprintf(
			"restic was ended by a signal this agent did not send (%s); see the host's own log, for example for a lack of memory", e.Signal)}
	}
	if p.kind == wire.KindForget && p.unremoved > 0 {
		return p.notRemoved()
	}
	if e.ExitCode == 0 || e.ExitCode == 3 && p.kind == wire.KindBackup {
		return &wire.JobError{Code: wire.CodeRestic, Message: fmt.Sprintf(
			"restic ended with exit code %d but without a backup's summary: nothing proves that there is a snapshot. See in the log what ran in restic's place, then start the job again", e.ExitCode)}
	}
	said := p.said()
	code := exitCode(p.version, e.ExitCode)
	switch {
	case code == wire.CodeCrashed:
		return &wire.JobError{Code: code, Message: "restic crashed; report the log to restic's makers"}
	case code == wire.CodeInterrupted, code == "" && p.signal:
		return &wire.JobError{Code: wire.CodeInterrupted, Message: "restic was interrupted by a signal this agent did not send; start the job again"}
	case code != "":
		return p.explain(code, p.line(said))
	}
	if code, line, ok := classify(said); ok {
		return p.explain(code, line)
	}
	if p.summary != nil && p.summary.CheckErrors > 0 {
		return p.explain(wire.CodeRepositoryDamaged, fmt.Sprintf("restic found %d errors in the repository", p.summary.CheckErrors))
	}
	words := p.line(said)
	// What a backup could not read says nothing about why it failed.
	if code, cause, ok := classify(p.causes); ok && p.kind != wire.KindBackup {
		return p.explain(code, join(words, cause))
	}
	if code, cause, ok := classify([]string{p.retry}); ok {
		return p.explain(code, join(words, reason(cause)))
	}
	if words == "" && p.retry == "" {
		words = fmt.Sprintf("restic ended with exit code %d and said nothing", e.ExitCode)
	}
	return p.explain(wire.CodeRestic, words)
}

func join(words, cause string) string {
	if words == "" {
		return cause
	}
	return words + ": " + cause
}

// explain makes restic's words a sentence with an advice.
func (p *Parser) explain(code, words string) *wire.JobError {
	words = firstLine(words)
	if code == wire.CodeRepositoryLocked {
		if h, ok := parseHolder(strings.Join(p.said(), "\n")); ok {
			words = "the repository is locked by " + h.String()
		}
	}
	return &wire.JobError{Code: code, Message: sentence(code, words)}
}

// line is the one that says most: exit_error's first, else the last fatal one, else the last.
func (p *Parser) line(said []string) string {
	if p.exit != nil {
		return firstLine(p.exit.Message)
	}
	for _, l := range said {
		if strings.HasPrefix(l, "Fatal: ") {
			return l
		}
	}
	if len(said) > 0 {
		return said[len(said)-1]
	}
	return p.retry
}
