package fleet

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/klauspost/compress/zstd"

	"restic-manager/server/database"
	"restic-manager/server/fault"
	"restic-manager/shared/wire"
)

// Limits of one page of a log.
const (
	defaultLogLines = 1000
	maxLogLines     = 5000
	maxLogPage      = 4 << 20 // bytes of records
)

// LogLines is a stretch of a job's log: the lines after a number, at most limit (0: 1000). With wait it
// answers as soon as there is more, the log is complete, or the time is over.
func (s *Store) LogLines(ctx context.Context, jobID string, after int64, limit int, wait time.Duration) (LogPage, error) {
	if !wire.IsUUID(jobID) {
		return LogPage{}, errNoJob
	}
	if after < 0 {
		return LogPage{}, fault.Invalidf("after: give the last line number you have, or 0")
	}
	if limit <= 0 {
		limit = defaultLogLines
	}
	limit = min(limit, maxLogLines)
	news, cancel := s.db.Hub.Subscribe(database.TopicLog(jobID), database.TopicJob(jobID))
	defer cancel()
	deadline := time.NewTimer(wait)
	defer deadline.Stop()
	for {
		page, err := s.logPage(ctx, jobID, after, limit)
		if err != nil || len(page.Lines) > 0 || page.Complete || page.Problem != "" || wait <= 0 {
			return page, err
		}
		select {
		case <-ctx.Done():
			return page, ctx.Err()
		case <-s.db.Hub.Closed():
			return page, nil
		case <-deadline.C:
			return page, nil
		case <-news:
		}
	}
}

// logHead is what a reader must know of a log.
type logHead struct {
	State       wire.State
	Skew        float64
	Started     bool
	NextLine    int64
	Complete    bool
	Problem     string
	DroppedFrom int64
	DroppedTo   int64
	ExpiredAt   *time.Time
}

func (s *Store) logHead(ctx context.Context, jobID string) (logHead, error) {
	var heads []logHead
	err := s.db.Read(ctx).Raw(`SELECT jobs.state, jobs.skew_seconds AS skew, jobs.started_at IS NOT NULL AS started,
			coalesce(logs.next_line, 1) AS next_line, coalesce(logs.complete, false) AS complete, coalesce(logs.problem, '') AS problem,
			coalesce(logs.dropped_from, 0) AS dropped_from, coalesce(logs.dropped_to, 0) AS dropped_to, logs.expired_at
		FROM jobs LEFT JOIN logs ON logs.job_id = jobs.id WHERE jobs.id = ?`, jobID).Scan(&heads).Error
	if err != nil {
		return logHead{}, fmt.Errorf("read the log of job %s: %w", jobID, err)
	}
	if len(heads) == 0 {
		return logHead{}, errNoJob
	}
	h := heads[0]
	if h.State.Terminal() && !h.Started && h.NextLine == 1 {
		h.Complete = true // it never ran: there is nothing to come
	}
	return h, nil
}

// chunk is a stored batch of records.
type chunk struct {
	FirstLine, LineCount, PlainBytes int64
	Encoding                         string
	Body                             []byte
}

// chunksFrom reads the chunks that hold the line and what follows, up to about maxBytes of records and at
// least one.
func (s *Store) chunksFrom(ctx context.Context, jobID string, line, maxBytes int64) ([]chunk, error) {
	var index []chunk
	db := s.db.Read(ctx)
	err := db.Raw(`SELECT first_line, line_count, plain_bytes FROM log_chunks WHERE job_id = ?
		AND first_line >= coalesce((SELECT max(first_line) FROM log_chunks WHERE job_id = ? AND first_line <= ?), 0)
		ORDER BY first_line LIMIT 200`, jobID, jobID, line).Scan(&index).Error
	if err != nil {
		return nil, fmt.Errorf("read the log of job %s: %w", jobID, err)
	}
	from, to := int64(-1), int64(-1)
	for _, c := range index {
		if c.FirstLine+c.LineCount <= line {
			continue
		}
		if from < 0 {
			from = c.FirstLine
		} else if maxBytes -= c.PlainBytes; maxBytes <= 0 {
			break
		}
		to = c.FirstLine
	}
	if from < 0 {
		return nil, nil
	}
	var chunks []chunk
	err = db.Raw(`SELECT first_line, line_count, plain_bytes, encoding, body FROM log_chunks
		WHERE job_id = ? AND first_line BETWEEN ? AND ? ORDER BY first_line`, jobID, from, to).Scan(&chunks).Error
	if err != nil {
		return nil, fmt.Errorf("read the log of job %s: %w", jobID, err)
	}
	return chunks, nil
}

