package runner

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"restic-manager/agent/config"
	"restic-manager/agent/spool"
	"restic-manager/shared/wire"
)

func start(t *testing.T) (*fakeServer, *machine) {
	t.Helper()
	t.Parallel()
	s := newFakeServer(t)
	return s, newMachine(t, s)
}

func TestBackupRunsOnceAndIsReported(t *testing.T) {
	s, m := start(t)
	m.write("restic/lines", "1200")
	j := m.backup()
	m.boot()
	m.settled(j)
	m.wants(j, wire.StateSucceeded, "", 1)
	m.wantsWholeLog(j)
	if j.result.Summary == nil || j.result.Summary.SnapshotID == "" {
		t.Errorf("got summary %+v, want restic's", j.result.Summary)
	}
	if j.result.LogLines < 1200 {
		t.Errorf("got %d log lines, want 1200 and the agent's own", j.result.LogLines)
	}
	for _, n := range j.batches {
		if n > wire.MaxBatchLines {
			t.Errorf("a batch has %d lines, %d is the limit", n, wire.MaxBatchLines)
		}
	}
	if n := len(j.progress); n == 0 || j.progress[n-1].PercentDone != 1 {
		t.Errorf("got progress %+v, want the last one at its end", j.progress)
	}
	if j.result.Listing == nil || len(s.held[testRepository]) != 3 {
		t.Errorf("got listing %v and %d snapshots held, want one of 3 that rides", j.result.Listing, len(s.held[testRepository]))
	}
	if got := m.folders("finished"); len(got) != 1 || !strings.HasPrefix(got[0], j.offer.JobID) {
		t.Errorf("got kept results %v, want the job's", got)
	}
	if strings.Contains(m.everything(), "secret") {
		t.Error("the repository's password is on the disk")
	}
}

// everything is all that is in the state folder, as text.
func (m *machine) everything() string {
	var b strings.Builder
	filepath.WalkDir(m.path("state"), func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			content, _ := os.ReadFile(path)
			b.Write(content)
		}
		return nil
	})
	return b.String()
}

func TestPollTakesCapacityAndNamesEveryFolder(t *testing.T) {
	s, m := start(t)
	m.write("restic/wait", "")
	j := m.backup()
	second := m.backup()
	m.boot()
	m.waitFor("a poll beside the running job", func() bool {
		return s.is(func() bool {
			return j.state == wire.StateRunning && len(s.polls) > 3 && len(s.polls[len(s.polls)-1].Jobs) == 1
		})
	})
	s.mu.Lock()
	q := s.polls[len(s.polls)-1]
	if q.FreeLong != 0 || q.FreeShort != 1 || q.Jobs[0] != (wire.JobRef{ID: j.offer.JobID, Lease: j.lease}) {
		t.Errorf("got poll %+v, want no long lane, a short one, and the job with its lease", q)
	}
	for i := 1; i < len(s.polls); i++ {
		if s.polls[i].Seq <= s.polls[i-1].Seq {
			t.Errorf("poll %d has seq %d after %d", i, s.polls[i].Seq, s.polls[i-1].Seq)
		}
	}
	if second.accepts != 0 {
		t.Error("a second long job was accepted beside the first")
	}
	s.mu.Unlock()
	m.write("restic/go", "")
	m.settled(j)
	m.settled(second)
	m.wants(second, wire.StateSucceeded, "", 2)
}

func TestHelloTellsWhatThereIs(t *testing.T) {
	s, m := start(t)
	m.boot()
	m.waitFor("a hello", func() bool { return s.is(func() bool { return len(s.polls) > 0 }) })
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.hellos[0]
	if h.ResticVersion != "0.18.0" || len(h.Kinds) != len(wire.Kinds) || len(h.Repositories) != 1 || h.Repositories[0].Location != m.path("repository") {
		t.Errorf("got hello %+v", h)
	}
	if h.Facts.RestoreRoot != m.restore || h.BootNumber < 1 || h.Now.IsZero() {
		t.Errorf("got facts %+v, boot number %d, now %v", h.Facts, h.BootNumber, h.Now)
	}
	if s.polls[0].Boot != h.BootID || s.polls[0].Mark == "" {
		t.Errorf("got poll %+v, want the boot and the mark of the hello", s.polls[0])
	}
}

func TestHelloIsSaidAgainWhenAsked(t *testing.T) {
	s, m := start(t)
	m.boot()
	m.waitFor("a poll", func() bool { return s.is(func() bool { return len(s.polls) > 0 }) })
	s.set(func() { s.boot = "another" })
	m.waitFor("a second hello", func() bool { return s.is(func() bool { return len(s.hellos) > 1 }) })
}

