package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"restic-manager/frontend"
	"restic-manager/schedule"
	"restic-manager/server/access"
	"restic-manager/server/api"
	"restic-manager/server/config"
	"restic-manager/server/database"
	"restic-manager/server/fault"
	"restic-manager/server/fleet"
	"restic-manager/server/keeper"
	"restic-manager/server/maintenance"
	"restic-manager/server/policy"
	"restic-manager/server/vault"
	"restic-manager/server/web"
)

// How long stopping takes at most: together under 10 s.
const (
	drainFor   = 6 * time.Second // for requests to finish
	keeperStop = time.Second     // for duties to finish; a last flush comes after
)

type serveCommand struct {
	config.Settings `embed:""`
}

// Run serves until a signal.
func (s *serveCommand) Run(ctx context.Context, c console, l *config.Loader) error {
	if err := l.Complete(&s.Settings); err != nil {
		return err
	}
	return run(ctx, &s.Settings, c, nil)
}

// run is the server from start to stop: it returns nil after ctx has ended and all is written. ready, when
// not nil, gets the address once requests are answered.
func run(ctx context.Context, s *config.Settings, c console, ready chan<- net.Addr) error {
	log := newLogger(c.err, s.LogLevel, s.LogFormat)
	notify(statusLine("starting"))
	release, err := holdData(&s.Storage)
	if err != nil {
		return err
	}
	defer release()
	p, err := assemble(ctx, s, log)
	if err != nil {
		return err
	}
	defer p.db.Close()
	l, err := listen(s, p, log)
	if err != nil {
		return err
	}
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	failed := l.serve()
	frugal()
	p.keeper.Start()
	url := s.PublicURL
	if url == "" {
		url = localURL(s, l.main.Addr().String())
	}
	log.Info("serving", "url", url, "listen", l.main.Addr().String(), "database", database.Redact(s.Source()), "version", serverVersion())
	warnOfPlainHTTP(s, l.main.Addr(), log)
	if err := printSetupCode(ctx, p.access, c, url); err != nil {
		log.Error("no set-up code", "error", err)
	}
	notify(daemon.SdNotifyReady, statusLine("serving "+url))
	alive, still := context.WithCancel(ctx)
	defer still()
	go watchdog(alive, p.api)
	if ready != nil {
		ready <- l.main.Addr()
	}
	for {
		select {
		case <-hangup:
			l.reload()
		case err := <-failed:
			stop(p, l, log)
			return err
		case <-ctx.Done():
			stop(p, l, log)
			return nil
		}
	}
}

// frugal halves the room that the collector leaves to grow: nearly all of a large fleet's memory is what its connections hold as
// long as they live, and is looked at seldom. GOGC in the environment stands over it (package runtime, "Environment Variables").
func frugal() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50)
	}
}

// parts are what the server consists of.
type parts struct {
	db     *database.DB
	access *access.Access
	api    *api.Server
	keeper *keeper.Keeper
	cert   *certificate // nil: plain HTTP
}

// assemble opens and checks everything; nothing runs yet.
func assemble(ctx context.Context, s *config.Settings, log *slog.Logger) (*parts, error) {
	db, err := openDatabase(ctx, &s.Storage, log)
	if err != nil {
		return nil, err
	}
	p, err := assembleOn(ctx, db, s, log)
	if err != nil {
		db.Close()
		return nil, err
	}
	return p, nil
}

