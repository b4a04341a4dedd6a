package fleet

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"gorm.io/gorm"

	"restic-manager/server/database"
	"restic-manager/server/fault"
	"restic-manager/shared/failpoint"
	"restic-manager/shared/wire"
)

// How long enrollment tokens live.
const (
	defaultTokenLife = time.Hour
	maxTokenLife     = 30 * 24 * time.Hour
)

type tokenRow struct {
	ID          string     `gorm:"column:id;primaryKey"`
	TokenSHA256 string     `gorm:"column:token_sha256"`
	Name        string     `gorm:"column:name"`
	Labels      string     `gorm:"column:labels"`
	CreatedAt   time.Time  `gorm:"column:created_at"`
	CreatedBy   string     `gorm:"column:created_by"`
	ExpiresAt   time.Time  `gorm:"column:expires_at"`
	UsedAt      *time.Time `gorm:"column:used_at"`
	HostID      *string    `gorm:"column:host_id"`
}

// TableName is enrollment_tokens.
func (tokenRow) TableName() string { return "enrollment_tokens" }

func (r tokenRow) token() (EnrollmentToken, error) {
	t := EnrollmentToken{ID: r.ID, Name: r.Name, CreatedAt: r.CreatedAt.UTC(), CreatedBy: r.CreatedBy,
		ExpiresAt: r.ExpiresAt.UTC(), UsedAt: database.InUTC(r.UsedAt), HostID: r.HostID}
	if err := json.Unmarshal([]byte(r.Labels), &t.Labels); err != nil {
		return t, fmt.Errorf("read the labels of enrollment token %s: %w", r.ID, err)
	}
	return t, nil
}

// CreateEnrollmentToken makes a single-use token. The secret is given once and kept nowhere: the database
// has its SHA-256.
func (s *Store) CreateEnrollmentToken(ctx context.Context, actor database.Actor, n NewEnrollmentToken) (t EnrollmentToken, secret string, err error) {
	life := n.ExpiresIn
	if life == 0 {
		life = defaultTokenLife
	}
	if life < time.Second || life > maxTokenLife {
		return t, "", fault.Invalidf("expires_in_seconds: give 1 second to 30 days")
	}
	name := n.Name
	if name != "" {
		if name, err = checkHostName(name); err != nil {
			return t, "", err
		}
	}
	labels, err := encodeLabels(n.Labels)
	if err != nil {
		return t, "", err
	}
	secret = newSecret(wire.EnrollmentTokenPrefix)
	row := tokenRow{ID: database.NewID(), TokenSHA256: hashSecret(secret), Name: name, Labels: labels, CreatedBy: actor.Name}
	err = s.db.Write(ctx, func(tx *database.Tx) error {
		row.CreatedAt, row.ExpiresAt = tx.Now, tx.Now.Add(life)
		if err := tx.Create(&row).Error; err != nil {
			return err
		}
		tx.Notify(database.TopicTokens)
		return tx.Audit(actor, "enrollment_token.create", "enrollment_token:"+row.ID,
			map[string]any{"name": name, "expires_at": row.ExpiresAt})
	})
	if err != nil {
		return t, "", fmt.Errorf("create an enrollment token: %w", err)
	}
	t, err = row.token()
	return t, secret, err
}

// EnrollmentTokens lists tokens, newest first, used and expired ones too.
func (s *Store) EnrollmentTokens(ctx context.Context, p Page) (tokens []EnrollmentToken, next string, err error) {
	q := s.db.Read(ctx).Order("created_at DESC, id DESC").Limit(p.limit() + 1)
	if p.Cursor != "" {
		var at time.Time
		var id string
		if err := decodeCursor(p.Cursor, &at, &id); err != nil {
			return nil, "", err
		}
		if !wire.IsUUID(id) {
			return nil, "", fault.Invalidf("cursor: it is not one of this list; begin again without a cursor")
		}
		q = q.Where("(created_at, id) < (?, ?)", database.Truncate(at), id)
	}
	var rows []tokenRow
	if err := q.Find(&rows).Error; err != nil {
		return nil, "", fmt.Errorf("list enrollment tokens: %w", err)
	}
	if len(rows) > p.limit() {
		rows = rows[:p.limit()]
		last := rows[len(rows)-1]
		next = encodeCursor(last.CreatedAt.UTC(), last.ID)
	}
	tokens = make([]EnrollmentToken, 0, len(rows))
	for _, r := range rows {
		t, err := r.token()
		if err != nil {
			return nil, "", err
		}
		tokens = append(tokens, t)
	}
	return tokens, next, nil
}

