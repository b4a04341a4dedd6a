package fleet

import (
	"testing"
	"time"

	"restic-manager/server/database"
	"restic-manager/shared/wire"
)

func (x *fixture) waitingOf(id string) Waiting {
	x.t.Helper()
	j, err := x.WithWaiting(x.t.Context(), x.job(id))
	if err != nil {
		x.t.Fatal(err)
	}
	if j.Waiting == nil {
		return Waiting{}
	}
	return *j.Waiting
}

// wantWaiting compares the reason and whom it names.
func (x *fixture) wantWaiting(what, id, reason, job string) {
	x.t.Helper()
	got := x.waitingOf(id)
	if got.Reason != reason || got.JobID != job {
		x.t.Errorf("%s: got %+v, want %s of job %q", what, got, reason, job)
	}
	if job != "" && (got.Kind == "" || got.HostID == "" || got.HostName == "" || got.Since == nil) {
		x.t.Errorf("%s: got %+v, want kind, host and time", what, got)
	}
}

func TestAQueuedJobSaysWhatItWaitsFor(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		x.settle()
		a, b := x.host("a"), x.host("b")
		first, second, check := x.queue(a, wire.KindBackup), x.queue(a, wire.KindBackup), x.queue(a, wire.KindSnapshots)
		x.wantWaiting("nothing in the way", first, "delivery", "")
		x.wantWaiting("behind another of its lane", second, "turn", first)
		x.wantWaiting("in the other lane", check, "delivery", "")
		if o := x.poll(a, 2).Offer; o == nil || o.JobID != first {
			t.Fatalf("offered %+v, want the first", o)
		}
		x.begin(a, first, 1)
		x.wantWaiting("a running job", first, "", "")
		x.wantWaiting("its lane is taken", second, "host_busy", first)
		x.end(a, first, 1, wire.StateSucceeded)
		x.wantWaiting("an ended job", first, "", "")
		x.wantWaiting("the lane is free", second, "delivery", "")

		x.use(a, repo(1))
		x.use(b, repo(1))
		prune := x.queue(b, wire.KindPrune)
		x.begin(b, prune, 2)
		x.wantWaiting("the repository is held", second, "repository_busy", prune)
		x.end(b, prune, 2, wire.StateSucceeded)
		x.begin(a, second, 3)
		exclusive := x.queue(b, wire.KindPrune)
		x.wantWaiting("shared holds are in the way", exclusive, "repository_busy", second)
		c := x.host("c")
		x.use(c, repo(1))
		later := x.queue(c, wire.KindBackup)
		x.wantWaiting("an exclusive job goes first", later, "turn", exclusive)

		x.write(t, func(tx *database.Tx) error { return raiseAlarm(tx, c) })
		x.wantWaiting("clone alarm", later, "clone_alarm", "")
		x.pass(2 * time.Minute)
		x.wantWaiting("nobody asks for it", exclusive, "host_offline", "")
		if w := x.waitingOf(exclusive); w.HostID != b || w.HostName != "b" || w.Since == nil {
			t.Errorf("offline: got %+v, want the host and since when", w)
		}
	})
}
