// Package vault is the repositories as people set them up: where one is and what opens it, for one host or for many. What
// restic calls a repository's id, and what is in it, is fleet's. A setting is turned into the rows that fleet hands out
// with each job, so that taking a job costs nothing more.
package vault

import (
	"log/slog"
	"sync"
	"time"

	"restic-manager/server/database"
	"restic-manager/server/fleet"
)

// Options make a Store.
type Options struct {
	DB    *database.DB
	Fleet *fleet.Store
	// CheckCron is an error, with what to write instead, for a schedule that cannot be; nil: its form alone is looked at.
	CheckCron func(expression, zone string) error
	Log       *slog.Logger // nil discards
}

// Store is the repositories in the database. It is safe for concurrent use.
type Store struct {
	db        *database.DB
	fleet     *fleet.Store
	checkCron func(expression, zone string) error
	log       *slog.Logger
	kits      chan struct{} // one kit at a time: each takes 64 MiB
	kitWork   int           // scrypt's work factor

	mu     sync.Mutex // guards looked and grown
	grown  time.Time  // when the account of growth was brought up to date
	looked time.Time  // jobs that ended before it were looked at for repositories that are not there
}

// Open touches no table. From now on the fleet's maintenance jobs get their secrets here.
func Open(o Options) *Store {
	s := &Store{db: o.DB, fleet: o.Fleet, checkCron: o.CheckCron, log: o.Log, kits: make(chan struct{}, 1), kitWork: kitWork}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.checkCron == nil {
		s.checkCron = checkCronForm
	}
	o.Fleet.Use(fleet.Hooks{TargetSecrets: s.targetSecrets})
	return s
}

// Repository is a repository as it may be shown: no secret.
type Repository struct {
	ID                 string     `json:"id"`
	Name               string     `json:"name"`
	URL                string     `json:"url" doc:"As restic's --repo; {host} in it stands for each host's own folder"`
	Backend            string     `json:"backend" enum:"local,rest,sftp,s3,b2,azure,gs,swift,rclone"`
	PerHost            bool       `json:"per_host" doc:"The URL holds {host}: each host has a repository of its own"`
	AutoInit           bool       `json:"auto_init" doc:"The repository is made by itself where restic says that there is none yet"`
	AppendOnly         bool       `json:"append_only" doc:"The storage lets the hosts' credentials remove nothing"`
	EnvKeys            []string   `json:"env_keys" doc:"Names of the environment keys that are set"`
	MaintenanceEnvKeys []string   `json:"maintenance_env_keys" doc:"Those of the second set, which only the runner gets; none: the runner gets the first"`
	Runner             *NamedHost `json:"runner,omitempty" doc:"The host that maintains it"`

	Maintenance      Maintenance         `json:"maintenance"`
	HostCount        int64               `json:"host_count"`
	PolicyCount      int64               `json:"policy_count"`
	SnapshotCount    int64               `json:"snapshot_count" doc:"In all that is known to be there"`
	SizeBytes        int64               `json:"size_bytes" doc:"What the newest backups of its hosts hold together, before restic stores equal data once"`
	OldestVerifiedAt *time.Time          `json:"oldest_verified_at,omitempty" doc:"All data of all that is known to be there was read since; absent: not all of it was ever read"`
	FrozenCount      int64               `json:"frozen_count" doc:"Of how many retention removes nothing until a person has looked"`
	WaitingRemovals  int64               `json:"waiting_removals" doc:"Removals that wait for a person's yes"`
	MissingCount     int64               `json:"missing_count" doc:"Of how many restic says that they are gone"`
	CreatedAt        time.Time           `json:"created_at"`
	UpdatedAt        time.Time           `json:"updated_at"`
	KitMadeAt        *time.Time          `json:"kit_made_at,omitempty" doc:"When the last recovery kit was made"`
	KitStale         bool                `json:"kit_stale" doc:"No recovery kit was made, or what opens the repository has changed since"`
	Rotation         *Rotation           `json:"rotation,omitempty" doc:"The last change of its password by the server; only where one repository is asked for"`
	Contents         []RepositoryContent `json:"contents,omitempty" doc:"What restic found there, of one repository a host where the URL holds {host}; at most 100, and only where one repository is asked for"`
}

// NamedHost is a host by its name.
type NamedHost struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// RepositoryContent is what restic found at a repository's address.
type RepositoryContent struct {
	RepositoryID   string     `json:"repository_id" doc:"restic's own id"`
	Host           *NamedHost `json:"host,omitempty" doc:"Whose it is, where the URL holds {host}"`
	SnapshotCount  int64      `json:"snapshot_count"`
	RefreshedAt    *time.Time `json:"refreshed_at,omitempty" doc:"When the list of snapshots was true; absent: never listed"`
	Frozen         string     `json:"frozen,omitempty" doc:"Why retention removes nothing until a person has looked"`
	FrozenAt       *time.Time `json:"frozen_at,omitempty"`
	LastForgetAt   *time.Time `json:"last_forget_at,omitempty"`
	LastPruneAt    *time.Time `json:"last_prune_at,omitempty"`
	NextForgetAt   *time.Time `json:"next_forget_at,omitempty"`
	NextPruneAt    *time.Time `json:"next_prune_at,omitempty"`
	NextCheckAt    *time.Time `json:"next_check_at,omitempty"`
	MissingSince   *time.Time `json:"missing_since,omitempty" doc:"restic says that the repository that was there is gone"`
	FullyCheckedAt *time.Time `json:"fully_checked_at,omitempty" doc:"All data was read since; absent: not all of it was ever read"`
	CheckedParts   int64      `json:"checked_parts" doc:"Parts of the data that were read"`
	Parts          int64      `json:"parts" doc:"Parts that the rotating check goes through"`
}

// RepositoryHost is a host that uses a repository.
type RepositoryHost struct {
	ID           string `json:"id"`
	Name         string `json:"name"`
	RepositoryID string `json:"repository_id,omitempty" doc:"restic's own id, once known"`
	URL          string `json:"url"`
}

// New is a repository to be set up. Password empty: one is made.
type New struct {
	Name           string
	URL            string
	Password       string
	AppendOnly     bool
	Env            map[string]string
	MaintenanceEnv map[string]string
	RunnerID       string // empty: none
	Maintenance    *Maintenance
	AutoInit       *bool // nil: true
}

// Patch changes a repository; nil fields stay as they are.
type Patch struct {
	Name           *string
	URL            *string
	Password       *string
	AppendOnly     *bool
	Env            *map[string]string
	MaintenanceEnv *map[string]string
	RunnerID       *string // empty: none
	Maintenance    *Maintenance
	AutoInit       *bool
}

// Secrets are what opens a repository.
type Secrets struct {
	Password       string            `json:"password"`
	Env            map[string]string `json:"env"`
	MaintenanceEnv map[string]string `json:"maintenance_env"`
}
