package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"restic-manager/shared/wire"
)

// Error is a call that did not succeed. It unwraps to a *wire.Problem where the server said so, else to what
// went wrong on the way. Its text holds no address and no secret.
type Error struct {
	Call   string // as in "accept"
	Status int    // HTTP status, 0: no reply
	// RetryAfter is the server's or a proxy's wish, 0: none. Not bounded: see Delay.
	RetryAfter time.Duration
	// Final says that asking the same again soon is of no use.
	Final bool
	Err   error
}

// Error says which call failed and why.
func (e *Error) Error() string { return e.Call + ": " + e.Err.Error() }

// Unwrap gives the *wire.Problem or the cause.
func (e *Error) Unwrap() error { return e.Err }

// Code is the code of the server's problem; empty where the server did not speak.
func Code(err error) string {
	if p, ok := errors.AsType[*wire.Problem](err); ok {
		return p.Code
	}
	return ""
}

// Final reports whether asking the same again soon is of no use. An error of another kind is not final.
func Final(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Final
}

// Untrusted reports whether the server could not prove who it is: a wrong pin, an unknown or expired
// certificate. No secret was sent.
func Untrusted(err error) bool {
	if errors.Is(err, errPin) {
		return true
	}
	_, verification := errors.AsType[*tls.CertificateVerificationError](err)
	_, authority := errors.AsType[x509.UnknownAuthorityError](err)
	_, hostname := errors.AsType[x509.HostnameError](err)
	_, invalid := errors.AsType[x509.CertificateInvalidError](err)
	return verification || authority || hostname || invalid
}

// failure turns what came of a call into its error: nil, or an *Error.
func (k call) failure(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if cause := ctx.Err(); cause != nil {
		return &Error{Call: k.name, Err: cause}
	}
	cause := bare(err)
	if Untrusted(cause) {
		return &Error{Call: k.name, Final: true, Err: fmt.Errorf("the server's certificate is not trusted: %w", cause)}
	}
	return &Error{Call: k.name, Err: fmt.Errorf("no reply from the server: %w", cause)}
}

// bare drops the address from an error of net/http: a query holds leases.
func bare(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// finalProblem tells which of the server's own errors stay as they are when asked again.
func finalProblem(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	}
	return status < 500
}

// finalBare tells the same of errors that are not in the server's form. Those that a proxy could have made
// while the server is away are tried again.
func finalBare(status int) bool {
	switch status {
	case http.StatusUnauthorized, http.StatusConflict, http.StatusGone, http.StatusRequestEntityTooLarge,
		http.StatusRequestedRangeNotSatisfiable, http.StatusUnprocessableEntity, http.StatusLocked, http.StatusUpgradeRequired:
		return true
	}
	return false
}

// retryAfter reads the header in seconds or as a date (RFC 9110, 10.2.3); 0 where it says nothing.
func retryAfter(r *http.Response) time.Duration {
	v := r.Header.Get("Retry-After")
	if n, err := strconv.ParseUint(v, 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	if at, err := http.ParseTime(v); err == nil {
		return max(time.Until(at), 0)
	}
	return 0
}
