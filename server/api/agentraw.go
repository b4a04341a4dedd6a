package api

import (
	"context"
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"

	"restic-manager/server/fault"
	"restic-manager/server/fleet"
	"restic-manager/shared/wire"
)

// nextCommand is the long poll: it waits as long as the agent asked, or until the client or the server goes.
func (s *Server) nextCommand(c echo.Context, x *exchange) error {
	q, err := pollQuery(c.Request())
	if err != nil {
		return err
	}
	out, err := s.o.Fleet.Poll(c.Request().Context(), x.hostID, *q)
	if err != nil {
		return err
	}
	return reply(c, http.StatusOK, out)
}

func pollQuery(r *http.Request) (*wire.PollQuery, error) {
	q, err := wire.ParsePollQuery(r.URL.Query())
	if err != nil {
		return nil, fault.Invalidf("%s", err)
	}
	return &q, nil
}

// appendLog passes the records on as they were sent, with their inflated form to check them by.
func (s *Server) appendLog(c echo.Context, x *exchange) error {
	r := c.Request()
	q, err := wire.ParseLogQuery(r.URL.Query())
	if err != nil {
		return fault.Invalidf("%s", err)
	}
	who, err := x.caller(c)
	if err != nil {
		return err
	}
	b, err := s.readBody(x, r, wire.MaxBody, true)
	if err != nil {
		return err
	}
	defer b.release()
	out, err := s.o.Fleet.AppendLog(r.Context(), who.host, who.job, who.lease, q, fleet.LogBody{Encoding: b.encoding, Raw: b.raw, Plain: b.plain})
	if err != nil {
		return err
	}
	if q.Lines > 0 && out.NextLine == q.FirstLine+q.Lines {
		s.metrics.logLines.Add(float64(q.Lines))
		s.metrics.logBytes.Add(float64(len(b.plain)))
	}
	return reply(c, http.StatusOK, out)
}

func (s *Server) putListingPart(c echo.Context, x *exchange) error {
	who, err := x.caller(c)
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(c.Param("n"))
	if err != nil || n < 0 || n > 1<<20 {
		return fault.Invalidf("The number of a part is a whole number.")
	}
	b, err := s.readBody(x, c.Request(), wire.MaxBody, true)
	if err != nil {
		return err
	}
	defer b.release()
	if err := s.o.Fleet.PutListingPart(c.Request().Context(), who.host, who.token, n, b.plain); err != nil {
		return err
	}
	return reply(c, http.StatusOK, wire.Empty{})
}

// noToken is a listing's token that nothing has.
const noToken = "00000000000000000000000000000000"

// listingToken reads a path's token. What cannot be one gets the answer of one that is not known, word for word.
func listingToken(c echo.Context) string {
	if t := c.Param("token"); wire.IsRandomHex(t) {
		return t
	}
	return noToken
}

func (s *Server) commitListing(ctx context.Context, who caller, in wire.CommitRequest) (wire.Empty, error) {
	return wire.Empty{}, s.o.Fleet.CommitListing(ctx, who.host, who.token, in)
}
