package client

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"restic-manager/shared/wire"
)

// listen starts a plain server and returns its address.
func listen(t *testing.T, s http.Handler) string {
	t.Helper()
	h := httptest.NewServer(s)
	t.Cleanup(h.Close)
	return h.URL
}

func pinOf(c tls.Certificate) string {
	sum := sha256.Sum256(c.Certificate[0])
	return "sha256:" + hex.EncodeToString(sum[:])
}

func ask(c *Client) error {
	_, err := c.Poll(context.Background(), wire.PollQuery{Boot: "b"})
	if err == nil {
		_, err = c.Poll(context.Background(), wire.PollQuery{Boot: "b"}) // over the kept connection
	}
	return err
}

// TestTrustedServersAreSpokenTo is the other half of TestImpostorsSeeNoSecret: what must work.
func TestTrustedServersAreSpokenTo(t *testing.T) {
	ca := newAuthority(t)
	cert, next := ca.leaf(time.Now().Add(time.Hour)), ca.leaf(time.Now().Add(time.Hour))
	for name, o := range map[string]Options{
		"CA file":                 {CAFile: ca.file()},
		"pin":                     {CertPins: []string{pinOf(cert)}},
		"second slot of two":      {CertPins: []string{pinOf(next), pinOf(cert)}},
		"pin and CA file":         {CertPins: []string{pinOf(cert)}, CAFile: ca.file()},
		"pin by name":             {CertPins: []string{pinOf(cert)}, ServerURL: "localhost"},
		"CA file, TLS 1.2 server": {CAFile: ca.file(), Version: "1.2"},
	} {
		t.Run(name, func(t *testing.T) {
			s, url := serveTLS(t, cert, func(c *tls.Config) {
				if o.Version == "1.2" {
					c.MaxVersion = tls.VersionTLS12
				}
			})
			if o.ServerURL == "localhost" {
				url = strings.Replace(url, "127.0.0.1", "localhost", 1)
			}
			o.ServerURL = url
			if err := ask(connect(t, o)); err != nil {
				t.Fatal(err)
			}
			if got := s.bearers(); got != 2 {
				t.Errorf("requests with the secret: got %d, want 2", got)
			}
		})
	}
}

// TestImpostorsSeeNoSecret: whoever cannot prove to be the server sees not one request.
func TestImpostorsSeeNoSecret(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	good, expired := ca.leaf(time.Now().Add(time.Hour)), ca.leaf(time.Now().Add(-time.Hour))
	for name, tc := range map[string]struct {
		o      Options
		cert   tls.Certificate
		config func(*tls.Config)
		name   string // in place of 127.0.0.1
	}{
		"wrong pin":                        {o: Options{CertPins: []string{pinOf(expired)}}, cert: good},
		"wrong pin, right CA":              {o: Options{CertPins: []string{pinOf(expired)}, CAFile: ca.file()}, cert: good},
		"right pin, wrong CA":              {o: Options{CertPins: []string{pinOf(good)}, CAFile: other.file()}, cert: good},
		"another CA":                       {o: Options{CAFile: other.file()}, cert: good},
		"unknown to the system's roots":    {cert: good},
		"expired":                          {o: Options{CAFile: ca.file()}, cert: expired},
		"expired and pinned":               {o: Options{CertPins: []string{pinOf(expired)}}, cert: expired},
		"another name":                     {o: Options{CAFile: ca.file()}, cert: good, name: "127.0.0.2"},
		"downgrade to TLS 1.1":             {o: Options{CAFile: ca.file()}, cert: good, config: old},
		"downgrade to TLS 1.1, though pin": {o: Options{CertPins: []string{pinOf(good)}}, cert: good, config: old},
	} {
		t.Run(name, func(t *testing.T) {
			s, url := serveTLS(t, tc.cert, tc.config)
			if tc.name != "" {
				h := httptest.NewUnstartedServer(s)
				h.Listener.Close()
				h.Listener = listenOn(t, tc.name)
				h.TLS = &tls.Config{Certificates: []tls.Certificate{tc.cert}}
				h.Config.ErrorLog = quiet
				h.StartTLS()
				t.Cleanup(h.Close)
				url = h.URL
			}
			tc.o.ServerURL = url
			c := connect(t, tc.o)
			err := ask(c)
			if err == nil {
				t.Fatal("the impostor was trusted")
			}
			if _, again := c.Hello(context.Background(), wire.HelloRequest{}); again == nil {
				t.Fatal("the impostor was trusted by a short call")
			}
			if tc.config == nil && (!Untrusted(err) || !Final(err)) {
				t.Errorf("got %v, want it called untrusted and final", err)
			}
			if got := len(s.requests()); got != 0 {
				t.Errorf("requests that the impostor saw: got %d, want 0", got)
			}
		})
	}
}

