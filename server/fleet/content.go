package fleet

import (
	"restic-manager/server/database"
	"time"

	"restic-manager/shared/wire"
)

// content is what a Store keeps in memory for identities, logs and listings. All of it can be lost: the
// tables are the truth.
type content struct {
	identities *identities
	known      *knownSnapshots
	sealer     *sealer
	appends    *appends
	replica    string // marks the cursors of Changes
}

// Host is a machine whose data is backed up, with the newest that is known of it.
type Host struct {
	ID         string            `json:"id"`
	Name       string            `json:"name"`
	Labels     map[string]string `json:"labels"`
	Status     string            `json:"status" enum:"never_seen,online,offline,revoked"`
	CreatedAt  time.Time         `json:"created_at"`
	LastSeenAt *time.Time        `json:"last_seen_at,omitempty" doc:"Last request of the agent; absent: none yet"`
	RevokedAt  *time.Time        `json:"revoked_at,omitempty"`

	Facts                wire.Facts              `json:"facts" doc:"As the agent said at its last hello"`
	Guard                wire.GuardReport        `json:"guard" doc:"What the host's owner allows"`
	Kinds                []wire.Kind             `json:"kinds" doc:"Kinds of jobs the agent can do"`
	ReportedRepositories []wire.RepositoryReport `json:"reported_repositories" doc:"Repositories of the host's own configuration"`
	AgentVersion         string                  `json:"agent_version"`
	ResticVersion        string                  `json:"restic_version" doc:"Empty: no restic on the machine"`
	ProtocolVersion      int                     `json:"protocol_version"`
	ClockSkewSeconds     float64                 `json:"clock_skew_seconds" doc:"How far the host's clock is ahead of the server's"`
	CloneAlarm           *CloneAlarm             `json:"clone_alarm,omitempty" doc:"Two machines speak with this identity: no new jobs until it is cleared"`

	RepositoryID         *string         `json:"repository_id,omitempty" doc:"restic's own id, once known"`
	Repository           *HostRepository `json:"repository,omitempty" doc:"The repository the server holds for the host; absent: the host's own configuration names it"`
	SnapshotCount        int64           `json:"snapshot_count"`
	SnapshotsRefreshedAt *time.Time      `json:"snapshots_refreshed_at,omitempty" doc:"When the list of snapshots was true; absent: never listed"`
	ListingError         string          `json:"listing_error,omitempty" doc:"Why the last attempt to list snapshots failed"`
	LastSuccessAt        *time.Time      `json:"last_success_at,omitempty" doc:"End of the last backup that succeeded"`
	ActiveJobs           []ActiveJob     `json:"active_jobs"`
}

// CloneAlarm says that two processes with one identity were alive at once.
type CloneAlarm struct {
	At      time.Time `json:"at"`
	Message string    `json:"message"`
}

// HostRepository is what may be shown of the repository that the server holds for a host: no secret.
type HostRepository struct {
	URL       string    `json:"url"`
	EnvKeys   []string  `json:"env_keys" doc:"Names of the environment keys that are set"`
	UpdatedAt time.Time `json:"updated_at"`
}

// ActiveJob is a job that has not ended.
type ActiveJob struct {
	ID          string     `json:"id"`
	Kind        wire.Kind  `json:"kind"`
	State       wire.State `json:"state"`
	PercentDone float64    `json:"percent_done" doc:"0 to 1"`
}

// HostFilter narrows a list of hosts; empty fields do not.
type HostFilter struct {
	Status string // one of never_seen, online, offline, revoked
	Search string // part of the name or hostname, in any case
	Label  string // key, or key=value
}

// HostPatch changes a host; nil fields stay as they are.
type HostPatch struct {
	Name   *string
	Labels *map[string]string
}

// NewEnrollmentToken orders a token. Name is the host's name to be; empty takes the machine's hostname.
// ExpiresIn 0 is one hour; at most 30 days.
type NewEnrollmentToken struct {
	Name      string
	Labels    map[string]string
	ExpiresIn time.Duration
}