var errNoToken = fault.NotFoundf("there is no such enrollment token")

// EnrollmentTokenByID is one token, or not_found.
func (s *Store) EnrollmentTokenByID(ctx context.Context, id string) (EnrollmentToken, error) {
	if !wire.IsUUID(id) {
		return EnrollmentToken{}, errNoToken
	}
	var rows []tokenRow
	if err := s.db.Read(ctx).Raw("SELECT * FROM enrollment_tokens WHERE id = ?", id).Scan(&rows).Error; err != nil {
		return EnrollmentToken{}, fmt.Errorf("read enrollment token %s: %w", id, err)
	}
	if len(rows) == 0 {
		return EnrollmentToken{}, errNoToken
	}
	return rows[0].token()
}

// DeleteEnrollmentToken makes a token void. The host that it made stays.
func (s *Store) DeleteEnrollmentToken(ctx context.Context, actor database.Actor, id string) error {
	if !wire.IsUUID(id) {
		return errNoToken
	}
	err := s.db.Write(ctx, func(tx *database.Tx) error {
		done := tx.Exec("DELETE FROM enrollment_tokens WHERE id = ?", id)
		if done.Error != nil {
			return done.Error
		}
		if done.RowsAffected == 0 {
			return errNoToken
		}
		tx.Notify(database.TopicTokens)
		return tx.Audit(actor, "enrollment_token.delete", "enrollment_token:"+id, nil)
	})
	if err != nil {
		return fmt.Errorf("delete enrollment token %s: %w", id, err)
	}
	return nil
}

var errBadToken = fault.New(fault.Unauthorized, wire.ProblemEnrollmentTokenInvalid,
	"this enrollment token is not valid: it may be mistyped, expired, deleted or used by another machine; make a new one on the server")

// Enroll burns a token and makes the host, in one transaction. The same token with the same agent's hash
// gets the same host again, though the token is used or expired by now, unless the host was revoked or
// deleted. Every bad token gets the same fault.
func (s *Store) Enroll(ctx context.Context, r wire.EnrollRequest, address string) (reply wire.EnrollReply, err error) {
	if r.ProtocolVersion < wire.MinProtocolVersion {
		return reply, s.tooOld()
	}
	if !strings.HasPrefix(r.Token, wire.EnrollmentTokenPrefix) || len(r.Token) > 256 {
		return reply, errBadToken
	}
	if !wire.IsSHA256(r.AgentTokenSHA256) {
		return reply, fault.Invalidf("agent_token_sha256: give the SHA-256 of the agent's own secret, 64 hex digits")
	}
	err = s.db.Write(ctx, func(tx *database.Tx) error {
		reply, err = s.enroll(tx, r, address)
		return err
	})
	if err == nil {
		err = failpoint.Hit("server.enroll.committed")
	}
	if err != nil {
		return wire.EnrollReply{}, fmt.Errorf("enroll %q: %w", cleanLine(r.Hostname, 80), err)
	}
	reply.Settings = s.agentSettings()
	return reply, nil
}

// tooOld is the fault for agents whose protocol is no longer spoken.
func (s *Store) tooOld() *fault.Error {
	e := fault.New(fault.UpgradeRequired, wire.ProblemProtocolTooOld,
		"this agent speaks a protocol that the server no longer does: upgrade restic-manager-agent")
	e.MinProtocolVersion, e.HelpURL = wire.MinProtocolVersion, s.settings.HelpURL
	return e
}

