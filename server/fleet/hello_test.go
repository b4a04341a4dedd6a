package fleet

import (
	"strings"
	"testing"
	"time"

	"restic-manager/server/fault"
	"restic-manager/shared/wire"
)

func (x *fixture) repositoryOf(host string) string {
	x.t.Helper()
	h, err := x.HostByID(x.t.Context(), host)
	if err != nil {
		x.t.Fatal(err)
	}
	if h.RepositoryID == nil {
		return ""
	}
	return *h.RepositoryID
}

// TestHelloFollowsTheHostFromOneRepositoryToAnother: what a hello says of the host's own configuration decides
// which repository its next jobs hold; what the server holds goes before it.
func TestHelloFollowsTheHostFromOneRepositoryToAnother(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		h, other := x.host("web"), x.host("db")
		x.use(other, repo(2))
		seq := int64(1)
		say := func(id, location, want string) {
			t.Helper()
			seq++
			r := helloOf("b1", 1, seq, x.clock.Now())
			if location != "" {
				r.Repositories = []wire.RepositoryReport{{Name: wire.RepositoryLocal, ID: id, Location: location}}
			}
			if _, err := x.Hello(t.Context(), h, r); err != nil {
				t.Fatal(err)
			}
			if got := x.repositoryOf(h); got != want {
				t.Fatalf("after a hello with %q at %q: got %q, want %q", id, location, got, want)
			}
		}
		say("", "/srv/a", "")
		say(repo(1), "/srv/a", repo(1))
		say("", "/srv/a", repo(1)) // not looked yet, by another process
		say("", "/srv/b", "")      // the old id would hold the wrong one
		say(repo(2), "/srv/b", repo(2))

		// The switch is what holds go by.
		prune := x.queue(other, wire.KindPrune)
		x.begin(other, prune, 1)
		backup := x.queue(h, wire.KindBackup)
		if o := x.poll(h, 50).Offer; o != nil {
			t.Fatalf("offered while the repository it has switched to is held: %+v", o)
		}
		say(repo(3), "/srv/c", repo(3))
		o := x.poll(h, 51).Offer
		if o == nil || o.JobID != backup || o.Repository != (wire.RepositoryRef{Name: wire.RepositoryLocal, ID: repo(3)}) {
			t.Fatalf("offer after the switch to a free one: got %+v, want job %s on %s", o, backup, repo(3))
		}

		if err := x.PutRepository(t.Context(), tester, h, RepositoryConfig{URL: "/srv/server", Password: "x"}); err != nil {
			t.Fatal(err)
		}
		say(repo(3), "/srv/c", "") // the host's own counts no more
		if o := x.poll(h, 52).Offer; o == nil || o.Repository != (wire.RepositoryRef{Name: wire.RepositoryServer}) {
			t.Fatalf("offer with the server's repository: got %+v", o)
		}
		x.take(h, backup, 2)
		if err := x.Start(t.Context(), h, backup, hex32(2), wire.StartRequest{StartNonce: hex32(2), RepositoryID: repo(4)}); err != nil {
			t.Fatal(err)
		}
		say(repo(3), "/srv/c", repo(4)) // learnt at the start
		if err := x.DeleteRepository(t.Context(), tester, h); err != nil {
			t.Fatal(err)
		}
		say("", "", "")
		say(repo(3), "/srv/c", repo(3))
		x.whole()
	})
}

// TestHelloOfThePastChangesNothing: a hello that was overtaken brings no older facts back, and one of an older
// process is told so.
func TestHelloOfThePastChangesNothing(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		h := x.host("web")
		say := func(number, seq int64, hostname string) error {
			r := helloOf("b1", number, seq, x.clock.Now())
			r.Facts.Hostname = hostname
			_, err := x.Hello(t.Context(), h, r)
			return err
		}
		if err := say(1, 9, "new"); err != nil {
			t.Fatal(err)
		}
		if err := say(1, 5, "old"); err != nil {
			t.Fatalf("overtaken: got %v, want the same answer", err)
		}
		if got, _ := x.HostByID(t.Context(), h); got.Facts.Hostname != "new" {
			t.Fatalf("hostname: got %q, want the newer hello's", got.Facts.Hostname)
		}
		r := helloOf("b0", 1, 1, x.clock.Now())
		_, err := x.Hello(t.Context(), h, r)
		if e := fault.As(err); e == nil || e.Code != wire.ProblemBootSuperseded || e.BootNumber != 1 {
			t.Fatalf("an equal number: got %v, want %s with 1", err, wire.ProblemBootSuperseded)
		}
		r = helloOf("b2", 2, 1, x.clock.Now())
		r.ProtocolVersion = wire.MinProtocolVersion - 1
		_, err = x.Hello(t.Context(), h, r)
		if e := fault.As(err); e == nil || e.Code != wire.ProblemProtocolTooOld || e.MinProtocolVersion != wire.MinProtocolVersion {
			t.Fatalf("an old protocol: got %v, want %s", err, wire.ProblemProtocolTooOld)
		}
		for _, bad := range []wire.HelloRequest{helloOf("", 2, 1, x.clock.Now()), helloOf("b\n", 2, 1, x.clock.Now()),
			helloOf(strings.Repeat("b", 65), 2, 1, x.clock.Now()), helloOf("b2", 0, 1, x.clock.Now()), helloOf("b2", 2, -1, x.clock.Now())} {
			_, err := x.Hello(t.Context(), h, bad)
			wantCode(t, err, "invalid")
		}
	})
}

// TestHelloGivesAVerdictOnEachFolderAndRenewsItsLease: it ends nothing itself.
func TestHelloGivesAVerdictOnEachFolderAndRenewsItsLease(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		x.settle()
		h := x.host("web")
		running, canceled := x.queue(h, wire.KindBackup), x.queue(h, wire.KindSnapshots)
		x.begin(h, running, 1)
		x.take(h, canceled, 2)
		if _, err := x.CancelJob(t.Context(), tester, canceled); err != nil {
			t.Fatal(err)
		}
		r := helloOf("b1", 1, 2, x.clock.Now())
		r.Jobs = []wire.JobReport{{ID: running, Lease: hex32(1)}, {ID: canceled, Lease: hex32(2)}, {ID: repo(1)[:8] + "-0000-7000-8000-000000000001", Lease: hex32(3)}, {ID: "no id"}}
		verdicts := func() (got []wire.Verdict) {
			t.Helper()
			reply, err := x.Hello(t.Context(), h, r)
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range reply.Jobs {
				got = append(got, v.Verdict)
			}
			return got
		}
		if got := verdicts(); len(got) != 3 || got[0] != wire.VerdictContinue || got[1] != wire.VerdictDrop || got[2] != wire.VerdictDrop {
			t.Fatalf("verdicts: got %v, want continue, drop, drop", got)
		}
		for range 5 {
			x.pass(30 * time.Second)
			verdicts()
		}
		if j := x.job(running); j.DisconnectedSince != nil {
			t.Fatalf("named by hellos all the time: got disconnected since %s", j.DisconnectedSince)
		}
		if _, err := x.CancelJob(t.Context(), tester, running); err != nil {
			t.Fatal(err)
		}
		if got := verdicts(); got[0] != wire.VerdictCancel {
			t.Fatalf("verdict on a job that is to be canceled: got %s", got[0])
		}
		x.wantState(running, wire.StateRunning)
	})
}
