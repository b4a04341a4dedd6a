package client

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Pin is the SHA-256 of a server's certificate (its leaf, in DER).
type Pin [sha256.Size]byte

var errPin = errors.New("the server's certificate is none of cert_pins; if the server got a new one, compare it there and put its sum into cert_pins")

// prefixes that people find before such a sum: ours, curl's and openssl's.
var prefixes = []string{"", "sha256:", "sha256//", "sha256 fingerprint="}

// ParsePin reads "sha256:" and the sum in hex (with or without colons, as openssl x509 -fingerprint -sha256
// prints it) or in base64. The prefix may be missing.
func ParsePin(s string) (Pin, error) {
	text := strings.TrimSpace(s)
	for _, prefix := range prefixes {
		if len(text) < len(prefix) || !strings.EqualFold(text[:len(prefix)], prefix) {
			continue
		}
		rest := text[len(prefix):]
		if sum, err := hex.DecodeString(strings.ReplaceAll(rest, ":", "")); err == nil && len(sum) == sha256.Size {
			return Pin(sum), nil
		}
		if sum, err := base64.StdEncoding.Strict().DecodeString(rest); err == nil && len(sum) == sha256.Size {
			return Pin(sum), nil
		}
	}
	return Pin{}, fmt.Errorf("cert_pins: %.80q: give sha256: and the sum of the server's certificate, 64 hex digits (openssl x509 -fingerprint -sha256)", s)
}

// String is the form that goes into agent.yaml.
func (p Pin) String() string { return "sha256:" + hex.EncodeToString(p[:]) }

func pinned(leaf *x509.Certificate, pins []Pin) bool {
	sum := sha256.Sum256(leaf.Raw)
	return slices.ContainsFunc(pins, func(p Pin) bool { return bytes.Equal(p[:], sum[:]) })
}
