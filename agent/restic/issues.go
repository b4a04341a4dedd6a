package restic

import (
	"encoding/json"
	"hash/maphash"

	"restic-manager/shared/wire"
)

const (
	// maxIssueBytes bounds the issues of a result as JSON, so that the result fits wire.MaxBody.
	maxIssueBytes = 384 << 10
	maxIssuePath  = 4096
	maxIssueText  = 500
	// maxDropped bounds how many paths beyond the limit are told apart; further ones are counted as
	// often as restic names them.
	maxDropped = 1 << 16
)

// issueSet holds each path once: restic names a file twice when both its scan and its reading fail.
type issueSet struct {
	list    []wire.Issue
	sure    []bool // by position: not only the scan has failed
	at      map[string]int
	bytes   int
	dropped int64
	over    map[uint64]struct{} // hashes of dropped paths
	seed    maphash.Seed
}

func newIssueSet() issueSet {
	return issueSet{at: map[string]int{}, over: map[uint64]struct{}{}, seed: maphash.MakeSeed()}
}

// add notes a path. An issue is sure when restic could not process the path; an estimate that failed while
// the reading worked is none.
func (s *issueSet) add(path, message string, sure bool) {
	path, message = printable(path, maxIssuePath), clean(message, maxIssueText)
	if i, ok := s.at[path]; ok {
		s.sure[i] = s.sure[i] || sure
		if s.list[i].Message == unreadable {
			s.list[i].Message = message
		}
		return
	}
	if len(s.list) < wire.MaxIssues {
		issue := wire.Issue{Path: path, Message: message}
		if b, err := json.Marshal(issue); err == nil && s.bytes+len(b)+1 <= maxIssueBytes {
			s.at[path] = len(s.list)
			s.list, s.sure = append(s.list, issue), append(s.sure, sure)
			s.bytes += len(b) + 1
			return
		}
	}
	if !sure {
		return // its reading will fail too, and be counted then
	}
	if len(s.over) < maxDropped {
		h := maphash.String(s.seed, path)
		if _, ok := s.over[h]; ok {
			return
		}
		s.over[h] = struct{}{}
	}
	s.dropped++
}

// all is every issue; only the sure ones where restic says that it read everything.
func (s *issueSet) all(onlySure bool) []wire.Issue {
	var list []wire.Issue
	for i, issue := range s.list {
		if s.sure[i] || !onlySure {
			list = append(list, issue)
		}
	}
	return list
}
