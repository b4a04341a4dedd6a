package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"restic-manager/shared/wire"
)

// wrongAgent is the real agent on a machine with a clock of its own: what it and its supervisors read is off by the
// seconds that set writes. restic is as it is.
type wrongAgent struct {
	*agent
	program string
}

func newWrongAgent(t testing.TB, s *server, seconds int) *wrongAgent {
	t.Helper()
	a := &wrongAgent{agent: enrollAgent(t, s, "0.18.0", "--allow", "maintenance")}
	a.repository = filepath.Join(a.dir, "repository")
	a.own("repo_url: "+a.repository, "repo_password: "+a.password)
	a.program = filepath.Join(a.dir, "restic-manager-agent")
	// A program that this process wrote could be busy: a fork of another test may still have it open.
	if out, err := exec.Command("cp", tool(t, "RESTIC_MANAGER_TEST_BIN", "failpoint/restic-manager-agent-clock"), a.program).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v: %s", err, out)
	}
	a.set(seconds)
	a.process = startProcess(t, filepath.Join(a.dir, "agent.log"), a.env, a.program, "run", "--config", a.config, "--state-dir", a.data)
	t.Cleanup(func() {
		a.kill()
		a.endSupervisors()
		if t.Failed() {
			t.Logf("words of the agent:\n%s", tail(a.words(), 40))
		}
	})
	a.online()
	return a
}

// set sets the machine's clock, in seconds before (-) or after the true one.
func (a *wrongAgent) set(seconds int) {
	a.t.Helper()
	next := a.program + ".next"
	if err := os.WriteFile(next, []byte(strconv.Itoa(seconds)), 0o600); err != nil {
		a.t.Fatal(err)
	}
	if err := os.Rename(next, a.program+".clock"); err != nil {
		a.t.Fatal(err)
	}
	<-time.After(100 * time.Millisecond) // it is looked at every 10 ms
}

// skew waits until the server shows the clock's error.
func (a *wrongAgent) skew(seconds int) {
	a.t.Helper()
	eventually(a.t, 60*time.Second, fmt.Sprintf("the host's clock is shown as %d s ahead", seconds), func() error {
		var h struct {
			Skew float64 `json:"clock_skew_seconds"`
		}
		a.server.do("GET", "/api/hosts/"+a.hostID, nil, &h)
		if off := h.Skew - float64(seconds); off < -20 || off > 20 {
			return fmt.Errorf("it is %.1f s", h.Skew)
		}
		return nil
	})
}

// ended is a job's end as far as a clock has no say in it.
func ended(j job) string {
	code, exit := "", "none"
	if j.Error != nil {
		code = j.Error.Code
	}
	if j.ExitCode != nil {
		exit = fmt.Sprint(*j.ExitCode)
	}
	return fmt.Sprintf("%s %s %s exit %s", j.Kind, j.State, code, exit)
}

var terminal = slices.DeleteFunc(slices.Clone(wire.States), func(s wire.State) bool { return !s.Terminal() })

// history runs jobs of all kinds one after the other, and gives their ends. Times that are off by more than a minute
// once corrected are told as wrong.
func (a *wrongAgent) history(jobs int) (ends []string, wrong int) {
	a.t.Helper()
	source := filepath.Join(a.dir, "source")
	if err := os.MkdirAll(source, 0o755); err != nil {
		a.t.Fatal(err)
	}
	run := func(kind wire.Kind, spec any) {
		before := time.Now()
		j := a.server.run(a.hostID, kind, spec, terminal...)
		if j.State != wire.StateRejected {
			a.server.complete(j.ID)
		}
		for _, at := range []*time.Time{j.StartedAt, j.EndedAt} {
			if at != nil && (at.Before(before.Add(-time.Minute)) || at.After(time.Now().Add(time.Minute))) {
				wrong++
				a.t.Errorf("%s: a time of its own: got %s, want about %s", j.Kind, at, before)
			}
		}
		ends = append(ends, ended(j))
	}
	backup := func() {
		if err := os.WriteFile(filepath.Join(source, fmt.Sprint(len(ends))), fmt.Append(nil, len(ends)), 0o600); err != nil {
			a.t.Fatal(err)
		}
		run(wire.KindBackup, map[string]any{"paths": []string{source}})
	}
	run(wire.KindInit, nil)
	backup()
	for round := []func(){
		func() {
			run(wire.KindForget, map[string]any{"snapshot_ids": []string{a.listed().Snapshots[0].ID}})
		},
		func() { run(wire.KindUnlock, nil) },
		func() { run(wire.KindPrune, nil) },
		backup,
		func() { run(wire.KindCheck, nil) },
		func() { run(wire.KindBackup, map[string]any{"paths": []string{filepath.Join(a.dir, "missing")}}) },
		func() { run(wire.KindSnapshots, nil) },
	}; len(ends) < jobs; {
		for _, do := range round[:min(len(round), jobs-len(ends))] {
			do()
		}
	}
	return ends, wrong
}