func (s *Store) enroll(tx *database.Tx, r wire.EnrollRequest, address string) (wire.EnrollReply, error) {
	var token tokenRow
	err := tx.Raw("SELECT * FROM enrollment_tokens WHERE token_sha256 = ?"+forUpdate(tx), hashSecret(r.Token)).Scan(&token).Error
	switch {
	case err != nil:
		return wire.EnrollReply{}, err
	case token.ID == "":
		return wire.EnrollReply{}, errBadToken
	case token.HostID != nil:
		return enrolledBefore(tx, *token.HostID, r.AgentTokenSHA256)
	case !token.ExpiresAt.After(tx.Now):
		return wire.EnrollReply{}, errBadToken
	}
	host, err := insertHost(tx, token, r)
	if err != nil {
		return wire.EnrollReply{}, err
	}
	if err := tx.Exec("UPDATE enrollment_tokens SET used_at = ?, host_id = ? WHERE id = ?", tx.Now, host.ID, token.ID).Error; err != nil {
		return wire.EnrollReply{}, err
	}
	if err := s.recordHostname(tx, host.ID, r.Hostname); err != nil {
		return wire.EnrollReply{}, err
	}
	if err := s.HostChanged(tx, host.ID); err != nil {
		return wire.EnrollReply{}, err
	}
	tx.Notify(database.TopicHosts, database.TopicHost(host.ID), database.TopicTokens)
	agent := database.Actor{Kind: "agent", ID: host.ID, Name: host.Name, Address: address}
	err = tx.Audit(agent, "host.enroll", "host:"+host.ID, map[string]any{"name": host.Name, "enrollment_token_id": token.ID})
	return wire.EnrollReply{HostID: host.ID, Name: host.Name}, err
}

// enrolledBefore answers a retry after a lost reply.
func enrolledBefore(tx *database.Tx, hostID, agentSHA256 string) (wire.EnrollReply, error) {
	var host struct{ ID, Name string }
	err := tx.Raw("SELECT id, name FROM hosts WHERE id = ? AND token_sha256 = ? AND revoked_at IS NULL", hostID, agentSHA256).
		Scan(&host).Error
	if err == nil && host.ID == "" {
		err = errBadToken
	}
	return wire.EnrollReply{HostID: host.ID, Name: host.Name}, err
}

// insertHost makes the row, under the first free name.
func insertHost(tx *database.Tx, token tokenRow, r wire.EnrollRequest) (hostRow, error) {
	hostname := cleanLine(r.Hostname, maxHostname)
	facts, err := json.Marshal(wire.Facts{
		Hostname: hostname, OS: cleanLine(r.OS, 40), Arch: cleanLine(r.Arch, 40),
		AgentVersion: cleanLine(r.AgentVersion, 80), ResticVersion: cleanLine(r.ResticVersion, 80),
	})
	if err != nil {
		return hostRow{}, err
	}
	host := hostRow{
		ID: database.NewID(), Labels: token.Labels, Status: "never_seen", CreatedAt: tx.Now,
		TokenSHA256: r.AgentTokenSHA256, EnrollmentTokenID: &token.ID, Hostname: hostname,
		Facts: string(facts), Guard: "{}", Kinds: "[]", ReportedRepositories: "[]",
		AgentVersion: cleanLine(r.AgentVersion, 80), ResticVersion: cleanLine(r.ResticVersion, 80), ProtocolVersion: r.ProtocolVersion,
	}
	wanted := token.Name
	if wanted == "" {
		wanted = nameFromHostname(r.Hostname)
	}
	for try := 1; try <= 20; try++ {
		host.Name = suffixed(wanted, try)
		host.NameKey = nameKey(host.Name)
		done := tx.Clauses(onNameTaken).Create(&host)
		if errors.Is(done.Error, gorm.ErrDuplicatedKey) {
			return host, fault.New(fault.Conflict, "agent_token_used",
				"this agent's secret belongs to a host already: enroll with --force, so that the agent makes a new one")
		}
		if done.Error != nil {
			return host, done.Error
		}
		if done.RowsAffected == 1 {
			return host, nil
		}
	}
	return host, fmt.Errorf("no free name like %q was found", wanted)
}

// newSecret is 256 random bits behind a prefix.
func newSecret(prefix string) string {
	b := make([]byte, 32)
	rand.Read(b)
	return prefix + base64.RawURLEncoding.EncodeToString(b)
}

// hashSecret is what is stored of a secret: its SHA-256 in hex. The secrets have 256 random bits, so a slow
// hash would add nothing.
func hashSecret(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}
