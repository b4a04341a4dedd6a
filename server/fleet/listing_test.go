package fleet

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"restic-manager/server/database"
	"restic-manager/server/fault"
	"restic-manager/shared/wire"
)

// snapshotLine is one line of a listing; n makes the id and the time.
func snapshotLine(n int, hostname string) []byte {
	raw, err := json.Marshal(wire.Snapshot{
		ID: fmt.Sprintf("%064x", n), Time: time.Date(2026, 1, 1, 0, 0, n, 0, time.UTC), Tree: repo(1), Hostname: hostname,
		Paths: []string{"/data"}, Summary: &wire.SnapshotSummary{TotalBytesProcessed: int64(n), TotalFilesProcessed: 1},
	})
	if err != nil {
		panic(err)
	}
	return append(raw, '\n')
}

// list uploads lines in parts of at most size lines and commits them.
func (x *fixture) list(host, token, repository string, lines [][]byte, size int) error {
	x.t.Helper()
	n := 0
	for i := 0; i < len(lines); i += size {
		if err := x.PutListingPart(x.t.Context(), host, token, n, bytes.Join(lines[i:min(i+size, len(lines))], nil)); err != nil {
			return err
		}
		n++
	}
	return x.CommitListing(x.t.Context(), host, token, wire.CommitRequest{
		Parts: n, Count: len(lines), SHA256: shaHex(bytes.Join(lines, nil)), RepositoryID: repository,
	})
}

func (x *fixture) draw(host, job string) string {
	x.t.Helper()
	reply, err := x.BeginListing(x.t.Context(), host, job)
	if err != nil {
		x.t.Fatal(err)
	}
	return reply.Token
}

func (x *fixture) shown(host string, all bool) (ids []int, page SnapshotPage) {
	x.t.Helper()
	for p := (Page{Limit: 7}); ; {
		page, err := x.Snapshots(x.t.Context(), host, SnapshotFilter{All: all}, p)
		if err != nil {
			x.t.Fatal(err)
		}
		for _, s := range page.Snapshots {
			var n int
			if _, err := fmt.Sscanf(s.ID, "%x", &n); err != nil {
				x.t.Fatal(err)
			}
			ids = append(ids, n)
		}
		if page.NextCursor == "" {
			return ids, page
		}
		p.Cursor = page.NextCursor
	}
}

func snapshotLines(from, to int, hostname string) (lines [][]byte) {
	for n := from; n <= to; n++ {
		lines = append(lines, snapshotLine(n, hostname))
	}
	return lines
}

func TestListingReplacesTheListAndCountsItsHosts(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		host := x.host("a")
		job := x.queue(host, wire.KindSnapshots)
		for _, c := range []struct{ from, to int }{{1, 20}, {5, 21}, {8, 9}, {1, 0}, {3, 4}} {
			token := x.draw(host, job)
			drawn := x.clock.Now()
			x.clock.Advance(time.Minute)
			lines := append(snapshotLines(c.from, c.to, "h"), snapshotLine(1000, "other"))
			if err := x.list(host, token, repo(5), lines, 6); err != nil {
				t.Fatal(err)
			}
			if err := x.list(host, token, repo(5), lines, 6); err != nil {
				t.Errorf("the same commit again: %v", err)
			}
			ids, page := x.shown(host, false)
			if len(ids) != c.to-c.from+1 || page.RefreshedAt == nil || !page.RefreshedAt.Equal(drawn) {
				t.Errorf("%v: got %v at %v, want that at %v", c, ids, page.RefreshedAt, drawn)
			}
			for i, n := range ids {
				if n != c.to-i {
					t.Errorf("%v: got %v, want the newest first", c, ids)
					break
				}
			}
			if all, _ := x.shown(host, true); len(all) != len(ids)+1 {
				t.Errorf("%v: got %d of the whole repository, want %d", c, len(all), len(ids)+1)
			}
			h, err := x.HostByID(t.Context(), host)
			if err != nil || h.SnapshotCount != int64(len(ids)) {
				t.Errorf("%v: got a count of %d, %v, want %d", c, h.SnapshotCount, err, len(ids))
			}
		}
		if err := x.db.Write(t.Context(), func(tx *database.Tx) error { return x.recordHostname(tx, host, "other") }); err != nil {
			t.Fatal(err)
		}
		if h, err := x.HostByID(t.Context(), host); err != nil || h.SnapshotCount != 3 {
			t.Errorf("with a hostname more: got a count of %d, %v, want 3", h.SnapshotCount, err)
		}
	})
}

