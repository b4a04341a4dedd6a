package spool

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"restic-manager/shared/wire"
)

// damages calls f with every way to cut a file and to alter one of its bytes.
func damages(b []byte, f func(what string, at int, damaged []byte)) {
	for i := range b {
		f("cut", i, bytes.Clone(b[:i]))
		for _, with := range []byte{0x01, 0x20, 0xff} {
			c := bytes.Clone(b)
			c[i] ^= with
			f("flip", i, c)
		}
		c := bytes.Clone(b)
		for j := i; j < len(c); j++ {
			c[j] = 0
		}
		f("zeros", i, c)
	}
}

// TestNoDamageMakesAStartedJobRunAgain: a job that a supervisor claimed must not run again, whichever byte
// of whichever durable file is wrong.
func TestNoDamageMakesAStartedJobRunAgain(t *testing.T) {
	for _, name := range []string{
		"jobs/" + testID + "/job.json", "jobs/" + testID + "/claim-" + testNonce, "jobs/" + testID + "/group.json",
		"jobs/" + testID + "/result.json", "jobs/" + testID + "/finish.json", "ledger", "ledger-copy", "boot.json",
	} {
		t.Run(filepath.Base(name), func(t *testing.T) {
			m, s, c := openMemory(t)
			f := create(t, s, wire.PhaseStarting)
			must(t, startRun(f))
			must(t, f.SaveGroup(Group{PGID: 7, StartTicks: 9, MachineBoot: "b"}))
			must(t, f.SaveResult(testResult()))
			must(t, f.SaveFinish([]byte(`{"state":"succeeded"}`)))
			_, err := s.Boot(0)
			must(t, err)
			must(t, s.Close())
			path := testDir + "/" + name
			whole := read(t, m, path)
			cases := 0
			damages(whole, func(what string, at int, damaged []byte) {
				if bytes.Equal(damaged, whole) {
					return
				}
				cases++
				overwrite(t, m, path, damaged)
				s := reopen(t, m, c)
				defer s.Close()
				if mayRun(t, s) {
					t.Errorf("%s at byte %d of %s: the job may run again", what, at, name)
				}
				if boot, err := s.Boot(0); err != nil || boot.Number < c.now().Unix() {
					t.Errorf("%s at byte %d of %s: got boot %v %v, want a number of the clock or above", what, at, name, boot, err)
				}
				// What a look put aside is brought back for the next damage.
				overwrite(t, m, path, whole)
			})
			if cases < 4*len(whole) {
				t.Errorf("got %d cases, want at least 4 for each of %d bytes", cases, len(whole))
			}
		})
	}
}

func TestDamageIsSeenInEverySealedFile(t *testing.T) {
	m, s, _ := openMemory(t)
	f := create(t, s, wire.PhaseStarting)
	must(t, f.SaveResult(testResult()))
	path := f.path(resultFile)
	whole := read(t, m, path)
	damages(whole, func(what string, at int, damaged []byte) {
		if bytes.Equal(damaged, whole) {
			return
		}
		overwrite(t, m, path, damaged)
		r, err := f.Result()
		if _, ok := errors.AsType[*DamagedError](err); !ok || r != nil {
			t.Errorf("%s at byte %d: got %v %v, want *DamagedError", what, at, r, err)
		}
	})
}

func TestDamagedFilesArePutAsideWithinTheFolder(t *testing.T) {
	m, s, _ := openMemory(t)
	f := create(t, s, wire.PhaseStarting)
	must(t, startRun(f))
	overwrite(t, m, f.path(resultFile), []byte("torn"))
	for range 2 { // the second look finds it put aside
		facts, err := f.Facts()
		must(t, err)
		if facts.Result != nil || !facts.Ran || facts.MayStart() {
			t.Errorf("facts: got %+v, want no result of a job that ran", facts)
		}
	}
	if got := read(t, m, f.path(resultFile+damagedSuffix)); string(got) != "torn" {
		t.Errorf("put aside: got %q, want the damaged bytes", got)
	}
}

