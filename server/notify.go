package main

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// notify tells systemd how the server is (sd_notify(3)); without systemd it does nothing. Errors are left
// alone: systemd notices missing words by itself, and there is nobody else to tell.
func notify(words ...string) {
	_, _ = daemon.SdNotify(false, strings.Join(words, "\n"))
}

func statusLine(s string) string { return "STATUS=" + s }

// watchdog gives signs of life until ctx ends, each only after the server has answered /healthz to itself: a
// server that hangs is restarted.
func watchdog(ctx context.Context, server http.Handler) {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil || interval == 0 {
		return
	}
	tick := time.NewTicker(interval / 2) // as sd_watchdog_enabled(3) recommends
	defer tick.Stop()
	for {
		if answers(ctx, server, interval/2) {
			notify(daemon.SdNotifyWatchdog)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func answers(ctx context.Context, server http.Handler, limit time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "/healthz", nil)
	if err != nil {
		return false
	}
	r.RemoteAddr = "127.0.0.1:0"
	code := make(chan int, 1)
	go func() {
		w := &statusOnly{header: http.Header{}, code: http.StatusOK}
		server.ServeHTTP(w, r)
		code <- w.code
	}()
	select {
	case c := <-code:
		return c == http.StatusOK
	case <-ctx.Done():
		return false
	}
}

// statusOnly is an answer of which only the status counts.
type statusOnly struct {
	header http.Header
	code   int
}

func (w *statusOnly) Header() http.Header         { return w.header }
func (w *statusOnly) WriteHeader(code int)        { w.code = code }
func (w *statusOnly) Write(b []byte) (int, error) { return len(b), nil }
