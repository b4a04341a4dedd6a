package spool

import (
	"bytes"
	"crypto/sha256"
	"encoding"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"

	"restic-manager/shared/wire"
)

// ErrBeyondLog says that the log has fewer lines than the server's cursor: something is badly wrong, and
// shipping must stop.
var ErrBeyondLog = errors.New("the log has fewer lines than the server has received")

// Batch is some whole lines of a log, made durable before they were returned.
type Batch struct {
	FirstLine int64
	Lines     int64 // 0: there is nothing new
	// SumBefore is the SHA-256 in hex of all bytes before FirstLine.
	SumBefore string
	// Body is valid until the reader's next call.
	Body []byte
	// Full says that the batch ends at one of its limits, not at the end of the log.
	Full bool
}

// LogReader reads a log for shipping. It holds one batch and a mark per MiB, not the log. It is not safe
// for concurrent use.
type LogReader struct {
	folder *Folder
	file   File
	sum    hash.Hash
	line   int64 // the line at offset, from 1
	offset int64
	synced int64 // bytes before this are durable
	marks  []mark
	buf    []byte
}

// mark is a place from which the sum can be computed on.
type mark struct {
	line, offset int64
	sum          []byte
}

// markEvery is how much at most is read again when the cursor goes back.
const markEvery = 1 << 20

