package fleet

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"restic-manager/server/fault"
	"restic-manager/shared/wire"
)

// finishWith ends the job of lease 1 with a list riding on its result.
func (x *fixture) finishWith(host, id string, l *wire.Listing) wire.FinishReply {
	x.t.Helper()
	r := wire.FinishRequest{State: wire.StateSucceeded, LogSHA256: shaHex(nil), Listing: l}
	reply, err := x.Finish(x.t.Context(), host, id, hex32(1), mustJSON(r), r)
	if err != nil {
		x.t.Fatal(err)
	}
	return reply
}

func riding(token, repository string, lines [][]byte) *wire.Listing {
	l := &wire.Listing{Token: token, RepositoryID: repository}
	for _, line := range lines {
		l.Snapshots = append(l.Snapshots, json.RawMessage(line[:len(line)-1]))
	}
	return l
}

func TestListThatRidesOnAFinishReplacesTheOldOne(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		host := x.host("a")
		for _, c := range []struct{ from, to int }{{1, 12}, {3, 13}, {1, 0}} {
			id := x.runningJob(host)
			l := riding(x.draw(host, id), repo(5), snapshotLines(c.from, c.to, "h"))
			drawn := x.clock.Now()
			x.clock.Advance(time.Minute)
			for range 2 { // the finish again, as after a lost reply
				if reply := x.finishWith(host, id, l); reply.ListingRefused || reply.Late {
					t.Errorf("%v: got %+v, want the list taken", c, reply)
				}
			}
			ids, page := x.shown(host, false)
			if len(ids) != c.to-c.from+1 || page.RefreshedAt == nil || !page.RefreshedAt.Equal(drawn) {
				t.Errorf("%v: got %v at %v, want that at %v", c, ids, page.RefreshedAt, drawn)
			}
			h, err := x.HostByID(t.Context(), host)
			if err != nil || h.SnapshotCount != int64(len(ids)) {
				t.Errorf("%v: got a count of %d, %v, want %d", c, h.SnapshotCount, err, len(ids))
			}
		}
	})
}

func TestFinishSaysWhenItsListWasNotTakenAndTheResultStands(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		host := x.host("a")
		keeper := x.queue(host, wire.KindSnapshots)
		for what, make := range map[string]func(token string) *wire.Listing{
			"overtaken": func(token string) *wire.Listing {
				if err := x.list(host, x.draw(host, keeper), repo(5), snapshotLines(1, 3, "h"), 9); err != nil {
					t.Fatal(err)
				}
				return riding(token, repo(5), snapshotLines(1, 9, "h"))
			},
			"an unknown token":      func(string) *wire.Listing { return riding(hex32(99), repo(5), nil) },
			"no token":              func(string) *wire.Listing { return riding("", repo(5), nil) },
			"no repository":         func(token string) *wire.Listing { return riding(token, "", nil) },
			"another repository":    func(token string) *wire.Listing { return riding(token, repo(6), nil) },
			"a snapshot without id": func(token string) *wire.Listing { return riding(token, repo(5), [][]byte{[]byte("{}\n")}) },
			"a snapshot of no JSON": func(token string) *wire.Listing { return riding(token, repo(5), [][]byte{[]byte("null \n")}) },
		} {
			if err := x.list(host, x.draw(host, keeper), repo(5), snapshotLines(1, 3, "h"), 9); err != nil {
				t.Fatal(err)
			}
			id := x.runningJob(host)
			token := x.draw(host, id)
			if reply := x.finishWith(host, id, make(token)); !reply.ListingRefused || reply.Late {
				t.Errorf("%s: got %+v, want the list refused and the result taken", what, reply)
			}
			x.wantState(id, wire.StateSucceeded)
			if ids, _ := x.shown(host, false); len(ids) != 3 {
				t.Errorf("%s: got %v, want the old list", what, ids)
			}
		}
	})
}

// TestAnInitInPlaceOfARepositoryEmptiesTheList: the old repository is gone, and the host's list with it, also where nothing runs after
// the init but its own listing. restic 0.14 does not tell the id of the new one, so that the finish does not.
func TestAnInitInPlaceOfARepositoryEmptiesTheList(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		for i, c := range []struct{ told, rides, late bool }{{true, true, false}, {true, false, false}, {true, false, true}, {false, true, false}, {false, false, false}} {
			host := x.host(fmt.Sprintf("h%d", i))
			if err := x.list(host, x.draw(host, x.queue(host, wire.KindSnapshots)), repo(5), snapshotLines(1, 3, "h"), 9); err != nil {
				t.Fatal(err)
			}
			init := x.queue(host, wire.KindInit)
			x.begin(host, init, 1)
			drawn, stray := x.draw(host, init), x.draw(host, x.queue(host, wire.KindBackup))
			r := wire.FinishRequest{State: wire.StateSucceeded, LogSHA256: shaHex(nil), Summary: &wire.Summary{}}
			if c.told {
				r.Summary.RepositoryID = repo(6 + i)
			}
			if c.rides {
				r.Listing = riding(drawn, repo(6+i), nil)
			}
			if reply, err := x.Finish(t.Context(), host, init, hex32(1), mustJSON(r), r); err != nil || reply.ListingRefused {
				t.Fatalf("%+v: finish: got %+v, %v", c, reply, err)
			}
			if c.late {
				drawn = x.draw(host, init)
			}
			if err := x.list(host, stray, repo(40), nil, 9); !fault.Is(err, wire.ProblemListingSuperseded) {
				t.Errorf("%+v: a backup's list of a third repository: got %v, want %s", c, err, wire.ProblemListingSuperseded)
			}
			if !c.rides {
				if err := x.list(host, drawn, repo(6+i), nil, 9); err != nil {
					t.Errorf("%+v: the list of the new repository: %v", c, err)
				}
			}
			ids, page := x.shown(host, false)
			h, err := x.HostByID(t.Context(), host)
			if err != nil || len(ids) != 0 || h.SnapshotCount != 0 || page.RefreshedAt == nil || *h.RepositoryID != repo(6+i) {
				t.Errorf("%+v: got %v, refreshed at %v, a count of %d of %s, %v, want an empty list of the new repository", c, ids, page.RefreshedAt, h.SnapshotCount, *h.RepositoryID, err)
			}
		}
	})
}