// maintenance are the kinds that a wrong clock forbids: restic calls a lock stale by it.
var maintenance = []wire.Kind{wire.KindForget, wire.KindUnlock, wire.KindPrune}

// TestFaultWrongClocks: machines whose clocks are off run the same jobs as one whose clock is right. The histories are
// the same, but that forget, unlock and prune are refused from 5 minutes on.
func TestFaultWrongClocks(t *testing.T) {
	t.Parallel()
	const day = 24 * 60 * 60
	jobs := figures(6, 20)
	skews := []int{0, day, -330}
	if whole() {
		skews = []int{0, day, -day, 330, -330, 240, -240}
	}
	s := newServer(t, "postgres")
	histories := make([][]string, len(skews))
	wrong := make([]int, len(skews))
	t.Run("machines", func(t *testing.T) {
		for i, seconds := range skews {
			t.Run(fmt.Sprint(seconds), func(t *testing.T) {
				t.Parallel()
				own := *s
				own.t = t
				a := newWrongAgent(t, &own, seconds)
				a.skew(seconds)
				histories[i], wrong[i] = a.history(jobs)
			})
		}
	})
	bad, refused := 0, 0
	for i, seconds := range skews {
		want := slices.Clone(histories[0])
		if seconds > 300 || seconds < -300 {
			for n, end := range want {
				if slices.ContainsFunc(maintenance, func(k wire.Kind) bool { return strings.HasPrefix(end, string(k)+" ") }) {
					want[n] = fmt.Sprintf("%s rejected %s exit none", strings.Fields(end)[0], wire.CodeClockSkew)
					refused++
				}
			}
		}
		bad += wrong[i]
		if d := cmp.Diff(want, histories[i]); d != "" {
			bad++
			t.Errorf("a clock off by %d s: the ends of its jobs differ:\n%s", seconds, d)
		}
	}
	t.Logf("the history of a right clock:\n%s", strings.Join(histories[0], "\n"))
	fault(t, faultRow{Row: "11", Fault: fmt.Sprintf("clocks wrong by %v s from the start", skews[1:]), Variant: "postgres, restic 0.18.0", Runs: jobs * (len(skews) - 1), Violations: bad,
		Figure: fmt.Sprintf("%d jobs on each of %d machines: the same ends as with a right clock; %d of %d forgets, unlocks and prunes refused over 5 min", jobs, len(skews)-1, refused, refused)})
}

// TestFaultClockIsSet: the clock of a machine at work is set forward, back and right again, in the middle of a backup
// too: what it says is measured anew before the next maintenance.
func TestFaultClockIsSet(t *testing.T) {
	t.Parallel()
	rounds := figures(1, 5)
	s := newServer(t, "postgres")
	a := newWrongAgent(t, s, 0)
	a.init()
	bad := 0
	expect := func(j job, want wire.State) {
		t.Helper()
		if j.State != want || want == wire.StateRejected && (j.Error == nil || j.Error.Code != wire.CodeClockSkew) {
			bad++
			t.Errorf("got %s, want it %s", j, want)
		}
	}
	steps := 0
	for range rounds {
		for _, seconds := range []int{330, 0, -330, 0} {
			a.set(seconds)
			steps++
			want := wire.StateSucceeded
			if seconds != 0 {
				want = wire.StateRejected
			}
			expect(s.run(a.hostID, wire.KindPrune, nil, terminal...), want)
			a.skew(seconds)
		}
	}
	j := a.slowBackup(3000)
	s.reaches(j.ID, time.Minute, wire.StateRunning)
	a.set(8 * 60 * 60) // as after a sleep: the monotonic clock stood still
	done := s.reaches(j.ID, 2*time.Minute, terminal...)
	expect(done, wire.StateSucceeded)
	s.complete(j.ID)
	if h := s.host(a.hostID); h.Status != "online" {
		bad++
		t.Errorf("the host: got %s, want online", h.Status)
	}
	fault(t, faultRow{Row: "11", Fault: "the clock is set by 330 s, back, and by 8 h under a backup", Variant: "postgres, restic 0.18.0", Runs: steps + 1, Violations: bad,
		Figure: fmt.Sprintf("%d steps: each prune after a step over 5 min refused, each after the step back done; the backup succeeded", steps)})
}
