package runner

import (
	"os"
	"slices"
	"strings"
	"testing"

	"restic-manager/shared/wire"
)

// hook makes a hook of the machine, which writes what it was told into the file hooks, and allows the names.
func (m *machine) hook(name, body string, allow ...string) {
	m.t.Helper()
	if err := os.MkdirAll(m.path("hooks.d"), 0o755); err != nil {
		m.t.Fatal(err)
	}
	text := "#!/bin/sh\necho \"$RESTIC_MANAGER_STAGE $RESTIC_MANAGER_POLICY $RESTIC_MANAGER_RESULT\" >> " + m.path("hooks") + "\n" + body + "\n"
	m.write("hooks.d/"+name, text)
	if err := os.Chmod(m.path("hooks.d/"+name), 0o755); err != nil {
		m.t.Fatal(err)
	}
	m.write("guard.yaml", "version: 1\nhooks: {allow: ["+strings.Join(allow, ", ")+"]}\n")
}

func (m *machine) hooked(before, after []string) *fakeJob {
	j := m.server.queue(wire.KindBackup, &wire.BackupSpec{Paths: []string{m.source}, HooksBefore: before, HooksAfter: after})
	j.offer.PolicyID = testHost // an id is an id
	return j
}

func TestHooksOfAJobRunAndAreTold(t *testing.T) {
	s, m := start(t)
	m.hook("one", "echo a word", "one", "gone")
	j := m.hooked([]string{"one"}, []string{"one"})
	m.boot()
	m.settled(j)
	m.wants(j, wire.StateSucceeded, "", 1)
	m.wantsWholeLog(j)
	if got, want := m.read("hooks"), "before "+testHost+" \nafter "+testHost+" succeeded\n"; got != want {
		t.Errorf("hooks: got %q, want %q", got, want)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.hellos[0]; !slices.Contains(h.Features, wire.FeatureHooks) || !slices.Equal(h.Hooks, []string{"one"}) {
		t.Errorf("hello: got features %v and hooks %v, want those that are allowed and there", h.Features, h.Hooks)
	}
	if hooks := j.result.Summary.Hooks; len(hooks) != 2 || hooks[1].Stage != "after" {
		t.Errorf("summary: got %+v", hooks)
	}
}

func TestAHookThatIsNotAllowedIsRejected(t *testing.T) {
	_, m := start(t)
	m.hook("one", "", "other")
	j := m.hooked([]string{"one"}, nil)
	m.boot()
	m.settled(j)
	m.wants(j, wire.StateRejected, wire.CodeGuard, 0)
	if got := m.read("hooks"); got != "" {
		t.Errorf("hooks: got %q, want none run", got)
	}
}

func TestHooksSurviveTheAgent(t *testing.T) {
	_, m := start(t)
	m.hook("one", "while [ \"$RESTIC_MANAGER_STAGE\" = before ] && [ ! -e "+m.path("restic/go")+" ]; do sleep 0.02; done", "one")
	j := m.hooked([]string{"one"}, []string{"one"})
	m.boot()
	m.waitFor("the hook to run", func() bool { return m.lines("hooks") == 1 })
	m.kill()
	m.write("restic/go", "")
	m.waitFor("the supervisor to end", func() bool { return !m.supervised() })
	m.boot()
	m.settled(j)
	m.wants(j, wire.StateSucceeded, "", 1)
	m.wantsWholeLog(j)
	if n := m.lines("hooks"); n != 2 {
		t.Errorf("hooks ran %d times, want twice", n)
	}
}

func TestHooksAfterAreRunForASupervisorThatIsGone(t *testing.T) {
	for name, restart := range map[string]bool{"the agent lives": false, "the agent was gone too": true} {
		t.Run(name, func(t *testing.T) {
			_, m := start(t)
			m.hook("stop", "echo $$ > "+m.path("restic/pid")+"; exec sleep 600", "stop", "go")
			m.hook("go", "", "stop", "go")
			j := m.hooked([]string{"stop"}, []string{"go"})
			m.boot()
			m.waitFor("the hook to run", func() bool { return m.lines("restic/pid") == 1 })
			if restart {
				m.kill()
			}
			m.killSupervisor(j, false)
			if restart {
				m.boot()
			}
			m.settled(j)
			m.wants(j, wire.StateFailed, wire.CodeInterrupted, 0)
			if got, want := m.read("hooks"), "before "+testHost+" \nafter "+testHost+" failed\n"; got != want {
				t.Errorf("hooks: got %q, want %q", got, want)
			}
		})
	}
}

// TestNewHooksAreToldAtOnce: a policy waits for them.
func TestNewHooksAreToldAtOnce(t *testing.T) {
	s, m := start(t)
	m.boot()
	m.waitFor("a poll", func() bool { return s.count("next-command") > 0 })
	m.hook("one", "", "one")
	m.waitFor("a hello with the hook", func() bool {
		return s.is(func() bool { return slices.Equal(s.hellos[len(s.hellos)-1].Hooks, []string{"one"}) })
	})
	if err := os.Chmod(m.path("hooks.d/one"), 0o777); err != nil {
		t.Fatal(err)
	}
	m.waitFor("a hello without it", func() bool {
		return s.is(func() bool { return len(s.hellos[len(s.hellos)-1].Hooks) == 0 })
	})
}
