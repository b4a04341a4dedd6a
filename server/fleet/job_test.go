package fleet

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"restic-manager/server/fault"
	"restic-manager/shared/wire"
)

func TestJobGoesFromQueueToEnd(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		h := x.host("web")
		id := x.queue(h, wire.KindBackup)
		offer := x.poll(h, 2).Offer
		if offer == nil || offer.JobID != id || offer.Delivery != 1 {
			t.Fatalf("offer: got %+v, want job %s", offer, id)
		}
		if again := x.poll(h, 3).Offer; again == nil || again.JobID != id {
			t.Fatalf("an offer that was not accepted must come again: got %+v", again)
		}
		x.take(h, id, 1)
		x.take(h, id, 1) // the same lease, the same answer
		if _, err := x.Accept(t.Context(), h, id, wire.AcceptRequest{Lease: hex32(2), Delivery: 1}); err == nil {
			t.Fatal("a second lease took the job")
		}
		start := wire.StartRequest{StartNonce: hex32(9), RepositoryID: repo(1)}
		for range 2 {
			if err := x.Start(t.Context(), h, id, hex32(1), start); err != nil {
				t.Fatal(err)
			}
		}
		wantCode(t, x.Start(t.Context(), h, id, hex32(1), wire.StartRequest{StartNonce: hex32(8)}), wire.ProblemLeaseLost)
		ok := wire.FinishRequest{State: wire.StateSucceededWithIssues, LogLines: 0,
			Summary: &wire.Summary{SnapshotID: repo(7), DataAdded: 5}, Issues: []wire.Issue{{Path: "/x\x00\x1b[31m", Message: "no \xff"}}}
		body := mustJSON(ok)
		for range 2 {
			if r, err := x.Finish(t.Context(), h, id, hex32(1), body, ok); err != nil || r.Late {
				t.Fatalf("finish: got %+v, %v, want not late", r, err)
			}
		}
		other := wire.FinishRequest{State: wire.StateFailed, Error: &wire.JobError{Code: "Bad Code\x00", Message: "a\x00b"}}
		if r, err := x.Finish(t.Context(), h, id, hex32(1), mustJSON(other), other); err != nil || !r.Late {
			t.Fatalf("another result after the end: got %+v, %v, want late", r, err)
		}
		j := x.job(id)
		if j.State != wire.StateSucceededWithIssues || !j.LateReport || j.Summary.SnapshotID != repo(7) || len(j.Issues) != 1 || strings.ContainsRune(j.Issues[0].Path, 0) {
			t.Fatalf("job: got %+v", j)
		}
		x.whole()
	})
}

func TestNeverStartedJobIsQueuedAgainAndLateAcceptTakesNothing(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		x.settle()
		h := x.host("web")
		id := x.queue(h, wire.KindBackup)
		x.take(h, id, 1)
		if r := x.pass(75 * time.Second); r.Requeued != 0 {
			t.Fatalf("requeued before the lease ran out: %+v", r)
		}
		if r := x.pass(30 * time.Second); r.Requeued != 1 {
			t.Fatalf("sweep: got %+v, want one requeued", r)
		}
		x.wantState(id, wire.StateQueued)
		_, err := x.Accept(t.Context(), h, id, wire.AcceptRequest{Lease: hex32(1), Delivery: 1})
		wantCode(t, err, wire.ProblemJobGone)
		wantCode(t, x.Start(t.Context(), h, id, hex32(1), wire.StartRequest{StartNonce: hex32(1)}), wire.ProblemLeaseLost)
		if o := x.poll(h, 5).Offer; o == nil || o.Delivery != 2 {
			t.Fatalf("offer: got %+v, want delivery 2", o)
		}
		x.whole()
	})
}

func TestPollRenewsTheLeasesItNames(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		x.settle()
		h := x.host("web")
		id := x.queue(h, wire.KindBackup)
		x.take(h, id, 1)
		for i := range 20 {
			x.poll(h, int64(10+i), wire.JobRef{ID: id, Lease: hex32(1)})
			x.pass(15 * time.Second)
		}
		x.wantState(id, wire.StateAccepted)
		for i := range 8 {
			x.poll(h, int64(50+i), wire.JobRef{ID: id, Lease: hex32(2)}) // not its lease
			x.pass(15 * time.Second)
		}
		x.wantState(id, wire.StateQueued)
	})
}