func TestListingIsRefusedWhenAnotherWasCommittedSinceItsDraw(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		host := x.host("a")
		job := x.queue(host, wire.KindSnapshots)
		older, newer := x.draw(host, job), x.draw(host, job)
		if err := x.list(host, older, repo(5), snapshotLines(1, 2, "h"), 9); err != nil {
			t.Fatal(err)
		}
		if err := x.list(host, newer, repo(5), snapshotLines(1, 3, "h"), 9); !fault.Is(err, wire.ProblemListingSuperseded) {
			t.Errorf("drawn before another commit: got %v, want %s", err, wire.ProblemListingSuperseded)
		}
		if err := x.list(host, hex32(77), repo(5), nil, 9); !fault.Is(err, wire.ProblemListingSuperseded) {
			t.Errorf("an unknown token: got %v, want %s", err, wire.ProblemListingSuperseded)
		}
		other := x.host("b")
		if err := x.list(other, x.draw(host, job), repo(5), nil, 9); !fault.Is(err, wire.ProblemListingSuperseded) {
			t.Errorf("another host's token: got %v, want %s", err, wire.ProblemListingSuperseded)
		}
		if ids, _ := x.shown(host, false); len(ids) != 2 {
			t.Errorf("got %v, want the committed list", ids)
		}
	})
}

// TestInterleavedListingsShowTheNewestCommitted lets three hosts, over two replicas, draw, upload and commit in
// random order: the list is that of the greatest committed token, and refused commits change nothing.
func TestInterleavedListingsShowTheNewestCommitted(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		replicas := []*fixture{x, x.replica()}
		var hosts, jobs [3]string
		for i := range hosts {
			hosts[i] = x.host(fmt.Sprintf("h%d", i))
			jobs[i] = x.queue(hosts[i], wire.KindSnapshots)
		}
		type draw struct {
			token string
			n     int
			lines [][]byte
		}
		var drawn [3]*draw
		var want *draw
		random := rand.New(rand.NewPCG(1, 2))
		refused, committed := 0, 0
		for n := range 60 {
			i, r := random.IntN(3), replicas[random.IntN(2)]
			if drawn[i] == nil {
				from := random.IntN(10)
				drawn[i] = &draw{r.draw(hosts[i], jobs[i]), n, snapshotLines(from, from+random.IntN(12), "h")}
				continue
			}
			d := drawn[i]
			drawn[i] = nil
			err := r.list(hosts[i], d.token, repo(5), d.lines, 4)
			switch {
			case fault.Is(err, wire.ProblemListingSuperseded):
				refused++
			case err != nil:
				t.Fatal(err)
			default:
				if want != nil && d.n < want.n {
					t.Fatalf("a list drawn at %d was taken after one drawn at %d", d.n, want.n)
				}
				want = d
				committed++
			}
			ids, _ := r.shown(hosts[i], true)
			if want != nil && len(ids) > 0 && len(ids) != len(want.lines) {
				t.Fatalf("step %d: got %d snapshots, want %d", n, len(ids), len(want.lines))
			}
		}
		if refused == 0 || committed == 0 {
			t.Errorf("got %d refused and %d committed, want some of both", refused, committed)
		}
	})
}

// TestAListOfTheRepositoryBeforeLeavesTheHostWithItsNewOne: a machine is moved to another repository while a job about the old one is
// under way. The list is taken as that of the old one, and the host is not tied to it again.
func TestAListOfTheRepositoryBeforeLeavesTheHostWithItsNewOne(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		stays := x.host("stays")
		if err := x.list(stays, x.draw(stays, x.queue(stays, wire.KindSnapshots)), repo(5), snapshotLines(1, 3, "h"), 9); err != nil {
			t.Fatal(err)
		}
		begin := func(host, repository string) string {
			id := x.queue(host, wire.KindSnapshots)
			x.take(host, id, 1)
			if err := x.Start(t.Context(), host, id, hex32(1), wire.StartRequest{StartNonce: hex32(2), RepositoryID: repository}); err != nil {
				t.Fatal(err)
			}
			return id
		}
		for i, c := range []struct{ drawnBefore, next bool }{{true, false}, {false, false}, {true, true}} {
			host := x.host(fmt.Sprintf("moves-%d", i))
			old := begin(host, repo(5))
			token := ""
			if c.drawnBefore {
				token = x.draw(host, old)
			}
			if err := x.db.Write(t.Context(), func(tx *database.Tx) error { return untieHosts(tx, []string{host}) }); err != nil {
				t.Fatal(err)
			}
			if !c.drawnBefore {
				token = x.draw(host, old)
			}
			want := ""
			if c.next {
				x.finish(host, old, 0, shaHex(nil))
				want = repo(6)
				begin(host, want)
			}
			if err := x.list(host, token, repo(5), snapshotLines(1, 4+i, "h"), 9); err != nil {
				t.Errorf("%+v: %v", c, err)
			}
			if ids, _ := x.shown(stays, true); len(ids) != 4+i {
				t.Errorf("%+v: a host of the old repository shows %v, want the new list", c, ids)
			}
			h, err := x.HostByID(t.Context(), host)
			if err != nil || h.SnapshotCount != 0 || h.RepositoryID == nil && want != "" || h.RepositoryID != nil && *h.RepositoryID != want {
				t.Errorf("%+v: got a host of repository %v with %d snapshots, %v, want %q and none", c, h.RepositoryID, h.SnapshotCount, err, want)
			}
		}
	})
}

