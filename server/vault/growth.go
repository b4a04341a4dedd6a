package vault

import (
	"context"
	"fmt"
	"time"

	"gorm.io/gorm"

	"restic-manager/server/database"
	"restic-manager/server/fault"
	"restic-manager/shared/wire"
)

const (
	// growthKept is how long it is known what a repository held.
	growthKept = 2 * 365
	// growEvery is how often the day's row is brought up to date.
	growEvery = time.Hour
)

// Growth is what a repository, or all of them, held day by day.
type Growth struct {
	Days []GrowthDay `json:"days" doc:"The oldest first; a day on which the server was off is left out"`
}

// GrowthDay is what was known at a day's end, or is known by now.
type GrowthDay struct {
	Day           string `json:"day" doc:"As in 2026-11-27, in UTC"`
	SnapshotCount int64  `json:"snapshot_count"`
	SizeBytes     int64  `json:"size_bytes" doc:"What the newest backups of its hosts held together, before restic stores equal data once"`
	StoredBytes   *int64 `json:"stored_bytes,omitempty" doc:"What lay in the storage after the last prune, as restic counted it; absent: no prune has told"`
}

const dayFormat = "2006-01-02"

// growAll writes today's row of every repository, and forgets those of two years ago. Twice is the same.
func (s *Store) growAll(ctx context.Context) error {
	now, err := s.db.Now(ctx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	due := !now.Before(s.grown.Add(growEvery)) || now.Format(dayFormat) != s.grown.Format(dayFormat)
	s.mu.Unlock()
	if !due {
		return nil
	}
	err = s.db.Write(ctx, func(tx *database.Tx) error {
		err := tx.Exec(`INSERT INTO repository_growth (setting_id, day, snapshot_count, size_bytes, stored_bytes)
			SELECT held.id, ?, held.snapshot_count, held.size_bytes, (SELECT CAST(sum(m.stored_bytes) AS bigint) FROM repository_maintenance m WHERE m.setting_id = held.id)
			FROM (`+selectSettings+`) held WHERE held.known > 0
			ON CONFLICT (setting_id, day) DO UPDATE SET snapshot_count = excluded.snapshot_count, size_bytes = excluded.size_bytes, stored_bytes = excluded.stored_bytes`,
			tx.Now.UTC().Format(dayFormat)).Error
		if err != nil {
			return err
		}
		return tx.Exec("DELETE FROM repository_growth WHERE day < ?", tx.Now.UTC().AddDate(0, 0, -growthKept).Format(dayFormat)).Error
	})
	if err != nil {
		return fmt.Errorf("write down how repositories grow: %w", err)
	}
	s.mu.Lock()
	s.grown = now
	s.mu.Unlock()
	return nil
}

// Growth is that of one repository in the last days, or of all together when id is empty.
func (s *Store) Growth(ctx context.Context, id string, days int) (Growth, error) {
	g := Growth{Days: []GrowthDay{}}
	now, err := s.db.Now(ctx)
	if err != nil {
		return g, err
	}
	if days < 1 || days > growthKept {
		return g, fault.Invalidf("days: give 1 to %d", growthKept)
	}
	first := now.UTC().AddDate(0, 0, 1-days).Format(dayFormat)
	db := s.db.Read(ctx)
	var query *gorm.DB
	if id == "" {
		query = db.Raw(`SELECT day, CAST(sum(snapshot_count) AS bigint) AS snapshot_count, CAST(sum(size_bytes) AS bigint) AS size_bytes,
			CAST(sum(stored_bytes) AS bigint) AS stored_bytes FROM repository_growth WHERE day >= ? GROUP BY day ORDER BY day`, first)
	} else {
		if err := s.exists(ctx, id); err != nil {
			return g, err
		}
		query = db.Raw("SELECT day, snapshot_count, size_bytes, stored_bytes FROM repository_growth WHERE setting_id = ? AND day >= ? ORDER BY day", id, first)
	}
	if err := query.Scan(&g.Days).Error; err != nil {
		return g, fmt.Errorf("read how repository %s grows: %w", id, err)
	}
	return g, nil
}

// exists is nil for a repository, or not_found.
func (s *Store) exists(ctx context.Context, id string) error {
	if !wire.IsUUID(id) {
		return errNoRepository
	}
	var known []string
	if err := s.db.Read(ctx).Raw("SELECT id FROM repository_settings WHERE id = ?", id).Scan(&known).Error; err != nil {
		return fmt.Errorf("look for repository %s: %w", id, err)
	}
	if len(known) == 0 {
		return errNoRepository
	}
	return nil
}
