package fleet

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"restic-manager/server/database"
	"restic-manager/server/fault"
	"restic-manager/shared/wire"
)

// Listings: a token is drawn before restic lists, its parts come in order, and the commit replaces the
// repository's list in one transaction, unless another list was committed since the token was drawn.

// listingKept is how long tokens and parts are kept; an agent's listing takes minutes.
const listingKept = 24 * time.Hour

var errListing = fault.New(fault.Conflict, wire.ProblemListingSuperseded,
	"another list of this repository was committed since the token was drawn, or the token is not known: list anew with a new token")

// listingRow is a drawn token.
type listingRow struct {
	Token          string
	HostID         string
	JobID          string
	DrawnAt        time.Time
	DrawnOrder     int64
	BaseRepository string
	BaseOrder      int64
	CommittedAt    *time.Time
}

// BeginListing draws a token. Its place in the order of all draws and commits decides later.
func (s *Store) BeginListing(ctx context.Context, hostID, jobID string) (wire.ListingReply, error) {
	reply := wire.ListingReply{MaxPartBytes: wire.MaxBody}
	if !wire.IsUUID(jobID) {
		return reply, errNoJob
	}
	b := make([]byte, 16)
	rand.Read(b)
	reply.Token = hex.EncodeToString(b)
	err := s.db.Write(ctx, func(tx *database.Tx) error {
		var known []string
		if err := tx.Raw("SELECT id FROM jobs WHERE id = ? AND host_id = ?", jobID, hostID).Scan(&known).Error; err != nil {
			return fmt.Errorf("look for job %s: %w", jobID, err)
		}
		if len(known) == 0 {
			return errNoJob
		}
		order, err := nextOrder(tx)
		if err != nil {
			return err
		}
		var base []struct {
			ID           string
			ListingOrder int64
		}
		err = tx.Raw(`SELECT repositories.id, repositories.listing_order FROM hosts JOIN repositories ON repositories.id = hosts.repository_id
			WHERE hosts.id = ?`, hostID).Scan(&base).Error
		if err != nil {
			return fmt.Errorf("read the repository of host %s: %w", hostID, err)
		}
		base = append(base, struct {
			ID           string
			ListingOrder int64
		}{})
		return tx.Exec(`INSERT INTO listings (token, host_id, job_id, drawn_at, drawn_order, base_repository, base_order) VALUES (?, ?, ?, ?, ?, ?, ?)`,
			reply.Token, hostID, jobID, tx.Now, order, base[0].ID, base[0].ListingOrder).Error
	})
	if err != nil {
		return wire.ListingReply{}, err
	}
	return reply, nil
}

// nextOrder counts draws and commits of all replicas in one row.
func nextOrder(tx *database.Tx) (int64, error) {
	var value []string
	err := tx.Raw(`INSERT INTO server_state (key, value) VALUES ('listing_order', '1')
		ON CONFLICT (key) DO UPDATE SET value = CAST(CAST(server_state.value AS bigint) + 1 AS text) RETURNING value`).Scan(&value).Error
	if err != nil || len(value) != 1 {
		return 0, fmt.Errorf("count a listing: %w", err)
	}
	return strconv.ParseInt(value[0], 10, 64)
}

func readListing(tx *database.Tx, hostID, token string) (listingRow, error) {
	var rows []listingRow
	if !wire.IsRandomHex(token) {
		return listingRow{}, errListing
	}
	if err := tx.Raw("SELECT * FROM listings WHERE token = ? AND host_id = ?"+forUpdate(tx), token, hostID).Scan(&rows).Error; err != nil {
		return listingRow{}, fmt.Errorf("read a listing: %w", err)
	}
	if len(rows) == 0 {
		return listingRow{}, errListing
	}
	return rows[0], nil
}

