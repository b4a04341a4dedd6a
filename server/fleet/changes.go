package fleet

import (
	"context"
	"time"
)

// changesWait bounds how long Changes waits.
const changesWait = 25 * time.Second

// changesOverlap is how much the hub repeats.
const changesOverlap = 5 * time.Second

// changesLate is how long news may be on their way to another replica; changesPause is how long such news
// are left to gather.
const (
	changesLate  = time.Second
	changesPause = 250 * time.Millisecond
)

// Changes tells which topics changed since the cursor, at once or as soon as one does; after the wait the list
// is empty. An empty cursor begins now; any replica takes another's. All means that the cursor is too old to
// tell: everything may have changed.
func (s *Store) Changes(ctx context.Context, since string, wait time.Duration) (ChangesPage, error) {
	news, cancel := s.db.Hub.Subscribe()
	defer cancel()
	begin := since == ""
	from, late := time.Time{}, time.Duration(0)
	if !begin {
		var replica string
		if err := decodeCursor(since, &replica, &from); err != nil {
			return ChangesPage{}, err
		}
		if replica != s.replica {
			late = changesLate
		}
	}
	deadline := time.NewTimer(min(wait, changesWait))
	defer deadline.Stop()
	pause := time.NewTimer(changesPause)
	defer pause.Stop()
	for paused := false; ; {
		topics, next, all := s.db.Hub.Changes(from)
		// The answer repeats the last 5 s; only what is newer than the cursor ends the wait, or a browser
		// would ask in a circle. What another replica may not have heard when it gave the cursor ends it
		// too, but not at once: a proxy that asks them in turn would be that circle.
		fresh, _, _ := s.db.Hub.Changes(from.Add(changesOverlap))
		if paused && len(fresh) == 0 {
			fresh, _, _ = s.db.Hub.Changes(from.Add(changesOverlap - late))
		}
		page := ChangesPage{Topics: append([]string{}, topics...), Next: encodeCursor(s.replica, next), All: all && !begin}
		if begin || page.All || len(fresh) > 0 || wait <= 0 {
			if begin {
				page.Topics = []string{}
			}
			return page, nil
		}
		select {
		case <-ctx.Done():
			return page, ctx.Err()
		case <-s.db.Hub.Closed():
			return page, nil
		case <-deadline.C:
			return page, nil
		case <-pause.C:
			paused = true
		case <-news:
		}
	}
}