func TestSupersededBootTakesAHigherNumber(t *testing.T) {
	s, m := start(t)
	high := time.Now().Unix() + 1_000_000
	s.set(func() { s.number = high })
	m.boot()
	m.waitFor("a hello that is taken", func() bool { return s.is(func() bool { return len(s.hellos) > 0 }) })
	if got := s.hellos[0].BootNumber; got != high+1 {
		t.Errorf("got boot number %d, want %d", got, high+1)
	}
}

func TestCancelReachesRestic(t *testing.T) {
	for name, by := range map[string]func(*fakeServer, *fakeJob){
		"by poll": func(s *fakeServer, j *fakeJob) { j.cancel = true },
		"by progress or log": func(s *fakeServer, j *fakeJob) {
			j.cancel, j.told = true, true // the poll does not say it
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, m := start(t)
			m.write("restic/wait", "")
			j := m.backup()
			if name == "by progress or log" {
				s.set(func() { j.cancel, j.told = true, true })
			}
			m.boot()
			m.waitFor("restic to run", func() bool { return m.lines("restic/ran") == 1 || s.is(func() bool { return j.state.Terminal() }) })
			s.set(func() { by(s, j) })
			m.settled(j)
			m.wants(j, wire.StateCanceled, wire.CodeCanceled, m.lines("restic/ran"))
			if !j.result.SignalSent && m.lines("restic/ran") > 0 {
				t.Error("no signal was sent")
			}
		})
	}
}

func TestExitThreeIsASuccessWithIssues(t *testing.T) {
	_, m := start(t)
	m.write("restic/exit", "3")
	j := m.backup()
	m.boot()
	m.settled(j)
	m.wants(j, wire.StateSucceededWithIssues, "", 1)
}

func TestBusyAndGoneAcceptsLeaveNothing(t *testing.T) {
	for _, p := range []wire.Problem{{Status: 423, Code: wire.ProblemRepositoryBusy}, {Status: 423, Code: wire.ProblemHostBusy}, {Status: 409, Code: wire.ProblemJobGone}} {
		t.Run(p.Code, func(t *testing.T) {
			s, m := start(t)
			j := m.backup()
			folders := 0
			s.fault = func(name string, n int) fault {
				if name == "accept" && n <= 2 {
					return fault{problem: &p}
				}
				if name == "next-command" && s.counts["accept"] == 1 {
					folders = max(folders, len(m.folders("jobs")))
				}
				return fault{}
			}
			m.boot()
			m.settled(j)
			m.wants(j, wire.StateSucceeded, "", 1)
			if j.accepts != 1 {
				t.Errorf("got %d accepts that got through, want 1", j.accepts)
			}
		})
	}
}

func TestStartRefusedRunsNothing(t *testing.T) {
	for _, p := range []wire.Problem{{Status: 410, Code: wire.ProblemLeaseLost}, {Status: 423, Code: wire.ProblemRepositoryBusy}} {
		t.Run(p.Code, func(t *testing.T) {
			s, m := start(t)
			j := m.backup()
			s.fault = func(name string, n int) fault {
				if name != "start" || n > 1 {
					return fault{}
				}
				return fault{problem: &p, do: func() {
					s.set(func() { j.state, j.lease = wire.StateQueued, ""; j.offer.Delivery++ })
				}}
			}
			m.boot()
			m.settled(j)
			m.wants(j, wire.StateSucceeded, "", 1)
			if j.accepts != 2 {
				t.Errorf("got %d accepts, want a second after the job was queued again", j.accepts)
			}
		})
	}
}

// TestLostRequestsAndRepliesChangeNothing loses each call once, on its way there and on its way back.
func TestLostRequestsAndRepliesChangeNothing(t *testing.T) {
	for _, call := range []string{"hello", "next-command", "accept", "start", "log", "progress", "finish", "token", "part", "commit"} {
		for _, back := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, reply %v", call, back), func(t *testing.T) {
				s, m := start(t)
				m.timing.Ride = time.Nanosecond // the listing follows
				m.write("restic/lines", "700")
				j := m.backup()
				s.fault = func(name string, n int) fault {
					if name != call || n > 2 {
						return fault{}
					}
					return fault{lose: !back, mute: back}
				}
				m.boot()
				m.settled(j)
				m.wants(j, wire.StateSucceeded, "", 1)
				m.wantsWholeLog(j)
				if len(s.held[testRepository]) != 3 {
					t.Errorf("got %d snapshots, want 3", len(s.held[testRepository]))
				}
			})
		}
	}
}

