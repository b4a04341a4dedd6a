package wire

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

var at = time.Date(2026, 11, 23, 7, 57, 59, 242469767, time.UTC)

func TestAppendRecordKeepsEveryByte(t *testing.T) {
	for _, line := range []string{
		"", "plain", "tab\tquote\"back\\slash", "nul\x00and\x1b[31mcontrol", "<script>&amp;", "\u2028\u2029\u202e", "ünï ☃ 😀",
		"\xff\xfe not UTF-8", "half \xe2\x98",
	} {
		b := AppendRecord(nil, at, StreamErr, []byte(line), MaxRecord)
		if n := bytes.Count(b, []byte("\n")); n != 1 || b[len(b)-1] != '\n' {
			t.Errorf("%q: got %d newlines in %q, want one at the end", line, n, b)
		}
		r, err := ParseRecord(b[:len(b)-1])
		if err != nil {
			t.Errorf("%q: %v", line, err)
			continue
		}
		if got := string(r.Line()); got != line {
			t.Errorf("got %q, want %q", got, line)
		}
		if want := at.Truncate(time.Microsecond); r.Stream != StreamErr || !r.Time.Equal(want) {
			t.Errorf("%q: got %s %s, want %s %s", line, r.Stream, r.Time, StreamErr, want)
		}
	}
}

func TestAppendRecordCutsToItsLimit(t *testing.T) {
	for name, line := range map[string][]byte{
		"plain":     bytes.Repeat([]byte("a"), 10<<20),
		"escapes":   bytes.Repeat([]byte{0}, 1<<20),
		"runes":     bytes.Repeat([]byte("☃"), 1<<20),
		"not UTF-8": bytes.Repeat([]byte{0xff}, 1<<20),
	} {
		b := AppendRecord([]byte("before\n"), at, StreamOut, line, MaxRecord)
		if !bytes.HasPrefix(b, []byte("before\n")) {
			t.Fatalf("%s: what stood before is gone", name)
		}
		b = b[len("before\n"):]
		if len(b) > MaxRecord || len(b) < MaxRecord/4 {
			t.Errorf("%s: got %d bytes, want at most %d and no wasteful cut", name, len(b), MaxRecord)
		}
		r, err := ParseRecord(b[:len(b)-1])
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !strings.HasSuffix(string(r.Line()), CutMarker) {
			t.Errorf("%s: no marker at the end", name)
		}
		if name == "runes" && !utf8.Valid(r.Line()) {
			t.Error("a rune was cut in two")
		}
	}
}

func FuzzAppendRecord(f *testing.F) {
	f.Add([]byte("line"), 300)
	f.Add([]byte("\xff\x00"), 256)
	f.Add(bytes.Repeat([]byte("\x01☃"), 300), 256)
	f.Fuzz(func(t *testing.T, line []byte, limit int) {
		limit = 256 + max(limit, 0)%MaxRecord
		b := AppendRecord(nil, at, StreamOut, line, limit)
		if len(b) > limit {
			t.Fatalf("got %d bytes, limit %d", len(b), limit)
		}
		r, err := ParseRecord(b[:len(b)-1])
		if err != nil {
			t.Fatal(err)
		}
		if got := r.Line(); !bytes.Equal(got, line) && !bytes.HasSuffix(got, []byte(CutMarker)) {
			t.Fatalf("got %q, want %q or a marked cut of it", got, line)
		}
	})
}

// FuzzParseRecord: whatever bytes an agent sends, nothing panics, and what is taken for a record says the same
// when it is written again.
func FuzzParseRecord(f *testing.F) {
	for _, s := range []string{"", "{}", "null", `{"t":"2026-11-24T01:02:03Z","s":"out","text":"x"}`, `{"t":"2026-11-24T01:02:03.5Z","s":"err","b64":"/wA="}`,
		`{"t":"2026-11-24T01:02:03Z","s":"out","text":"\\ud800"}`, `{"t":"2026-11-24T01:02:03Z","s":"x","b64":"!"}`, `{"t":"2026-11-24T01:02:03Z","s":"agent","text":"a","b64":"YQ=="}`, "{\"t\":\"torn"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := ParseRecord(line)
		if err != nil {
			return
		}
		b := AppendRecord(nil, at, StreamOut, r.Line(), MaxRecord)
		again, err := ParseRecord(bytes.TrimSuffix(b, []byte("\n")))
		if err != nil {
			t.Fatalf("%q: written again as %q: %v", line, b, err)
		}
		if got := again.Line(); !bytes.Equal(got, r.Line()) && !bytes.HasSuffix(got, []byte(CutMarker)) {
			t.Errorf("%q: got %q, want %q", line, got, r.Line())
		}
	})
}

func TestParseRecordRefusesWhatIsNone(t *testing.T) {
	for _, s := range []string{"", "x", "{}", "[]", `{"s":1}`, `{"t":"yesterday","s":"out","text":""}`} {
		if r, err := ParseRecord([]byte(s)); err == nil {
			t.Errorf("%q: got %+v, want an error", s, r)
		}
	}
}