func TestAmnestyAfterTheSweeperWasAway(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		x.settle()
		h := x.host("web")
		id := x.queue(h, wire.KindBackup)
		x.take(h, id, 1)
		x.clock.Advance(time.Hour) // nobody sweeps: the server was away
		if r := x.sweep(); !r.Amnesty {
			t.Fatalf("first sweep after an hour: got %+v, want an amnesty", r)
		}
		if r := x.pass(165 * time.Second); r.Offline+r.Requeued > 0 {
			t.Fatalf("judged within the amnesty: %+v", r)
		}
		x.wantState(id, wire.StateAccepted)
		if r := x.pass(30 * time.Second); r.Offline != 1 || r.Requeued != 1 {
			t.Fatalf("after the amnesty: got %+v, want one offline and one requeued", r)
		}
	})
}

func TestOnlyTheSweeperWritesOfflineAndOnlyOnce(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		x.settle()
		h := x.host("web")
		y := x.replica()
		x.pass(75 * time.Second)
		if got, _ := x.HostByID(t.Context(), h); got.Status != "online" {
			t.Fatalf("status after 75 s: got %s, want online", got.Status)
		}
		x.clock.Advance(15 * time.Second)
		if n := x.sweep().Offline + y.sweep().Offline; n != 1 {
			t.Fatalf("two sweepers took the host offline %d times, want once", n)
		}
		x.Seen(h)
		x.flush()
		if got, _ := x.HostByID(t.Context(), h); got.Status != "online" {
			t.Fatalf("status after a sign of life: got %s, want online", got.Status)
		}
	})
}

func TestSilenceOfARunningJob(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		x.settle()
		h, other := x.host("web"), x.host("db")
		x.use(h, repo(1))
		x.use(other, repo(1))
		id := x.queue(h, wire.KindCheck)
		x.begin(h, id, 1)
		waits := x.queue(other, wire.KindBackup)
		if r := x.pass(105 * time.Second); r.Disconnected != 1 {
			t.Fatalf("sweep: got %+v, want one disconnected", r)
		}
		if j := x.job(id); j.State != wire.StateRunning || j.DisconnectedSince == nil {
			t.Fatalf("job: got %+v, want running and disconnected", j)
		}
		if o := x.poll(other, 2).Offer; o != nil {
			t.Fatalf("offered beside an exclusive hold: %+v", o)
		}
		if r := x.pass(time.Hour); r.HoldsFreed != 1 {
			t.Fatalf("sweep: got %+v, want one hold freed", r)
		}
		if o := x.poll(other, 3).Offer; o == nil || o.JobID != waits {
			t.Fatalf("offer after the hold was freed: got %+v", o)
		}
		x.whole()
		x.clock.Advance(7 * 24 * time.Hour)
		if r := x.pass(210 * time.Second); r.Lost != 1 {
			t.Fatalf("sweep: got %+v, want one lost", r)
		}
		if j := x.job(id); j.State != wire.StateLost || j.Error.Code != wire.CodeSilent {
			t.Fatalf("job: got %s %+v, want lost{silent}", j.State, j.Error)
		}
		if r := x.end(h, id, 1, wire.StateSucceeded); !r.Late {
			t.Fatal("a result after lost must be kept as a late report")
		}
		x.wantState(id, wire.StateLost)
		x.whole()
	})
}

func TestLostFolderIsReconciledByThreePolls(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		x.settle()
		h := x.host("web")
		id := x.queue(h, wire.KindBackup)
		x.begin(h, id, 1)
		x.poll(h, 2) // the lease has not run out: proves nothing
		x.pass(105 * time.Second)
		for seq := int64(3); seq <= 4; seq++ {
			x.poll(h, seq)
			x.poll(h, seq) // a duplicate
		}
		x.wantState(id, wire.StateRunning)
		x.poll(h, 5, wire.JobRef{ID: id, Lease: hex32(3)}) // named, whatever the lease
		x.wantState(id, wire.StateRunning)
		x.poll(h, 6)
		if j := x.job(id); j.State != wire.StateFailed || j.Error.Code != wire.CodeInterrupted {
			t.Fatalf("job: got %s %+v, want failed{interrupted}", j.State, j.Error)
		}
		x.whole()
	})
}