// TestAgentKilledAtEachCall kills the agent at a call's first arrival, before or after the server did it,
// and starts another one over the same state folder.
func TestAgentKilledAtEachCall(t *testing.T) {
	for _, c := range []struct {
		call  string
		after bool
		state wire.State
		code  string
		runs  int
	}{
		{"accept", false, wire.StateSucceeded, "", 1},
		{"accept", true, wire.StateSucceeded, "", 1},
		{"start", false, wire.StateSucceeded, "", 1},
		// The start counts, and nothing ran: the claim is abandoned.
		{"start", true, wire.StateFailed, wire.CodeInterrupted, 0},
		{"log", false, wire.StateSucceeded, "", 1},
		{"log", true, wire.StateSucceeded, "", 1},
		{"progress", true, wire.StateSucceeded, "", 1},
		{"token", false, wire.StateSucceeded, "", 1},
		{"token", true, wire.StateSucceeded, "", 1},
		{"finish", false, wire.StateSucceeded, "", 1},
		{"finish", true, wire.StateSucceeded, "", 1},
		{"part", true, wire.StateSucceeded, "", 1},
		{"commit", false, wire.StateSucceeded, "", 1},
		{"commit", true, wire.StateSucceeded, "", 1},
	} {
		for _, rides := range []bool{true, false} {
			if rides && (c.call == "part" || c.call == "commit") {
				continue
			}
			t.Run(fmt.Sprintf("%s after %v rides %v", c.call, c.after, rides), func(t *testing.T) {
				s, m := start(t)
				if !rides {
					m.timing.Ride = time.Nanosecond
				}
				m.write("restic/lines", "700")
				j := m.backup()
				s.fault = func(name string, n int) fault {
					if name != c.call || n > 1 {
						return fault{}
					}
					return fault{do: m.fell, lose: !c.after, mute: c.after}
				}
				m.boot()
				m.waitFor("the call", func() bool { return s.count(c.call) > 0 })
				m.kill()
				m.boot()
				m.settled(j)
				m.wants(j, c.state, c.code, c.runs)
				m.wantsWholeLog(j)
				if c.runs > 0 && len(s.held[testRepository]) != 3 {
					t.Errorf("got %d snapshots, want 3", len(s.held[testRepository]))
				}
			})
		}
	}
}

func TestAgentKilledDuringARunAttaches(t *testing.T) {
	s, m := start(t)
	m.write("restic/wait", "")
	j := m.backup()
	m.boot()
	m.waitFor("restic to run", func() bool { return m.lines("restic/ran") == 1 })
	lease := j.lease
	m.kill()
	m.boot()
	m.waitFor("a resume", func() bool { return s.count("resume") > 0 })
	m.write("restic/go", "")
	m.settled(j)
	m.wants(j, wire.StateSucceeded, "", 1)
	m.wantsWholeLog(j)
	if j.lease == lease {
		t.Error("the lease was not rotated")
	}
	if h := s.hellos[len(s.hellos)-1]; len(h.Jobs) != 1 || h.Jobs[0].ID != j.offer.JobID {
		t.Errorf("got jobs %+v in the second hello, want the running one", h.Jobs)
	}
}

func TestJobEndsWhileTheAgentIsAway(t *testing.T) {
	_, m := start(t)
	m.write("restic/wait", "")
	j := m.backup()
	m.boot()
	m.waitFor("restic to run", func() bool { return m.lines("restic/ran") == 1 })
	m.kill()
	m.write("restic/go", "")
	m.waitFor("restic to end", func() bool { return !m.supervised() })
	m.boot()
	m.settled(j)
	m.wants(j, wire.StateSucceeded, "", 1)
	m.wantsWholeLog(j)
}

// killAll kills the supervisor, and restic too where asked.
func (m *machine) killSupervisor(j *fakeJob, resticToo bool) {
	m.t.Helper()
	var pid int
	if _, err := fmt.Sscan(m.read("restic/pid"), &pid); err != nil {
		m.t.Fatal(err)
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		m.t.Fatal(err)
	}
	var parent int
	if _, err := fmt.Sscan(strings.Fields(string(stat))[3], &parent); err != nil || parent <= 1 {
		m.t.Fatalf("the parent of restic is %d: %v", parent, err)
	}
	syscall.Kill(parent, syscall.SIGKILL)
	if resticToo {
		syscall.Kill(-pid, syscall.SIGKILL)
	}
}

