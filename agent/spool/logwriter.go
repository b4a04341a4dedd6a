package spool

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"
	"time"

	"restic-manager/shared/wire"
)

// LogLimits bound a job's log. Zero values mean DefaultLogLimits.
type LogLimits struct {
	// Bytes is how much is kept before lines are counted and dropped.
	Bytes int64 `json:"bytes"`
	// ErrorBytes is how much more is kept of the error stream.
	ErrorBytes int64 `json:"error_bytes"`
	// Record is where one record is cut, in bytes as written.
	Record int `json:"record"`
}

// DefaultLogLimits hold where the server does not say otherwise.
var DefaultLogLimits = LogLimits{Bytes: 64 << 20, ErrorBytes: 1 << 20, Record: wire.MaxRecord}

func (l LogLimits) orDefault() LogLimits {
	if l.Bytes <= 0 {
		l.Bytes = DefaultLogLimits.Bytes
	}
	if l.ErrorBytes <= 0 {
		l.ErrorBytes = DefaultLogLimits.ErrorBytes
	}
	if l.Record < 256 {
		l.Record = DefaultLogLimits.Record
	}
	return l
}

// LogSum says what a log file holds, up to its last newline.
type LogSum struct {
	Lines  int64
	Bytes  int64
	SHA256 string // hex, over all record bytes, newlines included
	// Dropped is how many lines are not in it; known to the writer alone.
	Dropped int64
}

// logBuffer is how much is written at once.
const logBuffer = 16 << 10

// LogWriter appends records to a job's log. It never fails and never blocks: what the disk does not take
// is counted. It is safe for concurrent use.
type LogWriter struct {
	mu     sync.Mutex
	folder *Folder
	limits LogLimits
	file   File // nil: no file could be had, or it broke
	sum    hash.Hash
	buf    []byte // records not written yet; whole lines

	lines, bytes int64
	// queued is bytes and len(buf) together: what the size limit counts.
	queued int64
	full   bool
	// dropped counts all lines that are not in the log; gap those since the last record that is;
	// failed is why the disk did not take the latest of them.
	dropped, gap int64
	failed       error
}

// OpenLog opens the log for appending and cuts a torn last line. Only who has the run lock may do so.
// Without a usable file the writer counts every line as dropped.
func (f *Folder) OpenLog(limits LogLimits) *LogWriter {
	w := &LogWriter{folder: f, limits: limits.orDefault(), sum: sha256.New(), buf: make([]byte, 0, logBuffer)}
	file, err := f.disk.Append(f.path(logFile))
	if err != nil {
		w.failed = err
		return w
	}
	w.file = file
	if err := w.resume(); err != nil {
		w.giveUp(err)
	}
	return w
}

// resume counts what is there, and cuts what is behind the last newline.
func (w *LogWriter) resume() error {
	var err error
	if w.lines, w.bytes, err = sumLines(w.file, w.sum); err != nil {
		return err
	}
	w.queued = w.bytes
	size, err := w.file.Size()
	if err != nil {
		return err
	}
	if size > w.bytes {
		if err := w.file.Truncate(w.bytes); err != nil {
			return err
		}
	}
	// The name must be durable before the first line is shipped.
	return w.folder.disk.SyncDir(w.folder.dir)
}

// sumLines reads to the last newline.
func sumLines(f File, sum hash.Hash) (lines, size int64, err error) {
	buf := make([]byte, 32<<10)
	var tail []byte // since the last newline
	for at := int64(0); ; {
		n, err := f.ReadAt(buf, at)
		b := buf[:n]
		at += int64(n)
		if i := bytes.LastIndexByte(b, '\n'); i >= 0 {
			sum.Write(tail)
			sum.Write(b[:i+1])
			lines += int64(bytes.Count(b[:i+1], newline))
			size += int64(len(tail) + i + 1)
			tail, b = tail[:0], b[i+1:]
		}
		if err == io.EOF {
			return lines, size, nil
		}
		if err != nil {
			return lines, size, err
		}
		if tail = append(tail, b...); len(tail) > maxTorn {
			return lines, size, &DamagedError{"the log", "a line of it is too long"}
		}
	}
}

// maxTorn bounds a line that has no end: no writer makes one this long.
const maxTorn = 16 << 20

var newline = []byte{'\n'}

