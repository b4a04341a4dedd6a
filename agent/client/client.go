// Package client speaks the agent's half of the protocol: one method per call of wire, each idempotent, so
// that whoever is not sure just asks again. It logs nothing: addresses hold leases and headers hold the
// bearer.
package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"restic-manager/shared/wire"
)

// Options say where the server is and how to know it.
type Options struct {
	ServerURL string
	Token     string   // the agent's bearer; empty for enroll alone
	CertPins  []string // see ParsePin; none: the chain decides
	CAFile    string   // PEM; empty: the system's roots
	// InsecureHTTP allows http:// to a host that is not loopback.
	InsecureHTTP bool
	Proxy        string // empty: HTTPS_PROXY, HTTP_PROXY and NO_PROXY
	Version      string // of the agent, for the User-Agent
	// Tries is how often a short call is tried before its error is returned; 0 means DefaultTries.
	Tries int

	// Tests shorten these; zero values mean tryLimit, pollGrace and Delay.
	tryLimit, pollGrace time.Duration
	delay               func(attempt int, limit time.Duration, err error) time.Duration
}

// Defaults of a short call: with full jitter eight tries take about 65 s.
const (
	DefaultTries = 8
	tryLimit     = 2 * time.Minute // a full batch over a line of 10 KB/s
	pollGrace    = 15 * time.Second
)

// maxReply bounds a reply in bytes, inflated: an accept's spec is at most wire.MaxBody.
const maxReply = 2 << 20

// Client is safe for concurrent use. Its zero value is not usable; see New.
type Client struct {
	base      *url.URL
	token     string
	agent     string
	pollGrace time.Duration
	plain     *http.Client // no limit of its own: for polls
	retrying  *retryablehttp.Client
	once      *retryablehttp.Client
}

// New checks the options; it reads the CA file and makes no connection. Errors name the key of agent.yaml.
func New(o Options) (*Client, error) {
	base, err := parseBase(o.ServerURL, o.InsecureHTTP)
	if err != nil {
		return nil, err
	}
	transport, err := newTransport(o, base)
	if err != nil {
		return nil, err
	}
	// No redirect is ever followed: this protocol has none, so a proxy speaks, and a followed one could
	// carry the bearer elsewhere or turn a POST into a GET.
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	short := &http.Client{Transport: transport, CheckRedirect: stay, Timeout: cmp.Or(o.tryLimit, tryLimit)}
	c := &Client{
		base:      base,
		token:     o.Token,
		agent:     "restic-manager-agent/" + cmp.Or(o.Version, "unknown"),
		pollGrace: cmp.Or(o.pollGrace, pollGrace),
		plain:     &http.Client{Transport: transport, CheckRedirect: stay},
		retrying:  newRetrying(short, cmp.Or(o.Tries, DefaultTries), o.delay),
		once:      newRetrying(short, 1, nil),
	}
	return c, nil
}

// Once returns a client of the same connections whose calls are tried once: for loops that wait by
// themselves.
func (c *Client) Once() *Client {
	once := *c
	once.retrying = c.once
	return &once
}

// Close ends the idle connections.
func (c *Client) Close() { c.plain.CloseIdleConnections() }

// Enroll turns an enrollment token into an identity; it is the one call without a bearer. A token that is
// not taken is a wire.Problem with ProblemEnrollmentTokenInvalid.
func (c *Client) Enroll(ctx context.Context, r wire.EnrollRequest) (wire.EnrollReply, error) {
	var reply wire.EnrollReply
	err := c.call(ctx, call{name: "enroll", method: http.MethodPost, path: "/api/agents/enroll", json: r, anonymous: true, reply: &reply,
		sound: func() bool { return wire.IsUUID(reply.HostID) }})
	return reply, err
}

// Hello introduces this process; once before its first poll, and again when asked to.
func (c *Client) Hello(ctx context.Context, r wire.HelloRequest) (wire.HelloReply, error) {
	var reply wire.HelloReply
	err := c.call(ctx, call{name: "hello", method: http.MethodPost, path: "/api/agents/hello", json: r, reply: &reply,
		sound: func() bool { return reply.Mark != "" && !reply.ServerTime.IsZero() }})
	return reply, err
}

// pollLimit is when a poll is given up: after its hold and a grace of 15 s, but not before 30 s. The first polls are short, and all
// machines send theirs together when their server is back.
func (c *Client) pollLimit(hold time.Duration) time.Duration {
	return max(hold, c.pollGrace) + c.pollGrace
}

// Poll waits for what the server wants, as long as pollLimit. It is tried once: the poll loop
// has its own back-off.
func (c *Client) Poll(ctx context.Context, q wire.PollQuery) (wire.PollReply, error) {
	var reply wire.PollReply
	err := c.poll(ctx, c.pollLimit(q.Wait), call{name: "next-command", method: http.MethodGet, path: "/api/agents/next-command", query: q.Encode(), reply: &reply,
		sound: func() bool { return reply.Mark != "" }})
	return reply, err
}

// Accept takes an offered job under r.Lease. Problems: job_gone (409), repository_busy, host_busy (423).
func (c *Client) Accept(ctx context.Context, jobID string, r wire.AcceptRequest) (wire.AcceptReply, error) {
	var reply wire.AcceptReply
	err := c.call(ctx, call{name: "accept", method: http.MethodPost, path: jobPath(jobID, "accept"), lease: r.Lease, json: r, reply: &reply,
		sound: func() bool { return reply.Kind != "" }})
	return reply, err
}

// Start asks for leave to run. Problems: lease_lost (410), repository_busy (423).
func (c *Client) Start(ctx context.Context, job wire.JobRef, r wire.StartRequest) error {
	return c.call(ctx, call{name: "start", method: http.MethodPost, path: jobPath(job.ID, "start"), lease: job.Lease, json: r, reply: &wire.Empty{}})
}

