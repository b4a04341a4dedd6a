package install

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"time"
)

// What a machine that has nothing but the system's roots makes of the server's certificate.
const (
	Public      = "public"  // it trusts it, or a proxy's in front
	PrivateCert = "private" // it does not: it needs a pin
	None        = "none"    // there is none: plain HTTP
)

// Certificate says whom a machine is to trust.
type Certificate struct {
	Kind    string // Public, PrivateCert or None
	CertPin string // of a private one: sha256: and the SHA-256 of its DER in hexadecimal, the agent's --cert-pin
	SPKIPin string // of a private one: sha256// and the SHA-256 of its public key in base64, curl's --pinnedpubkey
}

// Private reports whether the certificate needs its pins.
func (c Certificate) Private() bool { return c.Kind == PrivateCert }

// Judge looks at the pair that HTTPS is served with, for clients that ask for host, which may have a port no more.
// roots are those that machines have; nil: this system's.
func Judge(pair *tls.Certificate, host string, roots *x509.CertPool, now time.Time) (Certificate, error) {
	leaf, err := leafOf(pair)
	if err != nil {
		return Certificate{}, err
	}
	chain := x509.NewCertPool()
	for _, der := range pair.Certificate[1:] {
		if c, err := x509.ParseCertificate(der); err == nil {
			chain.AddCert(c)
		}
	}
	if _, err := leaf.Verify(x509.VerifyOptions{DNSName: host, Roots: roots, Intermediates: chain, CurrentTime: now}); err == nil {
		return Certificate{Kind: Public}, nil
	}
	whole, key := sha256.Sum256(leaf.Raw), sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	return Certificate{Kind: PrivateCert, CertPin: "sha256:" + hex.EncodeToString(whole[:]),
		SPKIPin: "sha256//" + base64.StdEncoding.EncodeToString(key[:])}, nil
}

func leafOf(pair *tls.Certificate) (*x509.Certificate, error) {
	if pair == nil || len(pair.Certificate) == 0 {
		return nil, fmt.Errorf("look at the server's certificate: there is none")
	}
	if pair.Leaf != nil {
		return pair.Leaf, nil
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return nil, fmt.Errorf("look at the server's certificate: %w", err)
	}
	return leaf, nil
}
