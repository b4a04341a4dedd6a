package restic

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"restic-manager/shared/wire"
)

type gotLine struct {
	text string
	cut  bool
}

func readLines(t testing.TB, r io.Reader, limit int) []gotLine {
	t.Helper()
	lines := NewLineReader(r, limit)
	var got []gotLine
	for {
		b, truncated, err := lines.Next()
		if err == io.EOF {
			if _, _, again := lines.Next(); again != io.EOF {
				t.Fatalf("after the end: got %v, want io.EOF", again)
			}
			return got
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, gotLine{string(b), truncated})
	}
}

// wantLines is the rule, written plainly.
func wantLines(data string, limit int) []gotLine {
	var want []gotLine
	if data == "" {
		return nil
	}
	for l := range strings.SplitSeq(strings.TrimSuffix(data, "\n"), "\n") {
		want = append(want, gotLine{l[:min(len(l), limit)], len(l) > limit})
	}
	return want
}

// chunks is a reader that returns at most n bytes at a time, and now and then none.
type chunks struct {
	data string
	n    int
	idle bool
}

func (c *chunks) Read(b []byte) (int, error) {
	if c.idle = !c.idle; c.idle {
		return 0, nil
	}
	if c.data == "" {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), c.n)], c.data)
	c.data = c.data[n:]
	return n, nil
}

func TestLinesAreCutAtTheLimitAndGoOn(t *testing.T) {
	long := strings.Repeat("x", 10<<20)
	for _, data := range []string{
		"", "\n", "a", "a\n", "a\nb", "a\n\n\nb\n", "a\r\nb\x00c\n\xff\xfe\n",
		strings.Repeat("y", readBuffer-1) + "\nz\n", strings.Repeat("y", readBuffer) + "\nz\n", strings.Repeat("y", readBuffer+1) + "\nz",
		strings.Repeat("y", MaxLine) + "\nz\n", strings.Repeat("y", MaxLine+1) + "\nz", strings.Repeat("y", MaxLine+2) + "\nz",
		long, long + "\nshort\n" + long + "\nend",
	} {
		for _, limit := range []int{16, 17, readBuffer, MaxLine} {
			if got, want := readLines(t, strings.NewReader(data), limit), wantLines(data, limit); !slices.Equal(got, want) {
				t.Errorf("%d bytes, limit %d: got %d lines, want %d", len(data), limit, len(got), len(want))
			}
		}
	}
}

func TestLinesBeforeAnErrorAreNotLost(t *testing.T) {
	broken := errors.New("broken")
	lines := NewLineReader(io.MultiReader(strings.NewReader("one\ntwo"), iotest.ErrReader(broken)), 100)
	for _, want := range []string{"one", "two"} {
		if got, _, err := lines.Next(); err != nil || string(got) != want {
			t.Fatalf("got %q, %v, want %q", got, err, want)
		}
	}
	for range 2 {
		if _, _, err := lines.Next(); err != broken {
			t.Fatalf("got %v, want %v", err, broken)
		}
	}
}

func TestLineReaderKeepsNoMoreThanItsLimit(t *testing.T) {
	lines := NewLineReader(io.LimitReader(zeros{}, 64<<20), MaxLine)
	line, cut, err := lines.Next()
	if len(line) != MaxLine || !cut || err != nil {
		t.Fatalf("got %d bytes, %v, %v", len(line), cut, err)
	}
	if got := cap(lines.long); got > 4*MaxLine {
		t.Errorf("kept: got %d bytes for a limit of %d", got, MaxLine)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// Any split of the same bytes gives the same lines.
func FuzzResticStreamChunking(f *testing.F) {
	f.Add("a\nb\n", 1, 16)
	f.Add("{\"message_type\":\"status\"}\n\x00\n\xff", 3, 20)
	f.Add(strings.Repeat("x", 70000)+"\n\n", 4096, 65536)
	f.Add("no newline", 100, 16)
	f.Fuzz(func(t *testing.T, data string, n, limit int) {
		limit = 16 + limit&0xfffff
		want := wantLines(data, limit)
		if got := readLines(t, &chunks{data: data, n: 1 + n&0xffff}, limit); !slices.Equal(got, want) {
			t.Errorf("chunks of %d: got %+v, want %+v", n, got, want)
		}
		if got := readLines(t, iotest.DataErrReader(strings.NewReader(data)), limit); !slices.Equal(got, want) {
			t.Errorf("whole: got %+v, want %+v", got, want)
		}
	})
}

// BenchmarkLines reads a check's text, a backup's verbose JSON, and a listing's one line.
func BenchmarkLines(b *testing.B) {
	text := strings.Repeat("pack 5df4befbf69de33120a00a662315d44cc9a4691cd27f7c3e8f189d5c363c15f2: not referenced in any index\n", 1<<16)
	for name, data := range map[string]string{"text": text, "one line": strings.ReplaceAll(text, "\n", " ")} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				lines := NewLineReader(strings.NewReader(data), MaxLine)
				for {
					if _, _, err := lines.Next(); err != nil {
						break
					}
				}
			}
		})
	}
}

// BenchmarkParser feeds what restic writes most: text of check and prune, status lines, unreadable files.
func BenchmarkParser(b *testing.B) {
	for _, c := range []struct {
		name string
		kind wire.Kind
		s    wire.Stream
		line string
	}{
		{"text", wire.KindCheck, wire.StreamOut, "pack 5df4befbf69de33120a00a662315d44cc9a4691cd27f7c3e8f189d5c363c15f2: not referenced in any index\n"},
		{"verbose", wire.KindBackup, wire.StreamOut, `{"message_type":"verbose_status","action":"new","item":"/home/user/documents/report.odt","duration":0.05,"data_size":12345,"data_size_in_repo":11000,"metadata_size":0,"metadata_size_in_repo":0,"total_files":0}` + "\n"},
		{"status", wire.KindBackup, wire.StreamOut, `{"message_type":"status","seconds_elapsed":12,"percent_done":0.5,"total_files":20000,"files_done":10000,"total_bytes":2000000000,"bytes_done":1000000000,"current_files":["/home/user/a.bin","/home/user/b.bin"]}` + "\n"},
		{"errors", wire.KindBackup, wire.StreamErr, `{"message_type":"error","error":{"message":"open /home/user/secret: permission denied"},"during":"archival","item":"/home/user/secret"}` + "\n"},
	} {
		b.Run(c.name, func(b *testing.B) {
			data := bytes.Repeat([]byte(c.line), (4<<20)/len(c.line))
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				p := NewParser(Invocation{Kind: c.kind, Version: Version{Minor: 18}})
				lines := NewLineReader(bytes.NewReader(data), MaxLine)
				for {
					line, truncated, err := lines.Next()
					if err != nil {
						break
					}
					p.Feed(c.s, line, truncated)
				}
			}
		})
	}
}
