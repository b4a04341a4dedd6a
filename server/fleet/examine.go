package fleet

import (
	"context"
	"crypto/subtle"
	"fmt"
	"time"

	"restic-manager/server/database"
)

// What the doctor of the server asks: it reads beside a server that runs, or one that cannot start, and writes nothing.

// KeyFits reports whether a key is the one that the database was made with; known is false while it has none.
func KeyFits(ctx context.Context, db *database.DB, key []byte) (fits, known bool, err error) {
	sealer, err := newSealer(key)
	if err != nil {
		return false, false, err
	}
	var values []string
	if err := db.Read(ctx).Raw("SELECT value FROM server_state WHERE key = ?", fingerprintKey).Scan(&values).Error; err != nil {
		return false, false, fmt.Errorf("read the key's fingerprint: %w", err)
	}
	if len(values) == 0 {
		return false, false, nil
	}
	return subtle.ConstantTimeCompare([]byte(values[0]), []byte(sealer.fingerprint)) == 1, true, nil
}

// LastSweep is when a server last judged silence, by the database's clock; zero: none ever did.
func LastSweep(ctx context.Context, db *database.DB) (time.Time, error) {
	state, err := readSweep(db.Read(ctx), "")
	if err != nil {
		return time.Time{}, fmt.Errorf("read the sweeper's state: %w", err)
	}
	return state.SweptAt, nil
}

// Broken are the promises that the tables break: what the hourly check finds.
func Broken(ctx context.Context, db *database.DB) ([]Violation, error) {
	now, err := db.Now(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the clock: %w", err)
	}
	return checkInvariants(db.Read(ctx), now)
}