func TestQueuedJobExpires(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		x.settle()
		h := x.host("web")
		j, _, err := x.CreateJob(t.Context(), tester, NewJob{HostID: h, Kind: wire.KindCheck, TTL: 2 * time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		if r := x.pass(105 * time.Second); r.Expired != 0 {
			t.Fatalf("expired early: %+v", r)
		}
		if r := x.pass(15 * time.Second); r.Expired != 1 {
			t.Fatalf("sweep: got %+v, want one expired", r)
		}
		x.wantState(j.ID, wire.StateExpired)
	})
}

func TestTwoHostsWithOneRepositoryExcludeEachOther(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		a, b := x.host("a"), x.host("b")
		x.use(a, repo(1))
		x.use(b, repo(1))
		backup, prune := x.queue(a, wire.KindBackup), x.queue(b, wire.KindPrune)
		x.begin(a, backup, 1)
		_, err := x.Accept(t.Context(), b, prune, wire.AcceptRequest{Lease: hex32(2), Delivery: 1})
		wantCode(t, err, wire.ProblemRepositoryBusy)
		x.end(a, backup, 1, wire.StateSucceeded)
		x.take(b, prune, 2)
		x.whole()
	})
}

func TestStartThatFindsTheRepositoryHeldQueuesAgain(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		a, b := x.host("a"), x.host("b")
		x.use(a, repo(1))
		prune := x.queue(a, wire.KindPrune)
		x.begin(a, prune, 1)
		backup := x.queue(b, wire.KindBackup)
		x.take(b, backup, 2) // its repository is not known yet: the host alone is held
		err := x.Start(t.Context(), b, backup, hex32(2), wire.StartRequest{StartNonce: hex32(2), RepositoryID: repo(1)})
		wantCode(t, err, wire.ProblemRepositoryBusy)
		x.wantState(backup, wire.StateQueued)
		if o := x.poll(b, 2).Offer; o != nil {
			t.Fatalf("offered while its repository, known by now, is held: %+v", o)
		}
		x.end(a, prune, 1, wire.StateSucceeded)
		if o := x.poll(b, 3).Offer; o == nil || o.Delivery != 2 || o.Repository.ID != repo(1) {
			t.Fatalf("offer: got %+v, want delivery 2 with the repository", o)
		}
		x.whole()
	})
}

func TestNoSharedJobPassesAnOlderExclusiveOne(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		x.settle()
		a, b, c := x.host("a"), x.host("b"), x.host("c")
		for _, h := range []string{a, b, c} {
			x.use(h, repo(1))
		}
		first := x.queue(a, wire.KindBackup)
		x.begin(a, first, 1)
		x.queue(b, wire.KindPrune)
		second := x.queue(c, wire.KindBackup)
		if o := x.poll(b, 2).Offer; o != nil {
			t.Fatalf("prune offered beside a backup: %+v", o)
		}
		if o := x.poll(c, 2).Offer; o != nil {
			t.Fatalf("backup passed the older prune: %+v", o)
		}
		for i := range 2 * 61 { // an hour, all hosts alive
			x.poll(a, int64(10+i), wire.JobRef{ID: first, Lease: hex32(1)})
			x.poll(b, int64(10+i))
			x.Seen(c)
			x.pass(30 * time.Second)
		}
		if o := x.poll(c, 900).Offer; o == nil || o.JobID != second {
			t.Fatalf("after 60 min the shared job passes: got %+v", o)
		}
	})
}

func TestLanesHoldOneJobEach(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		h := x.host("web")
		one, two, short := x.queue(h, wire.KindBackup), x.queue(h, wire.KindBackup), x.queue(h, wire.KindSnapshots)
		x.take(h, one, 1)
		_, err := x.Accept(t.Context(), h, two, wire.AcceptRequest{Lease: hex32(2), Delivery: 1})
		wantCode(t, err, wire.ProblemHostBusy)
		if o := x.poll(h, 2).Offer; o == nil || o.JobID != short {
			t.Fatalf("offer: got %+v, want the short lane's", o)
		}
	})
}

