package fleet

import (
	"slices"
	"testing"
	"time"

	"restic-manager/server/database"
	"restic-manager/server/fault"
	"restic-manager/shared/wire"
)

// away has the writing of renewals and progress fail until it is called back.
func (x *fixture) away() (back func()) {
	x.t.Helper()
	rename := func(from, to string) {
		x.t.Helper()
		x.write(x.t, func(tx *database.Tx) error { return tx.Exec("ALTER TABLE " + from + " RENAME TO " + to).Error })
	}
	rename("jobs", "jobs_away")
	return func() { rename("jobs_away", "jobs") }
}

// TestFlushThatFailsLosesNothing: what was gathered is written by the next one with its own times, and nothing
// takes the place of what came since.
func TestFlushThatFailsLosesNothing(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		h, other := x.host("web"), x.host("db")
		id, second := x.queue(h, wire.KindBackup), x.queue(other, wire.KindBackup)
		x.begin(h, id, 1)
		x.begin(other, second, 2)
		x.flush()
		x.clock.Advance(10 * time.Second)
		heard := x.clock.Now()
		say := func(host, id string, lease int, seq int64) {
			t.Helper()
			x.Seen(host)
			if _, err := x.Progress(t.Context(), host, id, hex32(lease), wire.Progress{Seq: seq, PercentDone: float64(seq) / 10}); err != nil {
				t.Fatal(err)
			}
		}
		say(h, id, 1, 1)
		say(other, second, 2, 1)
		back := x.away()
		x.clock.Advance(2 * time.Second)
		if err := x.Flush(t.Context()); err == nil {
			t.Fatal("flush without its table: want an error")
		}
		back()
		x.clock.Advance(3 * time.Second)
		say(other, second, 2, 2) // newer than what failed
		newer := x.clock.Now()
		x.clock.Advance(time.Second)
		x.flush()
		for _, c := range []struct {
			host, id string
			at       time.Time
			done     float64
		}{{h, id, heard, 0.1}, {other, second, newer, 0.2}} {
			if got, err := x.HostByID(t.Context(), c.host); err != nil || got.LastSeenAt == nil || !got.LastSeenAt.Equal(c.at) {
				t.Errorf("last seen: got %v, %v, want %s", got.LastSeenAt, err, c.at)
			}
			var rows []jobRow
			if err := x.db.Read(t.Context()).Raw("SELECT * FROM jobs WHERE id = ?", c.id).Scan(&rows).Error; err != nil {
				t.Fatal(err)
			}
			if got := at(rows[0].HeardAt); !got.Equal(c.at) {
				t.Errorf("heard: got %s, want %s", got, c.at)
			}
			if got := at(rows[0].LeaseExpiresAt); !got.Equal(c.at.Add(wire.LeaseDuration)) {
				t.Errorf("lease: got %s, want %s", got, c.at.Add(wire.LeaseDuration))
			}
			if p := x.job(c.id).Progress; p == nil || p.PercentDone != c.done {
				t.Errorf("progress: got %+v, want %v", p, c.done)
			}
		}
	})
}

// TestWrongLeaseTakesNothingFromTheRightOne: polls and progress that name a job with another lease, of its own
// host or another, leave what the right lease has renewed.
func TestWrongLeaseTakesNothingFromTheRightOne(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		x.settle()
		h, other := x.host("web"), x.host("db")
		id := x.queue(h, wire.KindBackup)
		x.begin(h, id, 1)
		for i := range 10 {
			if _, err := x.Progress(t.Context(), h, id, hex32(1), wire.Progress{Seq: int64(i + 1), PercentDone: float64(i) / 10}); err != nil {
				t.Fatal(err)
			}
			for _, host := range []string{h, other} {
				_, err := x.Progress(t.Context(), host, id, hex32(9), wire.Progress{Seq: 99})
				wantCode(t, err, wire.ProblemLeaseLost)
				x.poll(host, int64(10+i), wire.JobRef{ID: id, Lease: hex32(9)})
			}
			_, err := x.Progress(t.Context(), other, id, hex32(1), wire.Progress{Seq: 99})
			wantCode(t, err, wire.ProblemLeaseLost)
			x.pass(30 * time.Second)
		}
		if j := x.job(id); j.DisconnectedSince != nil || j.Progress == nil || j.Progress.PercentDone != 0.9 {
			t.Fatalf("job: got disconnected since %v with progress %+v, want connected with 0.9", j.DisconnectedSince, j.Progress)
		}
	})
}

// TestReplicaThatCannotWriteRefusesAgentsAfter30Seconds, and takes them again with the first write, also when
// there was nothing to write meanwhile.
func TestReplicaThatCannotWriteRefusesAgentsAfter30Seconds(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		h := x.host("web")
		id := x.queue(h, wire.KindBackup)
		x.begin(h, id, 1)
		x.flush()
		back := x.away()
		fail := func() {
			t.Helper()
			x.pulse.renewAt(id, hex32(1), x.clock.Now())
			if err := x.Flush(t.Context()); err == nil {
				t.Fatal("flush without its table: want an error")
			}
		}
		fail()
		wantCode(t, x.Writable(), "")
		x.clock.Advance(writableFor - time.Millisecond)
		fail()
		wantCode(t, x.Writable(), "")
		x.clock.Advance(time.Millisecond)
		if e := fault.As(x.Writable()); e == nil || e.Kind != fault.Unavailable || e.Code != wire.ProblemUnavailable || e.RetryAfter == 0 {
			t.Fatalf("after 30 s: got %v, want %s with a time to ask again", x.Writable(), wire.ProblemUnavailable)
		}
		back()
		x.flush()
		wantCode(t, x.Writable(), "")
		x.flush() // nothing is gathered
		wantCode(t, x.Writable(), "")

		g := x.pulse.take(x.clock.Now()) // one that hangs counts from its beginning, or from what it wrote last
		x.clock.Advance(writableFor - time.Second)
		x.pulse.wrote(g, x.clock.Now())
		x.clock.Advance(writableFor - time.Second)
		wantCode(t, x.Writable(), "")
		x.clock.Advance(time.Second)
		wantCode(t, x.Writable(), wire.ProblemUnavailable)
		x.pulse.wrote(x.pulse.take(x.clock.Now()), x.clock.Now()) // after one that failed, a part is not enough
		wantCode(t, x.Writable(), wire.ProblemUnavailable)
		x.flush()
		wantCode(t, x.Writable(), "")
	})
}

// TestPortionsGrowWhereTheyHadToWait, and stay large for the rest of the flush; nothing is left out or written twice.
func TestPortionsGrowWhereTheyHadToWait(t *testing.T) {
	rest := make([]int, 2345)
	for i := range rest {
		rest[i] = i
	}
	var sizes, all []int
	for size := flushPortion; len(rest) > 0; {
		part := cut(&rest, size)
		sizes, all = append(sizes, len(part)), append(all, part...)
		took := flushWaited
		if len(sizes) == 3 {
			took += time.Millisecond
		}
		size = nextPortion(size, took)
	}
	if want := []int{100, 100, 100, 1000, 1000, 45}; !slices.Equal(sizes, want) {
		t.Errorf("portions: got %v, want %v", sizes, want)
	}
	for i, n := range all {
		if i != n {
			t.Fatalf("row %d: got %d", i, n)
		}
	}
}
