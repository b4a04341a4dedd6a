package restic

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strconv"
	"strings"

	"restic-manager/shared/wire"
)

// Class says what a line is.
type Class int

// The classes of lines.
const (
	// ClassLog is a line for the log: everything that is not a status line.
	ClassLog Class = iota
	// ClassProgress is a status line that changed Progress.
	ClassProgress
	// ClassIgnored is a status line that says nothing: neither progress nor log.
	ClassIgnored
)

// Bounds of what a parser keeps.
const (
	maxWordsHead    = 16 // first lines of stderr that may say why restic failed
	maxWordsTail    = 32 // and the last ones
	maxWord         = 1024
	maxCauses       = 16
	maxExitMessage  = 16 << 10
	maxCurrentFiles = 8
)

// Parser reads restic's output line by line and holds a bounded amount of it, whatever it is fed. It is
// not safe for concurrent use: feed both pipes under one lock.
type Parser struct {
	kind       wire.Kind
	version    Version
	dryRun     bool
	restoredTo string
	forgets    int
	chosen     int // paths that a restore names; 0: all

	progress wire.Progress
	summary  *wire.Summary
	estimate *wire.Estimate
	shortID  string
	issues   issueSet

	exit       *exitError
	words      []string // text on stderr: maxWordsHead first lines, then a ring of the last ones
	next       int      // where the ring goes on
	causes     []string // messages of JSON errors
	retry      string   // the last failure that was retried
	signal     bool     // restic said that a signal came
	unremoved  int      // snapshots that forget could not remove
	ignored    int      // snapshots that forget did not find
	unlocked   int64
	unlockSaid bool
	stored     int64 // what prune says remains
}

// NewParser reads the output of one run.
func NewParser(i Invocation) *Parser {
	p := &Parser{
		kind: i.Kind, version: i.Version, dryRun: i.DryRun, restoredTo: i.RestoredTo, forgets: i.Forgets, chosen: i.Chosen,
		issues: newIssueSet(),
	}
	for _, m := range i.Missing {
		p.issues.add(m, missingText, true)
	}
	return p
}

const missingText = "does not exist"

// Feed takes the next line of a pipe (wire.StreamOut or wire.StreamErr), without its newline. It keeps no
// reference to it.
func (p *Parser) Feed(s wire.Stream, line []byte, truncated bool) Class {
	if s == wire.StreamErr {
		p.feedErr(line, truncated)
		return ClassLog
	}
	switch messageType(line) {
	case "":
		p.feedText(line)
	case "status":
		// Where a version prints text, a file's name with a line break in it could look like JSON.
		if p.kind == wire.KindRestore && !p.version.AtLeast(16, 0) {
			return ClassLog
		}
		return p.feedStatus(line, truncated)
	case "summary":
		if p.kind == wire.KindPrune && !truncated {
			var m pruned
			if json.Unmarshal(line, &m) == nil {
				p.stored = max(m.Bytes.Remaining, 0)
			}
		}
		if p.kind == wire.KindEstimate {
			if !truncated {
				p.feedEstimate(line)
			}
			return ClassIgnored
		}
		if p.summarises() && !truncated {
			p.feedSummary(line)
		}
	case "initialized":
		var m initialized
		if p.kind == wire.KindInit && p.summarises() && json.Unmarshal(line, &m) == nil && wire.IsSHA256(m.ID) {
			p.summary = &wire.Summary{RepositoryID: m.ID}
		}
	}
	return ClassLog
}

// summarises reports whether this version ends this kind with JSON.
func (p *Parser) summarises() bool {
	switch p.kind {
	case wire.KindBackup, wire.KindEstimate:
		return true
	case wire.KindRestore:
		return p.version.AtLeast(16, 0)
	case wire.KindCheck:
		return p.version.AtLeast(18, 0)
	case wire.KindInit:
		return p.version.AtLeast(15, 0)
	}
	return false
}

