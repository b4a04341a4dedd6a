package transfer

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"strings"
	"testing"
	"time"

	"restic-manager/server/database"
	"restic-manager/server/database/databasetest"
)

func open(t *testing.T, engine string) *database.DB {
	t.Helper()
	db, err := database.Open(t.Context(), database.Options{URL: databasetest.New(t, engine)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	if err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return db
}

// together are columns that a check ties to others.
var together = map[string]any{
	"hosts.status": "revoked", "hosts.revoked_at": time.Unix(1_800_000_000, 0),
	"jobs.state": "succeeded", "jobs.ended_at": time.Unix(1_800_000_000, 0),
}

// fill writes rows into every table of a PostgreSQL database, whose types are the stricter ones: the ends of each kind's
// range, nulls where they may be, and what checks and foreign keys ask for.
func fill(t *testing.T, db *database.DB, rows int) {
	t.Helper()
	err := db.Write(t.Context(), func(tx *database.Tx) error {
		s := side{db: tx.DB, postgres: true}
		tables, err := s.tables()
		if err != nil {
			return err
		}
		var facts []struct {
			Table, Column, Type, Check, TargetTable, TargetColumn string
			Nullable, Unique                                      bool
		}
		// A check of one column and a list of words is written by PostgreSQL as = ANY (ARRAY['a'::text, …]).
		if err := tx.Raw(`SELECT c.table_name AS "table", c.column_name AS "column", c.data_type AS type, c.is_nullable = 'YES' AS nullable,
			coalesce((SELECT max(pg_get_constraintdef(k.oid)) FROM pg_constraint k WHERE k.contype = 'c' AND k.conrelid = c.table_name::regclass
				AND k.conkey = ARRAY[c.ordinal_position]::smallint[]), '') AS "check",
			coalesce((SELECT max(k.confrelid::regclass::text) FROM pg_constraint k WHERE k.contype = 'f' AND k.conrelid = c.table_name::regclass
				AND k.conkey = ARRAY[c.ordinal_position]::smallint[]), '') AS target_table,
			coalesce((SELECT max(a.attname) FROM pg_constraint k JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = k.confkey[1]
				WHERE k.contype = 'f' AND k.conrelid = c.table_name::regclass AND k.conkey = ARRAY[c.ordinal_position]::smallint[]), '') AS target_column
			FROM information_schema.columns c WHERE c.table_schema = current_schema() AND c.is_generated = 'NEVER'`).Scan(&facts).Error; err != nil {
			return err
		}
		word := regexp.MustCompile(`'([^']+)'::text`)
		made := map[string][]any{}
		for _, table := range tables {
			into := s.insert(table)
			for i := range rows {
				row := make([]any, len(table.columns))
				for n, c := range table.columns {
					for _, f := range facts {
						if f.Table != table.name || f.Column != c.name {
							continue
						}
						name := table.name + "." + c.name
						words := word.FindAllStringSubmatch(f.Check, -1)
						switch {
						case f.TargetTable != "":
							row[n] = made[f.TargetTable+"."+f.TargetColumn][i]
						case c.name == table.counter:
							row[n] = int64(i + 1)
						case together[name] != nil:
							row[n] = together[name]
						case len(words) > 0:
							row[n] = words[(i+1)%len(words)][1]
						case f.Nullable && i%3 == 1:
						default:
							row[n] = value(name, f.Type, i)
						}
						made[name] = append(made[name], row[n])
					}
				}
				if err := into.take(row); err != nil {
					return fmt.Errorf("%s: %w", table.name, err)
				}
			}
			if err := into.end(); err != nil {
				return fmt.Errorf("%s: %w", table.name, err)
			}
		}
		return tx.Exec("SELECT setval(pg_get_serial_sequence('jobs', 'number'), 9000000000)").Error // the last ones were deleted
	})
	if err != nil {
		t.Fatal(err)
	}
}

func value(name, kind string, i int) any {
	switch kind {
	case "uuid":
		sum := 0
		for _, r := range name {
			sum = sum*31 + int(r)
		}
		return fmt.Sprintf("%08x-0000-7000-8000-%012x", uint32(sum), i)
	case "text":
		return fmt.Sprintf("%d Ω ' \" ? %%s \U0001F512\n%s", i, strings.Repeat("x", i*100))
	case "integer":
		return []int64{1, math.MaxInt32 - 100}[i%2] + int64(i)
	case "bigint":
		return []int64{1, 1 << 53, math.MaxInt64 - 100, 7}[i%4] + int64(i)
	case "boolean":
		return i%2 == 0
	case "double precision":
		return []float64{-0.1, 1e-300, math.MaxFloat64}[i%3]
	case "timestamp with time zone":
		return time.Date(2026, 11, 27, 1, 2, 3, []int{0, 1000, 999_999_000, 120_000_000}[i%4], time.UTC).Add(time.Duration(i) * time.Hour)
	case "bytea":
		return []byte{0, byte(i), 255, '\''}[:i%5]
	}
	panic("no value for a column of type " + kind)
}

// all is every table's digest.
func all(t *testing.T, db *database.DB) map[string]digest {
	t.Helper()
	s := side{db: db.Read(t.Context()), postgres: db.Postgres()}
	tables, err := s.tables()
	if err != nil {
		t.Fatal(err)
	}
	digests := map[string]digest{}
	for _, table := range tables {
		if digests[table.name], err = s.move(table, nothing{}); err != nil {
			t.Fatal(err)
		}
	}
	return digests
}

func TestEveryRowOfEveryTableArrives(t *testing.T) {
	const rows = 40
	first := open(t, "postgres")
	fill(t, first, rows)
	want := all(t, first)
	for _, way := range [][]string{{"sqlite", "postgres"}, {"postgres", "sqlite", "sqlite"}} {
		t.Run(strings.Join(way, " "), func(t *testing.T) {
			from := first
			for _, engine := range way {
				to := open(t, engine)
				copied, err := Copy(t.Context(), from, to)
				if err != nil {
					t.Fatal(err)
				}
				if len(copied) != len(want) {
					t.Errorf("%s: %d tables copied, want %d", engine, len(copied), len(want))
				}
				got := all(t, to)
				for name, w := range want {
					if got[name] != w || w.rows < rows {
						t.Errorf("%s: the table %s has %d rows, want %d; or they differ", engine, name, got[name].rows, w.rows)
					}
				}
				from = to
			}
			next := nextNumber(t, from)
			if next != 9000000001 {
				t.Errorf("the next job has the number %d, want 9000000001: numbers are not given twice", next)
			}
		})
	}
}

// nextNumber makes a job and tells its number.
func nextNumber(t *testing.T, db *database.DB) (number int64) {
	t.Helper()
	err := db.Write(t.Context(), func(tx *database.Tx) error {
		var host string
		if err := tx.Raw("SELECT id FROM hosts ORDER BY id LIMIT 1").Scan(&host).Error; err != nil {
			return err
		}
		id := "ffffffff-0000-7000-8000-000000000000"
		if err := tx.Exec(`INSERT INTO jobs (id, host_id, kind, lane, hold, state, spec, created_by, time_limit_seconds, queued_at, expires_at)
			VALUES (?, ?, 'backup', 'long', 'none', 'queued', '{}', '', 1, ?, ?)`, id, host, tx.Now, tx.Now).Error; err != nil {
			return err
		}
		return tx.Raw("SELECT number FROM jobs WHERE id = ?", id).Scan(&number).Error
	})
	if err != nil {
		t.Fatal(err)
	}
	return number
}

func TestNothingIsWrittenOverOtherData(t *testing.T) {
	for _, engine := range databasetest.Engines {
		t.Run(engine, func(t *testing.T) {
			from, to := open(t, "sqlite"), open(t, engine)
			err := to.Write(t.Context(), func(tx *database.Tx) error {
				return tx.Exec("UPDATE server_state SET value = '1' WHERE key = 'listing_order'").Error
			})
			if err != nil {
				t.Fatal(err)
			}
			before := all(t, to)
			if _, err := Copy(t.Context(), from, to); !errors.Is(err, ErrNotEmpty) {
				t.Errorf("got %v, want ErrNotEmpty", err)
			}
			if after := all(t, to); after["server_state"] != before["server_state"] {
				t.Error("a refused copy changed what was there")
			}
		})
	}
}

func TestARowThatArrivesOtherwiseIsNoticedAndNothingIsKept(t *testing.T) {
	for engine, spoil := range map[string][]string{
		"sqlite": {`CREATE TRIGGER spoil AFTER INSERT ON hosts BEGIN UPDATE hosts SET boot_number = boot_number + 1 WHERE id = NEW.id; END`},
		"postgres": {`CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.boot_number = NEW.boot_number + 1; RETURN NEW; END'`,
			`CREATE TRIGGER spoil BEFORE INSERT ON hosts FOR EACH ROW EXECUTE FUNCTION spoil()`},
	} {
		t.Run(engine, func(t *testing.T) {
			filled, from, to := open(t, "postgres"), open(t, "sqlite"), open(t, engine)
			fill(t, filled, 2)
			if _, err := Copy(t.Context(), filled, from); err != nil {
				t.Fatal(err)
			}
			err := to.Write(t.Context(), func(tx *database.Tx) error {
				for _, q := range spoil {
					if err := tx.Exec(q).Error; err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Copy(t.Context(), from, to); err == nil || !strings.Contains(err.Error(), "the table hosts is not what was read") {
				t.Errorf("got %v, want the table named", err)
			}
			if got := all(t, to)["repositories"].rows; got != 0 {
				t.Errorf("%d repositories were kept, want none", got)
			}
		})
	}
}

func TestACopyIsOfOneMoment(t *testing.T) {
	for _, engine := range databasetest.Engines {
		t.Run(engine, func(t *testing.T) {
			filled, from := open(t, "postgres"), open(t, engine)
			fill(t, filled, 3)
			if _, err := Copy(t.Context(), filled, from); err != nil {
				t.Fatal(err)
			}
			want := all(t, from)["ticks"]
			s, release, err := snapshot(t.Context(), from)
			if err != nil {
				t.Fatal(err)
			}
			defer release()
			tables, err := s.tables() // the first look
			if err != nil {
				t.Fatal(err)
			}
			if err := from.Write(t.Context(), func(tx *database.Tx) error { return tx.Exec("DELETE FROM ticks").Error }); err != nil {
				t.Fatal(err)
			}
			for _, table := range tables {
				if table.name != "ticks" {
					continue
				}
				got, err := s.move(table, nothing{})
				if err != nil || got != want {
					t.Errorf("got %d rows and %v, want the %d that were there", got.rows, err, want.rows)
				}
			}
		})
	}
}
