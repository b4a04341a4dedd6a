package runner

import (
	"testing"
	"time"

	"restic-manager/shared/wire"
)

// An upgrade ends the agent at any moment: one that the server has let begin begins.
func TestAnAgentThatIsToEndBeginsWhatTheServerLetBegin(t *testing.T) {
	for name, leave := range map[string]time.Duration{"told to end": 20 * time.Second, "killed": 0} {
		t.Run(name, func(t *testing.T) {
			s, m := start(t)
			m.timing.Leave = leave
			var asked bool
			s.set(func() {
				s.fault = func(call string, _ int) fault {
					if call != "start" || asked {
						return fault{}
					}
					asked = true
					return fault{do: m.fell}
				}
			})
			j := m.backup()
			m.boot()
			m.waitFor("the start", func() bool { return s.is(func() bool { return asked }) })
			m.kill() // waits until it has ended
			m.boot()
			m.settled(j)
			if leave > 0 {
				m.wants(j, wire.StateSucceeded, "", 1)
			} else {
				m.wants(j, wire.StateFailed, wire.CodeInterrupted, 0)
			}
		})
	}
}
