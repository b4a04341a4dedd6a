package database

import (
	"encoding/json"
	"fmt"
	"sync"
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

// ids is what NewIDAt remembers, so that ids of one moment sort in the order in which this process made them.
var ids struct {
	sync.Mutex
	at    time.Time
	count uint16
}

// NewIDAt is a new UUIDv7 of that time, to the microsecond: for rows that are looked for by a time of the database's
// clock. Ids of one moment sort in the order in which one process made them.
func NewIDAt(at time.Time) string {
	ids.Lock()
	if !ids.at.Equal(at) {
		ids.at, ids.count = at, 0
	}
	ids.count++
	count := ids.count
	ids.Unlock()
	id := uuid.Must(uuid.NewRandom())
	setTime(&id, at)
	id[8], id[9], id[10] = 0x80|byte(count>>10)&0x3f, byte(count>>2), byte(count<<6)|id[10]&0x3f
	return id.String()
}

// FirstIDAt is not above any id that NewIDAt made at that time or later, and above all that it made earlier.
func FirstIDAt(at time.Time) string {
	var id uuid.UUID
	setTime(&id, at)
	return id.String()
}

// setTime writes the time as RFC 9562 wants it: milliseconds, then (section 6.2, method 3) the part of the next one in
// 4096ths.
func setTime(id *uuid.UUID, at time.Time) {
	ms, part := uint64(max(at.UnixMilli(), 0)), at.Nanosecond()%1_000_000*4096/1_000_000
	for i := range 6 {
		id[i] = byte(ms >> (40 - 8*i))
	}
	id[6], id[7] = 0x70|byte(part>>8), byte(part)
}

// FirstID is not above any id.
const FirstID = "00000000-0000-0000-0000-000000000000"
