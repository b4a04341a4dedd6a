package database

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// Actor is who changed something.
type Actor struct {
	// Kind is operator, agent, system (the server itself) or console (the command line).
	Kind string
	// ID is the operator's or host's id; empty for system and console.
	ID string
	// Name as it was then.
	Name string
	// Address is the client's IP address; empty where there is none.
	Address string
}

// System is the server itself.
var System = Actor{Kind: "system", Name: "server"}

// Entry is one row of the audit trail.
type Entry struct {
	ID           string    `gorm:"column:id;primaryKey"`
	At           time.Time `gorm:"column:at"`
	ActorKind    string    `gorm:"column:actor_kind"`
	ActorID      *string   `gorm:"column:actor_id"`
	ActorName    string    `gorm:"column:actor_name"`
	ActorAddress string    `gorm:"column:actor_address"`
	Action       string    `gorm:"column:action"` // noun.verb: host.revoke
	Target       string    `gorm:"column:target"` // noun:id; empty where there is none
	Detail       string    `gorm:"column:detail"` // a JSON object without secrets
}

// TableName is audit.
func (Entry) TableName() string { return "audit" }

// Audit writes one row in this transaction: it commits or vanishes with the change it tells of. detail is a
// JSON object without secrets; nil is none.
func (t *Tx) Audit(a Actor, action, target string, detail map[string]any) error {
	if detail == nil {
		detail = map[string]any{}
	}
	raw, err := json.Marshal(detail)
	if err != nil {
		return fmt.Errorf("audit %s: %w", action, err)
	}
	e := Entry{
		ID: NewID(), At: t.Now, ActorKind: a.Kind, ActorName: a.Name, ActorAddress: a.Address,
		Action: action, Target: target, Detail: string(raw),
	}
	if a.ID != "" {
		e.ActorID = &a.ID
	}
	if err := t.Create(&e).Error; err != nil {
		return fmt.Errorf("audit %s: %w", action, err)
	}
	t.Notify(TopicAudit)
	return nil
}

// NewID is a new UUIDv7 (RFC 9562): ids sort by time of creation.
func NewID() string { return uuid.Must(uuid.NewV7()).String() }

// FirstID is not above any id.
const FirstID = "00000000-0000-0000-0000-000000000000"
