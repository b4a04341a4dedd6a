package runner

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"restic-manager/agent/config"
	"restic-manager/agent/spool"
	"restic-manager/shared/wire"
)

const testPolicy = "018f0000-0000-7000-8000-0000000000bb"

// daily is a policy that was due a few minutes ago, and is due again in a day.
func (m *machine) daily() (wire.ScheduledPolicy, time.Time) {
	due := time.Now().UTC().Add(-10 * time.Minute).Truncate(time.Minute)
	spec, err := json.Marshal(&wire.BackupSpec{Paths: []string{m.source}})
	if err != nil {
		m.t.Fatal(err)
	}
	return wire.ScheduledPolicy{ID: testPolicy, Name: "nightly", Version: 3, Kind: wire.KindBackup, Spec: spec,
		Cron: fmt.Sprintf("%d %d * * *", due.Minute(), due.Hour()), Zone: "UTC", TimeLimitSeconds: 600, AccountedUntil: due.Add(-time.Second)}, due
}

// scheduled makes the server tell a schedule of one policy with the host's own repository, or with the server's.
func (m *machine) scheduled(secrets *wire.Secrets) (id string, due time.Time) {
	p, due := m.daily()
	m.server.set(func() {
		m.server.schedule = &wire.Schedule{Version: 1, Repository: wire.RepositoryLocal, Policies: []wire.ScheduledPolicy{p}}
		if secrets != nil {
			m.server.schedule.Repository, m.server.schedule.Secrets = wire.RepositoryServer, secrets
		}
		m.server.config = "settings.1"
	})
	return wire.TickJobID(p.ID, testHost, due), due
}

// learns has the agent take the schedule while nothing is due yet, and stops it; the due time comes while it is off.
func (m *machine) learns(secrets *wire.Secrets) (id string, due time.Time) {
	m.t.Helper()
	id, due = m.scheduled(secrets)
	m.server.set(func() { m.server.schedule.Policies[0].AccountedUntil = time.Now() })
	m.boot()
	m.waitFor("the schedule", func() bool { return strings.Contains(m.read("state/schedule.json"), testPolicy) })
	m.waitFor("the agent to say what it has", func() bool {
		return m.server.is(func() bool { n := len(m.server.polls); return n > 0 && m.server.polls[n-1].Config == "settings.1" })
	})
	m.kill()
	m.rewind(due.Add(-time.Second))
	return id, due
}

// rewind sets how far the book on disk is accounted for.
func (m *machine) rewind(until time.Time) {
	m.t.Helper()
	m.book(func(book map[string]any) { book["policies"].([]any)[0].(map[string]any)["until"] = until })
}

// book changes the schedule on disk.
func (m *machine) book(change func(map[string]any)) {
	m.t.Helper()
	store := m.openStore()
	defer store.Close()
	var book map[string]any
	if ok, err := store.Schedule(&book); err != nil || !ok {
		m.t.Fatalf("the schedule: %v, %v", ok, err)
	}
	change(book)
	if err := store.SaveSchedule(book); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) openStore() *spool.Store {
	m.t.Helper()
	var store *spool.Store
	m.waitFor("the state folder", func() bool {
		var err error
		store, err = spool.Open(spool.OS{}, m.path("state"), time.Now)
		return err == nil
	})
	return store
}

// job waits for a job of the server's.
func (m *machine) jobAt(id string) *fakeJob {
	m.t.Helper()
	var j *fakeJob
	m.waitFor("the job at the server", func() bool {
		return m.server.is(func() bool { j = m.server.byID(id); return j != nil })
	})
	return j
}

func (m *machine) off() { m.server.set(func() { m.server.away = true }) }
func (m *machine) on()  { m.server.set(func() { m.server.away = false }) }

