package access

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"fmt"
	"strings"
	"time"

	"restic-manager/server/database"
	"restic-manager/server/fault"
)

// codeAlphabet has no letters that are mistaken for others (Crockford's base 32).
const codeAlphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

type setupRow struct {
	CodeSHA256 string    `gorm:"column:code_sha256;primaryKey"`
	CreatedAt  time.Time `gorm:"column:created_at;autoCreateTime:false"`
	ExpiresAt  time.Time `gorm:"column:expires_at"`
}

func (setupRow) TableName() string { return "setup_codes" }

// SetupNeeded reports whether there is no operator yet. Once there is one it costs no query.
func (a *Access) SetupNeeded(ctx context.Context) (bool, error) {
	if a.hasOperator.Load() {
		return false, nil
	}
	var n int64
	if err := a.db.Read(ctx).Model(&operatorRow{}).Limit(1).Count(&n).Error; err != nil {
		return false, fmt.Errorf("look for operators: %w", err)
	}
	a.hasOperator.Store(n > 0)
	return n == 0, nil
}

// EnsureAdmin makes the first administrator; where there is an operator already it does nothing and looks
// at neither name nor password.
func (a *Access) EnsureAdmin(ctx context.Context, username, password string) error {
	if needed, err := a.SetupNeeded(ctx); err != nil || !needed {
		return err
	}
	hash, err := a.newPassword(ctx, username, password)
	if err != nil {
		return err
	}
	return a.db.Write(ctx, func(tx *database.Tx) error {
		first, err := firstOperator(tx)
		if err != nil || !first {
			return err
		}
		_, err = insertOperator(tx, database.System, username, Administrator, hash)
		return err
	})
}

// firstOperator reports, under the lock, whether there is none, and voids all set-up codes: whoever asks is
// about to make one.
func firstOperator(tx *database.Tx) (bool, error) {
	if err := lockOperators(tx); err != nil {
		return false, err
	}
	var n int64
	if err := tx.Model(&operatorRow{}).Count(&n).Error; err != nil {
		return false, fmt.Errorf("look for operators: %w", err)
	}
	if err := tx.Exec("DELETE FROM setup_codes").Error; err != nil {
		return false, fmt.Errorf("void the set-up codes: %w", err)
	}
	return n == 0, nil
}

// SetupCode makes a new one-time code while there is no operator; empty once there is one. The codes that
// other replicas printed stay good for their 15 minutes.
func (a *Access) SetupCode(ctx context.Context) (code string, expires time.Time, err error) {
	if needed, err := a.SetupNeeded(ctx); err != nil || !needed {
		return "", time.Time{}, err
	}
	code = newSetupCode()
	err = a.db.Write(ctx, func(tx *database.Tx) error {
		expires = tx.Now.Add(SetupCodeLifetime)
		return tx.Create(&setupRow{CodeSHA256: hashed(setupKey(code)), CreatedAt: tx.Now, ExpiresAt: expires}).Error
	})
	if err != nil {
		return "", time.Time{}, fmt.Errorf("make a set-up code: %w", err)
	}
	return code, expires, nil
}

// newSetupCode has 80 random bits: XXXX-XXXX-XXXX-XXXX.
func newSetupCode() string {
	b := make([]byte, 10)
	rand.Read(b)
	s := base32.NewEncoding(codeAlphabet).EncodeToString(b)
	return s[:4] + "-" + s[4:8] + "-" + s[8:12] + "-" + s[12:]
}

// setupKey is the code without what people add or mistake while typing.
func setupKey(code string) string {
	return strings.NewReplacer("-", "", " ", "", "O", "0", "I", "1", "L", "1").Replace(strings.ToUpper(strings.TrimSpace(code)))
}

// Setup makes the first administrator by a printed code and signs them in. The code is used up with it; of
// many at once one wins.
func (a *Access) Setup(ctx context.Context, code, username, password, address, userAgent string) (secret string, s Session, err error) {
	guess := attempt{address: address}
	if err := a.reserve(ctx, guess); err != nil {
		return "", Session{}, err
	}
	if err := a.checkCode(ctx, code); err != nil {
		return "", Session{}, err
	}
	hash, err := a.newPassword(ctx, username, password)
	if err != nil {
		return "", Session{}, err
	}
	err = a.db.Write(ctx, func(tx *database.Tx) error {
		if err := lockOperators(tx); err != nil {
			return err
		}
		r := tx.Where("code_sha256 = ? AND expires_at > ?", hashed(setupKey(code)), tx.Now).Delete(&setupRow{})
		if r.Error != nil {
			return fmt.Errorf("use the set-up code: %w", r.Error)
		}
		first, err := firstOperator(tx)
		if err != nil {
			return err
		}
		if !first {
			return errSetupDone()
		}
		if r.RowsAffected == 0 {
			return errCode()
		}
		if err := guess.passed(tx); err != nil {
			return err
		}
		actor := database.Actor{Kind: "console", Name: "set-up code", Address: address}
		op, err := insertOperator(tx, actor, username, Administrator, hash)
		if err != nil {
			return err
		}
		if err := tx.Model(&operatorRow{}).Where("id = ?", op.ID).Update("last_login_at", tx.Now).Error; err != nil {
			return fmt.Errorf("note the sign-in: %w", err)
		}
		secret, s, err = startSession(tx, op, address, userAgent)
		return err
	})
	if err == nil {
		a.hasOperator.Store(true)
	}
	return secret, s, err
}

// checkCode spares the work on a password when the code is wrong; the transaction looks again.
func (a *Access) checkCode(ctx context.Context, code string) error {
	if needed, err := a.SetupNeeded(ctx); err != nil {
		return err
	} else if !needed {
		return errSetupDone()
	}
	now, err := a.db.Now(ctx)
	if err != nil {
		return err
	}
	var n int64
	err = a.db.Read(ctx).Model(&setupRow{}).Where("code_sha256 = ? AND expires_at > ?", hashed(setupKey(code)), now).Count(&n).Error
	if err != nil {
		return fmt.Errorf("look for the set-up code: %w", err)
	}
	if n == 0 {
		return errCode()
	}
	return nil
}

func errSetupDone() error {
	return fault.New(fault.Conflict, "setup_done", "The server is set up already. Sign in.")
}

func errCode() error {
	return fault.New(fault.Forbidden, "bad_setup_code",
		"The set-up code is wrong or older than 15 minutes. The server prints a new one each time it starts.")
}
