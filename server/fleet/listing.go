package fleet

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
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
		var known []jobRow
		if err := tx.Raw("SELECT target, target_setting FROM jobs WHERE id = ? AND host_id = ?", jobID, hostID).Scan(&known).Error; err != nil {
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
		if known[0].TargetSetting == nil {
			err = tx.Raw(`SELECT repositories.id, repositories.listing_order FROM hosts JOIN repositories ON repositories.id = hosts.repository_id
				WHERE hosts.id = ?`, hostID).Scan(&base).Error
		} else {
			err = tx.Raw("SELECT id, listing_order FROM repositories WHERE id = ?", known[0].Target).Scan(&base).Error
		}
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

// maxListingParts bounds what one listing may take: 4 GiB of lines.
const maxListingParts = 4096

// PutListingPart stores part n, counted from 0, each after the one before it. Of snapshots that the
// repository is known to hold only the ids are kept: a snapshot never changes under its id.
//
// Nothing is locked: a part never changes once it is there, and what is put after the commit is swept away with
// its token. On PostgreSQL the parts are not logged, so that no part waits for the disk.
func (s *Store) PutListingPart(ctx context.Context, hostID, token string, n int, body []byte) error {
	if n < 0 || n >= maxListingParts {
		return fault.Invalidf("a list has at most %d parts", maxListingParts)
	}
	l, before, err := s.listingAt(ctx, hostID, token, n)
	if err != nil || l.CommittedAt != nil {
		return err
	}
	known, err := s.known.small(s.db.Read(ctx), l.BaseRepository, l.BaseOrder)
	if err != nil {
		return err
	}
	part, err := splitPart(body, known)
	if err != nil {
		return err
	}
	before.Write(body)
	state := sumState(before)
	return s.db.WriteUntimed(ctx, func(tx *database.Tx) error {
		done := tx.Exec(`INSERT INTO listing_parts (token, n, id_count, ids, fresh, byte_count, sum_state) VALUES (?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (token, n) DO NOTHING`, token, n, len(part.IDs)/idSize, part.IDs, part.Fresh, len(body), state)
		if done.Error != nil {
			return fmt.Errorf("store part %d of a listing: %w", n, done.Error)
		}
		if done.RowsAffected == 1 {
			return nil
		}
		var same [][]byte
		if err := tx.Raw("SELECT sum_state FROM listing_parts WHERE token = ? AND n = ?", token, n).Scan(&same).Error; err != nil {
			return fmt.Errorf("read a listing's parts: %w", err)
		}
		if len(same) == 1 && bytes.Equal(same[0], state) {
			return nil
		}
		return errListing
	})
}

// listingAt reads a token, and the sum of the parts before n. Without the part before there is none.
func (s *Store) listingAt(ctx context.Context, hostID, token string, n int) (listingRow, hash.Hash, error) {
	var rows []struct {
		Row      listingRow `gorm:"embedded"`
		SumState []byte
	}
	if !wire.IsRandomHex(token) {
		return listingRow{}, nil, errListing
	}
	err := s.db.Read(ctx).Raw(`SELECT listings.*, p.sum_state FROM listings LEFT JOIN listing_parts p ON p.token = listings.token AND p.n = ?
		WHERE listings.token = ? AND listings.host_id = ?`, n-1, token, hostID).Scan(&rows).Error
	switch {
	case err != nil:
		return listingRow{}, nil, fmt.Errorf("read a listing: %w", err)
	case len(rows) == 0:
		return listingRow{}, nil, errListing
	case n == 0 || rows[0].Row.CommittedAt != nil:
		return rows[0].Row, sha256.New(), nil
	case rows[0].SumState == nil:
		return listingRow{}, nil, errListing
	}
	sum, err := restoreSum(rows[0].SumState)
	return rows[0].Row, sum, err
}

// listingPart is a part of a list: the ids of all its lines, idSize bytes each, and the lines themselves of those
// that were not known, both in their order.
type listingPart struct {
	IDs   []byte `gorm:"column:ids"`
	Fresh []byte `gorm:"column:fresh"`
}

// splitPart takes a part's lines apart.
func splitPart(body []byte, known idSet) (listingPart, error) {
	p := listingPart{IDs: []byte{}, Fresh: []byte{}} // never NULL
	if len(body) > 0 && body[len(body)-1] != '\n' {
		return p, fault.Invalidf("a part holds whole lines, one snapshot each")
	}
	for line := range bytes.Lines(body) {
		id, err := lineID(line)
		if err != nil {
			return p, err
		}
		p.IDs = append(p.IDs, id[:]...)
		if !known.has(id) {
			p.Fresh = append(p.Fresh, line...)
		}
	}
	return p, nil
}

// idPrefix begins each line as encoding/json writes wire.Snapshot.
var idPrefix = []byte(`{"id":"`)

// lineID is the id of a snapshot's line. A line that begins as usual is not decoded for it.
func lineID(line []byte) (id snapshotID, err error) {
	var text []byte
	if end := len(idPrefix) + 2*idSize; bytes.HasPrefix(line, idPrefix) && len(line) > end && line[end] == '"' {
		text = line[len(idPrefix):end]
	} else {
		var one struct {
			ID string `json:"id"`
		}
		if err := json.Unmarshal(line, &one); err != nil {
			return id, fault.Invalidf("a line of the list is not a snapshot")
		}
		text = []byte(one.ID)
	}
	return parseID(string(text))
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
