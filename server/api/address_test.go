package api

import (
	"crypto/tls"
	"net/http/httptest"
	"net/netip"
	"testing"
)

func TestClientAddressOnlyFromTrustedProxies(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for name, c := range map[string]struct {
		peer    string
		headers map[string][]string
		tls     bool
		want    string
		secure  bool
	}{
		"no proxy":                       {peer: "192.0.2.7:1", want: "192.0.2.7"},
		"no proxy, TLS":                  {peer: "192.0.2.7:1", tls: true, want: "192.0.2.7", secure: true},
		"mapped":                         {peer: "[::ffff:192.0.2.7]:1", want: "192.0.2.7"},
		"zone":                           {peer: "[fe80::1%eth0]:1", want: "fe80::1"},
		"stranger writes X-Forwarded":    {peer: "192.0.2.7:1", headers: map[string][]string{"X-Forwarded-For": {"127.0.0.1"}, "X-Forwarded-Proto": {"https"}}, want: "192.0.2.7"},
		"stranger writes X-Real-IP":      {peer: "192.0.2.7:1", headers: map[string][]string{"X-Real-Ip": {"127.0.0.1"}}, want: "192.0.2.7"},
		"stranger writes Forwarded":      {peer: "192.0.2.7:1", headers: map[string][]string{"Forwarded": {"for=127.0.0.1;proto=https"}}, want: "192.0.2.7"},
		"proxy":                          {peer: "10.1.1.1:1", headers: map[string][]string{"X-Forwarded-For": {"198.51.100.4"}, "X-Forwarded-Proto": {"https"}}, want: "198.51.100.4", secure: true},
		"proxy, plain client":            {peer: "10.1.1.1:1", headers: map[string][]string{"X-Forwarded-For": {"198.51.100.4"}, "X-Forwarded-Proto": {"http"}}, want: "198.51.100.4"},
		"client lies before the proxy":   {peer: "10.1.1.1:1", headers: map[string][]string{"X-Forwarded-For": {"127.0.0.1, 198.51.100.4"}}, want: "198.51.100.4"},
		"client lies in its own header":  {peer: "10.1.1.1:1", headers: map[string][]string{"X-Forwarded-For": {"127.0.0.1", "198.51.100.4"}}, want: "198.51.100.4"},
		"client lies about the scheme":   {peer: "10.1.1.1:1", headers: map[string][]string{"X-Forwarded-For": {"198.51.100.4"}, "X-Forwarded-Proto": {"https, http"}}, want: "198.51.100.4"},
		"two proxies":                    {peer: "10.1.1.1:1", headers: map[string][]string{"X-Forwarded-For": {"198.51.100.4, 10.2.2.2"}}, want: "198.51.100.4"},
		"proxies all the way":            {peer: "10.1.1.1:1", headers: map[string][]string{"X-Forwarded-For": {"10.3.3.3, 10.2.2.2"}}, want: "10.3.3.3"},
		"proxy, nonsense":                {peer: "10.1.1.1:1", headers: map[string][]string{"X-Forwarded-For": {"198.51.100.4, unknown"}}, want: "10.1.1.1"},
		"proxy, nonsense before a proxy": {peer: "10.1.1.1:1", headers: map[string][]string{"X-Forwarded-For": {"<script>, 10.2.2.2"}}, want: "10.2.2.2"},
		"IPv6 through a proxy":           {peer: "[fd00::1]:1", headers: map[string][]string{"X-Forwarded-For": {"2001:db8::5"}}, want: "2001:db8::5"},
		"proxy says nothing":             {peer: "10.1.1.1:1", want: "10.1.1.1"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &Server{o: Options{TrustedProxies: trusted}}
			r := httptest.NewRequest("GET", "/", nil)
			r.RemoteAddr = c.peer
			for k, v := range c.headers {
				r.Header[k] = v
			}
			if c.tls {
				r.TLS = &tls.ConnectionState{}
			}
			x := &exchange{}
			s.readClient(x, r)
			if got := x.addressText(); got != c.want || x.secure != c.secure {
				t.Errorf("got %s, secure %v; want %s, %v", got, x.secure, c.want, c.secure)
			}
		})
	}
}

func TestPasswordsAreNotTakenInTheClear(t *testing.T) {
	for name, c := range map[string]struct {
		peer, forwarded string
		insecure, https bool
		want            bool
	}{
		"loopback":                     {peer: "127.0.0.1:1", want: true},
		"loopback, IPv6":               {peer: "[::1]:1", want: true},
		"another machine":              {peer: "192.0.2.7:1"},
		"another machine, allowed":     {peer: "192.0.2.7:1", insecure: true, want: true},
		"another machine, HTTPS":       {peer: "192.0.2.7:1", https: true, want: true},
		"unknown proxy on loopback":    {peer: "127.0.0.1:1", forwarded: "192.0.2.7"},
		"known proxy for another":      {peer: "10.0.0.1:1", forwarded: "192.0.2.7"},
		"known proxy claims localhost": {peer: "10.0.0.1:1", forwarded: "127.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &Server{o: Options{InsecureHTTP: c.insecure, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}, publicHTTPS: c.https}
			r := httptest.NewRequest("POST", "/api/auth/login", nil)
			r.RemoteAddr = c.peer
			if c.forwarded != "" {
				r.Header.Set("X-Forwarded-For", c.forwarded)
			}
			x := &exchange{server: s}
			s.readClient(x, r)
			if got := x.checkTransport() == nil; got != c.want {
				t.Errorf("taken: %v, want %v", got, c.want)
			}
		})
	}
}

func TestSessionCookie(t *testing.T) {
	for _, c := range []struct {
		secure bool
		want   string
	}{
		{true, "__Host-restic_manager=s; Path=/; HttpOnly; Secure; SameSite=Strict"},
		{false, "restic_manager=s; Path=/; HttpOnly; SameSite=Strict"},
	} {
		x := &exchange{secure: c.secure}
		cookie := x.sessionCookie("s", x.start)
		if got := cookie.String(); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}
