package runner

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"restic-manager/shared/wire"
)

// oldRestic makes the machine's restic a 0.14.0, which tells the first 8 digits of a new snapshot's id.
func (m *machine) oldRestic(short string, ids ...string) {
	m.write("restic/version", "restic 0.14.0 compiled with go1.19.8 on linux/amd64\n")
	m.write("restic/short", short)
	var list []string
	for _, id := range ids {
		list = append(list, fmt.Sprintf(`{"time":"2026-11-24T01:02:03Z","tree":"%064x","paths":["/srv"],"hostname":"test-host","id":"%s","short_id":"%.8s"}`, 1, id, id))
	}
	m.write("restic/snapshots.json", "["+strings.Join(list, ",")+"]\n")
}

func (m *machine) wantsSnapshot(j *fakeJob, want string) {
	m.t.Helper()
	m.wants(j, wire.StateSucceeded, "", 1)
	if j.result.Summary == nil || j.result.Summary.SnapshotID != want || j.result.Summary.FilesNew != 1 {
		m.t.Errorf("got summary %+v, want restic's with snapshot %q", j.result.Summary, want)
	}
}

func TestShortSnapshotIDIsMadeWholeByTheListing(t *testing.T) {
	mine, other := "0123abcd"+strings.Repeat("e", 56), strings.Repeat("f", 64)
	t.Run("the listing rides", func(t *testing.T) {
		_, m := start(t)
		m.oldRestic("0123abcd", other, mine)
		j := m.backup()
		m.boot()
		m.settled(j)
		m.wantsSnapshot(j, mine)
		if j.result.Listing == nil {
			t.Error("the listing does not ride")
		}
	})
	t.Run("the listing is slow", func(t *testing.T) {
		s, m := start(t)
		m.timing.Ride = time.Nanosecond
		m.oldRestic("0123abcd", mine, other)
		m.write("restic/list-waits", "")
		j := m.backup()
		m.boot()
		m.waitFor("the listing to run", func() bool { return m.lines("restic/listings") == 1 })
		if n := s.count("finish"); n != 0 {
			t.Errorf("got %d finishes before the listing, want none", n)
		}
		os.Remove(m.path("restic/list-waits"))
		m.settled(j)
		m.wantsSnapshot(j, mine)
		if len(s.held[testRepository]) != 2 {
			t.Errorf("got %d snapshots held, want 2", len(s.held[testRepository]))
		}
	})
	t.Run("the agent is killed between the end and the listing", func(t *testing.T) {
		s, m := start(t)
		m.oldRestic("0123abcd", mine)
		j := m.backup()
		s.fault = func(name string, n int) fault {
			return fault{do: m.felledAt(name, n, "token"), lose: name == "token" && n == 1}
		}
		m.boot()
		m.waitFor("the listing's token", func() bool { return s.count("token") > 0 })
		m.kill()
		m.boot()
		m.settled(j)
		m.wantsSnapshot(j, mine)
	})
	t.Run("the listing fails", func(t *testing.T) {
		_, m := start(t)
		m.oldRestic("0123abcd", mine)
		m.write("restic/list-fails", "")
		j := m.backup()
		m.boot()
		m.settled(j)
		m.wantsSnapshot(j, "")
	})
	t.Run("two ids begin so", func(t *testing.T) {
		_, m := start(t)
		m.oldRestic("0123abcd", mine, "0123abcd"+strings.Repeat("0", 56))
		j := m.backup()
		m.boot()
		m.settled(j)
		m.wantsSnapshot(j, "")
	})
}

// felledAt kills the agent at a call's first arrival.
func (m *machine) felledAt(name string, n int, call string) func() {
	if name != call || n > 1 {
		return nil
	}
	return m.fell
}
