package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"restic-manager/server/e2e/faultproxy"
	"restic-manager/server/e2e/scripted/script"
	"restic-manager/shared/wire"
)

// TestFaultHangingRestic: restic hangs for ever, deaf or not, alone or with a program that holds its pipes. The time
// limit ends all of it, and the host polls on.
func TestFaultHangingRestic(t *testing.T) {
	t.Parallel()
	const limit = 4 * time.Second
	acts := []script.Act{{Hang: true}, {Hang: true, Grandchild: true}, {Hang: true, Deaf: true}, {Hang: true, Deaf: true, Grandchild: true}}
	s := newServer(t, "sqlite")
	// The deaf ones take the 90 s of grace.
	r := newFaultRig(t, s, figures(2, 20))
	took := make([]time.Duration, len(r.agents))
	var polite, deaf []time.Duration
	broken := 0
	r.each(func(i int, a *scripted) {
		a.script(map[string]script.Act{"backup": acts[i%len(acts)]})
		var j job
		s.do("POST", "/api/hosts/"+a.hostID+"/jobs", map[string]any{"kind": wire.KindBackup, "spec": map[string]any{"paths": []string{a.bin}}, "time_limit_seconds": int(limit.Seconds())}, &j)
		j = r.ended(j.ID, 3*time.Minute)
		if j.StartedAt != nil && j.EndedAt != nil {
			took[i] = j.EndedAt.Sub(*j.StartedAt)
		}
	})
	for i, d := range took {
		grace := time.Duration(0)
		if acts[i%len(acts)].Deaf {
			grace = 90 * time.Second
			deaf = append(deaf, d)
		} else {
			polite = append(polite, d)
		}
		// A grandchild holds the pipes for 5 s more.
		if d < limit+grace || d > limit+grace+10*time.Second {
			broken++
			t.Errorf("%+v: ended after %s, want %s", acts[i%len(acts)], d, limit+grace)
		}
	}
	for _, a := range r.agents {
		eventually(t, 10*time.Second, "no program is left", func() error {
			if left := a.orphans(); len(left) > 0 {
				return fmt.Errorf("left: %v", left)
			}
			return nil
		})
		if h := s.host(a.hostID); h.Status != "online" {
			broken++
			t.Errorf("a host whose restic hung: got %s, want online", h.Status)
		}
	}
	v := r.judge(func(j job) (wire.State, int) {
		if j.Error == nil || j.Error.Code != wire.CodeTimeLimit {
			return "failed by its time limit", 0
		}
		return wire.StateFailed, 0
	})
	figure := fmt.Sprintf("time limit %s; ended after at most %s", limit, seconds(slices.Max(polite)))
	if len(deaf) > 0 {
		figure += fmt.Sprintf(", those deaf to SIGINT after %s to %s", seconds(slices.Min(deaf)), seconds(slices.Max(deaf)))
	}
	fault(t, faultRow{Row: "19", Fault: "restic hangs, ignores SIGINT, leaves a grandchild with its pipes", Variant: "sqlite", Runs: v.jobs, Violations: v.violations + broken,
		Figure: figure + "; 0 processes left"})
}

// TestFaultFloods: a line of 10 MB, lines without end, none at the end of the output. The pipes are drained at their
// speed, the summary is read, what is dropped is counted, and nobody grows.
func TestFaultFloods(t *testing.T) {
	t.Parallel()
	for _, engine := range databases[:figures(1, len(databases))] {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, engine, fmt.Sprintf("RESTIC_MANAGER_LOG_BYTES_PER_JOB=%dMiB", figures(8, 64)))
			r := newFaultRig(t, s, 1)
			a := r.agents[0]
			const size = 100
			lines := figures(200_000, 10_000_000)
			a.script(map[string]script.Act{"backup": {Files: 7, Unended: true}})
			quiet := a.flood()
			a.script(map[string]script.Act{"backup": {Long: 10 << 20, Lines: lines, LineBytes: size, Files: 7, Unended: true}})
			loud := a.flood()
			broken := 0
			wrong := func(format string, args ...any) { broken++; t.Errorf(format, args...) }
			j := loud.job
			if j.State != wire.StateSucceeded || j.Summary == nil || j.Summary.FilesNew != 7 || !j.LogComplete {
				wrong("got %s, want it succeeded, with its summary and a complete log", j)
			}
			_, db := s.store(t)
			raw := rawLog(t, db, j.ID)
			if len(raw) > 17<<20 {
				wrong("the server keeps %d bytes of the log, want 16 MiB at most", len(raw))
			}
			if !bytes.Contains(raw, []byte(wire.CutMarker)) {
				wrong("the long line has no marker where it was cut")
			}
			kept, dropped := int64(0), int64(0)
			if j.LogLines != nil {
				kept = *j.LogLines
			}
			tail := raw[bytes.LastIndexByte(raw[:len(raw)-1], '\n')+1:]
			_, _ = fmt.Sscanf(string(tail[bytes.Index(tail, []byte(`"text":"`))+len(`"text":"`):]), "%d lines", &dropped)
			// Of what was written, all but the agent's own words and status lines is kept or counted: the long line, the
			// lines, the summary, and the words before and after.
			if sum := kept + dropped; sum < int64(lines) || sum > int64(lines)+10 {
				wrong("%d lines kept and %d dropped (%s), want %d and a few in all", kept, dropped, tail, lines)
			}
			if grown := loud.peak - quiet.peak; grown > 32<<20 {
				wrong("supervisor: %d bytes more at its peak than for a quiet job, want 32 MiB at most", grown)
			}
			written := float64(lines)*size + 10<<20
			fault(t, faultRow{Row: "20", Fault: "a line of 10 MB, " + fmt.Sprintf("%.1f GB of lines, no newline at the end", written/1e9), Variant: engine, Runs: 1, Violations: broken + a.twice(),
				Figure: fmt.Sprintf("drained at %.0f MB/s; supervisor at most %.0f MiB resident, %.0f for a quiet job; agent %.0f MiB; %d lines kept by the agent, %d counted as dropped, %.1f MiB at the server",
					written/1e6/loud.took.Seconds(), mib(loud.peak), mib(quiet.peak), mib(loud.agent), kept, dropped, mib(int64(len(raw))))})
		})
	}
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }

