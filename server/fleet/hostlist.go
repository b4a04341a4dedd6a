package fleet

import (
	"context"
	"fmt"
	"strings"
	"time"

	"restic-manager/server/fault"
	"restic-manager/shared/wire"
)

// HostOrder is the order of a list of hosts. Ties are by name.
type HostOrder struct {
	Sort       string // one of HostSorts; empty: name
	Descending bool
	Group      string // a label's key: its values come first, hosts without one last
}

// HostSorts are what hosts are sorted by. Protection and status begin with the worst, last_success and last_seen with
// what is longest ago or never was.
var HostSorts = []string{"name", "last_success", "last_seen", "protection", "snapshots", "size", "version", "status"}

// HostPage is a page of the fleet.
type HostPage struct {
	Hosts      []Host `json:"hosts"`
	Total      int64  `json:"total" doc:"Hosts that match the filter"`
	NextCursor string `json:"next_cursor,omitempty"`
}

// never stands for the time of what never was: before all others.
var never = time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC)

// statusPlace is the place of a host's status in a list.
const statusPlace = "CASE h.status WHEN 'offline' THEN 0 WHEN 'never_seen' THEN 1 WHEN 'online' THEN 2 ELSE 3 END"

// sortKeys are the columns that hosts are sorted by, before the name.
var sortKeys = map[string]string{
	"name":         "",
	"last_success": "coalesce(h.last_success_at, @never)",
	"last_seen":    "coalesce(h.last_seen_at, @never)",
	"protection":   severity,
	"snapshots":    "h.snapshot_count",
	"size":         "h.latest_size_bytes",
	"version":      "h.agent_version",
	"status":       statusPlace,
}

// byBytes is a text's order by its bytes, as SQLite's is: that of a language differs from machine to machine.
func byBytes(postgres bool) string {
	if postgres {
		return ` COLLATE "C"`
	}
	return ""
}

// labelColumn is the value of the label @group of hosts h; empty for those without it. The key is not from outside
// where it is a path: see groupArgument.
func labelColumn(postgres bool) string {
	if postgres {
		return `coalesce(h.labels::jsonb ->> CAST(@group AS text), '') COLLATE "C"`
	}
	return "coalesce(json_extract(h.labels, @group), '')"
}

// groupArgument is what labelColumn takes as the key.
func groupArgument(key string, postgres bool) (string, error) {
	if wire.CheckName(key) != nil {
		return "", fault.Invalidf("group: give the key of a label")
	}
	if postgres {
		return key, nil
	}
	return `$."` + key + `"`, nil // the characters of names need no escapes
}

// hostPlace is where a page of hosts ended. Sort names the list it is of; At is the time by which the list was filtered
// and judged, so that no host changes its place because time passes.
type hostPlace struct {
	Sort   string    `json:"s"`
	At     time.Time `json:"at"`
	Group  string    `json:"g,omitempty"`
	Number int64     `json:"n,omitempty"`
	Time   time.Time `json:"t,omitzero"`
	Text   string    `json:"x,omitempty"`
	Name   string    `json:"k"`
}

// name says which list this order gives: a cursor of another is not taken.
func (o HostOrder) name() string {
	direction := "asc"
	if o.Descending {
		direction = "desc"
	}
	return o.Sort + " " + direction + " " + o.Group
}

// cursorGoodFor is how old the time of a cursor may be; then the list is judged anew.
const cursorGoodFor = time.Hour

// place reads a cursor; without one it is the list's beginning, now.
func (o HostOrder) place(cursor string, now time.Time) (p hostPlace, err error) {
	if cursor == "" {
		return hostPlace{Sort: o.name(), At: now}, nil
	}
	if err := decodeCursor(cursor, &p); err != nil {
		return p, err
	}
	if p.Sort != o.name() || p.Name == "" || cleanLine(p.Name+p.Group+p.Text, 8192) != p.Name+p.Group+p.Text {
		return p, fault.Invalidf("cursor: it is not one of this list; begin again without a cursor")
	}
	p.Time = saneTime(p.Time)
	if p.At = saneTime(p.At); p.At.After(now) || now.Sub(p.At) > cursorGoodFor {
		p.At = now
	}
	return p, nil
}

