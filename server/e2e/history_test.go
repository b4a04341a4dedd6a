package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"restic-manager/server/config"
	"restic-manager/server/database"
	"restic-manager/server/e2e/scripted/script"
	"restic-manager/server/fleet"
	"restic-manager/shared/wire"
)

// history holds what happened to one agent's jobs to the promises: it reads the database itself, the agent's state
// folder, and the ledger of the scripted restic.
type history struct {
	t     testing.TB
	a     *scripted
	db    *database.DB
	fleet *fleet.Store
	// ended are the jobs that were looked at, with the state they had: it stays.
	ended  map[string]wire.State
	broken int
}

func newHistory(t testing.TB, s *server, a *scripted) *history {
	t.Helper()
	url := s.database
	if url == "" {
		url = filepath.Join(s.dir, "restic-manager.db")
	}
	db, err := database.Open(t.Context(), database.Options{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	key, _, err := config.LoadKey(filepath.Join(s.dir, "secret.key"))
	if err != nil {
		t.Fatal(err)
	}
	f, err := fleet.Open(t.Context(), fleet.Options{DB: db, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	return &history{t: t, a: a, db: db, fleet: f, ended: map[string]wire.State{}}
}

// breaks counts a broken promise.
func (h *history) breaks(rule, format string, args ...any) {
	h.t.Helper()
	h.broken++
	h.t.Errorf("%s: %s", rule, fmt.Sprintf(format, args...))
}

// pastJob is a job as the database has it.
type pastJob struct {
	State     wire.State
	ErrorCode string
	LogLines  int64
	LogSHA256 string `gorm:"column:log_sha256"`
	NextLine  int64
	Complete  bool
	Problem   string
}

func (h *history) job(id string) (p pastJob, err error) {
	err = h.db.Read(h.t.Context()).Raw(`SELECT jobs.state, jobs.error_code, coalesce(jobs.log_lines, -1) AS log_lines, jobs.log_sha256,
		coalesce(logs.next_line, 1) AS next_line, coalesce(logs.complete, false) AS complete, coalesce(logs.problem, '') AS problem
		FROM jobs LEFT JOIN logs ON logs.job_id = jobs.id WHERE jobs.id = ?`, id).Scan(&p).Error
	if err == nil && p.State == "" {
		err = fmt.Errorf("there is no job %s", id)
	}
	return p, err
}

// settled waits until nothing more is to come of a job: it ended, its log is whole, its folder is gone. Then it
// holds it to the promises.
func (h *history) settled(id string) pastJob {
	h.t.Helper()
	var p pastJob
	eventually(h.t, time.Minute, "job "+id+" is settled", func() (err error) {
		if p, err = h.job(id); err != nil {
			return err
		}
		switch _, gone := os.Stat(filepath.Join(h.a.data, "jobs", id)); {
		case !p.State.Terminal():
			return fmt.Errorf("it is %s", p.State)
		case p.State != wire.StateRejected && !p.Complete:
			return fmt.Errorf("its log has %d of %d lines: %s", p.NextLine-1, p.LogLines, p.Problem)
		case gone == nil:
			return fmt.Errorf("its folder is still there")
		}
		return nil
	})
	h.look(id, p)
	return p
}

// look checks one job that is settled.
func (h *history) look(id string, p pastJob) {
	h.t.Helper()
	if was, ok := h.ended[id]; ok && was != p.State {
		h.breaks("J1", "job %s was %s and is %s", id, was, p.State)
	}
	h.ended[id] = p.State
	h.looksAtRestic(id, p)
	h.looksAtLog(id, p)
	h.looksAtSpool(id, p)
	eventually(h.t, 20*time.Second, "no process of "+id+" is left", func() error {
		if left := h.a.children(); len(left) > 0 {
			return fmt.Errorf("left: %v", left)
		}
		return nil
	})
}

// looksAtRestic compares the state with what the ledger says that restic did.
func (h *history) looksAtRestic(id string, p pastJob) {
	h.t.Helper()
	starts, exit := 0, -1
	for _, e := range h.a.entries() {
		switch {
		case e.Job != id:
		case e.Event == script.Started:
			starts++
		case e.Event == script.Ended:
			exit = e.Exit
		}
	}
	if starts > 1 {
		h.breaks("J2", "restic was started %d times for job %s", starts, id)
	}
	interrupted := p.State == wire.StateFailed && p.ErrorCode == wire.CodeInterrupted
	switch {
	case starts == 0 && p.State.Success():
		h.breaks("J4", "job %s is %s and restic was never run", id, p.State)
	case starts > 0 && !interrupted && (exit == 0) != (p.State == wire.StateSucceeded):
		h.breaks("J4", "job %s is %s and restic ended with %d", id, p.State, exit)
	}
}

// looksAtLog adds up the bytes that the database has.
func (h *history) looksAtLog(id string, p pastJob) {
	h.t.Helper()
	if p.LogLines < 0 || p.State == wire.StateRejected {
		return
	}
	sum, lines, err := h.sum(id)
	if err != nil {
		h.t.Fatal(err)
	}
	if lines != p.LogLines || p.NextLine != lines+1 || hex.EncodeToString(sum.Sum(nil)) != p.LogSHA256 {
		h.breaks("L1", "job %s has %d lines with sum %x, next line %d; finish said %d with %s", id, lines, sum.Sum(nil), p.NextLine, p.LogLines, p.LogSHA256)
	}
}

func (h *history) sum(id string) (sum hash.Hash, lines int64, err error) {
	sum = sha256.New()
	for next := int64(1); ; {
		var chunks []struct {
			FirstLine, LineCount int64
			Encoding             string
			Body                 []byte
		}
		err := h.db.Read(h.t.Context()).Raw(`SELECT first_line, line_count, encoding, body FROM log_chunks WHERE job_id = ? AND first_line >= ?
			ORDER BY first_line LIMIT 100`, id, next).Scan(&chunks).Error
		if err != nil || len(chunks) == 0 {
			return sum, lines, err
		}
		for _, c := range chunks {
			plain, err := inflated(c.Encoding, c.Body)
			if err != nil {
				return sum, lines, err
			}
			if n := int64(bytes.Count(plain, []byte("\n"))); c.FirstLine != next || n != c.LineCount {
				return sum, lines, fmt.Errorf("job %s: the chunk at line %d, where %d was to come, says %d lines and has %d", id, c.FirstLine, next, c.LineCount, n)
			}
			sum.Write(plain)
			next += c.LineCount
			lines += c.LineCount
		}
	}
}

func inflated(encoding string, body []byte) ([]byte, error) {
	var r io.Reader = bytes.NewReader(body)
	var err error
	switch encoding {
	case "zstd":
		var z *zstd.Decoder
		if z, err = zstd.NewReader(r); err == nil {
			defer z.Close()
			r = z
		}
	case "gzip":
		r, err = gzip.NewReader(r)
	}
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

// looksAtSpool compares the result that the agent keeps with the one that the server has.
func (h *history) looksAtSpool(id string, p pastJob) {
	h.t.Helper()
	kept, err := filepath.Glob(filepath.Join(h.a.data, "finished", id+"-*"))
	if err != nil || len(kept) == 0 {
		return // refused from memory, or by an agent without room
	}
	b, err := os.ReadFile(kept[0])
	if err != nil {
		h.t.Fatal(err)
	}
	var finish struct{ Body wire.FinishRequest }
	if err := json.Unmarshal(b, &finish); err != nil {
		h.t.Fatalf("%s: %v", kept[0], err)
	}
	if f := finish.Body; len(kept) != 1 || f.State != p.State || f.LogLines != p.LogLines || f.LogSHA256 != p.LogSHA256 {
		h.breaks("J4", "job %s: the agent keeps %s with %d lines and %s in %d files, the server has %+v", id, f.State, f.LogLines, f.LogSHA256, len(kept), p)
	}
}

// end looks at everything once more and returns how many promises were broken in all.
func (h *history) end() int {
	h.t.Helper()
	for id, was := range h.ended {
		p, err := h.job(id)
		if err != nil {
			h.t.Fatal(err)
		}
		if p.State != was {
			h.breaks("J1", "job %s was %s and is %s", id, was, p.State)
		}
	}
	for id, n := range h.a.starts() {
		if n > 1 {
			h.breaks("J2", "restic was started %d times for job %s", n, id)
		}
	}
	h.looksAtLanes()
	found, err := h.fleet.CheckInvariants(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	for _, v := range found {
		h.breaks(v.Rule, "%s", v.Detail)
	}
	return h.broken
}

// looksAtLanes: one backup runs at a time on one host.
func (h *history) looksAtLanes() {
	h.t.Helper()
	running := ""
	entries := slices.DeleteFunc(h.a.entries(), func(e script.Entry) bool { return e.Job == "" || e.Command != "backup" })
	over := map[string]bool{}
	for _, e := range entries {
		if e.Event == script.Ended {
			over[e.Job] = true
		}
	}
	for _, e := range entries {
		switch {
		case e.Event == script.Ended:
			running = ""
		case e.Event == script.Started && running != "" && over[running]:
			h.breaks("J3", "job %s started while %s ran", e.Job, running)
		}
		if e.Event == script.Started {
			running = e.Job
		}
	}
}
