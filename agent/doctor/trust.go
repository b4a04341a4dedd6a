package doctor

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"restic-manager/agent/client"
	"restic-manager/shared/checkup"
	"restic-manager/shared/wire"
)

// seeing is the agent's own configuration that takes any certificate of the server, to look at it, and then ends. One of
// a proxy that is spoken to over TLS is verified as ever.
func (d *doctor) seeing(c *tls.Config) *tls.Config {
	c = c.Clone()
	c.InsecureSkipVerify = true // verified by examine, and nothing is sent
	c.ClientSessionCache = nil  // a resumed session shows no new certificate
	c.VerifyConnection = func(s tls.ConnectionState) error {
		if d.ofProxy(s) {
			return verifyChain(s.PeerCertificates, s.ServerName, c.RootCAs, d.Now())
		}
		d.state = &s
		return errSeen
	}
	return c
}

func (d *doctor) ofProxy(s tls.ConnectionState) bool {
	return d.proxy != nil && d.proxy.Scheme == "https" && s.ServerName == d.proxy.Hostname() && s.ServerName != d.way.Base.Hostname()
}

func verifyChain(chain []*x509.Certificate, name string, roots *x509.CertPool, now time.Time) error {
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{DNSName: name, Roots: roots, Intermediates: between, CurrentTime: now})
	return err
}

// tls finds out whether the server proves who it is, and if not, what stands in its place.
func (d *doctor) tls(ctx context.Context) checkup.Result {
	if d.way.Base.Scheme != "https" {
		return checkup.Ok("not used: the address is plain HTTP")
	}
	var err error
	if d.state == nil {
		err = d.probe(ctx)
	}
	if d.state == nil || len(d.state.PeerCertificates) == 0 {
		return d.noTLS(err)
	}
	return d.examine(ctx, d.state.PeerCertificates)
}

// noTLS says why there was not even a certificate.
func (d *doctor) noTLS(err error) checkup.Result {
	what, host, port := d.next()
	var record tls.RecordHeaderError
	var no errTunnel
	var dial *dialError
	switch {
	case errors.As(err, &no):
		return checkup.Fail("see the line of the proxy", "not reached: %v", no)
	case errors.As(err, &dial):
		return d.unconnected(dial.error, what, host, port)
	case errors.As(err, &record), err != nil && strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return checkup.Fail("see that the port in server_url is the one for HTTPS", "what answers at %s does not speak TLS", d.way.Base.Host)
	case isCut(err):
		return checkup.Fail("a firewall that looks into TLS may cut what it does not allow: have it leave "+d.way.Base.Hostname()+" alone", "the connection is cut as soon as TLS begins")
	case isTimeout(err):
		return checkup.Fail("a firewall that looks into TLS may swallow it: have it leave "+d.way.Base.Hostname()+" alone", "TLS begins and nothing comes back")
	}
	return checkup.Fail("the agent needs TLS 1.2 or newer", "there is no TLS connection to the server: %v", bare(err))
}

// isCut reports whether the other side ended the connection, or the request's part of it. The errors of HTTP/2 have no
// type of their own here.
func isCut(err error) bool {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return true
	}
	return err != nil && (strings.Contains(err.Error(), "connection reset") || strings.Contains(err.Error(), "stream error") || strings.Contains(err.Error(), "GOAWAY"))
}

func isTimeout(err error) bool {
	var e net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &e) && e.Timeout()
}

// examine is what the agent checks of a certificate, in words.
func (d *doctor) examine(ctx context.Context, chain []*x509.Certificate) checkup.Result {
	leaf, host := chain[0], d.way.Base.Hostname()
	pin := client.PinOf(leaf).String()
	pinned := len(d.way.Pins) > 0
	if pinned && !d.way.Pinned(leaf) {
		return checkup.Fail("if that issuer is a proxy that breaks TLS open, have it leave "+host+" alone; if the server got a new certificate, compare its sum there and put "+pin+" into cert_pins",
			"the certificate is none of cert_pins: it is issued by %s", issuer(leaf))
	}
	now := d.Now()
	if now.After(leaf.NotAfter) || now.Before(leaf.NotBefore) {
		return d.outOfDate(ctx, leaf, now)
	}
	roots := d.way.Transport.TLSClientConfig.RootCAs
	if !pinned || roots != nil {
		if err := verifyChain(chain, host, roots, now); err != nil {
			return d.untrusted(err, chain, host, pin)
		}
	}
	how := "trusted by this machine"
	switch {
	case pinned:
		how = "pinned"
	case roots != nil:
		how = "trusted by ca_file"
	}
	left := leaf.NotAfter.Sub(now)
	if left < soonExpired {
		return checkup.Warn("renew it at the server before then", "%s, issued by %s, %s; it ends in %s, on %s", tls.VersionName(d.state.Version), issuer(leaf), how, days(left), day(leaf.NotAfter))
	}
	return checkup.Ok("%s, issued by %s, %s, good until %s", tls.VersionName(d.state.Version), issuer(leaf), how, day(leaf.NotAfter))
}

