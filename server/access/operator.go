package access

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"

	"restic-manager/server/database"
	"restic-manager/server/fault"
	"restic-manager/shared/wire"
)

// OperatorAccount is a person who may sign in.
type OperatorAccount struct {
	ID                string     `json:"id"`
	Username          string     `json:"username"`
	Role              Role       `json:"role" enum:"administrator,operator,viewer"`
	Disabled          bool       `json:"disabled"`
	CreatedAt         time.Time  `json:"created_at"`
	PasswordChangedAt time.Time  `json:"password_changed_at"`
	LastLoginAt       *time.Time `json:"last_login_at" doc:"Null: never."`
}

type operatorRow struct {
	ID                string     `gorm:"column:id;primaryKey"`
	Username          string     `gorm:"column:username"`
	UsernameKey       string     `gorm:"column:username_key"`
	Role              Role       `gorm:"column:role"`
	PasswordHash      string     `gorm:"column:password_hash"`
	PasswordChangedAt time.Time  `gorm:"column:password_changed_at"`
	CreatedAt         time.Time  `gorm:"column:created_at;autoCreateTime:false"`
	DisabledAt        *time.Time `gorm:"column:disabled_at"`
	LastLoginAt       *time.Time `gorm:"column:last_login_at"`
}

func (operatorRow) TableName() string { return "operators" }

func (r operatorRow) account() OperatorAccount {
	o := OperatorAccount{
		ID: r.ID, Username: r.Username, Role: r.Role, Disabled: r.DisabledAt != nil,
		CreatedAt: r.CreatedAt.UTC(), PasswordChangedAt: r.PasswordChangedAt.UTC(),
	}
	if r.LastLoginAt != nil {
		t := r.LastLoginAt.UTC()
		o.LastLoginAt = &t
	}
	return o
}

// NewOperator is an account to be made.
type NewOperator struct {
	Username string
	Password string
	Role     Role
}

// OperatorPatch changes an account; nil leaves as it is.
type OperatorPatch struct {
	Username *string
	Role     *Role
	Disabled *bool
	Password *string
}

func errNoOperator() error { return fault.NotFoundf("There is no such operator.") }

func checkRole(r Role) error {
	if !r.Includes(Viewer) {
		return fault.Invalidf("There is no role %q: use administrator, operator or viewer.", string(r))
	}
	return nil
}

// Operators lists the accounts by name.
func (a *Access) Operators(ctx context.Context, p Page) (list []OperatorAccount, next string, err error) {
	after, err := decodeCursor(p.Cursor)
	if err != nil {
		return nil, "", err
	}
	q := a.db.Read(ctx).Order("username_key").Limit(p.limit() + 1)
	if after != "" {
		q = q.Where("username_key > ?", after)
	}
	var rows []operatorRow
	if err := q.Find(&rows).Error; err != nil {
		return nil, "", fmt.Errorf("list the operators: %w", err)
	}
	if len(rows) > p.limit() {
		rows = rows[:p.limit()]
		next = encodeCursor(rows[len(rows)-1].UsernameKey)
	}
	list = make([]OperatorAccount, 0, len(rows))
	for _, r := range rows {
		list = append(list, r.account())
	}
	return list, next, nil
}

// OperatorByID finds one account.
func (a *Access) OperatorByID(ctx context.Context, id string) (OperatorAccount, error) {
	if !wire.IsUUID(id) {
		return OperatorAccount{}, errNoOperator()
	}
	row, err := findOperator(a.db.Read(ctx), "id = ?", id)
	return row.account(), err
}

func (a *Access) operatorByName(ctx context.Context, username string) (operatorRow, error) {
	if CheckUsername(username) != nil {
		return operatorRow{}, errNoOperator()
	}
	return findOperator(a.db.Read(ctx), "username_key = ?", usernameKey(username))
}

func findOperator(db *gorm.DB, where, arg string) (operatorRow, error) {
	var row operatorRow
	err := db.Where(where, arg).Take(&row).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return operatorRow{}, errNoOperator()
	}
	if err != nil {
		return operatorRow{}, fmt.Errorf("read the operator: %w", err)
	}
	return row, nil
}

// CreateOperator makes an account. A name that is taken, in any case of its letters, is a conflict.
func (a *Access) CreateOperator(ctx context.Context, actor database.Actor, n NewOperator) (OperatorAccount, error) {
	if err := checkRole(n.Role); err != nil {
		return OperatorAccount{}, err
	}
	hash, err := a.newPassword(ctx, n.Username, n.Password)
	if err != nil {
		return OperatorAccount{}, err
	}
	var row operatorRow
	err = a.db.Write(ctx, func(tx *database.Tx) error {
		if err := lockOperators(tx); err != nil {
			return err
		}
		row, err = insertOperator(tx, actor, n.Username, n.Role, hash)
		return err
	})
	if err != nil {
		return OperatorAccount{}, err
	}
	return row.account(), nil
}