// PutListingPart stores part n, counted from 0, each after the one before it. Of snapshots that the
// repository is known to hold only the ids are kept: a snapshot never changes under its id.
func (s *Store) PutListingPart(ctx context.Context, hostID, token string, n int, body []byte) error {
	return s.db.Write(ctx, func(tx *database.Tx) error {
		l, err := readListing(tx, hostID, token)
		if err != nil || l.CommittedAt != nil {
			return err
		}
		known, err := s.known.of(tx, l.BaseRepository, l.BaseOrder)
		if err != nil {
			return err
		}
		ids, fresh, err := splitPart(body, known)
		if err != nil {
			return err
		}
		sum := sha256.New()
		if n > 0 {
			var before [][]byte
			if err := tx.Raw("SELECT sum_state FROM listing_parts WHERE token = ? AND n = ?", token, n-1).Scan(&before).Error; err != nil {
				return fmt.Errorf("read a listing's parts: %w", err)
			}
			if len(before) != 1 {
				return errListing
			}
			if sum, err = restoreSum(before[0]); err != nil {
				return err
			}
		}
		sum.Write(body)
		state := sumState(sum)
		var same [][]byte
		if err := tx.Raw("SELECT sum_state FROM listing_parts WHERE token = ? AND n = ?", token, n).Scan(&same).Error; err != nil {
			return fmt.Errorf("read a listing's parts: %w", err)
		}
		if len(same) == 1 {
			if bytes.Equal(same[0], state) {
				return nil
			}
			return errListing
		}
		return tx.Exec("INSERT INTO listing_parts (token, n, id_count, ids, fresh, byte_count, sum_state) VALUES (?, ?, ?, ?, ?, ?, ?)",
			token, n, len(ids)/32, ids, fresh, len(body), state).Error
	})
}

// idPrefix begins each line as encoding/json writes wire.Snapshot.
var idPrefix = []byte(`{"id":"`)

// splitPart gives the 32-byte ids of all lines, and the lines whose ids are not known. A line that begins as
// usual is not decoded for its id.
func splitPart(body []byte, known map[[32]byte]struct{}) (ids, fresh []byte, err error) {
	if len(body) > 0 && body[len(body)-1] != '\n' {
		return nil, nil, fault.Invalidf("a part holds whole lines, one snapshot each")
	}
	for line := range bytes.Lines(body) {
		var text []byte
		if bytes.HasPrefix(line, idPrefix) && len(line) > len(idPrefix)+65 && line[len(idPrefix)+64] == '"' {
			text = line[len(idPrefix) : len(idPrefix)+64]
		} else {
			var one struct {
				ID string `json:"id"`
			}
			if err := json.Unmarshal(line, &one); err != nil {
				return nil, nil, fault.Invalidf("a line of the list is not a snapshot")
			}
			text = []byte(one.ID)
		}
		var id [32]byte
		if !wire.IsSHA256(string(text)) {
			return nil, nil, fault.Invalidf("a snapshot's id is not 64 hex digits")
		}
		if _, err := hex.Decode(id[:], text); err != nil {
			return nil, nil, err
		}
		ids = append(ids, id[:]...)
		if _, ok := known[id]; !ok {
			fresh = append(fresh, line...)
		}
	}
	if ids == nil {
		ids = []byte{}
	}
	if fresh == nil {
		fresh = []byte{}
	}
	return ids, fresh, nil
}

// CommitListing replaces the list of the repository by what the parts hold. With Error set there is no list: the
// host shows why. A repeat of a commit changes nothing.
func (s *Store) CommitListing(ctx context.Context, hostID, token string, r wire.CommitRequest) error {
	if r.Error == "" && !wire.IsSHA256(r.RepositoryID) {
		return fault.Invalidf("repository_id: give restic's own id of the repository, 64 hex digits")
	}
	var committed *knownCommit
	err := s.db.Write(ctx, func(tx *database.Tx) error {
		committed = nil
		l, err := readListing(tx, hostID, token)
		if err != nil || l.CommittedAt != nil {
			return err
		}
		if r.Error != "" {
			return s.listingFailed(tx, hostID, r.Error)
		}
		ids, fresh, err := readParts(tx, token, r)
		if err != nil {
			return err
		}
		committed, err = s.commitListing(tx, l, r.RepositoryID, ids, fresh)
		return err
	})
	if err == nil && committed != nil {
		s.known.offer(r.RepositoryID, committed.order, committed.ids)
	}
	return err
}

