package doctor

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"restic-manager/agent/config"
	"restic-manager/agent/guard"
	"restic-manager/shared/checkup"
	"restic-manager/shared/wire"
)

const (
	host    = "backup.example"
	hostID  = "0198c0de-0000-7000-8000-000000000001"
	secret  = "rma_0123456789012345678901234567890123456789"
	issuers = "Corporate Firewall CA"
)

// rig is a machine of its own, and the way from it to a server.
type rig struct {
	t *testing.T
	Options
	yaml  config.Config
	names []string // of the checks that run; empty: those of the way
}

func newRig(t *testing.T, server string) *rig {
	dir := t.TempDir()
	p := config.Paths{Config: filepath.Join(dir, "agent.yaml"), Guard: filepath.Join(dir, "guard.yaml"), State: filepath.Join(dir, "state"),
		Cache: filepath.Join(dir, "cache"), Runtime: filepath.Join(dir, "run")}
	if err := os.Mkdir(p.State, 0o700); err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, yaml: config.Config{ServerURL: server, HostID: hostID, AgentToken: secret}, Options: Options{Paths: p, Version: "1.0.0", NoHold: true}}
	r.Options.Guard = func(s *config.Config) *guard.Guard {
		return guard.Open(guard.Options{Path: p.Guard, RestoreRoot: p.State + "/restore", UID: os.Geteuid()})
	}
	r.Outside = Outside{
		Lookup: func(context.Context, string) ([]string, error) { return []string{"192.0.2.1"}, nil },
		Proxy:  func(*http.Request) (*url.URL, error) { return nil, nil },
		Env:    func(string) string { return "" },
		Run: func(context.Context, string, ...string) (string, error) {
			return "", os.ErrNotExist
		},
	}
	return r
}

// leadsTo lets every connection end at an address, whatever it was meant for.
func (r *rig) leadsTo(address string) {
	r.Outside.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
}

var way = []string{"config", "server", "dns", "tcp", "proxy", "tls", "answer", "clock", "accepted", "compression", "buffering", "hold"}

// look runs the checks and gives what each found, by name.
func (r *rig) look() (map[string]checkup.Result, Report) {
	r.t.Helper()
	if r.yaml.HostID != "" {
		if err := config.Save(r.Paths.Config, r.yaml); err != nil {
			r.t.Fatal(err)
		}
	}
	o := r.Options
	o.complete()
	d := &doctor{Options: o}
	names := r.names
	if names == nil {
		names = way
	}
	d.run(r.t.Context(), slices.DeleteFunc(d.checks(), func(c check) bool { return !slices.Contains(names, c.name) }))
	found := map[string]checkup.Result{}
	for _, c := range d.report.Checks {
		found[c.Name] = c
	}
	return found, d.report
}

// finds is what one check must find: a state, and words of its line.
type finds struct {
	check string
	state checkup.State
	words []string
}

// must runs the checks and looks at one.
func (r *rig) must(want ...finds) Report {
	r.t.Helper()
	found, report := r.look()
	for _, w := range want {
		got := found[w.check]
		text := got.Text()
		ok := got.State == w.state
		for _, word := range w.words {
			ok = ok && strings.Contains(text, word)
		}
		if !ok {
			r.t.Errorf("%s: got %s %q, want %s with %q", w.check, got.State, text, w.state, w.words)
		}
	}
	var all strings.Builder
	for _, c := range report.Checks {
		all.WriteString(c.Text())
	}
	if strings.Contains(all.String(), secret) || strings.Contains(all.String(), "hunter2") {
		r.t.Errorf("a secret is told:\n%s", all.String())
	}
	return report
}

// fake is the server, as far as a doctor speaks with it.
type fake struct {
	revoked, old bool
	ahead        time.Duration // of the server's clock
	cut          time.Duration // at which requests that wait are cut; 0: never
	onceCut      bool          // the first of them only
	status       int           // of a cut: 0 is a closed connection
	silent       bool          // a cut is no end: nothing more comes
	busy         bool          // the server holds none longer than 20 s: it has too many
	buffered     bool          // answers are kept until they are whole
	plain        bool          // packed answers are unpacked on the way, and still called packed
	document     func(gzip bool) string
	holds        atomic.Int64 // so far
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/healthz":
		io.WriteString(w, "ok\n")
	case "/api/openapi.json":
		f.serveDocument(w, r)
	case "/api/agents/hold":
		f.hold(w, r)
	default:
		problem(w, 404, "not_found")
	}
}

func problem(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", wire.ProblemContentType)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(wire.Problem{Code: code, Detail: "words"})
}

