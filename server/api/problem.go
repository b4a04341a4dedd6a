package api

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/validation"
	"github.com/labstack/echo/v4"

	"restic-manager/server/database"
	"restic-manager/server/fault"
	"restic-manager/shared/wire"
)

// Problem is every error's body (RFC 9457). It never repeats what was sent: that may be a password.
type Problem struct {
	wire.Problem
	Errors []FieldError `json:"errors,omitempty" doc:"What is wrong with single fields"`
}

// FieldError is what is wrong with one field.
type FieldError struct {
	Location string `json:"location" doc:"Where: body.name, query.limit"`
	Message  string `json:"message"`
}

// GetStatus serves huma.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType serves huma.
func (p *Problem) ContentType(string) string { return wire.ProblemContentType }

var statuses = map[fault.Kind]int{
	fault.Internal: http.StatusInternalServerError, fault.Invalid: http.StatusUnprocessableEntity,
	fault.Malformed: http.StatusBadRequest, fault.Unauthorized: http.StatusUnauthorized, fault.Forbidden: http.StatusForbidden,
	fault.NotFound: http.StatusNotFound, fault.Conflict: http.StatusConflict, fault.Gone: http.StatusGone,
	fault.TooLarge: http.StatusRequestEntityTooLarge, fault.Busy: http.StatusLocked, fault.UpgradeRequired: http.StatusUpgradeRequired,
	fault.RateLimited: http.StatusTooManyRequests, fault.Unavailable: http.StatusServiceUnavailable, fault.Full: http.StatusInsufficientStorage,
}

// Errors of HTTP itself, beside those of the domain.
var (
	errUnsupported = &statusFault{http.StatusUnsupportedMediaType, fault.New(fault.Malformed, "unsupported_media_type",
		"Send the body as JSON, uncompressed, with Content-Type: application/json.")}
	errEncoding = &statusFault{http.StatusUnsupportedMediaType, fault.New(fault.Malformed, "unsupported_encoding",
		"Send the body as it is, or with Content-Encoding gzip or zstd.")}
	errSlow = &statusFault{http.StatusRequestTimeout, fault.New(fault.Malformed, "too_slow",
		"The body did not arrive in time. Send it again.")}
	errMethod   = &statusFault{http.StatusMethodNotAllowed, fault.New(fault.Malformed, "method_not_allowed", "This path has no such method; the Allow header names those it has.")}
	errPanicked = errors.New("a panic, logged with its stack")
)

func errNoRoute() error {
	return fault.New(fault.NotFound, "not_found", "There is nothing at this path. GET /api/openapi.json lists what there is.")
}

func errTooLarge(limit int64) error {
	return fault.New(fault.TooLarge, wire.ProblemTooLarge, "The body is larger than %d KiB (after inflation). Send less at a time.", limit>>10)
}

func errStopping() error {
	return &fault.Error{Kind: fault.Unavailable, Code: wire.ProblemUnavailable, Message: "The server is stopping. Ask again.", RetryAfter: soon(3)}
}

func errOutage() *fault.Error {
	return &fault.Error{Kind: fault.Unavailable, Code: wire.ProblemUnavailable, Message: "The server cannot reach its database just now. Try again.", RetryAfter: soon(10)}
}

// soon is a random whole number of seconds up to most, so that a herd does not come back as one.
func soon(most int) time.Duration { return time.Duration(1+rand.IntN(most)) * time.Second }

// statusFault is a fault with a status of its own.
type statusFault struct {
	status int
	fault  *fault.Error
}

// Error is the fault's message.
func (e *statusFault) Error() string { return e.fault.Message }

// Unwrap is the fault.
func (e *statusFault) Unwrap() error { return e.fault }

