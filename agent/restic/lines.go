package restic

import (
	"bufio"
	"errors"
	"io"
)

// MaxLine is how much of one line is kept: the longest line of JSON that restic 0.14 to 0.19 was seen to
// write is 72 KiB.
const MaxLine = 1 << 20

const readBuffer = 64 << 10

// LineReader splits a stream into lines of any length, keeping at most the first limit bytes of each.
type LineReader struct {
	r     *bufio.Reader
	limit int
	long  []byte // a line that did not fit into r's buffer
	err   error  // comes after the bytes read before it
}

// NewLineReader reads lines from r. The limit is at least 16 bytes.
func NewLineReader(r io.Reader, limit int) *LineReader {
	return &LineReader{r: bufio.NewReaderSize(r, readBuffer), limit: max(limit, 16)}
}

// Next returns the next line without its newline; it is valid until the next call. Truncated says that the
// line was longer than the limit. The last line needs no newline. At the end the error is io.EOF; other
// errors come after the bytes read before them.
func (l *LineReader) Next() (line []byte, truncated bool, err error) {
	if l.err != nil {
		return nil, false, l.err
	}
	part, err := l.r.ReadSlice('\n')
	if err == nil {
		line, truncated = l.cut(part[:len(part)-1])
		return line, truncated, nil
	}
	l.long = l.long[:0]
	any := false
	for {
		any = any || len(part) > 0
		if err == nil {
			part = part[:len(part)-1]
		}
		// One byte more than the limit tells that the line is longer.
		if room := l.limit + 1 - len(l.long); room > 0 {
			l.long = append(l.long, part[:min(len(part), room)]...)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			break
		}
		part, err = l.r.ReadSlice('\n')
	}
	if err != nil {
		l.err = err
		if !any {
			return nil, false, err
		}
	}
	line, truncated = l.cut(l.long)
	return line, truncated, nil
}

func (l *LineReader) cut(line []byte) ([]byte, bool) {
	if len(line) > l.limit {
		return line[:l.limit], true
	}
	return line, false
}
