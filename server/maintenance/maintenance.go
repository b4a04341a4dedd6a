// Package maintenance looks after repositories: it removes what no policy keeps, frees the space of it, and reads the data
// part by part to verify it. What may go is decided by retention from what the server saw; here it is read, written down,
// ordered from the machine that maintains the repository, and held against the list that follows.
//
// Every replica does the same duty. Each step locks the row of its repository and looks again whether it is still due, so
// that two at once do it once.
package maintenance

import (
	"log/slog"
	"sync"
	"time"

	"restic-manager/server/database"
	"restic-manager/server/fault"
	"restic-manager/server/fleet"
)

// Options make a Store.
type Options struct {
	DB    *database.DB
	Fleet *fleet.Store
	Log   *slog.Logger // nil discards
}

// Store is the maintenance of repositories in the database. It is safe for concurrent use.
type Store struct {
	db    *database.DB
	fleet *fleet.Store
	log   *slog.Logger

	mu     sync.Mutex // guards looked
	looked time.Time  // ends of jobs before it are noted
}

// Open starts nothing; see Duty.
func Open(o Options) *Store {
	s := &Store{db: o.DB, fleet: o.Fleet, log: o.Log}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	return s
}

// RemovalState is what has become of a removal.
type RemovalState string

// The states of a removal. Those before Done are open; a repository has one open removal at most.
const (
	Waiting RemovalState = "waiting" // for a person's yes
	Ordered RemovalState = "ordered" // its job has not been settled
	Done    RemovalState = "done"    // the list of after it holds none of them
	Failed  RemovalState = "failed"
	Refused RemovalState = "refused" // by a person
)

// Removal is a set of snapshots that retention asked to be removed.
type Removal struct {
	ID           string       `json:"id"`
	RepositoryID string       `json:"repository_id" doc:"restic's own id of the repository"`
	MadeAt       time.Time    `json:"made_at"`
	SnapshotIDs  []string     `json:"snapshot_ids" doc:"The oldest first; the first 500 of them"`
	IDCount      int64        `json:"id_count" doc:"How many they are"`
	Total        int64        `json:"total" doc:"How many snapshots there were"`
	State        RemovalState `json:"state" enum:"waiting,ordered,done,failed,refused" doc:"waiting: for a person's yes; ordered: a job removes them; done: the list of after it holds none of them"`
	Why          string       `json:"why,omitempty" doc:"Why it waits, or failed"`
	JobID        *string      `json:"job_id,omitempty"`
	DecidedBy    string       `json:"decided_by,omitempty"`
	DecidedAt    *time.Time   `json:"decided_at,omitempty"`
}

// maxShownIDs bounds the ids of a removal as people see it.
const maxShownIDs = 500

// The refusals that people get.
var (
	errNoRepository = fault.NotFoundf("there is no such repository")
	errNoRemoval    = fault.NotFoundf("there is no such removal")
)

func errNoContent() error {
	return fault.Invalidf("repository_id: restic's own id of a repository that this one is known to hold; it is known once its snapshots were listed")
}

func errFrozen(why string) error {
	return fault.New(fault.Conflict, "retention_frozen", "nothing is removed from this repository until a person has looked: %s. Adopt those snapshots or leave them out, then try again", why)
}
