package job

import (
	"time"

	"restic-manager/shared/wire"
)

// SweepAway is how old the last sweep may be; an older one means that the sweeper or the database was away,
// and that silence proves nothing.
const SweepAway = 30 * time.Second

// Vigil is what the sweepers of all replicas share. The zero value: nobody has swept yet.
type Vigil struct {
	SweptAt time.Time `json:"swept_at"`
	// Until ends the amnesty: before it nothing expires and no host goes offline.
	Until time.Time `json:"amnesty_until,omitzero"`
}

// Begin begins a sweep: the sweeper's own sign of life, and an amnesty when the last one is old. While
// amnesty is true nothing is to be judged.
func (v Vigil) Begin(now time.Time) (next Vigil, amnesty bool) {
	if now.Sub(v.SweptAt) > SweepAway {
		v.Until = now.Add(wire.Amnesty)
	}
	// Another replica's clock is the same one, but a sweep that waited for its turn has an older time.
	if now.After(v.SweptAt) {
		v.SweptAt = now
	}
	return v, now.Before(v.Until)
}

// Forgives reports whether silence proves nothing now: an amnesty is open, or is due with the next sweep.
func (v Vigil) Forgives(now time.Time) bool {
	return now.Before(v.Until) || now.Sub(v.SweptAt) > SweepAway
}