// Adopt reports a scheduled job that this agent began by itself. Problems: job_gone (409), host_busy (423).
func (c *Client) Adopt(ctx context.Context, job wire.JobRef, r wire.AdoptRequest) error {
	return c.call(ctx, call{name: "adopt", method: http.MethodPost, path: jobPath(job.ID, "adopt"), lease: job.Lease, json: r, reply: &wire.Empty{}})
}

// Ticks accounts for due times, at most wire.MaxTicks; the reply answers each in its place.
func (c *Client) Ticks(ctx context.Context, r wire.TicksRequest) (wire.TicksReply, error) {
	var reply wire.TicksReply
	err := c.call(ctx, call{name: "ticks", method: http.MethodPost, path: "/api/agents/ticks", json: r, reply: &reply,
		sound: func() bool {
			return len(reply.Ticks) == len(r.Ticks) && !slices.ContainsFunc(reply.Ticks, func(a wire.TickAnswer) bool { return a.Outcome == "" && !a.Unassigned })
		}})
	return reply, err
}

// Resume rotates the lease of a job; the header carries the new one. Problem: lease_lost (410).
func (c *Client) Resume(ctx context.Context, jobID string, r wire.ResumeRequest) (wire.ResumeReply, error) {
	var reply wire.ResumeReply
	err := c.call(ctx, call{name: "resume", method: http.MethodPost, path: jobPath(jobID, "resume"), lease: r.NewLease, json: r, reply: &reply,
		sound: func() bool { return reply.State != "" }})
	return reply, err
}

// AppendLog sends whole records; see PrepareBody. Problems: log_gap with NextLine, log_conflict, log_full,
// not_started (409), lease_lost (410).
func (c *Client) AppendLog(ctx context.Context, job wire.JobRef, q wire.LogQuery, records Body) (wire.LogReply, error) {
	var reply wire.LogReply
	err := c.call(ctx, call{name: "log", method: http.MethodPost, path: jobPath(job.ID, "log"), query: q.Encode(), lease: job.Lease,
		body: &records, contentType: contentNDJSON, reply: &reply, sound: func() bool { return reply.NextLine >= 1 }})
	return reply, err
}

// Progress tells the latest progress. The caller sends at most one a second.
func (c *Client) Progress(ctx context.Context, job wire.JobRef, p wire.Progress) (wire.ProgressReply, error) {
	var reply struct {
		Cancel *bool `json:"cancel"` // a proxy's JSON has none
	}
	err := c.call(ctx, call{name: "progress", method: http.MethodPost, path: jobPath(job.ID, "progress"), lease: job.Lease, json: p, reply: &reply,
		sound: func() bool { return reply.Cancel != nil }})
	return wire.ProgressReply{Cancel: reply.Cancel != nil && *reply.Cancel}, err
}

// Finish sends the bytes of a wire.FinishRequest as they are: the same bytes are the same result.
// Problems: not_started (409), lease_lost (410).
func (c *Client) Finish(ctx context.Context, job wire.JobRef, finish []byte) (wire.FinishReply, error) {
	var reply struct {
		Late *bool `json:"late"` // a proxy's JSON has none
	}
	body := PrepareBody(finish)
	err := c.call(ctx, call{name: "finish", method: http.MethodPost, path: jobPath(job.ID, "finish"), lease: job.Lease,
		body: &body, contentType: contentJSON, reply: &reply, sound: func() bool { return reply.Late != nil }})
	return wire.FinishReply{Late: reply.Late != nil && *reply.Late}, err
}

// BeginListing draws the token of a snapshot listing, before restic snapshots runs.
func (c *Client) BeginListing(ctx context.Context, job wire.JobRef) (wire.ListingReply, error) {
	var reply wire.ListingReply
	err := c.call(ctx, call{name: "listing", method: http.MethodPost, path: "/api/agents/listings", lease: job.Lease,
		json: wire.ListingRequest{JobID: job.ID}, reply: &reply, sound: func() bool { return wire.IsRandomHex(reply.Token) }})
	return reply, err
}

// PutListingPart sends part n of a listing, counted from 0: one wire.Snapshot per line, at most the
// listing's MaxPartBytes before compression.
func (c *Client) PutListingPart(ctx context.Context, job wire.JobRef, token string, n int, part Body) error {
	return c.call(ctx, call{name: "listing part", method: http.MethodPut, path: "/api/agents/listings/" + url.PathEscape(token) + "/parts/" + strconv.Itoa(n),
		lease: job.Lease, body: &part, contentType: contentNDJSON, reply: &wire.Empty{}})
}

// CommitListing makes the listing stand. Problem: listing_superseded (409), list anew.
func (c *Client) CommitListing(ctx context.Context, job wire.JobRef, token string, r wire.CommitRequest) error {
	return c.call(ctx, call{name: "listing commit", method: http.MethodPost, path: "/api/agents/listings/" + url.PathEscape(token) + "/commit",
		lease: job.Lease, json: r, reply: &wire.Empty{}})
}

func jobPath(id, call string) string { return "/api/agents/jobs/" + url.PathEscape(id) + "/" + call }

// parseBase takes the server's address; a path in it is kept as a prefix.
func parseBase(server string, insecure bool) (*url.URL, error) {
	u, err := url.Parse(server)
	if err != nil || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("server_url: give https://HOST, the address of the server")
	}
	if u.Scheme == "http" && !insecure && !loopback(u.Hostname()) {
		return nil, fmt.Errorf("server_url: http:// to %s would send the agent's secret in the clear; use https://, or set insecure_http: true if the network is yours alone", u.Hostname())
	}
	u.Path = strings.TrimRight(u.Path, "/")
	return u, nil
}
