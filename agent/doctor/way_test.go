package doctor

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"restic-manager/agent/config"
	"restic-manager/shared/checkup"
	"restic-manager/shared/wire"
)

const year = 365 * 24 * time.Hour

// trusted is a server of that name with a certificate that the machine trusts by its CA file.
func trusted(t *testing.T, h http.Handler) *rig {
	ca := newAuthority(t, "Home CA")
	cert := ca.leaf(host, -time.Hour, year)
	r := newRig(t, "https://"+host)
	r.yaml.CAFile = ca.file()
	r.leadsTo(serve(t, h, &cert))
	return r
}

func TestAWayThatIsWell(t *testing.T) {
	report := trusted(t, &fake{}).must(
		finds{"config", checkup.Good, []string{"mode 0600", hostID}},
		finds{"server", checkup.Good, []string{"https://backup.example"}},
		finds{"dns", checkup.Good, []string{"backup.example is 192.0.2.1"}},
		finds{"tcp", checkup.Good, []string{"connected to the server"}},
		finds{"proxy", checkup.Skipped, []string{"none"}},
		finds{"tls", checkup.Good, []string{"TLS 1.3", `issued by "Home CA, Example Works"`, "trusted by ca_file"}},
		finds{"answer", checkup.Good, []string{"the server answers within"}},
		finds{"clock", checkup.Good, nil},
		finds{"accepted", checkup.Good, []string{hostID}},
		finds{"compression", checkup.Good, []string{"packed too"}},
		finds{"hold", checkup.Skipped, []string{"--no-hold"}},
	)
	if !report.OK || report.ServerURL != "https://backup.example" {
		t.Errorf("got %+v, want all well", report)
	}
}

func TestNamesThatAreNotKnown(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		want []string
	}{
		"no such name":   {&net.DNSError{IsNotFound: true, Name: host}, []string{"there is no backup.example", "/etc/resolv.conf", "proxy in agent.yaml"}},
		"no name server": {&net.DNSError{IsTimeout: true, Name: host}, []string{"no name server answered", "port 53"}},
		"another":        {io.ErrUnexpectedEOF, []string{"cannot be looked up"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := trusted(t, &fake{})
			r.Outside.Lookup = func(context.Context, string) ([]string, error) { return nil, c.err }
			report := r.must(finds{"dns", checkup.Wrong, c.want}, finds{"tcp", checkup.Skipped, []string{"dns comes first"}}, finds{"hold", checkup.Skipped, []string{"dns comes first"}})
			if report.OK {
				t.Error("got well")
			}
		})
	}
}

func TestPortsThatAreClosed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	l.Close()
	r := trusted(t, &fake{})
	r.leadsTo(closed)
	r.must(finds{"tcp", checkup.Wrong, []string{"refuses connections at port 443", "let this machine open TCP connections to backup.example, port 443"}}, finds{"tls", checkup.Skipped, nil})
	r.Outside.Dial = func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}
	}
	r.must(finds{"tcp", checkup.Wrong, []string{"does not answer at port 443", "a firewall drops the packets"}})
}

