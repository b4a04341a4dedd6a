package fleet

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"gorm.io/gorm"

	"restic-manager/server/database"
	"restic-manager/server/fault"
	"restic-manager/shared/failpoint"
	"restic-manager/shared/wire"
)

var errRepositoryID = fault.Invalidf("repository_id: give restic's own id of the repository, 64 hex digits")

// CommitListing replaces the list of the repository by what the parts hold. With Error set there is no list: the
// host shows why. A repeat of a commit changes nothing.
func (s *Store) CommitListing(ctx context.Context, hostID, token string, r wire.CommitRequest) error {
	if r.Error == "" && !wire.IsSHA256(r.RepositoryID) {
		return errRepositoryID
	}
	return s.commitList(ctx, func(tx *database.Tx) (knownCommit, error) {
		l, err := readListing(tx, hostID, token)
		if err != nil || l.CommittedAt != nil {
			return knownCommit{}, err
		}
		if r.Error != "" {
			return knownCommit{}, s.listingFailed(tx, l, r.Error)
		}
		if err := checkParts(tx, token, r); err != nil {
			return knownCommit{}, err
		}
		return s.commitListing(tx, l, r.RepositoryID, func(yield func(listingPart) error) error { return storedParts(tx, token, yield) })
	})
}

// commitListingOnFinish commits a list that rode on a finish.
func (s *Store) commitListingOnFinish(ctx context.Context, hostID string, r *wire.Listing) error {
	if !wire.IsSHA256(r.RepositoryID) {
		return errRepositoryID
	}
	var body bytes.Buffer
	for _, one := range r.Snapshots {
		if err := json.Compact(&body, one); err != nil {
			return fault.Invalidf("a snapshot of the list is not JSON")
		}
		body.WriteByte('\n')
	}
	part, err := splitPart(body.Bytes(), nil)
	if err != nil {
		return err
	}
	return s.commitList(ctx, func(tx *database.Tx) (knownCommit, error) {
		l, err := readListing(tx, hostID, r.Token)
		if err != nil || l.CommittedAt != nil {
			return knownCommit{}, err
		}
		return s.commitListing(tx, l, r.RepositoryID, func(yield func(listingPart) error) error { return yield(part) })
	})
}

// commitList remembers the list once its transaction has happened.
func (s *Store) commitList(ctx context.Context, commit func(tx *database.Tx) (knownCommit, error)) error {
	var done knownCommit
	err := s.db.Write(ctx, func(tx *database.Tx) (err error) {
		done, err = commit(tx)
		return err
	})
	if err == nil && done.repository != "" {
		s.known.offer(done.repository, done.order, done.ids)
	}
	return err
}

func (s *Store) listingFailed(tx *database.Tx, l listingRow, why string) error {
	if t, err := listedTarget(tx, l); err != nil || t.SettingID != "" {
		return err // it is no fact on the host's own repository
	}
	hostID := l.HostID
	err := tx.Exec("UPDATE hosts SET listing_error = ? WHERE id = ?", cleanLine(why, 1000), hostID).Error
	if err != nil {
		return fmt.Errorf("record that a listing failed: %w", err)
	}
	tx.Notify(database.TopicHost(hostID), database.TopicSnapshots(hostID))
	return nil
}

// checkParts: all parts are there, and their count and sum are as said.
func checkParts(tx *database.Tx, token string, r wire.CommitRequest) error {
	var got struct{ Parts, Count int }
	err := tx.Raw("SELECT count(*) AS parts, coalesce(sum(id_count), 0) AS count FROM listing_parts WHERE token = ?", token).Scan(&got).Error
	if err != nil {
		return fmt.Errorf("count a listing's parts: %w", err)
	}
	h := sha256.New()
	if got.Parts > 0 {
		var states [][]byte
		if err := tx.Raw("SELECT sum_state FROM listing_parts WHERE token = ? AND n = ?", token, got.Parts-1).Scan(&states).Error; err != nil {
			return fmt.Errorf("read a listing's sum: %w", err)
		}
		if len(states) != 1 {
			return errListing
		}
		if h, err = restoreSum(states[0]); err != nil {
			return err
		}
	}
	if got.Parts != r.Parts || got.Count != r.Count || hex.EncodeToString(h.Sum(nil)) != r.SHA256 {
		return errListing // parts were lost, or are others: list anew
	}
	return nil
}

// partsAtOnce is how many parts one query reads: with as many bodies at most.
const partsAtOnce = 4

