package fleet

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ticketPrefix is what a ticket of the server's doctor begins with.
const ticketPrefix = "rmd_"

// ticketLasts is how far a ticket's time may be from the server's, either way.
const ticketLasts = 5 * time.Minute

// Ticket lets the doctor on the server's console have a request held by the server it looks at, and nothing else. Who
// has the encryption key can make one: nothing is written for it, and a server that does not take it is another one.
func Ticket(key []byte, now time.Time) (string, error) {
	at := strconv.FormatInt(now.Unix(), 10)
	sum, err := ticketSum(key, at)
	if err != nil {
		return "", err
	}
	return ticketPrefix + at + "." + hex.EncodeToString(sum), nil
}

// TakesTicket reports whether a bearer is a ticket of now, made with this server's key.
func (s *Store) TakesTicket(bearer string, now time.Time) bool {
	text, ok := strings.CutPrefix(bearer, ticketPrefix)
	at, given, split := strings.Cut(text, ".")
	if !ok || !split {
		return false
	}
	seconds, err := strconv.ParseInt(at, 10, 64)
	if err != nil || now.Sub(time.Unix(seconds, 0)).Abs() > ticketLasts {
		return false
	}
	sum, err := hex.DecodeString(given)
	if err != nil {
		return false
	}
	want, err := ticketSum(s.key, at)
	return err == nil && hmac.Equal(sum, want)
}

func ticketSum(key []byte, at string) ([]byte, error) {
	if len(key) != KeySize {
		return nil, fmt.Errorf("the encryption key has %d bytes; give %d", len(key), KeySize)
	}
	derived, err := hkdf.Key(sha256.New, key, nil, "restic-manager doctor 1", KeySize)
	if err != nil {
		return nil, err
	}
	m := hmac.New(sha256.New, derived)
	m.Write([]byte(at))
	return m.Sum(nil), nil
}
