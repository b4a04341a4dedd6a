package spool

import (
	"errors"
	"math/rand/v2"
	"syscall"
	"testing"

	"restic-manager/shared/wire"
)

// TestLifeSurvivesACrashAtEveryWrite cuts the power at each write of a job's life, with none, some or all of
// what was not fsynced kept, and wants: a claim that was won, and all that was written after it, to
// be there, and the job never to run again once it may have run.
func TestLifeSurvivesACrashAtEveryWrite(t *testing.T) {
	m, s, _ := openMemory(t)
	m.FailWrites(nil)
	must(t, life(s))
	total := m.Writes()
	if total < 60 {
		t.Fatalf("a life is %d writes, want at least 60: is something not counted?", total)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for n := 1; n <= total; n++ {
		for _, keep := range []func() bool{nil, func() bool { return true }, func() bool { return random.IntN(2) == 0 }} {
			crashAt(t, n, keep)
		}
	}
}

var errPower = errors.New("the power is cut")

func crashAt(t *testing.T, n int, keep func() bool) {
	t.Helper()
	m, s, c := openMemory(t)
	m.FailWrites(func(i int, _ string) error {
		if i >= n {
			return errPower
		}
		return nil
	})
	started := false
	err := func() error {
		f, err := s.Create(testJob(wire.PhaseOffered))
		if err != nil {
			return err
		}
		if err := f.Save(testJob(wire.PhaseStarting)); err != nil {
			return err
		}
		if err := startRun(f); err != nil {
			return err
		}
		started = true // restic runs from here on
		if err := f.SaveResult(testResult()); err != nil {
			return err
		}
		if err := f.SaveFinish([]byte(`{"state":"succeeded"}`)); err != nil {
			return err
		}
		return s.Settle(testID)
	}()
	m.FailWrites(nil)
	m.Crash(keep)
	s = reopen(t, m, c)
	if started && mayRun(t, s) {
		t.Errorf("power cut at write %d: restic had started and the job may run again", n)
	}
	if err == nil {
		if _, ok, err := s.KeptFinish(testID); err != nil || !ok {
			t.Errorf("power cut after the end: got finish %v %v, want it kept", ok, err)
		}
	}
	found, _, err := s.Scan()
	must(t, err)
	for _, f := range found {
		if f.Result != nil && f.Result.Finish.State != wire.StateSucceeded {
			t.Errorf("power cut at write %d: got result %+v", n, f.Result)
		}
	}
}

// TestEveryFailedWriteIsAnErrorOrHarmless makes each single write of a life fail once.
func TestEveryFailedWriteIsAnErrorOrHarmless(t *testing.T) {
	m, s, _ := openMemory(t)
	m.FailWrites(nil)
	must(t, life(s))
	total := m.Writes()
	for _, failure := range []error{syscall.ENOSPC, syscall.EIO} {
		failed := 0
		for n := 1; n <= total; n++ {
			m, s, _ := openMemory(t)
			m.FailWrites(func(i int, _ string) error {
				if i == n {
					return failure
				}
				return nil
			})
			err := life(s)
			m.FailWrites(nil)
			if err != nil {
				failed++
				if !errors.Is(err, failure) {
					t.Errorf("write %d: got %v, want %v in it", n, err, failure)
				}
				if IsNoSpace(err) != (failure == syscall.ENOSPC) {
					t.Errorf("write %d: IsNoSpace(%v): got %v", n, err, IsNoSpace(err))
				}
				continue
			}
			if _, ok, err := s.KeptFinish(testID); err != nil || !ok {
				t.Errorf("write %d failed unseen: got finish %v %v, want it kept", n, ok, err)
			}
		}
		if failed < total/2 {
			t.Errorf("%v: %d of %d failed writes were told, want most", failure, failed, total)
		}
	}
}

func TestFullDiskLeavesNothingOfACreate(t *testing.T) {
	m, s, _ := openMemory(t)
	for n := 1; ; n++ {
		m.FailWrites(func(i int, _ string) error {
			if i == n {
				return syscall.ENOSPC
			}
			return nil
		})
		_, err := s.Create(testJob(wire.PhaseOffered))
		m.FailWrites(nil)
		if err == nil {
			// Only the space that is set aside for later may fail unseen.
			if n < 10 {
				t.Errorf("write %d failed and Create did not say so", n)
			}
			if err := s.Remove(testID); err != nil {
				t.Fatal(err)
			}
			if n > 40 {
				return
			}
			continue
		}
		if !IsNoSpace(err) {
			t.Errorf("write %d: got %v, want no space", n, err)
		}
		if names, err := s.Jobs(); err != nil || len(names) != 0 {
			t.Errorf("write %d: got %v %v left behind, want nothing", n, names, err)
		}
	}
}

func TestResultAndFinishFitOnAFullDisk(t *testing.T) {
	m, s, c := openMemory(t)
	f := create(t, s, wire.PhaseOffered)
	must(t, f.Save(testJob(wire.PhaseStarting)))
	must(t, startRun(f))
	log := f.OpenLog(LogLimits{})
	log.Line(c.now(), wire.StreamOut, []byte("before"))
	log.Flush()
	m.SetCapacity(m.Used())
	for range 1000 {
		log.Line(c.now(), wire.StreamOut, []byte("during"))
	}
	sum, err := log.Close()
	must(t, err)
	if sum.Lines != 2 || sum.Dropped != 1000 { // "before" and the marker, in the space set aside
		t.Errorf("log: got %+v, want 2 lines and 1000 dropped", sum)
	}
	r := testResult()
	for range wire.MaxIssues {
		r.Finish.Issues = append(r.Finish.Issues, wire.Issue{Path: string(make([]byte, 4000)), Message: "x"})
	}
	must(t, f.SaveResult(r))
	got, err := f.Result()
	must(t, err)
	if n := int64(len(got.Finish.Issues)); n < 5 || n+got.Finish.IssuesDropped != wire.MaxIssues {
		t.Errorf("issues: got %d and %d dropped, want %d in all", n, got.Finish.IssuesDropped, wire.MaxIssues)
	}
	must(t, f.Save(testJob(wire.PhaseEnded)))
	must(t, f.SaveFinish(make([]byte, 250<<10)))
	must(t, f.Save(testJob(wire.PhaseFinished)))
	must(t, s.Settle(testID))
}

// TestJobIsDecidedOnAFullDisk: whoever comes first can link the claim, and an agent that starts anew takes
// its number.
func TestJobIsDecidedOnAFullDisk(t *testing.T) {
	for name, claim := range map[string]func(*Folder) (bool, error){
		"supervisor": func(f *Folder) (bool, error) {
			return f.Claim(Claim{Kind: ClaimSupervisor, Nonce: testNonce, PID: 7})
		},
		"agent": func(f *Folder) (bool, error) { return f.Abandon(testNonce) },
	} {
		t.Run(name, func(t *testing.T) {
			m, s, c := openMemory(t)
			before, err := s.Boot(0)
			must(t, err)
			f := create(t, s, wire.PhaseStarting)
			m.SetCapacity(m.Used())
			if won, err := claim(f); err != nil || !won {
				t.Errorf("claim: got %v %v, want it won", won, err)
			}
			if claim, err := f.ReadClaim(testNonce); err != nil || claim == nil || claim.Damaged {
				t.Errorf("claim: got %+v %v, want a sound one", claim, err)
			}
			must(t, f.SaveResult(testResult()))
			must(t, s.Close())
			for range 2 {
				s = reopen(t, m, c)
				m.SetCapacity(m.Used())
				after, err := s.Boot(0)
				must(t, err)
				if after.Number <= before.Number {
					t.Errorf("boot number: got %d after %d, want more", after.Number, before.Number)
				}
				before = after
				must(t, s.Close())
			}
		})
	}
}

func TestSumOfAnInterruptedLogCountsWhatAPowerCutLeaves(t *testing.T) {
	m, s, c := openMemory(t)
	f := create(t, s, wire.PhaseRunning)
	w := f.OpenLog(LogLimits{})
	for range 100 {
		w.Line(c.now(), wire.StreamOut, []byte("a line"))
	}
	w.Flush() // and the supervisor is killed
	file, err := m.Append(f.path(logFile))
	must(t, err)
	_, err = file.Write([]byte(`{"t":"torn`))
	must(t, err)
	sum, err := f.LogSum()
	must(t, err)
	if sum.Lines != 100 {
		t.Errorf("got %d lines, want the 100 whole ones", sum.Lines)
	}
	m.Crash(nil)
	again, err := f.LogSum()
	must(t, err)
	if again != sum {
		t.Errorf("after a power cut: got %+v, want %+v", again, sum)
	}
}

// TestWhatAKilledAgentLeftIsDurableOnceItIsTakenUp kills the agent at each write, lets the next one look, and
// cuts the power then: what the look found is there still.
func TestWhatAKilledAgentLeftIsDurableOnceItIsTakenUp(t *testing.T) {
	m, s, _ := openMemory(t)
	m.FailWrites(nil)
	must(t, life(s))
	for n := 1; n <= m.Writes(); n++ {
		m, s, c := openMemory(t)
		m.FailWrites(func(i int, _ string) error {
			if i >= n {
				return errPower
			}
			return nil
		})
		_ = life(s)
		m.FailWrites(nil)
		m.ReleaseLocks()
		look := func() (phase wire.Phase, claimed, result, finish bool) {
			t.Helper()
			s := reopen(t, m, c)
			found, _, err := s.Scan()
			must(t, err)
			must(t, s.Settle("018f0000-0000-7000-8000-00000000ffff")) // of another job: it changes nothing
			if len(found) == 0 {
				return "", false, false, false
			}
			return found[0].Job.Phase, found[0].Claim != nil, found[0].Result != nil, found[0].Finish != nil
		}
		phase, claimed, result, finish := look()
		m.Crash(nil)
		phase2, claimed2, result2, finish2 := look()
		if phase2 != phase || claimed2 != claimed || result2 != result || finish2 != finish {
			t.Errorf("killed at write %d: found %q, claim %v, result %v, finish %v; after the power cut %q, %v, %v, %v",
				n, phase, claimed, result, finish, phase2, claimed2, result2, finish2)
		}
	}
}

// TestStateFolderOfAKilledAgentIsDurable kills the first agent of a machine at each write of its Open; the next one
// works on what is there, and the power goes.
func TestStateFolderOfAKilledAgentIsDurable(t *testing.T) {
	for n := 1; ; n++ {
		c := newClock()
		m := NewMemory(c.now)
		m.FailWrites(func(i int, _ string) error {
			if i >= n {
				return errPower
			}
			return nil
		})
		_, failed := Open(m, testDir, c.now)
		m.FailWrites(nil)
		m.ReleaseLocks()
		create(t, reopen(t, m, c), wire.PhaseRunning)
		m.Crash(nil)
		if found, _, err := reopen(t, m, c).Scan(); err != nil || len(found) != 1 {
			t.Errorf("killed at write %d: got %d jobs after the power cut, %v; want 1", n, len(found), err)
		}
		if failed == nil {
			return
		}
	}
}

// TestAKeptFinishIsDurableBeforeItsFolderGoes: the agent was killed between the link and its being durable; the
// next one settles the job, and the power goes.
func TestAKeptFinishIsDurableBeforeItsFolderGoes(t *testing.T) {
	m, s, c := openMemory(t)
	f, err := s.Create(testJob(wire.PhaseOffered))
	must(t, err)
	must(t, f.SaveFinish([]byte(`{"state":"succeeded"}`)))
	must(t, m.Link(f.path(finishFile), s.path(finishedDir, testID+"-1767225600")))
	m.ReleaseLocks()
	must(t, reopen(t, m, c).Settle(testID))
	m.Crash(nil)
	if _, ok, err := reopen(t, m, c).KeptFinish(testID); err != nil || !ok {
		t.Errorf("got the finish %v %v, want it kept", ok, err)
	}
}

// TestAKilledCreateLeavesNothing kills the agent at each write of a Create: the next one finds the job whole, or
// nothing of it, so that it can be offered again.
func TestAKilledCreateLeavesNothing(t *testing.T) {
	whole, nothing := 0, 0
	for n := 1; ; n++ {
		m, s, c := openMemory(t)
		m.FailWrites(func(i int, _ string) error {
			if i >= n {
				return errPower
			}
			return nil
		})
		_, failed := s.Create(testJob(wire.PhaseOffered))
		m.FailWrites(nil)
		m.ReleaseLocks()
		s = reopen(t, m, c)
		found, damaged, err := s.Scan()
		must(t, err)
		known, err := s.Known(testID)
		must(t, err)
		if len(damaged) > 0 || known {
			t.Errorf("killed at write %d: damaged %v, known %v; want neither", n, damaged, known)
		}
		if names, err := s.Jobs(); err != nil || len(names) != len(found) {
			t.Errorf("killed at write %d: folders %v %v, found %d", n, names, err, len(found))
		}
		if whole++; len(found) == 0 {
			whole--
			nothing++
		}
		if failed == nil {
			break
		}
	}
	if whole == 0 || nothing < 5 {
		t.Errorf("whole %d, nothing %d: want some of each", whole, nothing)
	}
}