func TestSupervisorGone(t *testing.T) {
	for _, resticToo := range []bool{true, false} {
		for _, agentToo := range []bool{true, false} {
			t.Run(fmt.Sprintf("restic %v agent %v", resticToo, agentToo), func(t *testing.T) {
				s, m := start(t)
				m.write("restic/wait", "")
				j := m.backup()
				m.boot()
				m.waitFor("restic to run", func() bool {
					return m.lines("restic/pid") == 1 && s.is(func() bool { return j.lines > 0 })
				})
				if agentToo {
					m.kill()
				}
				m.killSupervisor(j, resticToo)
				if agentToo {
					m.boot()
				}
				m.settled(j)
				m.wants(j, wire.StateFailed, wire.CodeInterrupted, 1)
				m.wantsWholeLog(j)
				if m.supervised() {
					t.Error("somebody still lives in the folder")
				}
				if m.lines("restic/unlocks") != 1 {
					t.Errorf("unlock ran %d times, want once", m.lines("restic/unlocks"))
				}
			})
		}
	}
}

func TestServerAwayChangesNothing(t *testing.T) {
	s, m := start(t)
	m.write("restic/wait", "")
	j := m.backup()
	m.boot()
	m.waitFor("restic to run", func() bool { return m.lines("restic/ran") == 1 && s.is(func() bool { return j.lines > 0 }) })
	s.set(func() { s.away = true })
	m.write("restic/go", "")
	m.waitFor("restic to end", func() bool { return !m.supervised() })
	m.waitFor("the status to say so", func() bool { return m.status().State == ContactUnreachable })
	s.set(func() { s.away = false })
	m.settled(j)
	m.wants(j, wire.StateSucceeded, "", 1)
	m.wantsWholeLog(j)
}

func (m *machine) status() Status {
	s, err := ReadStatus(StatusPath(m.path("state")))
	if err != nil && !errors.Is(err, ErrNoStatus) {
		m.t.Fatal(err)
	}
	return s
}

func TestRevokedAndTooOldAgents(t *testing.T) {
	for _, c := range []struct {
		problem wire.Problem
		state   string
		exit    error
	}{
		{wire.Problem{Status: 401, Code: wire.ProblemUnauthorized}, ContactUnauthorized, ErrUnauthorized},
		{wire.Problem{Status: 426, Code: wire.ProblemProtocolTooOld, MinProtocolVersion: 9, HelpURL: "https://help"}, ContactTooOld, ErrProtocolTooOld},
	} {
		t.Run(c.problem.Code, func(t *testing.T) {
			s, m := start(t)
			m.write("restic/wait", "")
			j := m.backup()
			m.boot()
			m.waitFor("restic to run", func() bool { return m.lines("restic/ran") == 1 })
			s.set(func() { s.problem = &c.problem })
			m.waitFor("the status to say so", func() bool { st := m.status(); return st.State == c.state && st.Message != "" })
			if !m.supervised() {
				t.Error("restic did not run on")
			}
			polls := s.count("next-command")
			m.waitFor("a hello meanwhile", func() bool { return s.count("hello") > 2 })
			if got := s.count("next-command"); got > polls+1 {
				t.Errorf("got %d polls, want none: the agent asks for no work", got-polls)
			}
			m.write("restic/go", "")
			m.waitFor("restic to end", func() bool { return !m.supervised() })
			s.set(func() { s.problem = nil })
			m.settled(j)
			m.wants(j, wire.StateSucceeded, "", 1)
			m.wantsWholeLog(j)
		})
		t.Run(c.problem.Code+" with exit on fatal", func(t *testing.T) {
			s, m := start(t)
			s.problem = &c.problem
			m.config.ExitOnFatal = true
			m.boot()
			err := <-m.done
			m.done = nil
			if !errors.Is(err, c.exit) {
				t.Errorf("got %v, want %v", err, c.exit)
			}
		})
	}
}

func TestLostLeaseRunsOnAndIsPutAside(t *testing.T) {
	s, m := start(t)
	m.write("restic/wait", "")
	j := m.backup()
	m.boot()
	m.waitFor("restic to run", func() bool { return m.lines("restic/ran") == 1 })
	s.set(func() { j.lease = random(1); j.state = wire.StateLost })
	m.waitFor("a resume", func() bool { return s.count("resume") > 0 })
	m.write("restic/go", "")
	m.waitFor("the folder to be put aside", func() bool { return len(m.folders("aside")) == 1 && len(m.folders("jobs")) == 0 })
	if j.finish != nil {
		t.Error("a result was taken without a lease")
	}
	// The server, restored from a backup, offers it again: it is not run, and its result is told.
	s.set(func() { j.state, j.lease, j.nonce = wire.StateQueued, "", ""; j.offer.Delivery++ })
	m.settled(j)
	m.wants(j, wire.StateSucceeded, "", 1)
}

