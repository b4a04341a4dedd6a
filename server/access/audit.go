package access

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"restic-manager/server/database"
	"restic-manager/server/fault"
	"restic-manager/shared/wire"
)

// AuditFilter narrows the audit trail; zero values do not.
type AuditFilter struct {
	// Action is a whole action (host.revoke) or its noun (host).
	Action string
	// Actor is an operator's or host's id, or a name as it was then.
	Actor string
	// Target is a whole target (host:<id>) or its noun (host).
	Target string
	// Before and After bound the time: before is exclusive, after inclusive.
	Before, After *time.Time
}

// AuditEntry is one change and who made it.
type AuditEntry struct {
	ID     string         `json:"id"`
	At     time.Time      `json:"at"`
	Actor  AuditActor     `json:"actor"`
	Action string         `json:"action" doc:"What was done, noun.verb: host.revoke."`
	Target string         `json:"target" doc:"To what, noun:id; empty where there is none."`
	Detail map[string]any `json:"detail" doc:"Particulars of the action; never a secret."`
}

// AuditActor is who made a change, named as then.
type AuditActor struct {
	Kind    string `json:"kind" enum:"operator,agent,system,console"`
	ID      string `json:"id,omitempty" doc:"The operator's or host's id."`
	Name    string `json:"name"`
	Address string `json:"address,omitempty" doc:"The IP address the request came from."`
}

// Audit lists the trail, newest first.
func (a *Access) Audit(ctx context.Context, f AuditFilter, p Page) (entries []AuditEntry, next string, err error) {
	f.Action, f.Actor, f.Target = clip(f.Action, 256), clip(f.Actor, 256), clip(f.Target, 256)
	q := a.db.Read(ctx).Order("at DESC, id DESC").Limit(p.limit() + 1)
	if p.Cursor != "" {
		at, id, err := auditCursor(p.Cursor)
		if err != nil {
			return nil, "", err
		}
		q = q.Where("(at, id) < (?, ?)", at, id)
	}
	// Each condition is what an index of the trail holds, in the trail's order: see migration 0006.
	actionNoun, targetNoun := "substr(action, 1, instr(action || '.', '.') - 1) = ?", "substr(target, 1, instr(target || ':', ':') - 1) = ?"
	if a.db.Postgres() {
		actionNoun, targetNoun = "split_part(action, '.', 1) = ?", "split_part(target, ':', 1) = ?"
	}
	if strings.Contains(f.Action, ".") {
		q = q.Where("action = ?", f.Action)
	} else if f.Action != "" {
		q = q.Where(actionNoun, f.Action)
	}
	if strings.Contains(f.Target, ":") {
		q = q.Where("target = ?", f.Target)
	} else if f.Target != "" {
		q = q.Where(targetNoun, f.Target)
	}
	if wire.IsUUID(f.Actor) {
		q = q.Where("actor_id = ?", f.Actor)
	} else if f.Actor != "" {
		q = q.Where("actor_name = ?", f.Actor)
	}
	if f.Before != nil {
		q = q.Where("at < ?", database.Truncate(*f.Before))
	}
	if f.After != nil {
		q = q.Where("at >= ?", database.Truncate(*f.After))
	}
	var rows []database.Entry
	if err := q.Find(&rows).Error; err != nil {
		return nil, "", fmt.Errorf("read the audit trail: %w", err)
	}
	if len(rows) > p.limit() {
		rows = rows[:p.limit()]
		last := rows[len(rows)-1]
		next = encodeCursor(last.At.UTC().Format(time.RFC3339Nano) + " " + last.ID)
	}
	entries = make([]AuditEntry, 0, len(rows))
	for _, r := range rows {
		e, err := auditEntry(r)
		if err != nil {
			return nil, "", err
		}
		entries = append(entries, e)
	}
	return entries, next, nil
}

func auditEntry(r database.Entry) (AuditEntry, error) {
	e := AuditEntry{ID: r.ID, At: r.At.UTC(), Action: r.Action, Target: r.Target, Actor: AuditActor{Kind: r.ActorKind, Name: r.ActorName, Address: r.ActorAddress}}
	if r.ActorID != nil {
		e.Actor.ID = *r.ActorID
	}
	if err := json.Unmarshal([]byte(r.Detail), &e.Detail); err != nil {
		return AuditEntry{}, fmt.Errorf("audit row %s: %w", r.ID, err)
	}
	return e, nil
}

func auditCursor(cursor string) (at time.Time, id string, err error) {
	s, err := decodeCursor(cursor)
	if err != nil {
		return time.Time{}, "", err
	}
	stamp, id, _ := strings.Cut(s, " ")
	at, err = time.Parse(time.RFC3339Nano, stamp)
	if err != nil || !wire.IsUUID(id) {
		return time.Time{}, "", errCursor()
	}
	return at, id, nil
}

func encodeCursor(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func decodeCursor(s string) (string, error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return "", errCursor()
	}
	return clip(string(b), 256), nil
}

func errCursor() error {
	return fault.Invalidf("The cursor is not one that this list gave. Begin again without a cursor.")
}