func (s *Store) listingFailed(tx *database.Tx, hostID, why string) error {
	err := tx.Exec("UPDATE hosts SET listing_error = ? WHERE id = ?", cleanLine(why, 1000), hostID).Error
	if err != nil {
		return fmt.Errorf("record that a listing failed: %w", err)
	}
	tx.Notify(database.TopicHost(hostID), database.TopicSnapshots(hostID))
	return nil
}

// readParts collects a whole listing: all parts are there, and their count and sum are as said.
func readParts(tx *database.Tx, token string, r wire.CommitRequest) (ids, fresh []byte, err error) {
	var parts []struct {
		N        int
		IDs      []byte `gorm:"column:ids"`
		Fresh    []byte
		SumState []byte
	}
	if err := tx.Raw("SELECT n, ids, fresh, sum_state FROM listing_parts WHERE token = ? ORDER BY n", token).Scan(&parts).Error; err != nil {
		return nil, nil, fmt.Errorf("read a listing's parts: %w", err)
	}
	sum := sha256.New()
	for _, p := range parts {
		ids = append(ids, p.IDs...)
		fresh = append(fresh, p.Fresh...)
	}
	if len(parts) > 0 {
		if sum, err = restoreSum(parts[len(parts)-1].SumState); err != nil {
			return nil, nil, err
		}
	}
	if len(parts) != r.Parts || len(ids)/32 != r.Count || hex.EncodeToString(sum.Sum(nil)) != r.SHA256 {
		return nil, nil, errListing // parts were lost, or are others: list anew
	}
	return ids, fresh, nil
}

// commitListingOnFinish commits a list that rode on a finish.
func (s *Store) commitListingOnFinish(tx *database.Tx, hostID, _ string, r *wire.Listing) error {
	if !wire.IsSHA256(r.RepositoryID) {
		return fault.Invalidf("repository_id: give restic's own id of the repository, 64 hex digits")
	}
	l, err := readListing(tx, hostID, r.Token)
	if err != nil || l.CommittedAt != nil {
		return err
	}
	var body bytes.Buffer
	for _, one := range r.Snapshots {
		if err := json.Compact(&body, one); err != nil {
			return fault.Invalidf("a snapshot of the list is not JSON")
		}
		body.WriteByte('\n')
	}
	known, err := s.known.of(tx, l.BaseRepository, l.BaseOrder)
	if err != nil {
		return err
	}
	ids, fresh, err := splitPart(body.Bytes(), known)
	if err != nil {
		return err
	}
	_, err = s.commitListing(tx, l, r.RepositoryID, ids, fresh)
	return err
}

// knownCommit is what a commit leaves, to be remembered once it has happened.
type knownCommit struct {
	order int64
	ids   map[[32]byte]struct{}
}