func TestListingPartsAreCheckedAndTheirFailureIsShown(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		host := x.host("a")
		job := x.queue(host, wire.KindSnapshots)
		if err := x.list(host, x.draw(host, job), repo(5), snapshotLines(1, 3, "h"), 9); err != nil {
			t.Fatal(err)
		}
		id := fmt.Sprintf("%064x", 9)
		for what, body := range map[string]string{
			"no newline":    `{"id":"` + id + `"}`,
			"no JSON":       "x\n",
			"a short id":    `{"id":"abc"}` + "\n",
			"an empty line": "\n",
			"upper case":    `{"id":"` + strings.Repeat("A", 64) + `"}` + "\n",
		} {
			if err := x.PutListingPart(t.Context(), host, x.draw(host, job), 0, []byte(body)); !fault.Is(err, "invalid") {
				t.Errorf("%s: got %v, want invalid", what, err)
			}
		}
		twice := `{"id":"` + id + `","id":"` + id + `00"}` + "\n"
		if err := x.list(host, x.draw(host, job), repo(5), [][]byte{[]byte(twice)}, 9); !fault.Is(err, "invalid") {
			t.Errorf("an id that changes on the way: got %v, want invalid", err)
		}
		token := x.draw(host, job)
		if err := x.PutListingPart(t.Context(), host, token, 1, snapshotLine(1, "h")); !fault.Is(err, wire.ProblemListingSuperseded) {
			t.Errorf("a part before its predecessor: got %v", err)
		}
		if err := x.PutListingPart(t.Context(), host, token, 0, snapshotLine(1, "h")); err != nil {
			t.Error(err)
		}
		if err := x.PutListingPart(t.Context(), host, token, 0, snapshotLine(2, "h")); !fault.Is(err, wire.ProblemListingSuperseded) {
			t.Errorf("another part in its place: got %v", err)
		}
		if err := x.CommitListing(t.Context(), host, token, wire.CommitRequest{Parts: 1, Count: 1, SHA256: repo(1), RepositoryID: repo(5)}); !fault.Is(err, wire.ProblemListingSuperseded) {
			t.Errorf("another sum: got %v", err)
		}
		if err := x.CommitListing(t.Context(), host, token, wire.CommitRequest{Error: "wrong password\x00"}); err != nil {
			t.Error(err)
		}
		h, err := x.HostByID(t.Context(), host)
		if err != nil || !strings.HasPrefix(h.ListingError, "wrong password") || h.SnapshotCount != 3 {
			t.Errorf("got %q and %d snapshots, %v, want the words and the old list", h.ListingError, h.SnapshotCount, err)
		}
		if err := x.list(host, x.draw(host, job), repo(5), snapshotLines(1, 4, "h"), 9); err != nil {
			t.Fatal(err)
		}
		if h, err := x.HostByID(t.Context(), host); err != nil || h.ListingError != "" {
			t.Errorf("after a commit: got %q, %v, want no words", h.ListingError, err)
		}
	})
}

