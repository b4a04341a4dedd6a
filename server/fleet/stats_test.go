package fleet

import (
	"slices"
	"testing"
	"time"

	"restic-manager/server/database"
	"restic-manager/shared/wire"
)

// TestStatsCountWhatHappened: each figure after one of everything.
func TestStatsCountWhatHappened(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		x.settle()
		a, b, revoked := x.host("a"), x.host("b"), x.host("revoked")
		x.host("silent")
		never := database.NewID()
		x.write(t, func(tx *database.Tx) error { return x.insertHost(tx, never, "") })
		x.write(t, func(tx *database.Tx) error {
			return tx.Exec("UPDATE hosts SET status = 'never_seen' WHERE id = ?", never).Error
		})
		x.use(a, repo(1))

		done, canceled, ended, requeued := x.queue(a, wire.KindBackup), x.queue(a, wire.KindSnapshots), x.queue(revoked, wire.KindCheck), x.queue(b, wire.KindPrune)
		x.clock.Advance(3 * time.Millisecond)
		x.sweep()
		x.poll(a, 2) // 3 ms in the queue
		x.poll(a, 3) // the same offer
		x.begin(a, done, 1)
		if _, err := x.CancelJob(t.Context(), tester, canceled); err != nil {
			t.Fatal(err)
		}
		x.begin(revoked, ended, 2)
		if _, err := x.RevokeHost(t.Context(), tester, revoked); err != nil {
			t.Fatal(err)
		}
		x.take(b, requeued, 3) // finds its repository held at the start
		wantCode(t, x.Start(t.Context(), b, requeued, hex32(3), wire.StartRequest{StartNonce: hex32(3), RepositoryID: repo(1)}), wire.ProblemRepositoryBusy)
		x.end(a, done, 1, wire.StateSucceeded)
		expires, _, err := x.CreateJob(t.Context(), tester, NewJob{HostID: b, Kind: wire.KindUnlock, TTL: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		dropped := x.queue(a, wire.KindCheck)
		x.take(a, dropped, 4) // its lease runs out
		x.write(t, func(tx *database.Tx) error { return raiseAlarm(tx, b) })
		for range 4 {
			x.Seen(a)
			x.Seen(b)
			x.pass(30 * time.Second)
		}
		x.wantState(expires.ID, wire.StateExpired)
		oldest := x.job(requeued).QueuedAt
		got, err := x.Stats(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			name      string
			got, want any
		}{
			{"hosts online", got.HostsByStatus["online"], int64(2)},
			{"hosts offline", got.HostsByStatus["offline"], int64(1)},
			{"hosts never seen", got.HostsByStatus["never_seen"], int64(1)},
			{"hosts revoked", got.HostsByStatus["revoked"], int64(1)},
			{"clone alarms", got.CloneAlarms, int64(1)},
			{"queue depth", got.QueueDepth, int64(2)},
			{"age of the oldest", got.OldestQueuedAge, x.clock.Now().Sub(oldest)},
			{"long polls", got.LongPolls, int64(0)},
			{"dispatches", got.DispatchCount, uint64(1)},
			{"dispatch seconds", got.DispatchSeconds, 0.003},
			{"hosts swept", got.OfflineSweeps, uint64(1)},
			{"requeues", got.Requeues, uint64(2)},
		} {
			if c.got != c.want {
				t.Errorf("%s: got %v, want %v", c.name, c.got, c.want)
			}
		}
		if want := []JobCount{{wire.KindCheck, wire.StateQueued, 1}, {wire.KindPrune, wire.StateQueued, 1}}; !slices.Equal(got.OpenJobs, want) {
			t.Errorf("open jobs: got %v, want %v", got.OpenJobs, want)
		}
		slices.SortFunc(got.EndedJobs, func(a, b JobCount) int { return slices.Compare([]byte(a.Kind), []byte(b.Kind)) })
		if want := []JobCount{{wire.KindBackup, wire.StateSucceeded, 1}, {wire.KindCheck, wire.StateLost, 1},
			{wire.KindSnapshots, wire.StateCanceled, 1}, {wire.KindUnlock, wire.StateExpired, 1}}; !slices.Equal(got.EndedJobs, want) {
			t.Errorf("ended jobs: got %v, want %v", got.EndedJobs, want)
		}
		for _, bucket := range got.Dispatch {
			want := uint64(0)
			if bucket.UpTo >= 3*time.Millisecond {
				want = 1
			}
			if bucket.Count != want {
				t.Errorf("dispatches within %s: got %d, want %d", bucket.UpTo, bucket.Count, want)
			}
		}
	})
}

func TestStatsCountPollsThatWait(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		h := x.host("web")
		got := x.waits(t, h, 2)
		if s, err := x.Stats(t.Context()); err != nil || s.LongPolls != 1 {
			t.Fatalf("long polls: got %d, %v, want 1", s.LongPolls, err)
		}
		x.queue(h, wire.KindBackup)
		<-got
		if s, err := x.Stats(t.Context()); err != nil || s.LongPolls != 0 {
			t.Fatalf("long polls after its end: got %d, %v, want 0", s.LongPolls, err)
		}
	})
}
