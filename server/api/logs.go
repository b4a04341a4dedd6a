package api

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"restic-manager/server/fault"
	"restic-manager/server/fleet"
)

type logInput struct {
	ByID
	After int64 `query:"after" minimum:"0" doc:"The last line one has; 0: from the beginning"`
	Limit int   `query:"limit" minimum:"1" maximum:"5000" default:"1000"`
	Wait  int   `query:"wait" minimum:"0" maximum:"25" doc:"Seconds to wait for more when there is none"`
}

type logOutput struct{ Body fleet.LogPage }

func (s *Server) readLog(ctx context.Context, in *logInput) (*logOutput, error) {
	p, err := s.o.Fleet.LogLines(ctx, in.ID, in.After, in.Limit, seconds(int64(in.Wait)))
	return &logOutput{p}, err
}

// downloadLog streams a whole log. What goes wrong before the first byte is a problem; later the answer is cut,
// so that nobody takes half a log for a whole one.
func (s *Server) downloadLog(c echo.Context, x *exchange) error {
	id := c.Param("id")
	w := &download{x: x, c: c, name: "job-" + id + ".txt"}
	if err := s.o.Fleet.WriteLog(c.Request().Context(), id, w); err != nil {
		if !w.begun {
			return err
		}
		if fault.As(err) == nil && c.Request().Context().Err() == nil {
			s.log.Error("a download broke off", "request_id", x.id, "error", err)
		}
		panic(http.ErrAbortHandler)
	}
	w.begin() // of an empty log
	return nil
}

// download is an answer that begins with its first byte.
type download struct {
	x     *exchange
	c     echo.Context
	name  string
	begun bool
}

func (d *download) begin() {
	if d.begun {
		return
	}
	d.begun = true
	h := d.c.Response().Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", d.name)) // RFC 6266; the name is a UUID's
	d.c.Response().WriteHeader(http.StatusOK)
}

// Write sends a piece. A client has a minute for each.
func (d *download) Write(b []byte) (int, error) {
	d.begin()
	d.x.server.deadline(d.x, time.Minute)
	return d.c.Response().Write(b)
}

type changesInput struct {
	Since string `query:"since" maxLength:"256" doc:"next of the call before; none: from now on"`
	Wait  int    `query:"wait" minimum:"0" maximum:"25" doc:"Seconds to wait for a change"`
}

type changesOutput struct{ Body fleet.ChangesPage }

func (s *Server) listChanges(ctx context.Context, in *changesInput) (*changesOutput, error) {
	p, err := s.o.Fleet.Changes(ctx, in.Since, seconds(int64(in.Wait)))
	return &changesOutput{p}, err
}
