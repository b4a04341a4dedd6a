package api

import (
	"context"
	"encoding/json"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/labstack/echo/v4"

	"restic-manager/server/fault"
	"restic-manager/shared/wire"
)

// How many held requests there may be at once: of one host, which tries that many lengths beside each other, and of
// all, so that a fleet whose machines are all looked at leaves room for its work.
const (
	maxHolds    = 8
	maxAllHolds = 256
)

// hold waits as long as was asked and does nothing else: what cuts, delays or changes it is on the way. A poll could
// not be used for that: it would take the place of the agent's own.
func (s *Server) hold(c echo.Context, x *exchange) error {
	q, err := wire.ParseHoldQuery(c.QueryParams())
	if err != nil {
		return fault.Invalidf("%s", err)
	}
	if !s.allHolds.enter("") {
		return errRate(5 * time.Second)
	}
	defer s.allHolds.leave("")
	if !s.holds.enter(x.hostID) {
		return errRate(5 * time.Second)
	}
	defer s.holds.leave(x.hostID)
	ctx := c.Request().Context()
	if q.Parts > 0 {
		return s.holdInParts(ctx, c, q)
	}
	if err := pause(ctx, q.Wait); err != nil {
		return err
	}
	return reply(c, http.StatusOK, wire.HoldReply{ServerTime: time.Now().UTC()})
}

// holdInParts sends the first part after the first span, and each as soon as it is due.
func (s *Server) holdInParts(ctx context.Context, c echo.Context, q wire.HoldQuery) error {
	w := c.Response()
	w.Header().Set(echo.HeaderContentType, "application/x-ndjson")
	w.WriteHeader(http.StatusOK)
	for n := 1; n <= q.Parts; n++ {
		w.Flush()
		if pause(ctx, q.Wait/time.Duration(q.Parts)) != nil {
			return nil // the answer has begun: its end without the last part tells
		}
		b, err := json.Marshal(wire.HoldReply{ServerTime: time.Now().UTC(), Part: n})
		if err != nil {
			return err
		}
		if _, err := w.Write(append(b, '\n')); err != nil {
			return nil // a client that went away is no news
		}
	}
	return nil
}

// pause waits, or gives the reason why it did not.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func contractOfHold(s *Server, op *huma.Operation) {
	query(op, false, &huma.Schema{Type: "integer"}, "seconds", "parts")
	respond(op, 200, echo.MIMEApplicationJSON, s.schema(reflect.TypeFor[wire.HoldReply]()))
}
