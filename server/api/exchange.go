package api

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strings"
	"time"

	"restic-manager/server/access"
	"restic-manager/server/database"
)

// exchange is what is known of one request while it is served.
type exchange struct {
	http.ResponseWriter // the client's

	server    *Server
	id        string
	start     time.Time
	address   netip.Addr
	secure    bool   // HTTPS, as far as the client is concerned
	direct    bool   // no proxy, known or unknown, spoke for the client
	ownTLS    bool   // the client itself made the TLS connection that ends here
	host      string // as the client wrote it: anything
	route     *Route
	hostID    string           // of the agent that asks
	principal access.Principal // who is signed in
	receiving time.Duration    // how long the body took to arrive: the client's line, not the server
	code      int              // status sent; 0: none yet
	err       error            // what went wrong and is not the caller's doing
}

type exchangeKey struct{}

// exchangeOf finds the request's exchange.
func exchangeOf(ctx context.Context) *exchange {
	x, _ := ctx.Value(exchangeKey{}).(*exchange)
	return x
}

// actor is who acts, for the audit trail.
func (x *exchange) actor() database.Actor { return x.principal.Actor(x.addressText()) }

func (x *exchange) addressText() string {
	if !x.address.IsValid() {
		return ""
	}
	return x.address.String()
}

// WriteHeader keeps the status for the log.
func (x *exchange) WriteHeader(code int) {
	if x.code == 0 && code >= 200 {
		x.code = code
	}
	x.ResponseWriter.WriteHeader(code)
}

// Write sends 200 first when nothing was sent yet.
func (x *exchange) Write(b []byte) (int, error) {
	if x.code == 0 {
		x.code = http.StatusOK
	}
	return x.ResponseWriter.Write(b)
}

// Unwrap serves http.ResponseController.
func (x *exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }

// Hijack is refused: nothing here speaks anything but HTTP.
func (x *exchange) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return nil, nil, http.ErrNotSupported
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{ResponseWriter: w, server: s, id: newRequestID(), start: time.Now()}
	s.readClient(x, r)
	setHeaders(x, isAPI(r.URL.Path))
	defer s.end(x, r)
	defer s.recovered(x)
	if r.ContentLength != 0 {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(unreadTimeout)) // as in deadline
	}
	r = r.WithContext(context.WithValue(r.Context(), exchangeKey{}, x))
	switch {
	case isAPI(r.URL.Path):
		s.echo.ServeHTTP(x, r)
	case s.o.Web != nil:
		s.deadline(x, time.Minute)
		s.o.Web.ServeHTTP(x, r)
	default:
		s.write(x, errNoRoute())
	}
}

// isAPI tells the API from the dashboard. The comparison is exact: whatever is spelled otherwise is not the
// API, and gets the dashboard's page, which holds nothing.
func isAPI(path string) bool {
	return path == "/api" || strings.HasPrefix(path, "/api/") || path == "/healthz" || path == "/readyz" || path == "/metrics" ||
		path == "/install.sh" || strings.HasPrefix(path, "/download/")
}

// newRequestID need not be secret, only different.
func newRequestID() string { return fmt.Sprintf("%016x", rand.Uint64()) }

// setHeaders are on every answer, errors included. Sources: OWASP ASVS 5.0, 3.4; RFC 6797 for HSTS.
func setHeaders(x *exchange, api bool) {
	h := x.Header()
	h.Set("X-Request-Id", x.id)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	if api {
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	} else {
		h.Set("Content-Security-Policy", "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'")
	}
	if x.secure {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
}

// deadline bounds how long the answer may take to reach the client.
func (s *Server) deadline(x *exchange, limit time.Duration) {
	// Not every writer has deadlines (those of tests): then there is none to miss.
	_ = http.NewResponseController(x.ResponseWriter).SetWriteDeadline(time.Now().Add(limit))
}

// recovered turns a panic into an internal error; the stack is for the log only.
func (s *Server) recovered(x *exchange) {
	v := recover()
	if v == nil {
		return
	}
	if v == http.ErrAbortHandler { // the answer was cut on purpose
		panic(v)
	}
	s.log.Error("a request panicked", "request_id", x.id, "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
	if x.code != 0 {
		panic(http.ErrAbortHandler) // half an answer is sent: let the client see that it is cut
	}
	s.write(x, errPanicked)
}

// end logs and counts the request. Neither query nor headers are logged: they may hold secrets.
func (s *Server) end(x *exchange, r *http.Request) {
	took := time.Since(x.start)
	pattern := "web"
	if x.route != nil {
		pattern = x.route.Path
	} else if isAPI(r.URL.Path) {
		pattern = "unknown"
	}
	s.metrics.observe(x.route, pattern, x.code, took)
	level := x.level(took)
	if !s.log.Enabled(r.Context(), level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("method", cut(r.Method, 16)), slog.String("route", pattern), slog.Int("status", x.code),
		slog.Int64("ms", took.Milliseconds()), slog.String("address", x.addressText()), slog.String("request_id", x.id),
	}
	if x.hostID != "" {
		attrs = append(attrs, slog.String("host_id", x.hostID))
	}
	if x.principal.OperatorID != "" {
		attrs = append(attrs, slog.String("operator_id", x.principal.OperatorID))
	}
	s.log.LogAttrs(r.Context(), level, "request", attrs...)
}

// slow is when a call that does not wait took long enough to say so.
const slow = time.Second

// level is how much a request is worth in the log: what changes something is told, what only looks is not, and
// what went wrong or took long stands out. 503 asks to come again, which a whole fleet does while the database is
// away: the outage is told once, where it is found (outage.go). 429 is told by the metrics: who is refused thousands
// of times a second must not fill the disk.
func (x *exchange) level(took time.Duration) slog.Level {
	switch {
	case x.code >= 500 && x.code != http.StatusServiceUnavailable:
		return slog.LevelError
	case x.code == http.StatusServiceUnavailable || x.code == http.StatusTooManyRequests || x.route == nil:
		return slog.LevelDebug
	case took-x.receiving > slow && !x.route.mayTakeLong():
		return slog.LevelWarn
	case x.route.quiet || x.route.Method == http.MethodGet && x.code < 400:
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

func cut(s string, limit int) string { return s[:min(len(s), limit)] }