func TestPoisonInAListingIsShownAndNeverFails(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		host := x.host("a")
		job := x.queue(host, wire.KindSnapshots)
		id := func(n int) string { return fmt.Sprintf("%064x", n) }
		var lines [][]byte
		for n, rest := range []string{
			`"time":"9999-12-31T23:59:59-23:59","hostname":"h"`, `"time":"0000-01-01T00:00:00+23:59","hostname":"h"`,
			`"time":"2026-01-01T00:00:00Z","hostname":"h\u0000x\u202e","paths":["/a\u0000b","/\ud800"],"tags":["\u001b[31m"],"username":"\ud800"`,
			`"time":"2026-01-01T00:00:00Z","hostname":"h","paths":null,"summary":null`,
		} {
			lines = append(lines, []byte(`{"id":"`+id(n)+`",`+rest+"}\n"))
		}
		lines = append(lines, []byte("{\"id\":\""+id(50)+"\",\"hostname\":\"\xff\xfe\"}\n"))
		if err := x.list(host, x.draw(host, job), repo(5), lines, 2); err != nil {
			t.Fatal(err)
		}
		page, err := x.Snapshots(t.Context(), host, SnapshotFilter{All: true}, Page{})
		if err != nil || len(page.Snapshots) != len(lines) {
			t.Fatalf("got %d, %v, want %d", len(page.Snapshots), err, len(lines))
		}
		if _, err := json.Marshal(page); err != nil {
			t.Errorf("the page cannot be sent: %v", err)
		}
	})
}

// hears waits until x hears what y publishes: it listens from some moment on, and takes no cursor from before.
func (x *fixture) hears(y *fixture) {
	x.t.Helper()
	begun, err := x.Changes(x.t.Context(), "", 0)
	for heard := false; err == nil && !heard; {
		y.db.Publish(database.TopicAudit)
		var page ChangesPage
		page, err = x.Changes(x.t.Context(), begun.Next, 100*time.Millisecond)
		heard = slices.Contains(page.Topics, database.TopicAudit)
	}
	if err != nil {
		x.t.Fatal(err)
	}
}

func TestChangesTellsWhatIsNewAndDoesNotAskInACircle(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		x.hears(x.replica())
		first, err := x.Changes(t.Context(), "", 0)
		if err != nil || first.All || len(first.Topics) != 0 {
			t.Fatalf("the first: got %+v, %v, want a cursor alone", first, err)
		}
		x.clock.Advance(time.Second)
		x.host("a")
		second, err := x.Changes(t.Context(), first.Next, 20*time.Second)
		if err != nil || len(second.Topics) == 0 || second.All {
			t.Fatalf("after a change: got %+v, %v, want topics", second, err)
		}
		x.clock.Advance(time.Millisecond)
		mark := make(chan ChangesPage)
		third, err := x.Changes(t.Context(), first.Next, 0)
		if err != nil {
			t.Fatal(err)
		}
		x.clock.Advance(time.Millisecond)
		go func() {
			page, err := x.Changes(t.Context(), third.Next, 300*time.Millisecond)
			if err != nil {
				t.Error(err)
			}
			mark <- page
		}()
		began := time.Now()
		<-mark
		if time.Since(began) < 250*time.Millisecond {
			t.Error("what was told before ended the wait again")
		}
		if _, err := x.Changes(t.Context(), "nonsense", 0); !fault.Is(err, "invalid") {
			t.Errorf("nonsense: got %v, want invalid", err)
		}
	})
}

// A proxy may ask replicas in turn: each takes the other's cursor, and none of them asks in a circle.
func TestChangesAreToldByReplicasInTurn(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		y := x.replica()
		y.hears(x)
		x.hears(y)
		x.clock.Advance(2 * changesOverlap)
		first, err := x.Changes(t.Context(), "", 0)
		if err != nil {
			t.Fatal(err)
		}
		x.clock.Advance(time.Millisecond)
		x.host("a")
		second, err := y.Changes(t.Context(), first.Next, 20*time.Second)
		if err != nil || second.All || !slices.Contains(second.Topics, database.TopicHosts) {
			t.Fatalf("y with a cursor of x: got %+v, %v, want what changed", second, err)
		}
		x.clock.Advance(changesLate / 2)
		if second, err = y.Changes(t.Context(), "", 0); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		third, err := x.Changes(t.Context(), second.Next, 20*time.Second)
		if took := time.Since(began); err != nil || !slices.Contains(third.Topics, database.TopicHosts) || took < changesPause || took > 10*time.Second {
			t.Errorf("x with a cursor from when y might not have heard: got %+v, %v after %s, want what changed after a pause", third, err, took)
		}
		x.clock.Advance(2 * changesLate)
		if third, err = x.Changes(t.Context(), "", 0); err != nil {
			t.Fatal(err)
		}
		began = time.Now()
		if _, err := y.Changes(t.Context(), third.Next, 2*changesPause); err != nil || time.Since(began) < 2*changesPause {
			t.Errorf("what was told before ended the wait again: %v after %s", err, time.Since(began))
		}
	})
}
