package api

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"restic-manager/server/access"
	"restic-manager/server/fault"
	"restic-manager/shared/wire"
)

// admit stands before every handler: it finds the route's row and lets through what the row permits. What has
// no row is not served, so that nothing is open by mistake.
func (s *Server) admit(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		x := exchangeOf(r.Context())
		row := s.routes[c.Path()][r.Method]
		if row == nil {
			return s.noRoute(c)
		}
		x.route = row
		s.deadline(x, row.timeout+30*time.Second)
		if err := checkOnce(r); err != nil {
			return err
		}
		if err := s.permit(x, r); err != nil {
			return err
		}
		if err := checkQuery(r); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(r.Context(), row.timeout)
		defer cancel()
		if row.waits {
			defer context.AfterFunc(s.stop, cancel)()
		}
		if row.Permission.signedIn() {
			ctx = x.principal.While(ctx, role(row.Permission))
		}
		c.SetRequest(r.WithContext(ctx))
		replaceBadIDs(c)
		handle := next
		if row.tagged() {
			handle = s.tag(handle)
		}
		if row.gzip {
			handle = compress(handle)
		}
		if x.hostID != "" && row.hasBody() {
			handle = s.gated(x.hostID, handle)
		}
		return s.stopped(ctx, r, handle(c))
	}
}

// gated lets so many bodies of one host in at once. It is no part of admit: a poll waits there, on a stack that is as
// large as the deepest it was.
func (s *Server) gated(hostID string, next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if !s.bodies.enter(hostID) {
			return errRate(time.Second)
		}
		defer s.bodies.leave(hostID)
		return next(c)
	}
}

// nobody is a UUID that nothing has.
const nobody = "00000000-0000-0000-0000-000000000000"

// replaceBadIDs makes what is asked under an id that is none get the answer of an unknown one, word for word.
func replaceBadIDs(c echo.Context) {
	values := c.ParamValues() // not a copy
	for i, name := range c.ParamNames() {
		if name == "id" && !wire.IsUUID(values[i]) {
			values[i] = nobody
		}
	}
}

// stopped tells a wait that the server ended from one that went wrong.
func (s *Server) stopped(ctx context.Context, r *http.Request, err error) error {
	if err != nil && ctx.Err() != nil && s.stop.Err() != nil && r.Context().Err() == nil && fault.As(err) == nil {
		return errStopping()
	}
	return err
}

func (s *Server) noRoute(c echo.Context) error {
	byMethod := s.routes[c.Path()]
	if c.Get(echo.ContextKeyHeaderAllow) == nil || byMethod == nil {
		return errNoRoute()
	}
	methods := make([]string, 0, len(byMethod))
	for _, m := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		if byMethod[m] != nil {
			methods = append(methods, m)
		}
	}
	c.Response().Header().Set("Allow", strings.Join(methods, ", "))
	return errMethod
}

// permit checks that the caller may call the exchange's route, and learns who it is.
func (s *Server) permit(x *exchange, r *http.Request) error {
	if !x.route.always {
		if needed, err := s.o.Access.SetupNeeded(r.Context()); err != nil {
			return err
		} else if needed {
			return fault.New(fault.Unavailable, "setup_required",
				"The server is not set up yet. Give the set-up code that it printed when it started to POST /api/setup, or open the dashboard; restart it for a new code.")
		}
	}
	switch p := x.route.Permission; p {
	case Agent:
		return s.permitAgent(x, r)
	case Public, Setup:
		if x.route.ID == "enroll" {
			return s.permitEnroll(x)
		}
		return s.sameSite(r)
	case Metrics:
		return s.permitMetrics(r)
	default:
		return s.permitOperator(x, r, p)
	}
}

// sameSite refuses what another site's page makes a browser send. Requests of programs pass: they send neither
// Origin nor Sec-Fetch-Site.
func (s *Server) sameSite(r *http.Request) error {
	if s.origins.Check(r) != nil {
		return fault.New(fault.Forbidden, "cross_site", "This request comes from another site's page. Use the server's own address; behind a proxy, set --public-url to it.")
	}
	return nil
}

// headerVersion tells a signed-in person the server's version with each answer.
const headerVersion = "Restic-Manager-Version"

func (s *Server) permitOperator(x *exchange, r *http.Request, p Permission) error {
	if err := s.sameSite(r); err != nil {
		return err
	}
	if token, ok := bearer(r); ok && strings.HasPrefix(token, access.APIKeyPrefix) {
		return s.permitKey(x, r, p, token)
	}
	secret := ""
	if found := r.CookiesNamed(x.cookieName()); len(found) == 1 { // of two, one may be somebody else's
		secret = found[0].Value
	}
	who, err := s.o.Access.Authenticate(r.Context(), secret)
	if err != nil {
		return err
	}
	x.principal = who
	x.Header().Set(headerVersion, s.o.Version) // so that a page notices an update
	return who.Allows(role(p), x.route.scope)
}

