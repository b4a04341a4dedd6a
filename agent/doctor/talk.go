package doctor

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"restic-manager/shared/checkup"
	"restic-manager/shared/wire"
)

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 4 << 20

// answer is what came back, from the server or from whoever is in between.
type answer struct {
	status  int
	header  http.Header
	body    []byte
	took    time.Duration
	sent    time.Time // by this machine's clock
	problem wire.Problem
	hold    wire.HoldReply
}

// ours reports whether the server itself spoke.
func (a *answer) ours() bool { return a.problem.Code != "" || !a.hold.ServerTime.IsZero() }

func (a *answer) media() string {
	media, _, _ := mime.ParseMediaType(a.header.Get("Content-Type"))
	return media
}

// call is one request over the agent's own way, verified as ever. With the agent's secret where there is one and the
// call is an agent's.
func (d *doctor) call(ctx context.Context, t *http.Transport, path string, header http.Header) (*answer, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, d.way.Base.String()+path, nil)
	if err != nil {
		return nil, err
	}
	r.Header = d.headers(path, header)
	a := &answer{sent: d.Now()}
	response, err := t.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	a.status, a.header = response.StatusCode, response.Header
	a.body, err = io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	a.took = d.Now().Sub(a.sent)
	if err != nil {
		return nil, fmt.Errorf("the answer breaks off: %w", err)
	}
	switch {
	case a.media() == wire.ProblemContentType:
		_ = json.Unmarshal(a.body, &a.problem)
	case a.media() == "application/json" && a.status == http.StatusOK:
		_ = json.Unmarshal(a.body, &a.hold)
	}
	return a, nil
}

func (d *doctor) headers(path string, more http.Header) http.Header {
	h := more.Clone()
	if h == nil {
		h = http.Header{}
	}
	h.Set("User-Agent", "restic-manager-agent/"+cmp.Or(d.Version, "unknown"))
	if d.token != "" && strings.HasPrefix(path, "/api/agents/") {
		h.Set("Authorization", "Bearer "+d.token)
		h.Set(wire.HeaderProtocol, fmt.Sprint(wire.ProtocolVersion))
	}
	return h
}

func holdPath(q wire.HoldQuery) string { return "/api/agents/hold?" + q.Encode() }

// answers finds out whether it is the server that answers, and how fast: the second request, over a connection that is
// there, tells.
func (d *doctor) answers(ctx context.Context) checkup.Result {
	ctx, cancel := context.WithTimeout(ctx, 2*stepLimit)
	defer cancel()
	t := d.way.Transport.Clone()
	defer t.CloseIdleConnections()
	var a *answer
	for range 2 {
		var err error
		if a, err = d.call(ctx, t, holdPath(wire.HoldQuery{}), nil); err != nil {
			return d.unanswered(err)
		}
		if !a.ours() {
			return d.strange(a)
		}
	}
	switch a.problem.Code {
	case "setup_required":
		return checkup.Fail("set it up first: open its dashboard, or see what it printed when it started", "the server answers, and is not set up yet")
	case wire.ProblemUnavailable:
		return checkup.Fail("see the server's log, and restic-manager doctor there", "the server answers, and cannot do its work: %s", a.problem.Detail)
	}
	d.answer = a
	d.oldHold = a.status == http.StatusNotFound
	return checkup.Ok("the server answers within %s", millis(a.took))
}

func (d *doctor) unanswered(err error) checkup.Result {
	var dial *dialError
	var no errTunnel
	what, host, port := d.next()
	switch {
	case errors.As(err, &dial):
		return d.unconnected(dial.error, what, host, port)
	case errors.As(err, &no):
		return d.refused(no.status, "the proxy")
	case isTimeout(err):
		return checkup.Fail("see the server's log; a firewall may let connections through and swallow requests", "the request is sent, and nothing comes back within %s", 2*stepLimit)
	case isCut(err):
		return checkup.Fail("see the server's log; a firewall may cut what it does not know", "the connection is cut in place of an answer")
	}
	return checkup.Fail("see the server's log, and that of a proxy on the way", "the request fails: %v", bare(err))
}