func old(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }

// TestRedirectsAreNotFollowed to another host, to plain HTTP, or within the host.
func TestRedirectsAreNotFollowed(t *testing.T) {
	elsewhere := &recorder{answer: replyWith(200, "application/json", `{"mark":"stolen","late":false}`)}
	target := listen(t, elsewhere)
	ca := newAuthority(t)
	cert := ca.leaf(time.Now().Add(time.Hour))
	for _, status := range []int{301, 302, 303, 307, 308} {
		for _, to := range []string{target, "/elsewhere"} {
			s, url := serveTLS(t, cert, nil)
			s.answer = func(_ int, w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", to)
				w.WriteHeader(status)
			}
			c := connect(t, Options{ServerURL: url, CAFile: ca.file(), Tries: 2})
			if err := ask(c); err == nil || !strings.Contains(err.Error(), "redirect") {
				t.Errorf("%d to %s: got %v, want a word on the redirect", status, to, err)
			}
			if _, err := c.Finish(context.Background(), wire.JobRef{ID: job}, []byte("{}")); err == nil {
				t.Errorf("%d to %s: finish followed it", status, to)
			}
			if got := len(s.requests()); got != 3 {
				t.Errorf("%d to %s: requests at the server: got %d, want 3", status, to, got)
			}
		}
	}
	if got := len(elsewhere.requests()); got != 0 {
		t.Errorf("requests that the other host saw: got %d, want 0", got)
	}
}

func TestPlainHTTPNeedsLoopbackOrLeave(t *testing.T) {
	for url, ok := range map[string]bool{
		"http://127.0.0.1:8080": true, "http://localhost": true, "http://LOCALHOST:1": true, "http://[::1]:1": true, "http://127.9.9.9": true,
		"https://backup.example.com": true, "https://10.0.0.1:8443/prefix/": true,
		"http://backup.example.com": false, "http://10.0.0.1": false, "http://localhost.evil.example": false, "http://127.0.0.1.evil.example": false,
		"": false, "backup.example.com": false, "ftp://backup.example.com": false, "https://": false, "https://:443": false,
		"https://user:pw@backup.example.com": false, "https://backup.example.com?x=1": false, "https://backup.example.com#x": false, "http:127.0.0.1": false,
	} {
		if _, err := New(Options{ServerURL: url}); (err == nil) != ok {
			t.Errorf("%q: got %v, want accepted: %t", url, err, ok)
		}
	}
	if _, err := New(Options{ServerURL: "http://backup.example.com", InsecureHTTP: true}); err != nil {
		t.Errorf("with the owner's leave: got %v", err)
	}
}

// TestProxyTunnelsAndSeesNoSecret sends HTTPS through a proxy that the owner named.
func TestProxyTunnelsAndSeesNoSecret(t *testing.T) {
	ca := newAuthority(t)
	cert := ca.leaf(time.Now().Add(time.Hour))
	s, url := serveTLS(t, cert, nil)
	proxy := &tunnel{}
	address := listen(t, proxy)
	c := connect(t, Options{ServerURL: url, CertPins: []string{pinOf(cert)}, Proxy: strings.Replace(address, "http://", "http://user:hunter2@", 1)})
	if err := ask(c); err != nil {
		t.Fatal(err)
	}
	if got := s.bearers(); got != 2 {
		t.Errorf("requests at the server: got %d, want 2", got)
	}
	if proxy.connects.Load() != 1 || proxy.bearers.Load() != 0 {
		t.Errorf("the proxy saw %d CONNECTs and %d secrets, want 1 and 0", proxy.connects.Load(), proxy.bearers.Load())
	}
}

