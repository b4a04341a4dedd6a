package fleet

import (
	"database/sql"
	"fmt"
	"strings"
	"time"

	"restic-manager/server/database"
)

const snapshotColumns = "repository_id, id, time, hostname, username, paths, tags, excludes, parent, tree, original, program_version, " +
	"size_bytes, file_count, data_added, summary"

// insertSnapshots adds rows by a statement whose text is always the same, so that it is parsed once.
func insertSnapshots(tx *database.Tx, rows []snapshotRow) error {
	if tx.Postgres() {
		return insertSnapshotsPostgres(tx, rows)
	}
	return prepared(tx, "INSERT INTO snapshots ("+snapshotColumns+") VALUES (?"+strings.Repeat(", ?", 15)+")", func(stmt *sql.Stmt) error {
		for _, r := range rows {
			_, err := stmt.ExecContext(tx.Statement.Context, r.RepositoryID, r.ID, r.Time, r.Hostname, r.Username, r.Paths, r.Tags, r.Excludes,
				r.Parent, r.Tree, r.Original, r.ProgramVersion, r.SizeBytes, r.FileCount, r.DataAdded, r.Summary)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func insertSnapshotsPostgres(tx *database.Tx, rows []snapshotRow) error {
	times := make(array[time.Time], len(rows))
	texts := make([]textArray, 11)
	numbers := make([]array[int64], 3)
	for i, r := range rows {
		times[i] = r.Time
		for c, text := range []string{r.ID, r.Hostname, r.Username, r.Paths, r.Tags, r.Excludes, r.Parent, r.Tree, r.Original, r.ProgramVersion, r.Summary} {
			texts[c] = append(texts[c], text)
		}
		for c, n := range []int64{r.SizeBytes, r.FileCount, r.DataAdded} {
			numbers[c] = append(numbers[c], n)
		}
	}
	args := []any{rows[0].RepositoryID}
	for _, a := range texts {
		args = append(args, a)
	}
	for _, a := range numbers {
		args = append(args, a)
	}
	return tx.Exec(`INSERT INTO snapshots (repository_id, id, hostname, username, paths, tags, excludes, parent, tree, original, program_version,
			summary, size_bytes, file_count, data_added, time)
		SELECT ?, * FROM unnest(`+strings.Repeat("?::text[], ", len(texts))+strings.Repeat("?::bigint[], ", len(numbers))+`?::timestamptz[])`,
		append(args, times)...).Error
}

// deleteSnapshots removes rows, and gives the hostname of each.
func deleteSnapshots(tx *database.Tx, repository string, ids []string) (hostnames []string, err error) {
	if tx.Postgres() {
		err = tx.Raw("DELETE FROM snapshots WHERE repository_id = ? AND id = ANY (?::text[]) RETURNING hostname", repository, textArray(ids)).
			Scan(&hostnames).Error
		return hostnames, err
	}
	err = prepared(tx, "DELETE FROM snapshots WHERE repository_id = ? AND id = ? RETURNING hostname", func(stmt *sql.Stmt) error {
		for _, id := range ids {
			var hostname string
			switch err := stmt.QueryRowContext(tx.Statement.Context, repository, id).Scan(&hostname); err {
			case nil:
				hostnames = append(hostnames, hostname)
			case sql.ErrNoRows:
			default:
				return err
			}
		}
		return nil
	})
	return hostnames, err
}

// prepared runs fn with a statement that lives as long.
func prepared(tx *database.Tx, text string, fn func(*sql.Stmt) error) error {
	stmt, err := tx.Statement.ConnPool.PrepareContext(tx.Statement.Context, text)
	if err != nil {
		return fmt.Errorf("prepare a statement: %w", err)
	}
	defer stmt.Close()
	return fn(stmt)
}
