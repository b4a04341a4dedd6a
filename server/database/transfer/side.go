package transfer

import (
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"gorm.io/gorm"
)

// kind is what a column holds, the same word for both engines.
type kind string

// The kinds of columns, and the engines' words for them.
const (
	text    kind = "text"
	integer kind = "integer"
	boolean kind = "boolean"
	number  kind = "number"
	moment  kind = "moment"
	blob    kind = "blob"
)

var kinds = map[string]kind{
	"text": text, "uuid": text,
	"integer": integer, "bigint": integer,
	"boolean": boolean,
	"real":    number, "double precision": number,
	"datetime": moment, "timestamp with time zone": moment,
	"blob": blob, "bytea": blob,
}

// table is one table. counter is the column that the database counts up by itself; empty: none.
type table struct {
	name    string
	columns []column
	counter string
}

type column struct {
	name     string
	kind     kind
	nullable bool
}

// side is one of the two databases, within its transaction.
type side struct {
	db       *gorm.DB
	postgres bool
}

// bookkeeping is the table in which the migrations note what they did: each database has its own.
const bookkeeping = "goose_db_version"

// tables are all tables, each after those that its rows point at, with the columns that are not computed from others.
func (s side) tables() ([]table, error) {
	names, columns, points := `SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\_%' ESCAPE '\'`,
		`SELECT m.name AS "table", c.name AS "column", lower(c.type) AS type, c."notnull" = 0 AND c.pk = 0 AS nullable, (m.sql LIKE '%AUTOINCREMENT%' AND c.pk > 0) AS counted
			FROM sqlite_schema m JOIN pragma_table_info(m.name) c WHERE m.type = 'table' ORDER BY m.name, c.cid`,
		`SELECT m.name AS "table", f."table" AS target FROM sqlite_schema m JOIN pragma_foreign_key_list(m.name) f WHERE m.type = 'table'`
	if s.postgres {
		names = `SELECT c.relname AS name FROM pg_class c WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p')`
		columns = `SELECT table_name AS "table", column_name AS "column", data_type AS type, is_nullable = 'YES' AS nullable, is_identity = 'YES' AS counted
			FROM information_schema.columns WHERE table_schema = current_schema() AND is_generated = 'NEVER' ORDER BY table_name, ordinal_position`
		points = `SELECT f.conrelid::regclass::text AS "table", f.confrelid::regclass::text AS target FROM pg_constraint f
			WHERE f.contype = 'f' AND f.connamespace = current_schema()::regnamespace`
	}
	var list []string
	if err := s.db.Raw(names).Scan(&list).Error; err != nil {
		return nil, fmt.Errorf("list the tables: %w", err)
	}
	slices.Sort(list)
	byName := map[string]*table{}
	for _, n := range list {
		if n != bookkeeping {
			byName[n] = &table{name: n}
		}
	}
	var rows []struct {
		Table, Column, Type string
		Nullable, Counted   bool
	}
	if err := s.db.Raw(columns).Scan(&rows).Error; err != nil {
		return nil, fmt.Errorf("list the columns: %w", err)
	}
	for _, r := range rows {
		t := byName[r.Table]
		if t == nil {
			continue
		}
		k, known := kinds[r.Type]
		if !known {
			return nil, fmt.Errorf("the column %s.%s is of the type %s, which this program does not use: the schema was changed by hand", r.Table, r.Column, r.Type)
		}
		t.columns = append(t.columns, column{r.Column, k, r.Nullable})
		if r.Counted {
			t.counter = r.Column
		}
	}
	var refs []struct{ Table, Target string }
	if err := s.db.Raw(points).Scan(&refs).Error; err != nil {
		return nil, fmt.Errorf("list the foreign keys: %w", err)
	}
	needs := map[string][]string{}
	for _, r := range refs {
		if r.Table != r.Target {
			needs[r.Table] = append(needs[r.Table], r.Target)
		}
	}
	var sorted []table
	placed := map[string]bool{}
	for len(sorted) < len(byName) {
		before := len(sorted)
		for _, n := range list {
			t := byName[n]
			if t == nil || placed[n] || slices.ContainsFunc(needs[n], func(o string) bool { return !placed[o] }) {
				continue
			}
			placed[n] = true
			sorted = append(sorted, *t)
		}
		if len(sorted) == before {
			return nil, fmt.Errorf("the tables point at each other in a circle")
		}
	}
	for i := range sorted { // the same order of columns on both sides
		slices.SortFunc(sorted[i].columns, func(a, b column) int { return strings.Compare(a.name, b.name) })
	}
	return sorted, nil
}