func assembleOn(ctx context.Context, db *database.DB, s *config.Settings, log *slog.Logger) (*parts, error) {
	notify(statusLine("bringing the schema up to date"))
	if err := migrate(ctx, db); err != nil {
		return nil, err
	}
	f, err := openFleet(ctx, db, s.KeyFile, log, fleet.Settings{
		OfflineAfter: time.Duration(s.OfflineAfter), OverdueAfter: time.Duration(s.OverdueAfter), PollHold: time.Duration(s.PollHold), LogKeep: time.Duration(s.LogKeep),
		LogBytesPerJob: int64(s.LogBytesPerJob), LogHeadBytes: int64(s.LogHeadBytes), LogTailBytes: int64(s.LogTailBytes), HelpURL: s.HelpURL,
	})
	if err != nil {
		return nil, err
	}
	checkCron := func(expression, zone string) error { _, err := schedule.Parse(expression, zone); return err }
	repositories := vault.Open(vault.Options{DB: db, Fleet: f, CheckCron: checkCron, Log: log})
	m := maintenance.Open(maintenance.Options{DB: db, Fleet: f, Log: log})
	policies := policy.Open(policy.Options{DB: db, Fleet: f, Assign: repositories.TryAssign, Outlook: m.Outlook, Log: log})
	p := &parts{db: db, access: access.Open(access.Options{DB: db, Log: log})}
	if err := firstAdministrator(ctx, s, p.access); err != nil {
		return nil, err
	}
	pages, err := web.Handler(frontend.Dist())
	if err != nil {
		return nil, err
	}
	var pair func() *tls.Certificate
	if s.TLSCert != "" {
		if p.cert, err = loadCertificate(s.TLSCert, s.TLSKey); err != nil {
			return nil, err
		}
		pair = p.cert.current
	}
	p.api, err = api.New(api.Options{
		Fleet: f, Access: p.access, Vault: repositories, Policies: policies, Maintenance: m, Web: pages, Log: log, PublicURL: s.PublicURL, InsecureHTTP: s.InsecureHTTP, TrustedProxies: prefixes(s.TrustedProxies),
		MetricsToken: s.MetricsToken, Version: serverVersion(), HelpURL: s.HelpURL, Ready: (&readiness{db: p.db}).check,
		AgentsDir: s.AgentsDir, Certificate: pair,
	})
	if err != nil {
		return nil, err
	}
	p.keeper = keeper.New(log, append(keeper.Duties(f, policies, p.access, log, p.api.CountViolations),
		keeper.Duty{Name: "maintenance", Every: 30 * time.Second, Do: m.Duty},
		keeper.Duty{Name: "repositories", Every: 15 * time.Second, Do: repositories.Duty})...)
	return p, nil
}

func firstAdministrator(ctx context.Context, s *config.Settings, a *access.Access) error {
	if s.AdminUser == "" {
		return nil
	}
	err := a.EnsureAdmin(ctx, s.AdminUser, s.AdminPassword)
	if f := fault.As(err); f != nil && f.Kind == fault.Invalid {
		return config.Errorf("RESTIC_MANAGER_ADMIN_USER, RESTIC_MANAGER_ADMIN_PASSWORD: %v", f)
	}
	return err
}

func prefixes(networks []config.Network) []netip.Prefix {
	var list []netip.Prefix
	for _, n := range networks {
		list = append(list, n.Prefix)
	}
	return list
}

// readiness asks the database at most once a second, however many ask it.
type readiness struct {
	db *database.DB

	mu  sync.Mutex // guards the rest, and is held while asking
	at  time.Time
	err error
}

func (r *readiness) check(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.at) < time.Second {
		return r.err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	if r.err = r.db.Ping(ctx); r.err == nil {
		r.err = r.db.CheckSchema(ctx)
	}
	r.at = time.Now()
	return r.err
}

// warnOfPlainHTTP tells what will not work, before somebody finds out.
func warnOfPlainHTTP(s *config.Settings, at net.Addr, log *slog.Logger) {
	local := false
	if a, ok := at.(*net.TCPAddr); ok {
		local = a.IP.IsLoopback()
	}
	switch {
	case s.InsecureHTTP:
		log.Warn("insecure-http is on: passwords and sessions can be read on the way to this server")
	case s.TLSCert == "" && !local && !strings.HasPrefix(s.PublicURL, "https://") && len(s.TrustedProxies) == 0:
		log.Warn("this server speaks plain HTTP: people can sign in on this machine only, and what agents send can be read on the way. Set tls-cert and tls-key, or put a proxy in front and set public-url and trusted-proxies")
	}
}