// storedParts gives a listing's parts in their order; a few are in memory at a time.
func storedParts(tx *database.Tx, token string, yield func(listingPart) error) error {
	for n := 0; ; n += partsAtOnce {
		var parts []listingPart
		err := tx.Raw("SELECT ids, fresh FROM listing_parts WHERE token = ? AND n >= ? AND n < ? ORDER BY n", token, n, n+partsAtOnce).Scan(&parts).Error
		if err != nil {
			return fmt.Errorf("read a listing's parts: %w", err)
		}
		for _, p := range parts {
			if err := yield(p); err != nil {
				return err
			}
		}
		if len(parts) < partsAtOnce {
			return nil
		}
	}
}

// knownCommit is what a commit leaves, to be remembered once it has happened. The zero value is none.
type knownCommit struct {
	repository string
	order      int64
	ids        idSet
}

// commitListing writes the difference between what the repository's list is and what it is to be.
func (s *Store) commitListing(tx *database.Tx, l listingRow, repository string, parts func(func(listingPart) error) error) (knownCommit, error) {
	had, err := s.lockList(tx, l, repository)
	if err != nil {
		return knownCommit{}, err
	}
	d := newDifference(tx, repository, had)
	if err := parts(d.add); err != nil {
		return knownCommit{}, err
	}
	touched, err := d.end()
	if err != nil {
		return knownCommit{}, err
	}
	if err := s.tellHosts(tx, l, repository, touched); err != nil {
		return knownCommit{}, err
	}
	if err := failpoint.Hit("server.listing.uncommitted"); err != nil {
		return knownCommit{}, err
	}
	// The counter's row stays locked until the end: whoever draws waits for it.
	order, err := nextOrder(tx)
	if err != nil {
		return knownCommit{}, err
	}
	err = tx.Exec("UPDATE repositories SET listing_order = ?, refreshed_at = ?, snapshot_count = ? WHERE id = ?",
		order, l.DrawnAt, len(d.all), repository).Error
	if err != nil {
		return knownCommit{}, fmt.Errorf("date the list of repository %s: %w", repository, err)
	}
	if err := tx.Exec("UPDATE listings SET committed_at = ? WHERE token = ?", tx.Now, l.Token).Error; err != nil {
		return knownCommit{}, fmt.Errorf("commit a listing: %w", err)
	}
	if err := tx.Exec("DELETE FROM listing_parts WHERE token = ?", l.Token).Error; err != nil {
		return knownCommit{}, fmt.Errorf("commit a listing: %w", err)
	}
	return knownCommit{repository, order, d.all}, nil
}

// lockList locks the repository, which is made when it is new, and gives the ids of its list; errListing when
// that is newer than the token.
func (s *Store) lockList(tx *database.Tx, l listingRow, repository string) (idSet, error) {
	if l.BaseRepository != "" && l.BaseRepository != repository {
		// It is of another repository than the host's, unless the job has made that one there.
		made, err := madeInPlace(tx, l)
		if err != nil {
			return nil, err
		}
		if !made {
			return nil, errListing
		}
	}
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
	return s.known.of(tx.DB, repository, orders[0])
}

// madeInPlace reports whether the listing is of an init of the host's own repository that held the one that was known when the
// token was drawn. restic 0.14 does not tell the new id before. A line that was left out as known there is missed when it is added.
func madeInPlace(tx *database.Tx, l listingRow) (bool, error) {
	var n int64
	err := tx.Raw("SELECT count(*) FROM jobs WHERE id = ? AND kind = ? AND repository_id = ? AND target_setting IS NULL", l.JobID, wire.KindInit, l.BaseRepository).Scan(&n).Error
	if err != nil {
		return false, fmt.Errorf("read job %s: %w", l.JobID, err)
	}
	return n > 0, nil
}

