package fleet

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"restic-manager/server/database"
)

func TestAnOverviewIsCountedAgainWhereSomethingChangedOrTimePassed(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		host := x.host("a")
		total := func(want int64, when string) {
			t.Helper()
			o, err := x.Overview(t.Context(), HostFilter{Statuses: []string{"offline"}}, "")
			if err != nil || o.Hosts.Total != want {
				t.Errorf("%s: got %d hosts, %v, want %d", when, o.Hosts.Total, err, want)
			}
		}
		total(0, "at first")
		x.set(t, host, "status = 'offline'")
		total(0, "before anything is heard of the change")
		x.db.Publish(database.TopicJob("x"), database.TopicHost(host))
		total(0, "after news of what is not counted")
		x.db.Publish(database.TopicHosts)
		total(1, "after the news")
		x.set(t, host, "status = 'online'")
		x.clock.Advance(recentFor - time.Millisecond)
		total(1, "before it is old")
		x.clock.Advance(time.Millisecond)
		total(0, "when it is old")
		x.set(t, host, "status = 'offline'")
		x.clock.Advance(-time.Second)
		total(1, "after the clock was set back")
		if o, err := x.Overview(t.Context(), HostFilter{}, ""); err != nil || o.Hosts.Total != 1 || o.Hosts.Offline != 1 {
			t.Errorf("of all: got %+v, %v, want one", o.Hosts, err)
		}
	})
}

// changing is news by number: each second is one more.
type changing struct {
	mu            sync.Mutex // guards all below
	last, changed time.Time
}

func (c *changing) Mark() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = c.last.Add(time.Second)
	return c.last
}

func (c *changing) Quiet(mark time.Time, _ ...string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.changed.After(mark)
}

func (c *changing) change() {
	at := c.Mark()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changed = at
}

// Those who ask while one is being counted take that one, or all of them the next if something changed meanwhile, however much
// changes. One who goes away, and a count that fails, leave the others theirs.
func TestOverviewsAreCountedOnceForAllWhoWait(t *testing.T) {
	for name, c := range map[string]struct {
		change, fail bool
		counts       int64
	}{
		"nothing changes":       {counts: 1},
		"something always does": {change: true, counts: 2},
		"the first fails":       {fail: true, counts: 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := new(changing)
				r := newRecent(n, func(context.Context) (time.Time, error) { return time.Now(), nil })
				counts, first := int64(0), make(chan error)
				count := func(time.Time) (o Overview, err error) {
					if counts++; counts == 1 {
						err = <-first
					}
					if c.change { // while each is counted
						n.change()
					}
					o.AttentionTotal = counts
					return o, err
				}
				got := make(chan int64, 11)
				ask := func(ctx context.Context) {
					o, err := r.overview(ctx, HostFilter{}, "", count)
					if err != nil {
						o.AttentionTotal = -1
					}
					got <- o.AttentionTotal
				}
				go ask(t.Context())
				synctest.Wait()
				leaves, leave := context.WithCancel(t.Context())
				go ask(leaves)
				for range 9 {
					go ask(t.Context())
				}
				synctest.Wait()
				leave()
				synctest.Wait()
				if o := <-got; o != -1 {
					t.Fatalf("who went away got %d, want nothing", o)
				}
				if c.fail {
					first <- errors.New("away")
				}
				close(first)
				want := map[bool]int64{false: 1, true: -1}[c.fail]
				for i := range 10 {
					if o := <-got; o != want {
						t.Fatalf("%d. answer: got %d, want %d", i+1, o, want)
					}
					want = c.counts
				}
				if counts != c.counts {
					t.Errorf("counted %d times, want %d", counts, c.counts)
				}
			})
		})
	}
}

func TestFewOverviewsAreKept(t *testing.T) {
	r := newRecent(new(changing), func(context.Context) (time.Time, error) { return time.Now(), nil })
	for i := range 3 * recentMost {
		o, err := r.overview(t.Context(), HostFilter{Search: string(rune('a' + i))}, "", func(time.Time) (Overview, error) { return Overview{AttentionTotal: int64(i)}, nil })
		if err != nil || o.AttentionTotal != int64(i) {
			t.Fatalf("got %d, %v, want %d", o.AttentionTotal, err, i)
		}
		if len(r.by) > recentMost {
			t.Fatalf("%d are kept, want %d at most", len(r.by), recentMost)
		}
	}
}
