package runner

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"restic-manager/agent/spool"
	"restic-manager/shared/wire"
)

// Status is what the status command prints: how the agent stands now.
type Status struct {
	PID           int       `json:"pid"`
	Version       string    `json:"version"`
	ResticVersion string    `json:"restic_version"` // empty: no restic was found
	ServerURL     string    `json:"server_url"`
	StartedAt     time.Time `json:"started_at"`
	UpdatedAt     time.Time `json:"updated_at"`
	// State is one of the Contact constants; Message says what to do, empty while all is well; Since when.
	State       string    `json:"state"`
	Message     string    `json:"message,omitempty"`
	Since       time.Time `json:"since"`
	LastContact time.Time `json:"last_contact,omitzero"` // zero: never
	// SkewSeconds is the server's clock minus this host's; nil: not known.
	SkewSeconds *float64 `json:"skew_seconds,omitempty"`
	// Hold is the limit of polls where something on the way cuts longer ones; nil: none.
	Hold *Hold `json:"hold,omitempty"`
	// GuardBroken says why everything is refused; empty: it is not.
	GuardBroken string      `json:"guard_broken,omitempty"`
	Jobs        []JobStatus `json:"jobs"`
	// Policies are those that this host carries out by itself; Password says where that of their repository is.
	Policies []PolicyStatus `json:"policies,omitempty"`
	Password string         `json:"repository_password,omitempty"`
	// Alarms are what somebody should look into, the newest last.
	Alarms []Alarm `json:"alarms,omitempty"`
}

// JobStatus is one job folder.
type JobStatus struct {
	ID          string     `json:"id"`
	Kind        wire.Kind  `json:"kind"`
	Phase       wire.Phase `json:"phase"`
	Since       time.Time  `json:"since"` // when it was offered
	PercentDone float64    `json:"percent_done,omitempty"`
	Message     string     `json:"message,omitempty"`
}

// Alarm is one thing that went wrong beside the jobs' own results.
type Alarm struct {
	At      time.Time `json:"at"`
	JobID   string    `json:"job_id,omitempty"`
	Message string    `json:"message"`
}

const maxAlarms = 20

// StatusPath is where the status of the agent of a state folder lies.
func StatusPath(state string) string { return filepath.Join(state, "status.json") }

// ErrNoStatus says that no agent ever ran on this state folder.
var ErrNoStatus = errors.New("no agent has run here yet; start it with restic-manager-agent run")

// ReadStatus reads the status file. It says how things stood when it was written: see UpdatedAt.
func ReadStatus(path string) (Status, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Status{}, ErrNoStatus
	}
	if err != nil {
		return Status{}, fmt.Errorf("read the agent's status: %w", err)
	}
	var s Status
	if err := json.Unmarshal(b, &s); err != nil {
		return Status{}, fmt.Errorf("read the agent's status %s: %w", path, err)
	}
	return s, nil
}

// statusStale is how old a status may be before its agent is presumed gone.
const statusStale = 2 * statusEvery

// Text is the status for people.
func (s Status) Text(now time.Time) string {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-14s %s\n", name, fmt.Sprintf(format, args...))
	}
	line("agent", "%s, process %d, since %s", s.Version, s.PID, s.StartedAt.Local().Format(time.DateTime))
	if now.Sub(s.UpdatedAt) > statusStale {
		line("", "not running, it seems: last word %s ago", age(now.Sub(s.UpdatedAt)))
	}
	restic := s.ResticVersion
	if restic == "" {
		restic = "not found: install it (apt install restic), or set restic_path in agent.yaml"
	}
	line("restic", "%s", restic)
	line("server", "%s: %s since %s", s.ServerURL, s.State, s.Since.Local().Format(time.DateTime))
	if s.Message != "" {
		line("", "%s", s.Message)
	}
	if s.LastContact.IsZero() {
		line("last contact", "never")
	} else {
		line("last contact", "%s ago", age(now.Sub(s.LastContact)))
	}
	if s.SkewSeconds != nil && (*s.SkewSeconds > 60 || *s.SkewSeconds < -60) {
		line("clock", "off by %s: set it (timedatectl set-ntp true)", age(time.Duration(*s.SkewSeconds*float64(time.Second)).Abs()))
	}
	if s.Hold != nil {
		line("polls", "held for %d s at most: something on the way cuts longer ones (found by %s, %s)", s.Hold.Seconds, s.Hold.FoundBy, s.Hold.FoundAt.Local().Format(time.DateTime))
	}
	if s.GuardBroken != "" {
		line("guard", "refuses everything: %s", s.GuardBroken)
	}
	if len(s.Jobs) == 0 {
		line("jobs", "none")
	}
	for _, j := range s.Jobs {
		line("job", "%s %s %s %.0f %% since %s %s", j.ID, j.Kind, j.Phase, 100*j.PercentDone, j.Since.Local().Format(time.DateTime), j.Message)
	}
	for _, p := range s.Policies {
		line("policy", "%s", p.text())
	}
	if s.Password != "" {
		line("password", "%s", passwordText[s.Password])
	}
	for _, a := range s.Alarms {
		line("alarm", "%s %s %s", a.At.Local().Format(time.DateTime), a.JobID, a.Message)
	}
	return b.String()
}

