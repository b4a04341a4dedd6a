package api

import (
	"net/http"
	"time"

	"restic-manager/server/fault"
)

// The cookie's names. With the prefix, browsers take it only over HTTPS, for this host and all of its paths
// (RFC 6265bis, section 4.1.3.2).
const (
	cookieName         = "__Host-restic_manager"
	cookieNameInsecure = "restic_manager"
)

// sessionCookie carries a session's secret; without one it takes the cookie away.
func (x *exchange) sessionCookie(secret string, expires time.Time) http.Cookie {
	c := http.Cookie{
		Name: x.cookieName(), Value: secret, Path: "/", Secure: x.secure, HttpOnly: true,
		SameSite: http.SameSiteStrictMode, Expires: expires,
	}
	if secret == "" {
		c.MaxAge, c.Expires = -1, time.Time{}
	}
	return c
}

func (x *exchange) cookieName() string {
	if x.secure {
		return cookieName
	}
	return cookieNameInsecure
}

// checkTransport refuses to take a password over a network in the clear. A proxy that is not known could be
// carrying the whole world to the loopback address, so its word of a client counts as another machine.
func (x *exchange) checkTransport() error {
	if x.secure || x.server.o.InsecureHTTP || x.address.IsLoopback() && x.direct {
		return nil
	}
	return fault.New(fault.Forbidden, "https_required",
		"Signing in over plain HTTP is only possible on the server's own machine. Use https://; behind a proxy that ends TLS, "+
			"name it in --trusted-proxies or set --public-url to its https:// address; or allow plain HTTP with --insecure-http.")
}
