package madeup

import (
	"context"
	"encoding/base64"
	"errors"
	"time"
)

// person is an operator, and whom the audit trail names.
type person struct{ kind, id, name, address, role string }

// staff are those who look after the fleet; the first orders the nightly backups.
var staff = []person{
	{name: "olga.brandt", role: "administrator"}, {name: "marek", role: "operator"}, {name: "j.okafor", role: "operator"},
	{name: "lena", role: "viewer"}, {name: "former.colleague", role: "operator"},
}

var auditColumns = []string{"id", "at", "actor_kind", "actor_id", "actor_name", "actor_address", "action", "target", "detail"}

func (f *filling) staff() {
	hired := f.o.Now.AddDate(-1, 0, 0)
	f.people = []person{{"operator", f.d.uuid(hired), "nightly", "10.20.0.5", "operator"}}
	for i, p := range staff {
		p.kind, p.id, p.address = "operator", f.d.uuid(hired.Add(time.Duration(i+1)*time.Hour)), "10.20.4."+string(rune('1'+i))
		f.people = append(f.people, p)
	}
}

func (f *filling) audit(at time.Time, by person, action, target, detail string) []any {
	var id any
	if by.id != "" {
		id = by.id
	}
	return []any{f.d.uuid(at), at, by.kind, id, by.name, by.address, action, target, detail}
}

// accounts makes the staff's, which no password opens, and their sessions, whose secrets nobody has.
func (f *filling) accounts(ctx context.Context) error {
	if f.o.AdminUser == "" {
		return nil
	}
	var operators, sessions [][]any
	for i, p := range f.people {
		hired := f.o.Now.AddDate(-1, 0, i)
		hash := "$argon2id$v=19$m=19456,t=2,p=1$" + f.secret(16) + "$" + f.secret(32)
		var disabled any
		seen := f.o.Now.Add(-time.Duration(f.d.IntN(40)) * time.Hour)
		if p.name == "former.colleague" {
			disabled, seen = f.o.Now.AddDate(0, -2, 0), f.o.Now.AddDate(0, -2, -1)
		}
		operators = append(operators, []any{p.id, p.name, lower(p.name), p.role, hash, hired, hired, disabled, seen})
		for k := 0; k < 4 && disabled == nil; k++ {
			used := f.o.Now.Add(-time.Duration(f.d.IntN(70)) * time.Hour)
			sessions = append(sessions, []any{f.d.uuid(used.Add(-time.Hour)), p.id, f.d.hex(64), used.Add(-time.Hour), used, f.o.Now.AddDate(0, 0, 6),
				p.address, pick(f.d, []string{"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15", "curl/8.14.1"})})
		}
	}
	return errors.Join(
		f.b.insert(ctx, "operators", []string{"id", "username", "username_key", "role", "password_hash", "password_changed_at", "created_at", "disabled_at", "last_login_at"}, operators),
		f.b.insert(ctx, "sessions", []string{"id", "operator_id", "secret_sha256", "created_at", "last_used_at", "expires_at", "address", "user_agent"}, sessions))
}

func (f *filling) secret(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(f.d.Uint64())
	}
	return base64.RawStdEncoding.EncodeToString(b)
}

var tokenColumns = []string{"id", "token_sha256", "name", "labels", "created_at", "created_by", "expires_at", "used_at", "host_id"}

// trail writes the enrollment tokens and the part of the audit trail that is not of jobs.
func (f *filling) trail(ctx context.Context) error {
	var tokens, audit [][]any
	admin := f.people[1]
	for _, m := range f.machines {
		made := m.created.Add(-time.Minute)
		tokens = append(tokens, []any{m.tokenID, hashed(m.token), m.name, text(m.labels()), made, admin.name, made.Add(time.Hour), m.created, m.id})
		audit = append(audit,
			f.audit(made, admin, "enrollment_token.create", "enrollment_token:"+m.tokenID, text(map[string]any{"expires_at": made.Add(time.Hour), "name": m.name})),
			f.audit(m.created, person{"agent", m.id, m.name, "10.30.0.1", ""}, "host.enroll", "host:"+m.id, text(map[string]any{"enrollment_token_id": m.tokenID, "name": m.name})))
		if m.fate == revoked {
			audit = append(audit, f.audit(m.lastSeen.Add(time.Hour), admin, "host.revoke", "host:"+m.id, text(map[string]any{"name": m.name})))
		}
		if m.cloned {
			audit = append(audit, f.audit(f.o.Now.Add(-7*time.Hour), person{kind: "system", name: "server"}, "host.clone_alarm", "host:"+m.id, "{}"))
		}
		if m.index%11 == 5 {
			at := m.created.Add(26 * time.Hour)
			audit = append(audit, f.audit(at, f.people[2], "host.update", "host:"+m.id, text(map[string]any{"labels": m.labels()})))
		}
	}
	for i := range 12 { // not used: open, and run out
		made := f.o.Now.Add(-time.Duration(i*i*3) * time.Hour).Add(-10 * time.Minute)
		id := f.d.uuid(made)
		tokens = append(tokens, []any{id, f.d.hex(64), "", text(map[string]string{"env": "prod", "site": sites[i%len(sites)]}), made, admin.name, made.Add(24 * time.Hour), nil, nil})
		audit = append(audit, f.audit(made, admin, "enrollment_token.create", "enrollment_token:"+id, text(map[string]any{"expires_at": made.Add(24 * time.Hour), "name": ""})))
	}
	for day := range 90 {
		for _, p := range f.people[1:5] {
			at := f.o.Now.AddDate(0, 0, -day).Add(-time.Duration(f.d.IntN(28800)) * time.Second)
			audit = append(audit, f.audit(at, p, "session.create", "session:"+f.d.uuid(at), "{}"))
		}
	}
	return errors.Join(f.b.insert(ctx, "enrollment_tokens", tokenColumns, tokens), f.b.insert(ctx, "audit", auditColumns, audit))
}
