package access

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"gorm.io/gorm"

	"restic-manager/server/database"
	"restic-manager/server/fault"
	"restic-manager/shared/wire"
)

// APIKeyPrefix marks the secret of a key, so that scanners and people recognise it.
const APIKeyPrefix = "rmk_"

// Bounds of API keys.
const (
	maxAPIKeys       = 200
	maxAPIKeyExpiry  = 10 * 365 * 24 * time.Hour
	minAPIKeyExpiry  = time.Minute
	maxAPIKeyNameLen = 128
)

// APIKey lets a program call the API in place of a person, with its scopes. It belongs to the installation, not to whoever
// made it.
type APIKey struct {
	ID         string     `json:"id"`
	Name       string     `json:"name"`
	Role       Role       `json:"role" enum:"operator,viewer" doc:"The least role that has the scopes"`
	Scopes     []Scope    `json:"scopes" doc:"What it may do"`
	CreatedAt  time.Time  `json:"created_at"`
	CreatedBy  string     `json:"created_by"`
	ExpiresAt  *time.Time `json:"expires_at,omitempty" doc:"Absent: it does not expire"`
	LastUsedAt *time.Time `json:"last_used_at,omitempty" doc:"Exact to 5 minutes; absent: never"`
}

// NewAPIKey asks for a key. Without scopes it has those of its role, with scopes the role may be empty. ExpiresIn 0: it
// does not expire.
type NewAPIKey struct {
	Name      string
	Role      Role
	Scopes    []Scope
	ExpiresIn time.Duration
}

type apiKeyRow struct {
	ID           string     `gorm:"column:id;primaryKey"`
	Name         string     `gorm:"column:name"`
	Role         Role       `gorm:"column:role"`
	Scopes       *ScopeSet  `gorm:"column:scopes"`
	SecretSHA256 string     `gorm:"column:secret_sha256"`
	CreatedAt    time.Time  `gorm:"column:created_at;autoCreateTime:false"`
	CreatedBy    string     `gorm:"column:created_by"`
	ExpiresAt    *time.Time `gorm:"column:expires_at"`
	LastUsedAt   *time.Time `gorm:"column:last_used_at"`
}

func (apiKeyRow) TableName() string { return "api_keys" }

func (r apiKeyRow) key() APIKey {
	return APIKey{ID: r.ID, Name: r.Name, Role: r.Role, Scopes: r.scopes().list(r.Role), CreatedAt: r.CreatedAt.UTC(), CreatedBy: r.CreatedBy,
		ExpiresAt: database.InUTC(r.ExpiresAt), LastUsedAt: database.InUTC(r.LastUsedAt)}
}

func (r apiKeyRow) scopes() ScopeSet {
	if r.Scopes == nil {
		return ""
	}
	return *r.Scopes
}

func unprintable(r rune) bool { return !unicode.IsPrint(r) }

// errAPIKey is the one answer to every key that is none.
func errAPIKey() error {
	return fault.New(fault.Unauthorized, "unauthorized", "This API key is not known, was deleted or has expired. Make a new one under Settings, API keys.")
}

// CreateAPIKey makes a key. Its secret is told this once; its SHA-256 is kept.
func (a *Access) CreateAPIKey(ctx context.Context, actor database.Actor, n NewAPIKey) (APIKey, string, error) {
	name := strings.TrimSpace(n.Name)
	var scopes *ScopeSet
	if len(n.Scopes) > 0 {
		set, least, err := newScopes(n.Scopes, n.Role)
		if err != nil {
			return APIKey{}, "", err
		}
		scopes, n.Role = &set, least
	}
	switch {
	case name == "" || len(name) > maxAPIKeyNameLen || !utf8.ValidString(name) || strings.ContainsFunc(name, unprintable):
		return APIKey{}, "", fault.Invalidf("name: give 1 to %d printable characters that tell where the key is used.", maxAPIKeyNameLen)
	case n.Role != Viewer && n.Role != Operator:
		return APIKey{}, "", fault.Invalidf("role: give viewer or operator, or scopes; what only administrators may do is for people.")
	case n.ExpiresIn != 0 && (n.ExpiresIn < minAPIKeyExpiry || n.ExpiresIn > maxAPIKeyExpiry):
		return APIKey{}, "", fault.Invalidf("expires_in_seconds: give %d to %d, or leave it out for a key that does not expire.",
			int(minAPIKeyExpiry.Seconds()), int(maxAPIKeyExpiry.Seconds()))
	}
	secret := APIKeyPrefix + newSecret()
	row := apiKeyRow{ID: database.NewID(), Name: name, Role: n.Role, Scopes: scopes, SecretSHA256: hashed(secret), CreatedBy: actor.Name}
	err := a.db.Write(ctx, func(tx *database.Tx) error {
		var count int64
		if err := tx.Model(&apiKeyRow{}).Count(&count).Error; err != nil {
			return err
		}
		if count >= maxAPIKeys {
			return fault.New(fault.Conflict, "too_many_keys", "There are as many API keys as there may be; delete one that is not used any more.")
		}
		row.CreatedAt = tx.Now
		if n.ExpiresIn != 0 {
			at := tx.Now.Add(n.ExpiresIn)
			row.ExpiresAt = &at
		}
		if err := tx.Create(&row).Error; err != nil {
			return err
		}
		return tx.Audit(actor, "api_key.create", "api_key:"+row.ID, map[string]any{"name": name, "role": n.Role, "scopes": row.scopes().list(n.Role)})
	})
	if err != nil {
		return APIKey{}, "", fmt.Errorf("make an API key: %w", err)
	}
	return row.key(), secret, nil
}