// mustBeEmpty lets nothing stand but what the migrations themselves put there, and removes that.
func (s side) mustBeEmpty(tables []table) error {
	for _, t := range tables {
		if t.name == "server_state" {
			if err := s.db.Exec("DELETE FROM server_state WHERE key IN ('listing_order', 'identity_revision') AND value = '0'").Error; err != nil {
				return err
			}
		}
		var held bool
		if err := s.db.Raw("SELECT EXISTS (SELECT 1 FROM " + quoted(t.name) + ")").Scan(&held).Error; err != nil {
			return err
		}
		if held {
			return fmt.Errorf("%w (there are rows in its table %s)", ErrNotEmpty, t.name)
		}
	}
	return nil
}

// taker takes rows in the order of table.columns.
type taker interface {
	take(row []any) error
	end() error
}

type nothing struct{}

func (nothing) take([]any) error { return nil }
func (nothing) end() error       { return nil }

// move reads a whole table, gives each row to the taker, and returns what it was.
func (s side) move(t table, into taker) (digest, error) {
	var names []string
	for _, c := range t.columns {
		names = append(names, quoted(c.name))
	}
	rows, err := s.db.Raw("SELECT " + strings.Join(names, ", ") + " FROM " + quoted(t.name)).Rows()
	if err != nil {
		return digest{}, err
	}
	defer rows.Close()
	var d digest
	var form []byte
	for rows.Next() {
		row, err := scan(rows, t.columns)
		if err != nil {
			return digest{}, err
		}
		form = encode(form[:0], row)
		d.add(form)
		if err := into.take(row); err != nil {
			return digest{}, err
		}
	}
	if err := rows.Err(); err != nil {
		return digest{}, err
	}
	return d, into.end()
}

// insert writes rows, some hundred values at a time.
func (s side) insert(t table) taker { return &inserter{side: s, table: t} }

type inserter struct {
	side  side
	table table
	args  []any
}

// Both engines take more values in one statement (32,766 the fewer); past some hundred it is no faster.
const valuesAtOnce = 1000

func (i *inserter) take(row []any) error {
	i.args = append(i.args, row...)
	if len(i.args)+len(row) <= valuesAtOnce {
		return nil
	}
	return i.end()
}

func (i *inserter) end() error {
	if len(i.args) == 0 {
		return nil
	}
	var names []string
	for _, c := range i.table.columns {
		names = append(names, quoted(c.name))
	}
	over := ""
	if i.side.postgres && i.table.counter != "" {
		over = " OVERRIDING SYSTEM VALUE" // PostgreSQL manual, INSERT
	}
	var q strings.Builder
	q.WriteString("INSERT INTO " + quoted(i.table.name) + " (" + strings.Join(names, ", ") + ")" + over + " VALUES ")
	for n := range i.args {
		switch {
		case n == 0:
			q.WriteByte('(')
		case n%len(names) == 0:
			q.WriteString("), (")
		default:
			q.WriteString(", ")
		}
		fmt.Fprintf(&q, "$%d", n+1) // both engines take it (https://www.sqlite.org/lang_expr.html, "Parameters")
	}
	q.WriteByte(')')
	// Not by gorm's Exec: it takes a list of bytes after a parenthesis for a list of values.
	_, err := i.side.db.Statement.ConnPool.ExecContext(i.side.db.Statement.Context, q.String(), i.args...)
	clear(i.args)
	i.args = i.args[:0]
	return err
}

// setCounter lets a counted column go on where it stood: a number that was given once is not given again, also where its
// row is gone.
func (s side) setCounter(from side, t table) error {
	if t.counter == "" {
		return nil
	}
	var last sql.NullInt64
	var err error
	if from.postgres {
		err = from.db.Raw("SELECT pg_sequence_last_value(pg_get_serial_sequence(?, ?)::regclass)", t.name, t.counter).Scan(&last).Error
	} else {
		err = from.db.Raw("SELECT seq FROM sqlite_sequence WHERE name = ?", t.name).Scan(&last).Error
	}
	if err != nil || !last.Valid {
		return err
	}
	if s.postgres {
		return s.db.Exec("SELECT setval(pg_get_serial_sequence(?, ?), ?)", t.name, t.counter, last.Int64).Error
	}
	// A table that never had a row has no line there.
	r := s.db.Exec("UPDATE sqlite_sequence SET seq = ? WHERE name = ?", last.Int64, t.name)
	if r.Error == nil && r.RowsAffected == 0 {
		return s.db.Exec("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", t.name, last.Int64).Error
	}
	return r.Error
}

func quoted(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
