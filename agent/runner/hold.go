package runner

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"restic-manager/agent/client"
	"restic-manager/shared/wire"
)

// Hold is how long a poll may be held on the way from this machine to its server. It lies in the state folder, so that
// what doctor found by trying, and what the agent learnt, holds after a restart.
type Hold struct {
	ServerURL string    `json:"server_url"` // the way to another server is another way
	Seconds   int       `json:"seconds"`
	FoundAt   time.Time `json:"found_at"`
	FoundBy   string    `json:"found_by"` // FoundByDoctor or FoundByAgent
}

// Who finds how long a poll may be held.
const (
	FoundByDoctor = "doctor"
	FoundByAgent  = "agent"
)

const (
	// ShortestHold is the least that a poll is shortened to: below it a fleet's polls would be a load of their own.
	ShortestHold = 5 * time.Second
	// HoldKept is how long a limit is believed: proxies change. A longer poll is tried then; where it is still cut, that
	// is learnt again from two polls, long before the host would count as offline.
	HoldKept = 24 * time.Hour
	// cutsToLearn is how many polls in a row must be cut at the same age.
	cutsToLearn = 2
)

// HoldPath is where the limit of the agent of a state folder lies.
func HoldPath(state string) string { return filepath.Join(state, "hold.json") }

// ReadHold reads the limit; none is fs.ErrNotExist.
func ReadHold(state string) (Hold, error) {
	b, err := os.ReadFile(HoldPath(state))
	if err != nil {
		return Hold{}, err
	}
	var h Hold
	if err := json.Unmarshal(b, &h); err != nil {
		return Hold{}, fmt.Errorf("read %s: %w", HoldPath(state), err)
	}
	if d := time.Duration(h.Seconds) * time.Second; d < ShortestHold || d > wire.MaxHold {
		return Hold{}, fmt.Errorf("read %s: %d seconds are no limit of a poll", HoldPath(state), h.Seconds)
	}
	return h, nil
}

// WriteHold replaces the limit; a running agent obeys it from its next poll on.
func WriteHold(state string, h Hold) error {
	b, err := json.Marshal(h)
	if err != nil {
		return err
	}
	temp := HoldPath(state) + ".new"
	if err := os.WriteFile(temp, append(b, '\n'), 0o644); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return os.Rename(temp, HoldPath(state))
}

// ForgetHold removes the limit, where there is one.
func ForgetHold(state string) error {
	if err := os.Remove(HoldPath(state)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// holdLimit shortens polls where something on the way cuts them: a proxy that ends silent connections.
type holdLimit struct {
	state, server string
	now           func() time.Time
	log           *slog.Logger

	limit time.Duration // 0: none
	found time.Time
	file  os.FileInfo   // as it was last read or written; nil: none
	age   time.Duration // at which the last polls were cut
	cuts  int           // in a row
}

func newHoldLimit(state, server string, now func() time.Time, log *slog.Logger) *holdLimit {
	return &holdLimit{state: state, server: server, now: now, log: log}
}

// within is the hold of the next poll where d is what it would be.
func (h *holdLimit) within(d time.Duration) time.Duration {
	h.look()
	if h.limit > 0 && h.now().Sub(h.found) > HoldKept {
		h.limit, h.cuts = 0, 0
		if err := ForgetHold(h.state); err != nil {
			h.log.Warn("the limit of polls cannot be removed", "error", err)
		}
		h.file, _ = os.Stat(HoldPath(h.state))
	}
	if h.limit > 0 && d > h.limit {
		return h.limit
	}
	return d
}

// look reads the file when it is another one than before: doctor writes it beside the running agent.
func (h *holdLimit) look() {
	file, err := os.Stat(HoldPath(h.state))
	if errors.Is(err, fs.ErrNotExist) {
		if h.file != nil {
			h.limit, h.file = 0, nil
		}
		return
	}
	if err != nil || h.file != nil && os.SameFile(h.file, file) && h.file.ModTime().Equal(file.ModTime()) {
		return
	}
	h.file = file
	found, err := ReadHold(h.state)
	if err != nil {
		h.log.Warn("the limit of polls cannot be read; polls are held as long as usual", "error", err)
		return
	}
	if found.ServerURL != h.server || found.FoundAt.After(h.now().Add(time.Hour)) {
		return // of another server, or of a clock that was wrong
	}
	h.limit, h.found, h.cuts = time.Duration(found.Seconds)*time.Second, found.FoundAt, 0
}

// learn takes a poll's outcome. A cut is an end without the server's reply after the poll had been held for a while: a
// server that cannot be reached fails at once. Only cuts at the same age are a rule of the way: a server that is
// restarted, or a line that comes and goes, cuts at any.
func (h *holdLimit) learn(wait, took time.Duration, err error) {
	if err == nil {
		if took > h.age {
			h.cuts = 0 // a shorter one proves nothing
		}
		return
	}
	if !wasCut(wait, took, err) {
		return
	}
	if h.cuts > 0 && (took-h.age).Abs() > max(time.Second, h.age/10) {
		h.cuts = 0
	}
	h.age = took
	if h.cuts++; h.cuts >= cutsToLearn {
		h.keep(max(ShortestHold, took*3/4).Truncate(time.Second))
	}
}

func wasCut(wait, took time.Duration, err error) bool {
	if took < ShortestHold || took >= wait+2*time.Second {
		return false
	}
	e, ok := errors.AsType[*client.Error](err)
	if !ok {
		return true
	}
	switch e.Status {
	case 0, http.StatusRequestTimeout, http.StatusBadGateway, http.StatusGatewayTimeout:
		return true
	}
	return false
}

func (h *holdLimit) keep(d time.Duration) {
	h.limit, h.found, h.cuts = d, h.now(), 0
	h.log.Warn("something on the way cuts polls; they are held shorter from now on", "cut_after", h.age.Round(time.Second).String(), "hold", d.String())
	err := WriteHold(h.state, Hold{ServerURL: h.server, Seconds: int(d / time.Second), FoundAt: h.found.UTC(), FoundBy: FoundByAgent})
	if err != nil {
		h.log.Warn("the limit of polls cannot be kept for the next start", "error", err)
	}
	h.file, _ = os.Stat(HoldPath(h.state))
}

// Scatter has an agent ask at another time than all others do that lost the server in the same moment: until one of its polls was
// held to its end, they are held for anything between a second and the longest.
type Scatter struct {
	done bool
}

// Failed: the server did not answer, or not as it should.
func (s *Scatter) Failed() { s.done = false }

// Held tells how long a poll was held that was answered.
func (s *Scatter) Held(asked, took time.Duration) { s.done = s.done || took >= asked }

// Span is what the next hold is drawn from.
func (s *Scatter) Span(t Timing, busy bool) Span {
	switch {
	case busy:
		return t.HoldBusy
	case !s.done:
		return t.HoldFirst
	}
	return t.HoldIdle
}
