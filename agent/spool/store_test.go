package spool

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"restic-manager/shared/wire"
)

func TestSecondAgentIsTurnedAway(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	s, err := Open(OS{}, dir, time.Now)
	must(t, err)
	if _, err := Open(OS{}, dir, time.Now); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "--state-dir") {
		t.Errorf("second open: got %v, want ErrLocked and what to do", err)
	}
	must(t, s.Close())
	s, err = Open(OS{}, dir, time.Now)
	must(t, err)
	must(t, s.Close())
}

func TestFilesAreForTheirOwnerOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	s, err := Open(OS{}, dir, time.Now)
	must(t, err)
	defer s.Close()
	f, err := s.Create(testJob(wire.PhaseOffered))
	must(t, err)
	must(t, f.Save(testJob(wire.PhaseStarting)))
	must(t, startRun(f))
	must(t, f.SaveResult(testResult()))
	must(t, f.Cancel())
	_, err = s.Boot(0)
	must(t, err)
	n := 0
	must(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		must(t, err)
		info, err := e.Info()
		must(t, err)
		want := os.FileMode(0o600)
		if e.IsDir() {
			want = 0o700
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s: got mode %v, want %v", path, info.Mode().Perm(), want)
		}
		n++
		return nil
	}))
	if n < 15 {
		t.Errorf("got %d files, want at least 15", n)
	}
}

func TestBootNumberRisesAlways(t *testing.T) {
	_, s, c := openMemory(t)
	first, err := s.Boot(0)
	must(t, err)
	if first.Number != c.now().Unix() {
		t.Errorf("first boot: got %d, want the clock's seconds %d", first.Number, c.now().Unix())
	}
	c.turn(-24 * time.Hour)
	second, err := s.Boot(0)
	must(t, err)
	if second.Number != first.Number+1 || second.ID == first.ID || !wire.IsRandomHex(second.ID) {
		t.Errorf("boot with the clock put back: got %+v after %+v, want one more and another id", second, first)
	}
	third, err := s.Boot(second.Number + 1000)
	must(t, err)
	if third.Number != second.Number+1001 {
		t.Errorf("boot above the server's number: got %d, want %d", third.Number, second.Number+1001)
	}
	c.turn(48 * time.Hour)
	fourth, err := s.Boot(0)
	must(t, err)
	if fourth.Number != c.now().Unix() {
		t.Errorf("boot later: got %d, want the clock's seconds %d", fourth.Number, c.now().Unix())
	}
}

func TestSettledFinishIsKeptForSevenDays(t *testing.T) {
	_, s, c := openMemory(t)
	f := create(t, s, wire.PhaseStarting)
	want := []byte(`{"state":"succeeded", "odd":  "spaces are kept"}`)
	must(t, f.SaveFinish(want))
	must(t, f.SaveFinish(want))
	if err := f.SaveFinish([]byte(`{}`)); err == nil {
		t.Error("other bytes: got no error, want one")
	}
	must(t, s.Settle(testID))
	if names, err := s.Jobs(); err != nil || len(names) != 0 {
		t.Errorf("jobs: got %v %v, want none", names, err)
	}
	c.turn(KeepFinished)
	if n, err := s.Expire(); err != nil || n != 0 {
		t.Errorf("expire after 7 days: got %d %v, want 0", n, err)
	}
	if got, ok, err := s.KeptFinish(testID); err != nil || !ok || !bytes.Equal(got, want) {
		t.Errorf("kept: got %q %v %v, want %q", got, ok, err, want)
	}
	c.turn(time.Second)
	if n, err := s.Expire(); err != nil || n != 1 {
		t.Errorf("expire later: got %d %v, want 1", n, err)
	}
	if _, ok, err := s.KeptFinish(testID); err != nil || ok {
		t.Errorf("kept later: got %v %v, want none", ok, err)
	}
}

func TestPutAsideKeepsTheFinish(t *testing.T) {
	_, s, _ := openMemory(t)
	f := create(t, s, wire.PhaseStarting)
	must(t, f.SaveFinish([]byte(`{}`)))
	must(t, s.PutAside(testID, "dropped"))
	if got, ok, err := s.KeptFinish(testID); err != nil || !ok || string(got) != `{}` {
		t.Errorf("kept: got %q %v %v, want the finish", got, ok, err)
	}
	// A job of that id, and a second folder put aside.
	create(t, s, wire.PhaseStarting)
	must(t, s.PutAside(testID, "again"))
	if aside, err := s.Aside(); err != nil || len(aside) != 2 {
		t.Errorf("aside: got %v %v, want two folders", aside, err)
	}
}

