package spool

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"restic-manager/shared/wire"
)

const (
	testID    = "01999999-0000-7000-8000-00000000000a"
	testNonce = "0123456789abcdef0123456789abcdef"
	testLease = "fedcba9876543210fedcba9876543210"
	testDir   = "/state"
)

// clock is a time that tests turn.
type clock struct{ at time.Time }

func newClock() *clock                { return &clock{time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)} }
func (c *clock) now() time.Time       { return c.at }
func (c *clock) turn(d time.Duration) { c.at = c.at.Add(d) }

func openMemory(t testing.TB) (*Memory, *Store, *clock) {
	t.Helper()
	c := newClock()
	m := NewMemory(c.now)
	return m, reopen(t, m, c), c
}

func reopen(t testing.TB, m *Memory, c *clock) *Store {
	t.Helper()
	s, err := Open(m, testDir, c.now)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return s
}

func testJob(phase wire.Phase) Job {
	j := Job{Offer: wire.Offer{JobID: testID, Delivery: 1, Kind: wire.KindBackup}, Phase: phase, Lease: testLease}
	if phase != wire.PhaseOffered && phase != wire.PhaseAccepted {
		j.Nonce = testNonce
	}
	return j
}

func create(t testing.TB, s *Store, phase wire.Phase) *Folder {
	t.Helper()
	f, err := s.Create(testJob(phase))
	if err != nil {
		t.Fatalf("create: %v", err)
	}
	return f
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func testResult() Result {
	return Result{Nonce: testNonce, Finish: wire.FinishRequest{State: wire.StateSucceeded, LogSHA256: "x"}}
}

// startRun does what a supervisor does up to restic's start.
func startRun(f *Folder) error {
	won, err := f.Claim(Claim{Kind: ClaimSupervisor, Nonce: testNonce, PID: 7})
	if err != nil {
		return err
	}
	if !won {
		return errors.New("the claim was lost")
	}
	return f.Enter()
}

// life is a whole job, from the offer to the end, as agent and supervisor write it.
func life(s *Store) error {
	f, err := s.Create(testJob(wire.PhaseOffered))
	steps := []func() error{
		func() error { return err },
		func() error { return f.Save(testJob(wire.PhaseAccepted)) },
		func() error { return f.Save(testJob(wire.PhaseStarting)) },
		func() error { return startRun(f) },
		func() error { return f.SaveGroup(Group{PGID: 7, StartTicks: 9, MachineBoot: "b"}) },
		func() error { return f.Cancel() },
		func() error { return f.SaveResult(testResult()) },
		func() error { return f.Save(testJob(wire.PhaseEnded)) },
		func() error { return f.SaveFinish([]byte(`{"state":"succeeded"}`)) },
		func() error { return f.Save(testJob(wire.PhaseFinished)) },
		func() error { return s.Settle(testID) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// mayRun is the whole answer to whether an agent that starts now, and is offered the job again, would run
// restic under the folder's nonce or a new one.
func mayRun(t testing.TB, s *Store) bool {
	t.Helper()
	found, damaged, err := s.Scan()
	if err != nil {
		t.Fatalf("scan: %v", err)
	}
	known, err := s.Known(testID)
	if err != nil || known || len(damaged) > 0 {
		return false
	}
	for _, f := range found {
		if f.ID == testID && !f.MayStart() {
			return false
		}
	}
	return true
}

func read(t testing.TB, d Disk, path string) []byte {
	t.Helper()
	f, err := d.Open(path)
	must(t, err)
	defer f.Close()
	size, err := f.Size()
	must(t, err)
	b := make([]byte, size)
	if size > 0 {
		if _, err := f.ReadAt(b, 0); err != nil && err.Error() != "EOF" {
			t.Fatal(err)
		}
	}
	return b
}

func overwrite(t testing.TB, d Disk, path string, b []byte) {
	t.Helper()
	f, err := d.Create(path)
	must(t, err)
	defer f.Close()
	_, err = f.Write(b)
	must(t, err)
	must(t, f.Sync())
	must(t, d.SyncDir(filepath.Dir(path)))
}
