package job

import (
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"testing"

	"restic-manager/server/fault"
	"restic-manager/shared/wire"
)

func sumOf(text string) (hash.Hash, string) {
	h := sha256.New()
	h.Write([]byte(text))
	return h, hex.EncodeToString(h.Sum(nil))
}

// TestLogAdmit: a batch is stored at the cursor only, once, behind the same bytes, and not into a settled log.
func TestLogAdmit(t *testing.T) {
	before, sum := sumOf("one\ntwo\n")
	_, other := sumOf("one\nzwo\n")
	for _, c := range []struct {
		name   string
		log    Log
		q      wire.LogQuery
		stores bool
		code   string
	}{
		{"the next lines", Log{NextLine: 3}, wire.LogQuery{FirstLine: 3, Lines: 2, SumBefore: sum}, true, ""},
		{"a gap", Log{NextLine: 3}, wire.LogQuery{FirstLine: 4, Lines: 2, SumBefore: sum}, false, wire.ProblemLogGap},
		{"lines that are there", Log{NextLine: 3}, wire.LogQuery{FirstLine: 2, Lines: 9, SumBefore: other}, false, ""},
		{"no lines", Log{NextLine: 3}, wire.LogQuery{FirstLine: 3}, false, ""},
		{"other lines before", Log{NextLine: 3}, wire.LogQuery{FirstLine: 3, Lines: 1, SumBefore: other}, false, wire.ProblemLogConflict},
		{"a complete log", Log{NextLine: 3, Complete: true}, wire.LogQuery{FirstLine: 3, Lines: 1, SumBefore: sum}, false, wire.ProblemLogFull},
		{"a log that is settled otherwise", Log{NextLine: 3, Problem: "x"}, wire.LogQuery{FirstLine: 3, Lines: 1, SumBefore: sum}, false, wire.ProblemLogFull},
		{"lines of a settled log that are there", Log{NextLine: 3, Complete: true}, wire.LogQuery{FirstLine: 2, Lines: 1, SumBefore: sum}, false, ""},
	} {
		stores, err := c.log.Admit(c.q, func() (hash.Hash, error) { return before, nil })
		code := ""
		if e := fault.As(err); e != nil {
			code = e.Code
		}
		if stores != c.stores || code != c.code {
			t.Errorf("%s: stores %v, code %q; want %v, %q", c.name, stores, code, c.stores, c.code)
		}
		if code == wire.ProblemLogGap && fault.As(err).NextLine != 3 {
			t.Errorf("%s: next line %d, want 3", c.name, fault.As(err).NextLine)
		}
	}
}

// TestLogSettle: a log is complete with the very lines that the result told of, and says so when it never can be.
func TestLogSettle(t *testing.T) {
	all, sum := sumOf("one\ntwo\n")
	_, other := sumOf("")
	for _, c := range []struct {
		name     string
		log      Log
		lines    int64
		sha      string
		complete bool
		problem  bool
	}{
		{"lines are missing", Log{NextLine: 3}, 3, sum, false, false},
		{"all are there", Log{NextLine: 3}, 2, sum, true, false},
		{"the sum differs", Log{NextLine: 3}, 2, other, false, true},
		{"there are more", Log{NextLine: 3}, 1, sum, false, true},
		{"settled already", Log{NextLine: 3, Complete: true}, 1, other, true, false},
	} {
		got, err := c.log.Settle(c.lines, c.sha, func() (hash.Hash, error) { return all, nil })
		if err != nil || got.Complete != c.complete || (got.Problem != "") != c.problem {
			t.Errorf("%s: complete %v, problem %q, error %v; want %v, a problem %v", c.name, got.Complete, got.Problem, err, c.complete, c.problem)
		}
	}
}
