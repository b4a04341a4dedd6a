package client

import (
	"compress/gzip"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
)

const (
	token = "rma_0123456789abcdef0123456789abcdef0123456789a"
	job   = "0198c0de-0000-7000-8000-000000000001"
	lease = "00112233445566778899aabbccddeeff"
)

// request is what the fake server saw.
type request struct {
	method, uri, body string
	header            http.Header
}

// recorder is a server that answers as told and remembers what it was asked.
type recorder struct {
	mu   sync.Mutex
	seen []request
	// answer is given the number of the request, from 0.
	answer func(n int, w http.ResponseWriter, r *http.Request)
}

func (s *recorder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := io.Reader(r.Body)
	switch r.Header.Get("Content-Encoding") {
	case "zstd":
		d, err := zstd.NewReader(r.Body)
		if err != nil {
			panic(err)
		}
		defer d.Close()
		body = d
	case "gzip":
		body, _ = gzip.NewReader(r.Body)
	}
	data, _ := io.ReadAll(body)
	s.mu.Lock()
	n := len(s.seen)
	s.seen = append(s.seen, request{r.Method, r.RequestURI, string(data), r.Header.Clone()})
	s.mu.Unlock()
	s.answer(n, w, r)
}

func (s *recorder) requests() []request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]request(nil), s.seen...)
}

// bearers counts the requests that carried the secret.
func (s *recorder) bearers() int {
	n := 0
	for _, r := range s.requests() {
		if r.header.Get("Authorization") != "" {
			n++
		}
	}
	return n
}

// replyWith answers with status, media type and body.
func replyWith(status int, media, body string) func(int, http.ResponseWriter, *http.Request) {
	return func(_ int, w http.ResponseWriter, _ *http.Request) { say(w, status, media, body) }
}

func say(w http.ResponseWriter, status int, media, body string) {
	w.Header().Set("Content-Type", media)
	w.WriteHeader(status)
	io.WriteString(w, body)
}

func problem(w http.ResponseWriter, status int, body string) {
	say(w, status, "application/problem+json", body)
}

// atOnce retries without waiting.
func atOnce(int, time.Duration, error) time.Duration { return 0 }

// serve starts the fake server over plain HTTP on loopback and a client for it.
func serve(t *testing.T, answer func(n int, w http.ResponseWriter, r *http.Request)) (*recorder, *Client) {
	t.Helper()
	s := &recorder{answer: answer}
	h := httptest.NewServer(s)
	t.Cleanup(h.Close)
	return s, connect(t, Options{ServerURL: h.URL})
}

// connect makes a client with the test's secret.
func connect(t *testing.T, o Options) *Client {
	t.Helper()
	o.Token = token
	if o.delay == nil {
		o.delay = atOnce
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// authority makes certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	der  []byte
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{t, cert, key, der}
}

// file is the CA in PEM on disk.
func (a *authority) file() string {
	path := filepath.Join(a.t.TempDir(), "ca.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
	return path
}

// leaf is a certificate for 127.0.0.1 and localhost, valid until end.
func (a *authority) leaf(end time.Time) tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: end,
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// serveTLS starts the fake server with a certificate; config may change the rest.
func serveTLS(t *testing.T, cert tls.Certificate, config func(*tls.Config)) (*recorder, string) {
	t.Helper()
	s := &recorder{answer: replyWith(200, "application/json", `{"mark":"m"}`)}
	h := httptest.NewUnstartedServer(s)
	h.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	if config != nil {
		config(h.TLS)
	}
	h.Config.ErrorLog = quiet
	h.StartTLS()
	t.Cleanup(h.Close)
	return s, h.URL
}
