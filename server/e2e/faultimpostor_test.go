package e2e

import (
	"bytes"
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"restic-manager/shared/wire"
)

// authority makes certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, cert: &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"},
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(48 * time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}}
	cert := a.sign(a.cert)
	a.key = cert.PrivateKey.(*ecdsa.PrivateKey)
	a.cert = cert.Leaf
	return a
}

// sign makes a key and a certificate for it; the authority's own is signed by itself.
func (a *authority) sign(template *x509.Certificate) tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	signer := a.key
	if signer == nil {
		signer = key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// leaf is a certificate for 127.0.0.1 until then.
func (a *authority) leaf(end time.Time) tls.Certificate {
	return a.sign(&x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: end,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
}

func (a *authority) file() string {
	path := filepath.Join(a.t.TempDir(), "ca.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}), 0o600); err != nil {
		a.t.Fatal(err)
	}
	return path
}

// impostor is whoever answers at the server's address. It writes down all that it can read.
type impostor struct {
	net.Listener
	config *tls.Config // nil: no TLS
	answer string

	mu    sync.Mutex // guards the fields below
	calls int
	heard bytes.Buffer
}

func newImpostor(t *testing.T, host string, config *tls.Config, answer string) *impostor {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	i := &impostor{Listener: l, config: config, answer: answer}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { i.hear(c) })
		}
	})
	t.Cleanup(func() { l.Close(); all.Wait() })
	return i
}

func (i *impostor) hear(c net.Conn) {
	defer c.Close()
	i.mu.Lock()
	i.calls++
	i.mu.Unlock()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if i.config != nil {
		c = tls.Server(c, i.config)
	}
	b := make([]byte, 64<<10)
	for {
		n, err := c.Read(b)
		i.mu.Lock()
		i.heard.Write(b[:n])
		whole := bytes.Contains(i.heard.Bytes(), []byte("\r\n\r\n"))
		i.mu.Unlock()
		if err != nil {
			return
		}
		if whole && i.answer != "" {
			_, _ = c.Write([]byte(i.answer))
			return
		}
	}
}

// told is what it heard, and from how many connections.
func (i *impostor) told() (calls int, heard string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.calls, i.heard.String()
}

// TestFaultImpostor: the real agent is led to somebody who is not its server, in every way a network can. None gets a
// byte of its secret, and the agent says what is wrong.
func TestFaultImpostor(t *testing.T) {
	t.Parallel()
	const secret = wire.AgentTokenPrefix + "0123456789abcdef0123456789abcdef0123456789a"
	ca, other := newAuthority(t), newAuthority(t)
	good, expired := ca.leaf(time.Now().Add(time.Hour)), ca.leaf(time.Now().Add(-time.Hour))
	pin := func(c tls.Certificate) string { return `cert_pins: ["sha256:` + hexSum(c.Certificate[0]) + `"]` }
	trust := func(a *authority) string { return "ca_file: " + a.file() }
	with := func(c tls.Certificate) *tls.Config { return &tls.Config{Certificates: []tls.Certificate{c}} }
	old := with(good)
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	elsewhere := newImpostor(t, "127.0.0.1", nil, "")
	redirect := "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://" + elsewhere.Addr().String() + "/\r\nContent-Length: 0\r\n\r\n"
	const untrusted, clock = "cannot prove who it is; nothing was told to it", "this machine's clock"
	cases := []struct {
		name, host string
		config     *tls.Config
		answer     string
		yaml       []string
		words      string
	}{
		{name: "wrong pin", config: with(good), yaml: []string{pin(expired)}, words: untrusted},
		{name: "wrong pin, right authority", config: with(good), yaml: []string{pin(expired), trust(ca)}, words: untrusted},
		{name: "right pin, wrong authority", config: with(good), yaml: []string{pin(good), trust(other)}, words: untrusted},
		{name: "another authority", config: with(good), yaml: []string{trust(other)}, words: untrusted},
		{name: "unknown to the system", config: with(good), words: untrusted},
		{name: "expired", config: with(expired), yaml: []string{trust(ca)}, words: clock},
		{name: "expired and pinned", config: with(expired), yaml: []string{pin(expired)}, words: clock},
		{name: "another name", host: "127.0.0.2", config: with(good), yaml: []string{trust(ca)}, words: untrusted},
		{name: "downgrade to TLS 1.1", config: old, yaml: []string{trust(ca)}, words: "does not answer"},
		{name: "plain HTTP in place of TLS", answer: redirect, yaml: []string{trust(ca)}, words: "does not answer"},
		{name: "redirect by the server to another host", config: with(good), answer: redirect, yaml: []string{trust(ca)}, words: "redirect"},
	}
	bad := 0
	for _, c := range cases {
		i := newImpostor(t, cmp.Or(c.host, "127.0.0.1"), c.config, c.answer)
		a := &agent{t: t, dir: t.TempDir()}
		a.startAt("https://"+i.Addr().String(), secret, c.yaml...)
		eventually(t, 20*time.Second, c.name+": the agent says what is wrong", func() error {
			if calls, _ := i.told(); calls == 0 || !strings.Contains(a.words(), c.words) {
				return fmt.Errorf("no %q after %d calls in %s", c.words, calls, tail(a.words(), 3))
			}
			return nil
		})
		a.kill()
		_, heard := i.told()
		led := strings.Contains(c.name, "by the server") // that one is who it says
		if tells := strings.Contains(heard, "Authorization") || strings.Contains(heard, secret); tells != led || strings.Contains(a.words(), secret) {
			bad++
			t.Errorf("%s: it heard %q", c.name, heard)
		}
	}
	if calls, heard := elsewhere.told(); calls != 0 {
		bad++
		t.Errorf("the host of the redirects was called %d times and heard %q", calls, heard)
	}
	a := &agent{t: t, dir: t.TempDir()}
	a.startAt("http://backup.invalid:8080", secret)
	select {
	case <-a.done:
	case <-time.After(patience * 10 * time.Second):
		a.kill()
	}
	if a.cmd.ProcessState.ExitCode() == 0 || !strings.Contains(a.words(), "in the clear") {
		bad++
		t.Errorf("http:// to another machine: exit %d, %s", a.cmd.ProcessState.ExitCode(), a.words())
	}
	fault(t, faultRow{Row: "29", Fault: "the agent is led to an impostor", Variant: "real agent", Runs: len(cases) + 1, Violations: bad,
		Figure: fmt.Sprintf("0 bytes of Authorization seen in %d of %d cases", len(cases)+1-bad, len(cases)+1)})
}

// startAt starts the agent as one that was enrolled at that address.
func (a *agent) startAt(url, secret string, yaml ...string) {
	a.t.Helper()
	a.config, a.data = filepath.Join(a.dir, "agent.yaml"), filepath.Join(a.dir, "state")
	a.env = []string{"STATE_DIRECTORY=" + a.data, "CACHE_DIRECTORY=" + filepath.Join(a.dir, "cache"), "RUNTIME_DIRECTORY=" + filepath.Join(a.dir, "run")}
	for _, dir := range []string{a.data, filepath.Join(a.dir, "cache"), filepath.Join(a.dir, "run")} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			a.t.Fatal(err)
		}
	}
	if err := os.WriteFile(a.config, []byte("server_url: "+url+"\nhost_id: 0198c0de-0000-7000-8000-000000000001\nagent_token: "+secret+"\n"), 0o600); err != nil {
		a.t.Fatal(err)
	}
	a.own(yaml...)
	a.launch()
	a.t.Cleanup(a.kill)
}
