package doctor

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"restic-manager/agent/client"
	"restic-manager/shared/checkup"
)

// stepLimit is how long one step of the way may take.
const stepLimit = 15 * time.Second

// server finds out which server is meant, and by which proxy it is reached.
func (d *doctor) server(context.Context) checkup.Result {
	o := d.Server
	if s := d.settings; o.ServerURL == "" && s != nil {
		o = client.Options{ServerURL: s.ServerURL, CertPins: s.CertPins, CAFile: s.CAFile, InsecureHTTP: s.InsecureHTTP, Proxy: s.Proxy}
	}
	if o.ServerURL == "" {
		return checkup.Skip("which one is not known: give --server URL")
	}
	o.ServerURL = strings.TrimRight(strings.TrimSpace(o.ServerURL), "/")
	if s := d.settings; s != nil && s.ServerURL == o.ServerURL {
		d.enrolled, d.token = true, s.AgentToken
	}
	way, err := client.Explore(o)
	if err != nil {
		return checkup.Fail("mend this in "+d.Paths.Config+", or in the command line", "%s", err)
	}
	d.way, d.report.ServerURL = way, way.Base.String()
	way.Transport.DialContext = d.dial
	if d.Proxy != nil && o.Proxy == "" {
		way.Transport.Proxy = d.Proxy
	}
	if d.proxy, err = way.Transport.Proxy(&http.Request{URL: way.Base}); err != nil {
		return checkup.Fail("write it as http://HOST:PORT", "%s is not a proxy's address", d.proxyVariable())
	}
	switch {
	case o.Proxy != "" && d.Server.ServerURL != "":
		d.source = "--proxy"
	case o.Proxy != "":
		d.source = "agent.yaml"
	default:
		d.source = d.proxyVariable()
		if d.FromService {
			d.source += " of the service"
		}
	}
	if way.Base.Scheme == "http" && !isLoopback(way.Base.Hostname()) {
		return checkup.Warn("use https:// where others are on the network", "%s: plain HTTP, whoever is on the way can read the agent's secret", way.Base)
	}
	return checkup.Ok("%s", way.Base)
}

// proxyVariable is the variable that names the proxy of the server's scheme, or would.
func (d *doctor) proxyVariable() string {
	name := strings.ToUpper(d.way.Base.Scheme) + "_PROXY"
	if d.Env(name) == "" && d.Env(strings.ToLower(name)) != "" {
		return strings.ToLower(name)
	}
	return name
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// next is the machine that this one connects to: the proxy, or the server. what names it.
func (d *doctor) next() (what, host, port string) {
	u, what := d.way.Base, "the server"
	if d.proxy != nil {
		u, what = d.proxy, "the proxy"
	}
	port = u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443", "socks5": "1080", "socks5h": "1080"}[u.Scheme]
	}
	return what, u.Hostname(), port
}

func (d *doctor) dns(ctx context.Context) checkup.Result {
	what, host, _ := d.next()
	if net.ParseIP(host) != nil {
		return checkup.Ok("%s is given by its address, %s: there is nothing to look up", what, host)
	}
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	began := d.Now()
	addresses, err := d.Lookup(ctx, host)
	if err == nil && len(addresses) > 0 {
		return checkup.Ok("%s %s is %s (%s)", what, host, strings.Join(addresses, ", "), millis(d.Now().Sub(began)))
	}
	hint := "look at the name's spelling, and at /etc/resolv.conf"
	if d.proxy == nil {
		hint += "; where only a proxy knows names of the outside, set HTTPS_PROXY or proxy in agent.yaml"
	}
	var e *net.DNSError
	switch {
	case errors.As(err, &e) && e.IsNotFound, err == nil:
		return checkup.Fail(hint, "there is no %s: the name of %s is not known here", host, what)
	case errors.As(err, &e) && e.IsTimeout, errors.Is(err, context.DeadlineExceeded):
		return checkup.Fail("the firewall must let this machine ask its name server, port 53 (see /etc/resolv.conf)", "no name server answered within %s", d.Now().Sub(began).Round(time.Second))
	}
	return checkup.Fail(hint, "the name of %s, %s, cannot be looked up: %v", what, host, err)
}

func (d *doctor) tcp(ctx context.Context) checkup.Result {
	what, host, port := d.next()
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	began := d.Now()
	c, err := d.Dial(ctx, "tcp", net.JoinHostPort(host, port))
	if err == nil {
		at := c.RemoteAddr()
		c.Close()
		return checkup.Ok("connected to %s at %s (%s)", what, at, millis(d.Now().Sub(began)))
	}
	return d.unconnected(err, what, host, port)
}