// printSetupCode prints a box on the console while there is no operator. It does not go through the log,
// which is collected and kept.
func printSetupCode(ctx context.Context, a *access.Access, c console, url string) error {
	code, expires, err := a.SetupCode(ctx)
	if err != nil || code == "" {
		return err
	}
	line := strings.Repeat("─", 72)
	_, err = fmt.Fprintf(c.out, `%[1]s
  There is no operator yet. Set-up code:  %[2]s
  Good for one use until %[3]s; each start prints a new one.

  curl -fsS -H 'Content-Type: application/json' %[4]s/api/setup \
    -d '{"code":"%[2]s","username":"you","password":"four unusual words"}'
%[1]s
`, line, code, expires.Format(time.RFC3339), url)
	return err
}

// listeners are the sockets and the servers on them.
type listeners struct {
	main, metrics net.Listener
	server        *http.Server
	figures       *http.Server
	cert          *certificate
	cancel        context.CancelFunc // ends the requests that do not finish
	log           *slog.Logger
}

func listen(s *config.Settings, p *parts, log *slog.Logger) (l *listeners, err error) {
	a := p.api
	l = &listeners{log: log, cert: p.cert}
	base, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	errorLog := slog.NewLogLogger(log.Handler(), slog.LevelDebug) // what clients do to connections
	l.server = &http.Server{ErrorLog: errorLog, BaseContext: func(net.Listener) context.Context { return base }}
	a.Attach(l.server)
	if l.cert != nil {
		l.server.TLSConfig = l.cert.config()
	}
	if l.main, err = net.Listen("tcp", s.Listen); err != nil {
		return nil, fmt.Errorf("listen for requests: %w", err)
	}
	if s.MetricsListen != "" {
		if l.metrics, err = net.Listen("tcp", s.MetricsListen); err != nil {
			l.main.Close()
			return nil, fmt.Errorf("listen for metrics: %w", err)
		}
		routes := http.NewServeMux()
		routes.Handle("GET /metrics", a.MetricsHandler())
		l.figures = &http.Server{Handler: routes, ErrorLog: errorLog, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 120 * time.Second, WriteTimeout: time.Minute}
	}
	return l, nil
}

// serve answers from now on. The channel tells when a listener breaks.
func (l *listeners) serve() <-chan error {
	failed := make(chan error, 2)
	start := func(what string, serve func() error) {
		go func() {
			if err := serve(); !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("serve %s: %w", what, err)
			}
		}()
	}
	start("requests", func() error {
		if l.cert != nil {
			return l.server.ServeTLS(l.main, "", "")
		}
		return l.server.Serve(l.main)
	})
	if l.figures != nil {
		start("metrics", func() error { return l.figures.Serve(l.metrics) })
	}
	return failed
}

func (l *listeners) reload() {
	if l.cert == nil {
		l.log.Info("SIGHUP: there is no certificate to read again")
		return
	}
	if err := l.cert.reload(); err != nil {
		l.log.Error("the certificate stays as it was", "error", err)
		return
	}
	l.log.Info("the certificate was read again")
}

// stop ends waits at once, lets requests finish, writes what is left and closes.
func stop(p *parts, l *listeners, log *slog.Logger) {
	notify(daemon.SdNotifyStopping, statusLine("stopping"))
	log.Info("stopping: waits end, requests finish")
	p.api.Stop()
	p.db.Hub.Close()
	ctx, cancel := context.WithTimeout(context.Background(), drainFor)
	defer cancel()
	if err := l.server.Shutdown(ctx); err != nil {
		log.Warn("some requests did not finish in time and were cut off", "error", err)
		l.server.Close()
	}
	l.cancel()
	ctx, cancel = context.WithTimeout(context.Background(), keeperStop)
	defer cancel()
	p.keeper.Stop(ctx)
	if l.figures != nil {
		l.figures.Close()
	}
	log.Info("stopped")
}