func TestProxies(t *testing.T) {
	ca := newAuthority(t, "Home CA")
	cert := ca.leaf(host, -time.Hour, year)
	server := serve(t, &fake{}, &cert)
	for name, c := range map[string]struct {
		proxy *tunnel
		user  string
		want  finds
	}{
		"open":              {&tunnel{to: server}, "", finds{"proxy", checkup.Good, []string{"from agent.yaml", "makes a tunnel"}}},
		"with sign-in":      {&tunnel{to: server, user: "ann:hunter2"}, "ann:hunter2@", finds{"proxy", checkup.Good, []string{"ann:xxxxx@", "makes a tunnel"}}},
		"without sign-in":   {&tunnel{to: server, user: "ann:hunter2"}, "", finds{"proxy", checkup.Wrong, []string{"wants a user name and a password (407)", "http://USER:PASSWORD@HOST:PORT", "agent.yaml"}}},
		"wrong sign-in":     {&tunnel{to: server, user: "ann:secret"}, "ann:hunter2@", finds{"proxy", checkup.Wrong, []string{"does not take this user name and password (407)", "NTLM"}}},
		"that forbids":      {&tunnel{status: 403}, "", finds{"proxy", checkup.Wrong, []string{"forbids the way", "CONNECT from this machine to backup.example"}}},
		"that cannot reach": {&tunnel{status: 502}, "", finds{"proxy", checkup.Wrong, []string{"cannot reach the server itself (502", "knows the name"}}},
	} {
		t.Run(name, func(t *testing.T) {
			at := serve(t, c.proxy, nil)
			r := newRig(t, "https://"+host)
			r.yaml.CAFile, r.yaml.Proxy = ca.file(), "http://"+c.user+"proxy.example:3128"
			r.leadsTo(at)
			want := []finds{c.want, {"dns", checkup.Good, []string{"the proxy proxy.example is"}}, {"tcp", checkup.Good, []string{"connected to the proxy"}}}
			if c.want.state == checkup.Good {
				want = append(want, finds{"tls", checkup.Good, []string{"Home CA"}}, finds{"answer", checkup.Good, nil}, finds{"accepted", checkup.Good, nil})
			} else {
				want = append(want, finds{"tls", checkup.Skipped, []string{"proxy comes first"}})
			}
			r.must(want...)
		})
	}
	t.Run("of the environment", func(t *testing.T) {
		r := newRig(t, "https://"+host)
		r.yaml.CAFile = ca.file()
		r.leadsTo(serve(t, &tunnel{to: server, user: "ann:hunter2"}, nil))
		r.Outside.Env = func(name string) string { return map[string]string{"https_proxy": "http://proxy.example"}[name] }
		r.Outside.Proxy = func(*http.Request) (*url.URL, error) { return url.Parse("http://proxy.example") }
		r.must(finds{"proxy", checkup.Wrong, []string{"(from https_proxy)", "in https_proxy"}})
		r.Outside.Proxy = func(*http.Request) (*url.URL, error) { return nil, nil }
		r.must(finds{"proxy", checkup.Skipped, []string{"NO_PROXY"}})
	})
	t.Run("to a server of plain HTTP", func(t *testing.T) {
		r := newRig(t, "http://"+host)
		r.yaml.InsecureHTTP, r.yaml.Proxy = true, "http://proxy.example"
		r.leadsTo(serve(t, &tunnel{user: "ann:hunter2"}, nil))
		r.must(finds{"server", checkup.Warning, []string{"plain HTTP"}}, finds{"answer", checkup.Wrong, []string{"wants a user name and a password (407)"}})
	})
}

func pin(c tls.Certificate) string {
	sum := sha256.Sum256(c.Certificate[0])
	return "sha256:" + hex.EncodeToString(sum[:])
}