// ReadLog opens the log for shipping, at line 1. A log that is not there is empty.
func (f *Folder) ReadLog() (*LogReader, error) {
	file, err := f.disk.Open(f.path(logFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open the log of job %s: %w", f.id, err)
	}
	if err != nil {
		file = nil
	}
	r := &LogReader{folder: f, file: file, sum: sha256.New(), line: 1, buf: make([]byte, 32<<10)}
	return r, r.mark()
}

// Close closes the file.
func (r *LogReader) Close() error {
	if r.file == nil {
		return nil
	}
	return r.file.Close()
}

func (r *LogReader) mark() error {
	sum, err := r.sum.(encoding.BinaryMarshaler).MarshalBinary()
	if err != nil {
		return fmt.Errorf("store the running sum: %w", err)
	}
	r.marks = append(r.marks, mark{line: r.line, offset: r.offset, sum: sum})
	return nil
}

// Pending is how many bytes there are behind the lines that Next returned last; the last of them may be a
// torn line.
func (r *LogReader) Pending() (int64, error) {
	if r.file == nil {
		return 0, r.reopen()
	}
	size, err := r.file.Size()
	if err != nil {
		return 0, fmt.Errorf("look at the log of job %s: %w", r.folder.id, err)
	}
	return max(0, size-r.offset), nil
}

func (r *LogReader) reopen() error {
	file, err := r.folder.disk.Open(r.folder.path(logFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open the log of job %s: %w", r.folder.id, err)
	}
	r.file = file
	return nil
}

// Next returns the lines from first on: at most maxLines and maxBytes, but one line always; none when there
// is no whole line yet. ErrBeyondLog when the lines before first are not all there.
func (r *LogReader) Next(first int64, maxBytes, maxLines int) (Batch, error) {
	b, err := r.next(first, maxBytes, maxLines)
	if err != nil {
		return Batch{}, fmt.Errorf("read line %d of the log of job %s: %w", first, r.folder.id, err)
	}
	return b, nil
}

func (r *LogReader) next(first int64, maxBytes, maxLines int) (Batch, error) {
	if r.file == nil {
		if err := r.reopen(); err != nil {
			return Batch{}, err
		}
	}
	if err := r.seek(first); err != nil {
		return Batch{}, err
	}
	b := Batch{FirstLine: first, SumBefore: hex.EncodeToString(r.sum.Sum(nil))}
	body, err := r.fill(maxBytes)
	if err != nil {
		return Batch{}, err
	}
	b.Body, b.Full = cutLines(body, maxLines)
	b.Full = b.Full || len(body) == maxBytes
	b.Lines = int64(bytes.Count(b.Body, newline))
	if b.Lines == 0 {
		b.Full = false
		return b, nil
	}
	if err := r.sync(r.offset + int64(len(b.Body))); err != nil {
		return Batch{}, err
	}
	return b, r.pass(b.Body)
}

// sync makes the log durable up to an offset: only durable bytes leave, else a power cut would make agent
// and server disagree.
func (r *LogReader) sync(to int64) error {
	if to <= r.synced {
		return nil
	}
	if err := r.file.Sync(); err != nil {
		return err
	}
	r.synced = to
	return nil
}

// fill reads up to size bytes at the offset, more when the first line is longer.
func (r *LogReader) fill(size int) ([]byte, error) {
	for {
		if len(r.buf) < size {
			r.buf = make([]byte, size)
		}
		n, err := r.readAt(r.buf[:size])
		if err != nil {
			return nil, err
		}
		if n < size || bytes.IndexByte(r.buf[:n], '\n') >= 0 {
			return r.buf[:n], nil
		}
		if size *= 2; size > maxTorn {
			return nil, &DamagedError{r.folder.path(logFile), "a line of it is too long"}
		}
	}
}

func (r *LogReader) readAt(p []byte) (int, error) {
	if r.file == nil {
		return 0, nil
	}
	n, err := r.file.ReadAt(p, r.offset)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// cutLines cuts b behind its last newline, or the one of line number limit; more says that there are
// further lines.
func cutLines(b []byte, limit int) (lines []byte, more bool) {
	end := 0
	for range limit {
		i := bytes.IndexByte(b[end:], '\n')
		if i < 0 {
			return b[:end], false
		}
		end += i + 1
	}
	return b[:end], bytes.IndexByte(b[end:], '\n') >= 0
}

// pass moves behind lines that were read.
func (r *LogReader) pass(b []byte) error {
	r.sum.Write(b)
	r.offset += int64(len(b))
	r.line += int64(bytes.Count(b, newline))
	if r.offset-r.marks[len(r.marks)-1].offset >= markEvery {
		return r.mark()
	}
	return nil
}

// seek goes to the beginning of a line, from the nearest mark before it.
func (r *LogReader) seek(line int64) error {
	if line < 1 {
		return fmt.Errorf("lines count from 1")
	}
	best := r.marks[0]
	for _, m := range r.marks {
		if m.line <= line {
			best = m
		}
	}
	if line < r.line || best.line > r.line {
		if err := r.sum.(encoding.BinaryUnmarshaler).UnmarshalBinary(best.sum); err != nil {
			return fmt.Errorf("take up the running sum: %w", err)
		}
		r.line, r.offset = best.line, best.offset
	}
	for r.line < line {
		b, err := r.fill(wire.MaxBatchBytes)
		if err != nil {
			return err
		}
		lines, _ := cutLines(b, int(min(line-r.line, 1<<30)))
		if len(lines) == 0 {
			return ErrBeyondLog
		}
		if err := r.pass(lines); err != nil {
			return err
		}
	}
	return nil
}

// LogSum reads the whole log up to its last newline, for a job whose supervisor left no result, and makes it
// durable: a result that counts lines which a power cut takes away would never be complete.
func (f *Folder) LogSum() (LogSum, error) {
	file, err := f.disk.Open(f.path(logFile))
	sum := sha256.New()
	if errors.Is(err, fs.ErrNotExist) {
		return LogSum{SHA256: hex.EncodeToString(sum.Sum(nil))}, nil
	}
	if err != nil {
		return LogSum{}, fmt.Errorf("sum the log of job %s: %w", f.id, err)
	}
	defer file.Close()
	lines, size, err := sumLines(file, sum)
	if err == nil {
		err = file.Sync()
	}
	if err != nil {
		return LogSum{}, fmt.Errorf("sum the log of job %s: %w", f.id, err)
	}
	return LogSum{Lines: lines, Bytes: size, SHA256: hex.EncodeToString(sum.Sum(nil))}, nil
}