// Line appends one line of a stream, without its newline.
func (w *LogWriter) Line(at time.Time, stream wire.Stream, line []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	limit := w.limits.Bytes
	if stream == wire.StreamErr {
		limit += w.limits.ErrorBytes
	}
	if w.file == nil || w.queued >= limit || w.full && stream == wire.StreamOut {
		w.dropped++
		w.gap++
		return
	}
	before := len(w.buf)
	w.buf = wire.AppendRecord(w.buf, at, stream, line, w.limits.Record)
	size := int64(len(w.buf) - before)
	if w.queued+size > limit {
		w.buf = w.buf[:before]
		w.full = true
		w.dropped++
		w.gap++
		return
	}
	w.queued += size
	if len(w.buf) >= logBuffer {
		w.flush()
	}
}

// Note appends a line of the agent's own; the size limit does not hold it back.
func (w *LogWriter) Note(at time.Time, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.note(at, text)
}

func (w *LogWriter) note(at time.Time, text string) {
	before := len(w.buf)
	w.buf = wire.AppendRecord(w.buf, at, wire.StreamAgent, []byte(text), w.limits.Record)
	w.queued += int64(len(w.buf) - before)
	w.flush()
}

// Flush hands what is queued to the operating system.
func (w *LogWriter) Flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.flush()
}

func (w *LogWriter) flush() {
	if len(w.buf) == 0 {
		return
	}
	b := w.buf
	w.buf = w.buf[:0]
	if cap(b) > 2*wire.MaxRecord {
		w.buf = make([]byte, 0, logBuffer)
	}
	// A gap that a full disk made is marked as soon as the disk takes lines again; what the size limit
	// dropped is told at the end.
	if w.gap > 0 && w.failed != nil && w.file != nil {
		text := fmt.Sprintf("%d lines are missing here: %v", w.gap, w.failed)
		marker := wire.AppendRecord(nil, w.folder.now(), wire.StreamAgent, []byte(text), w.limits.Record)
		w.queued += int64(len(marker))
		if w.write(marker) < len(marker) {
			w.queued -= int64(len(b))
			w.lost(b)
			return
		}
		w.gap, w.failed = 0, nil
	}
	w.lost(b[w.write(b):])
}

// write appends and returns how many bytes, in whole lines, the file took.
func (w *LogWriter) write(b []byte) int {
	if w.file == nil {
		return 0
	}
	n, err := w.file.Write(b)
	if err != nil {
		w.failed = err
		n = bytes.LastIndexByte(b[:n], '\n') + 1
		if err := w.file.Truncate(w.bytes + int64(n)); err != nil {
			w.giveUp(err)
		}
	}
	w.sum.Write(b[:n])
	w.lines += int64(bytes.Count(b[:n], newline))
	w.bytes += int64(n)
	w.queued -= int64(len(b) - n)
	return n
}

func (w *LogWriter) lost(b []byte) {
	n := int64(bytes.Count(b, newline))
	w.dropped += n
	w.gap += n
}

// giveUp leaves the file as it is: a torn end is not shipped.
func (w *LogWriter) giveUp(err error) {
	w.failed = err
	w.file.Close()
	w.file = nil
}

// Close ends the log with a line that says how many lines are missing, if any are, and makes it durable.
// The sum is right even with an error.
func (w *LogWriter) Close() (LogSum, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.flush()
	dropped := w.dropped
	if dropped > 0 && w.file != nil {
		_ = w.folder.disk.Remove(w.folder.path(logFile + spaceSuffix))
		why := "the log is limited to " + fmt.Sprint(w.limits.Bytes) + " bytes"
		if !w.full && w.failed != nil {
			why = w.failed.Error()
		}
		w.gap, w.failed = 0, nil
		w.note(w.folder.now(), fmt.Sprintf("%d lines in all were dropped: %s", dropped, why))
	}
	sum := LogSum{Lines: w.lines, Bytes: w.bytes, SHA256: hex.EncodeToString(w.sum.Sum(nil)), Dropped: dropped}
	if w.file == nil {
		return sum, fmt.Errorf("write the log of job %s: %w", w.folder.id, w.failed)
	}
	err := errors.Join(w.file.Sync(), w.file.Close())
	w.file, w.failed = nil, errors.New("the log is closed")
	if err != nil {
		return sum, fmt.Errorf("write the log of job %s: %w", w.folder.id, err)
	}
	return sum, nil
}

// Lines is how many lines are written.
func (w *LogWriter) Lines() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lines
}
