package fleet

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"restic-manager/server/database"
	"restic-manager/server/fault"
	"restic-manager/shared/wire"
)

// trustFor is how long a replica believes that no host was revoked since it last asked. With it a revoked
// host is out within a second on every replica, even when the notification is lost.
const trustFor = 500 * time.Millisecond

// maxIdentities bounds the cache; at 10,000 hosts it holds them all.
const maxIdentities = 100_000

// anyRevoked is told with each revocation, so that one subscription hears of all.
var anyRevoked = database.TopicRevoke("any")

// identities remembers which bearer is which host. An entry holds while the database's identity_revision is
// the one it was read with: so the price of all agents together is one small query per trustFor and
// replica, asked only when somebody comes, and not a query per poll.
type identities struct {
	revoked <-chan string

	mu       sync.Mutex // guards all below; never held over a query
	revision string
	checked  time.Time
	heard    int // revocations heard of: an answer asked for before one does not count
	hosts    map[[sha256.Size]byte]string

	asking sync.Mutex // one replica asks for the revision once at a time
}

func newIdentities(hub *database.Hub) *identities {
	revoked, _ := hub.Subscribe(anyRevoked) // for the store's life
	return &identities{revoked: revoked, hosts: map[[sha256.Size]byte]string{}}
}

var errUnauthorized = fault.New(fault.Unauthorized, wire.ProblemUnauthorized,
	"this agent is not known here, or its host was revoked: enroll it again with a new token")

// Authenticate gives the host of an agent's bearer, or an unauthorized fault. A revocation holds at once on
// the replica that made it and within a second on every other. An error that is no fault means that the
// database could not be asked.
func (s *Store) Authenticate(ctx context.Context, bearer string) (hostID string, err error) {
	if !strings.HasPrefix(bearer, wire.AgentTokenPrefix) || len(bearer) > 256 {
		return "", errUnauthorized
	}
	sum := sha256.Sum256([]byte(bearer))
	i := s.content.identities
	if err := s.refreshIdentities(ctx); err != nil {
		return "", fmt.Errorf("authenticate an agent: %w", err)
	}
	i.mu.Lock()
	hostID, ok := i.hosts[sum]
	i.mu.Unlock()
	if ok {
		return hostID, nil
	}
	var row struct{ ID, Revision string }
	err = s.aside(ctx, func() error {
		return s.db.Read(ctx).Raw(`SELECT (SELECT id FROM hosts WHERE token_sha256 = ? AND revoked_at IS NULL) AS id,
			(SELECT value FROM server_state WHERE key = 'identity_revision') AS revision`, hex.EncodeToString(sum[:])).Scan(&row).Error
	})
	if err != nil {
		return "", fmt.Errorf("authenticate an agent: %w", err)
	}
	if row.ID == "" {
		return "", errUnauthorized
	}
	i.add(sum, row.ID, row.Revision)
	return row.ID, nil
}

// refreshIdentities asks for the revision when the last answer is too old, or a revocation was heard of.
func (s *Store) refreshIdentities(ctx context.Context) error {
	i := s.content.identities
	if i.fresh() {
		return nil
	}
	i.asking.Lock()
	defer i.asking.Unlock()
	if i.fresh() {
		return nil
	}
	i.mu.Lock()
	asked, heard := time.Now(), i.heard
	i.mu.Unlock()
	var revision string
	if err := s.db.Read(ctx).Raw("SELECT value FROM server_state WHERE key = 'identity_revision'").Scan(&revision).Error; err != nil {
		return err
	}
	if revision == "" {
		return errors.New("server_state lacks identity_revision")
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if revision != i.revision {
		clear(i.hosts)
		i.revision = revision
	}
	if heard == i.heard {
		i.checked = asked
	}
	return nil
}

// fresh reports whether the entries may be believed now.
func (i *identities) fresh() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	for {
		select {
		case <-i.revoked:
			i.checked = time.Time{}
			i.heard++
			continue
		default:
		}
		return time.Since(i.checked) < trustFor
	}
}

// add remembers a host that was read together with the revision, if that is still the newest known.
func (i *identities) add(sum [sha256.Size]byte, hostID, revision string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if revision != i.revision {
		return
	}
	if len(i.hosts) >= maxIdentities {
		clear(i.hosts)
	}
	i.hosts[sum] = hostID
}

// bumpIdentities makes every replica look again, after the commit.
func bumpIdentities(tx *database.Tx, hostID string) error {
	if _, err := nextCounter(tx, "identity_revision"); err != nil {
		return err
	}
	tx.Notify(database.TopicRevoke(hostID), anyRevoked)
	return nil
}

// nextCounter counts a counter of server_state up and gives its new value. Its row stays locked until the
// transaction ends: take it late.
func nextCounter(tx *database.Tx, key string) (int64, error) {
	var n int64
	err := tx.Raw("UPDATE server_state SET value = CAST(CAST(value AS bigint) + 1 AS text) WHERE key = ? RETURNING CAST(value AS bigint)", key).
		Scan(&n).Error
	if err == nil && n == 0 {
		err = errors.New("the row is missing")
	}
	if err != nil {
		return 0, fmt.Errorf("count %s up: %w", key, err)
	}
	return n, nil
}
