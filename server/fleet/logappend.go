package fleet

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"restic-manager/server/database"
	"restic-manager/shared/wire"
)

const (
	// appendPortion bounds the batches that one transaction stores.
	appendPortion = 32
	// appendSlow is when a transaction counts as held up, by somebody's lock or a slow disk: another one is begun
	// beside it, at most appendSlots in all. One that is being committed counts so too, where the next can use the
	// time. Else there is one at a time: more would share less.
	appendSlow  = 50 * time.Millisecond
	appendSlots = 4
	// appendTimeout bounds one such transaction. It is nobody's own: no caller's going away ends it.
	appendTimeout = 30 * time.Second
)

// appends gathers batches of different jobs that arrive while others are being stored: they share one
// transaction, its round trips and its wait for the disk.
type appends struct {
	mu      sync.Mutex // guards all below
	waiting []*appending
	storing int // goroutines that store; they end when nothing waits
	slow    int // those of them that are held up
}

// appending is one batch on its way. reply and err may be read once done is closed.
type appending struct {
	hostID, jobID, lease string
	q                    wire.LogQuery
	body                 LogBody

	done  chan struct{}
	reply wire.LogReply
	err   error
}

// AppendLog stores one batch of records exactly once and in order: what comes again stores nothing and
// answers the cursor, a gap is log_gap with the cursor, a sum that differs is log_conflict. The bytes go into
// the database as they were sent.
func (s *Store) AppendLog(ctx context.Context, hostID, jobID, lease string, q wire.LogQuery, b LogBody) (wire.LogReply, error) {
	if !wire.IsUUID(jobID) {
		return wire.LogReply{}, errLeaseLost
	}
	if err := checkRecords(b.Plain, q.Lines, s.settings.MaxRecordBytes); err != nil {
		return wire.LogReply{}, err
	}
	a := &appending{hostID: hostID, jobID: jobID, lease: lease, q: q, body: b, done: make(chan struct{})}
	if s.appends.put(a) {
		go s.storeWaiting()
	}
	select {
	case <-a.done:
	case <-ctx.Done():
		if s.appends.withdraw(a) {
			return wire.LogReply{}, ctx.Err()
		}
		<-a.done // it is being stored, and its bytes are in use
	}
	return a.reply, a.err
}

// storeWaiting stores until nothing waits.
func (s *Store) storeWaiting() {
	w := s.appends
	for {
		batches := w.take()
		if len(batches) == 0 {
			return
		}
		var held atomic.Bool
		waits := func() {
			if held.CompareAndSwap(false, true) && w.holdUp() {
				go s.storeWaiting()
			}
		}
		timer := time.AfterFunc(appendSlow, waits)
		s.storeBatches(batches, waits)
		timer.Stop()
		if !held.CompareAndSwap(false, true) {
			w.goOn()
		}
		for _, a := range batches {
			close(a.done)
		}
	}
}

// put adds a batch; start is true when a goroutine is to begin to store.
func (w *appends) put(a *appending) (start bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiting = append(w.waiting, a)
	return w.start()
}

// holdUp notes that a goroutine is held up; start is true when another is to begin.
func (w *appends) holdUp() (start bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.slow++
	return len(w.waiting) > 0 && w.start()
}

// goOn takes back holdUp.
func (w *appends) goOn() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.slow--
}

func (w *appends) start() bool {
	if w.storing > w.slow || w.storing == appendSlots {
		return false
	}
	w.storing++
	return true
}

// withdraw takes back a batch that nobody has begun to store.
func (w *appends) withdraw(a *appending) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := slices.Index(w.waiting, a)
	if i < 0 {
		return false
	}
	w.waiting = slices.Delete(w.waiting, i, i+1)
	return true
}

// take hands out what waits, the first of each job, in the order of the jobs' ids: the order in which their
// logs are locked. Nothing means that the goroutine which asked is to end: nothing waits, or another stores.
func (w *appends) take() []*appending {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.waiting) == 0 || w.storing > w.slow+1 {
		w.storing--
		return nil
	}
	jobs := map[string]bool{}
	var taken, left []*appending
	for _, a := range w.waiting {
		if jobs[a.jobID] || len(taken) == appendPortion {
			left = append(left, a)
			continue
		}
		jobs[a.jobID] = true
		taken = append(taken, a)
	}
	w.waiting = left
	slices.SortFunc(taken, func(a, b *appending) int { return strings.Compare(a.jobID, b.jobID) })
	return taken
}

// storeBatches stores batches of different jobs together. When that fails, each goes alone: nobody's batch
// fails for another's. waits is called when there is nothing more to do than to wait for the commit.
func (s *Store) storeBatches(batches []*appending, waits func()) {
	err := s.storeTogether(batches, waits)
	if err == nil {
		return
	}
	for _, a := range batches {
		alone := err
		if len(batches) > 1 && !database.IsOutage(err) {
			alone = s.storeTogether([]*appending{a}, waits)
		}
		if alone != nil {
			a.reply, a.err = wire.LogReply{}, alone
		}
	}
}