// TestHTTPSProxyIsNotTakenForTheServer: the pin is the server's, the proxy has a certificate of its own.
func TestHTTPSProxyIsNotTakenForTheServer(t *testing.T) {
	ca := newAuthority(t)
	cert, proxyCert := ca.leaf(time.Now().Add(time.Hour)), ca.leaf(time.Now().Add(time.Hour))
	s, url := serveTLS(t, cert, nil)
	proxy := &tunnel{}
	h := httptest.NewUnstartedServer(proxy)
	h.TLS = &tls.Config{Certificates: []tls.Certificate{proxyCert}}
	h.Config.ErrorLog = quiet
	h.StartTLS()
	t.Cleanup(h.Close)
	named := strings.Replace(h.URL, "127.0.0.1", "localhost", 1)
	if err := ask(connect(t, Options{ServerURL: url, CertPins: []string{pinOf(cert)}, CAFile: ca.file(), Proxy: named})); err != nil {
		t.Fatal(err)
	}
	if got := s.bearers(); got != 2 {
		t.Errorf("requests at the server: got %d, want 2", got)
	}
	// A proxy that nobody vouches for, and one that shows the pin's owner's name only by address.
	if err := ask(connect(t, Options{ServerURL: url, CertPins: []string{pinOf(cert)}, Proxy: named})); err == nil {
		t.Error("a proxy with an unknown certificate was trusted")
	}
	if err := ask(connect(t, Options{ServerURL: url, CertPins: []string{pinOf(cert)}, CAFile: ca.file(), Proxy: h.URL})); err == nil {
		t.Error("a proxy that has the server's place was trusted without the server's pin")
	}
}

// TestProxyComesFromTheEnvironment runs in a process of its own: net/http reads it once.
func TestProxyComesFromTheEnvironment(t *testing.T) {
	if url := os.Getenv("CLIENT_TEST_SERVER"); url != "" {
		o := Options{ServerURL: url, InsecureHTTP: true, Tries: 1}
		if pin := os.Getenv("CLIENT_TEST_PIN"); pin != "" {
			o.CertPins = []string{pin}
		}
		err := ask(connect(t, o))
		fmt.Printf("asked: %v\n", err)
		return
	}
	s := &recorder{answer: replyWith(200, "application/json", `{"mark":"m"}`)}
	proxy := listen(t, s) // an HTTP proxy gets the whole address
	out := rerun(t, "CLIENT_TEST_SERVER=http://backup.invalid", "HTTP_PROXY="+proxy, "http_proxy=", "NO_PROXY=")
	if !strings.Contains(out, "asked: <nil>") || len(s.requests()) != 2 || !strings.HasPrefix(s.requests()[0].uri, "http://backup.invalid/api/agents/next-command?") {
		t.Errorf("HTTP_PROXY was not used: %s %v", out, s.requests())
	}
	before := len(s.requests())
	out = rerun(t, "CLIENT_TEST_SERVER=http://backup.invalid", "HTTP_PROXY="+proxy, "NO_PROXY=backup.invalid")
	if strings.Contains(out, "asked: <nil>") || len(s.requests()) != before {
		t.Errorf("NO_PROXY was not obeyed: %s", out)
	}
	cert := newAuthority(t).leaf(time.Now().Add(time.Hour))
	secure, url := serveTLS(t, cert, nil)
	through := &tunnel{to: strings.TrimPrefix(url, "https://")}
	out = rerun(t, "CLIENT_TEST_SERVER=https://backup.invalid", "CLIENT_TEST_PIN="+pinOf(cert), "HTTPS_PROXY="+listen(t, through), "https_proxy=", "NO_PROXY=")
	if !strings.Contains(out, "asked: <nil>") || secure.bearers() != 2 {
		t.Errorf("HTTPS_PROXY was not used: %s", out)
	}
	if through.connects.Load() != 1 || through.bearers.Load() != 0 {
		t.Errorf("the proxy saw %d CONNECTs and %d secrets, want 1 and 0", through.connects.Load(), through.bearers.Load())
	}
}

