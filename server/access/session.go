package access

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"restic-manager/server/database"
	"restic-manager/server/fault"
	"restic-manager/shared/wire"
)

// Principal is who makes a request: a signed-in person, or a program with an API key, whose id and name then stand in
// OperatorID and Username.
type Principal struct {
	OperatorID string
	Username   string
	Role       Role
	SessionID  string // empty for a key
	Key        bool
	Scopes     ScopeSet // of a key
}

// Actor is the principal in the audit trail, calling from an address.
func (p Principal) Actor(address string) database.Actor {
	if p.Key {
		return database.Actor{Kind: "api_key", ID: p.OperatorID, Name: p.Username, Address: address}
	}
	return database.Actor{Kind: "operator", ID: p.OperatorID, Name: p.Username, Address: address}
}

// While is ctx under which nothing is written unless the principal's session and role still stand in the
// transaction that writes: a demotion that was committed after Authenticate holds for what comes after it.
func (p Principal) While(ctx context.Context, need Role) context.Context {
	return database.WithCondition(ctx, func(tx *database.Tx) error { return p.stillMay(tx, need) })
}

func (p Principal) stillMay(tx *database.Tx, need Role) error {
	if p.Key {
		return p.keyStillMay(tx, need)
	}
	q := tx.Table("operators").Select("operators.role").Joins("JOIN sessions ON sessions.operator_id = operators.id").
		Where("operators.id = ? AND operators.disabled_at IS NULL AND sessions.id = ?", p.OperatorID, p.SessionID)
	if tx.Postgres() { // a demotion waits for this transaction; SQLite's write transactions do by themselves
		q = q.Clauses(clause.Locking{Strength: "SHARE", Table: clause.Table{Name: "operators"}})
	}
	var row struct{ Role Role }
	err := q.Take(&row).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return errSession()
	}
	if err != nil {
		return fmt.Errorf("read the role: %w", err)
	}
	return row.Role.Allows(need)
}

// Session is one sign-in.
type Session struct {
	ID         string    `json:"id"`
	OperatorID string    `json:"operator_id"`
	CreatedAt  time.Time `json:"created_at"`
	LastUsedAt time.Time `json:"last_used_at" doc:"Exact to 5 minutes."`
	ExpiresAt  time.Time `json:"expires_at" doc:"At the latest; an hour without a request ends it sooner."`
	Address    string    `json:"address" doc:"The IP address that signed in."`
	UserAgent  string    `json:"user_agent" doc:"The program that signed in, as it named itself."`
}

type sessionRow struct {
	ID           string    `gorm:"column:id;primaryKey"`
	OperatorID   string    `gorm:"column:operator_id"`
	SecretSHA256 string    `gorm:"column:secret_sha256"`
	CreatedAt    time.Time `gorm:"column:created_at;autoCreateTime:false"`
	LastUsedAt   time.Time `gorm:"column:last_used_at"`
	ExpiresAt    time.Time `gorm:"column:expires_at"`
	Address      string    `gorm:"column:address"`
	UserAgent    string    `gorm:"column:user_agent"`
}

func (sessionRow) TableName() string { return "sessions" }

func (r sessionRow) session() Session {
	return Session{
		ID: r.ID, OperatorID: r.OperatorID, CreatedAt: r.CreatedAt.UTC(), LastUsedAt: r.LastUsedAt.UTC(),
		ExpiresAt: r.ExpiresAt.UTC(), Address: r.Address, UserAgent: r.UserAgent,
	}
}

// errSignIn is the one answer to every failed sign-in.
func errSignIn() error {
	return fault.New(fault.Unauthorized, "bad_credentials", "The user name or the password is wrong.")
}

func errSession() error {
	return fault.New(fault.Unauthorized, "unauthorized", "You are not signed in, or the session has ended. Sign in again.")
}