func (f *fake) serveDocument(w http.ResponseWriter, r *http.Request) {
	packed := strings.Contains(r.Header.Get("Accept-Encoding"), "gzip")
	text := `{"openapi":"3.1.0"}`
	if f.document != nil {
		text = f.document(packed)
	}
	w.Header().Set("Content-Type", "application/json")
	if !packed {
		io.WriteString(w, text)
		return
	}
	w.Header().Set("Content-Encoding", "gzip")
	if f.plain {
		io.WriteString(w, text)
		return
	}
	z := gzip.NewWriter(w)
	io.WriteString(z, text)
	z.Close()
}

func (f *fake) hold(w http.ResponseWriter, r *http.Request) {
	switch {
	case f.old:
		problem(w, 404, "not_found")
		return
	case f.revoked || r.Header.Get("Authorization") != "Bearer "+secret:
		problem(w, 401, wire.ProblemUnauthorized)
		return
	}
	n, _ := strconv.Atoi(r.URL.Query().Get("seconds"))
	parts, _ := strconv.Atoi(r.URL.Query().Get("parts"))
	wait := time.Duration(n) * time.Second
	if f.busy && wait > 20*time.Second {
		problem(w, 429, wire.ProblemRateLimited)
		return
	}
	n = int(f.holds.Add(1))
	if f.cut > 0 && wait >= f.cut && parts == 0 && !(f.onceCut && n > 2+len(lengths)+1) {
		if f.silent {
			<-r.Context().Done()
			return
		}
		pause(r, f.cut)
		if f.status == 0 {
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(f.status)
		return
	}
	if parts == 0 {
		pause(r, wait)
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(wire.HoldReply{ServerTime: time.Now().Add(f.ahead)})
		return
	}
	var kept bytes.Buffer
	for part := 1; part <= parts; part++ {
		pause(r, wait/time.Duration(parts))
		fmt.Fprintf(&kept, "{\"part\":%d}\n", part)
		if !f.buffered {
			_, _ = kept.WriteTo(w)
			w.(http.Flusher).Flush()
		}
	}
	_, _ = kept.WriteTo(w)
}

// pause waits, unless who asked has gone.
func pause(r *http.Request, d time.Duration) {
	select {
	case <-time.After(d):
	case <-r.Context().Done():
	}
}

// authority makes certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, name string) *authority {
	a := &authority{t: t}
	a.key = newKey(t)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name, Organization: []string{"Example Works"}},
		NotBefore: time.Now().Add(-1000 * time.Hour), NotAfter: time.Now().Add(10000 * time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	a.cert = sign(t, template, template, a.key.Public(), a.key)
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t *testing.T, template, parent *x509.Certificate, public any, key *ecdsa.PrivateKey) *x509.Certificate {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (a *authority) leaf(name string, from, to time.Duration) tls.Certificate {
	key := newKey(a.t)
	template := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(from), NotAfter: time.Now().Add(to)}
	c := sign(a.t, template, a.cert, key.Public(), a.key)
	return tls.Certificate{Certificate: [][]byte{c.Raw}, PrivateKey: key, Leaf: c}
}

func (a *authority) file() string {
	p := filepath.Join(a.t.TempDir(), "ca.pem")
	if err := os.WriteFile(p, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}), 0o600); err != nil {
		a.t.Fatal(err)
	}
	return p
}

// serve answers on a free port of the loopback, over TLS where there is a certificate, and gives its address.
func serve(t *testing.T, h http.Handler, cert *tls.Certificate) string {
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	if cert != nil {
		s.TLS = &tls.Config{Certificates: []tls.Certificate{*cert}}
		s.EnableHTTP2 = true // as the server does
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// tunnel is a proxy that knows CONNECT, and wants a sign-in where it has one.
type tunnel struct {
	to     string // where every name leads
	user   string // as user:password
	status int    // its answer; 0: it makes the tunnel
}

func (p *tunnel) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if p.user != "" {
		user, password, _ := strings.Cut(p.user, ":")
		q := &http.Request{Header: http.Header{"Authorization": r.Header["Proxy-Authorization"]}}
		if u, w2, ok := q.BasicAuth(); !ok || u != user || w2 != password {
			w.Header().Set("Proxy-Authenticate", `Basic realm="proxy"`)
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
	}
	if p.status != 0 {
		w.WriteHeader(p.status)
		return
	}
	server, err := net.Dial("tcp", p.to)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	w.WriteHeader(http.StatusOK)
	conn, buffered, err := w.(http.Hijacker).Hijack()
	if err != nil {
		server.Close()
		return
	}
	go func() {
		_, _ = io.Copy(server, buffered)
		server.Close()
	}()
	_, _ = io.Copy(conn, server)
	conn.Close()
}
