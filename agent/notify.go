package main

import (
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"restic-manager/agent/runner"
)

// notifier tells systemd how the agent is (sd_notify(3)). Without systemd it does nothing.
type notifier struct {
	every time.Duration // between two signs of life; 0: systemd does not watch
	now   func() time.Time

	mu   sync.Mutex // guards the fields below
	last time.Time
	said string
}

func newNotifier() *notifier {
	n := &notifier{now: time.Now}
	if interval, err := daemon.SdWatchdogEnabled(false); err == nil {
		n.every = interval / 2 // as sd_watchdog_enabled(3) recommends
	}
	return n
}

// tell ignores errors: systemd notices missing words by itself, and there is nobody else to tell.
func (n *notifier) tell(words ...string) {
	_, _ = daemon.SdNotify(false, strings.Join(words, "\n"))
}

// ready says that the agent takes orders. A first sign of life goes with it.
func (n *notifier) ready() {
	n.tell(daemon.SdNotifyReady)
	n.alive()
}

// alive is a sign of life. Called more often than needed, it keeps still.
func (n *notifier) alive() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if now := n.now(); n.every > 0 && (n.last.IsZero() || now.Sub(n.last) >= n.every/2) {
		n.last = now
		n.tell(daemon.SdNotifyWatchdog)
	}
}

// status is the line that systemctl status shows.
func (n *notifier) status(s runner.Status) {
	line := s.State
	if s.Message != "" {
		line += ": " + s.Message
	}
	line = "STATUS=" + strings.Join(strings.Fields(line), " ")
	n.mu.Lock()
	defer n.mu.Unlock()
	if line != n.said {
		n.said = line
		n.tell(line)
	}
}

// stopping says that the end was wished.
func (n *notifier) stopping() { n.tell(daemon.SdNotifyStopping) }
