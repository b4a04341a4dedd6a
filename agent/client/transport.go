package client

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// newTransport keeps few connections: one for the poll and, while there is something to tell, one for the rest. They speak
// HTTP/1.1: a connection that only waits for the answer to one request costs the server less memory and processor time so than by
// HTTP/2, and a server has thousands of them.
func newTransport(o Options, base *url.URL) (*http.Transport, error) {
	config, err := newTLS(o, base.Hostname())
	if err != nil {
		return nil, err
	}
	proxy := http.ProxyFromEnvironment
	if o.Proxy != "" {
		u, err := url.Parse(o.Proxy)
		if err != nil || u.Host == "" {
			return nil, errors.New("proxy: give http://HOST:PORT, https://HOST:PORT or socks5://HOST:PORT")
		}
		proxy = http.ProxyURL(u)
	}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &http.Transport{
		Proxy:                 proxy,
		DialContext:           (&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		TLSClientConfig:       config,
		TLSHandshakeTimeout:   30 * time.Second,
		Protocols:             &protocols,
		MaxIdleConnsPerHost:   2,
		IdleConnTimeout:       90 * time.Second,
		ExpectContinueTimeout: time.Second,
	}, nil
}

// newTLS verifies before a single byte of a request is sent. With pins, the leaf decides instead of the
// chain; with pins and a CA file both must agree.
func newTLS(o Options, host string) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, ClientSessionCache: tls.NewLRUClientSessionCache(4)}
	if o.CAFile != "" {
		pem, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, fmt.Errorf("ca_file: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca_file: %s holds no certificate in PEM", o.CAFile)
		}
	}
	if len(o.CertPins) == 0 {
		return config, nil
	}
	v := verifier{roots: config.RootCAs, both: o.CAFile != "", name: serverName(host), host: host}
	for _, text := range o.CertPins {
		pin, err := ParsePin(text)
		if err != nil {
			return nil, err
		}
		v.pins = append(v.pins, pin)
	}
	config.InsecureSkipVerify = true // v verifies, also resumed sessions
	config.VerifyConnection = v.verify
	return config, nil
}

type verifier struct {
	pins  []Pin
	roots *x509.CertPool // nil: the system's
	both  bool           // the chain must hold as well
	name  string         // the server's name as TLS has it: empty for an address
	host  string
}

func (v verifier) verify(s tls.ConnectionState) error {
	if len(s.PeerCertificates) == 0 {
		return errors.New("the server showed no certificate")
	}
	// A proxy that is spoken to over TLS is not the server: it has its own certificate.
	if s.ServerName != v.name {
		return v.chain(s, s.ServerName)
	}
	leaf := s.PeerCertificates[0]
	if !pinned(leaf, v.pins) {
		return errPin
	}
	if now := time.Now(); now.After(leaf.NotAfter) || now.Before(leaf.NotBefore) {
		return x509.CertificateInvalidError{Cert: leaf, Reason: x509.Expired,
			Detail: fmt.Sprintf("pinned, but valid from %s to %s; the clock says %s", leaf.NotBefore.UTC().Format(time.DateTime), leaf.NotAfter.UTC().Format(time.DateTime), now.UTC().Format(time.DateTime))}
	}
	if v.both {
		return v.chain(s, v.host)
	}
	return nil
}

func (v verifier) chain(s tls.ConnectionState, name string) error {
	if name == "" {
		return errors.New("a proxy without a name cannot be verified; give its name in place of its address")
	}
	between := x509.NewCertPool()
	for _, c := range s.PeerCertificates[1:] {
		between.AddCert(c)
	}
	_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{DNSName: name, Roots: v.roots, Intermediates: between})
	return err
}

// serverName is what crypto/tls puts into ConnectionState.ServerName: names without a final dot, nothing
// for addresses (RFC 6066, section 3).
func serverName(host string) string {
	if net.ParseIP(strings.Trim(host, "[]")) != nil {
		return ""
	}
	return strings.TrimRight(host, ".")
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// Way is how a client of these options reaches its server, laid open for who looks into what goes wrong there.
type Way struct {
	Base *url.URL // the server, as New takes it
	// Transport is the agent's own: its proxy, its roots and its pins.
	Transport *http.Transport
	Pins      []Pin
}

// Explore checks the options as New does.
func Explore(o Options) (Way, error) {
	base, err := parseBase(o.ServerURL, o.InsecureHTTP)
	if err != nil {
		return Way{}, err
	}
	w := Way{Base: base}
	for _, text := range o.CertPins {
		pin, err := ParsePin(text)
		if err != nil {
			return Way{}, err
		}
		w.Pins = append(w.Pins, pin)
	}
	w.Transport, err = newTransport(o, base)
	return w, err
}

// Pinned reports whether a certificate is one of the pins.
func (w Way) Pinned(leaf *x509.Certificate) bool { return pinned(leaf, w.Pins) }

// PinOf is the pin of a certificate.
func PinOf(leaf *x509.Certificate) Pin { return sha256.Sum256(leaf.Raw) }
