package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"restic-manager/server/fleet"
	"restic-manager/shared/checkup"
	"restic-manager/shared/wire"
)

// answerLimit is how long the server may take to answer what costs nothing.
const answerLimit = 15 * time.Second

// soonExpired is how long before its end a certificate is warned of.
const soonExpired = 14 * 24 * time.Hour

// seen is what came over the public URL.
type seen struct {
	status int
	media  string
	body   []byte
	leaf   *x509.Certificate // nil: plain HTTP
	took   time.Duration
}

func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// server asks the one that runs on this machine with these settings.
func (d *doctor) server(ctx context.Context) checkup.Result {
	if d.LocalURL == "" {
		return checkup.Skip("not tried: settings come first")
	}
	// No proxy, and no certificate that could name this machine: nothing secret is sent.
	c := &http.Client{CheckRedirect: stay, Transport: &http.Transport{DialContext: d.Dial, DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	a, err := d.get(ctx, c, d.LocalURL+"/readyz", nil)
	switch {
	case err != nil:
		return checkup.Fail("start it (systemctl enable --now restic-manager), or give doctor the settings that it runs with", "no server answers at %s: %v", d.LocalURL, bare(err))
	case a.status != http.StatusOK:
		d.up = true
		return checkup.Fail("see its log", "the server answers at %s and is not ready (status %d)", d.LocalURL, a.status)
	}
	d.up = true
	return checkup.Ok("it runs, and answers at %s within %d ms", d.LocalURL, a.took.Milliseconds())
}

func (d *doctor) get(ctx context.Context, c *http.Client, address string, header http.Header) (*seen, error) {
	ctx, cancel := context.WithTimeout(ctx, d.HoldFor+answerLimit)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	for k, v := range header {
		r.Header[k] = v
	}
	began := d.Now()
	answer, err := c.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	s := &seen{status: answer.StatusCode}
	s.media, _, _ = mime.ParseMediaType(answer.Header.Get("Content-Type"))
	if answer.TLS != nil && len(answer.TLS.PeerCertificates) > 0 {
		s.leaf = answer.TLS.PeerCertificates[0]
	}
	s.body, err = io.ReadAll(io.LimitReader(answer.Body, 64<<10))
	s.took = d.Now().Sub(began)
	return s, err
}

// bare drops the address from an error of net/http.
func bare(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// certificate looks at the one that the server serves itself.
func (d *doctor) certificate(context.Context) checkup.Result {
	s := d.Settings
	if d.SettingsErr != nil {
		return checkup.Skip("not tried: settings come first")
	}
	if s.TLSCert == "" {
		return checkup.Skip("the server serves plain HTTP: a proxy in front of it has the certificate, if any")
	}
	pair, err := tls.LoadX509KeyPair(s.TLSCert, s.TLSKey)
	if err != nil {
		return checkup.Fail("see both files, and that the server's user can read them", "the certificate %s with the key %s cannot be used: %v", s.TLSCert, s.TLSKey, err)
	}
	if u, err := url.Parse(s.PublicURL); err == nil && u.Hostname() != "" && pair.Leaf.VerifyHostname(u.Hostname()) != nil {
		return checkup.Warn("agents that do not pin it refuse it: have one made for that name", "%s is not for %s", s.TLSCert, u.Hostname())
	}
	return d.dates(pair.Leaf, s.TLSCert)
}

// dates says how long a certificate is good for.
func (d *doctor) dates(leaf *x509.Certificate, what string) checkup.Result {
	left := leaf.NotAfter.Sub(d.Now())
	until := leaf.NotAfter.UTC().Format(time.DateOnly)
	switch {
	case left < 0:
		return checkup.Fail("renew it, then systemctl reload restic-manager (SIGHUP)", "%s expired on %s", what, until)
	case d.Now().Before(leaf.NotBefore):
		return checkup.Fail("see this machine's clock", "%s is good from %s on only", what, leaf.NotBefore.UTC().Format(time.DateOnly))
	case left < soonExpired:
		return checkup.Warn("renew it before then", "%s ends in %d days, on %s", what, int(left.Hours()/24), until)
	}
	return checkup.Ok("%s is good until %s", what, until)
}

// address goes to the public URL as an agent does.
func (d *doctor) address(ctx context.Context) checkup.Result {
	public := d.Settings.PublicURL
	if d.SettingsErr != nil {
		return checkup.Skip("not tried: settings come first")
	}
	if public == "" {
		return checkup.Skip("public-url is not set")
	}
	d.client = &http.Client{CheckRedirect: stay, Transport: &http.Transport{DialContext: d.Dial, Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true}}
	s, err := d.get(ctx, d.client, public+"/readyz", nil)
	if err != nil {
		return d.unreached(err, public)
	}
	switch {
	case s.status >= 300 && s.status < 400:
		return checkup.Fail("set public-url to the address it sends to, or take the redirect away: agents follow none", "%s redirects", public)
	case s.media == "text/html":
		return checkup.Fail("see the proxy in front of the server, and that the name leads to it", "%s answers with a page of somebody else (status %d)", public, s.status)
	case s.status != http.StatusOK && d.up:
		return checkup.Fail("see the log of the proxy in front of the server", "%s answers %d, and the server itself is there", public, s.status)
	case s.status != http.StatusOK:
		return checkup.Fail("start the server", "%s answers %d", public, s.status)
	}
	d.seen = s
	if s.leaf == nil {
		return checkup.Ok("%s answers within %d ms", public, s.took.Milliseconds())
	}
	r := d.dates(s.leaf, fmt.Sprintf("%s answers within %d ms; its certificate, issued by %q,", public, s.took.Milliseconds(), s.leaf.Issuer.CommonName))
	return r
}

// unreached tells what agents would meet too from what is only between this machine and its own address.
func (d *doctor) unreached(err error, public string) checkup.Result {
	var certificate *tls.CertificateVerificationError
	var name *net.DNSError
	var dial *net.OpError
	switch {
	case errors.As(err, &certificate):
		var expired x509.CertificateInvalidError
		if errors.As(err, &expired) && expired.Reason == x509.Expired {
			return checkup.Fail("renew it at the server, or at the proxy in front of it", "the certificate of %s is expired, or not good yet: %v", public, certificate.Err)
		}
		return checkup.Warn("well where agents pin it or have its CA (restic-manager-agent doctor on one of them tells); else give the server a certificate for its name", "this machine does not trust the certificate of %s: %v", public, certificate.Err)
	case errors.As(err, &name):
		return checkup.Warn("enter it in DNS; agents may know it by another name server: try restic-manager-agent doctor --server "+public+" on one of their machines", "the name in %s is not known here", public)
	case errors.As(err, &dial) && dial.Op == "dial" && d.up:
		return checkup.Warn("a router may not let this machine reach its own outside: try restic-manager-agent doctor --server "+public+" on another machine", "%s cannot be connected from here: %v", public, bare(err))
	}
	if !d.up {
		return checkup.Fail("start the server first", "%s does not answer: %v", public, bare(err))
	}
	return checkup.Fail("see the proxy in front of the server, and its log", "%s does not answer: %v", public, bare(err))
}

// hold has a request held over the public URL, as long as an agent's poll is. The ticket is made with the encryption
// key: a server that does not take it is another one.
func (d *doctor) hold(ctx context.Context) checkup.Result {
	switch {
	case d.NoHold:
		return checkup.Skip("left out by --no-hold")
	case d.seen == nil:
		return checkup.Skip("not tried: address comes first")
	case d.key == nil:
		return checkup.Skip("not tried: key comes first")
	}
	ticket, err := fleet.Ticket(d.key, d.Now())
	if err != nil {
		return checkup.Skip("%v", err)
	}
	d.wait("hold: %s", d.HoldFor)
	public := d.Settings.PublicURL
	began := d.Now()
	s, err := d.get(ctx, d.client, public+"/api/agents/hold?"+wire.HoldQuery{Wait: d.HoldFor}.Encode(),
		http.Header{"Authorization": {"Bearer " + ticket}, wire.HeaderProtocol: {fmt.Sprint(wire.ProtocolVersion)}})
	took := d.Now().Sub(began)
	if err != nil {
		return checkup.Fail("let the proxy in front of the server wait for 75 s, or set poll-hold to less than that", "a request that waits for %s is cut after %.1f s: %v", d.HoldFor, took.Seconds(), bare(err))
	}
	var reply wire.HoldReply
	var problem wire.Problem
	if s.media == wire.ProblemContentType {
		_ = json.Unmarshal(s.body, &problem)
	} else if s.status == http.StatusOK {
		_ = json.Unmarshal(s.body, &reply)
	}
	switch {
	case problem.Code == wire.ProblemUnauthorized:
		return checkup.Fail("see where the name leads, and that all servers have the same key file and clocks that agree", "the server at %s does not know this one's key: it is another one", public)
	case problem.Code == "setup_required":
		return checkup.Skip("the server is not set up yet: it prints a code when it starts")
	case s.status == http.StatusNotFound && problem.Code != "":
		return checkup.Skip("the server that runs is older than this program")
	case problem.Code != "":
		return checkup.Warn("see the server's log", "the server answers %s: %s", problem.Code, problem.Detail)
	case reply.ServerTime.IsZero():
		return checkup.Fail("let the proxy in front of the server wait for 75 s, or set poll-hold to less than that", "something in front of the server ends a request that waits for %s after %.1f s, by status %d", d.HoldFor, took.Seconds(), s.status)
	}
	return checkup.Ok("a request over %s waited for %s", strings.TrimPrefix(strings.TrimPrefix(public, "https://"), "http://"), d.HoldFor)
}