// of is the place of a row.
func (p hostPlace) of(o HostOrder, row shownHost) hostPlace {
	h := row.Row
	next := hostPlace{Sort: p.Sort, At: p.At, Group: row.GroupValue, Name: h.NameKey}
	switch o.Sort {
	case "last_success":
		next.Time = orNever(h.LastSuccessAt)
	case "last_seen":
		next.Time = orNever(h.LastSeenAt)
	case "protection":
		next.Number = int64(row.Severity)
	case "snapshots":
		next.Number = h.SnapshotCount
	case "size":
		next.Number = h.LatestSizeBytes
	case "version":
		next.Text = h.AgentVersion
	case "status":
		next.Number = int64(row.StatusPlace)
	}
	return next
}

func orNever(t *time.Time) time.Time {
	if t == nil {
		return never
	}
	return t.UTC()
}

// key is the sort's value at the place.
func (p hostPlace) key(sort string) any {
	switch sort {
	case "last_success", "last_seen":
		return p.Time
	case "version":
		return p.Text
	}
	return p.Number
}

// orderKey is one column of the order, with the place's value of it as an argument's name.
type orderKey struct{ column, direction, after, argument string }

// keys are the columns of the order, the most significant first.
func (o HostOrder) keys(postgres bool) (keys []orderKey) {
	direction, after := " ASC", " > "
	if o.Descending {
		direction, after = " DESC", " < "
	}
	if o.Group != "" {
		label := labelColumn(postgres)
		keys = append(keys, orderKey{"CASE WHEN " + label + " = '' THEN 1 ELSE 0 END", " ASC", " > ", "@p_without"},
			orderKey{label, " ASC", " > ", "@p_group"})
	}
	if column := sortKeys[o.Sort]; column != "" {
		if o.Sort == "version" {
			column += byBytes(postgres)
		}
		keys = append(keys, orderKey{column, direction, after, "@p_key"})
	}
	return append(keys, orderKey{"h.name_key", direction, after, "@p_name"})
}

// orderBy and behind are the order, and the condition that a row comes after the place.
func orderBy(keys []orderKey) string {
	var parts []string
	for _, k := range keys {
		parts = append(parts, k.column+k.direction)
	}
	return " ORDER BY " + strings.Join(parts, ", ")
}

func behind(keys []orderKey) string {
	var any []string
	equal := ""
	for _, k := range keys {
		any = append(any, equal+k.column+k.after+k.argument)
		equal += k.column + " = " + k.argument + " AND "
	}
	return "((" + strings.Join(any, ") OR (") + "))"
}

// Hosts lists hosts, each with its jobs that have not ended.
func (s *Store) Hosts(ctx context.Context, f HostFilter, o HostOrder, p Page) (page HostPage, err error) {
	if o.Sort == "" {
		o.Sort = "name"
	}
	if _, ok := sortKeys[o.Sort]; !ok {
		return page, fault.Invalidf("sort: give one of %s", strings.Join(HostSorts, ", "))
	}
	now, err := s.db.Now(ctx)
	if err != nil {
		return page, err
	}
	place, err := o.place(p.Cursor, now)
	if err != nil {
		return page, err
	}
	postgres := s.db.Postgres()
	where, args, err := f.conditions(postgres, place.At)
	if err != nil {
		return page, err
	}
	args["overdue"], args["never"], args["limit"] = s.overdueBefore(place.At), never, p.limit()+1
	group := "''"
	if o.Group != "" {
		if args["group"], err = groupArgument(o.Group, postgres); err != nil {
			return page, err
		}
		group = labelColumn(postgres)
	}
	db := s.db.Read(ctx)
	query := "SELECT count(*) FROM hosts h" + whereAll(where)
	if err := db.Raw(query, named(query, args)...).Scan(&page.Total).Error; err != nil {
		return page, fmt.Errorf("count hosts: %w", err)
	}
	keys := o.keys(postgres)
	if p.Cursor != "" {
		where = append(where, behind(keys))
		args["p_without"], args["p_group"], args["p_key"], args["p_name"] = 0, place.Group, place.key(o.Sort), place.Name
		if place.Group == "" {
			args["p_without"] = 1
		}
	}
	var rows []shownHost
	query = "SELECT " + hostColumns + ", " + group + " AS group_value" + fromHosts + whereAll(where) + orderBy(keys) + " LIMIT @limit"
	if err := db.Raw(query, args).Scan(&rows).Error; err != nil {
		return page, fmt.Errorf("list hosts: %w", err)
	}
	if len(rows) > p.limit() {
		rows = rows[:p.limit()]
		page.NextCursor = encodeCursor(place.of(o, rows[len(rows)-1]))
	}
	page.Hosts, err = s.withActiveJobs(ctx, rows)
	return page, err
}