// flooded is one backup: how long restic ran, and the peaks of memory of the supervisor and the agent.
type flooded struct {
	job         job
	took        time.Duration
	peak, agent int64
}

func (a *scripted) flood() (f flooded) {
	a.t.Helper()
	f.job = a.backup()
	eventually(a.t, 3*time.Minute, "the flood is over", func() error {
		for _, pid := range a.supervisors() {
			f.peak = max(f.peak, peakMemory(pid))
		}
		j := a.server.job(f.job.ID)
		if !j.State.Terminal() || !j.LogComplete {
			return fmt.Errorf("it is %s, log complete: %v", j.State, j.LogComplete)
		}
		f.job = j
		return nil
	})
	f.agent = peakMemory(a.cmd.Process.Pid)
	var began time.Time
	for _, e := range a.entries() {
		if e.Job == f.job.ID && e.Event == script.Started {
			began = e.Time
		} else if e.Job == f.job.ID && e.Event == script.Ended {
			f.took = e.Time.Sub(began)
		}
	}
	return f
}

// peakMemory is the most that was ever resident of a process, in bytes; 0 when it is gone.
func peakMemory(pid int) (n int64) {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if _, rest, ok := bytes.Cut(b, []byte("VmHWM:")); ok {
		_, _ = fmt.Sscan(string(rest), &n)
	}
	return n << 10
}

// oddNames are 300 names that a file may have: every byte but NUL, / and the line's end, controls, marks of direction,
// markup, the longest path.
func oddNames() (names [][]byte) {
	for b := 1; b < 256; b++ {
		if b != '/' && b != '\n' {
			names = append(names, fmt.Appendf(nil, "byte %c|%s|", 'a'+b%26, []byte{byte(b)}))
		}
	}
	for _, r := range []rune{0x80, 0x85, 0x9b, 0x9f, 0x200e, 0x200f, 0x202a, 0x202b, 0x202c, 0x202d, 0x202e, 0x2066, 0x2067, 0x2068, 0x2069, 0x2028, 0x2029, 0xfeff, 0x200b, 0x61c} {
		names = append(names, fmt.Appendf(nil, "rune |%c|", r))
	}
	for _, text := range []string{"<script>alert(1)</script>", "\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "a\r", "b\rc", "\x9b31m", "'; DROP TABLE jobs;--", "=cmd|' /C calc'!A0",
		"\xff\xfe\xfd", "\xed\xa0\x80", "\xc0\xaf", "\xf4\x90\x80\x80", "%s%n%x", "{\"message_type\":\"odd\"}", "ünïcode-☃-😀", "e\u0301", "\u202egnp.exe", "--flag", "$(id)", "`id`", "\\x41", "&amp;", "\"quoted\"", "tab\t", " ", ".", ".."} {
		names = append(names, []byte("text "+text))
	}
	return append(names, []byte("/"+strings.Repeat("long name \x01/", 366)))
}

