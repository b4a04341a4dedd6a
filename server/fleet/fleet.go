// Package fleet is the domain: hosts, enrollment, jobs, their logs, repositories and snapshots. Every rule
// of theirs is here or in fleet/job, and every change is one transaction.
package fleet

import (
	"context"
	"log/slog"
	"time"

	"restic-manager/server/database"
	"restic-manager/shared/wire"
)

// Settings are the figures an installation may change; zero values mean the defaults of package wire and
// docs/configuration.md.
type Settings struct {
	OfflineAfter   time.Duration // 90 s
	OverdueAfter   time.Duration // age of the last success at which a host is at risk: 48 h
	LogBytesPerJob int64         // what an agent keeps of one job's log: 64 MiB
	LogHeadBytes   int64         // what the server keeps of a job's beginning: 8 MiB
	LogTailBytes   int64         // and of its end: 8 MiB
	LogKeep        time.Duration // age at which logs of ended jobs go: 90 days
	MaxRecordBytes int           // 64 KiB
	HelpURL        string        // told to agents that are too old
	PollHold       time.Duration // longest hold of a poll; 0: as asked
}

// Options make a Store.
type Options struct {
	DB       *database.DB
	Key      []byte // 32 bytes: seals repository passwords; its fingerprint is checked against the database
	Settings Settings
	Log      *slog.Logger // nil discards
}

// Store is the fleet in the database. It is safe for concurrent use.
type Store struct {
	db       *database.DB
	settings Settings
	log      *slog.Logger
	key      []byte
	hooks    Hooks

	core    // jobs, polls, leases, the sign of life: see core.go
	content // logs, listings, identities: see content.go
}

// Open checks the encryption key against the database and starts nothing. Another key than the database's is
// an error: it would seal what nobody can open.
func Open(ctx context.Context, o Options) (*Store, error) {
	s := &Store{db: o.DB, settings: o.Settings.withDefaults(), log: o.Log, key: o.Key}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if err := s.checkKey(ctx); err != nil {
		return nil, err
	}
	s.core = newCore(s)
	s.content = newContent(s)
	return s, nil
}

func (s Settings) withDefaults() Settings {
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	set(&s.OfflineAfter, wire.OfflineAfter)
	set(&s.OverdueAfter, 48*time.Hour)
	set(&s.LogKeep, 90*24*time.Hour)
	for _, f := range []struct {
		p *int64
		v int64
	}{{&s.LogBytesPerJob, 64 << 20}, {&s.LogHeadBytes, 8 << 20}, {&s.LogTailBytes, 8 << 20}} {
		if *f.p == 0 {
			*f.p = f.v
		}
	}
	if s.MaxRecordBytes == 0 {
		s.MaxRecordBytes = wire.MaxRecord
	}
	return s
}

// agentSettings are what agents are told.
func (s *Store) agentSettings() wire.Settings {
	return wire.Settings{LogBytesPerJob: s.settings.LogBytesPerJob, MaxRecordBytes: s.settings.MaxRecordBytes}
}

// Page asks for one page of a list. Cursor is opaque: empty for the first page, else the last answer's
// next_cursor. Limit 0 is 50; at most 1000.
type Page struct {
	Cursor string
	Limit  int
}
