package policy

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"gorm.io/gorm"

	"restic-manager/server/database"
	"restic-manager/server/fault"
	"restic-manager/server/fleet"
	"restic-manager/shared/wire"
)

// tickRow is a row of ticks.
type tickRow struct {
	PolicyID   string       `gorm:"column:policy_id;primaryKey"`
	HostID     string       `gorm:"column:host_id;primaryKey"`
	DueAt      time.Time    `gorm:"column:due_at;primaryKey"`
	Outcome    wire.Outcome `gorm:"column:outcome"`
	JobID      *string      `gorm:"column:job_id"`
	Why        string       `gorm:"column:why"`
	RecordedAt time.Time    `gorm:"column:recorded_at"`
}

// TableName is ticks.
func (tickRow) TableName() string { return "ticks" }

// shownTick is a tick with what is joined to it.
type shownTick struct {
	Row        tickRow `gorm:"embedded"` // gorm passes over embedded types that are not exported
	PolicyName string
	HostName   string
}

// What is shown of ticks that were found.
const (
	tickColumns = "found.*, coalesce(p.name, '') AS policy_name, h.name AS host_name"
	joinTicks   = " found JOIN hosts h ON h.id = found.host_id LEFT JOIN policies p ON p.id = found.policy_id"
)

func (r shownTick) tick() Tick {
	t := r.Row
	return Tick{PolicyID: t.PolicyID, PolicyName: r.PolicyName, HostID: t.HostID, HostName: r.HostName, DueAt: t.DueAt.UTC(),
		Outcome: t.Outcome, JobID: t.JobID, Why: t.Why, RecordedAt: t.RecordedAt.UTC()}
}

// TickFilter narrows a list of ticks; zero fields do not.
type TickFilter struct {
	PolicyID string
	HostID   string
	Outcome  wire.Outcome
	Since    *time.Time // due at or after
	Until    *time.Time // due before
}

// TickPage is a page of ticks.
type TickPage struct {
	Ticks      []Tick `json:"ticks"`
	NextCursor string `json:"next_cursor,omitempty"`
}

// tickPlace is where a page of ticks ended.
type tickPlace struct {
	DueAt  time.Time `json:"d"`
	Policy string    `json:"p"`
	Host   string    `json:"h"`
}

// Ticks lists what became of due times, the newest first.
func (s *Store) Ticks(ctx context.Context, f TickFilter, p fleet.Page) (TickPage, error) {
	page := TickPage{Ticks: []Tick{}}
	where, args := []string{"1 = 1"}, []any(nil)
	add := func(condition string, with ...any) { where, args = append(where, condition), append(args, with...) }
	if f.PolicyID != "" {
		add("ticks.policy_id = ?", f.PolicyID)
	}
	if f.HostID != "" {
		add("ticks.host_id = ?", f.HostID)
	}
	if f.Outcome != "" {
		add("ticks.outcome = ?", f.Outcome)
	}
	if f.Since != nil {
		add("ticks.due_at >= ?", database.Truncate(*f.Since))
	}
	if f.Until != nil {
		add("ticks.due_at < ?", database.Truncate(*f.Until))
	}
	if p.Cursor != "" {
		var at tickPlace
		if err := readCursor(p.Cursor, &at); err != nil {
			return page, err
		}
		if !wire.IsUUID(at.Policy) || !wire.IsUUID(at.Host) {
			return page, errCursor
		}
		// The first condition says where in the index the page begins, the second leaves out those of that moment that
		// were on the page before.
		due := database.Truncate(at.DueAt)
		add("ticks.due_at <= ?", due)
		add("(ticks.due_at, ticks.policy_id, ticks.host_id) < (?, ?, ?)", due, at.Policy, at.Host)
	}
	var rows []shownTick
	// The page is found in the table alone: joined first, it might be read host by host.
	const order = " ORDER BY due_at DESC, policy_id DESC, host_id DESC"
	err := s.db.Read(ctx).Raw("SELECT "+tickColumns+" FROM (SELECT * FROM ticks WHERE "+strings.Join(where, " AND ")+order+" LIMIT ?)"+joinTicks+order,
		append(args, pageSize(p)+1)...).Scan(&rows).Error
	if err != nil {
		return page, fmt.Errorf("list ticks: %w", err)
	}
	if len(rows) > pageSize(p) {
		rows = rows[:pageSize(p)]
		last := rows[len(rows)-1].Row
		page.NextCursor = writeCursor(tickPlace{last.DueAt.UTC(), last.PolicyID, last.HostID})
	}
	for _, r := range rows {
		page.Ticks = append(page.Ticks, r.tick())
	}
	return page, nil
}

// lastTicks gives the newest tick of each policy and host that the condition names.
func (s *Store) lastTicks(db *gorm.DB, condition string, one string, many []string) (map[key]*Tick, error) {
	last := map[key]*Tick{}
	if len(many) == 0 {
		return last, nil
	}
	var rows []shownTick
	err := db.Raw("SELECT "+tickColumns+" FROM (SELECT * FROM ticks WHERE "+condition+` AND due_at = (SELECT max(n.due_at) FROM ticks n
		WHERE n.policy_id = ticks.policy_id AND n.host_id = ticks.host_id))`+joinTicks, one, many).Scan(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("read the newest ticks: %w", err)
	}
	for _, r := range rows {
		t := r.tick()
		last[key{t.PolicyID, t.HostID}] = &t
	}
	return last, nil
}

var errCursor = fault.Invalidf("cursor: it is not one of this list; begin again without a cursor")

// pageSize is how many rows the page may hold.
func pageSize(p fleet.Page) int {
	if p.Limit <= 0 {
		return 50
	}
	return min(p.Limit, 1000)
}

// writeCursor makes an opaque cursor of the sort key of a page's last row.
func writeCursor(place any) string {
	raw, err := json.Marshal(place)
	if err != nil {
		panic(err) // only strings, numbers and times are sort keys
	}
	return base64.RawURLEncoding.EncodeToString(raw)
}

// readCursor reads writeCursor's; without one the place stays as it is.
func readCursor(s string, place any) error {
	if s == "" {
		return nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || slices.Contains(raw, 0) || bytes.Contains(raw, []byte(`\u0000`)) {
		return errCursor
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if d.Decode(place) != nil {
		return errCursor
	}
	if _, err := d.Token(); err != io.EOF {
		return errCursor
	}
	return nil
}