func TestLostLeaseIsFoundAgainAmongTheOlderOnes(t *testing.T) {
	s, m := start(t)
	m.write("restic/wait", "")
	j := m.backup()
	m.boot()
	m.waitFor("restic to run", func() bool { return m.lines("restic/ran") == 1 })
	first := j.lease
	for range 2 {
		m.kill()
		n := s.count("resume")
		m.boot()
		m.waitFor("a resume", func() bool { return s.count("resume") > n && s.count("log") > 0 })
	}
	// A server restored from a backup knows the first lease alone, and nothing of the start.
	s.set(func() {
		j.lease, j.state, j.nonce = first, wire.StateAccepted, ""
		j.log.Reset()
		j.lines = 0
	})
	m.write("restic/go", "")
	m.settled(j)
	m.wants(j, wire.StateSucceeded, "", 1)
	m.wantsWholeLog(j)
	if j.starts != 2 {
		t.Errorf("got %d starts, want the second told again", j.starts)
	}
}

func TestServerRestoredToBeforeTheStartDuringARun(t *testing.T) {
	s, m := start(t)
	m.write("restic/wait", "")
	m.write("restic/lines", "700")
	j := m.backup()
	m.boot()
	m.waitFor("the log to arrive", func() bool { return s.is(func() bool { return j.lines > 700 }) })
	s.set(func() {
		j.state, j.nonce = wire.StateAccepted, ""
		j.log.Reset()
		j.lines = 0
	})
	m.waitFor("the start to be told again", func() bool { return s.is(func() bool { return j.starts == 2 || j.state.Terminal() }) || m.goOn() })
	m.settled(j)
	m.wants(j, wire.StateSucceeded, "", 1)
	m.wantsWholeLog(j)
}

// goOn lets restic write more, so that the log has something to ship, and end.
func (m *machine) goOn() bool {
	m.write("restic/go", "")
	return false
}

func TestDropIsObeyedForItsLeaseAlone(t *testing.T) {
	s, m := start(t)
	m.write("restic/wait", "")
	j := m.backup()
	m.boot()
	m.waitFor("restic to run", func() bool { return m.lines("restic/ran") == 1 })
	n := s.count("next-command")
	s.set(func() { s.drops = []wire.JobRef{{ID: j.offer.JobID, Lease: random(7)}} })
	m.waitFor("the drop to arrive", func() bool { return s.count("next-command") > n+3 })
	s.set(func() { s.drops = []wire.JobRef{{ID: j.offer.JobID, Lease: j.lease}} })
	m.waitFor("the status to say so", func() bool { st := m.status(); return len(st.Jobs) == 1 && st.Jobs[0].Message != "" })
	m.write("restic/go", "")
	m.waitFor("the folder to be put aside", func() bool { return len(m.folders("aside")) == 1 })
	if j.finish != nil {
		t.Error("a dropped job was reported")
	}
}

func TestLogThatConflictsOrIsFullStopsAndIsKept(t *testing.T) {
	for _, c := range []struct {
		name string
		set  func(*fakeJob)
	}{
		{"conflict", func(j *fakeJob) { j.conflict = true }},
		{"full", func(j *fakeJob) { j.full = true }},
		{"beyond the file", func(j *fakeJob) { j.lines = 1_000_000 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, m := start(t)
			j := m.backup()
			s.set(func() { c.set(j) })
			m.boot()
			m.waitFor("the folder to be kept", func() bool { return len(m.folders("aside")) == 1 })
			m.wants(j, wire.StateSucceeded, "", 1)
			if len(m.status().Alarms) == 0 {
				m.waitFor("the alarm", func() bool { return len(m.status().Alarms) > 0 })
			}
		})
	}
}