func (p *Parser) feedStatus(line []byte, truncated bool) Class {
	var m status
	if truncated || json.Unmarshal(line, &m) != nil || m.Action != nil {
		return ClassIgnored
	}
	percent := max(p.progress.PercentDone, min(m.PercentDone, 1))
	p.progress = wire.Progress{
		Seq:            p.progress.Seq + 1,
		ElapsedSeconds: seconds(m.SecondsElapsed),
		PercentDone:    percent,
		TotalFiles:     int64(m.TotalFiles),
		FilesDone:      int64(m.FilesDone + m.FilesRestored + m.FilesSkipped),
		TotalBytes:     int64(m.TotalBytes),
		BytesDone:      int64(m.BytesDone + m.BytesRestored + m.BytesSkipped),
		ErrorCount:     int64(m.ErrorCount),
	}
	for _, f := range m.CurrentFiles[:min(len(m.CurrentFiles), maxCurrentFiles)] {
		p.progress.CurrentFiles = append(p.progress.CurrentFiles, printable(f, maxIssuePath))
	}
	return ClassProgress
}

// Progress is what the last status line said; ok is false before the first. PercentDone never falls. Seq
// is the number of status lines so far.
func (p *Parser) Progress() (progress wire.Progress, ok bool) {
	return p.progress, p.progress.Seq > 0
}

func (p *Parser) feedSummary(line []byte) {
	switch p.kind {
	case wire.KindBackup:
		var m backupSummary
		if json.Unmarshal(line, &m) != nil {
			return
		}
		s := m.wire()
		s.DryRun = s.DryRun || p.dryRun
		// A dry run names a snapshot that does not exist; 0.14 says only the first 8 digits.
		if !s.DryRun && wire.IsSHA256(m.SnapshotID) {
			s.SnapshotID = m.SnapshotID
		} else if !s.DryRun && shortID.MatchString(m.SnapshotID) {
			p.shortID = m.SnapshotID
		}
		p.summary = &s
	case wire.KindRestore:
		var m restoreSummary
		if json.Unmarshal(line, &m) == nil {
			s := m.wire()
			p.summary = &s
		}
	case wire.KindCheck:
		var m checkSummary
		if json.Unmarshal(line, &m) == nil {
			p.summary = &wire.Summary{CheckErrors: int64(m.NumErrors)}
		}
	}
}

var (
	shortID     = regexp.MustCompile(`^[0-9a-f]{8}$`)
	locksGone   = regexp.MustCompile(`^successfully removed (?:(\d{1,9}) )?locks?$`)
	notRemoved  = regexp.MustCompile(`^unable to remove (?:snapshot/([0-9a-f]{64})|<snapshot/([0-9a-f]{4,64})>) from the repository$`)
	idNotFound  = regexp.MustCompile(`^Ignoring "[^"]*": no matching ID found`)
	restoreFail = []byte("ignoring error for ")
)

// feedText looks at a line of stdout that is not JSON.
// pruned ends a prune of the versions after 0.19.
type pruned struct {
	Bytes struct {
		Remaining int64 `json:"remaining"`
	} `json:"bytes"`
}

// remaining is what prune says it leaves. Source: restic's printPruneStats, the same from 0.14 on.
var remaining = regexp.MustCompile(`^remaining:\s+\d+ blobs / ([0-9]+(?:\.[0-9]+)?) (B|KiB|MiB|GiB|TiB)$`)

// bytesOf reads a size as restic rounds it; 0 for one that is none.
func bytesOf(number, unit string) int64 {
	f, err := strconv.ParseFloat(number, 64)
	if err != nil {
		return 0
	}
	for u := range strings.SplitSeq("B KiB MiB GiB TiB", " ") {
		if u == unit {
			break
		}
		f *= 1024
	}
	if f > 1<<62 {
		return 0
	}
	return int64(f)
}