func TestCancel(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		h := x.host("web")
		queued, accepted := x.queue(h, wire.KindBackup), x.queue(h, wire.KindSnapshots)
		x.take(h, accepted, 1)
		for _, id := range []string{queued, accepted} {
			if j, err := x.CancelJob(t.Context(), tester, id); err != nil || j.State != wire.StateCanceled {
				t.Fatalf("cancel: got %s, %v, want canceled", j.State, err)
			}
		}
		wantCode(t, x.Start(t.Context(), h, accepted, hex32(1), wire.StartRequest{StartNonce: hex32(1)}), wire.ProblemLeaseLost)
		if d := x.poll(h, 2, wire.JobRef{ID: accepted, Lease: hex32(1)}).Drop; len(d) != 1 {
			t.Fatalf("drop of a folder that never started: got %+v", d)
		}
		running := x.queue(h, wire.KindBackup)
		x.begin(h, running, 3)
		if j, err := x.CancelJob(t.Context(), tester, running); err != nil || j.State != wire.StateRunning || j.CancelRequestedAt == nil {
			t.Fatalf("cancel of a running job: got %+v, %v", j, err)
		}
		if c := x.poll(h, 3, wire.JobRef{ID: running, Lease: hex32(3)}).Cancel; len(c) != 1 || c[0] != running {
			t.Fatalf("cancel with the next answer: got %v", c)
		}
		if r, err := x.Progress(t.Context(), h, running, hex32(3), wire.Progress{Seq: 1}); err != nil || !r.Cancel {
			t.Fatalf("cancel with progress: got %+v, %v", r, err)
		}
		x.end(h, running, 3, wire.StateCanceled)
		if _, err := x.CancelJob(t.Context(), tester, running); err != nil {
			t.Fatalf("canceling twice: %v", err)
		}
		x.whole()
	})
}

func TestRevokeEndsAllAndKeepsTheHold(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		x.settle()
		h, other := x.host("a"), x.host("b")
		x.use(h, repo(1))
		x.use(other, repo(1))
		running, accepted, queued := x.queue(h, wire.KindCheck), x.queue(h, wire.KindUnlock), x.queue(h, wire.KindBackup)
		x.begin(h, running, 1)
		x.take(h, accepted, 2)
		if _, err := x.RevokeHost(t.Context(), tester, h); err != nil {
			t.Fatal(err)
		}
		x.wantState(running, wire.StateLost)
		x.wantState(accepted, wire.StateCanceled)
		x.wantState(queued, wire.StateCanceled)
		waits := x.queue(other, wire.KindBackup)
		if o := x.poll(other, 2).Offer; o != nil {
			t.Fatalf("offered while the revoked host may still write: %+v", o)
		}
		x.pass(61 * time.Minute)
		if o := x.poll(other, 3).Offer; o == nil || o.JobID != waits {
			t.Fatalf("offer an hour later: got %+v", o)
		}
		_, _, err := x.CreateJob(t.Context(), tester, NewJob{HostID: h, Kind: wire.KindCheck})
		wantCode(t, err, "host_revoked")
		x.whole()
	})
}

func TestResumeRotatesTheLease(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		h := x.host("web")
		id := x.queue(h, wire.KindBackup)
		x.begin(h, id, 1)
		for range 2 {
			r, err := x.Resume(t.Context(), h, id, wire.ResumeRequest{OldLease: hex32(1), NewLease: hex32(2)})
			if err != nil || r.State != wire.StateRunning || r.NextLine != 1 {
				t.Fatalf("resume: got %+v, %v", r, err)
			}
		}
		_, err := x.Resume(t.Context(), h, id, wire.ResumeRequest{OldLease: hex32(1), NewLease: hex32(3)})
		wantCode(t, err, wire.ProblemLeaseLost)
		r := wire.FinishRequest{State: wire.StateSucceeded}
		_, err = x.Finish(t.Context(), h, id, hex32(1), mustJSON(r), r)
		wantCode(t, err, wire.ProblemLeaseLost)
		x.end(h, id, 2, wire.StateSucceeded)
		if _, err := x.Resume(t.Context(), h, id, wire.ResumeRequest{OldLease: hex32(2), NewLease: hex32(4)}); err != nil {
			t.Fatalf("resume of an ended job: %v", err)
		}
		x.clock.Advance(7 * 24 * time.Hour)
		_, err = x.Resume(t.Context(), h, id, wire.ResumeRequest{OldLease: hex32(4), NewLease: hex32(5)})
		wantCode(t, err, wire.ProblemLeaseLost)
	})
}