// unconnected says what a failed connect means.
func (d *doctor) unconnected(err error, what, host, port string) checkup.Result {
	open := fmt.Sprintf("let this machine open TCP connections to %s, port %s", host, port)
	if d.proxy == nil {
		open += ", or name the proxy that does (HTTPS_PROXY, or proxy in agent.yaml)"
	}
	var e net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return checkup.Fail("see that it runs and that the port is right; a firewall that refuses looks the same: "+open, "%s refuses connections at port %s", what, port)
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return checkup.Fail("see ip route; a firewall may also say so: "+open, "there is no way to %s (%s)", what, host)
	case errors.As(err, &e) && e.Timeout():
		return checkup.Fail("a firewall drops the packets: "+open, "%s does not answer at port %s within %s", what, port, stepLimit)
	}
	return checkup.Fail(open, "%s cannot be connected: %v", what, err)
}

// dial keeps the error apart from what the proxy or the server did later.
func (d *doctor) dial(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	c, err := d.Dial(ctx, network, address)
	if err != nil {
		return nil, &dialError{err}
	}
	return c, nil
}

type dialError struct{ error }

func (e *dialError) Unwrap() error { return e.error }

// errSeen ends a connection once the server's certificate was seen: nothing is sent over it.
var errSeen = errors.New("seen")

// errTunnel is a proxy's no to a tunnel.
type errTunnel struct{ status string }

func (e errTunnel) Error() string { return "the proxy answers " + e.status }

// probe goes as far as the server's certificate and sends it nothing. It is nil once the certificate was seen.
func (d *doctor) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*stepLimit)
	defer cancel()
	t := d.way.Transport.Clone()
	t.DialContext = d.dial
	t.OnProxyConnectResponse = func(_ context.Context, _ *url.URL, _ *http.Request, r *http.Response) error {
		if r.StatusCode != http.StatusOK {
			return errTunnel{r.Status}
		}
		return nil
	}
	t.TLSClientConfig = d.seeing(t.TLSClientConfig)
	defer t.CloseIdleConnections()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, d.way.Base.String()+"/healthz", nil)
	if err != nil {
		return err
	}
	answer, err := t.RoundTrip(r)
	if err == nil {
		answer.Body.Close()
	}
	if errors.Is(err, errSeen) {
		return nil
	}
	return err
}

// throughProxy finds out whether the proxy lets this machine through to the server.
func (d *doctor) throughProxy(ctx context.Context) checkup.Result {
	if d.proxy == nil {
		set := d.Env("HTTPS_PROXY") + d.Env("https_proxy") + d.Env("HTTP_PROXY") + d.Env("http_proxy")
		if set != "" {
			return checkup.Skip("none on the way to this server: NO_PROXY, or the kind of address, leaves it out of %s", d.source)
		}
		return checkup.Skip("none: neither HTTPS_PROXY nor agent.yaml names one")
	}
	named := fmt.Sprintf("%s (from %s)", d.proxy.Redacted(), d.source)
	if d.way.Base.Scheme != "https" {
		return checkup.Ok("%s", named)
	}
	err := d.probe(ctx)
	var no errTunnel
	var unknown x509.UnknownAuthorityError
	switch {
	case errors.As(err, &no):
		return d.refused(no.status, named)
	case errors.As(err, &unknown) && d.proxy.Scheme == "https" && d.state == nil:
		return checkup.Fail("name its CA by ca_file (--ca)", "%s has a certificate that this machine does not trust", named)
	case err != nil && d.state == nil && strings.HasPrefix(d.proxy.Scheme, "socks5"):
		return checkup.Fail("see the proxy's log and its rules for this machine", "%s does not make a connection to the server: %v", named, err)
	case err != nil && d.state == nil && !errors.As(err, new(*dialError)):
		// What went wrong with TLS is told there.
		return checkup.Ok("%s: it makes a tunnel to the server", named)
	}
	return checkup.Ok("%s: it makes a tunnel to the server", named)
}

// refused says what a proxy's no means.
func (d *doctor) refused(status, named string) checkup.Result {
	code, _, _ := strings.Cut(status, " ")
	host := d.way.Base.Host
	switch code {
	case "407":
		if d.proxy.User == nil {
			return checkup.Fail("write them into its address: http://USER:PASSWORD@HOST:PORT, in "+cmp.Or(d.source, "agent.yaml"), "%s wants a user name and a password (407)", named)
		}
		return checkup.Fail("correct them in "+d.source+"; special characters are written as in %40 for @. A proxy that wants Kerberos or NTLM needs a local one between (cntlm, px), or to let this machine through", "%s does not take this user name and password (407)", named)
	case "403":
		return checkup.Fail("have it allow CONNECT from this machine to "+host, "%s forbids the way to the server (%s)", named, status)
	case "502", "503", "504":
		return checkup.Fail("see whether it knows the name "+d.way.Base.Hostname()+" and may reach it", "%s cannot reach the server itself (%s)", named, status)
	}
	return checkup.Fail("see its log, and its rules for CONNECT to "+host, "%s makes no tunnel to the server: %s", named, status)
}

func millis(d time.Duration) string { return fmt.Sprintf("%d ms", d.Milliseconds()) }