func TestCertificates(t *testing.T) {
	home, firewall := newAuthority(t, "Home CA"), newAuthority(t, issuers)
	good, expired := home.leaf(host, -time.Hour, year), home.leaf(host, -2*year, -10*24*time.Hour)
	future := home.leaf(host, 48*time.Hour, year)
	ending, other := home.leaf(host, -time.Hour, 5*24*time.Hour), home.leaf("other.example", -time.Hour, year)
	intercepted, own := firewall.leaf(host, -time.Hour, year), selfSigned(t)
	for name, c := range map[string]struct {
		cert tls.Certificate
		ca   *authority
		pins []string
		now  time.Duration
		want finds
	}{
		"pinned":                             {good, nil, []string{pin(good)}, 0, finds{"tls", checkup.Good, []string{"pinned"}}},
		"intercepted":                        {intercepted, nil, nil, 0, finds{"tls", checkup.Wrong, []string{issuers + ", Example Works", "whom this machine does not trust", "breaks TLS open", "ca_file"}}},
		"intercepted, with another CA":       {intercepted, home, nil, 0, finds{"tls", checkup.Wrong, []string{issuers}}},
		"intercepted, with a pin":            {intercepted, nil, []string{pin(good)}, 0, finds{"tls", checkup.Wrong, []string{"none of cert_pins", issuers, pin(intercepted)}}},
		"intercepted, and its CA is trusted": {intercepted, firewall, nil, 0, finds{"tls", checkup.Good, []string{issuers, "trusted by ca_file"}}},
		"a new one, with the old pin":        {good, nil, []string{pin(expired)}, 0, finds{"tls", checkup.Wrong, []string{"none of cert_pins", pin(good)}}},
		"the server's own":                   {own, nil, nil, 0, finds{"tls", checkup.Wrong, []string{"vouches for itself", "--cert-pin", pin(own)}}},
		"expired":                            {expired, home, nil, 0, finds{"tls", checkup.Wrong, []string{"expired 10 days ago", "renew it"}}},
		"expired, pinned":                    {expired, nil, []string{pin(expired)}, 0, finds{"tls", checkup.Wrong, []string{"expired 10 days ago"}}},
		"not yet valid":                      {future, home, nil, 0, finds{"tls", checkup.Wrong, []string{"not yet valid"}}},
		"ends soon":                          {ending, home, nil, 0, finds{"tls", checkup.Warning, []string{"ends in 4 days", "renew it"}}},
		"of another name":                    {other, home, nil, 0, finds{"tls", checkup.Wrong, []string{"for other.example, not for backup.example"}}},
		"a clock that is ahead by years":     {good, home, nil, 2 * year, finds{"tls", checkup.Wrong, []string{"set this machine's clock", "this machine's clock says"}}},
		"a clock that is behind":             {good, home, nil, -year, finds{"tls", checkup.Wrong, []string{"set this machine's clock"}}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, "https://"+host)
			if c.ca != nil {
				r.yaml.CAFile = c.ca.file()
			}
			r.yaml.CertPins = c.pins
			seen := &secretSeen{Handler: &fake{}}
			r.leadsTo(serve(t, seen, &c.cert))
			r.Outside.Now = func() time.Time { return time.Now().Add(c.now) }
			want := []finds{c.want}
			if c.want.state == checkup.Wrong {
				want = append(want, finds{"answer", checkup.Skipped, []string{"tls comes first"}})
			}
			r.must(want...)
			if c.want.state == checkup.Wrong && seen.told {
				t.Error("the agent's secret was told to a server that did not prove who it is")
			}
		})
	}
}

// secretSeen notes whether the agent's secret came.
type secretSeen struct {
	http.Handler
	told bool
}

func (s *secretSeen) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.told = s.told || r.Header.Get("Authorization") != ""
	s.Handler.ServeHTTP(w, r)
}

func selfSigned(t *testing.T) tls.Certificate {
	a := newAuthority(t, host)
	return tls.Certificate{Certificate: [][]byte{a.cert.Raw}, PrivateKey: a.key}
}

func TestWhatIsNoTLS(t *testing.T) {
	r := newRig(t, "https://"+host)
	r.leadsTo(serve(t, &fake{}, nil))
	r.must(finds{"tls", checkup.Wrong, []string{"does not speak TLS", "the port in server_url"}})

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for c, err := l.Accept(); err == nil; c, err = l.Accept() {
			_, _ = c.Read(make([]byte, 1)) // the first byte of a hello
			c.Close()
		}
	}()
	r.leadsTo(l.Addr().String())
	r.must(finds{"tls", checkup.Wrong, []string{"cut as soon as TLS begins", "have it leave backup.example alone"}})
}

func TestWhoAnswersInTheServersPlace(t *testing.T) {
	page := func(status int, contentType, body string, header ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", contentType)
			for i := 0; i+1 < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(status)
			io.WriteString(w, body)
		}
	}
	for name, c := range map[string]struct {
		handler http.Handler
		want    []string
	}{
		"a captive portal":             {page(200, "text/html; charset=utf-8", "<html><head><title>\n Guest Wi-Fi &amp; more </title>"), []string{`"Guest Wi-Fi & more"`, "in the server's place", "captive portal"}},
		"a page that is called JSON":   {page(200, "application/json", "<html>blocked</html>"), []string{"a page answers in the server's place"}},
		"a redirect to a sign-in":      {page(302, "text/html", "", "Location", "https://login.example/?secret=hunter2"), []string{"sends to https://login.example", "change server_url"}},
		"another server":               {page(200, "application/json", `{"ok":true}`, "Server", "other/1.0"), []string{"another server answers", `by "other/1.0"`}},
		"a proxy that cannot reach it": {page(502, "text/plain", "Bad Gateway", "Server", "nginx"), []string{"does not reach the server (status 502", "nginx"}},
		"not set up":                   {http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { problem(w, 503, "setup_required") }), []string{"not set up yet"}},
		"without its database":         {http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { problem(w, 503, wire.ProblemUnavailable) }), []string{"cannot do its work"}},
		"nobody: it hangs up":          {http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }), []string{"cut in place of an answer"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := trusted(t, c.handler)
			r.must(finds{"answer", checkup.Wrong, c.want}, finds{"tls", checkup.Good, nil}, finds{"accepted", checkup.Skipped, []string{"answer comes first"}})
		})
	}
}

