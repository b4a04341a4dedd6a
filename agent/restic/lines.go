package restic

import "io"

// MaxLine is how much of one line is kept: the longest line of JSON that restic 0.14 to 0.19 was seen to
// write is 72 KiB.
const MaxLine = 1 << 20

// LineReader splits a stream into lines of any length, keeping at most the first limit bytes of each.
type LineReader struct{}

// NewLineReader reads lines from r. The limit is at least 16 bytes.
func NewLineReader(r io.Reader, limit int) *LineReader { panic("soon") }

// Next returns the next line without its newline; it is valid until the next call. Truncated says that the
// line was longer than the limit. The last line needs no newline. At the end the error is io.EOF; other
// errors come after the bytes read before them.
func (l *LineReader) Next() (line []byte, truncated bool, err error) { panic("soon") }
