package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"restic-manager/agent/client"
	"restic-manager/agent/config"
	"restic-manager/agent/facts"
	"restic-manager/agent/guard"
	"restic-manager/agent/runner"
)

type runCommand struct {
	folders
	ExitOnFatal bool   `help:"Exit with 76 (protocol too old) or 77 (not authorized) in place of asking again rarely."`
	LogLevel    string `enum:"debug,info,warn,error" default:"info" env:"RESTIC_MANAGER_LOG_LEVEL" help:"Least level of the agent's own log: debug, info, warn or error."`
	LogFormat   string `enum:"auto,text,json" default:"auto" env:"RESTIC_MANAGER_LOG_FORMAT" help:"Form of the agent's own log: text, json, or auto (text on a terminal, else JSON)."`
}

// The agent waits most of its life; restic needs the memory more.
const (
	gcPercent   = 50
	memoryLimit = 64 << 20
)

// Run works until the context ends. Restic and its supervisors go on then.
func (r *runCommand) Run(ctx context.Context, c console) error {
	debug.SetGCPercent(gcPercent)
	debug.SetMemoryLimit(memoryLimit)
	paths, err := config.Locate(r.Config, r.StateDir)
	if err != nil {
		return err
	}
	settings, err := config.Load(paths.Config)
	if err != nil {
		return fail(exitConfig, err)
	}
	connection, err := connect(settings)
	if err != nil {
		return fail(exitConfig, fmt.Errorf("%s: %w", paths.Config, err))
	}
	defer connection.Close()
	for _, folder := range []string{paths.State, paths.Cache, paths.Runtime} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return fmt.Errorf("make the agent's folders: %w", err)
		}
	}
	log := newLogger(c.err, r.LogLevel, r.LogFormat)
	rules := openGuard(paths, settings)
	stopReloading := onHangup(func() {
		rules.Reload()
		log.Info("guard.yaml was read again", "guard", rules.Report().Summary)
	})
	defer stopReloading()
	n := newNotifier()
	defer n.stopping()
	log.Info("the agent starts", "version", agentVersion(), "server", settings.ServerURL, "host", settings.HostID, "guard", rules.Report().Summary)
	if broken := rules.Report().Broken; broken != "" {
		log.Error("the guard refuses everything until it is mended", "reason", broken)
	}
	err = runner.Run(ctx, runner.Config{Client: connection, Guard: rules, Settings: settings, Paths: paths, Version: agentVersion(), Facts: facts.Collect,
		Conditions: facts.Conditions, Booted: facts.Booted(time.Now()), Logger: log, ExitOnFatal: r.ExitOnFatal, Ready: n.ready, Alive: n.alive, Status: n.status})
	switch {
	case errors.Is(err, runner.ErrProtocolTooOld):
		return fail(exitProtocol, err)
	case errors.Is(err, runner.ErrUnauthorized):
		return fail(exitRefused, err)
	case err == nil:
		log.Info("the agent stops; running jobs go on")
	}
	return err
}

// connect makes the client that agent.yaml describes.
func connect(s *config.Config) (*client.Client, error) {
	return client.New(client.Options{ServerURL: s.ServerURL, Token: s.AgentToken, CertPins: s.CertPins, CAFile: s.CAFile, InsecureHTTP: s.InsecureHTTP,
		Proxy: s.Proxy, Version: agentVersion()})
}

// openGuard protects the agent's own files and those that agent.yaml names. Restores go below the state
// folder unless guard.yaml names another place: that folder is always the agent's to write.
func openGuard(paths config.Paths, s *config.Config) *guard.Guard {
	o := guard.Options{Path: paths.Guard, Protected: paths.Protected(), RestoreRoot: paths.State + "/restore", UID: os.Geteuid()}
	if s != nil {
		o.Protected = append(o.Protected, s.ProtectedFiles()...)
	}
	return guard.Open(o)
}

// onHangup calls f at each SIGHUP until the returned function is called.
func onHangup(f func()) (stop func()) {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-hangups:
				f()
			case <-done:
				return
			}
		}
	}()
	return func() {
		signal.Stop(hangups)
		close(done)
	}
}

// newLogger hides what is secret by its name: nothing secret should get here, this is the second lock.
func newLogger(w interface{ Write([]byte) (int, error) }, level, format string) *slog.Logger {
	var least slog.Level
	if err := least.UnmarshalText([]byte(level)); err != nil {
		least = slog.LevelInfo
	}
	o := &slog.HandlerOptions{Level: least, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		switch name := strings.ToLower(a.Key); {
		case strings.Contains(name, "password"), strings.Contains(name, "token"), strings.Contains(name, "secret"), name == "authorization", name == "lease":
			return slog.String(a.Key, "hidden")
		}
		return a
	}}
	if format == "text" || format == "auto" && isTerminal(w) {
		return slog.New(slog.NewTextHandler(w, o))
	}
	return slog.New(slog.NewJSONHandler(w, o))
}

func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