func TestPinsAreReadInTheirForms(t *testing.T) {
	sum := sha256.Sum256([]byte("x"))
	h := hex.EncodeToString(sum[:])
	var pairs []string
	for i := 0; i < len(h); i += 2 {
		pairs = append(pairs, strings.ToUpper(h[i:i+2]))
	}
	colons, b64 := strings.Join(pairs, ":"), base64.StdEncoding.EncodeToString(sum[:])
	for _, s := range []string{h, "sha256:" + h, "SHA256:" + strings.ToUpper(h), colons, "sha256:" + colons, "SHA256 Fingerprint=" + colons, "sha256 Fingerprint=" + colons, b64, "sha256:" + b64, "sha256//" + b64, " sha256:" + h + " "} {
		if p, err := ParsePin(s); err != nil || p != Pin(sum) {
			t.Errorf("%q: got %v, %v", s, p, err)
		}
	}
	slash := base64.StdEncoding.EncodeToString(append([]byte{0xff}, sum[1:]...)) // begins with a slash
	if _, err := ParsePin("sha256:" + slash); err != nil || slash[0] != '/' {
		t.Errorf("%q: got %v", slash, err)
	}
	for _, s := range []string{"", "sha256:", h[1:], h + "00", "sha1:" + h, "md5:" + h, b64[1:], "x" + h, h[:63] + "g"} {
		if p, err := ParsePin(s); err == nil {
			t.Errorf("%q: got %v, want an error", s, p)
		}
	}
	if p, _ := ParsePin(b64); p.String() != "sha256:"+h {
		t.Errorf("got %s", p)
	}
}

func FuzzParsePin(f *testing.F) {
	f.Add("sha256:00")
	f.Add(strings.Repeat("ab:", 31) + "ab")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePin(s)
		if err != nil {
			return
		}
		if again, err := ParsePin(p.String()); err != nil || again != p {
			t.Errorf("%q: %v does not survive its own form: %v, %v", s, p, again, err)
		}
	})
}

func TestBadOptionsAreNamed(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for want, o := range map[string]Options{
		"server_url": {ServerURL: "x"},
		"cert_pins":  {ServerURL: "https://x", CertPins: []string{"nonsense"}},
		"ca_file":    {ServerURL: "https://x", CAFile: empty},
		"ca_file: ":  {ServerURL: "https://x", CAFile: empty + ".missing"},
		"proxy":      {ServerURL: "https://x", Proxy: "not a proxy"},
	} {
		if _, err := New(o); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want it to begin with %q", err, want)
		}
	}
}

// TestRolloverOfAPinnedCertificateFailsNoPoll: with the next certificate's sum in the second place beforehand, the
// server changes to it between two polls and nobody notices.
func TestRolloverOfAPinnedCertificateFailsNoPoll(t *testing.T) {
	ca := newAuthority(t)
	now, next := ca.leaf(time.Now().Add(time.Hour)), ca.leaf(time.Now().Add(2*time.Hour))
	var served atomic.Pointer[tls.Certificate]
	served.Store(&now)
	s, url := serveTLS(t, now, func(c *tls.Config) {
		c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return &tls.Config{Certificates: []tls.Certificate{*served.Load()}}, nil
		}
	})
	both := connect(t, Options{ServerURL: url, CertPins: []string{pinOf(now), pinOf(next)}})
	for n := range 50 {
		if n == 25 {
			served.Store(&next)
		}
		if err := ask(both); err != nil {
			t.Fatalf("poll %d: %v", n, err)
		}
		both.Close()
	}
	if got := s.bearers(); got != 100 {
		t.Errorf("requests that were answered: got %d, want 100", got)
	}
	if err := ask(connect(t, Options{ServerURL: url, CertPins: []string{pinOf(now)}})); !Untrusted(err) {
		t.Errorf("with the old sum alone: got %v, want it called untrusted", err)
	}
}