// TestDueJobIsAskedForAndRunByTheServersOrder: with the server there nothing begins by itself.
func TestDueJobIsAskedForAndRunByTheServersOrder(t *testing.T) {
	s, m := start(t)
	id, due := m.scheduled(nil)
	m.boot()
	j := m.jobAt(id)
	m.settled(j)
	m.wants(j, wire.StateSucceeded, "", 1)
	if s.count("adopt") != 0 || s.count("accept") == 0 {
		t.Errorf("got %d adopts and %d accepts, want the server's order alone", s.count("adopt"), s.count("accept"))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.ticks) != 1 || !s.ticks[0].DueAt.Equal(due) || s.ticks[0].Outcome != "" {
		t.Errorf("got ticks %+v, want the due time asked for once", s.ticks)
	}
	if h := s.hellos[0]; !slices.Contains(h.Features, wire.FeatureSchedule) {
		t.Errorf("hello says features %v", h.Features)
	}
}

// TestDueJobRunsWhileTheServerIsAway: it begins by itself, ends, and is adopted with log and listing when the server is
// back. Nothing is said of it before that.
func TestDueJobRunsWhileTheServerIsAway(t *testing.T) {
	s, m := start(t)
	m.write("restic/lines", "30")
	id, due := m.learns(nil)
	m.off()
	m.boot()
	m.waitFor("restic to run and to end", func() bool {
		return m.lines("restic/ran") == 1 && strings.Contains(m.read("state/status.json"), `"phase": "ended"`)
	})
	s.set(func() {
		s.calls = nil
		s.fault = func(name string, _ int) fault {
			switch name {
			case "hello", "next-command", "ticks", "adopt":
				return fault{}
			}
			if s.byID(id) == nil {
				t.Errorf("%s before the adopt was answered", name)
			}
			return fault{}
		}
	})
	m.on()
	j := m.jobAt(id)
	m.settled(j)
	m.wants(j, wire.StateSucceeded, "", 1)
	m.wantsWholeLog(j)
	m.waitFor("the due time's outcome", func() bool {
		return s.is(func() bool { n := len(s.ticks); return n > 0 && s.ticks[n-1].DueAt.Equal(due) })
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.adopted) != 1 || s.adopted[0].PolicyID != testPolicy || s.adopted[0].PolicyVersion != 3 || !s.adopted[0].DueAt.Equal(due) ||
		s.adopted[0].RepositoryID != testRepository || s.adopted[0].Repository != wire.RepositoryLocal || s.adopted[0].TimeLimitSeconds != 600 {
		t.Errorf("got adopts %+v", s.adopted)
	}
	if s.counts["accept"]+s.counts["start"]+s.counts["resume"] != 0 {
		t.Errorf("got calls %v, want no accept, start or resume of it", s.counts)
	}
	for _, q := range s.polls {
		for _, ref := range q.Jobs {
			if j.lease != ref.Lease {
				t.Errorf("a poll named %+v", ref)
			}
		}
	}
	if len(s.held[testRepository]) != 3 {
		t.Errorf("got %d snapshots, want those of the listing", len(s.held[testRepository]))
	}
}

// TestAgentIsKilledAtEachStageOfALocalJob: whatever is on disk, it runs once and is adopted once.
func TestAgentIsKilledAtEachStageOfALocalJob(t *testing.T) {
	for name, when := range map[string]struct {
		ready func(m *machine, id string) bool
		setup func(m *machine)
	}{
		"while restic runs": {func(m *machine, _ string) bool { return m.lines("restic/ran") == 1 }, func(m *machine) { m.write("restic/wait", "") }},
		"after its end": {func(m *machine, id string) bool {
			return m.read("state/jobs/"+id+"/result.json") != "" && !m.supervised()
		}, func(*machine) {}},
		"in the preflight": {func(m *machine, _ string) bool { return m.lines("restic/cats") > 0 }, func(m *machine) { m.write("restic/cat-waits", "") }},
	} {
		t.Run(name, func(t *testing.T) {
			s, m := start(t)
			when.setup(m)
			id, _ := m.learns(nil)
			m.off()
			m.boot()
			m.waitFor(name, func() bool { return when.ready(m, id) })
			m.kill()
			m.boot()
			m.write("restic/go", "")
			_ = os.Remove(m.path("restic/cat-waits"))
			m.waitFor("restic's end", func() bool { return m.read("state/jobs/"+id+"/result.json") != "" && m.lines("restic/ran") == 1 })
			m.kill()
			m.boot()
			m.on()
			j := m.jobAt(id)
			m.settled(j)
			m.wants(j, wire.StateSucceeded, "", 1)
			s.mu.Lock()
			defer s.mu.Unlock()
			if len(s.adopted) != 1 {
				t.Errorf("got %d adopts that were taken, want 1", len(s.adopted))
			}
		})
	}
}

// TestAdoptWhoseAnswerIsLostIsTheSameAgain: and of two that the server is too busy for, none is lost.
func TestAdoptWhoseAnswerIsLostIsTheSameAgain(t *testing.T) {
	s, m := start(t)
	named := false
	id, _ := m.learns(nil)
	m.off()
	m.boot()
	m.waitFor("restic's end", func() bool { return m.read("state/jobs/"+id+"/result.json") != "" })
	s.set(func() {
		s.polls = nil
		s.fault = func(name string, n int) fault { return fault{mute: name == "adopt" && !named} }
	})
	m.on()
	m.waitFor("a poll that names the job", func() bool {
		return s.is(func() bool {
			named = slices.ContainsFunc(s.polls, func(q wire.PollQuery) bool {
				return slices.ContainsFunc(q.Jobs, func(ref wire.JobRef) bool { return ref.ID == id && s.counts["adopt"] > 3 })
			})
			return named
		})
	})
	j := m.jobAt(id)
	m.settled(j)
	m.wants(j, wire.StateSucceeded, "", 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.counts["adopt"]; n < 4 || len(s.adopted) != 1 {
		t.Errorf("got %d adopts, %d taken; want 4 and 1", n, len(s.adopted))
	}
	if !named {
		t.Error("the job is in no poll while its adopt is out: the server would take it for lost")
	}
}

// TestAdoptWaitsForWhatWasDueBefore: else the server would take that for accounted.
func TestAdoptWaitsForWhatWasDueBefore(t *testing.T) {
	s, m := start(t)
	id, due := m.learns(nil)
	m.begun(due)
	m.book(func(book map[string]any) {
		policy := book["policies"].([]any)[0].(map[string]any)
		missed := map[string]any{"at": due.Add(-24 * time.Hour), "outcome": "missed", "why": "the machine was off"}
		policy["open"] = append([]any{missed}, policy["open"].([]any)...)
	})
	j := s.jobOf(id, s.schedule.Policies[0])
	j.offer.Delivery = 0
	m.plant(j, onDisk{phase: wire.PhaseEnded, claim: spool.ClaimSupervisor, ledger: true, lines: 2, result: true,
		local: &spool.Local{PolicyID: testPolicy, PolicyVersion: 3, DueAt: due}})
	s.set(func() {
		s.calls = nil
		s.fault = func(name string, n int) fault { return fault{lose: name == "ticks" && n < 5} }
	})
	m.boot()
	m.settled(m.jobAt(id))
	s.mu.Lock()
	defer s.mu.Unlock()
	if ticks, adopt := slices.Index(s.calls, "ticks"), slices.Index(s.calls, "adopt"); ticks < 0 || adopt < ticks || len(s.ticks) == 0 || !s.ticks[0].DueAt.Equal(due.Add(-24*time.Hour)) {
		t.Errorf("got calls %v and ticks %+v, want what was missed told before the adopt", s.calls, s.ticks)
	}
	first := slices.IndexFunc(s.calls, func(c string) bool { return c == "adopt" })
	if n := len(slices.DeleteFunc(slices.Clone(s.calls[:first]), func(c string) bool { return c != "ticks" })); n < 5 {
		t.Errorf("the adopt went after %d requests of ticks, want 5: four were lost", n)
	}
}

// TestDueTimeThatTheServerQueuedWhileItsAnswerWasLostIsAdopted: the queued job is taken over, not run a second time.
func TestDueTimeThatTheServerQueuedWhileItsAnswerWasLostIsAdopted(t *testing.T) {
	s, m := start(t)
	id, _ := m.learns(nil)
	m.write("restic/wait", "")
	asked := make(chan struct{})
	s.set(func() {
		s.fault = func(name string, n int) fault {
			switch {
			case name == "ticks" && n == 1:
				close(asked)
				return fault{mute: true, do: nil}
			case name == "next-command" || name == "accept" || name == "ticks":
				return fault{lose: s.counts["adopt"] == 0} // the server is gone right after
			}
			return fault{}
		}
	})
	m.boot()
	<-asked
	m.waitFor("restic to run", func() bool { return m.lines("restic/ran") == 1 })
	j := m.jobAt(id)
	m.write("restic/go", "")
	m.settled(j)
	m.wants(j, wire.StateSucceeded, "", 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.adopted) != 1 || j.accepts != 0 {
		t.Errorf("got %d adopts and %d accepts, want the queued job adopted", len(s.adopted), j.accepts)
	}
}

// TestAJobThatTheServerEndedIsPutAside: people canceled the queued job while it ran here.
func TestAJobThatTheServerEndedIsPutAside(t *testing.T) {
	s, m := start(t)
	id, _ := m.learns(nil)
	m.off()
	m.boot()
	m.waitFor("restic's end", func() bool { return m.read("state/jobs/"+id+"/result.json") != "" })
	s.set(func() {
		j := s.jobOf(id, s.schedule.Policies[0])
		j.state = wire.StateCanceled
		s.jobs = append(s.jobs, j)
		s.outcomes[id] = wire.TickAnswer{Outcome: wire.OutcomeRun, JobID: id}
	})
	m.on()
	m.waitFor("the folder to be put aside", func() bool { return len(m.folders("jobs")) == 0 })
	if got := m.folders("aside"); len(got) != 1 {
		t.Errorf("got %v put aside, want the job", got)
	}
	if n := s.count("finish") + s.count("log") + s.count("resume"); n != 0 {
		t.Errorf("got %d calls about it, want nothing said after the 409", n)
	}
}

// TestServersPasswordIsInMemoryAloneUnlessTheGuardAllowsTheDisk.
func TestServersPasswordIsInMemoryAloneUnlessTheGuardAllowsTheDisk(t *testing.T) {
	secrets := &wire.Secrets{RepositoryURL: "rest:https://backup.example/1", Password: "secret-of-the-server"}
	leak := func(t *testing.T, m *machine) {
		t.Helper()
		for _, name := range []string{"state/schedule.json", "state/status.json"} {
			if strings.Contains(m.read(name), secrets.Password) {
				t.Errorf("%s holds the password", name)
			}
		}
	}
	settings := func(m *machine) {
		m.config.Settings = &config.Config{ServerURL: m.server.URL, HostID: testHost, ResticPath: m.path("restic/restic")}
	}
	t.Run("in memory", func(t *testing.T) {
		s, m := start(t)
		settings(m)
		_, due := m.learns(secrets)
		if m.read("state/schedule-secrets.json") != "" {
			t.Error("the password is on disk")
		}
		leak(t, m)
		m.off()
		m.boot()
		m.waitFor("a status without the password", func() bool { return strings.Contains(m.read("state/status.json"), PasswordNot) })
		<-time.After(3 * m.timing.Local)
		if m.lines("restic/ran") != 0 {
			t.Error("restic ran without a password")
		}
		// The server is back: the configuration is asked for anew, and the due time.
		s.set(func() { s.polls = nil })
		m.on()
		j := m.jobAt(wire.TickJobID(testPolicy, testHost, due))
		m.settled(j)
		m.wants(j, wire.StateSucceeded, "", 1)
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.polls) == 0 || s.polls[0].Config != "" {
			t.Errorf("got the first poll %+v, want one that names no configuration", s.polls)
		}
	})
	t.Run("on disk", func(t *testing.T) {
		s, m := start(t)
		settings(m)
		m.write("guard.yaml", "version: 1\nschedule: {keep_secrets: true}\n")
		id, _ := m.learns(secrets)
		if !strings.Contains(m.read("state/schedule-secrets.json"), secrets.Password) {
			t.Error("the password is not on disk")
		}
		leak(t, m)
		m.off()
		m.boot()
		m.waitFor("restic to run", func() bool { return m.lines("restic/ran") == 1 })
		m.on()
		j := m.jobAt(id)
		m.settled(j)
		m.wants(j, wire.StateSucceeded, "", 1)
		if s.is(func() bool { return s.polls[len(s.polls)-1].Config != "settings.1" }) {
			t.Error("the configuration is asked for anew although nothing of it is missing")
		}
		// The owner takes the leave back.
		m.write("guard.yaml", "version: 1\n")
		m.kill()
		m.boot()
		m.waitFor("the password to be gone", func() bool { return m.read("state/schedule-secrets.json") == "" })
	})
}

// TestMachineThatIsEnrolledAnewForgetsTheOldSchedule, and the password that was kept for it.
func TestMachineThatIsEnrolledAnewForgetsTheOldSchedule(t *testing.T) {
	s, m := start(t)
	m.write("guard.yaml", "version: 1\nschedule: {keep_secrets: true}\n")
	m.learns(&wire.Secrets{RepositoryURL: "rest:https://backup.example/1", Password: "secret-of-the-server"})
	s.set(func() { s.config, s.polls = "", nil })
	m.config.Settings = &config.Config{ServerURL: m.server.URL, HostID: strings.Replace(testHost, "aa", "dd", 1), ResticPath: m.path("restic/restic")}
	m.boot()
	m.waitFor("the kept password to go", func() bool { return m.read("state/schedule-secrets.json") == "" })
	m.waitFor("a poll", func() bool { return s.is(func() bool { return len(s.polls) > 0 }) })
	if !s.is(func() bool { return s.polls[0].Config == "" }) {
		t.Error("the first poll names a configuration, want none")
	}
	<-time.After(3 * m.timing.Local)
	if s.count("ticks") > 0 || m.lines("restic/ran") > 0 {
		t.Errorf("got %d requests of ticks, and restic ran %d times, for a schedule of another host", s.count("ticks"), m.lines("restic/ran"))
	}
}

// TestLocalJobThatTheGuardRefusesIsAskedForLater: nothing runs, and the due time is not lost.
func TestLocalJobThatTheGuardRefusesIsAskedForLater(t *testing.T) {
	_, m := start(t)
	id, _ := m.learns(nil)
	m.write("guard.yaml", "version: 1\nkinds: [snapshots]\n")
	m.off()
	m.boot()
	m.waitFor("the refusal in the status", func() bool { return strings.Contains(m.read("state/status.json"), "not allowed here") })
	if n := len(m.folders("jobs")); n != 0 {
		t.Errorf("got %d folders, want none", n)
	}
	m.on()
	j := m.jobAt(id)
	m.settled(j)
	m.wants(j, wire.StateRejected, wire.CodeGuard, 0)
}

// TestPolicyThatWentRunsNothing: its due times are forgotten.
func TestPolicyThatWentRunsNothing(t *testing.T) {
	s, m := start(t)
	m.learns(nil)
	s.set(func() {
		s.schedule = &wire.Schedule{Version: 2, Repository: wire.RepositoryLocal, Policies: []wire.ScheduledPolicy{}}
		s.config = "settings.2"
	})
	m.boot()
	m.waitFor("the schedule to be empty", func() bool { return !strings.Contains(m.read("state/schedule.json"), testPolicy) })
	m.off()
	<-time.After(3 * m.timing.Local)
	if m.lines("restic/ran") != 0 {
		t.Error("restic ran for a policy that went")
	}
}

// TestADueTimeThatTheServerRefusesIsFoundAndForgotten: the others of its request are not.
func TestADueTimeThatTheServerRefusesIsFoundAndForgotten(t *testing.T) {
	s, m := start(t)
	id, due := m.learns(nil)
	m.begun(due) // one that nobody knows of: it is asked for
	m.book(func(book map[string]any) {
		policy := book["policies"].([]any)[0].(map[string]any)
		open := policy["open"].([]any)
		for n := range 5 {
			open = append([]any{map[string]any{"at": due.Add(-time.Duration(n+1) * 24 * time.Hour), "outcome": "missed", "why": "the machine was off"}}, open...)
		}
		policy["open"] = open
	})
	bad := due.Add(-72 * time.Hour)
	s.set(func() { s.notDue = bad })
	m.boot()
	m.settled(m.jobAt(id))
	m.waitFor("all to be told", func() bool { return !strings.Contains(m.read("state/schedule.json"), `"open"`) })
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.outcomes) != 5 {
		t.Errorf("got %d outcomes, want 5: all but the refused one", len(s.outcomes))
	}
	if _, ok := s.outcomes[wire.TickJobID(testPolicy, testHost, bad)]; ok {
		t.Error("the refused one has an outcome")
	}
}