// logPage reads one page without waiting.
func (s *Store) logPage(ctx context.Context, jobID string, after int64, limit int) (LogPage, error) {
	head, err := s.logHead(ctx, jobID)
	if err != nil {
		return LogPage{}, err
	}
	page := LogPage{Lines: []LogLine{}, Next: after, Problem: head.Problem}
	if head.DroppedFrom > 0 {
		page.Dropped = &LogRange{From: head.DroppedFrom, To: head.DroppedTo}
	}
	if head.ExpiredAt != nil {
		page.Problem = "the log has expired"
	}
	chunks, err := s.chunksFrom(ctx, jobID, after+1, maxLogPage)
	if err != nil {
		return LogPage{}, err
	}
	for _, c := range chunks {
		records, err := c.records()
		if err != nil {
			return LogPage{}, fmt.Errorf("read the log of job %s: %w", jobID, err)
		}
		n := c.FirstLine
		for record := range bytes.Lines(records) {
			if n > after && len(page.Lines) < limit {
				page.Lines = append(page.Lines, showLine(n, record, head.Skew))
				page.Next = n
			}
			n++
		}
	}
	if head.DroppedFrom > 0 && len(page.Lines) == 0 && page.Next < head.DroppedTo && page.Next+1 >= head.DroppedFrom {
		page.Next = head.DroppedTo
	}
	page.Complete = head.Complete && page.Next >= head.NextLine-1
	return page, nil
}

// showLine makes one record safe to show. A record that does not decode is shown as its bytes.
func showLine(n int64, record []byte, skew float64) LogLine {
	record = bytes.TrimSuffix(record, []byte("\n"))
	r, err := wire.ParseRecord(record)
	if err != nil {
		return LogLine{N: n, Text: visible(record)}
	}
	l := LogLine{N: n, Stream: string(r.Stream), Text: visible(r.Line())}
	if !r.Time.IsZero() {
		l.Time = saneTime(r.Time.Add(-time.Duration(skew * float64(time.Second))))
	}
	return l
}

// maxInflated bounds one chunk after inflation; what was stored was checked against wire.MaxBody, a
// compacted one against less.
const maxInflated = 16 << 20

var inflater, _ = zstd.NewReader(nil, zstd.WithDecoderMaxMemory(maxInflated), zstd.WithDecoderConcurrency(0))

// records are the chunk's bytes as the agent wrote them.
func (c chunk) records() ([]byte, error) {
	switch c.Encoding {
	case "":
		return c.Body, nil
	case "zstd":
		return inflater.DecodeAll(c.Body, make([]byte, 0, c.PlainBytes))
	case "gzip":
		z, err := gzip.NewReader(bytes.NewReader(c.Body))
		if err != nil {
			return nil, err
		}
		return io.ReadAll(io.LimitReader(z, maxInflated))
	}
	return nil, fmt.Errorf("encoding %q is not known", c.Encoding)
}

// WriteLog writes the whole log as text, a line of it per line, chunk by chunk.
func (s *Store) WriteLog(ctx context.Context, jobID string, w io.Writer) error {
	if !wire.IsUUID(jobID) {
		return errNoJob
	}
	head, err := s.logHead(ctx, jobID)
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(w, 64<<10)
	for line, told := int64(1), false; ; {
		chunks, err := s.chunksFrom(ctx, jobID, line, maxLogPage)
		if err != nil {
			return err
		}
		if len(chunks) == 0 {
			return out.Flush()
		}
		for _, c := range chunks {
			if head.DroppedFrom > 0 && c.FirstLine > head.DroppedFrom && !told {
				told = true
				fmt.Fprintf(out, "[lines %d to %d are no longer kept]\n", head.DroppedFrom, c.FirstLine-1)
			}
			records, err := c.records()
			if err != nil {
				return fmt.Errorf("read the log of job %s: %w", jobID, err)
			}
			for record := range bytes.Lines(records) {
				l := showLine(0, record, head.Skew)
				if _, err := fmt.Fprintf(out, "%s %-5s %s\n", l.Time.Format("2006-01-02T15:04:05.000Z"), l.Stream, l.Text); err != nil {
					return err
				}
			}
			line = c.FirstLine + c.LineCount
		}
	}
}
