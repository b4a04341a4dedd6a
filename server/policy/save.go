package policy

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

// row is a row of policies.
type row struct {
	ID        string    `gorm:"column:id;primaryKey"`
	Name      string    `gorm:"column:name"`
	NameKey   string    `gorm:"column:name_key"`
	Enabled   bool      `gorm:"column:enabled"`
	Version   int64     `gorm:"column:version"`
	Spec      string    `gorm:"column:spec"`
	CreatedAt time.Time `gorm:"column:created_at;autoCreateTime:false"`
	UpdatedAt time.Time `gorm:"column:updated_at;autoUpdateTime:false"`
}

// TableName is policies.
func (row) TableName() string { return "policies" }

// versionRow is a row of policy_versions.
type versionRow struct {
	PolicyID string    `gorm:"column:policy_id;primaryKey"`
	Version  int64     `gorm:"column:version;primaryKey"`
	At       time.Time `gorm:"column:at"`
	ByName   string    `gorm:"column:by_name"`
	Name     string    `gorm:"column:name"`
	Enabled  bool      `gorm:"column:enabled"`
	Spec     string    `gorm:"column:spec"`
}

// TableName is policy_versions.
func (versionRow) TableName() string { return "policy_versions" }

// Draft is a policy as somebody wants it to be.
type Draft struct {
	Name    string
	Enabled bool
	Spec    Spec
}

// checked is the draft in its one form, or what is wrong with it.
func (d Draft) checked() (Draft, error) {
	var err error
	if d.Name, err = checkName(d.Name); err != nil {
		return d, err
	}
	d.Spec, err = d.Spec.checked()
	return d, err
}

func (d Draft) state() state { return state{d.Name, d.Enabled, d.Spec} }

var (
	errNoPolicy  = fault.NotFoundf("there is no such policy")
	errNameTaken = fault.New(fault.Conflict, "name_taken", "another policy has this name (upper and lower case count as the same); give another one")
)

// lock locks a policy's row, or not_found. A policy's row is locked before those of hosts.
func lock(tx *database.Tx, id string) (row, error) {
	if !wire.IsUUID(id) {
		return row{}, errNoPolicy
	}
	var rows []row
	if err := tx.Raw("SELECT * FROM policies WHERE id = ?"+forUpdate(tx), id).Scan(&rows).Error; err != nil {
		return row{}, fmt.Errorf("lock policy %s: %w", id, err)
	}
	if len(rows) == 0 {
		return row{}, errNoPolicy
	}
	return rows[0], nil
}

// forUpdate ends a SELECT that locks its rows until the transaction ends; see package fleet.
func forUpdate(tx *database.Tx) string {
	if tx.Postgres() {
		return " FOR NO KEY UPDATE"
	}
	return ""
}

// Create makes a policy and has it apply to its hosts at once.
func (s *Store) Create(ctx context.Context, actor database.Actor, d Draft) (Policy, error) {
	d, err := d.checked()
	if err != nil {
		return Policy{}, err
	}
	var id string
	err = s.db.Write(ctx, func(tx *database.Tx) error {
		id = database.NewIDAt(tx.Now)
		var n int64
		if err := tx.Raw("SELECT count(*) FROM policies").Scan(&n).Error; err != nil {
			return err
		}
		if n >= maxPolicies {
			return fault.New(fault.Conflict, "too_many_policies", "there are %d policies; delete one first", n)
		}
		text, err := d.Spec.encode()
		if err != nil {
			return err
		}
		r := row{ID: id, Name: d.Name, NameKey: nameKey(d.Name), Enabled: d.Enabled, Version: 1, Spec: text, CreatedAt: tx.Now, UpdatedAt: tx.Now}
		if err := insert(tx, actor, r); err != nil {
			return err
		}
		if err := s.reassign(tx, r, d.Spec, true); err != nil {
			return err
		}
		tx.Notify(database.TopicPolicies)
		return tx.Audit(actor, "policy.create", "policy:"+id, map[string]any{"name": d.Name, "enabled": d.Enabled})
	})
	if err != nil {
		return Policy{}, fmt.Errorf("create a policy: %w", taken(err))
	}
	return s.ByID(ctx, id)
}

