package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/hashicorp/go-retryablehttp"
)

// Caps of back-off: short calls, and the poll loop, whose silence would show the host as offline.
const (
	BackoffCap     = time.Minute
	BackoffCapPoll = 30 * time.Second
	backoffBase    = time.Second
)

// Delay is how long to wait before the next try: full jitter over 1 s doubling to limit, attempt counting
// from 0. A Retry-After of err moves it later, within limit. The first delay is spread already, so that a
// fleet that lost its server together does not come back together.
func Delay(attempt int, limit time.Duration, err error) time.Duration {
	span := limit
	if attempt < 30 {
		span = min(limit, backoffBase<<attempt)
	}
	wait := rand.N(max(span, 1))
	if e, ok := errors.AsType[*Error](err); ok && e.RetryAfter > 0 {
		wait = min(e.RetryAfter+wait, limit)
	}
	return wait
}

// newRetrying is the one use of retryablehttp: its own back-off has no jitter and obeys any Retry-After, and
// its logger would write addresses.
func newRetrying(short *http.Client, tries int, delay func(int, time.Duration, error) time.Duration) *retryablehttp.Client {
	if delay == nil {
		delay = Delay
	}
	return &retryablehttp.Client{
		HTTPClient:   short,
		RetryMax:     tries - 1,
		CheckRetry:   checkRetry,
		ErrorHandler: retryablehttp.PassthroughErrorHandler,
		Backoff: func(_, _ time.Duration, attempt int, r *http.Response) time.Duration {
			if r == nil {
				return delay(attempt, BackoffCap, nil)
			}
			return delay(attempt, BackoffCap, &Error{RetryAfter: retryAfter(r)})
		},
	}
}

// checkRetry decides after each try. It is asked twice for a reply: before the body is read, when only the
// transport's error counts, and after.
func checkRetry(ctx context.Context, _ *http.Response, err error) (bool, error) {
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	if err == nil {
		return false, nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return !e.Final, nil
	}
	return !Untrusted(err), nil
}
