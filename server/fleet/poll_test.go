package fleet

import (
	"context"
	"runtime"
	"testing"
	"time"

	"restic-manager/server/database"
	"restic-manager/server/fault"
	"restic-manager/shared/wire"
)

// TestLongQueueHidesNoLane: a host with more queued backups than one look reads gets its short jobs all the
// same, and what runs is seen behind them.
func TestLongQueueHidesNoLane(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		h := x.host("web")
		x.write(t, func(tx *database.Tx) error {
			for range maxQueueLooked + 5 {
				if _, err := x.insertJob(tx, h, wire.KindBackup); err != nil {
					return err
				}
			}
			return nil
		})
		short := x.queue(h, wire.KindSnapshots)
		last := x.queue(h, wire.KindBackup)
		x.take(h, last, 1)
		o := x.poll(h, 2, wire.JobRef{ID: last, Lease: hex32(1)}).Offer
		if o == nil || o.JobID != short {
			t.Fatalf("offer: got %+v, want the short lane's job", o)
		}
		x.take(h, short, 2)
		if o := x.poll(h, 3, wire.JobRef{ID: last, Lease: hex32(1)}).Offer; o != nil {
			t.Fatalf("offer with both lanes taken: got %+v, want none", o)
		}
	})
}

// waits starts a poll that waits, and gives its answer.
func (x *fixture) waits(t *testing.T, host string, seq int64, jobs ...wire.JobRef) <-chan wire.PollReply {
	t.Helper()
	before := x.seats.parked.Load()
	got := make(chan wire.PollReply, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	go func() {
		r, err := x.Poll(ctx, host, wire.PollQuery{Boot: "b1", Seq: seq, Wait: 50 * time.Second, FreeLong: 1, FreeShort: 1, Jobs: jobs, Config: x.configVersion()})
		if err != nil && ctx.Err() == nil {
			t.Errorf("poll %d: %v", seq, err)
		}
		got <- r
	}()
	for x.seats.parked.Load() == before && ctx.Err() == nil {
		runtime.Gosched()
	}
	return got
}

// stillWaits fails when a poll has ended; what was told to it it has looked at by then.
func stillWaits(t *testing.T, x *fixture, got <-chan wire.PollReply, why string) {
	t.Helper()
	select {
	case r := <-got:
		t.Fatalf("%s: got %+v, want it to wait on", why, r)
	default:
	}
}

// TestPollFloorFindsWhatNobodyTold: rows that appear without a word, as after a lost notification, end the
// polls that wait for them, and no others.
func TestPollFloorFindsWhatNobodyTold(t *testing.T) {
	floor := func(x *fixture) {
		if err := x.PollFloor(x.t.Context()); err != nil {
			x.t.Fatal(err)
		}
	}
	t.Run("a queued job", func(t *testing.T) {
		each(t, func(t *testing.T, x *fixture) {
			x.clock.Advance(time.Minute)
			h, other := x.host("web"), x.host("db")
			x.clock.Advance(time.Minute) // their hellos are told of no more
			got, idle := x.waits(t, h, 2), x.waits(t, other, 2)
			floor(x)
			stillWaits(t, x, got, "nothing is there")
			var id string
			x.write(t, func(tx *database.Tx) (err error) { id, err = x.insertJob(tx, h, wire.KindBackup); return err })
			stillWaits(t, x, got, "nobody told")
			floor(x)
			if r := <-got; r.Offer == nil || r.Offer.JobID != id {
				t.Fatalf("poll: got %+v, want the offer", r)
			}
			stillWaits(t, x, idle, "another host's job")
		})
	})
	t.Run("a free repository", func(t *testing.T) {
		each(t, func(t *testing.T, x *fixture) {
			h, other := x.host("web"), x.host("db")
			x.use(h, repo(1))
			x.use(other, repo(1))
			held := x.queue(other, wire.KindCheck)
			x.begin(other, held, 1)
			id := x.queue(h, wire.KindBackup)
			x.clock.Advance(time.Minute)
			got := x.waits(t, h, 2)
			floor(x)
			stillWaits(t, x, got, "the repository is held")
			x.write(t, func(tx *database.Tx) error {
				return tx.Exec("UPDATE jobs SET holding = false, hold_released_at = ? WHERE id = ?", tx.Now, held).Error
			})
			floor(x)
			if r := <-got; r.Offer == nil || r.Offer.JobID != id {
				t.Fatalf("poll: got %+v, want the offer", r)
			}
		})
	})
	t.Run("a cancel", func(t *testing.T) {
		each(t, func(t *testing.T, x *fixture) {
			h := x.host("web")
			id := x.queue(h, wire.KindBackup)
			x.begin(h, id, 1)
			x.clock.Advance(time.Minute)
			got := x.waits(t, h, 2, wire.JobRef{ID: id, Lease: hex32(1)})
			x.write(t, func(tx *database.Tx) error {
				return tx.Exec("UPDATE jobs SET cancel_requested_at = ? WHERE id = ?", tx.Now, id).Error
			})
			floor(x)
			if r := <-got; len(r.Cancel) != 1 || r.Cancel[0] != id {
				t.Fatalf("poll: got %+v, want the cancel", r)
			}
		})
	})
	t.Run("a schedule", func(t *testing.T) {
		each(t, func(t *testing.T, x *fixture) {
			h, other := x.host("web"), x.host("db")
			x.schedules(t, h)
			x.poll(h, 2) // its answer is lost
			x.clock.Advance(time.Minute / 2)
			got, idle := x.waits(t, h, 3), x.waits(t, other, 2)
			floor(x)
			stillWaits(t, x, got, "it was told lately")
			x.clock.Advance(time.Minute / 2)
			floor(x)
			if r := <-got; r.Configure == nil || r.Configure.Schedule == nil || r.Configure.Schedule.Version != 1 {
				t.Fatalf("poll: got %+v, want the schedule", r)
			}
			stillWaits(t, x, idle, "another host's schedule")
		})
	})
	t.Run("a newer process", func(t *testing.T) {
		each(t, func(t *testing.T, x *fixture) {
			h := x.host("web")
			x.clock.Advance(time.Minute)
			got := x.waits(t, h, 2)
			x.write(t, func(tx *database.Tx) error {
				was, err := lockBoots(tx, h)
				if err != nil {
					return err
				}
				next, _, err := was.Hello("b2", 2, 1, newMark())
				if err != nil {
					return err
				}
				if err := writeBoots(tx, h, was, next); err != nil {
					return err
				}
				return tx.Exec("UPDATE hosts SET hello_at = ? WHERE id = ?", tx.Now, h).Error
			})
			stillWaits(t, x, got, "nobody told")
			floor(x)
			if r := <-got; r.Mark == "" || !r.IsEmpty() {
				t.Fatalf("poll of the older process: got %+v, want its probe alone", r)
			}
		})
	})
}

// schedules makes the host one whose agent keeps its schedule, and changes that schedule.
func (x *fixture) schedules(t *testing.T, host string) {
	t.Helper()
	x.Use(Hooks{Schedule: func(ctx context.Context, hostID string) (*wire.Schedule, error) {
		var version int64
		err := x.db.Read(ctx).Raw("SELECT schedule_version FROM hosts WHERE id = ?", hostID).Scan(&version).Error
		return &wire.Schedule{Version: version, Policies: []wire.ScheduledPolicy{}}, err
	}})
	x.write(t, func(tx *database.Tx) error {
		if err := tx.Exec("UPDATE hosts SET features = ? WHERE id = ?", `["`+wire.FeatureSchedule+`"]`, host).Error; err != nil {
			return err
		}
		return x.ScheduleChanged(tx, []string{host})
	})
}

// TestAConfigurationIsToldAgainAfterAWhile: its answer may have been lost, and nothing else may ever happen at the host.
func TestAConfigurationIsToldAgainAfterAWhile(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		h := x.host("web")
		x.schedules(t, h)
		for i, c := range []struct {
			after time.Duration
			told  bool
		}{{0, true}, {0, false}, {time.Second, false}, {configureAgain - time.Second - time.Millisecond, false}, {time.Millisecond, true}, {0, false}, {configureAgain, true}} {
			x.clock.Advance(c.after)
			if r := x.poll(h, int64(2+i)); (r.Configure != nil) != c.told {
				t.Fatalf("poll %d: got %+v, want it to be told: %v", i, r.Configure, c.told)
			}
		}
	})
}