// TestJobOfATargetUsesWhatRidesOnItsAccept: not the host's own repository.
func TestJobOfATargetUsesWhatRidesOnItsAccept(t *testing.T) {
	s, m := start(t)
	j := s.queue(wire.KindSnapshots, &wire.SnapshotsSpec{})
	s.set(func() {
		j.offer.Repository = wire.RepositoryRef{Name: wire.RepositoryTarget}
		j.secrets = &wire.Secrets{RepositoryURL: "rest:https://elsewhere.example/1", Password: "x"}
	})
	m.write("guard.yaml", "version: 1\nrepositories: [{hosts: [here.example]}]\n")
	m.boot()
	m.settled(j)
	s.mu.Lock()
	defer s.mu.Unlock()
	if j.result.Error == nil || j.result.Error.Code != wire.CodeGuard || !strings.Contains(j.result.Error.Message, "elsewhere.example") {
		t.Errorf("got %+v, want the target's location judged", j.result.Error)
	}
}

// TestTwoLocalJobsAreAdoptedOneAfterTheOther: the second begins although the first is not adopted; both are, one after the
// other.
func TestTwoLocalJobsAreAdoptedOneAfterTheOther(t *testing.T) {
	s, m := start(t)
	id, due := m.learns(nil)
	m.off()
	m.boot()
	m.waitFor("the first to end", func() bool { return m.read("state/jobs/"+id+"/result.json") != "" })
	m.kill()
	second, err := json.Marshal(&wire.BackupSpec{Paths: []string{m.source}})
	if err != nil {
		t.Fatal(err)
	}
	// Another policy of the host is due as well.
	p := s.schedule.Policies[0]
	p.AccountedUntil = due.Add(-time.Second)
	p.ID, p.Name, p.Spec = strings.Replace(testPolicy, "bb", "cc", 1), "second", second
	m.addPolicy(p)
	m.write("restic/ran", "")
	m.boot()
	other := wire.TickJobID(p.ID, testHost, due)
	m.waitFor("the second to end", func() bool { return m.read("state/jobs/"+other+"/result.json") != "" })
	s.set(func() { s.schedule.Policies = append(s.schedule.Policies, p); s.busy = 1 })
	m.on()
	for _, id := range []string{id, other} {
		j := m.jobAt(id)
		m.waitFor("the job's end", func() bool { return s.is(func() bool { return j.state == wire.StateSucceeded }) })
	}
	m.waitFor("the folders to go", func() bool { return len(m.folders("jobs")) == 0 })
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.adopted) != 2 {
		t.Errorf("got %d adopts, want 2", len(s.adopted))
	}
}