// text is a policy for people.
func (p PolicyStatus) text() string {
	text := p.Name + ": no next run"
	if !p.NextDueAt.IsZero() {
		text = p.Name + ": next " + p.NextDueAt.Local().Format(time.DateTime)
	}
	if p.Last != nil {
		text += fmt.Sprintf(", last %s %s", p.Last.At.Local().Format(time.DateTime), p.Last.Outcome)
	}
	if p.Open > 0 {
		text += fmt.Sprintf(", %d due times open", p.Open)
	}
	if p.Held != "" {
		text += ", held: " + p.Held
	}
	if p.Problem != "" {
		text += "; " + p.Problem
	}
	return text
}

// passwordText says what happens to due jobs while the server is away.
var passwordText = map[string]string{
	PasswordHere:   "in agent.yaml: due jobs run while the server is away",
	PasswordMemory: "in memory: due jobs run while the server is away, until the agent is restarted",
	PasswordDisk:   "kept on disk, as guard.yaml allows: due jobs run while the server is away",
	PasswordNot:    "not here: due jobs wait for the server",
}

func age(d time.Duration) string { return d.Round(time.Second).String() }

// statusEvery is how often the file is written although nothing changed: its age tells that the agent lives.
const statusEvery = 30 * time.Second

// statusWriter keeps the status file.
type statusWriter struct {
	path  string
	log   *slog.Logger
	tell  func(Status)
	dirty chan struct{}

	mu      sync.Mutex // guards the fields below
	version string     // of restic
	alarms  []Alarm
	failing bool
}

func newStatusWriter(path string, log *slog.Logger, tell func(Status)) *statusWriter {
	return &statusWriter{path: path, log: log, tell: tell, dirty: make(chan struct{}, 1)}
}

func (w *statusWriter) changed() {
	select {
	case w.dirty <- struct{}{}:
	default:
	}
}

func (w *statusWriter) restic(version string) {
	w.mu.Lock()
	w.version = version
	w.mu.Unlock()
}

func (w *statusWriter) alarm(a Alarm) {
	w.mu.Lock()
	w.alarms = append(w.alarms, a)
	if over := len(w.alarms) - maxAlarms; over > 0 {
		w.alarms = append([]Alarm(nil), w.alarms[over:]...)
	}
	w.mu.Unlock()
	w.changed()
}

// run writes the file when something changed, at most once a second, and now and then in any case.
func (w *statusWriter) run(ctx context.Context, snapshot func() Status) {
	timer := time.NewTicker(statusEvery)
	defer timer.Stop()
	for {
		w.write(snapshot())
		if sleep(ctx, time.Second) != nil {
			break
		}
		select {
		case <-ctx.Done():
		case <-w.dirty:
		case <-timer.C:
		}
	}
	w.write(snapshot())
}

// write replaces the file. It need not survive a crash, so it is not fsynced.
func (w *statusWriter) write(s Status) {
	if w.tell != nil {
		w.tell(s)
	}
	b, err := json.MarshalIndent(s, "", "  ")
	if err == nil {
		temp := w.path + ".new"
		if err = os.WriteFile(temp, append(b, '\n'), 0o644); err == nil {
			err = os.Rename(temp, w.path)
		} else if spool.IsNoSpace(err) {
			_ = os.Remove(temp) // half a file takes room; it may not even be there
			err = overwrite(w.path, b)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil && !w.failing {
		w.log.Warn("the status file cannot be written", "error", err)
	}
	w.failing = err != nil
}

// overwrite writes into the room that the file has: on a full disk an agent that lives must not look gone.
// Blanks cover what was longer; a reader in between may see half of both, and asks again.
func overwrite(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil {
		blanks := max(info.Size()-int64(len(b)), 0)
		_, err = f.Write(append(b, bytes.Repeat([]byte{' '}, int(blanks))...))
	}
	return errors.Join(err, f.Close())
}

// snapshot is the status of now.
func (r *Runner) snapshot() Status {
	s := Status{PID: os.Getpid(), Version: r.c.Version, ServerURL: r.c.Settings.ServerURL, StartedAt: r.started, UpdatedAt: r.now(),
		GuardBroken: r.c.Guard.Report().Broken, Jobs: []JobStatus{}}
	s.State, s.Message, s.Since, s.LastContact = r.contact.standing()
	if skew, _ := r.clock.now(r.now()); skew != nil {
		seconds := skew.Seconds()
		s.SkewSeconds = &seconds
	}
	for _, j := range r.all() {
		s.Jobs = append(s.Jobs, j.describe())
	}
	if h, err := ReadHold(r.c.Paths.State); err == nil && h.ServerURL == s.ServerURL {
		s.Hold = &h
	}
	s.Policies, s.Password = r.schedule.standing()
	r.status.mu.Lock()
	defer r.status.mu.Unlock()
	s.ResticVersion, s.Alarms = r.status.version, append([]Alarm(nil), r.status.alarms...)
	return s
}
