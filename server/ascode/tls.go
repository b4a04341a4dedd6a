package ascode

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"
)

// pin is the SHA-256 of a server's certificate.
type pin = [sha256.Size]byte

// parsePin reads a pin as the agent does: hex, with or without colons, or base64, behind sha256: or nothing.
func parsePin(text string) (pin, error) {
	rest := strings.TrimSpace(text)
	for _, prefix := range []string{"sha256:", "sha256//", "sha256 fingerprint="} {
		if len(rest) > len(prefix) && strings.EqualFold(rest[:len(prefix)], prefix) {
			rest = rest[len(prefix):]
			break
		}
	}
	if sum, err := hex.DecodeString(strings.ReplaceAll(rest, ":", "")); err == nil && len(sum) == sha256.Size {
		return pin(sum), nil
	}
	if sum, err := base64.StdEncoding.Strict().DecodeString(rest); err == nil && len(sum) == sha256.Size {
		return pin(sum), nil
	}
	return pin{}, fmt.Errorf("--cert-pin: %.80q: give sha256: and the sum of the server's certificate, 64 hex digits (openssl x509 -fingerprint -sha256)", text)
}

// newTLS: with pins the server's own certificate decides in place of what vouches for it; with pins and a CA file both
// must agree.
func newTLS(o Options, host string) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.CAFile != "" {
		pem, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, fmt.Errorf("--ca-file: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--ca-file: %s holds no certificate in PEM", o.CAFile)
		}
	}
	if len(o.CertPins) == 0 {
		return config, nil
	}
	var pins []pin
	for _, text := range o.CertPins {
		p, err := parsePin(text)
		if err != nil {
			return nil, err
		}
		pins = append(pins, p)
	}
	config.InsecureSkipVerify = true // what follows verifies
	config.VerifyConnection = func(s tls.ConnectionState) error {
		if len(s.PeerCertificates) == 0 {
			return errors.New("the server showed no certificate")
		}
		leaf := s.PeerCertificates[0]
		if s.ServerName != serverName(host) { // a proxy that is spoken to over TLS: it has its own certificate
			return vouched(s, config.RootCAs, s.ServerName)
		}
		if !slices.Contains(pins, sha256.Sum256(leaf.Raw)) {
			return errors.New("the server's certificate is none of --cert-pin; if the server got a new one, compare it there")
		}
		if now := time.Now(); now.After(leaf.NotAfter) || now.Before(leaf.NotBefore) {
			return errors.New("the server's certificate has the right pin, and is not valid at this time")
		}
		if o.CAFile != "" {
			return vouched(s, config.RootCAs, host)
		}
		return nil
	}
	return config, nil
}

func vouched(s tls.ConnectionState, roots *x509.CertPool, name string) error {
	if name == "" {
		return errors.New("a proxy without a name cannot be verified; give its name in place of its address")
	}
	between := x509.NewCertPool()
	for _, c := range s.PeerCertificates[1:] {
		between.AddCert(c)
	}
	_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{DNSName: name, Roots: roots, Intermediates: between})
	return err
}

// serverName is what crypto/tls has as a connection's name: none for addresses (RFC 6066, section 3).
func serverName(host string) string {
	if net.ParseIP(strings.Trim(host, "[]")) != nil {
		return ""
	}
	return strings.TrimSuffix(host, ".")
}
