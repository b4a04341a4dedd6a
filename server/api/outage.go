package api

import (
	"log/slog"
	"sync"
	"time"
)

// outage logs that the database is away once when it begins and every 30 s while it lasts, not per request.
type outage struct {
	mu   sync.Mutex // guards all below
	last time.Time
	more int
}

// report logs an outage, unless that was just done.
func (o *outage) report(log *slog.Logger, x *exchange, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	if now.Sub(o.last) < 30*time.Second {
		o.more++
		return
	}
	log.Error("the database does not answer; requests are told to come again", "request_id", x.id, "route", x.pattern(), "error", err, "not_logged", o.more)
	o.last, o.more = now, 0
}