// newPassword checks name and password and hashes.
func (a *Access) newPassword(ctx context.Context, username, password string) (string, error) {
	if err := CheckUsername(username); err != nil {
		return "", err
	}
	if err := CheckPassword(username, password); err != nil {
		return "", err
	}
	return a.hasher.hash(ctx, password)
}

func insertOperator(tx *database.Tx, actor database.Actor, username string, role Role, hash string) (operatorRow, error) {
	row := operatorRow{
		ID: database.NewID(), Username: username, UsernameKey: usernameKey(username), Role: role,
		PasswordHash: hash, PasswordChangedAt: tx.Now, CreatedAt: tx.Now,
	}
	err := tx.Create(&row).Error
	if errors.Is(err, gorm.ErrDuplicatedKey) {
		return operatorRow{}, errTaken(username)
	}
	if err != nil {
		return operatorRow{}, fmt.Errorf("create the operator: %w", err)
	}
	return row, tx.Audit(actor, "operator.create", "operator:"+row.ID, map[string]any{"username": username, "role": role})
}

func errTaken(username string) error {
	return fault.New(fault.Conflict, "username_taken", "There is an operator %q already. Choose another name.", username)
}

// UpdateOperator changes an account. Disabling it or giving it a new password ends all its sessions; the
// last administrator who can sign in stays one.
func (a *Access) UpdateOperator(ctx context.Context, actor database.Actor, id string, p OperatorPatch) (OperatorAccount, error) {
	if !wire.IsUUID(id) {
		return OperatorAccount{}, errNoOperator()
	}
	hash, err := a.checkPatch(ctx, id, p)
	if err != nil {
		return OperatorAccount{}, err
	}
	var row operatorRow
	err = a.db.Write(ctx, func(tx *database.Tx) error {
		if err := lockOperators(tx); err != nil {
			return err
		}
		if row, err = findOperator(tx.DB, "id = ?", id); err != nil {
			return err
		}
		changed := row.apply(p, hash, tx.Now)
		if len(changed) == 0 {
			return nil
		}
		if err := tx.Model(&operatorRow{}).Where("id = ?", id).Select("*").Omit("id", "created_at", "last_login_at").Updates(&row).Error; err != nil {
			if errors.Is(err, gorm.ErrDuplicatedKey) {
				return errTaken(row.Username)
			}
			return fmt.Errorf("change the operator: %w", err)
		}
		if err := keepAdministrator(tx); err != nil {
			return err
		}
		if row.DisabledAt != nil || hash != "" {
			if err := endSessions(tx, id, ""); err != nil {
				return err
			}
		}
		if hash != "" {
			if err := clearThrottle(tx, row.Username); err != nil {
				return err
			}
		}
		return tx.Audit(actor, "operator.update", "operator:"+id, changed)
	})
	a.forget(id)
	if err != nil {
		return OperatorAccount{}, err
	}
	return row.account(), nil
}

// checkPatch looks at what can be judged alone; hash is of the new password, empty when it stays.
func (a *Access) checkPatch(ctx context.Context, id string, p OperatorPatch) (hash string, err error) {
	if p.Username != nil {
		if err := CheckUsername(*p.Username); err != nil {
			return "", err
		}
	}
	if p.Role != nil {
		if err := checkRole(*p.Role); err != nil {
			return "", err
		}
	}
	if p.Password == nil {
		return "", nil
	}
	o, err := a.OperatorByID(ctx, id)
	if err != nil {
		return "", err
	}
	return a.newPassword(ctx, o.Username, *p.Password)
}

// apply changes the row and tells what was changed, for the audit trail.
func (r *operatorRow) apply(p OperatorPatch, hash string, now time.Time) map[string]any {
	changed := map[string]any{}
	if p.Username != nil && *p.Username != r.Username {
		changed["username"] = map[string]string{"from": r.Username, "to": *p.Username}
		r.Username, r.UsernameKey = *p.Username, usernameKey(*p.Username)
	}
	if p.Role != nil && *p.Role != r.Role {
		changed["role"] = map[string]Role{"from": r.Role, "to": *p.Role}
		r.Role = *p.Role
	}
	if p.Disabled != nil && *p.Disabled != (r.DisabledAt != nil) {
		changed["disabled"] = *p.Disabled
		r.DisabledAt = nil
		if *p.Disabled {
			r.DisabledAt = &now
		}
	}
	if hash != "" {
		changed["password"] = "changed"
		r.PasswordHash, r.PasswordChangedAt = hash, now
	}
	return changed
}