func TestFolderIsMadeOnceOnly(t *testing.T) {
	_, s, _ := openMemory(t)
	create(t, s, wire.PhaseOffered)
	if _, err := s.Create(testJob(wire.PhaseOffered)); !errors.Is(err, fs.ErrExist) {
		t.Errorf("second create: got %v, want fs.ErrExist", err)
	}
	facts, err := s.Folder(testID).Facts()
	must(t, err)
	if !facts.MayStart() || facts.Job.Lease != testLease || len(facts.Job.Leases) != 1 {
		t.Errorf("facts: got %+v, want the first folder untouched", facts)
	}
	for _, id := range []string{"", "..", "../x", "a/b", strings.ToUpper(testID)} {
		j := testJob(wire.PhaseOffered)
		j.Offer.JobID = id
		if _, err := s.Create(j); err == nil {
			t.Errorf("create of id %q: got no error, want one", id)
		}
	}
}

func TestClaimIsWonByTheFirst(t *testing.T) {
	d := OS{}
	s, err := Open(d, filepath.Join(t.TempDir(), "state"), time.Now)
	must(t, err)
	defer s.Close()
	f := create(t, s, wire.PhaseStarting)
	var wg sync.WaitGroup
	var mu sync.Mutex
	winners := 0
	for i := range 16 {
		wg.Go(func() {
			won, err := f.Claim(Claim{Kind: ClaimSupervisor, Nonce: testNonce, PID: 100 + i})
			if err != nil {
				t.Error(err)
			}
			if won {
				mu.Lock()
				winners++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if winners != 1 {
		t.Errorf("winners: got %d, want 1", winners)
	}
	if won, err := f.Abandon(testNonce); err != nil || won {
		t.Errorf("abandon: got %v %v, want it lost", won, err)
	}
	names, err := d.List(f.Dir())
	must(t, err)
	for _, name := range names {
		if strings.HasPrefix(name, claimPrefix+testNonce+".") {
			t.Errorf("left behind: %s", name)
		}
	}
}

func TestAbandonedClaimDoesNotRunAndMayBeRepeated(t *testing.T) {
	_, s, _ := openMemory(t)
	f := create(t, s, wire.PhaseStarting)
	for range 2 {
		if won, err := f.Abandon(testNonce); err != nil || !won {
			t.Fatalf("abandon: got %v %v, want it won", won, err)
		}
	}
	if won, err := f.Claim(Claim{Kind: ClaimSupervisor, Nonce: testNonce}); err != nil || won {
		t.Errorf("claim: got %v %v, want it lost", won, err)
	}
	facts, err := f.Facts()
	must(t, err)
	if facts.Ran || facts.Claim == nil || facts.Claim.Kind != ClaimAbandoned || facts.MayStart() {
		t.Errorf("facts: got %+v, want an abandoned claim of a job that did not run", facts)
	}
	if known, err := s.Known(testID); err != nil || known {
		t.Errorf("known: got %v %v, want false", known, err)
	}
	j := testJob(wire.PhaseStarting)
	j.Nonce = "ffffffffffffffffffffffffffffffff"
	must(t, f.Save(j))
	if facts, err = f.Facts(); err != nil || !facts.MayStart() {
		t.Errorf("facts with a new nonce: got %+v %v, want that it may start", facts, err)
	}
}

// TestLedgerAloneKeepsAJobFromRunning: the folder and its claim are gone, and one of the two files is
// damaged anywhere.
func TestLedgerAloneKeepsAJobFromRunning(t *testing.T) {
	for _, name := range ledgerFiles {
		m, s, c := openMemory(t)
		other := s.Folder("01999999-0000-7000-8000-00000000000b")
		must(t, other.Enter())
		f := create(t, s, wire.PhaseStarting)
		must(t, startRun(f))
		must(t, s.Remove(testID))
		must(t, enterLedger(m, testDir, "01999999-0000-7000-8000-00000000000c", "run", c.now()))
		path := testDir + "/" + name
		whole := read(t, m, path)
		damages(whole, func(what string, at int, damaged []byte) {
			overwrite(t, m, path, damaged)
			if known, err := s.Known(testID); err != nil || !known {
				t.Errorf("%s: %s at byte %d: got known=%v %v, want true", name, what, at, known, err)
			}
		})
		// What comes after a torn line is not lost with it.
		overwrite(t, m, path, whole[:len(whole)-20])
		fresh := "01999999-0000-7000-8000-00000000000d"
		must(t, enterLedger(m, testDir, fresh, "run", c.now()))
		if in, err := scanLedger(m, path, fresh); err != nil || !in {
			t.Errorf("%s: entry after a torn line: got %v %v, want true", name, in, err)
		}
		if known, err := s.Known("01999999-0000-7000-8000-00000000000e"); err != nil || known {
			t.Errorf("%s: stranger: got known=%v %v, want false", name, known, err)
		}
	}
}

func TestLedgerThatCannotBeReadAllowsNothing(t *testing.T) {
	m, s, _ := openMemory(t)
	must(t, m.Mkdir(testDir+"/ledger"))
	if known, err := s.Known(testID); err == nil && !known {
		t.Errorf("known: got %v %v, want an error", known, err)
	}
	f := create(t, s, wire.PhaseStarting)
	if err := startRun(f); err == nil {
		t.Error("enter: got no error, want one")
	}
}

func TestSaveRefusesWhatScanWouldCallDamaged(t *testing.T) {
	_, s, _ := openMemory(t)
	f := create(t, s, wire.PhaseOffered)
	for _, j := range []Job{
		{},
		{Offer: wire.Offer{JobID: testID}, Phase: "other", Lease: testLease},
		{Offer: wire.Offer{JobID: testID}, Phase: wire.PhaseAccepted, Lease: "short"},
		{Offer: wire.Offer{JobID: testID}, Phase: wire.PhaseAccepted, Lease: testLease, Nonce: "../x"},
	} {
		if err := f.Save(j); err == nil {
			t.Errorf("save %+v: got no error, want one", j)
		}
	}
}

func TestLeasesAreNeverForgotten(t *testing.T) {
	_, s, _ := openMemory(t)
	f := create(t, s, wire.PhaseAccepted)
	j, err := f.Job()
	must(t, err)
	for _, lease := range []string{"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", testLease} {
		j.Lease = lease
		must(t, f.Save(j))
		j, err = f.Job()
		must(t, err)
	}
	want := []string{testLease, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"}
	if strings.Join(j.Leases, " ") != strings.Join(want, " ") {
		t.Errorf("leases: got %v, want %v", j.Leases, want)
	}
}

func TestDeletionThatWasCutShortGoesOnAtTheNextStart(t *testing.T) {
	m, s, c := openMemory(t)
	create(t, s, wire.PhaseOffered)
	m.FailWrites(func(n int, path string) error {
		if strings.Contains(path, "/trash/"+testID+"/job") {
			return errPower
		}
		return nil
	})
	if err := s.Remove(testID); !errors.Is(err, errPower) {
		t.Fatalf("remove: got %v, want it cut short", err)
	}
	m.FailWrites(nil)
	if names, err := s.Jobs(); err != nil || len(names) != 0 {
		t.Errorf("jobs: got %v %v, want none", names, err)
	}
	m.Crash(func() bool { return true })
	reopen(t, m, c)
	if names, err := m.List(testDir + "/trash"); err != nil || len(names) != 0 {
		t.Errorf("trash: got %v %v, want it empty", names, err)
	}
}

func TestProgressIsReadWholeOrNotAtAll(t *testing.T) {
	m, s, _ := openMemory(t)
	f := create(t, s, wire.PhaseRunning)
	if _, ok, err := f.Progress(); ok || err != nil {
		t.Errorf("before the first: got %v %v, want none", ok, err)
	}
	w := f.OpenProgress()
	must(t, w.Write(wire.Progress{Seq: 1, CurrentFiles: []string{strings.Repeat("long", 1000)}}))
	must(t, w.Write(wire.Progress{Seq: 2}))
	must(t, w.Close())
	p, ok, err := f.Progress()
	if err != nil || !ok || p.Seq != 2 || len(p.CurrentFiles) != 0 {
		t.Errorf("got %+v %v %v, want the second", p, ok, err)
	}
	whole := read(t, m, f.path(progressFile))
	damages(whole, func(what string, at int, damaged []byte) {
		overwrite(t, m, f.path(progressFile), damaged)
		if p, ok, err := f.Progress(); err != nil || ok && !bytes.Equal(damaged, whole) {
			t.Errorf("%s at byte %d: got %+v %v %v, want none", what, at, p, ok, err)
		}
	})
}
