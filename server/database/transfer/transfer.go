// Package transfer copies a whole database into an empty one, of the same engine or the other, and proves that every row
// is there. It knows tables, columns and keys from the databases themselves, and nothing of what they mean.
package transfer

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"restic-manager/server/database"
)

// Table is what was copied of one table.
type Table struct {
	Name string
	Rows int64
}

// ErrNotEmpty is the refusal to write into a database that holds something.
var ErrNotEmpty = errors.New("the database that is to be written holds something already: name an empty one")

// Copy writes all of from, as it is at one moment, into to, in one transaction: it is there wholly or not at all. Both have
// this program's schema (database.DB.CheckSchema), and to has no rows yet (ErrNotEmpty). What was written is read again
// before it is committed and held against what was read, row by row: an error names the table that differs.
//
// from may be written meanwhile: on PostgreSQL by REPEATABLE READ, on SQLite by its write-ahead log, the copy is of one
// moment (PostgreSQL manual, "Transaction Isolation"; https://www.sqlite.org/isolation.html).
func Copy(ctx context.Context, from, to *database.DB) (copied []Table, err error) {
	source, release, err := snapshot(ctx, from)
	if err != nil {
		return nil, err
	}
	defer release()
	err = to.WriteUntimed(ctx, func(tx *database.Tx) error {
		copied, err = copyAll(source, side{db: tx.DB, postgres: to.Postgres()})
		return err
	})
	return copied, err
}

// snapshot is a database as it is from the first look on.
func snapshot(ctx context.Context, db *database.DB) (side, func(), error) {
	var o *sql.TxOptions // SQLite's are of one moment anyway
	if db.Postgres() {
		o = &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}
	}
	tx := db.Read(ctx).Begin(o)
	if tx.Error != nil {
		return side{}, nil, fmt.Errorf("read the database: %w", tx.Error)
	}
	return side{db: tx, postgres: db.Postgres()}, func() { tx.Rollback() }, nil
}

func copyAll(r, w side) ([]Table, error) {
	tables, err := r.tables()
	if err != nil {
		return nil, err
	}
	there, err := w.tables()
	if err != nil {
		return nil, err
	}
	if err := sameShape(tables, there); err != nil {
		return nil, err
	}
	if err := w.mustBeEmpty(there); err != nil {
		return nil, err
	}
	var copied []Table
	for _, t := range there {
		read, err := r.move(t, w.insert(t))
		if err != nil {
			return nil, fmt.Errorf("copy the table %s: %w", t.name, err)
		}
		if err := w.setCounter(r, t); err != nil {
			return nil, fmt.Errorf("copy the counter of the table %s: %w", t.name, err)
		}
		written, err := w.move(t, nothing{})
		if err != nil {
			return nil, fmt.Errorf("read the table %s again: %w", t.name, err)
		}
		if read != written {
			return nil, fmt.Errorf("the table %s is not what was read (%d rows) but %d rows, or one of them differs. Nothing was written", t.name, read.rows, written.rows)
		}
		copied = append(copied, Table{Name: t.name, Rows: read.rows})
	}
	return copied, nil
}

// sameShape is an error where the two have other tables or columns: their schemas were changed by hand.
func sameShape(a, b []table) error {
	describe := func(list []table) []string {
		var all []string
		for _, t := range list {
			for _, c := range t.columns {
				all = append(all, t.name+"."+c.name+" "+string(c.kind))
			}
		}
		slices.Sort(all)
		return all
	}
	mine, theirs := describe(a), describe(b)
	if slices.Equal(mine, theirs) {
		return nil
	}
	var differ []string
	for _, c := range append(slices.Clone(mine), theirs...) {
		if !(slices.Contains(mine, c) && slices.Contains(theirs, c)) && !slices.Contains(differ, c) {
			differ = append(differ, c)
		}
	}
	return fmt.Errorf("the two databases are not of the same form; they differ in %s", strings.Join(differ, ", "))
}

// digest is a table's content: the number of its rows and the sum of their SHA-256, which knows no order.
type digest struct {
	rows int64
	sum  [sha256.Size]byte
}

// add counts a row, given in its one form.
func (d *digest) add(row []byte) {
	d.rows++
	h := sha256.Sum256(row)
	carry := 0
	for i := len(h) - 1; i >= 0; i-- {
		carry += int(d.sum[i]) + int(h[i])
		d.sum[i] = byte(carry)
		carry >>= 8
	}
}
