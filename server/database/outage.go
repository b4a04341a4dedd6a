package database

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// IsOutage reports whether an error says that the database is away, overloaded or full, rather than that the
// question was wrong: the same may succeed later. A context's end counts when it is a deadline, not when the
// caller went away. Source: PostgreSQL manual, "PostgreSQL Error Codes".
func IsOutage(err error) bool {
	if err == nil {
		return false
	}
	if p, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch p.Code[:min(2, len(p.Code))] {
		case "08", "53", "57", "58": // connection, resources, operator intervention, system
			return true
		}
		// A standby, or a server that was put in read-only mode; a lock that was not to be had.
		return p.Code == "25006" || transient(err)
	}
	for _, known := range []error{driver.ErrBadConn, sql.ErrConnDone, io.EOF, io.ErrUnexpectedEOF, context.DeadlineExceeded, net.ErrClosed} {
		if errors.Is(err, known) {
			return true
		}
	}
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return true
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	s := err.Error()
	for _, words := range []string{"sql: database is closed", "conn closed", "closed pool", "SQLITE_BUSY", "SQLITE_LOCKED", "database is locked",
		"SQLITE_FULL", "database or disk is full", "SQLITE_IOERR", "disk I/O error", "SQLITE_READONLY", "readonly database", "unable to open database file"} {
		if strings.Contains(s, words) {
			return true
		}
	}
	return false
}