// DeleteOperator removes an account and its sessions. The last administrator who can sign in stays.
func (a *Access) DeleteOperator(ctx context.Context, actor database.Actor, id string) error {
	if !wire.IsUUID(id) {
		return errNoOperator()
	}
	err := a.db.Write(ctx, func(tx *database.Tx) error {
		if err := lockOperators(tx); err != nil {
			return err
		}
		row, err := findOperator(tx.DB, "id = ?", id)
		if err != nil {
			return err
		}
		if err := tx.Where("id = ?", id).Delete(&operatorRow{}).Error; err != nil {
			return fmt.Errorf("delete the operator: %w", err)
		}
		if err := keepAdministrator(tx); err != nil {
			return err
		}
		tx.Notify(database.TopicSessions(id))
		return tx.Audit(actor, "operator.delete", "operator:"+id, map[string]any{"username": row.Username})
	})
	a.forget(id)
	return err
}

// keepAdministrator fails the transaction when it leaves no administrator who can sign in.
func keepAdministrator(tx *database.Tx) error {
	var n int64
	err := tx.Model(&operatorRow{}).Where("role = ? AND disabled_at IS NULL", Administrator).Count(&n).Error
	if err != nil {
		return fmt.Errorf("count the administrators: %w", err)
	}
	if n == 0 {
		return fault.New(fault.Conflict, "last_administrator",
			"This is the last administrator who can sign in. Make another operator an administrator first.")
	}
	return nil
}

// ChangePassword sets the principal's own password, who must know the current one, and ends their other
// sessions.
func (a *Access) ChangePassword(ctx context.Context, p Principal, current, password, address string) error {
	row, guess, err := a.confirm(ctx, p, current, address)
	if err != nil {
		return err
	}
	hash, err := a.newPassword(ctx, row.Username, password)
	if err != nil {
		return err
	}
	err = a.db.Write(ctx, func(tx *database.Tx) error {
		r := tx.Model(&operatorRow{}).Where("id = ? AND password_hash = ? AND disabled_at IS NULL", row.ID, row.PasswordHash).
			Updates(map[string]any{"password_hash": hash, "password_changed_at": tx.Now})
		if r.Error != nil {
			return fmt.Errorf("change the password: %w", r.Error)
		}
		if r.RowsAffected == 0 {
			return fault.New(fault.Conflict, "changed_meanwhile", "The account was changed at the same moment. Sign in and try again.")
		}
		if err := guess.passed(tx); err != nil {
			return err
		}
		if err := endSessions(tx, row.ID, p.SessionID); err != nil {
			return err
		}
		return tx.Audit(p.Actor(address), "password.change", "operator:"+row.ID, nil)
	})
	a.forget(row.ID)
	return err
}

// Confirm asks the principal's password again, before what a session alone must not do: a wrong one counts as a failed
// sign-in.
func (a *Access) Confirm(ctx context.Context, p Principal, current, address string) error {
	_, guess, err := a.confirm(ctx, p, current, address)
	if err != nil {
		return err
	}
	return a.db.Write(ctx, guess.passed)
}

func (a *Access) confirm(ctx context.Context, p Principal, current, address string) (operatorRow, attempt, error) {
	row, err := findOperator(a.db.Read(ctx), "id = ?", p.OperatorID)
	if err != nil {
		return row, attempt{}, err
	}
	guess := attempt{account: row.Username, address: address}
	if err := a.reserve(ctx, guess); err != nil {
		return row, guess, err
	}
	right, err := a.check(ctx, row.PasswordHash, current)
	if err != nil {
		return row, guess, err
	}
	if !right {
		return row, guess, fault.New(fault.Invalid, "wrong_password", "The current password is wrong.")
	}
	return row, guess, nil
}

// ResetPassword sets an operator's password without the old one, ends all their sessions and lifts a pause
// for wrong guesses: for the command line on the server.
func (a *Access) ResetPassword(ctx context.Context, actor database.Actor, username, password string) error {
	row, err := a.operatorByName(ctx, username)
	if err != nil {
		return err
	}
	_, err = a.UpdateOperator(ctx, actor, row.ID, OperatorPatch{Password: &password})
	return err
}