func TestListingFollowsWhenItIsLate(t *testing.T) {
	s, m := start(t)
	m.timing.Ride = 10 * time.Millisecond
	m.write("restic/list-waits", "")
	m.write("restic/snapshots.json", snapshotsJSON(2000))
	s.partBytes = 64 << 10
	j := m.backup()
	m.boot()
	m.waitFor("the finish", func() bool { return s.is(func() bool { return j.state.Terminal() }) })
	if j.result.Listing != nil {
		t.Error("the listing rides although it is not there")
	}
	os.Remove(m.path("restic/list-waits"))
	m.settled(j)
	if got := len(s.held[testRepository]); got != 2000 {
		t.Errorf("got %d snapshots, want 2000", got)
	}
	if s.count("part") < 5 {
		t.Errorf("got %d parts, want parts of 64 KiB", s.count("part"))
	}
}

func TestLargeListingDoesNotRide(t *testing.T) {
	s, m := start(t)
	m.write("restic/snapshots.json", snapshotsJSON(10_000))
	j := m.backup()
	m.boot()
	m.settled(j)
	if j.result.Listing != nil || len(j.finish) > wire.MaxBody {
		t.Errorf("a finish of %d bytes with a listing", len(j.finish))
	}
	if got := len(s.held[testRepository]); got != 10_000 {
		t.Errorf("got %d snapshots, want 10000", got)
	}
}

func TestSupersededListingIsMadeAnewFiveTimesAtMost(t *testing.T) {
	for _, c := range []struct{ superseded, lists, held int }{{2, 3, 3}, {100, 5, 0}} {
		t.Run(fmt.Sprint(c.superseded), func(t *testing.T) {
			s, m := start(t)
			m.timing.Ride = time.Nanosecond
			s.superseded = c.superseded
			j := m.backup()
			m.boot()
			m.settled(j)
			m.wants(j, wire.StateSucceeded, "", 1)
			if got := m.lines("restic/listings"); got != c.lists {
				t.Errorf("got %d listings, want %d", got, c.lists)
			}
			if got := len(s.held[testRepository]); got != c.held {
				t.Errorf("got %d snapshots held, want %d", got, c.held)
			}
		})
	}
}

func TestFailedListingNeverFailsTheJob(t *testing.T) {
	s, m := start(t)
	m.write("restic/list-fails", "")
	j := m.backup()
	m.boot()
	m.settled(j)
	m.wants(j, wire.StateSucceeded, "", 1)
	if s.held[testRepository] != nil {
		t.Error("a failed listing was held")
	}
	if s.count("commit") != 1 {
		t.Errorf("got %d commits, want the one that tells of the failure", s.count("commit"))
	}
}

func TestRejections(t *testing.T) {
	for _, c := range []struct {
		name string
		kind wire.Kind
		spec wire.Spec
		set  func(*fakeServer, *machine, *fakeJob)
		code string
	}{
		{"guard", wire.KindPrune, &wire.PruneSpec{}, nil, wire.CodeGuard},
		{"guard broken", wire.KindBackup, nil, func(_ *fakeServer, m *machine, _ *fakeJob) { m.write("guard.yaml", "nonsense: [") }, wire.CodeGuardBroken},
		{"no restic", wire.KindBackup, nil, func(_ *fakeServer, m *machine, _ *fakeJob) {
			os.Remove(m.path("restic/restic"))
		}, wire.CodeResticMissing},
		{"wrong password", wire.KindBackup, nil, func(_ *fakeServer, m *machine, _ *fakeJob) { m.write("restic/cat-fails", "") }, wire.CodeWrongPassword},
		{"no repository", wire.KindBackup, nil, func(_ *fakeServer, m *machine, _ *fakeJob) {
			m.config.Settings = &config.Config{ServerURL: m.server.URL, ResticPath: m.path("restic/restic")}
		}, wire.CodeNoRepository},
		{"server's repository without its secrets", wire.KindBackup, nil, func(_ *fakeServer, _ *machine, j *fakeJob) {
			j.offer.Repository.Name = wire.RepositoryServer
		}, wire.CodeNoRepository},
		{"target without its secrets, beside a repository of its own", wire.KindSnapshots, &wire.SnapshotsSpec{}, func(_ *fakeServer, _ *machine, j *fakeJob) {
			j.offer.Repository.Name = wire.RepositoryTarget
		}, wire.CodeNoRepository},
		{"repository by a name of later", wire.KindSnapshots, &wire.SnapshotsSpec{}, func(_ *fakeServer, _ *machine, j *fakeJob) {
			j.offer.Repository.Name = "third"
		}, wire.CodeNoRepository},
		{"disk nearly full", wire.KindBackup, nil, func(_ *fakeServer, m *machine, _ *fakeJob) { m.config.Disk = lowDisk{} }, wire.CodeNoSpace},
		{"unknown kind", wire.KindBackup, nil, func(_ *fakeServer, _ *machine, j *fakeJob) { j.offer.Kind = "defrag" }, wire.CodeUnknownKind},
		{"spec", wire.KindBackup, &wire.BackupSpec{Paths: []string{"relative"}}, nil, wire.CodeInvalidSpec},
		{"clock", wire.KindUnlock, &wire.UnlockSpec{}, func(s *fakeServer, _ *machine, _ *fakeJob) { s.skew = time.Hour }, wire.CodeClockSkew},
		{"restore target exists", wire.KindRestore, &wire.RestoreSpec{SnapshotID: strings.Repeat("1", 64), Target: "there"}, func(_ *fakeServer, m *machine, _ *fakeJob) {
			os.MkdirAll(filepath.Join(m.restore, "there"), 0o700)
		}, wire.CodeRestoreTarget},
		{"restore root that others can change", wire.KindRestore, &wire.RestoreSpec{SnapshotID: strings.Repeat("1", 64)}, func(_ *fakeServer, m *machine, _ *fakeJob) {
			os.Mkdir(m.restore, 0o700)
			os.Chmod(m.restore, 0o777)
		}, wire.CodeRestoreTarget},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, m := start(t)
			spec := c.spec
			if spec == nil {
				spec = &wire.BackupSpec{Paths: []string{m.source}}
			}
			j := s.queue(c.kind, spec)
			if c.set != nil {
				s.set(func() { c.set(s, m, j) })
			}
			m.boot()
			m.settled(j)
			m.wants(j, wire.StateRejected, c.code, 0)
			if j.starts != 0 || j.result.Error.Message == "" || j.result.LogLines != 0 {
				t.Errorf("got %d starts and %+v, want no start and a reason", j.starts, j.result)
			}
		})
	}
}

