package wire

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"time"
)

// MaxHold is the longest hold that can be asked for, of a poll too.
const MaxHold = 60 * time.Second

// MaxHoldParts bounds in how many parts a held answer may come.
const MaxHoldParts = 60

// HoldQuery asks the server to hold a request as it holds a poll. Nothing comes of it: it tries the way between the two.
type HoldQuery struct {
	Wait time.Duration // whole seconds, at most MaxHold
	// Parts makes the answer begin at once and come in so many parts, spread over Wait; 0: it comes whole, at the end.
	Parts int
}

// Encode writes the query.
func (q HoldQuery) Encode() string {
	v := url.Values{"seconds": {strconv.Itoa(int(q.Wait / time.Second))}}
	if q.Parts > 0 {
		v.Set("parts", strconv.Itoa(q.Parts))
	}
	return v.Encode()
}

// ParseHoldQuery reads the query of a hold. Errors name the parameter.
func ParseHoldQuery(v url.Values) (HoldQuery, error) {
	var bad error
	number := func(name string, most int) int {
		s := v.Get(name)
		if s == "" {
			return 0
		}
		n, err := strconv.Atoi(s)
		if err != nil || n < 0 || n > most {
			bad = errors.Join(bad, fmt.Errorf("%s: give a whole number from 0 to %d", name, most))
			return 0
		}
		return n
	}
	q := HoldQuery{Wait: time.Duration(number("seconds", int(MaxHold/time.Second))) * time.Second, Parts: number("parts", MaxHoldParts)}
	return q, bad
}

// HoldReply answers a hold. In parts, each is one of these and a newline.
type HoldReply struct {
	// ServerTime is the server's clock when it sent this.
	ServerTime time.Time `json:"server_time"`
	// Part counts from 1; 0: the answer came whole.
	Part int `json:"part,omitempty"`
}
