package spool

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"restic-manager/shared/wire"
)

func sumOf(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// longLog writes a log of many lines of all lengths and returns its bytes.
func longLog(t testing.TB, m *Memory, f *Folder, lines int) []byte {
	t.Helper()
	w := f.OpenLog(LogLimits{})
	random := rand.New(rand.NewPCG(3, 4))
	at := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	for i := range lines {
		w.Line(at, wire.StreamOut, fmt.Appendf(nil, "%d %s", i, strings.Repeat("x", random.IntN(300))))
	}
	sum, err := w.Close()
	must(t, err)
	b := read(t, m, f.path(logFile))
	if sum.Lines != int64(lines) || sum.Bytes != int64(len(b)) || sum.SHA256 != sumOf(b) || sum.Dropped != 0 {
		t.Fatalf("sum: got %+v, want %d lines, %d bytes, %s", sum, lines, len(b), sumOf(b))
	}
	again, err := f.LogSum()
	must(t, err)
	if again != sum {
		t.Errorf("LogSum: got %+v, want %+v", again, sum)
	}
	return b
}

func TestReaderShipsEveryLineOnceWhereverTheCursorGoes(t *testing.T) {
	m, s, _ := openMemory(t)
	f := create(t, s, wire.PhaseRunning)
	whole := longLog(t, m, f, 20_000)
	lines := bytes.SplitAfter(whole, newline)
	offsets := []int{0}
	for _, l := range lines {
		offsets = append(offsets, offsets[len(offsets)-1]+len(l))
	}
	r, err := f.ReadLog()
	must(t, err)
	defer r.Close()
	check := func(first int64, b Batch) {
		t.Helper()
		from := offsets[first-1]
		want := whole[from : from+len(b.Body)]
		if b.FirstLine != first || !bytes.Equal(b.Body, want) || b.SumBefore != sumOf(whole[:from]) || int(b.Lines) != bytes.Count(want, newline) {
			t.Fatalf("batch from %d: got %d lines at %d, sum %s, want the file's bytes and sum %s", first, b.Lines, b.FirstLine, b.SumBefore, sumOf(whole[:from]))
		}
		if len(b.Body) > wire.MaxBatchBytes || b.Lines > wire.MaxBatchLines {
			t.Fatalf("batch from %d: got %d bytes, %d lines, want it within the limits", first, len(b.Body), b.Lines)
		}
	}
	next := int64(1)
	for {
		b, err := r.Next(next, wire.MaxBatchBytes, wire.MaxBatchLines)
		must(t, err)
		check(next, b)
		if b.Lines == 0 {
			break
		}
		next += b.Lines
		if b.Full != (next <= 20_000) {
			t.Fatalf("full: got %v before line %d, want %v", b.Full, next, !b.Full)
		}
	}
	if next != 20_001 {
		t.Fatalf("end: got line %d, want 20001", next)
	}
	random := rand.New(rand.NewPCG(5, 6))
	for range 200 {
		first := 1 + random.Int64N(20_001)
		b, err := r.Next(first, 1+random.IntN(wire.MaxBatchBytes), 1+random.IntN(wire.MaxBatchLines))
		must(t, err)
		check(first, b)
		if b.Lines == 0 && first != 20_001 {
			t.Fatalf("batch from %d: got no line, want one", first)
		}
	}
	if _, err := r.Next(20_002, 1000, 10); !errors.Is(err, ErrBeyondLog) {
		t.Errorf("beyond the file: got %v, want ErrBeyondLog", err)
	}
	if b, err := r.Next(20_001, 1000, 10); err != nil || b.Lines != 0 || b.SumBefore != sumOf(whole) {
		t.Errorf("at the end: got %+v %v, want no line and the whole sum", b, err)
	}
	if len(r.buf) > 2*wire.MaxBatchBytes {
		t.Errorf("buffer: got %d bytes, want about one batch", len(r.buf))
	}
	if want := len(whole)/markEvery + 1; len(r.marks) > want+1 {
		t.Errorf("marks: got %d, want about %d", len(r.marks), want)
	}
}

func TestOnlyDurableWholeLinesAreShipped(t *testing.T) {
	m, s, c := openMemory(t)
	f := create(t, s, wire.PhaseRunning)
	w := f.OpenLog(LogLimits{})
	w.Line(c.now(), wire.StreamOut, []byte("one"))
	w.Line(c.now(), wire.StreamOut, []byte("two"))
	w.Flush()
	file, err := m.Append(f.path(logFile))
	must(t, err)
	_, err = file.Write([]byte(`{"t":"torn`))
	must(t, err)
	r, err := f.ReadLog()
	must(t, err)
	b, err := r.Next(1, wire.MaxBatchBytes, wire.MaxBatchLines)
	must(t, err)
	if b.Lines != 2 || b.Full {
		t.Errorf("batch: got %+v, want two lines", b)
	}
	if n, err := r.Pending(); err != nil || n != int64(len(`{"t":"torn`)) {
		t.Errorf("pending: got %d %v, want the torn line's bytes", n, err)
	}
	shipped := bytes.Clone(b.Body)
	m.Crash(nil)
	if got := read(t, m, f.path(logFile)); !bytes.HasPrefix(got, shipped) {
		t.Errorf("after a power cut: got %q, want what was shipped", got)
	}
}

func TestTornLastLineIsCutByTheNextWriter(t *testing.T) {
	m, s, c := openMemory(t)
	f := create(t, s, wire.PhaseRunning)
	whole := longLog(t, m, f, 10)
	overwrite(t, m, f.path(logFile), append(bytes.Clone(whole), "torn"...))
	sum, err := f.LogSum()
	if err != nil || sum.Lines != 10 || sum.SHA256 != sumOf(whole) {
		t.Errorf("sum: got %+v %v, want that of 10 lines", sum, err)
	}
	w := f.OpenLog(LogLimits{})
	w.Line(c.now(), wire.StreamErr, []byte("after"))
	sum, err = w.Close()
	must(t, err)
	b := read(t, m, f.path(logFile))
	if sum.Lines != 11 || sum.SHA256 != sumOf(b) || !bytes.HasPrefix(b, whole) || bytes.Contains(b, []byte("torn")) {
		t.Errorf("log: got %+v and %q, want 11 lines without the torn one", sum, b[len(whole):])
	}
}

func TestErrorLinesHaveRoomOfTheirOwn(t *testing.T) {
	m, s, c := openMemory(t)
	f := create(t, s, wire.PhaseRunning)
	w := f.OpenLog(LogLimits{Bytes: 10_000, ErrorBytes: 2_000})
	for range 1000 {
		w.Line(c.now(), wire.StreamOut, []byte("output"))
	}
	for range 1000 {
		w.Line(c.now(), wire.StreamErr, []byte("an error"))
	}
	w.Line(c.now(), wire.StreamOut, []byte("output"))
	sum, err := w.Close()
	must(t, err)
	b := read(t, m, f.path(logFile))
	errs := bytes.Count(b, []byte(`"s":"err"`))
	outs := bytes.Count(b, []byte(`"s":"out"`))
	if errs < 20 || outs < 50 || sum.Bytes > 12_000+300 || int64(errs+outs)+sum.Dropped != 2001 {
		t.Errorf("got %d out, %d err, %+v, want both cut at their limits and all counted", outs, errs, sum)
	}
	last := b[bytes.LastIndexByte(b[:len(b)-1], '\n')+1:]
	if !bytes.Contains(last, fmt.Appendf(nil, "%d lines in all were dropped", sum.Dropped)) {
		t.Errorf("last line: got %q, want the count", last)
	}
}

// TestFailingDiskLosesWholeLinesOnly makes some writes fail, some of them half way, and wants the file to
// hold whole records, as many as the writer says, and all others to be counted, and told where they are missing.
func TestFailingDiskLosesWholeLinesOnly(t *testing.T) {
	for seed := range uint64(50) {
		m, s, c := openMemory(t)
		f := create(t, s, wire.PhaseRunning)
		random := rand.New(rand.NewPCG(seed, 1))
		w := f.OpenLog(LogLimits{})
		const lines = 3000
		for i := range lines {
			if random.IntN(200) == 0 {
				free := int64(-1)
				if random.IntN(2) == 0 {
					free = m.Used() + int64(random.IntN(3000))
				}
				m.SetCapacity(free)
			}
			if random.IntN(100) == 0 {
				w.Flush()
			}
			w.Line(c.now(), wire.StreamOut, fmt.Appendf(nil, "line %d", i))
		}
		m.SetCapacity(-1)
		sum, err := w.Close()
		must(t, err)
		b := read(t, m, f.path(logFile))
		if sum.SHA256 != sumOf(b) || sum.Lines != int64(bytes.Count(b, newline)) {
			t.Fatalf("seed %d: got %+v, want the file's %d lines %s", seed, sum, bytes.Count(b, newline), sumOf(b))
		}
		var kept, markers, missing, next, told int64 // told: lines that are missing since the last one kept
		for line := range bytes.Lines(b) {
			rec, err := wire.ParseRecord(bytes.TrimSuffix(line, newline))
			if err != nil {
				t.Fatalf("seed %d: record %q: %v", seed, line, err)
			}
			if rec.Stream == wire.StreamOut {
				kept++
				var n int64
				if _, err := fmt.Sscanf(rec.Text, "line %d", &n); err != nil || n != next+told {
					t.Fatalf("seed %d: %q comes after line %d and a word of %d missing ones", seed, rec.Text, next-1, told)
				}
				next, told = n+1, 0
				continue
			}
			markers++
			var n int64
			if _, err := fmt.Sscanf(rec.Text, "%d lines are missing here", &n); err == nil {
				missing, told = missing+n, told+n
			}
		}
		if kept+sum.Dropped != lines || missing > sum.Dropped || sum.Dropped > 0 && markers == 0 {
			t.Errorf("seed %d: got %d kept, %d dropped, %d told in %d markers, want %d in all", seed, kept, sum.Dropped, missing, markers, lines)
		}
	}
}

func TestWriterWithoutAFileCountsAndNeverFails(t *testing.T) {
	m, s, c := openMemory(t)
	f := create(t, s, wire.PhaseRunning)
	must(t, m.Remove(f.path(logFile)))
	m.FailWrites(func(int, string) error { return syscall.EIO })
	w := f.OpenLog(LogLimits{})
	for range 10 {
		w.Line(c.now(), wire.StreamErr, []byte("x"))
		w.Note(c.now(), "y")
	}
	sum, err := w.Close()
	if !errors.Is(err, syscall.EIO) || sum.Lines != 0 || sum.Dropped == 0 || sum.SHA256 != sumOf(nil) {
		t.Errorf("got %+v %v, want nothing written, all counted, and why", sum, err)
	}
}

func TestRecordOverTheBatchSizeIsShippedAlone(t *testing.T) {
	m, s, c := openMemory(t)
	f := create(t, s, wire.PhaseRunning)
	w := f.OpenLog(LogLimits{Record: 300 << 10})
	w.Line(c.now(), wire.StreamOut, bytes.Repeat([]byte("a"), 200<<10))
	w.Line(c.now(), wire.StreamOut, []byte("b"))
	_, err := w.Close()
	must(t, err)
	r, err := f.ReadLog()
	must(t, err)
	b, err := r.Next(1, wire.MaxBatchBytes, wire.MaxBatchLines)
	must(t, err)
	if b.Lines < 1 || len(b.Body) < 200<<10 {
		t.Errorf("got %d lines, %d bytes, want the long one", b.Lines, len(b.Body))
	}
	if b, err = r.Next(1+b.Lines, wire.MaxBatchBytes, wire.MaxBatchLines); err != nil {
		t.Error(err)
	}
	_ = m
}
