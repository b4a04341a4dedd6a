// Package api is the server over HTTP: one table of routes (routes.go), each with a declared permission; JSON
// in, JSON out; errors mapped in one place. It decides nothing: the rules are in fleet and access.
package api

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/labstack/echo/v4"

	"restic-manager/server/access"
	"restic-manager/server/database"
	"restic-manager/server/fleet"
	"restic-manager/server/install"
	"restic-manager/server/maintenance"
	"restic-manager/server/policy"
	"restic-manager/server/vault"
)

// Options make a Server. Fleet, Access, Vault, Policies and Maintenance are needed; the zero value of the rest is safe.
type Options struct {
	Fleet  *fleet.Store
	Access *access.Access
	Vault  *vault.Store
	// Policies are on the same database.
	Policies *policy.Store
	// Maintenance is on the same database.
	Maintenance *maintenance.Store
	// Web answers what is not the API: the dashboard. It may set its own Content-Security-Policy. nil: 404.
	Web http.Handler
	Log *slog.Logger // nil discards
	// PublicURL is how people and agents reach the server, for example https://backup.example.com. With
	// https, cookies are Secure also behind a proxy that speaks plain HTTP to the server.
	PublicURL string
	// InsecureHTTP lets people sign in over plain HTTP from other machines; else only from this one.
	InsecureHTTP bool
	// TrustedProxies may tell the client's address and scheme (X-Forwarded-For, X-Forwarded-Proto).
	TrustedProxies []netip.Prefix
	// MetricsToken, when set, opens GET /metrics to this bearer; empty: /metrics is only on MetricsHandler.
	MetricsToken string
	Version      string // of the program
	HelpURL      string // told to agents that are too old
	// AgentsDir is the folder of the agents that machines fetch; one that is not there has none.
	AgentsDir string
	// Certificate is the pair that the server serves HTTPS with just now; nil: a proxy does, or nobody.
	Certificate func() *tls.Certificate
	// Ready is an error while the server cannot do its work; nil: always ready.
	Ready func(context.Context) error
	// Now is the clock of rate limits, for tests; nil is time.Now.
	Now    func() time.Time
	Limits Limits
}

// Limits bound what one caller may ask. Zero values are the defaults; negative ones mean no limit.
type Limits struct {
	// HostPerSecond and HostBurst bound polls and hellos of one host, and enrollments from one IP address: 2 a
	// second, bursts of 20.
	HostPerSecond float64
	HostBurst     int
}

// maxBodies is how many requests with a body one host may have under way. An agent has two for each of its jobs; each
// may hold 2 MiB for as long as the body takes to arrive.
const maxBodies = 16

// Server is the API as an http.Handler. It is safe for concurrent use. Use Attach for the http.Server around
// it: the handler alone knows nothing of slow clients.
type Server struct {
	o       Options
	log     *slog.Logger
	now     func() time.Time
	echo    *echo.Echo
	huma    huma.API
	routes  map[string]map[string]*Route // by echo's path, by method
	origins *http.CrossOriginProtection
	metrics *metrics
	outage  outage
	inflate *inflater

	publicHTTPS bool
	started     time.Time
	violations  atomic.Int64 // of invariants, found by the last check
	publicURL   string       // without a path; empty: not known
	agents      *install.Agents
	polls       *limiter // by host
	enrolls     *limiter // by network
	bodies      *gate    // by host
	holds       *gate    // by host
	allHolds    *gate    // one key
	openapi     []byte
	stop        context.Context // ends with the waits
	stopAll     context.CancelFunc
}

// New builds the server. It panics when the table of routes is not sound: a route without a permission, or a
// handler that is not in the table.
func New(o Options) (*Server, error) {
	if o.Fleet == nil || o.Access == nil || o.Vault == nil || o.Policies == nil || o.Maintenance == nil {
		return nil, errors.New("api: Fleet, Access, Vault, Policies and Maintenance are needed")
	}
	return build(o)
}

// OpenAPI is the contract as OpenAPI 3.1 in JSON: the same bytes for the same code. It needs no database.
func OpenAPI() []byte {
	s, err := build(Options{})
	if err != nil {
		panic(err) // no option, no error
	}
	defer s.Stop()
	return s.openapi
}

func build(o Options) (*Server, error) {
	s := &Server{o: o, log: o.Log, now: o.Now, origins: http.NewCrossOriginProtection(), inflate: newInflater()}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	if err := s.readPublicURL(); err != nil {
		return nil, err
	}
	s.started = database.Truncate(s.now())
	s.stop, s.stopAll = context.WithCancel(context.Background())
	l := o.Limits.withDefaults()
	s.polls = newLimiter(l.HostPerSecond, l.HostBurst, s.now)
	s.enrolls = newLimiter(l.HostPerSecond, l.HostBurst, s.now)
	s.bodies = newGate(maxBodies)
	s.holds, s.allHolds = newGate(maxHolds), newGate(maxAllHolds)
	s.agents = install.OpenAgents(o.AgentsDir)
	s.metrics = newMetrics(o.Fleet, o.Version)
	s.register(s.table())
	s.openapi = s.document()
	return s, nil
}

func (s *Server) readPublicURL() error {
	if s.o.PublicURL == "" {
		return nil
	}
	u, err := url.Parse(s.o.PublicURL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return errors.New("the public URL must look like https://backup.example.com")
	}
	s.publicHTTPS = u.Scheme == "https"
	s.publicURL = u.Scheme + "://" + u.Host
	return s.origins.AddTrustedOrigin(u.Scheme + "://" + u.Host)
}

func (l Limits) withDefaults() Limits {
	if l.HostPerSecond == 0 {
		l.HostPerSecond = 2
	}
	if l.HostBurst == 0 {
		l.HostBurst = 20
	}
	return l
}

// Attach makes the server answer on h, with limits against slow clients. WriteTimeout stays 0, because polls
// wait: every request has a write deadline of its own.
func (s *Server) Attach(h *http.Server) {
	h.Handler = s
	h.ReadHeaderTimeout = 10 * time.Second
	h.IdleTimeout = 120 * time.Second
	h.WriteTimeout = 0
	h.MaxHeaderBytes = 128 << 10 // a poll names up to 1000 jobs in its query
	h.RegisterOnShutdown(s.Stop)
}

// Stop ends every wait at once: polls, live tails, waits for changes. Other requests go on; new ones are
// answered. It is safe to call more than once.
func (s *Server) Stop() { s.stopAll() }

// MetricsHandler answers every request with the metrics, for a listener of its own.
func (s *Server) MetricsHandler() http.Handler { return s.metrics.handler() }