// TestFaultOddNames: each odd name is stored as it is, and shown as text that cannot act.
func TestFaultOddNames(t *testing.T) {
	t.Parallel()
	names := oddNames()
	for _, engine := range databases[:figures(1, len(databases))] {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, engine)
			r := newFaultRig(t, s, 1)
			a := r.agents[0]
			a.script(map[string]script.Act{"backup": {Raw: append(bytes.Join(names, []byte("\n")), '\n')}})
			j := s.complete(s.reaches(a.backup().ID, time.Minute, wire.StateSucceeded).ID)
			_, db := s.store(t)
			var stored [][]byte
			for record := range bytes.Lines(rawLog(t, db, j.ID)) {
				rec, err := wire.ParseRecord(bytes.TrimSuffix(record, []byte("\n")))
				if err != nil {
					t.Fatalf("record %q: %v", record, err)
				}
				if line := rec.Line(); rec.Stream == wire.StreamOut && !bytes.HasPrefix(line, []byte(`{"message_type":"summary"`)) {
					stored = append(stored, line)
				}
			}
			same := 0
			for i, name := range names {
				if i < len(stored) && bytes.Equal(stored[i], name) {
					same++
				} else {
					t.Errorf("name %d: got %q, want %q", i, stored[min(i, len(stored)-1)], name)
				}
			}
			acting := 0
			var page []byte
			answer := s.do("GET", "/api/jobs/"+j.ID+"/log?limit=5000", nil, &page)
			for what, b := range map[string][]byte{"the API's page": page, "log.txt": []byte(s.log(j.ID))} {
				if n := acts(b); n > 0 {
					acting += n
					t.Errorf("%s has %d characters that act", what, n)
				}
			}
			// Markup is text where the browser is told that it is.
			if h := answer.Header; !json.Valid(page) || h.Get("Content-Type") != "application/json" || h.Get("X-Content-Type-Options") != "nosniff" {
				acting++
				t.Errorf("the API's page: got %v and %.200s, want JSON that is not taken for anything else", h, page)
			}
			fault(t, faultRow{Row: "21", Fault: "odd bytes in lines of the log", Variant: engine, Runs: len(names), Violations: len(names) - same + acting,
				Figure: fmt.Sprintf("%d of %d names stored to the byte; %d characters that act in the API's JSON and the download", same, len(names), acting)})
		})
	}
}

// acts counts what a terminal, a page or a spreadsheet would obey: controls but newlines, marks of direction, bytes
// that are not UTF-8.
func acts(b []byte) (n int) {
	for len(b) > 0 {
		r, size := utf8.DecodeRune(b)
		if r == utf8.RuneError && size == 1 || r != '\n' && unicode.IsControl(r) || 0x202a <= r && r <= 0x202e || 0x2066 <= r && r <= 0x2069 || r == 0x200e || r == 0x200f || r == 0x61c {
			n++
		}
		b = b[size:]
	}
	return n
}

// TestFaultCutFromRepository: the line to the repository is away in the middle of a backup. restic waits and goes on;
// away for longer than it waits (whole runs alone), the job fails and says why.
func TestFaultCutFromRepository(t *testing.T) {
	t.Parallel()
	away := 5 * time.Second
	if whole() {
		away = 10 * time.Minute
	}
	s := newServer(t, "postgres")
	ends := []wire.State{wire.StateSucceeded, wire.StateFailed}[:figures(1, 2)]
	remotes := make([]*remote, len(ends))
	jobs := make([]job, len(ends))
	for i := range ends {
		remotes[i] = newRemote(t, s)
		jobs[i] = remotes[i].running()
		remotes[i].line.Cut()
	}
	cut := time.Now()
	<-time.After(away)
	remotes[0].line.Heal()
	broken := 0
	figure := ""
	for i, want := range ends {
		got := s.reaches(jobs[i].ID, 12*time.Minute, want)
		s.complete(got.ID)
		if want == wire.StateFailed {
			if got.Error == nil || got.Error.Code != wire.CodeRepositoryUnreachable {
				broken++
				t.Errorf("away for good: got %s, want %s", got, wire.CodeRepositoryUnreachable)
			}
			figure = fmt.Sprintf("; away for good it failed as %s after %s", wire.CodeRepositoryUnreachable, seconds(got.EndedAt.Sub(cut)))
			continue
		}
		figure += fmt.Sprintf("succeeded %s after the line was back", seconds(got.EndedAt.Sub(cut.Add(away))))
		remotes[i].sound()
	}
	fault(t, faultRow{Row: "7", Fault: fmt.Sprintf("the line to the repository away for %s", away), Variant: "postgres, restic 0.18.0, rest-server", Runs: len(ends), Violations: broken,
		Figure: strings.TrimPrefix(figure, "; ") + "; restic check --read-data finds nothing"})
}

// remote is an agent with the real restic whose repository lies behind a line of its own.
type remote struct {
	*agent
	line *faultproxy.TCP
}

func newRemote(t testing.TB, s *server) *remote {
	t.Helper()
	listen := freeAddress(t)
	dir := t.TempDir()
	p := startProcess(t, filepath.Join(dir, "rest-server.log"), nil, tool(t, "RESTIC_MANAGER_TEST_TOOLS", "rest-server/rest-server"),
		"--listen", listen, "--path", filepath.Join(dir, "data"), "--no-auth")
	t.Cleanup(p.kill)
	line, err := faultproxy.NewTCP(listen)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(line.Close)
	a := enrollAgent(t, s, "0.18.0")
	a.repository = "rest:http://" + line.Address() + "/r"
	a.own("repo_url: "+a.repository, "repo_password: "+a.password)
	a.start()
	eventually(t, 10*time.Second, "the repository's server listens", func() error {
		if !strings.Contains(p.words(), "start server") {
			return fmt.Errorf("it says %s", p.words())
		}
		return nil
	})
	a.init()
	return &remote{a, line}
}

// sound checks the repository with restic itself.
func (r *remote) sound() {
	r.t.Helper()
	r.mustRestic("unlock")
	r.mustRestic("check", "--read-data")
}
