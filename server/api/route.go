package api

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humaecho"
	"github.com/labstack/echo/v4"

	"restic-manager/server/access"
)

// Permission says who may call a route. The zero value is not one: every route declares its own.
type Permission string

// The permissions. Viewer, operator and administrator are the roles, each including those before it.
const (
	Public        Permission = "public"        // anyone, once the server is set up
	Setup         Permission = "setup"         // whoever holds the set-up code; the only call before there is an operator
	Viewer        Permission = "viewer"        // a signed-in person who looks
	Operator      Permission = "operator"      // a signed-in person who orders
	Administrator Permission = "administrator" // a signed-in person who manages people
	Self          Permission = "self"          // any signed-in person, about themselves
	Agent         Permission = "agent"         // an enrolled agent, about its own host
	Metrics       Permission = "metrics"       // a bearer of the metrics token
)

func (p Permission) valid() bool {
	switch p {
	case Public, Setup, Viewer, Operator, Administrator, Self, Agent, Metrics:
		return true
	}
	return false
}

// signedIn reports whether the route needs a session.
func (p Permission) signedIn() bool {
	return p == Viewer || p == Operator || p == Administrator || p == Self
}

// Route is one row of the table.
type Route struct {
	Method     string
	Path       string // with {names}
	Permission Permission
	ID         string // of the operation: camelCase
	Summary    string
	bind       bind
	traits
}

// traits are what a route may be beside its row; the zero value is the common case.
type traits struct {
	always  bool          // answers before the server is set up
	limit   int64         // bytes of the body after inflation; 0: 1 MiB
	timeout time.Duration // for the handler, its wait included; 0: 30 s
	waits   bool          // ends when the server stops
	limited bool          // counts against the host's rate
	status  int           // of success; 0: 200, or 204 without a body
	gzip    bool          // worth compressing
	quiet   bool          // too frequent to log at info when it went well
	repeats bool          // answers 200 and the same when it was asked before
	scope   access.Scope  // that an API key needs beside the role; of a viewer's call fleet:read, unless it says otherwise
}

// bind makes a route's handler and tells the contract of it.
type bind func(s *Server, r *Route, op huma.Operation)

// trait changes a row.
type trait func(*traits)

func always(t *traits)  { t.always = true }
func limited(t *traits) { t.limited = true }
func zipped(t *traits)  { t.gzip = true }
func quiet(t *traits)   { t.quiet = true }
func repeats(t *traits) { t.repeats = true }

// needs is the scope that an API key must have. Every operator's call has one.
func needs(scope access.Scope) trait { return func(t *traits) { t.scope = scope } }

// waits is for calls that may wait so long.
func waits(limit time.Duration) trait {
	return func(t *traits) { t.waits, t.timeout = true, limit+30*time.Second }
}

func lasts(limit time.Duration) trait { return func(t *traits) { t.timeout = limit } }
func status(code int) trait           { return func(t *traits) { t.status = code } }
func small(t *traits)                 { t.limit = 64 << 10 }

// usualTimeout is the time that a handler has, unless its row says otherwise.
const usualTimeout = 30 * time.Second

// commitLimit is the time for a listing of any length to take another's place in one transaction, on a machine that
// has more to do: cut off, it would begin anew at each retry and never end. Agents wait 2 min for an answer.
const commitLimit = 90 * time.Second

// route is one row.
func route(method, path string, p Permission, id, summary string, b bind, ts ...trait) *Route {
	r := &Route{Method: method, Path: path, Permission: p, ID: id, Summary: summary, bind: b,
		traits: traits{limit: 1 << 20, timeout: usualTimeout}}
	if p == Viewer {
		r.scope = access.FleetRead
	}
	for _, t := range ts {
		t(&r.traits)
	}
	return r
}