// problem is what the caller is told of an error. An error that is not a fault is told as its request id; the
// chain goes to the log, here and nowhere else.
func (s *Server) problem(x *exchange, err error) (*Problem, *fault.Error) {
	f := fault.As(err)
	status := 0
	var own *statusFault
	switch {
	case errors.As(err, &own):
		status = own.status
	case f != nil && f.Kind != fault.Internal:
		status = statuses[f.Kind]
	case errors.Is(err, context.Canceled):
		// The client went away: nobody reads this.
		f = &fault.Error{Kind: fault.Unavailable, Code: wire.ProblemUnavailable, Message: "The request was given up.", RetryAfter: soon(3)}
	case database.IsOutage(err):
		s.outage.report(s.log, x, err)
		f = errOutage()
	default:
		s.log.Error("a request failed", "request_id", x.id, "route", x.pattern(), "error", err)
		f = fault.New(fault.Internal, "internal_error", "Something went wrong in the server. Its log has the reason under this request id.")
	}
	if status == 0 {
		status = statuses[f.Kind]
	}
	return &Problem{Problem: wire.Problem{
		Title: http.StatusText(status), Status: status, Detail: f.Message, Code: f.Code, RequestID: x.id,
		MinProtocolVersion: f.MinProtocolVersion, HelpURL: f.HelpURL, BootNumber: f.BootNumber, NextLine: f.NextLine,
	}}, f
}

func (x *exchange) pattern() string {
	if x.route == nil {
		return ""
	}
	return x.route.Method + " " + x.route.Path
}

// headers that belong to a fault.
func (x *exchange) faultHeaders(status int, f *fault.Error) {
	h := x.Header()
	if f.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(f.RetryAfter.Seconds()))))
	}
	if status == http.StatusUnauthorized && x.route != nil && !x.route.Permission.signedIn() {
		h.Set("WWW-Authenticate", "Bearer") // RFC 9110, section 15.5.2
	}
}

// write answers with an error, unless an answer is on its way already.
func (s *Server) write(x *exchange, err error) {
	p, f := s.problem(x, err)
	if x.code != 0 {
		return
	}
	x.faultHeaders(p.Status, f)
	h := x.Header()
	h.Set("Content-Type", wire.ProblemContentType)
	h.Del("Content-Encoding")
	h.Del("Content-Disposition")
	body, err := json.Marshal(p)
	if err != nil {
		panic(err) // strings and numbers
	}
	x.WriteHeader(p.Status)
	_, _ = x.Write(append(body, '\n')) // a client that went away is no news
}

// fail is echo's error handler.
func (s *Server) fail(err error, c echo.Context) {
	x := exchangeOf(c.Request().Context())
	s.write(x, err)
}

// humaError turns what huma found or a handler returned into a Problem. huma has one such hook for the whole
// program, so it looks the server up in the request.
func humaError(ctx huma.Context, status int, msg string, errs ...error) huma.StatusError {
	x := exchangeOf(ctx.Context())
	if status == http.StatusInternalServerError && len(errs) == 1 {
		p, f := x.server.problem(x, errs[0])
		x.faultHeaders(p.Status, f)
		return p
	}
	return validationProblem(x, status, msg, errs)
}

// validationProblem names the fields that are wrong and what they should be, never their values.
func validationProblem(x *exchange, status int, msg string, errs []error) *Problem {
	p := &Problem{Problem: wire.Problem{Title: http.StatusText(status), Status: status, Code: wire.ProblemInvalid, RequestID: x.id}}
	var words []string
	for _, err := range errs {
		var d huma.ErrorDetailer
		e := FieldError{Location: "body", Message: "has the wrong form"}
		if errors.As(err, &d) {
			e.Location = d.ErrorDetail().Location
			if m := d.ErrorDetail().Message; !strings.HasPrefix(m, "json:") {
				e.Message = m
			}
		}
		p.Errors = append(p.Errors, e)
		words = append(words, e.Location+": "+e.Message)
	}
	p.Detail = "Correct and send again: " + strings.Join(words, "; ") + "."
	if len(words) == 0 {
		p.Detail = "Correct and send again: " + msg + "."
	}
	return p
}

func init() {
	huma.NewError = func(status int, msg string, _ ...error) huma.StatusError {
		return &Problem{Problem: wire.Problem{Title: http.StatusText(status), Status: status, Detail: msg, Code: wire.ProblemInvalid}}
	}
	huma.NewErrorWithContext = humaError
	huma.ValidateStrictCasing = true
	huma.DefaultArrayNullable = false // see notNull
	// All bounds are whole numbers; huma would write the large ones as 2.592e+06.
	validation.MsgExpectedMinimumNumber, validation.MsgExpectedMaximumNumber = "give %.0f or more", "give %.0f or less"
}
