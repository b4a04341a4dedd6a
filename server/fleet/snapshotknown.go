package fleet

import (
	"encoding/hex"
	"fmt"
	"sync"

	"gorm.io/gorm"

	"restic-manager/server/fault"
	"restic-manager/shared/wire"
)

// idSize is the length of a snapshot's id: a SHA-256.
const idSize = 32

type snapshotID [idSize]byte

func (id snapshotID) String() string { return hex.EncodeToString(id[:]) }

func parseID(s string) (id snapshotID, err error) {
	if !wire.IsSHA256(s) {
		return id, fault.Invalidf("a snapshot's id is not 64 hex digits")
	}
	_, err = hex.Decode(id[:], []byte(s))
	return id, err
}

// idSet is the ids of a list. It is all that is ever held of a list as a whole: about 50 bytes for each
// snapshot. One that others may see is not changed any more.
type idSet map[snapshotID]struct{}

func (s idSet) has(id snapshotID) bool {
	_, ok := s[id]
	return ok
}

// knownSnapshots remembers the ids of a few repositories' lists, each under the order of its last commit:
// another order is another list.
type knownSnapshots struct {
	mu    sync.Mutex // guards all below
	lists map[string]*knownList
	ids   int   // in all lists
	uses  int64 // counts up
}

type knownList struct {
	order int64
	used  int64
	ids   idSet
}

// rememberedIDs bounds the memory, to about 50 MB.
const rememberedIDs = 1_000_000

func newKnownSnapshots() *knownSnapshots { return &knownSnapshots{lists: map[string]*knownList{}} }

// of is the list of ids as of that commit; errListing when there was a later one. No repository is the
// empty list.
func (k *knownSnapshots) of(db *gorm.DB, repository string, order int64) (idSet, error) {
	if repository == "" {
		return nil, nil
	}
	if ids, ok := k.remembered(repository, order); ok {
		return ids, nil // the table may be further on; then the commit is refused
	}
	ids, err := readIDs(db, repository, order)
	if err != nil {
		return nil, err
	}
	k.offer(repository, order, ids)
	return ids, nil
}

// small is of, but empty for a list that is too long to be remembered: it would be read for every part. The
// parts then carry all their lines.
func (k *knownSnapshots) small(db *gorm.DB, repository string, order int64) (idSet, error) {
	if repository == "" {
		return nil, nil
	}
	if ids, ok := k.remembered(repository, order); ok {
		return ids, nil
	}
	if count, err := listedAs(db, repository, order); err != nil || count > rememberedIDs {
		return nil, err
	}
	return k.of(db, repository, order)
}

func (k *knownSnapshots) remembered(repository string, order int64) (idSet, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := k.lists[repository]
	if l == nil || l.order != order {
		return nil, false
	}
	k.uses++
	l.used = k.uses
	return l.ids, true
}

// offer remembers a committed list. One that might still be rolled back must not come here: its order would
// be given to another list. The lists that were not used for longest make room.
func (k *knownSnapshots) offer(repository string, order int64, ids idSet) {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := k.lists[repository]
	if l != nil && l.order > order {
		return
	}
	k.forget(repository)
	if len(ids) > rememberedIDs {
		return
	}
	k.uses++
	k.lists[repository] = &knownList{order: order, used: k.uses, ids: ids}
	k.ids += len(ids)
	for k.ids > rememberedIDs {
		oldest := ""
		for r, l := range k.lists {
			if oldest == "" || l.used < k.lists[oldest].used {
				oldest = r
			}
		}
		k.forget(oldest)
	}
}

// forget needs the lock.
func (k *knownSnapshots) forget(repository string) {
	if l := k.lists[repository]; l != nil {
		k.ids -= len(l.ids)
		delete(k.lists, repository)
	}
}

// readIDs reads a repository's list as of that commit; errListing when it is another by now.
func readIDs(db *gorm.DB, repository string, order int64) (idSet, error) {
	count, err := listedAs(db, repository, order)
	if err != nil {
		return nil, err
	}
	rows, err := db.Raw("SELECT id FROM snapshots WHERE repository_id = ?", repository).Rows()
	if err != nil {
		return nil, fmt.Errorf("read the list of repository %s: %w", repository, err)
	}
	defer rows.Close()
	ids := make(idSet, count)
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return nil, fmt.Errorf("read the list of repository %s: %w", repository, err)
		}
		id, err := parseID(text)
		if err != nil {
			return nil, fmt.Errorf("the list of repository %s holds a strange id: %w", repository, err)
		}
		ids[id] = struct{}{}
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read the list of repository %s: %w", repository, err)
	}
	// Two statements see two states of the database; no commit came between when the order is still the same.
	_, err = listedAs(db, repository, order)
	return ids, err
}

// listedAs gives the length of the repository's list; errListing when it is not of that order.
func listedAs(db *gorm.DB, repository string, order int64) (int64, error) {
	var heads []struct{ ListingOrder, SnapshotCount int64 }
	if err := db.Raw("SELECT listing_order, snapshot_count FROM repositories WHERE id = ?", repository).Scan(&heads).Error; err != nil {
		return 0, fmt.Errorf("read repository %s: %w", repository, err)
	}
	if len(heads) != 1 || heads[0].ListingOrder != order {
		return 0, errListing
	}
	return heads[0].SnapshotCount, nil
}