// APIKeys lists all keys, newest first; expired ones are among them until they are deleted.
func (a *Access) APIKeys(ctx context.Context) ([]APIKey, error) {
	var rows []apiKeyRow
	if err := a.db.Read(ctx).Order("created_at DESC, id DESC").Find(&rows).Error; err != nil {
		return nil, fmt.Errorf("list the API keys: %w", err)
	}
	keys := make([]APIKey, 0, len(rows))
	for _, r := range rows {
		keys = append(keys, r.key())
	}
	return keys, nil
}

// DeleteAPIKey voids a key; every replica refuses it within a second.
func (a *Access) DeleteAPIKey(ctx context.Context, actor database.Actor, id string) error {
	if !wire.IsUUID(id) {
		return errNoAPIKey
	}
	err := a.db.Write(ctx, func(tx *database.Tx) error {
		var row apiKeyRow
		if err := tx.Where("id = ?", id).Take(&row).Error; errors.Is(err, gorm.ErrRecordNotFound) {
			return errNoAPIKey
		} else if err != nil {
			return err
		}
		if err := tx.Where("id = ?", id).Delete(&apiKeyRow{}).Error; err != nil {
			return err
		}
		return tx.Audit(actor, "api_key.delete", "api_key:"+id, map[string]any{"name": row.Name})
	})
	a.forget(id)
	return err
}

var errNoAPIKey = fault.NotFoundf("There is no such API key; it may have been deleted already.")

// AuthenticateKey tells which key has the secret: an unauthorized fault when none has. Like Authenticate it remembers
// what it read for a moment.
func (a *Access) AuthenticateKey(ctx context.Context, secret string) (Principal, error) {
	if !strings.HasPrefix(secret, APIKeyPrefix) || len(secret) > 128 {
		return Principal{}, errAPIKey()
	}
	return a.remembered(ctx, "key", secret, a.readAPIKey)
}

func (a *Access) readAPIKey(ctx context.Context, sum string) (cached, error) {
	now, err := a.db.Now(ctx)
	if err != nil {
		return cached{}, err
	}
	var row apiKeyRow
	err = a.db.Read(ctx).Where("secret_sha256 = ?", sum).Take(&row).Error
	if errors.Is(err, gorm.ErrRecordNotFound) || err == nil && row.ExpiresAt != nil && !now.Before(*row.ExpiresAt) {
		return cached{}, errAPIKey()
	}
	if err != nil {
		return cached{}, fmt.Errorf("read the API key: %w", err)
	}
	if row.LastUsedAt == nil || now.Sub(*row.LastUsedAt) >= usedEvery {
		err := a.db.Write(ctx, func(tx *database.Tx) error {
			return tx.Model(&apiKeyRow{}).Where("id = ? AND (last_used_at IS NULL OR last_used_at <= ?)", row.ID, tx.Now.Add(-usedEvery)).
				Update("last_used_at", tx.Now).Error
		})
		if err != nil {
			return cached{}, err
		}
	}
	expires := now.Add(time.Hour) // it is read anew long before
	if row.ExpiresAt != nil {
		expires = *row.ExpiresAt
	}
	return cached{principal: Principal{OperatorID: row.ID, Username: row.Name, Role: row.Role, Key: true, Scopes: row.scopes()}, expires: expires, read: now}, nil
}

// keyStillMay is stillMay for a key. Its scopes never change.
func (p Principal) keyStillMay(tx *database.Tx, need Role) error {
	var row apiKeyRow
	err := tx.Where("id = ? AND (expires_at IS NULL OR expires_at > ?)", p.OperatorID, tx.Now).Take(&row).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return errAPIKey()
	}
	if err != nil {
		return fmt.Errorf("read the API key: %w", err)
	}
	return row.Role.Allows(need)
}
