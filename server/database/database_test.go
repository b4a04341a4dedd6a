package database

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"restic-manager/server/database/databasetest"
)

func open(t *testing.T, u string) *DB {
	t.Helper()
	d, err := Open(t.Context(), Options{URL: u})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func each(t *testing.T, fn func(t *testing.T, d *DB)) {
	t.Helper()
	for _, engine := range databasetest.Engines {
		t.Run(engine, func(t *testing.T) {
			d := open(t, databasetest.New(t, engine))
			if err := d.Migrate(t.Context()); err != nil {
				t.Fatal(err)
			}
			fn(t, d)
		})
	}
}

func TestWriteRunsAgainAfterADeadlockAndTellsOnce(t *testing.T) {
	each(t, func(t *testing.T, d *DB) {
		events, cancel := d.Hub.Subscribe(TopicHosts)
		defer cancel()
		tries := 0
		err := d.Write(t.Context(), func(tx *Tx) error {
			tries++
			if err := tx.Audit(System, "test.try", "", nil); err != nil {
				return err
			}
			tx.Notify(TopicHosts)
			if tries < 3 {
				return &pgconn.PgError{Code: "40P01"}
			}
			return nil
		})
		if err != nil || tries != 3 {
			t.Fatalf("got %d tries, %v, want 3 and success", tries, err)
		}
		var rows int64
		if err := d.Read(t.Context()).Table("audit").Count(&rows).Error; err != nil || rows != 1 {
			t.Fatalf("audit rows: got %d, %v, want 1: the failed tries left nothing", rows, err)
		}
		if len(events) != 1 {
			t.Fatalf("told %d times, want once", len(events))
		}
	})
}

// TestWriteOfACallerWhoWentAwaySaysSo: the pool has rolled back by then, and says only that the transaction is over.
func TestWriteOfACallerWhoWentAwaySaysSo(t *testing.T) {
	each(t, func(t *testing.T, d *DB) {
		ctx, cancel := context.WithCancel(t.Context())
		err := d.Write(ctx, func(tx *Tx) error {
			if err := tx.Audit(System, "test.gone", "", nil); err != nil {
				return err
			}
			cancel()
			// SQLite has one connection for writing: this one gets it once the other is rolled back.
			return d.Write(t.Context(), func(*Tx) error { return nil })
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want the caller's cancellation", err)
		}
		var rows int64
		if err := d.Read(t.Context()).Table("audit").Count(&rows).Error; err != nil || rows != 0 {
			t.Errorf("audit rows: got %d, %v, want none", rows, err)
		}
	})
}

func TestRollbackTellsNobody(t *testing.T) {
	each(t, func(t *testing.T, d *DB) {
		events, cancel := d.Hub.Subscribe(TopicHosts)
		defer cancel()
		failed := errors.New("no")
		err := d.Write(t.Context(), func(tx *Tx) error {
			tx.Notify(TopicHosts)
			return failed
		})
		if !errors.Is(err, failed) || len(events) != 0 {
			t.Fatalf("got %v and %d events, want the error and none", err, len(events))
		}
	})
}

func TestTheHubGoesByTheDatabasesClock(t *testing.T) {
	d := open(t, databasetest.New(t, "postgres"))
	for what, look := range map[string]func() (time.Time, error){
		"asked": func() (time.Time, error) { return d.Now(t.Context()) },
		"in a transaction": func() (now time.Time, err error) {
			err = d.Write(t.Context(), func(tx *Tx) error { now = tx.Now; return nil })
			return now, err
		},
		"selected": func() (time.Time, error) {
			at := time.Now().Add(-20 * time.Minute) // a database whose clock is slow
			return d.Selected(&at), nil
		},
	} {
		d.ahead.Store(int64(time.Hour)) // this process's clock was set meanwhile
		want, err := look()
		if got := d.sharedClock(); err != nil || got.Sub(want).Abs() > 5*time.Second {
			t.Errorf("%s: got %s, %v, want %s", what, got, err, want)
		}
	}
}

func TestOtherReplicaHearsAfterTheCommit(t *testing.T) {
	u := databasetest.New(t, "postgres")
	a, b := open(t, u), open(t, u)
	events, cancel := b.Hub.Subscribe(TopicJob("x"))
	defer cancel()
	deadline := time.After(20 * time.Second)
	for { // until b listens
		if err := a.Write(t.Context(), func(tx *Tx) error { tx.Notify(TopicJob("x")); return nil }); err != nil {
			t.Fatal(err)
		}
		select {
		case got := <-events:
			if got != TopicJob("x") {
				t.Fatalf("topic: got %q, want %q", got, TopicJob("x"))
			}
			return
		case <-time.After(200 * time.Millisecond):
		case <-deadline:
			t.Fatal("the other replica heard nothing")
		}
	}
}

func TestTheHubIsQuietWhereNothingWasPublishedSinceTheMark(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	h := newHub(func() time.Time { return now }) // a clock that stands still
	h.Publish(TopicHosts)
	mark := h.Mark()
	quiet := func(want bool, when string) {
		t.Helper()
		if got := h.Quiet(mark, TopicHosts, TopicPolicies); got != want {
			t.Errorf("%s: got quiet %v, want %v", when, got, want)
		}
	}
	quiet(true, "at once")
	h.Publish(TopicJobs, TopicJob("x"), TopicWake("y"))
	quiet(true, "after others")
	h.Publish(TopicPolicies)
	h.Publish(TopicJobs)
	quiet(false, "after one of them")
	mark = h.Mark()
	quiet(true, "since then")
	h.forget()
	quiet(false, "after a gap")
	mark = h.Mark()
	quiet(true, "since the gap")
}

func TestChangesRepeatsTheLastSecondsAndSaysWhenTheCursorIsTooOld(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	h := newHub(func() time.Time { return now })
	start := now
	h.Publish(TopicHosts)
	now = now.Add(10 * time.Second)
	_, cursor, _ := h.Changes(start)
	h.Publish(TopicJobs, TopicWake("h"))
	now = now.Add(2 * time.Second)
	topics, next, all := h.Changes(cursor)
	if len(topics) != 1 || topics[0] != TopicJobs || all {
		t.Fatalf("since the cursor: got %v, all %v, want jobs alone", topics, all)
	}
	if topics, _, _ := h.Changes(next); len(topics) != 1 {
		t.Fatalf("2 s later: got %v, want jobs once more: commits come out of order", topics)
	}
	if _, _, all := h.Changes(start.Add(-time.Minute)); !all {
		t.Fatal("a cursor from before the start: want all")
	}
	now = now.Add(-time.Second) // set back
	h.Publish(TopicHosts)
	_, cursor, _ = h.Changes(next)
	if again, _, _ := h.Changes(cursor.Add(overlap)); len(again) != 0 {
		t.Fatalf("after what was told: got %v, want nothing", again)
	}
	h.Publish(TopicJobs)
	if later, _, _ := h.Changes(cursor.Add(overlap)); len(later) != 1 || later[0] != TopicJobs {
		t.Fatalf("after that: got %v, want jobs alone", later)
	}
}