func TestSameJobCoalescesAndKeysAreKept(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		h := x.host("web")
		ask := func(path, key string) (Job, bool, error) {
			return x.CreateJob(t.Context(), tester, NewJob{HostID: h, Kind: wire.KindBackup, Spec: &wire.BackupSpec{Paths: []string{path}}, IdempotencyKey: key})
		}
		a, created, err := ask("/a", "k")
		if err != nil || !created {
			t.Fatalf("first: got %v, %v", created, err)
		}
		if b, created, _ := ask("/a", ""); created || b.ID != a.ID {
			t.Fatalf("the same asked again: got %s created %v, want %s", b.ID, created, a.ID)
		}
		if b, created, _ := ask("/b", ""); !created || b.ID == a.ID {
			t.Fatal("another path is another job")
		}
		if _, err := x.CancelJob(t.Context(), tester, a.ID); err != nil {
			t.Fatal(err)
		}
		if b, created, _ := ask("/a", "k"); created || b.ID != a.ID {
			t.Fatalf("the same key: got %s, want %s", b.ID, a.ID)
		}
		_, _, err = ask("/c", "k")
		wantCode(t, err, "idempotency_key_reused")
		x.clock.Advance(24 * time.Hour)
		if _, created, err := ask("/c", "k"); err != nil || !created {
			t.Fatalf("the key a day later: got %v, %v, want a new job", created, err)
		}
		again, _, err := x.RetryJob(t.Context(), tester, a.ID, "")
		if err != nil || again.RetryOf == nil || *again.RetryOf != a.ID {
			t.Fatalf("retry: got %+v, %v", again, err)
		}
		_, _, err = x.RetryJob(t.Context(), tester, again.ID, "")
		wantCode(t, err, "job_open")
	})
}

func TestProgressIsKeptInMemoryAndWrittenEveryFiveSeconds(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		h := x.host("web")
		y := x.replica()
		id := x.queue(h, wire.KindBackup)
		_, err := x.Progress(t.Context(), h, id, hex32(1), wire.Progress{Seq: 1})
		wantCode(t, err, wire.ProblemLeaseLost)
		x.begin(h, id, 1)
		say := func(seq int64, done float64) {
			if _, err := x.Progress(t.Context(), h, id, hex32(1), wire.Progress{Seq: seq, PercentDone: done, CurrentFiles: []string{"a\x00b"}}); err != nil {
				t.Fatal(err)
			}
		}
		say(2, 0.2)
		say(1, 0.1) // late
		if p := x.job(id).Progress; p == nil || p.PercentDone != 0.2 {
			t.Fatalf("own replica: got %+v, want 0.2 at once", p)
		}
		if p := y.job(id).Progress; p != nil {
			t.Fatalf("other replica before the flush: got %+v", p)
		}
		x.flush()
		if p := y.job(id).Progress; p == nil || p.PercentDone != 0.2 {
			t.Fatalf("other replica after the flush: got %+v, want 0.2", p)
		}
		say(3, 0.3)
		x.flush()
		if p := y.job(id).Progress; p.PercentDone != 0.2 {
			t.Fatalf("written again within 5 s: got %v", p.PercentDone)
		}
		x.clock.Advance(5 * time.Second)
		x.flush()
		if p := y.job(id).Progress; p.PercentDone != 0.3 {
			t.Fatalf("written after 5 s: got %v, want 0.3", p.PercentDone)
		}
		say(4, 1)
		x.end(h, id, 1, wire.StateSucceeded)
		if p := y.job(id).Progress; p.PercentDone != 1 {
			t.Fatalf("finish stores the last progress: got %v, want 1", p.PercentDone)
		}
	})
}

func TestPollWakesForWhatAnotherReplicaQueues(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		h := x.host("web")
		y := x.replica()
		got := make(chan wire.PollReply, 1)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		go func() {
			r, err := x.Poll(ctx, h, wire.PollQuery{Boot: "b1", Seq: 2, Wait: 20 * time.Second, FreeLong: 1, Config: x.configVersion()})
			if err != nil {
				t.Error(err)
			}
			got <- r
		}()
		for x.seats.parked.Load() == 0 && ctx.Err() == nil {
		}
		id := y.queue(h, wire.KindBackup)
		if r := <-got; r.Offer == nil || r.Offer.JobID != id {
			t.Fatalf("poll: got %+v, want the offer", r)
		}
	})
}