func TestARevokedHostIsTold(t *testing.T) {
	report := trusted(t, &fake{revoked: true}).must(
		finds{"answer", checkup.Good, nil},
		finds{"accepted", checkup.Wrong, []string{"revoked or deleted", "--force"}},
		finds{"compression", checkup.Good, nil},
	)
	if report.OK {
		t.Error("got well")
	}
}

func TestClocks(t *testing.T) {
	for name, c := range map[string]struct {
		ahead time.Duration
		want  finds
	}{
		"as the server's":  {0, finds{"clock", checkup.Good, nil}},
		"behind by 2 min":  {2 * time.Minute, finds{"clock", checkup.Warning, []string{"2m0s behind the server's"}}},
		"ahead by an hour": {-time.Hour, finds{"clock", checkup.Wrong, []string{"1h0m0s ahead of the server's", "timedatectl"}}},
		"behind by 6 min":  {6 * time.Minute, finds{"clock", checkup.Wrong, []string{"6m0s behind"}}},
	} {
		t.Run(name, func(t *testing.T) { trusted(t, &fake{ahead: c.ahead}).must(c.want) })
	}
}

func TestAnswersThatAreChanged(t *testing.T) {
	trusted(t, &fake{plain: true}).must(finds{"compression", checkup.Wrong, []string{"says it is packed with gzip is not"}})
	trusted(t, &fake{document: func(gzip bool) string { return strings.Repeat("x", 10+10*len(map[bool]string{true: "x"}[gzip])) }}).
		must(finds{"compression", checkup.Wrong, []string{"in two forms"}})
}

// TestBeforeEnrollment: the way can be tried, and what needs an identity says so.
func TestBeforeEnrollment(t *testing.T) {
	r := trusted(t, &fake{})
	r.Server.ServerURL, r.Server.CAFile = "https://"+host+"/", r.yaml.CAFile
	r.yaml = config.Config{}
	r.NoHold = false
	report := r.must(
		finds{"config", checkup.Skipped, []string{"not enrolled yet"}},
		finds{"tls", checkup.Good, nil},
		finds{"answer", checkup.Good, nil},
		finds{"clock", checkup.Good, nil},
		finds{"accepted", checkup.Skipped, []string{"not enrolled yet"}},
		finds{"compression", checkup.Good, nil},
		finds{"hold", checkup.Skipped, []string{"ask again after enroll"}},
	)
	if !report.OK {
		t.Errorf("got not well: %+v", report)
	}
	r.Server.ServerURL = ""
	r.must(finds{"config", checkup.Wrong, []string{"restic-manager-agent enroll", "--server URL"}}, finds{"server", checkup.Skipped, nil}, finds{"dns", checkup.Skipped, nil})
}

// TestAnotherServerIsNotToldTheSecret: --server may name one that this machine is not enrolled with.
func TestAnotherServerIsNotToldTheSecret(t *testing.T) {
	seen := &secretSeen{Handler: &fake{}}
	r := trusted(t, seen)
	r.Server.ServerURL, r.Server.CAFile = "https://"+host, r.yaml.CAFile
	r.yaml.ServerURL = "https://else.example"
	r.must(finds{"answer", checkup.Good, nil}, finds{"accepted", checkup.Skipped, []string{"https://else.example"}})
	if seen.told {
		t.Error("the secret of one server was told to another")
	}
}

func TestAnOlderServerIsLookedAtAsFarAsItGoes(t *testing.T) {
	r := trusted(t, &fake{old: true})
	r.NoHold = false
	report := r.must(finds{"answer", checkup.Good, nil}, finds{"accepted", checkup.Skipped, []string{"older than this agent"}}, finds{"hold", checkup.Skipped, []string{"older than this agent"}})
	if !report.OK {
		t.Errorf("got not well: %+v", report)
	}
}
