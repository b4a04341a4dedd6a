package fleet

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"restic-manager/server/database"
	"restic-manager/shared/wire"
)

const (
	// tellAgain is how soon a cancel or drop that was told ends a wait once more: its answer may have been
	// lost, but the agent asks again at once and would ask for ever.
	tellAgain = 5 * time.Second
	// configureAgain is the same for a configuration.
	configureAgain = time.Minute
	// seatIdle is how long a host's seat is kept without a poll.
	seatIdle = 5 * time.Minute
)

// seats are the hosts that poll at this replica.
type seats struct {
	hub *database.Hub

	mu     sync.Mutex // guards hosts
	hosts  map[string]*seat
	parked atomic.Int64
}

// seat is what this replica remembers of one host between its polls: enough to know that there is nothing new
// without asking. All of it is a hint.
type seat struct {
	events <-chan string // wake-ups of the host, also between polls
	cancel func()

	mu      sync.Mutex // guards all below
	waits   map[*waiting]struct{}
	used    time.Time
	newest  string // the newest process as of the last look
	mark    string // and its mark
	clean   string // what was asked when nothing was found; empty: look
	told    map[string]time.Time
	offered string // job and delivery last offered
}

// waiting is one poll under way. end is closed when a newer one takes its place.
type waiting struct {
	boot string
	seq  int64
	end  chan struct{}
}

func newSeats(hub *database.Hub) *seats {
	return &seats{hub: hub, hosts: map[string]*seat{}}
}

// take gives the host's seat, and marks it as in use.
func (s *seats) take(hostID string, now time.Time) *seat {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.hosts[hostID]
	if t == nil {
		t = &seat{waits: map[*waiting]struct{}{}, told: map[string]time.Time{}}
		t.events, t.cancel = s.hub.Subscribe(database.TopicWake(hostID))
		s.hosts[hostID] = t
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.used = now
	return t
}

// waitingHosts are those with a poll under way; seats that nobody used for long go.
func (s *seats) waitingHosts(now time.Time) map[string]struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	hosts := map[string]struct{}{}
	for id, t := range s.hosts {
		t.mu.Lock()
		if len(t.waits) > 0 {
			hosts[id] = struct{}{}
		} else if now.Sub(t.used) > seatIdle {
			t.cancel()
			delete(s.hosts, id)
		}
		t.mu.Unlock()
	}
	return hosts
}

// enter begins a poll. A poll of the same process that is not newer ends; late is true when this one is
// the older. polls of the newest process end those of others.
func (t *seat) enter(q wire.PollQuery) (w *waiting, late bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	w = &waiting{boot: q.Boot, seq: q.Seq, end: make(chan struct{})}
	for o := range t.waits {
		if o.boot == q.Boot && o.seq > q.Seq {
			return w, true
		}
	}
	t.waits[w] = struct{}{}
	t.displace(w)
	return w, false
}

// displace ends the polls that this one is newer than; under the lock.
func (t *seat) displace(w *waiting) {
	for o := range t.waits {
		if o != w && (o.boot == w.boot || w.boot == t.newest) {
			close(o.end)
			delete(t.waits, o)
		}
	}
}

func (t *seat) leave(w *waiting) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.waits, w)
}

// nothingNew reports whether the last look found nothing for the same question, and nothing was told since.
func (t *seat) nothingNew(question string) (mark string, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for {
		select {
		case <-t.events:
			t.clean = ""
			continue
		default:
		}
		return t.mark, t.clean != "" && t.clean == question
	}
}

// question is all of a poll that its answer depends on.
func question(q wire.PollQuery) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %v %v %s", q.Boot, q.FreeLong > 0, q.FreeShort > 0, q.Config)
	for _, j := range q.Jobs {
		b.WriteString(" " + j.ID + ":" + j.Lease)
	}
	return b.String()
}

// looked remembers what a look found. clean: nothing at all.
func (t *seat) looked(w *waiting, question, mark string, newest, clean bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clean = ""
	if !newest {
		return
	}
	t.newest, t.mark = w.boot, mark
	if clean {
		t.clean = question
	}
	if _, in := t.waits[w]; in {
		t.displace(w)
	}
}

// urgent reports whether one of the words is to end the wait: it was not told lately. All of them count as
// told then. soon is when the next one may end a wait; zero: there is none.
func (t *seat) urgent(words []string, again time.Duration, now time.Time) (yes bool, soon time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for word, at := range t.told {
		if now.Sub(at) > configureAgain {
			delete(t.told, word)
		}
	}
	for _, word := range words {
		at, told := t.told[word]
		switch {
		case !told || now.Sub(at) >= again:
			yes = true
		case soon.IsZero() || at.Add(again).Before(soon):
			soon = at.Add(again)
		}
	}
	if yes {
		for _, word := range words {
			t.told[word] = now
		}
	}
	return yes, soon
}

// firstOffer reports whether this delivery is offered for the first time here.
func (t *seat) firstOffer(o *wire.Offer) bool {
	name := fmt.Sprint(o.JobID, " ", o.Delivery)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.offered == name {
		return false
	}
	t.offered = name
	return true
}