func TestDamagedJobIsPutAsideAndNeverRun(t *testing.T) {
	m, s, _ := openMemory(t)
	f := create(t, s, wire.PhaseAccepted)
	overwrite(t, m, f.path(jobFile), []byte("torn"))
	found, damaged, err := s.Scan()
	must(t, err)
	if len(found) != 0 || len(damaged) != 1 || damaged[0].ID != testID || damaged[0].Alive {
		t.Fatalf("scan: got %v %v, want one damaged folder", found, damaged)
	}
	must(t, s.PutAside(testID, damaged[0].Reason))
	if known, err := s.Known(testID); err != nil || !known {
		t.Errorf("known: got %v %v, want true", known, err)
	}
	if names, err := s.Jobs(); err != nil || len(names) != 0 {
		t.Errorf("jobs: got %v %v, want none", names, err)
	}
	aside, err := s.Aside()
	must(t, err)
	if _, ok := aside[testID]; !ok {
		t.Errorf("aside: got %v, want the folder", aside)
	}
	if why := read(t, m, testDir+"/aside/"+testID+"/why-aside.txt"); !bytes.Contains(why, []byte("sum")) && !bytes.Contains(why, []byte("short")) {
		t.Errorf("why: got %q, want the reason", why)
	}
	must(t, s.RemoveAside(testID))
	if known, err := s.Known(testID); err != nil || !known {
		t.Errorf("known after the folder is deleted: got %v %v, want true", known, err)
	}
}

func TestFolderInWhichSomebodyWorksIsLeftWhereItIs(t *testing.T) {
	m, s, _ := openMemory(t)
	f := create(t, s, wire.PhaseStarting)
	lock, err := f.LockRun()
	must(t, err)
	overwrite(t, m, f.path(jobFile), []byte("torn"))
	_, damaged, err := s.Scan()
	must(t, err)
	if len(damaged) != 1 || !damaged[0].Alive {
		t.Errorf("scan: got %v, want a damaged folder that is alive", damaged)
	}
	if err := s.PutAside(testID, "x"); !errors.Is(err, ErrLocked) {
		t.Errorf("put aside: got %v, want ErrLocked", err)
	}
	must(t, lock.Close())
	must(t, s.PutAside(testID, "x"))
}

func TestStrangeNamesInTheJobsFolderAreDamaged(t *testing.T) {
	m, s, _ := openMemory(t)
	must(t, m.Mkdir(testDir+"/jobs/not a job"))
	overwrite(t, m, testDir+"/jobs/a file", []byte("x"))
	_, damaged, err := s.Scan()
	must(t, err)
	if len(damaged) != 2 {
		t.Fatalf("scan: got %v, want two damaged entries", damaged)
	}
	for _, d := range damaged {
		must(t, s.PutAside(d.ID, d.Reason))
	}
	if names, err := s.Jobs(); err != nil || len(names) != 0 {
		t.Errorf("jobs: got %v %v, want none", names, err)
	}
}

// TestFolderOrLinkInAFilesPlaceIsDamage: it costs that job its run, and no other job anything.
func TestFolderOrLinkInAFilesPlaceIsDamage(t *testing.T) {
	for _, name := range []string{jobFile, claimPrefix + testNonce, claimPrefix + "01", groupFile, resultFile, finishFile} {
		for kind, make := range map[string]func(path string) error{
			"folder": func(path string) error { return os.Mkdir(path, 0o700) },
			"link":   func(path string) error { return os.Symlink("/etc/hostname", path) },
		} {
			t.Run(name[:min(len(name), 8)]+" "+kind, func(t *testing.T) {
				s, err := Open(OS{}, t.TempDir(), newClock().now)
				must(t, err)
				defer s.Close()
				f := create(t, s, wire.PhaseStarting)
				other := testJob(wire.PhaseAccepted)
				other.Offer.JobID = "01999999-0000-7000-8000-00000000000b"
				_, err = s.Create(other)
				must(t, err)
				if err := os.Remove(f.path(name)); err != nil && !os.IsNotExist(err) {
					t.Fatal(err)
				}
				must(t, make(f.path(name)))
				found, damaged, err := s.Scan()
				must(t, err)
				if len(found)+len(damaged) != 2 || len(damaged) != map[bool]int{true: 1}[name == jobFile] {
					t.Errorf("scan: got %d found and %d damaged, want both jobs", len(found), len(damaged))
				}
				for _, facts := range found {
					if facts.ID == testID && facts.MayStart() && name != finishFile {
						t.Errorf("facts: got %+v, want a job that may not start", facts)
					}
				}
			})
		}
	}
}
