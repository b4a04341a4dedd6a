package fleet

import (
	"bytes"
	"encoding/json"
	"math"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"restic-manager/server/fault"
	"restic-manager/shared/wire"
)

// FuzzCleanText: what is kept of a text is valid, cannot act, keeps to its limit, and is kept as it is the next time.
func FuzzCleanText(f *testing.F) {
	for _, s := range []string{"", "plain", "a\x00b", "\xff\xfe", "\u202eevil", "a\nb\tc\r", "\u200b\ufeff", strings.Repeat("ü", 40), "\x1b[31m", "\xe2\x98"} {
		f.Add(s, 16)
	}
	f.Fuzz(func(t *testing.T, s string, limit int) {
		limit = int(uint(limit) % 200)
		for name, c := range map[string]func(string) string{
			"cleanLine": func(s string) string { return cleanLine(s, limit) },
			"cleanText": func(s string) string { return cleanText(s, limit) },
			"shown":     func(s string) string { return shown(s, limit) },
		} {
			once := c(s)
			if !utf8.ValidString(once) || len(once) > limit || strings.ContainsFunc(once, func(r rune) bool { return isHidden(r) && (name != "cleanText" || r != '\n' && r != '\t') }) {
				t.Errorf("%s of %q, %d bytes: got %q", name, s, limit, once)
			}
			if again := c(once); again != once {
				t.Errorf("%s of %q: got %q, and of that %q", name, s, once, again)
			}
		}
		if v := visible([]byte(s)); !utf8.ValidString(v) || strings.ContainsFunc(v, isHidden) {
			t.Errorf("visible of %q: got %q", s, v)
		}
	})
}

// FuzzFinishBody: whatever a result says, what is kept of it can be stored, and is kept as it is the next time.
func FuzzFinishBody(f *testing.F) {
	for _, s := range []string{`{}`, `{"state":"succeeded","exit_code":3,"summary":{"snapshot_id":"x","restored_to":"\u0000/\u202e"},"issues":[{"path":"a\u0000","message":"\u001b[31m"}],"elapsed_seconds":1e300}`,
		`{"state":"failed","error":{"code":"A B","message":"x\ny\u0000"},"issues_dropped":-5,"log_lines":-1,"log_sha256":"zz","exit_code":99999999999}`,
		`{"started_at":"0001-01-01T00:00:00Z","ended_at":"9999-12-31T23:59:59.999999999Z","elapsed_seconds":-1}`, `{"listing":{"snapshots":[1,null]}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var r wire.FinishRequest
		if json.Unmarshal(body, &r) != nil {
			return
		}
		once := cleanFinish(r)
		raw, err := json.Marshal(once)
		// A backslash that stands for itself is written twice: what follows it is text.
		if err != nil || bytes.Contains(bytes.ReplaceAll(raw, []byte(`\\`), nil), []byte(`\u0000`)) {
			t.Fatalf("%q: got %s, %v", body, raw, err)
		}
		if once.LogLines < 0 || once.IssuesDropped < 0 || once.ElapsedSeconds < 0 || math.IsInf(once.ElapsedSeconds, 0) || len(once.Issues) > wire.MaxIssues || once.LogSHA256 != "" && !wire.IsSHA256(once.LogSHA256) {
			t.Errorf("%q: got %+v", body, once)
		}
		if again := cleanFinish(once); !reflect.DeepEqual(again, once) {
			t.Errorf("%q: got %+v, and of that %+v", body, once, again)
		}
	})
}

// FuzzSnapshotParts: a part that is taken has one id a line, and its fresh lines are those that were not known.
func FuzzSnapshotParts(f *testing.F) {
	id := strings.Repeat("ab", 32)
	for _, s := range []string{"", "\n", `{"id":"` + id + `"}` + "\n", `{"id":"` + id + `"}`, `{ "id" : "` + id + `" }` + "\n" + `{"id":"x"}` + "\n", `{"id":"` + id + "\x00" + "\"}\n", `{"id":"` + strings.ToUpper(id) + `"}` + "\n", "[]\n", `{"id":1}` + "\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		p, err := splitPart(body, idSet{})
		if err != nil {
			if fault.As(err) == nil {
				t.Errorf("%q: got %v, want a fault that the agent is told", body, err)
			}
			return
		}
		if lines := bytes.Count(body, []byte("\n")); len(p.IDs) != lines*idSize || !bytes.Equal(p.Fresh, body) {
			t.Errorf("%q: got %d bytes of ids and %q", body, len(p.IDs), p.Fresh)
		}
		for line := range bytes.Lines(body) {
			if _, err := lineID(line); err != nil {
				t.Errorf("%q: got %v for a line that was taken", line, err)
			}
		}
	})
}

var knownConditions = regexp.MustCompile(`^(1 = 1|jobs\.(host_id = \?|kind = \?|kind \|\| '' = \?|state = \?|state \|\| '' IN \?|id < \?|id >= \?|queued_at < \?|queued_at >= \?))$`)

// FuzzListQuery: a filter becomes known columns with bound values, and a cursor is read as what it was made of or
// refused.
func FuzzListQuery(f *testing.F) {
	id := "018f0000-0000-7000-8000-000000000001"
	f.Add(id, "backup", "failed", encodeCursor(time.Date(2026, 11, 24, 1, 2, 3, 0, time.UTC), id))
	f.Add("' OR 1=1 --", "x", "failed' --", "bm90IG9uZQ")
	f.Add("", "", "", "W251bGwsbnVsbF0")
	f.Add("", "", "", "WyIwMDAxIiwgInhdICJd")
	f.Fuzz(func(t *testing.T, host, kind, state, cursor string) {
		filter := JobFilter{HostID: host, Kind: wire.Kind(kind), States: []wire.State{wire.State(state)}}
		err := filter.check()
		if err == nil {
			var within stretch
			if within, err = filter.within(Page{Cursor: cursor}); err == nil {
				for _, s := range filter.stretches(within) {
					if strings.Count(s.where, "?") != len(s.args) {
						t.Errorf("%q, %q, %q: got %q for %d values", host, kind, state, s.where, len(s.args))
					}
					for w := range strings.SplitSeq(s.where, " AND ") {
						if !knownConditions.MatchString(w) {
							t.Errorf("%q, %q, %q: got the condition %q", host, kind, state, w)
						}
					}
				}
			}
		}
		if err != nil && fault.As(err) == nil {
			t.Errorf("%q, %q, %q: got %v, want a fault that the caller is told", host, kind, state, err)
		}
		var at time.Time
		var last string
		if err := decodeCursor(cursor, &at, &last); err != nil {
			if fault.As(err) == nil {
				t.Errorf("%q: got %v, want a fault that the caller is told", cursor, err)
			}
			return
		}
		var at2 time.Time
		var last2 string
		if err := decodeCursor(encodeCursor(at, last), &at2, &last2); err != nil || !at.Equal(at2) || last != last2 {
			t.Errorf("%q: made again: got %v, %q, %v, want %v, %q", cursor, at2, last2, err, at, last)
		}
	})
}
