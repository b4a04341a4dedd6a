package database

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/gorm"
)

// Statement is one SQL statement, its arguments as question marks.
type Statement struct {
	SQL  string
	Args []any
}

// WriteTogether runs statements in one transaction, for hot paths: on PostgreSQL it is one round trip where
// Write takes four. Each statement sees what was committed before it began, so that one that locks may go
// before one that looks. It gives how many rows the last one changed, and tells the topics when it was any.
// What is transient is run again, as by Write. It asks no condition, so it is an error under one.
func (d *DB) WriteTogether(ctx context.Context, topics []string, statements ...Statement) (rows int64, err error) {
	if condition(ctx) != nil {
		return 0, errCondition
	}
	err = d.again(ctx, func() ([]string, error) {
		if d.postgres {
			rows, err = d.pipeline(ctx, statements)
		} else {
			rows, err = d.oneByOne(ctx, statements)
		}
		if err != nil || rows == 0 {
			return nil, err
		}
		return topics, nil
	})
	return rows, err
}

// pipeline sends all at once. Without BEGIN the server takes what comes before one Sync for one transaction
// (PostgreSQL manual, "Pipelining").
func (d *DB) pipeline(ctx context.Context, statements []Statement) (rows int64, err error) {
	batch := &pgx.Batch{}
	for _, s := range statements {
		// gorm knows how this engine writes its arguments.
		built := d.write.Session(&gorm.Session{DryRun: true, NewDB: true}).Exec(s.SQL, s.Args...).Statement
		batch.Queue(built.SQL.String(), built.Vars...)
	}
	pool, err := d.write.DB()
	if err != nil {
		return 0, err
	}
	conn, err := pool.Conn(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	err = conn.Raw(func(driver any) error {
		raw, ok := driver.(*stdlib.Conn)
		if !ok {
			return fmt.Errorf("a connection is a %T", driver)
		}
		results := raw.Conn().SendBatch(ctx, batch)
		for range statements {
			tag, err := results.Exec()
			if err != nil {
				results.Close()
				return d.translated(err)
			}
			rows = tag.RowsAffected()
		}
		return results.Close() // the commit
	})
	return rows, err
}

// translated is the error as gorm gives it.
func (d *DB) translated(err error) error {
	if t, ok := d.write.Dialector.(gorm.ErrorTranslator); ok {
		return t.Translate(err)
	}
	return err
}

func (d *DB) oneByOne(ctx context.Context, statements []Statement) (rows int64, err error) {
	run := func(g *gorm.DB) error {
		for _, s := range statements {
			done := g.Exec(s.SQL, s.Args...)
			if done.Error != nil {
				return done.Error
			}
			rows = done.RowsAffected
		}
		return nil
	}
	if len(statements) == 1 { // a transaction by itself
		return rows, run(d.write.WithContext(ctx))
	}
	return rows, d.write.WithContext(ctx).Transaction(run)
}
