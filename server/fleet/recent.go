package fleet

import (
	"context"
	"fmt"
	"sync"
	"time"

	"restic-manager/server/database"
)

// recentFor is how long an overview is given again while nothing is heard of that changes it: of what only time changes, and of what
// another replica changed while it could not be heard.
const recentFor = 5 * time.Second

// recentMost is how many overviews are kept.
const recentMost = 64

// countedTopics are about what an overview counts.
var countedTopics = []string{database.TopicHosts, database.TopicJobs, database.TopicPolicies}

// recent keeps the newest overviews, so that the counts over all hosts, which every open dashboard asks for at each change, are made
// once for all of them. Who asks gets what was counted after it asked, or what is still so as far as this replica heard.
type recent struct {
	news news
	now  func(context.Context) (time.Time, error) // the database's

	mu sync.Mutex // guards all below
	by map[string]*recentOverview
}

// news tells whether something was heard since a mark. See database.Hub.
type news interface {
	Mark() time.Time
	Quiet(mark time.Time, topics ...string) bool
}

// recentOverview is the newest of one kind. Its fields are for the one who has the turn.
type recentOverview struct {
	turn     chan struct{}
	mark     time.Time // of the news, from before it was counted
	at       time.Time // zero, and so too old, until one was
	overview Overview
}

func newRecent(n news, now func(context.Context) (time.Time, error)) *recent {
	return &recent{news: n, now: now, by: map[string]*recentOverview{}}
}

// of is the newest overview of a kind.
func (r *recent) of(key string) *recentOverview {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.by[key] == nil {
		if len(r.by) >= recentMost {
			clear(r.by) // whoever waits for one has it
		}
		r.by[key] = &recentOverview{turn: make(chan struct{}, 1)}
	}
	return r.by[key]
}

// overview gives the newest of what f and group ask for, from count where none will do. Those who wait for one that is being counted
// all take the next.
func (r *recent) overview(ctx context.Context, f HostFilter, group string, count func(now time.Time) (Overview, error)) (Overview, error) {
	asked := r.news.Mark()
	o := r.of(fmt.Sprintf("%#v %q", f, group))
	select {
	case o.turn <- struct{}{}:
	case <-ctx.Done():
		return Overview{}, ctx.Err()
	}
	defer func() { <-o.turn }()
	at, err := r.now(ctx)
	if err != nil {
		return Overview{}, err
	}
	if age := at.Sub(o.at); o.mark.After(asked) || age >= 0 && age < recentFor && r.news.Quiet(o.mark, countedTopics...) {
		return o.overview, nil
	}
	mark := r.news.Mark()
	counted, err := count(at)
	if err != nil {
		return Overview{}, err
	}
	o.mark, o.at, o.overview = mark, at, counted
	return counted, nil
}