// Login checks a password and starts a session. secret is for the cookie and is stored as its SHA-256 only.
// Unknown, disabled and wrong answer the same and cost the same; too many guesses are rate_limited.
func (a *Access) Login(ctx context.Context, username, password, address, userAgent string) (secret string, s Session, err error) {
	guess := attempt{account: clip(username, 256), address: address}
	if err := a.reserve(ctx, guess); err != nil {
		return "", Session{}, err
	}
	op, err := a.operatorByName(ctx, username)
	if err != nil && fault.As(err) == nil {
		return "", Session{}, err
	}
	right, err := a.check(ctx, op.PasswordHash, password)
	if err != nil {
		return "", Session{}, err
	}
	if !right || op.DisabledAt != nil {
		a.log.Warn("sign-in refused", "username", op.Username, "address", address) // an unknown name may be a password
		return "", Session{}, errSignIn()
	}
	err = a.db.Write(ctx, func(tx *database.Tx) error {
		// The password may have changed, and the operator may have gone, since it was read.
		r := tx.Model(&operatorRow{}).Where("id = ? AND password_hash = ? AND disabled_at IS NULL", op.ID, op.PasswordHash).
			Update("last_login_at", tx.Now)
		if r.Error != nil {
			return r.Error
		}
		if r.RowsAffected == 0 {
			return errSignIn()
		}
		if err := guess.passed(tx); err != nil {
			return err
		}
		secret, s, err = startSession(tx, op, address, userAgent)
		return err
	})
	return secret, s, err
}

func (a *Access) reserve(ctx context.Context, guess attempt) error {
	return a.db.Write(ctx, guess.reserve)
}

// check verifies a password of a length that can be one; longer ones are not worth the work.
func (a *Access) check(ctx context.Context, hash, password string) (bool, error) {
	if len(password) > 4*MaxPassword {
		hash, password = "", ""
	}
	return a.hasher.verify(ctx, hash, password)
}

func startSession(tx *database.Tx, op operatorRow, address, userAgent string) (secret string, s Session, err error) {
	secret = newSecret()
	row := sessionRow{
		ID: database.NewID(), OperatorID: op.ID, SecretSHA256: hashed(secret), CreatedAt: tx.Now, LastUsedAt: tx.Now,
		ExpiresAt: tx.Now.Add(SessionLifetime), Address: address, UserAgent: clip(userAgent, 256),
	}
	if err := tx.Create(&row).Error; err != nil {
		return "", Session{}, fmt.Errorf("start a session: %w", err)
	}
	actor := database.Actor{Kind: "operator", ID: op.ID, Name: op.Username, Address: address}
	return secret, row.session(), tx.Audit(actor, "session.create", "session:"+row.ID, nil)
}

func newSecret() string {
	b := make([]byte, 32)
	rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
}

// cached is a session or a key as it was read; good for cacheFor.
type cached struct {
	principal Principal
	expires   time.Time // by the deciding clock
	read      time.Time // that clock then
	at        time.Time // a.now then
}

// Authenticate tells who holds the secret of a live session: an unauthorized fault when there is none. What
// another replica revoked is refused within a second.
func (a *Access) Authenticate(ctx context.Context, secret string) (Principal, error) {
	if secret == "" || len(secret) > 128 {
		return Principal{}, errSession()
	}
	return a.remembered(ctx, "session", secret, a.readSession)
}

// remembered gives what read gave for the hash of a secret a moment ago, or reads it. Of each sort of secret apart: a key
// is no session.
func (a *Access) remembered(ctx context.Context, sort, secret string, read func(ctx context.Context, sum string) (cached, error)) (Principal, error) {
	sum := hashed(secret)
	key := sort + " " + sum
	at := a.now()
	a.mu.Lock()
	c, ok := a.cache[key]
	a.mu.Unlock()
	if ok && at.Sub(c.at) < cacheFor && c.read.Add(at.Sub(c.at)).Before(c.expires) {
		return c.principal, nil
	}
	c, err := read(ctx, sum)
	if err != nil {
		return Principal{}, err
	}
	c.at = at
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.cache) >= 1000 {
		maps.DeleteFunc(a.cache, func(_ string, c cached) bool { return at.Sub(c.at) >= cacheFor })
	}
	a.cache[key] = c
	return c.principal, nil
}