func insert(tx *database.Tx, actor database.Actor, r row) error {
	if err := tx.Create(&r).Error; err != nil {
		return err
	}
	return r.keep(tx, actor)
}

// keep writes the version down.
func (r row) keep(tx *database.Tx, actor database.Actor) error {
	v := versionRow{PolicyID: r.ID, Version: r.Version, At: tx.Now, ByName: actor.Name, Name: r.Name, Enabled: r.Enabled, Spec: r.Spec}
	if err := tx.Create(&v).Error; err != nil {
		return fmt.Errorf("keep version %d of policy %s: %w", r.Version, r.ID, err)
	}
	return nil
}

func taken(err error) error {
	if errors.Is(err, gorm.ErrDuplicatedKey) {
		return errNameTaken
	}
	return err
}

// Put makes the policy what the draft says; version is the one that the draft is based on: policy_changed when it is
// another by now. A draft that changes nothing makes no version.
func (s *Store) Put(ctx context.Context, actor database.Actor, id string, d Draft, version int64) (Policy, error) {
	d, invalid := d.checked()
	err := s.db.Write(ctx, func(tx *database.Tx) error {
		r, err := lock(tx, id)
		if err != nil {
			return err
		}
		if invalid != nil {
			return invalid
		}
		if r.Version != version {
			return fault.New(fault.Conflict, "policy_changed", "somebody has changed this policy meanwhile: it is at version %d, your change is based on %d. Load it again and repeat your change", r.Version, version)
		}
		return s.put(tx, actor, r, d)
	})
	if err != nil {
		return Policy{}, fmt.Errorf("change policy %s: %w", id, taken(err))
	}
	return s.ByID(ctx, id)
}

func (s *Store) put(tx *database.Tx, actor database.Actor, r row, d Draft) error {
	was, err := r.state()
	if err != nil {
		return err
	}
	text, err := d.Spec.encode()
	if err != nil {
		return err
	}
	if r.Name == d.Name && r.Enabled == d.Enabled && r.Spec == text {
		return nil
	}
	r.Name, r.NameKey, r.Enabled, r.Spec, r.Version, r.UpdatedAt = d.Name, nameKey(d.Name), d.Enabled, text, r.Version+1, tx.Now
	err = tx.Exec("UPDATE policies SET name = ?, name_key = ?, enabled = ?, spec = ?, version = ?, updated_at = ? WHERE id = ?",
		r.Name, r.NameKey, r.Enabled, r.Spec, r.Version, r.UpdatedAt, r.ID).Error
	if err != nil {
		return err
	}
	if err := r.keep(tx, actor); err != nil {
		return err
	}
	if err := s.reassign(tx, r, d.Spec, was.enabled || d.Enabled); err != nil {
		return err
	}
	var changed []string
	for _, c := range differences(was, d.state()) {
		changed = append(changed, c.Field)
	}
	tx.Notify(database.TopicPolicies)
	return tx.Audit(actor, "policy.update", "policy:"+r.ID, map[string]any{"name": d.Name, "version": r.Version, "changed": changed})
}

func (r row) state() (state, error) {
	spec, err := decodeSpec(r.ID, r.Spec)
	return state{r.Name, r.Enabled, spec}, err
}

// Delete removes a policy with its versions. Its jobs and what became of its due times stay.
func (s *Store) Delete(ctx context.Context, actor database.Actor, id string) error {
	err := s.db.Write(ctx, func(tx *database.Tx) error {
		r, err := lock(tx, id)
		if err != nil {
			return err
		}
		if err := s.unassign(tx, r); err != nil {
			return err
		}
		if err := tx.Exec("DELETE FROM policies WHERE id = ?", id).Error; err != nil {
			return err
		}
		tx.Notify(database.TopicPolicies)
		return tx.Audit(actor, "policy.delete", "policy:"+id, map[string]any{"name": r.Name})
	})
	if err != nil {
		return fmt.Errorf("delete policy %s: %w", id, err)
	}
	return nil
}
