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
	recent     *recent
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
	Hooks                []string                `json:"hooks" doc:"The host's own scripts that a backup may name"`
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
	Protection           Protection      `json:"protection" enum:"failing,never_backed_up,at_risk,protected,revoked" doc:"failing: the last backup did not succeed, or a clone alarm; at_risk: the last success is older than overdue_after_seconds, or had issues"`
	LastBackup           *LastBackup     `json:"last_backup,omitempty" doc:"The backup that ended last; canceled ones and dry runs do not count"`
	LatestSizeBytes      int64           `json:"latest_size_bytes" doc:"What the newest backup holds; 0: not known"`
	ActiveJobs           []ActiveJob     `json:"active_jobs"`
}

// LastBackup is how a host's last backup ended.
type LastBackup struct {
	JobID     string     `json:"job_id"`
	State     wire.State `json:"state"`
	EndedAt   time.Time  `json:"ended_at"`
	ErrorCode string     `json:"error_code,omitempty"`
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
	SettingID string    `json:"setting_id,omitempty" doc:"The repository it comes from; absent: it was given to this host alone"`
	Name      string    `json:"name,omitempty" doc:"That repository's name"`
}

// ActiveJob is a job that has not ended.
type ActiveJob struct {
	ID          string     `json:"id"`
	Kind        wire.Kind  `json:"kind"`
	State       wire.State `json:"state"`
	PercentDone float64    `json:"percent_done" doc:"0 to 1"`

	BytesDone      int64      `json:"bytes_done"`
	TotalBytes     int64      `json:"total_bytes"`
	ElapsedSeconds float64    `json:"elapsed_seconds"`
	StartedAt      *time.Time `json:"started_at,omitempty"`
	CurrentFile    string     `json:"current_file,omitempty"`
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
	Total       int64      `json:"total" doc:"Snapshots that match the filter"`
	NextCursor  string     `json:"next_cursor,omitempty"`
}

// SnapshotFilter narrows a list of snapshots; zero fields do not, but for All.
type SnapshotFilter struct {
	All  bool   // the whole repository's, not only the host's own
	Path string // part of one of its paths
	Tag  string // one of its tags
}

// Snapshot is one snapshot. Its figures are from restic's embedded summary; where restic was older than 0.17 and stored
// none, from the backup that made it; 0 where neither is known.
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
	JobID          string                `json:"job_id,omitempty" doc:"The backup that made it, when it is known"`
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
		recent:     newRecent(s.db.Hub, s.db.Now),
		replica:    database.NewID(),
	}
}