func (p *Parser) feedText(line []byte) {
	if p.kind == wire.KindPrune {
		if m := remaining.FindSubmatch(bytes.TrimSpace(line)); m != nil {
			p.stored = bytesOf(string(m[1]), string(m[2]))
		}
	}
	if p.kind != wire.KindUnlock {
		return
	}
	if m := locksGone.FindSubmatch(bytes.TrimSpace(line)); m != nil {
		n, err := strconv.ParseInt(string(m[1]), 10, 64)
		p.unlocked, p.unlockSaid = n, err == nil
	}
}

func (p *Parser) feedErr(line []byte, truncated bool) {
	switch messageType(line) {
	case "exit_error":
		var m exitError
		if !truncated && json.Unmarshal(line, &m) == nil {
			m.Message = m.Message[:min(len(m.Message), maxExitMessage)]
			p.exit = &m
			return
		}
	case "error":
		var m errorMessage
		if !truncated && json.Unmarshal(line, &m) == nil {
			p.feedError(m)
			return
		}
	}
	p.feedErrText(line)
}

func (p *Parser) feedError(m errorMessage) {
	text := m.text()
	if len(p.causes) < maxCauses {
		p.causes = append(p.causes, text[:min(len(text), maxWord)])
	}
	if m.Item != "" && (p.kind == wire.KindBackup || p.kind == wire.KindRestore || p.kind == wire.KindEstimate) {
		p.issues.add(m.Item, text, m.During != "scan")
	}
}

// feedErrText looks at a line of text on stderr, which every version mixes with its JSON.
func (p *Parser) feedErrText(line []byte) {
	if p.kind == wire.KindRestore {
		if rest, ok := bytes.CutPrefix(line, restoreFail); ok {
			path, message, _ := strings.Cut(string(rest[:min(len(rest), 4*maxIssuePath)]), ": ")
			p.issues.add(path, message, true)
			if len(p.causes) < maxCauses {
				p.causes = append(p.causes, message[:min(len(message), maxWord)])
			}
			return
		}
	}
	text := string(line[:min(len(line), maxWord)])
	if len(line) <= 2*maxIssuePath && p.kind == wire.KindBackup {
		for suffix, message := range map[string]string{
			" does not exist, skipping":     missingText,
			" cannot be accessed, skipping": "cannot be accessed",
		} {
			if path, ok := bytes.CutSuffix(line, []byte(suffix)); ok {
				p.issues.add(string(path), message, true)
				return
			}
		}
	}
	text = strings.TrimRight(ansi.ReplaceAllString(text, ""), " \r")
	switch {
	case transient.MatchString(text):
		p.retry = text
		return
	case interrupted.MatchString(text):
		p.signal = true
		return
	case noise.MatchString(text):
		return
	}
	if p.kind == wire.KindForget {
		if m := notRemoved.FindStringSubmatch(text); m != nil {
			p.unremoved++
			p.issues.add("snapshot/"+m[1]+m[2], "was not removed", true)
			return
		}
		if idNotFound.MatchString(text) {
			p.ignored++
			return
		}
	}
	p.keep(text)
}

// keep remembers the first and the last words on stderr.
func (p *Parser) keep(text string) {
	if len(p.words) < maxWordsHead+maxWordsTail {
		p.words = append(p.words, text)
		return
	}
	p.words[maxWordsHead+p.next] = text
	p.next = (p.next + 1) % maxWordsTail
}

// said is what restic said about its failure: exit_error where the version has it, then the words on
// stderr in their order.
func (p *Parser) said() []string {
	var said []string
	if p.exit != nil {
		said = strings.Split(p.exit.Message, "\n")
	}
	head := min(len(p.words), maxWordsHead)
	said = append(said, p.words[:head]...)
	tail := p.words[head:]
	next := min(p.next, len(tail))
	said = append(said, tail[next:]...)
	return append(said, tail[:next]...)
}
