// Package fault holds the coded errors of the domain: what went wrong in a way a person or an agent can
// act on. Package api maps them to HTTP in one place; every other error is an internal one, told as a
// request id only.
package fault

import (
	"errors"
	"fmt"
	"time"
)

// Kind groups faults by what they mean to the caller.
type Kind int

// The kinds; api gives each its HTTP status.
const (
	Internal        Kind = iota // 500: the zero value, for errors that are not faults
	Invalid                     // 422: the input is wrong; the message says what to give
	Malformed                   // 400: the input cannot be read at all
	Unauthorized                // 401
	Forbidden                   // 403
	NotFound                    // 404
	Conflict                    // 409
	Gone                        // 410
	TooLarge                    // 413
	Busy                        // 423: held by another; try again
	UpgradeRequired             // 426
	RateLimited                 // 429
	Unavailable                 // 503: try again
	Full                        // 507
)

// Error is one coded fault. Message is for people and says what to do; it never holds a secret.
type Error struct {
	Kind    Kind
	Code    string // stable, snake_case
	Message string
	// RetryAfter, when above 0, tells when to try again.
	RetryAfter time.Duration
	// The extensions of single codes, as in wire.Problem; zero values are left out.
	MinProtocolVersion int
	HelpURL            string
	BootNumber         int64
	NextLine           int64
}

// Error is the message.
func (e *Error) Error() string { return e.Message }

// New makes a fault.
func New(kind Kind, code, format string, args ...any) *Error {
	return &Error{Kind: kind, Code: code, Message: fmt.Sprintf(format, args...)}
}

// Invalidf is input that was understood and is wrong.
func Invalidf(format string, args ...any) *Error { return New(Invalid, "invalid", format, args...) }

// NotFoundf is a thing that does not exist, or that the caller may not know of.
func NotFoundf(format string, args ...any) *Error { return New(NotFound, "not_found", format, args...) }

// As finds the fault in an error's chain; nil when there is none.
func As(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return nil
}

// Is reports whether the error's chain holds a fault of that code.
func Is(err error, code string) bool {
	e := As(err)
	return e != nil && e.Code == code
}