// addPolicy enters a policy into the book on disk.
func (m *machine) addPolicy(p wire.ScheduledPolicy) {
	m.t.Helper()
	raw, err := json.Marshal(p)
	if err != nil {
		m.t.Fatal(err)
	}
	var policy map[string]any
	if err := json.Unmarshal(raw, &policy); err != nil {
		m.t.Fatal(err)
	}
	policy["until"] = p.AccountedUntil
	m.book(func(book map[string]any) { book["policies"] = append(book["policies"].([]any), policy) })
}

// TestAConditionHoldsADueTimeUntilItIsGone: on battery nothing is asked for; the conditions are looked at for it, and not
// for a policy that has none.
func TestAConditionHoldsADueTimeUntilItIsGone(t *testing.T) {
	s, m := start(t)
	var looks atomic.Int64
	var battery atomic.Bool
	battery.Store(true)
	m.config.Conditions = func(context.Context) (wire.Power, wire.Metered) {
		looks.Add(1)
		if battery.Load() {
			return wire.PowerBattery, wire.MeteredUnknown
		}
		return wire.PowerMains, wire.MeteredUnknown
	}
	id, _ := m.scheduled(nil)
	s.set(func() { s.schedule.Policies[0].SkipOnBattery = true })
	m.boot()
	m.waitFor("the due time to be held", func() bool {
		status, err := ReadStatus(StatusPath(m.path("state")))
		return err == nil && len(status.Policies) == 1 && status.Policies[0].Held == "the machine ran on battery"
	})
	if n := s.count("ticks"); n != 0 {
		t.Errorf("on battery: got %d requests about due times, want none", n)
	}
	s.mu.Lock()
	h := s.hellos[0]
	s.mu.Unlock()
	if h.Facts.Power != wire.PowerBattery || h.Facts.Metered != wire.MeteredUnknown || !slices.Contains(h.Features, wire.FeatureWindows) || !slices.Contains(h.Features, wire.FeatureLimits) {
		t.Errorf("hello: got %+v with %v, want the conditions and the features", h.Facts, h.Features)
	}
	m.kill()
	if !strings.Contains(m.read("state/schedule.json"), `"held":"the machine ran on battery"`) {
		t.Error("the book on disk does not say what held it")
	}
	battery.Store(false)
	m.boot()
	m.settled(m.jobAt(id))
	if looks.Load() < 4 { // two hellos, two due times
		t.Errorf("looked %d times", looks.Load())
	}
}

// TestTheStricterOfPolicyAndGuardReachesRestic: the policy's nice is the stricter one here, the guard's download limit too.
func TestTheStricterOfPolicyAndGuardReachesRestic(t *testing.T) {
	s, m := start(t)
	m.write("guard.yaml", "version: 1\nlimits: {nice: 7, io_class: low, download_kib: 90}\n")
	m.write("restic/wait", "")
	m.boot()
	j := s.queue(wire.KindBackup, &wire.BackupSpec{Paths: []string{m.source}, CPUNice: 12, DownloadLimitKiB: 4000})
	m.waitFor("restic to run", func() bool { return m.lines("restic/pid") == 1 })
	pid, err := strconv.Atoi(strings.TrimSpace(m.read("restic/pid")))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := unix.Getpriority(unix.PRIO_PROCESS, pid); err != nil || 20-got != 12 {
		t.Errorf("restic's nice: got %d, %v, want the policy's 12", 20-got, err)
	}
	m.write("restic/go", "")
	m.settled(j)
	m.wants(j, wire.StateSucceeded, "", 1)
	if got := m.read("restic/ran"); !strings.Contains(got, "--limit-download=90") {
		t.Errorf("restic's arguments: got %q, want the guard's download limit", got)
	}
}
