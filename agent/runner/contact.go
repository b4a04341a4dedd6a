package runner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"restic-manager/agent/client"
	"restic-manager/shared/wire"
)

// States of the contact with the server.
const (
	ContactConnecting   = "connecting"
	ContactOnline       = "online"
	ContactUnreachable  = "unreachable"
	ContactUnauthorized = "unauthorized"
	ContactTooOld       = "protocol_too_old"
	ContactUntrusted    = "untrusted"
)

// contact knows how things stand with the server, and says in the log when that changes: once when a
// failure begins and once when it ends.
type contact struct {
	log *slog.Logger
	now func() time.Time

	mu      sync.Mutex // guards the fields below
	state   string
	message string
	since   time.Time
	last    time.Time     // of the last answer
	online  chan struct{} // closed at each first answer after a failure
}

func newContact(log *slog.Logger, now func() time.Time) *contact {
	return &contact{log: log, now: now, state: ContactConnecting, since: now(), online: make(chan struct{})}
}

// ok notes an answer, and reports whether it is the first one for a while.
func (c *contact) ok() (news bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = c.now()
	if c.state == ContactOnline {
		return false
	}
	if c.state != ContactConnecting {
		c.log.Info("the server answers again", "away", c.now().Sub(c.since).Round(time.Second).String())
	}
	c.state, c.message, c.since = ContactOnline, "", c.now()
	close(c.online)
	c.online = make(chan struct{})
	return true
}

// failed notes a failure of the contact, and returns its state.
func (c *contact) failed(err error) string {
	state, message := classify(err)
	c.mu.Lock()
	defer c.mu.Unlock()
	if state != c.state {
		c.since = c.now()
		c.log.Warn(message, "state", state, "error", err)
	}
	c.state, c.message = state, message
	return state
}

// classify tells what a failed call means for the agent as a whole, and what to do.
func classify(err error) (state, message string) {
	problem, _ := errors.AsType[*wire.Problem](err)
	switch {
	case client.Code(err) == wire.ProblemUnauthorized:
		return ContactUnauthorized, "the server does not accept this agent: the host was revoked or deleted. Running jobs go on; enroll the machine again with --force if it should be backed up"
	case client.Code(err) == wire.ProblemProtocolTooOld:
		return ContactTooOld, fmt.Sprintf("the server no longer speaks this agent's protocol (it wants %d or newer, this is %d). Running jobs go on; upgrade the agent: %s", problem.MinProtocolVersion, wire.ProtocolVersion, problem.HelpURL)
	case client.Untrusted(err):
		return ContactUntrusted, "the server cannot prove who it is; nothing was told to it. Compare its certificate with cert_pins or ca_file in agent.yaml, and this machine's clock"
	}
	return ContactUnreachable, "the server does not answer; jobs go on and are reported when it is back. Check server_url, the network and the proxy"
}

// standing is what the status says of the contact.
func (c *contact) standing() (state, message string, since, last time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state, c.message, c.since, c.last
}

// fatal reports whether asking again soon is of no use.
func fatal(err error) bool {
	code := client.Code(err)
	return code == wire.ProblemUnauthorized || code == wire.ProblemProtocolTooOld || client.Untrusted(err)
}

// Final reports whether an error is the server's last word on a request: asked again it would say the same.
func Final(err error) bool {
	_, server := errors.AsType[*wire.Problem](err)
	return server && client.Final(err) && !fatal(err)
}

// pause waits before the next try of a call: a full-jitter back-off, Retry-After honoured within the cap,
// or a long while after a fatal answer. It ends early when the server answers again.
func (r *Runner) pause(ctx context.Context, attempt int, limit time.Duration, err error) error {
	d := r.backoff(attempt, limit, err)
	if fatal(err) {
		d = r.t.Fatal.Draw()
	}
	r.contact.mu.Lock()
	online := r.contact.online
	r.contact.mu.Unlock()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-online:
		// Not all at once: the server has only just come back.
		return sleep(ctx, rand.N(max(r.t.Backoff, 1)))
	case <-t.C:
		return nil
	}
}

func (r *Runner) backoff(attempt int, limit time.Duration, err error) time.Duration {
	span := limit
	if attempt < 30 {
		span = min(limit, r.t.Backoff<<attempt)
	}
	d := rand.N(max(span, 1))
	if e, ok := errors.AsType[*client.Error](err); ok && e.RetryAfter > 0 {
		d = min(e.RetryAfter+d, limit)
	}
	return d
}

// until asks until the server gives a final answer: nil, or a *wire.Problem in the error. Whatever else
// goes wrong is waited for; the only other end is that of ctx.
func (r *Runner) until(ctx context.Context, ask func(context.Context) error) error {
	for attempt := 0; ; attempt++ {
		err := ask(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if Final(err) {
			return err
		}
		if err := r.pause(ctx, attempt, r.t.BackoffCap, err); err != nil {
			return err
		}
	}
}

// AnswerOf reads a final answer about a job; retryAfter is that of a busy one.
func AnswerOf(err error) (a Answer, retryAfter time.Duration) {
	if err == nil {
		return AnswerOK, 0
	}
	e, _ := errors.AsType[*client.Error](err)
	if e != nil {
		retryAfter = e.RetryAfter
	}
	switch client.Code(err) {
	case wire.ProblemRepositoryBusy, wire.ProblemHostBusy:
		return AnswerBusy, retryAfter
	case wire.ProblemNotStarted:
		return AnswerNotStarted, 0
	case wire.ProblemJobGone, wire.ProblemLeaseLost:
		return AnswerGone, 0
	}
	return AnswerRefused, 0
}
