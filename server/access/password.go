package access

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/unicode/norm"

	"restic-manager/server/fault"
)

// cost is what one password costs.
type cost struct {
	memory, time uint32 // KiB, passes
	threads      uint8
}

// owasp is the second argon2id setting of OWASP's Password Storage Cheat Sheet. Stored hashes carry their own
// figures, so raising these leaves old ones good.
var owasp = cost{memory: 19 * 1024, time: 2, threads: 1}

const (
	argonKey  = 32
	argonSalt = 16
)

// hasher bounds how many hashes are computed and how many wait: without a bound, a flood of sign-ins would
// eat the memory.
type hasher struct {
	running chan struct{}
	waiting chan struct{}
	cost    cost
	dummy   phc // stands in for unknown users
}

func newHasher(parallel int, c cost) *hasher {
	return &hasher{
		running: make(chan struct{}, parallel), waiting: make(chan struct{}, parallel+64),
		cost: c, dummy: phc{cost: c, salt: make([]byte, argonSalt), key: make([]byte, argonKey)},
	}
}

// hash makes the PHC string of a password under a new salt.
func (h *hasher) hash(ctx context.Context, password string) (string, error) {
	p := phc{cost: h.cost, salt: make([]byte, argonSalt), key: make([]byte, argonKey)}
	rand.Read(p.salt)
	key, err := h.derive(ctx, password, p)
	if err != nil {
		return "", err
	}
	p.key = key
	return p.String(), nil
}

// verify reports whether the password is the hash's. An empty hash costs the same and is never right.
func (h *hasher) verify(ctx context.Context, hash, password string) (bool, error) {
	p, known := h.dummy, hash != ""
	if known {
		var err error
		if p, err = parseHash(hash); err != nil {
			return false, err
		}
	}
	key, err := h.derive(ctx, password, p)
	if err != nil {
		return false, err
	}
	return subtle.ConstantTimeCompare(key, p.key) == 1 && known, nil
}

// derive computes the key of a password with the salt, the cost and the length of p.
func (h *hasher) derive(ctx context.Context, password string, p phc) ([]byte, error) {
	select {
	case h.waiting <- struct{}{}:
		defer func() { <-h.waiting }()
	default:
		f := fault.New(fault.Unavailable, "busy", "Too many people sign in at once. Try again in a few seconds.")
		f.RetryAfter = 2 * time.Second
		return nil, f
	}
	select {
	case h.running <- struct{}{}:
		defer func() { <-h.running }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return argon2.IDKey(normalize(password), p.salt, p.time, p.memory, p.threads, uint32(len(p.key))), nil
}

// normalize gives one password one form, however a keyboard composes its accents (Unicode NFC).
func normalize(password string) []byte { return norm.NFC.Bytes([]byte(password)) }

type phc struct {
	cost
	salt, key []byte
}

// String is the PHC string format:
// https://github.com/P-H-C/phc-string-format/blob/master/phc-sf-spec.md
func (p phc) String() string {
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, p.memory, p.time, p.threads,
		b64.EncodeToString(p.salt), b64.EncodeToString(p.key))
}

var errHash = errors.New("the stored password hash is damaged; set a new password with restic-manager user reset-password")

func parseHash(s string) (phc, error) {
	parts := strings.Split(s, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return phc{}, errHash
	}
	var p phc
	if n, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &p.memory, &p.time, &p.threads); n != 3 || err != nil {
		return phc{}, errHash
	}
	var err error
	if p.salt, err = base64.RawStdEncoding.DecodeString(parts[4]); err != nil {
		return phc{}, errHash
	}
	if p.key, err = base64.RawStdEncoding.DecodeString(parts[5]); err != nil || len(p.key) < 16 {
		return phc{}, errHash
	}
	if p.memory < 8 || p.memory > 1<<20 || p.time < 1 || p.time > 16 || p.threads < 1 || len(p.salt) < 8 {
		return phc{}, errHash
	}
	return p, nil
}