// TestPollsOfAStoppingServerAreRefused: agents are to ask another replica, or again.
func TestPollsOfAStoppingServerAreRefused(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		h := x.host("web")
		x.db.Hub.Close()
		_, err := x.Poll(t.Context(), h, wire.PollQuery{Boot: "b1", Seq: 2})
		if e := fault.As(err); e == nil || e.Code != wire.ProblemUnavailable || e.RetryAfter == 0 {
			t.Fatalf("poll: got %v, want %s with a time to ask again", err, wire.ProblemUnavailable)
		}
	})
}

// TestPollIsToldAgainAfterAWhile: what was told once may be lost with its answer; it is told again, but not
// at each poll, which would never wait.
func TestPollIsToldAgainAfterAWhile(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		h := x.host("web")
		id := x.queue(h, wire.KindBackup)
		x.begin(h, id, 1)
		if _, err := x.CancelJob(t.Context(), tester, id); err != nil {
			t.Fatal(err)
		}
		named := wire.JobRef{ID: id, Lease: hex32(1)}
		for i, c := range []struct {
			after time.Duration
			told  int
		}{{0, 1}, {0, 0}, {tellAgain - time.Millisecond, 0}, {time.Millisecond, 1}, {0, 0}} {
			x.clock.Advance(c.after)
			if r := x.poll(h, int64(2+i), named); len(r.Cancel) != c.told {
				t.Fatalf("poll %d: got cancel %v, want %d", i, r.Cancel, c.told)
			}
		}
	})
}