// lowDisk takes what is written, and says that there is little room left.
type lowDisk struct{ spool.OS }

func (lowDisk) FreeBytes(string) (int64, error) { return minFree - 1, nil }

func TestServersRepositoryStaysInMemory(t *testing.T) {
	s, m := start(t)
	m.config.Settings = &config.Config{ServerURL: s.URL, ResticPath: m.path("restic/restic")}
	m.write("restic/wait", "")
	j := m.backup()
	s.set(func() {
		j.offer.Repository.Name = wire.RepositoryServer
		j.secrets = &wire.Secrets{RepositoryURL: m.path("repository"), Password: "topsecret"}
	})
	m.boot()
	m.waitFor("restic to run", func() bool { return m.lines("restic/ran") == 1 })
	m.kill()
	if strings.Contains(m.everything(), "topsecret") {
		t.Error("the server's password is on the disk")
	}
	m.boot()
	m.write("restic/go", "")
	m.settled(j)
	m.wants(j, wire.StateSucceeded, "", 1)
	// The listing after the restart needs what resume brought.
	if len(s.held[testRepository]) != 3 {
		t.Errorf("got %d snapshots, want 3", len(s.held[testRepository]))
	}
}

// Maintenance of another repository runs there, and leaves the host's own what it is; its password is in memory only.
func TestATargetIsNotTheHostsOwnRepository(t *testing.T) {
	s, m := start(t)
	own := s.queue(wire.KindCheck, &wire.CheckSpec{})
	m.boot()
	m.settled(own)
	j := s.queue(wire.KindCheck, &wire.CheckSpec{})
	s.set(func() {
		j.offer.Repository = wire.RepositoryRef{Name: wire.RepositoryTarget}
		j.secrets = &wire.Secrets{RepositoryURL: m.path("another"), Password: "topsecret"}
	})
	m.settled(j)
	m.wants(j, wire.StateSucceeded, "", 2)
	if got, want := m.read("restic/where"), m.path("repository")+"\n"+m.path("another")+"\n"; got != want {
		t.Errorf("restic ran on %q, want %q", got, want)
	}
	if strings.Contains(m.everything(), "topsecret") {
		t.Error("the target's password is on the disk")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.hellos[0]; !slices.Contains(h.Features, wire.FeatureTarget) || !slices.Contains(h.Features, wire.FeatureEstimate) {
		t.Errorf("got features %v, want that targets and estimates are known", h.Features)
	}
}

func TestRestoreGoesIntoANewFolder(t *testing.T) {
	s, m := start(t)
	j := s.queue(wire.KindRestore, &wire.RestoreSpec{SnapshotID: strings.Repeat("1", 64)})
	m.boot()
	m.settled(j)
	info, err := os.Stat(filepath.Join(m.restore, j.offer.JobID))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("got %v, %v; want a folder of mode 0700 named after the job", info, err)
	}
	if got := m.read("restic/ran"); !strings.Contains(got, "--target="+filepath.Join(m.restore, j.offer.JobID)) {
		t.Errorf("restic was run as %s", got)
	}
	if len(s.held) != 0 {
		t.Error("a restore was followed by a listing")
	}
}