// bare drops the address from an error of net/http.
func bare(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

var titled = regexp.MustCompile(`(?is)<title[^>]*>\s*(.{1,120}?)\s*</title>`)

// strange says what an answer is that the server would not give.
func (d *doctor) strange(a *answer) checkup.Result {
	allow := "open a browser on this machine's network and see what it wants (a sign-in?), or have it leave " + d.way.Base.Hostname() + " alone"
	switch {
	case a.status == http.StatusProxyAuthRequired:
		return d.refused(fmt.Sprintf("%d", a.status), d.proxyName())
	case a.status >= 300 && a.status < 400:
		to := "nowhere"
		if u, err := url.Parse(a.header.Get("Location")); err == nil && u.Host != "" {
			to = u.Scheme + "://" + u.Host // the rest may hold secrets
		}
		return checkup.Fail("if the server moved, change server_url; if not, something sends requests to a page of its own: "+allow, "the answer sends to %s", to)
	case a.media() == "text/html" || bytes.HasPrefix(bytes.TrimSpace(a.body), []byte("<")):
		page := "a page"
		if m := titled.FindSubmatch(a.body); m != nil {
			page = fmt.Sprintf("a page, %q,", html.UnescapeString(string(m[1])))
		}
		return checkup.Fail("a proxy or captive portal speaks, or server_url is another site: "+allow, "%s answers in the server's place (status %d)", page, a.status)
	case a.status == http.StatusBadGateway, a.status == http.StatusServiceUnavailable, a.status == http.StatusGatewayTimeout:
		return checkup.Fail("see whether the server runs, and the log of the proxy in front of it", "something on the way answers that it does not reach the server (status %d%s)", a.status, by(a))
	}
	return checkup.Fail("see that server_url is restic-manager's address; a proxy may also speak", "another server answers: status %d, %q%s", a.status, a.media(), by(a))
}

// by is what an answer says of who made it.
func by(a *answer) string {
	if s := cmp.Or(a.header.Get("Server"), a.header.Get("Via")); s != "" {
		return fmt.Sprintf(", by %.60q", s)
	}
	return ""
}

func (d *doctor) proxyName() string {
	if d.proxy == nil {
		return "the proxy"
	}
	return d.proxy.Redacted()
}

// clock compares this machine's clock with the server's.
func (d *doctor) clock(context.Context) checkup.Result {
	server, exact := d.answer.hold.ServerTime, time.Duration(0)
	if server.IsZero() {
		var err error
		if server, err = http.ParseTime(d.answer.header.Get("Date")); err != nil {
			return checkup.Skip("the server does not tell its time")
		}
		exact = time.Second // the header's
	}
	off := server.Sub(d.answer.sent.Add(d.answer.took / 2).Round(0))
	const set = "set it: timedatectl set-ntp true"
	direction := "behind"
	if off < 0 {
		direction = "ahead of"
	}
	switch far := off.Abs(); {
	case far > wire.MaxSkew:
		return checkup.Fail(set+"; unlock, forget and prune are refused until then", "this machine's clock is %s %s the server's", far.Round(time.Second), direction)
	case far > time.Minute:
		return checkup.Warn(set, "this machine's clock is %s %s the server's", far.Round(time.Second), direction)
	default:
		return checkup.Ok("as the server's, within %s", max(far, exact, time.Second).Round(time.Second))
	}
}

// accepted finds out whether the server knows this agent.
func (d *doctor) accepted(context.Context) checkup.Result {
	switch {
	case !d.enrolled && d.settings != nil:
		return checkup.Skip("this machine is enrolled with another server, %s", d.settings.ServerURL)
	case !d.enrolled:
		return checkup.Skip("this machine is not enrolled yet")
	}
	switch d.answer.problem.Code {
	case wire.ProblemUnauthorized:
		return checkup.Fail("enroll it again with --force, if it should be backed up", "the server does not accept this agent: the host was revoked or deleted there")
	case wire.ProblemProtocolTooOld:
		return checkup.Fail("install a newer agent: "+d.answer.problem.HelpURL, "this agent is too old for the server")
	case "":
		return checkup.Ok("as host %s", d.settings.HostID)
	}
	if d.oldHold {
		return checkup.Skip("the server is older than this agent, and is not asked: see restic-manager-agent status")
	}
	return checkup.Warn("see restic-manager-agent status", "the server answers %s: %s", d.answer.problem.Code, d.answer.problem.Detail)
}

// document is a large answer that everybody may have.
const document = "/api/openapi.json"

// compression finds out whether a proxy packs, unpacks or damages answers: it gets one twice, plain and packed.
func (d *doctor) compression(ctx context.Context) checkup.Result {
	ctx, cancel := context.WithTimeout(ctx, 4*stepLimit)
	defer cancel()
	t := d.way.Transport.Clone()
	t.DisableCompression = true // by hand, to see what comes
	defer t.CloseIdleConnections()
	var sums [2][sha256.Size]byte
	var packed [2]bool
	for i, wanted := range []string{"identity", "gzip"} {
		a, err := d.call(ctx, t, document, http.Header{"Accept-Encoding": {wanted}})
		if err != nil {
			return checkup.Fail("see the log of the proxy on the way", "an answer of some hundred kilobytes does not arrive: %v", bare(err))
		}
		if a.status != http.StatusOK {
			return checkup.Skip("the server does not give what this is tried with (status %d)", a.status)
		}
		body := a.body
		if packed[i] = a.header.Get("Content-Encoding") == "gzip"; packed[i] {
			if body, err = unpack(body); err != nil {
				return checkup.Fail("have the proxy leave answers as they are", "an answer that says it is packed with gzip is not: a proxy changed one of the two")
			}
		}
		sums[i] = sha256.Sum256(body)
	}
	switch {
	case sums[0] != sums[1]:
		return checkup.Fail("have the proxy leave answers as they are", "the same answer comes in two forms: something on the way changes it")
	case packed[0]:
		return checkup.Warn("it works; answers come later than they could", "a proxy packs answers although nobody asked it to")
	case !packed[1]:
		return checkup.Ok("answers come whole; a proxy unpacks them on the way")
	}
	return checkup.Ok("answers come as the server sends them, packed too")
}

func unpack(b []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(r, maxAnswer))
}
