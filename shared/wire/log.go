package wire

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"time"
	"unicode/utf8"
)

// Stream tells where a log line came from.
type Stream string

// The streams.
const (
	StreamOut   Stream = "out"
	StreamErr   Stream = "err"
	StreamAgent Stream = "agent" // the agent's own words
)

// Record is one line of a job's log. The n-th record of the agent's file is line n everywhere; lines
// count from 1. A record's bytes go unchanged from the file over the wire into the database.
type Record struct {
	Time   time.Time `json:"t"`
	Stream Stream    `json:"s"`
	Text   string    `json:"text"`
	// Base64 holds the bytes in place of Text when they are not UTF-8.
	Base64 string `json:"b64,omitempty"`
}

// Line is the record's line as bytes, whichever way it was written.
func (r Record) Line() []byte {
	if r.Base64 == "" {
		return []byte(r.Text)
	}
	b, err := base64.StdEncoding.DecodeString(r.Base64)
	if err != nil {
		return []byte(r.Base64)
	}
	return b
}

// CutMarker ends a line that was cut to its size limit.
const CutMarker = " …[cut]"

// AppendRecord appends one record with its newline to dst and returns it. The line is cut with CutMarker
// so that the record as written is at most limit bytes; limit is at least 256.
func AppendRecord(dst []byte, at time.Time, stream Stream, line []byte, limit int) []byte {
	start := len(dst)
	for size := len(line); ; {
		cut := line[:size]
		if size < len(line) {
			for len(cut) > 0 && utf8.Valid(line) && !utf8.RuneStart(line[len(cut)]) {
				cut = cut[:len(cut)-1]
			}
			cut = append(bytes.Clone(cut), CutMarker...)
		}
		dst = appendRecord(dst[:start], at, stream, cut)
		over := len(dst) - start - limit
		if over <= 0 || size == 0 {
			return dst
		}
		// Escapes make a record longer than its line; shrink by the share that is over.
		next := size - max(over*size/(len(dst)-start), 64)
		size = max(min(next, limit), 0)
	}
}

func appendRecord(dst []byte, at time.Time, stream Stream, line []byte) []byte {
	dst = append(dst, `{"t":"`...)
	dst = at.UTC().AppendFormat(dst, "2006-01-02T15:04:05.000000Z")
	dst = append(dst, `","s":"`...)
	dst = append(dst, stream...)
	if utf8.Valid(line) {
		text, err := json.Marshal(string(line))
		if err == nil {
			dst = append(dst, `","text":`...)
			dst = append(dst, text...)
			return append(dst, '}', '\n')
		}
	}
	dst = append(dst, `","b64":"`...)
	dst = base64.StdEncoding.AppendEncode(dst, line)
	return append(dst, '"', '}', '\n')
}

// ParseRecord reads one record without its newline. It is an error when the bytes are not one; whoever
// shows them then shows them escaped.
func ParseRecord(b []byte) (Record, error) {
	var r Record
	if err := json.Unmarshal(b, &r); err != nil {
		return Record{}, fmt.Errorf("log record: %w", err)
	}
	if r.Stream == "" {
		return Record{}, errors.New("log record: no stream")
	}
	return r, nil
}

// LogQuery is the query of a log POST. SumBefore is the SHA-256 in hex of all record bytes before
// FirstLine, newlines included.
type LogQuery struct {
	FirstLine int64
	Lines     int64
	SumBefore string
}

// Encode writes the query string.
func (q LogQuery) Encode() string {
	v := url.Values{}
	v.Set("first_line", strconv.FormatInt(q.FirstLine, 10))
	v.Set("lines", strconv.FormatInt(q.Lines, 10))
	v.Set("sum_before", q.SumBefore)
	return v.Encode()
}

// ParseLogQuery reads a log POST's query. Lines may be 0: the first request after a start learns the
// cursor so.
func ParseLogQuery(v url.Values) (LogQuery, error) {
	first, err := strconv.ParseInt(v.Get("first_line"), 10, 64)
	if err != nil || first < 1 {
		return LogQuery{}, errors.New("first_line: give a line number from 1 on")
	}
	lines, err := strconv.ParseInt(v.Get("lines"), 10, 64)
	if err != nil || lines < 0 || lines > MaxBody {
		return LogQuery{}, errors.New("lines: give the number of lines in the body")
	}
	sum := v.Get("sum_before")
	if lines > 0 && !IsSHA256(sum) {
		return LogQuery{}, errors.New("sum_before: give the SHA-256 in hex of all lines before")
	}
	return LogQuery{FirstLine: first, Lines: lines, SumBefore: sum}, nil
}

// LogReply carries the server's cursor: the only one there is.
type LogReply struct {
	NextLine int64 `json:"next_line"`
	Cancel   bool  `json:"cancel"`
}