// check panics for a row that says too little.
func (r *Route) check() {
	switch {
	case !r.Permission.valid():
		panic(fmt.Sprintf("api: %s %s declares no permission", r.Method, r.Path))
	case r.Permission == Operator && (r.scope == "" || r.scope == access.FleetRead || r.scope == access.AnyScope):
		panic(fmt.Sprintf("api: %s %s declares no scope: add needs(…), which says what an API key must have for it", r.Method, r.Path))
	case r.Permission != Operator && r.Permission != Viewer && r.scope != "":
		panic(fmt.Sprintf("api: %s %s is for no API key and declares a scope", r.Method, r.Path))
	case r.ID == "" || r.Summary == "" || r.bind == nil || !strings.HasPrefix(r.Path, "/"):
		panic(fmt.Sprintf("api: %s %s is not complete", r.Method, r.Path))
	case strings.HasPrefix(r.Path, "/api/agents/") != (r.Permission == Agent) && r.ID != "enroll":
		panic(fmt.Sprintf("api: %s %s: the path prefix is the boundary between agents and people", r.Method, r.Path))
	}
}

// echoPath is the path as echo writes it.
func (r *Route) echoPath() string {
	return strings.NewReplacer("{", ":", "}", "").Replace(r.Path)
}

// register makes echo and huma serve the table and nothing else.
func (s *Server) register(table []*Route) {
	s.routes = map[string]map[string]*Route{}
	s.echo = echo.New()
	s.echo.HTTPErrorHandler = s.fail
	s.echo.Use(s.admit)
	s.huma = humaecho.NewV4WithGroup(s.echo, s.echo.Group(""), humaConfig())
	for _, r := range table {
		r.check()
		byMethod := s.routes[r.echoPath()]
		if byMethod == nil {
			byMethod = map[string]*Route{}
			s.routes[r.echoPath()] = byMethod
		}
		if byMethod[r.Method] != nil {
			panic(fmt.Sprintf("api: %s %s is there twice", r.Method, r.Path))
		}
		byMethod[r.Method] = r
		r.bind(s, r, r.operation())
	}
	s.checkRouter()
}

// checkRouter panics when echo serves what the table does not name, or the table names what echo does not
// serve.
func (s *Server) checkRouter() {
	served := map[string]bool{}
	for _, e := range s.echo.Routes() {
		if s.routes[e.Path][e.Method] == nil {
			panic(fmt.Sprintf("api: %s %s is served and not in the table", e.Method, e.Path))
		}
		served[e.Method+" "+e.Path] = true
	}
	for path, byMethod := range s.routes {
		for method := range byMethod {
			if !served[method+" "+path] {
				panic(fmt.Sprintf("api: %s %s is in the table and not served", method, path))
			}
		}
	}
}

// operation is what the contract says of the row, whatever its handler.
func (r *Route) operation() huma.Operation {
	op := huma.Operation{
		OperationID: r.ID, Method: r.Method, Path: r.Path, Summary: r.Summary, Tags: []string{r.noun()},
		DefaultStatus: r.status, MaxBodyBytes: -1, BodyReadTimeout: -1, RejectUnknownQueryParameters: true,
		Extensions: map[string]any{"x-permission": string(r.Permission)},
	}
	if r.scope != "" {
		op.Extensions["x-scope"] = string(r.scope)
	}
	switch {
	case r.Permission.signedIn():
		op.Security = []map[string][]string{{"session": {}}, {"sessionInsecure": {}}}
	case r.Permission == Agent:
		op.Security = []map[string][]string{{"agent": {}}}
	case r.Permission == Metrics:
		op.Security = []map[string][]string{{"metrics": {}}}
	}
	return op
}

// noun is the first word of the path: what the call is about.
func (r *Route) noun() string {
	if r.ID == "installScript" || r.ID == "downloadAgent" {
		return "install"
	}
	p := strings.TrimPrefix(strings.TrimPrefix(r.Path, "/api"), "/")
	if noun, _, _ := strings.Cut(p, "/"); !strings.HasSuffix(noun, "z") && noun != "metrics" && noun != "openapi.json" {
		return noun
	}
	return "server"
}

// mayTakeLong reports whether the call waits for something, or for its client.
func (r *Route) mayTakeLong() bool { return r.waits || r.timeout > usualTimeout }

// hasBody reports whether the method carries one.
func (r *Route) hasBody() bool {
	return r.Method == http.MethodPost || r.Method == http.MethodPut || r.Method == http.MethodPatch
}
