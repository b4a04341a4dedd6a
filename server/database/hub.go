package database

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// Topics are what a change was about. The first two wake polls of agents; the rest tell browsers and
// live tails what to fetch again.
const (
	TopicHosts = "hosts" // the fleet's list
	TopicJobs  = "jobs"  // the list of jobs
	TopicAudit = "audit" // the audit trail
	// TopicTokens is about enrollment tokens: one was made, used or deleted.
	TopicTokens = "enrollment-tokens"
	// TopicRepositories is about repositories as people set them up.
	TopicRepositories = "repositories"
	// TopicPolicies is about the policies and what they apply to.
	TopicPolicies = "policies"
	// TopicTicks is about what became of due times.
	TopicTicks = "ticks"
)

// TopicHost is about one host: its row.
func TopicHost(id string) string { return "host:" + id }

// TopicWake is not for browsers: something appeared that the host's agent may fetch.
func TopicWake(hostID string) string { return "wake:" + hostID }

// TopicJob is about one job: its state, progress.
func TopicJob(id string) string { return "job:" + id }

// TopicLog is not for browsers: lines were added to the job's log; it wakes live tails.
func TopicLog(jobID string) string { return topicLog + jobID }

const topicLog = "log:"

// TopicSnapshots is about one host's list of snapshots.
func TopicSnapshots(hostID string) string { return "snapshots:" + hostID }

// TopicRevoke is not for browsers: credentials of the host are void now, on every replica.
func TopicRevoke(hostID string) string { return "revoke:" + hostID }

// TopicSessions is not for browsers: sessions of the operator are void now, on every replica.
func TopicSessions(operatorID string) string { return "sessions:" + operatorID }

// keep is how long the ring remembers topics; overlap is how much of it each answer repeats, because
// commits become visible out of order.
const (
	keep    = 5 * time.Minute
	overlap = 5 * time.Second
)

// Hub tells waiters in this process which topics changed. It is a hint: the tables are the truth, and every
// waiter looks there.
type Hub struct {
	replica string
	now     func() time.Time

	mu      sync.Mutex // guards all below
	waiters map[string]map[chan string]struct{}
	any     map[chan string]struct{}
	ring    []change  // oldest first
	since   time.Time // the ring is complete from here on
	last    time.Time // what moment gave last
	closed  chan struct{}
}

type change struct {
	at    time.Time
	topic string
}

func newHub(now func() time.Time) *Hub {
	return &Hub{
		replica: randomID(), now: now, since: now(),
		waiters: map[string]map[chan string]struct{}{}, any: map[chan string]struct{}{}, closed: make(chan struct{}),
	}
}

func randomID() string {
	b := make([]byte, 8)
	rand.Read(b)
	return hex.EncodeToString(b)
}

// moment is the clock, but never the same twice and never back: a cursor lies behind all that was told with it,
// and before all that comes.
func (h *Hub) moment() time.Time {
	now := h.now()
	if !now.After(h.last) {
		now = h.last.Add(time.Microsecond)
	}
	h.last = now
	return now
}

// Publish tells this process's waiters.
func (h *Hub) Publish(topics ...string) {
	if len(topics) == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.moment()
	for _, t := range topics {
		if public(t) {
			h.ring = append(h.ring, change{now, t})
		}
		for c := range h.waiters[t] {
			offer(c, t)
		}
		for c := range h.any {
			offer(c, t)
		}
	}
	if i := slices.IndexFunc(h.ring, func(c change) bool { return now.Sub(c.at) < keep }); i > 1024 {
		h.since = h.ring[i-1].at.Add(time.Microsecond)
		h.ring = slices.Clone(h.ring[i:])
	}
}

func public(topic string) bool {
	for _, p := range []string{"wake:", "log:", "revoke:", "sessions:"} {
		if strings.HasPrefix(topic, p) {
			return false
		}
	}
	return true
}

// offer never blocks: a full channel has a wake-up in it already, and waiters look at the tables.
func offer(c chan string, topic string) {
	select {
	case c <- topic:
	default:
	}
}

// Subscribe gives a channel that gets a topic's name when one of the topics is published; with none named,
// every topic (a slow reader misses some: it must treat a wake-up as "look"). Call cancel when done.
func (h *Hub) Subscribe(topics ...string) (events <-chan string, cancel func()) {
	c := make(chan string, len(topics)) // one wake-up of each is enough
	if len(topics) == 0 {
		c = make(chan string, 1024)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(topics) == 0 {
		h.any[c] = struct{}{}
	}
	for _, t := range topics {
		if h.waiters[t] == nil {
			h.waiters[t] = map[chan string]struct{}{}
		}
		h.waiters[t][c] = struct{}{}
	}
	return c, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.any, c)
		for _, t := range topics {
			delete(h.waiters[t], c)
			if len(h.waiters[t]) == 0 {
				delete(h.waiters, t)
			}
		}
	}
}

// Closed is closed when the server stops: every waiter ends at once.
func (h *Hub) Closed() <-chan struct{} { return h.closed }

// Close ends all waits.
func (h *Hub) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	select {
	case <-h.closed:
	default:
		close(h.closed)
	}
}

// Changes gives the topics published since the cursor, the last 5 s before it included, and the next
// cursor. all is true when the cursor is older than what the hub remembers: everything may have changed.
func (h *Hub) Changes(since time.Time) (topics []string, next time.Time, all bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	next = h.moment()
	from := since.Add(-overlap)
	if from.Before(h.since) {
		all = since.Before(h.since)
	}
	seen := map[string]bool{}
	for _, c := range h.ring {
		if !c.at.Before(from) && !seen[c.topic] {
			seen[c.topic] = true
			topics = append(topics, c.topic)
		}
	}
	return topics, next, all
}

// Mark is the present, to be asked about with Quiet: all that is published from now on comes after it.
func (h *Hub) Mark() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.moment()
}

// Quiet is whether none of the topics was published since the mark, as far as this process hears the others.
func (h *Hub) Quiet(mark time.Time, topics ...string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if mark.Before(h.since) {
		return false
	}
	for _, c := range slices.Backward(h.ring) {
		if !c.at.After(mark) {
			break
		}
		if slices.Contains(topics, c.topic) {
			return false
		}
	}
	return true
}

// forget makes every older cursor count as too old: the other replicas could not be heard for a while.
func (h *Hub) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.since = h.moment()
	for t, cs := range h.waiters {
		for c := range cs {
			offer(c, t)
		}
	}
}

// listen hears the other replicas' topics on a connection of its own, for as long as the database is open.
// After each gap every waiter is woken to look for itself.
func (d *DB) listen(ctx context.Context) {
	defer close(d.listening)
	for failed := false; ctx.Err() == nil; {
		err := d.listenOnce(ctx, func() {
			if failed {
				d.log.Info("hearing the other replicas again")
			}
			failed = false
			d.Hub.forget()
		})
		if ctx.Err() != nil {
			return
		}
		if !failed {
			d.log.Warn("cannot hear the other replicas; polls are woken by the regular query until it works again", "error", err)
		}
		failed = true
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

func (d *DB) listenOnce(ctx context.Context, ready func()) error {
	conn, err := pgx.Connect(ctx, d.url)
	if err != nil {
		return redactError(err, d.url)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, "LISTEN "+channel); err != nil {
		return err
	}
	ready()
	for {
		n, err := conn.WaitForNotification(ctx)
		if err != nil {
			return err
		}
		replica, topics, _ := strings.Cut(n.Payload, " ")
		if replica != d.Hub.replica {
			d.Hub.Publish(strings.Fields(topics)...)
		}
	}
}