// tellHosts links the host to the repository, unless the list is of another one than its own, and counts and wakes every
// host of it.
func (s *Store) tellHosts(tx *database.Tx, l listingRow, repository string, touched bool) error {
	target, err := listedTarget(tx, l)
	if err != nil {
		return err
	}
	linked := false
	if target.SettingID != "" {
		err = rememberTarget(tx, target, repository)
	} else {
		linked, err = linkHost(tx, l, repository)
	}
	if err != nil {
		return err
	}
	var hosts []string
	if err := tx.Raw("SELECT id FROM hosts WHERE repository_id = ? ORDER BY id", repository).Scan(&hosts).Error; err != nil {
		return fmt.Errorf("find the hosts of repository %s: %w", repository, err)
	}
	if touched || linked {
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

// linkHost ties the host to the repository that its list is of; linked is false when it was, or when it uses another one by now: it
// was tied to another since the token was drawn, or to none since the job learnt which one it uses.
func linkHost(tx *database.Tx, l listingRow, repository string) (linked bool, err error) {
	done := tx.Exec(`UPDATE hosts SET repository_id = @repository, listing_error = '' WHERE id = @host AND (
		repository_id = @repository AND listing_error <> '' OR repository_id = @base AND @base <> @repository
		OR repository_id IS NULL AND NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.id = @job AND jobs.repository_id <> ''))`,
		map[string]any{"repository": repository, "host": l.HostID, "base": l.BaseRepository, "job": l.JobID})
	if done.Error != nil {
		return false, fmt.Errorf("link host %s to its repository: %w", l.HostID, done.Error)
	}
	return done.RowsAffected > 0, rememberListed(tx, l.JobID, repository)
}

// listedTarget is the repository that the job of a listing is about in place of the host's own; zero: the host's own.
func listedTarget(tx *database.Tx, l listingRow) (Target, error) {
	var rows []jobRow
	err := tx.Raw("SELECT target, target_setting, target_host FROM jobs WHERE id = ? AND target_setting IS NOT NULL", l.JobID).Scan(&rows).Error
	if err != nil {
		return Target{}, fmt.Errorf("read the target of job %s: %w", l.JobID, err)
	}
	if len(rows) == 0 {
		return Target{}, nil
	}
	return rows[0].about(), nil
}

// rememberTarget notes which of restic's repositories a setting stands for, so that it is looked after. What is noted of
// that repository already stays.
func rememberTarget(tx *database.Tx, t Target, repository string) error {
	var host *string
	if t.HostID != "" {
		host = &t.HostID
	}
	done := tx.Exec(`INSERT INTO repository_maintenance (repository_id, setting_id, host_id)
		SELECT ?, s.id, h.id FROM repository_settings s LEFT JOIN hosts h ON h.id = ? WHERE s.id = ? AND (? = '' OR h.id IS NOT NULL)
		ON CONFLICT (repository_id) DO NOTHING`, repository, host, t.SettingID, t.HostID)
	return remembered(tx, repository, done)
}

func remembered(tx *database.Tx, repository string, done *gorm.DB) error {
	if done.Error != nil {
		return fmt.Errorf("note repository %s: %w", repository, done.Error)
	}
	if done.RowsAffected > 0 {
		tx.Notify(database.TopicRepositories)
	}
	return nil
}

// rememberListed is rememberTarget for the host's own repository, where the job that listed it used the one that the
// server keeps and that comes from a setting.
func rememberListed(tx *database.Tx, jobID, repository string) error {
	done := tx.Exec(`INSERT INTO repository_maintenance (repository_id, setting_id, host_id)
		SELECT ?, s.id, CASE WHEN s.url LIKE '%{host}%' THEN hr.host_id END
		FROM jobs JOIN hosts ON hosts.id = jobs.host_id JOIN host_repositories hr ON hr.host_id = jobs.host_id JOIN repository_settings s ON s.id = hr.setting_id
		WHERE jobs.id = ? AND jobs.repository_name = 'server' AND hosts.repository_id = ?
		ON CONFLICT (repository_id) DO NOTHING`, repository, jobID, repository)
	return remembered(tx, repository, done)
}

// forgetTarget: what was noted of the repository is not what is at the setting's address. Where a person is to look first
// it stays.
func forgetTarget(tx *database.Tx, t Target) error {
	done := tx.Exec("DELETE FROM repository_maintenance WHERE repository_id = ? AND setting_id = ? AND frozen = ''", t.RepositoryID, t.SettingID)
	return remembered(tx, t.RepositoryID, done)
}

// rememberOwn is rememberTarget for the repository that the server keeps for a host, where it comes from a setting.
func rememberOwn(tx *database.Tx, hostID, repository string) error {
	done := tx.Exec(`INSERT INTO repository_maintenance (repository_id, setting_id, host_id)
		SELECT ?, s.id, CASE WHEN s.url LIKE '%{host}%' THEN hr.host_id END
		FROM host_repositories hr JOIN repository_settings s ON s.id = hr.setting_id WHERE hr.host_id = ?
		ON CONFLICT (repository_id) DO NOTHING`, repository, hostID)
	return remembered(tx, repository, done)
}