// permitKey lets a program with an API key do what its role and its scopes may. One's own account, sessions and password
// are a person's.
func (s *Server) permitKey(x *exchange, r *http.Request, p Permission, token string) error {
	who, err := s.o.Access.AuthenticateKey(r.Context(), token)
	if err != nil {
		return err
	}
	if p == Self {
		return fault.New(fault.Forbidden, "forbidden", "This is about a person's own account; an API key has none. Sign in to do it.")
	}
	x.principal = who
	x.Header().Set(headerVersion, s.o.Version)
	return who.Allows(role(p), x.route.scope)
}

// role is the least role with the permission.
func role(p Permission) access.Role {
	switch p {
	case Viewer, Self:
		return access.Viewer
	case Operator:
		return access.Operator
	default:
		return access.Administrator
	}
}

// permitAgent learns the host from the credential, and from nothing else.
func (s *Server) permitAgent(x *exchange, r *http.Request) error {
	token, ok := bearer(r)
	if ok && x.route.ID == "hold" && s.o.Fleet.TakesTicket(token, s.now()) {
		return s.checkProtocol(r) // the doctor of this server: no host
	}
	if !ok || !strings.HasPrefix(token, wire.AgentTokenPrefix) || len(token) > 256 {
		return fault.New(fault.Unauthorized, wire.ProblemUnauthorized, "Send the agent's own secret as Authorization: Bearer. An agent gets it by restic-manager-agent enroll.")
	}
	host, err := s.o.Fleet.Authenticate(r.Context(), token)
	if err != nil {
		return err
	}
	x.hostID = host
	s.o.Fleet.Seen(host)
	if err := s.checkProtocol(r); err != nil {
		return err
	}
	if x.route.limited {
		if wait, ok := s.polls.allow(host); !ok {
			return errRate(wait)
		}
	}
	if err := s.o.Fleet.Writable(); err != nil {
		if f := fault.As(err); f != nil && f.RetryAfter == 0 {
			f = new(*f)
			f.RetryAfter = soon(20)
			return f
		}
		return err
	}
	return nil
}

func (s *Server) checkProtocol(r *http.Request) error {
	v, err := strconv.Atoi(r.Header.Get(wire.HeaderProtocol))
	if err != nil || v < 1 {
		return fault.New(fault.Malformed, wire.ProblemInvalid, "Send the protocol's version as %s: %d.", wire.HeaderProtocol, wire.ProtocolVersion)
	}
	return s.checkVersion(v, wire.MinProtocolVersion)
}

func (s *Server) checkVersion(v, least int) error {
	if v >= least {
		return nil
	}
	f := fault.New(fault.UpgradeRequired, wire.ProblemProtocolTooOld,
		"This agent speaks protocol %d; the server needs %d or newer. Upgrade the agent: its jobs go on meanwhile.", v, least)
	f.MinProtocolVersion, f.HelpURL = least, s.o.HelpURL
	return f
}

func (s *Server) permitEnroll(x *exchange) error {
	if wait, ok := s.enrolls.allow(network(x.address)); !ok {
		return errRate(wait)
	}
	return s.o.Fleet.Writable()
}

func errRate(wait time.Duration) error {
	f := fault.New(fault.RateLimited, wire.ProblemRateLimited, "Too many requests. Ask again after the time that Retry-After tells.")
	f.RetryAfter = max(wait, time.Second)
	return f
}

func (s *Server) permitMetrics(r *http.Request) error {
	if s.o.MetricsToken == "" {
		return errNoRoute()
	}
	token, ok := bearer(r)
	given, want := sha256.Sum256([]byte(token)), sha256.Sum256([]byte(s.o.MetricsToken))
	if !ok || subtle.ConstantTimeCompare(given[:], want[:]) != 1 {
		return fault.New(fault.Unauthorized, "unauthorized", "Send the metrics token as Authorization: Bearer.")
	}
	return nil
}

// bearer is the request's one bearer (RFC 6750, section 2.1).
func bearer(r *http.Request) (string, bool) {
	values := r.Header.Values("Authorization")
	if len(values) != 1 {
		return "", false
	}
	scheme, token, ok := strings.Cut(values[0], " ")
	return token, ok && strings.EqualFold(scheme, "Bearer") && token != ""
}

// once are the headers that mean something here. Authorization and cookies are looked at where they count.
var once = []string{"Content-Type", "Content-Encoding", "Idempotency-Key", "Origin", "Sec-Fetch-Site", wire.HeaderLease, wire.HeaderProtocol}

// checkOnce wants headers with one meaning: of two, a proxy in between may have looked at the other.
func checkOnce(r *http.Request) error {
	for _, name := range once {
		if len(r.Header.Values(name)) > 1 {
			return malformed("The header " + name + " is there twice. Send it once.")
		}
	}
	return nil
}

// checkQuery wants a query with one meaning: it can be read, names nothing twice, and holds text.
func checkQuery(r *http.Request) error {
	if r.URL.RawQuery == "" {
		return nil
	}
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return malformed("The query cannot be read: escape it as in a URL.")
	}
	for name, values := range q {
		if len(values) > 1 {
			return malformed("The query names a parameter twice. Send each once; lists are separated by commas.")
		}
		if checkText("", name) != nil {
			return malformed("The query holds a parameter whose name is no text.")
		}
		if err := checkText(name, values[0]); err != nil {
			return err
		}
	}
	return nil
}