// EnrollmentToken is a token as it may be shown: without its secret.
type EnrollmentToken struct {
	ID        string            `json:"id"`
	Name      string            `json:"name"`
	Labels    map[string]string `json:"labels"`
	CreatedAt time.Time         `json:"created_at"`
	CreatedBy string            `json:"created_by"`
	ExpiresAt time.Time         `json:"expires_at"`
	UsedAt    *time.Time        `json:"used_at,omitempty"`
	HostID    *string           `json:"host_id,omitempty" doc:"The host it made"`
}

// RepositoryConfig is a repository the server is to hold for a host. Env has keys of
// wire.RepositoryEnvKeys only.
type RepositoryConfig struct {
	URL      string
	Password string
	Env      map[string]string
}

// LogBody is the body of a log request, as it was sent and inflated.
type LogBody struct {
	Encoding string // "", gzip or zstd
	Raw      []byte // as sent; stored so
	Plain    []byte // inflated
}

// LogPage is a stretch of a job's log.
type LogPage struct {
	Lines    []LogLine `json:"lines"`
	Next     int64     `json:"next" doc:"The next call's after: the last number given"`
	Complete bool      `json:"complete" doc:"Every line the job wrote has been received"`
	Problem  string    `json:"problem,omitempty" doc:"Why lines are missing for good; absent while they may still come"`
	Dropped  *LogRange `json:"dropped,omitempty" doc:"Lines that were received and are no longer kept"`
}

// LogLine is one line. Text is safe to show: what would act on a terminal or a page is written out.
type LogLine struct {
	N    int64     `json:"n"`
	Time time.Time `json:"t" doc:"The agent's time, corrected by its clock's skew; zero where the record does not say"`
	// Stream is out, err or agent; empty where the record does not say.
	Stream string `json:"s"`
	Text   string `json:"text"`
}

// LogRange is a range of lines, both ends included.
type LogRange struct {
	From int64 `json:"from"`
	To   int64 `json:"to"`
}

// SnapshotPage is a page of a repository's snapshots, newest first.
type SnapshotPage struct {
	Snapshots   []Snapshot `json:"snapshots"`
	RefreshedAt *time.Time `json:"refreshed_at" doc:"The list is what the repository held then; null: never listed"`
	NextCursor  string     `json:"next_cursor,omitempty"`
}

// Snapshot is one snapshot. Its figures are from restic's embedded summary: 0 where restic is older than 0.17.
type Snapshot struct {
	ID             string                `json:"id"`
	ShortID        string                `json:"short_id"`
	Time           time.Time             `json:"time"`
	Hostname       string                `json:"hostname"`
	Username       string                `json:"username,omitempty"`
	Paths          []string              `json:"paths"`
	Tags           []string              `json:"tags"`
	Excludes       []string              `json:"excludes,omitempty"`
	Parent         string                `json:"parent,omitempty"`
	Tree           string                `json:"tree"`
	Original       string                `json:"original,omitempty"`
	ProgramVersion string                `json:"program_version,omitempty"`
	SizeBytes      int64                 `json:"size_bytes"`
	FileCount      int64                 `json:"file_count"`
	DataAdded      int64                 `json:"data_added"`
	Summary        *wire.SnapshotSummary `json:"summary,omitempty"`
}

// ChangesPage tells what to fetch again.
type ChangesPage struct {
	Topics []string `json:"topics"`
	Next   string   `json:"next" doc:"The next call's since"`
	All    bool     `json:"all" doc:"Anything may have changed: the cursor is too old"`
}

// newContent fills a store's content.
func newContent(s *Store) content {
	return content{
		identities: newIdentities(s.db.Hub),
		known:      newKnownSnapshots(),
		sealer:     s.content.sealer, // set by checkKey
		appends:    &appends{},
		replica:    database.NewID(),
	}
}
