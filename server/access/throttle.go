package access

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/netip"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"restic-manager/server/database"
	"restic-manager/server/fault"
)

// forgetFailures is how long after the last guess an account or address starts anew.
const forgetFailures = 15 * time.Minute

// limit says how many guesses are free and how the pauses after them grow: first, doubled each time, up to
// most.
type limit struct {
	free        int
	first, most time.Duration
}

// An account: 8 guesses at once, then after 15 s, 30 s and every minute, so that any minute has at most 10.
// A longer pause would let anybody lock an operator out. An address may be a whole office behind one NAT.
var (
	accountLimit = limit{free: 8, first: 15 * time.Second, most: time.Minute}
	addressLimit = limit{free: 30, first: 5 * time.Second, most: 5 * time.Minute}
)

func (l limit) pause(failures int) time.Duration {
	if failures < l.free {
		return 0
	}
	return min(l.first<<min(failures-l.free, 20), l.most)
}

type throttleRow struct {
	KeySHA256 string    `gorm:"column:key_sha256;primaryKey"`
	Failures  int       `gorm:"column:failures"`
	LastAt    time.Time `gorm:"column:last_at"`
	NextAt    time.Time `gorm:"column:next_at"`
}

func (throttleRow) TableName() string { return "login_throttle" }

// attempt is one guess by someone at an account; the account is empty for set-up codes.
type attempt struct{ account, address string }

func (a attempt) accountKey() string { return hashed("account:" + usernameKey(a.account)) }

// addressKey counts an IPv6 customer, who has 2^64 addresses, as one.
func (a attempt) addressKey() string {
	if ip, err := netip.ParseAddr(a.address); err == nil {
		ip = ip.Unmap().WithZone("")
		if ip.Is6() {
			p, _ := ip.Prefix(64)
			return hashed("address:" + p.String())
		}
		return hashed("address:" + ip.String())
	}
	return hashed("address:" + a.address)
}

// keys are in one order for everybody, so that two guesses do not wait for each other crosswise.
func (a attempt) keys() []throttleKey {
	keys := []throttleKey{{a.addressKey(), addressLimit}}
	if a.account != "" {
		keys = append(keys, throttleKey{a.accountKey(), accountLimit})
	}
	return keys
}

type throttleKey struct {
	sha256 string
	limit  limit
}

// reserve counts the guess as failed before it is looked at, so that parallel guesses do not slip through.
// A guess that must wait is refused and not counted.
func (a attempt) reserve(tx *database.Tx) error {
	for _, k := range a.keys() {
		row, err := lockThrottle(tx, k.sha256)
		if err != nil {
			return err
		}
		if wait := row.NextAt.Sub(tx.Now); wait > 0 {
			f := fault.New(fault.RateLimited, "rate_limited", "Too many attempts. Wait %d s and try again.", int(wait.Seconds())+1)
			f.RetryAfter = wait
			return f
		}
		if tx.Now.Sub(row.LastAt) >= forgetFailures {
			row.Failures = 0
		}
		row.Failures++
		row.LastAt, row.NextAt = tx.Now, tx.Now.Add(k.limit.pause(row.Failures))
		err = tx.Model(&throttleRow{}).Where("key_sha256 = ?", k.sha256).
			Updates(map[string]any{"failures": row.Failures, "last_at": row.LastAt, "next_at": row.NextAt}).Error
		if err != nil {
			return err
		}
	}
	return nil
}

// lockThrottle finds or makes the row and holds it until the transaction ends.
func lockThrottle(tx *database.Tx, key string) (throttleRow, error) {
	fresh := throttleRow{KeySHA256: key, LastAt: tx.Now, NextAt: tx.Now}
	if err := tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&fresh).Error; err != nil {
		return throttleRow{}, err
	}
	q := tx.Where("key_sha256 = ?", key)
	if tx.Postgres() {
		q = q.Clauses(clause.Locking{Strength: "UPDATE"})
	}
	var row throttleRow
	err := q.Take(&row).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return fresh, nil // expired in between
	}
	return row, err
}

// passed forgets the account's failures and takes back the address's one: a valid account of one's own must
// not wash off guesses at others.
func (a attempt) passed(tx *database.Tx) error {
	err := tx.Exec("UPDATE login_throttle SET failures = failures - 1, next_at = last_at WHERE key_sha256 = ? AND failures > 0", a.addressKey()).Error
	if err != nil || a.account == "" {
		return err
	}
	return clearThrottle(tx, a.account)
}

func clearThrottle(tx *database.Tx, account string) error {
	return tx.Exec("DELETE FROM login_throttle WHERE key_sha256 = ?", attempt{account: account}.accountKey()).Error
}

func hashed(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}
