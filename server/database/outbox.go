package database

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// channel is the name under which replicas tell each other topics.
const channel = "restic_manager"

// Notify has the topics told after the commit, on this replica and the others; after a rollback nobody
// hears of them.
func (t *Tx) Notify(topics ...string) { t.topics = append(t.topics, topics...) }

// Publish tells the topics here at once, and to the other replicas soon after. It is for what has been
// committed already, and for what is no row at all.
func (d *DB) Publish(topics ...string) {
	d.Hub.Publish(topics...)
	if d.outbox != nil {
		d.outbox.put(topics)
	}
}

// outbox carries topics to the other replicas, after the commit and on a connection of its own. NOTIFY inside
// the transactions would let only one of them commit at a time (PostgreSQL takes one lock for all at the
// commit of a transaction that notified), and so lose the group commit. A crash in between loses a hint; the
// tables are the truth, and the regular query the safety.
//
// That lines were added to a log is told a little later: a fleet adds many a second, each telling costs a
// transaction, and people who follow a log do not see the difference.
type outbox struct {
	wake chan struct{} // has room for one: something is to be told
	done chan struct{} // closed when tell has ended

	mu      sync.Mutex // guards all below
	pending map[string]struct{}
	idle    chan struct{} // closed while nothing is pending or under way
	later   bool          // a timer will wake
}

// logDelay is how long the other replicas are not told of log lines.
const logDelay = 25 * time.Millisecond

func newOutbox() *outbox {
	idle := make(chan struct{})
	close(idle)
	return &outbox{wake: make(chan struct{}, 1), done: make(chan struct{}), pending: map[string]struct{}{}, idle: idle}
}

func (o *outbox) put(topics []string) {
	if len(topics) == 0 {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	select {
	case <-o.idle:
		o.idle = make(chan struct{})
	default:
	}
	now := false
	for _, t := range topics {
		o.pending[t] = struct{}{}
		now = now || !strings.HasPrefix(t, topicLog)
	}
	if now {
		o.ring()
	} else if !o.later {
		o.later = true
		time.AfterFunc(logDelay, func() {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.later = false
			o.ring()
		})
	}
}

func (o *outbox) ring() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// take empties the outbox, sorted.
func (o *outbox) take() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	topics := slices.Sorted(maps.Keys(o.pending))
	clear(o.pending)
	return topics
}

// sent marks the end of a portion.
func (o *outbox) sent() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.pending) > 0 {
		return
	}
	select {
	case <-o.idle:
	default:
		close(o.idle)
	}
}

// drain waits until all is told, at most so long.
func (o *outbox) drain(limit time.Duration) {
	o.mu.Lock()
	idle := o.idle
	o.mu.Unlock()
	select {
	case <-idle:
	case <-time.After(limit):
	}
}

// tell sends what is put into the outbox for as long as the database is open.
func (d *DB) tell(ctx context.Context) {
	defer close(d.outbox.done)
	var conn *pgx.Conn
	defer func() {
		if conn != nil {
			conn.Close(context.WithoutCancel(ctx))
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.outbox.wake:
		}
		topics := d.outbox.take()
		for try := 0; len(topics) > 0 && ctx.Err() == nil; try++ {
			var err error
			if conn == nil {
				conn, err = d.tellingConn(ctx)
			}
			if err == nil {
				err = notify(ctx, conn, d.Hub.replica, topics)
			}
			if err == nil {
				break
			}
			// listen says so when the database is away; what is lost here is found by looking there.
			if conn != nil {
				conn.Close(context.WithoutCancel(ctx))
				conn = nil
			}
			select {
			case <-ctx.Done():
			case <-time.After(min(time.Duration(try+1)*100*time.Millisecond, time.Second)):
			}
		}
		d.outbox.sent()
	}
}

// tellingConn does not wait for the disk at commits: a notification is no row.
func (d *DB) tellingConn(ctx context.Context) (*pgx.Conn, error) {
	conn, err := pgx.Connect(ctx, d.url)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Exec(ctx, "SET synchronous_commit = off"); err != nil {
		conn.Close(context.WithoutCancel(ctx))
		return nil, err
	}
	return conn, nil
}

// notify sends topics in portions: a payload holds at most 8000 bytes (PostgreSQL manual, NOTIFY).
func notify(ctx context.Context, conn *pgx.Conn, replica string, topics []string) error {
	for part := range slices.Chunk(topics, 100) {
		if _, err := conn.Exec(ctx, "SELECT pg_notify($1, $2)", channel, replica+" "+strings.Join(part, " ")); err != nil {
			return err
		}
	}
	return nil
}
