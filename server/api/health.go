package api

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"restic-manager/server/fault"
	"restic-manager/shared/wire"
)

func (s *Server) healthz(c echo.Context, _ *exchange) error { return c.String(http.StatusOK, "ok\n") }

// readyz is no while the server stops, so that a balancer sends nothing new.
func (s *Server) readyz(c echo.Context, _ *exchange) error {
	if s.stop.Err() != nil {
		return errStopping()
	}
	if s.o.Ready != nil {
		if err := s.o.Ready(c.Request().Context()); err != nil {
			s.log.Warn("not ready", "error", err)
			return &fault.Error{Kind: fault.Unavailable, Code: wire.ProblemUnavailable, RetryAfter: soon(5),
				Message: "The server is not ready: it cannot reach its database, or the schema is not its own. Its log says more."}
		}
	}
	return c.String(http.StatusOK, "ready\n")
}

func (s *Server) serveMetrics(c echo.Context, _ *exchange) error {
	s.MetricsHandler().ServeHTTP(c.Response(), c.Request())
	return nil
}

func (s *Server) serveOpenAPI(c echo.Context, _ *exchange) error {
	return c.Blob(http.StatusOK, "application/json", s.openapi)
}