func TestBackupOfAFolderAboveTheSecretsExcludesThem(t *testing.T) {
	s, m := start(t)
	m.write("restic/wait", "")
	j := s.queue(wire.KindBackup, &wire.BackupSpec{Paths: []string{m.dir}})
	m.boot()
	m.waitFor("restic to run", func() bool { return m.lines("restic/ran") == 1 })
	excludes := m.read("state/jobs/" + j.offer.JobID + "/excludes")
	for _, p := range []string{m.path("state"), m.path("agent.yaml"), m.path("cache")} {
		if !slices.Contains(strings.Split(excludes, "\n"), p) {
			t.Errorf("%s is not excluded: %q", p, excludes)
		}
	}
	m.write("restic/go", "")
	m.settled(j)
}

func TestRepositoryIDIsAskedOncePerLocation(t *testing.T) {
	_, m := start(t)
	m.boot()
	for range 3 {
		m.settled(m.backup())
	}
	if got := m.lines("restic/cats"); got != 1 {
		t.Errorf("restic was asked for the id %d times, want once", got)
	}
}

// TestARepositoryThatIsMadeIsAskedForItsID: another one may have been in its place. Jobs that begin before the list after the
// init is there ask too.
func TestARepositoryThatIsMadeIsAskedForItsID(t *testing.T) {
	s, m := start(t)
	m.timing.Ride = 10 * time.Millisecond
	m.boot()
	m.settled(m.backup())
	m.write("restic/list-waits", "")
	made := s.queue(wire.KindInit, &wire.InitSpec{})
	m.waitFor("the init to end", func() bool { return s.is(func() bool { return made.state.Terminal() }) })
	next := m.backup()
	m.waitFor("the backup to end", func() bool { return s.is(func() bool { return next.state.Terminal() }) })
	if got := m.lines("restic/cats"); got != 2 {
		t.Errorf("restic was asked for the id %d times, want once for each of the two repositories", got)
	}
	os.Remove(m.path("restic/list-waits"))
	m.settled(next)
	m.wants(made, wire.StateSucceeded, "", 2)
	m.wants(next, wire.StateSucceeded, "", 2)
}

func TestLateResultIsKeptAsSuch(t *testing.T) {
	s, m := start(t)
	m.write("restic/wait", "")
	j := m.backup()
	m.boot()
	m.waitFor("restic to run", func() bool { return m.lines("restic/ran") == 1 })
	s.set(func() { j.state, j.finish = wire.StateLost, []byte("{}") })
	m.write("restic/go", "")
	m.waitFor("the folder to go", func() bool { return len(m.folders("jobs")) == 0 })
	if len(j.late) != 1 {
		t.Errorf("got %d late reports, want 1", len(j.late))
	}
}

func TestDamagedFolderIsPutAsideAndNeverRun(t *testing.T) {
	s, m := start(t)
	j := m.backup()
	s.fault = func(name string, n int) fault {
		if name == "start" && n == 1 {
			return fault{do: m.fell, lose: true}
		}
		return fault{}
	}
	m.boot()
	m.waitFor("the start", func() bool { return s.count("start") > 0 })
	m.kill()
	m.write("state/jobs/"+j.offer.JobID+"/job.json", "torn")
	m.boot()
	m.waitFor("the folder to be put aside", func() bool { return len(m.folders("aside")) == 1 })
	// Offered again after its lease ran out, it is told as interrupted.
	s.set(func() { j.state, j.lease = wire.StateQueued, ""; j.offer.Delivery++ })
	m.settled(j)
	m.wants(j, wire.StateFailed, wire.CodeInterrupted, 0)
}

func TestSecondAgentOnOneStateFolderEnds(t *testing.T) {
	s, m := start(t)
	m.boot()
	m.waitFor("a poll", func() bool { return s.is(func() bool { return len(s.polls) > 0 }) })
	first, cancel := m.done, m.cancel
	m.second = true
	m.boot()
	if err := <-m.done; err == nil {
		t.Error("two agents run on one state folder")
	}
	m.done, m.cancel = first, cancel
}