// soonExpired is how long before its end a certificate is warned of.
const soonExpired = 14 * 24 * time.Hour

// outOfDate tells an expired certificate from a wrong clock: the server's Date header, which nobody has proven, decides
// which of the two is likelier.
func (d *doctor) outOfDate(ctx context.Context, leaf *x509.Certificate, now time.Time) checkup.Result {
	date := d.unprovenDate(ctx)
	valid := fmt.Sprintf("the certificate is good from %s to %s", day(leaf.NotBefore), day(leaf.NotAfter))
	if !date.IsZero() && date.Sub(now).Abs() > wire.MaxSkew && !date.After(leaf.NotAfter) && !date.Before(leaf.NotBefore) {
		return checkup.Fail("set this machine's clock: timedatectl set-ntp true", "%s; this machine's clock says %s, the server's %s", valid, now.UTC().Format(time.DateTime), date.UTC().Format(time.DateTime))
	}
	if now.Before(leaf.NotBefore) {
		return checkup.Fail("see both clocks", "%s, and it is %s: not yet valid", valid, day(now))
	}
	return checkup.Fail("renew it at the server (tls-cert), or at the proxy in front of it", "%s: expired %s ago; issued by %s", valid, days(now.Sub(leaf.NotAfter)), issuer(leaf))
}

func (d *doctor) untrusted(err error, chain []*x509.Certificate, host, pin string) checkup.Result {
	leaf := chain[0]
	var name x509.HostnameError
	var unknown x509.UnknownAuthorityError
	switch {
	case string(leaf.RawIssuer) == string(leaf.RawSubject) && (errors.As(err, &unknown) || d.way.Transport.TLSClientConfig.RootCAs == nil):
		// Its name is of no matter where it is pinned.
		return checkup.Fail("if this is the server's own, compare its sum there and give it as --cert-pin (cert_pins): "+pin, "the certificate vouches for itself (%s): nobody this machine trusts does", issuer(leaf))
	case errors.As(err, &name):
		return checkup.Fail("use one of these names in server_url, or give the server a certificate for "+host, "the certificate is for %s, not for %s; issued by %s", names(leaf), host, issuer(leaf))
	case errors.As(err, &unknown):
		return checkup.Fail("if that is a proxy or firewall that breaks TLS open, have it leave "+host+" alone, or name its CA by ca_file (--ca); if it is the server's own CA, name that",
			"the certificate is issued by %s, whom this machine does not trust", issuer(leaf))
	}
	return checkup.Fail("mend the server's certificate, or name its CA by ca_file (--ca)", "the certificate, issued by %s, is not trusted: %v", issuer(leaf), err)
}

// unprovenDate is the Date header of whatever answers in the server's place; zero: it tells none. The request holds
// nothing secret.
func (d *doctor) unprovenDate(ctx context.Context) time.Time {
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	t := d.way.Transport.Clone()
	t.DialContext = d.dial
	t.TLSClientConfig = t.TLSClientConfig.Clone()
	t.TLSClientConfig.InsecureSkipVerify, t.TLSClientConfig.VerifyConnection = true, nil
	defer t.CloseIdleConnections()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, d.way.Base.String()+"/healthz", nil)
	if err != nil {
		return time.Time{}
	}
	answer, err := t.RoundTrip(r)
	if err != nil {
		return time.Time{}
	}
	answer.Body.Close()
	date, _ := http.ParseTime(answer.Header.Get("Date"))
	return date
}

// issuer is who made a certificate, in the words that people look for.
func issuer(c *x509.Certificate) string { return fmt.Sprintf("%q", nameOf(c.Issuer)) }

func nameOf(n pkix.Name) string {
	organization := strings.Join(n.Organization, ", ")
	if organization != "" && n.CommonName != "" && organization != n.CommonName {
		return n.CommonName + ", " + organization
	}
	return cmp.Or(n.CommonName, organization, n.String())
}

func names(c *x509.Certificate) string {
	all := c.DNSNames
	for _, ip := range c.IPAddresses {
		all = append(all, ip.String())
	}
	if len(all) > 5 {
		all = append(all[:5:5], "…")
	}
	return cmp.Or(strings.Join(all, ", "), "no name at all")
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

func days(d time.Duration) string {
	if d < 48*time.Hour {
		return d.Round(time.Minute).String()
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}
