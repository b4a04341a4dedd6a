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

const (
	tickColumns = "t.*, coalesce(p.name, '') AS policy_name, h.name AS host_name"
	fromTicks   = " FROM ticks t JOIN hosts h ON h.id = t.host_id LEFT JOIN policies p ON p.id = t.policy_id"
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
		add("t.policy_id = ?", f.PolicyID)
	}
	if f.HostID != "" {
		add("t.host_id = ?", f.HostID)
	}
	if f.Outcome != "" {
		add("t.outcome = ?", f.Outcome)
	}
	if f.Since != nil {
		add("t.due_at >= ?", database.Truncate(*f.Since))
	}
	if f.Until != nil {
		add("t.due_at < ?", database.Truncate(*f.Until))
	}
	if p.Cursor != "" {
		var at tickPlace
		if err := readCursor(p.Cursor, &at); err != nil {
			return page, err
		}
		if !wire.IsUUID(at.Policy) || !wire.IsUUID(at.Host) {
			return page, errCursor
		}
		add("(t.due_at, t.policy_id, t.host_id) < (?, ?, ?)", database.Truncate(at.DueAt), at.Policy, at.Host)
	}
	var rows []shownTick
	err := s.db.Read(ctx).Raw("SELECT "+tickColumns+fromTicks+" WHERE "+strings.Join(where, " AND ")+" ORDER BY t.due_at DESC, t.policy_id DESC, t.host_id DESC LIMIT ?",
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

// lastTicks gives the newest tick of each policy and host that the condition on t names.
func (s *Store) lastTicks(db *gorm.DB, condition string, one string, many []string) (map[key]*Tick, error) {
	last := map[key]*Tick{}
	if len(many) == 0 {
		return last, nil
	}
	var rows []shownTick
	err := db.Raw("SELECT "+tickColumns+fromTicks+" WHERE "+condition+` AND t.due_at = (SELECT max(n.due_at) FROM ticks n
		WHERE n.policy_id = t.policy_id AND n.host_id = t.host_id)`, one, many).Scan(&rows).Error
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
