package runner

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"restic-manager/agent/config"
	"restic-manager/shared/wire"
)

// awaitGo makes an estimate as slow as a large tree does.
func awaitGo(dir string) {
	there := func(name string) bool { _, err := os.Stat(filepath.Join(dir, name)); return err == nil }
	for there("wait") && !there("go") {
		<-time.After(10 * time.Millisecond)
	}
}

func (m *machine) estimate(s wire.EstimateSpec) *fakeJob {
	return m.server.queue(wire.KindEstimate, &s)
}

// alone takes restic and the repository from the machine.
func (m *machine) alone() {
	m.config.Settings = &config.Config{ServerURL: m.server.URL, HostID: testHost, ResticPath: m.path("no-restic")}
}

func TestAnEstimateNeedsNeitherResticNorARepository(t *testing.T) {
	_, m := start(t)
	m.alone()
	m.write("source/x.tmp", strings.Repeat("x", 100))
	m.write("source/canary", strings.Repeat("y", 1000))
	m.write("guard.yaml", "version: 1\nbackup: {deny: ["+m.path("source/canary")+"]}\n")
	j := m.estimate(wire.EstimateSpec{Paths: []string{m.source, m.path("gone")}, Excludes: []string{"*.tmp", "nothing"}})
	m.boot()
	m.settled(j)
	m.wants(j, wire.StateSucceededWithIssues, "", 0)
	m.wantsWholeLog(j)
	e := j.result.Estimate
	if e == nil || e.Files != 1 || e.Bytes != 5 || e.Excluded.Bytes != 100 || e.Patterns[0].Matches != 1 || e.Patterns[1].Matches != 0 {
		t.Fatalf("got %+v, want the one file, and what the pattern takes out", e)
	}
	if len(j.result.Issues) != 1 || j.result.Issues[0].Path != m.path("gone") {
		t.Errorf("issues: got %+v, want the path that is not there", j.result.Issues)
	}
	if j.result.Summary == nil || j.result.Summary.TotalFilesProcessed != 1 || j.result.Listing != nil {
		t.Errorf("got summary %+v, listing %v", j.result.Summary, j.result.Listing)
	}
	said, err := json.Marshal(j.result)
	if err != nil || strings.Contains(string(said), "canary") {
		t.Errorf("it names what is denied: %s, %v", said, err)
	}
}

func TestARunningEstimateIsCanceledAtOnceAndBesideABackup(t *testing.T) {
	s, m := start(t)
	m.write("restic/wait", "")
	backup := m.backup()
	m.boot()
	j := m.estimate(wire.EstimateSpec{Paths: []string{m.source}})
	running := func(j *fakeJob) func() bool {
		return func() bool { return s.is(func() bool { return j.state == wire.StateRunning }) }
	}
	m.waitFor("the backup", running(backup))
	m.waitFor("the estimate beside it", running(j))
	m.waitFor("its process", func() bool { return m.read("state/jobs/"+j.offer.JobID+"/group.json") != "" })
	s.set(func() { j.cancel = true })
	m.waitFor("the estimate's end", func() bool { return s.is(func() bool { return j.state.Terminal() }) })
	s.mu.Lock()
	if j.state != wire.StateCanceled || j.result.Estimate != nil || strings.Contains(j.result.Error.Message, "restic") {
		t.Errorf("got %s, %+v, want canceled without a result, and no word of restic", j.state, j.result.Error)
	}
	s.mu.Unlock()
	m.write("restic/go", "")
	m.settled(backup)
	m.wants(backup, wire.StateSucceeded, "", 1)
}

func TestAnEstimateOfWhatIsDeniedIsRefused(t *testing.T) {
	_, m := start(t)
	m.alone()
	j := m.estimate(wire.EstimateSpec{Paths: []string{m.path("state")}})
	m.boot()
	m.settled(j)
	m.wants(j, wire.StateRejected, wire.CodeGuard, 0)
}

func TestAnEstimateEndsAtItsTimeLimit(t *testing.T) {
	s, m := start(t)
	m.write("restic/wait", "")
	j := m.estimate(wire.EstimateSpec{Paths: []string{m.source}})
	s.set(func() { j.offer.TimeLimitSeconds = 1 })
	m.boot()
	m.settled(j)
	m.wants(j, wire.StateFailed, wire.CodeTimeLimit, 0)
}

func TestAnEstimateIsNotReadForDays(t *testing.T) {
	for asked, want := range map[time.Duration]time.Duration{0: 10 * time.Minute, time.Minute: time.Minute, 7 * 24 * time.Hour: 10 * time.Minute} {
		if got := estimateLimit(asked); got != want {
			t.Errorf("asked for %s: got %s, want %s", asked, got, want)
		}
	}
}