// commitListing writes the difference between what the repository's list is and what it is to be.
func (s *Store) commitListing(tx *database.Tx, l listingRow, repository string, ids, fresh []byte) (*knownCommit, error) {
	err := tx.Exec("INSERT INTO repositories (id, created_at) VALUES (?, ?) ON CONFLICT (id) DO NOTHING", repository, tx.Now).Error
	if err != nil {
		return nil, fmt.Errorf("record repository %s: %w", repository, err)
	}
	var orders []int64
	if err := tx.Raw("SELECT listing_order FROM repositories WHERE id = ?"+forUpdate(tx), repository).Scan(&orders).Error; err != nil {
		return nil, fmt.Errorf("lock repository %s: %w", repository, err)
	}
	if len(orders) != 1 || orders[0] > l.DrawnOrder {
		return nil, errListing
	}
	if l.BaseRepository != "" && l.BaseRepository != repository {
		return nil, errListing // the parts were thinned by another repository's list
	}
	had, err := s.known.of(tx, repository, orders[0])
	if err != nil {
		return nil, err
	}
	d := difference(had, ids)
	touched, err := d.write(tx, repository, fresh)
	if err != nil {
		return nil, err
	}
	// The counter's row stays locked until the end: whoever draws waits for it.
	order, err := nextOrder(tx)
	if err != nil {
		return nil, err
	}
	err = tx.Exec("UPDATE repositories SET listing_order = ?, refreshed_at = ?, snapshot_count = ? WHERE id = ?",
		order, l.DrawnAt, len(d.all), repository).Error
	if err != nil {
		return nil, fmt.Errorf("date the list of repository %s: %w", repository, err)
	}
	if err := s.tellHosts(tx, l.HostID, repository, touched); err != nil {
		return nil, err
	}
	if err := tx.Exec("UPDATE listings SET committed_at = ? WHERE token = ?", tx.Now, l.Token).Error; err != nil {
		return nil, fmt.Errorf("commit a listing: %w", err)
	}
	if err := tx.Exec("DELETE FROM listing_parts WHERE token = ?", l.Token).Error; err != nil {
		return nil, fmt.Errorf("commit a listing: %w", err)
	}
	return &knownCommit{order, d.all}, nil
}

// tellHosts links the host to the repository, and counts and wakes every host of it.
func (s *Store) tellHosts(tx *database.Tx, hostID, repository string, touched bool) error {
	done := tx.Exec("UPDATE hosts SET repository_id = ?, listing_error = '' WHERE id = ? AND (repository_id IS NULL OR repository_id <> ? OR listing_error <> '')",
		repository, hostID, repository)
	if done.Error != nil {
		return fmt.Errorf("link host %s to its repository: %w", hostID, done.Error)
	}
	var hosts []string
	if err := tx.Raw("SELECT id FROM hosts WHERE repository_id = ? ORDER BY id", repository).Scan(&hosts).Error; err != nil {
		return fmt.Errorf("find the hosts of repository %s: %w", repository, err)
	}
	if touched || done.RowsAffected > 0 {
		if err := countSnapshots(tx, "repository_id = ?", repository); err != nil {
			return err
		}
	}
	tx.Notify(database.TopicHosts)
	for _, h := range hosts {
		tx.Notify(database.TopicHost(h), database.TopicSnapshots(h))
	}
	return nil
}

// CleanListings forgets old tokens, and the parts of those that never came to a commit.
func (s *Store) CleanListings(ctx context.Context) (removed int64, err error) {
	err = s.db.Write(ctx, func(tx *database.Tx) error {
		done := tx.Exec("DELETE FROM listings WHERE drawn_at < ?", tx.Now.Add(-listingKept))
		if done.Error != nil {
			return done.Error
		}
		removed = done.RowsAffected
		return tx.Exec("DELETE FROM listing_parts WHERE token NOT IN (SELECT token FROM listings)").Error
	})
	if err != nil {
		return 0, fmt.Errorf("clean listings: %w", err)
	}
	return removed, nil
}

// diff is what separates two lists.
type diff struct {
	all     map[[32]byte]struct{} // the new list
	added   map[[32]byte]struct{}
	removed [][32]byte
}

func difference(had map[[32]byte]struct{}, ids []byte) diff {
	d := diff{all: make(map[[32]byte]struct{}, len(ids)/32), added: map[[32]byte]struct{}{}}
	for id := range slices.Chunk(ids, 32) {
		k := [32]byte(id)
		d.all[k] = struct{}{}
		if _, ok := had[k]; !ok {
			d.added[k] = struct{}{}
		}
	}
	for k := range had {
		if _, ok := d.all[k]; !ok {
			d.removed = append(d.removed, k)
		}
	}
	return d
}