func (a *Access) readSession(ctx context.Context, key string) (cached, error) {
	now, err := a.db.Now(ctx)
	if err != nil {
		return cached{}, err
	}
	var row struct {
		ID, OperatorID, Username string
		Role                     Role
		LastUsedAt, ExpiresAt    time.Time
		DisabledAt               *time.Time
	}
	err = a.db.Read(ctx).Table("sessions").
		Select("sessions.id, sessions.operator_id, sessions.last_used_at, sessions.expires_at, operators.username, operators.role, operators.disabled_at").
		Joins("JOIN operators ON operators.id = sessions.operator_id").Where("sessions.secret_sha256 = ?", key).Take(&row).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return cached{}, errSession()
	}
	if err != nil {
		return cached{}, fmt.Errorf("read the session: %w", err)
	}
	expires := row.ExpiresAt
	if idle := row.LastUsedAt.Add(SessionIdle); idle.Before(expires) {
		expires = idle
	}
	if row.DisabledAt != nil || !now.Before(expires) {
		return cached{}, errSession()
	}
	if now.Sub(row.LastUsedAt) >= usedEvery {
		if err := a.touch(ctx, row.ID); err != nil {
			return cached{}, err
		}
	}
	p := Principal{OperatorID: row.OperatorID, Username: row.Username, Role: row.Role, SessionID: row.ID}
	return cached{principal: p, expires: expires, read: now}, nil
}

// touch writes the use of a session down; of parallel requests one does.
func (a *Access) touch(ctx context.Context, id string) error {
	return a.db.Write(ctx, func(tx *database.Tx) error {
		return tx.Model(&sessionRow{}).Where("id = ? AND last_used_at <= ?", id, tx.Now.Add(-usedEvery)).
			Update("last_used_at", tx.Now).Error
	})
}

// Logout ends the principal's own session.
func (a *Access) Logout(ctx context.Context, p Principal, address string) error {
	err := a.db.Write(ctx, func(tx *database.Tx) error {
		r := tx.Where("id = ? AND operator_id = ?", p.SessionID, p.OperatorID).Delete(&sessionRow{})
		if r.Error != nil || r.RowsAffected == 0 {
			return r.Error
		}
		tx.Notify(database.TopicSessions(p.OperatorID))
		return tx.Audit(p.Actor(address), "session.end", "session:"+p.SessionID, nil)
	})
	a.forget(p.OperatorID)
	return err
}

// Sessions lists an operator's live sessions, newest first.
func (a *Access) Sessions(ctx context.Context, operatorID string) ([]Session, error) {
	if !wire.IsUUID(operatorID) {
		return nil, fault.NotFoundf("There is no such operator.")
	}
	now, err := a.db.Now(ctx)
	if err != nil {
		return nil, err
	}
	var rows []sessionRow
	err = a.db.Read(ctx).Where("operator_id = ? AND expires_at > ? AND last_used_at > ?", operatorID, now, now.Add(-SessionIdle)).
		Order("created_at DESC, id DESC").Find(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("list the sessions: %w", err)
	}
	sessions := make([]Session, 0, len(rows))
	for _, r := range rows {
		sessions = append(sessions, r.session())
	}
	return sessions, nil
}

// DeleteSession ends one session of an operator; another operator's is not found.
func (a *Access) DeleteSession(ctx context.Context, actor database.Actor, operatorID, id string) error {
	if !wire.IsUUID(id) || !wire.IsUUID(operatorID) {
		return fault.NotFoundf("There is no such session; it may have ended already.")
	}
	err := a.db.Write(ctx, func(tx *database.Tx) error {
		r := tx.Where("id = ? AND operator_id = ?", id, operatorID).Delete(&sessionRow{})
		if r.Error != nil {
			return r.Error
		}
		if r.RowsAffected == 0 {
			return fault.NotFoundf("There is no such session; it may have ended already.")
		}
		tx.Notify(database.TopicSessions(operatorID))
		return tx.Audit(actor, "session.revoke", "session:"+id, nil)
	})
	a.forget(operatorID)
	return err
}

// endSessions ends an operator's sessions but one; except empty ends all. Call forget after the commit.
func endSessions(tx *database.Tx, operatorID, except string) error {
	q := tx.Where("operator_id = ?", operatorID)
	if except != "" {
		q = q.Where("id <> ?", except)
	}
	if err := q.Delete(&sessionRow{}).Error; err != nil {
		return fmt.Errorf("end the sessions: %w", err)
	}
	tx.Notify(database.TopicSessions(operatorID))
	return nil
}

// forget has an operator's sessions read anew on this replica.
func (a *Access) forget(operatorID string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	maps.DeleteFunc(a.cache, func(_ string, c cached) bool { return c.principal.OperatorID == operatorID })
}

// clip bounds text from outside and makes it fit for both engines: valid UTF-8 without NUL.
func clip(s string, limit int) string {
	s = strings.ReplaceAll(strings.ToValidUTF8(s[:min(len(s), limit)], ""), "\x00", "")
	return s
}