func TestNewerPollEndsTheOlderAndStopEndsAll(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		h := x.host("web")
		ended := make(chan int64, 2)
		poll := func(seq int64) {
			r, err := x.Poll(t.Context(), h, wire.PollQuery{Boot: "b1", Seq: seq, Wait: 50 * time.Second, FreeLong: 1, Config: x.configVersion()})
			if err != nil || r.Mark == "" || !r.IsEmpty() {
				t.Errorf("poll %d: got %+v, %v, want the mark alone", seq, r, err)
			}
			ended <- seq
		}
		go poll(2)
		for x.seats.parked.Load() == 0 {
		}
		go poll(3)
		if seq := <-ended; seq != 2 {
			t.Fatalf("ended first: poll %d, want 2", seq)
		}
		for x.seats.parked.Load() == 0 {
		}
		x.db.Hub.Close()
		<-ended
	})
}

func TestLiveCloneRaisesTheAlarmWithinTwoPollsAndClearingForgets(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		h := x.host("web")
		x.queue(h, wire.KindBackup)
		x.hello(h, "b2", 2, 1)
		old := wire.PollQuery{Boot: "b1", Seq: 9, FreeLong: 1, Config: x.configVersion()}
		first, err := x.Poll(t.Context(), h, old)
		if err != nil || first.Offer != nil {
			t.Fatalf("older process: got %+v, %v, want a mark alone", first, err)
		}
		if got, _ := x.HostByID(t.Context(), h); got.CloneAlarm != nil {
			t.Fatal("a late poll raised the alarm")
		}
		old.Mark = first.Mark
		if _, err := x.Poll(t.Context(), h, old); err != nil {
			t.Fatal(err)
		}
		if got, _ := x.HostByID(t.Context(), h); got.CloneAlarm == nil {
			t.Fatal("no alarm though the older process echoes a mark given to it after the newer one's hello")
		}
		newer := wire.PollQuery{Boot: "b2", Seq: 2, FreeLong: 1, Config: x.configVersion()}
		if r, err := x.Poll(t.Context(), h, newer); err != nil || r.Offer != nil {
			t.Fatalf("under the alarm: got %+v, %v, want no job", r, err)
		}
		if _, err := x.ClearCloneAlarm(t.Context(), tester, h); err != nil {
			t.Fatal(err)
		}
		_, err = x.Poll(t.Context(), h, newer)
		wantCode(t, err, wire.ProblemHelloRequired)
		x.hello(h, "b2", 2, 3)
		if r, err := x.Poll(t.Context(), h, newer); err != nil || r.Offer == nil {
			t.Fatalf("after clearing: got %+v, %v, want the offer", r, err)
		}
	})
}

func TestAcceptsOverTwoReplicasBreakNothing(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		y := x.replica()
		const hosts, repositories = 8, 3
		var ids []string
		for i := range hosts {
			h := x.host("h" + hex32(i))
			x.use(h, repo(i%repositories))
			ids = append(ids, h)
		}
		var wg sync.WaitGroup
		var mu sync.Mutex
		done := 0
		for i, h := range ids {
			for _, s := range []*fixture{x, y} {
				wg.Go(func() {
					for round := range 3 {
						kind := []wire.Kind{wire.KindBackup, wire.KindPrune}[round%2]
						n := NewJob{HostID: h, Kind: kind}
						if kind == wire.KindBackup {
							n.Spec = &wire.BackupSpec{Paths: []string{"/x"}}
						}
						j, _, err := s.CreateJob(t.Context(), tester, n)
						if err != nil {
							t.Error(err)
							return
						}
						lease := 1000*i + 10*round
						if s == y {
							lease += 1
						}
						_, err = s.Accept(t.Context(), h, j.ID, wire.AcceptRequest{Lease: hex32(lease), Delivery: 1})
						if fault.Is(err, wire.ProblemJobGone) || fault.Is(err, wire.ProblemHostBusy) || fault.Is(err, wire.ProblemRepositoryBusy) {
							continue
						}
						if err != nil {
							t.Error(err)
							return
						}
						if err := s.Start(t.Context(), h, j.ID, hex32(lease), wire.StartRequest{StartNonce: hex32(lease)}); err != nil {
							t.Error(err)
						}
						r := wire.FinishRequest{State: wire.StateSucceeded}
						if _, err := s.Finish(t.Context(), h, j.ID, hex32(lease), mustJSON(r), r); err != nil {
							t.Error(err)
						}
						mu.Lock()
						done++
						mu.Unlock()
					}
				})
			}
		}
		wg.Wait()
		if done == 0 {
			t.Fatal("no job was run at all")
		}
		x.whole()
	})
}
