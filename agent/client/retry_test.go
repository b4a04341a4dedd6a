package client

import (
	"net/http"
	"testing"
	"time"
)

func TestDelayIsFullJitterWithinTheCap(t *testing.T) {
	for attempt, span := range map[int]time.Duration{0: time.Second, 1: 2 * time.Second, 3: 8 * time.Second, 5: 32 * time.Second, 6: time.Minute, 40: time.Minute, 1000: time.Minute} {
		var least, most time.Duration = time.Hour, 0
		for range 2000 {
			d := Delay(attempt, BackoffCap, nil)
			least, most = min(least, d), max(most, d)
		}
		if least < 0 || most >= span {
			t.Errorf("attempt %d: got %s to %s, want within [0, %s)", attempt, least, most, span)
		}
		if least > span/10 || most < span*9/10 {
			t.Errorf("attempt %d: got %s to %s of %s: not spread", attempt, least, most, span)
		}
	}
}

func TestRetryAfterIsHonouredWithinTheCap(t *testing.T) {
	for _, tc := range []struct{ after, limit, least, most time.Duration }{
		{5 * time.Second, BackoffCap, 5 * time.Second, 6 * time.Second},
		{time.Hour, BackoffCap, BackoffCap, BackoffCap},
		{time.Hour, BackoffCapPoll, BackoffCapPoll, BackoffCapPoll},
	} {
		for range 500 {
			if d := Delay(0, tc.limit, &Error{RetryAfter: tc.after}); d < tc.least || d > tc.most {
				t.Fatalf("Retry-After %s, cap %s: got %s, want %s to %s", tc.after, tc.limit, d, tc.least, tc.most)
			}
		}
	}
}

func TestRetryAfterIsReadAsSecondsOrDate(t *testing.T) {
	in := time.Now().Add(90 * time.Second).UTC().Format(http.TimeFormat)
	for value, want := range map[string][2]time.Duration{
		"":                              {0, 0},
		"120":                           {2 * time.Minute, 2 * time.Minute},
		"-5":                            {0, 0},
		"99999999999999999999":          {0, 0},
		"soon":                          {0, 0},
		in:                              {80 * time.Second, 90 * time.Second},
		"Mon, 02 Jan 2006 15:04:05 GMT": {0, 0},
	} {
		got := retryAfter(&http.Response{Header: http.Header{"Retry-After": {value}}})
		if got < want[0] || got > want[1] {
			t.Errorf("%q: got %s, want %s to %s", value, got, want[0], want[1])
		}
	}
}
