package wire

import "time"

// EnrollRequest turns an enrollment token into an identity. The agent makes its own secret (prefix
// AgentTokenPrefix, 256 random bits) and has it on disk before it asks; only the hash travels.
type EnrollRequest struct {
	Token            string `json:"token"`
	AgentTokenSHA256 string `json:"agent_token_sha256"` // hex
	Hostname         string `json:"hostname"`
	OS               string `json:"os"`
	Arch             string `json:"arch"`
	AgentVersion     string `json:"agent_version"`
	ResticVersion    string `json:"restic_version,omitempty"` // empty: no restic found
	ProtocolVersion  int    `json:"protocol_version"`
}

// EnrollReply answers 201, and the same 201 again to the same pair of token and hash.
type EnrollReply struct {
	HostID   string   `json:"host_id"`
	Name     string   `json:"name"`
	Settings Settings `json:"settings"`
}

// Prefixes of secrets, so that scanners and people recognise them.
const (
	EnrollmentTokenPrefix = "rme_"
	AgentTokenPrefix      = "rma_"
)

// Facts describe the machine; refreshed at each hello.
type Facts struct {
	Hostname      string `json:"hostname"`
	OS            string `json:"os"`             // GOOS
	OSVersion     string `json:"os_version"`     // for people: "Debian GNU/Linux 12 (bookworm)"
	Arch          string `json:"arch"`           // GOARCH
	CPUs          int    `json:"cpus"`           // logical processors
	MemoryBytes   int64  `json:"memory_bytes"`   // installed
	AgentVersion  string `json:"agent_version"`  //
	ResticVersion string `json:"restic_version"` // empty: none found
	ResticPath    string `json:"restic_path"`    //
	TimeZone      string `json:"time_zone"`      // IANA name or offset
	RestoreRoot   string `json:"restore_root"`   // the folder below which restores may make new folders

	Power   Power   `json:"power,omitempty"`   // empty: the agent does not look
	Metered Metered `json:"metered,omitempty"` // empty: the agent does not look
}

// Power is what a machine runs on, as far as it can be told.
type Power string

// Powers.
const (
	PowerMains   Power = "mains"
	PowerBattery Power = "battery"
	PowerUnknown Power = "unknown" // counts as mains
)

// Metered is whether a machine's connection is one that is paid by what goes through it, as far as it can be told.
type Metered string

// Answers to whether it is metered.
const (
	MeteredYes     Metered = "yes"
	MeteredNo      Metered = "no"
	MeteredUnknown Metered = "unknown" // counts as no
)

// GuardReport tells what the host's owner allows, so that the server can grey out the rest. The agent
// decides all the same.
type GuardReport struct {
	SHA256  string `json:"sha256,omitempty"` // of guard.yaml; empty: no file, the defaults hold
	Summary string `json:"summary"`          // one line for people
	Broken  string `json:"broken,omitempty"` // why everything is refused; empty: the guard is sound
	Kinds   []Kind `json:"kinds"`            // kinds it allows
}

// RepositoryReport is one repository that the host's own configuration names. Location holds no
// credentials. ID is empty until restic could be asked.
type RepositoryReport struct {
	Name     string `json:"name"`
	ID       string `json:"id,omitempty"`
	Location string `json:"location"`
}

// JobReport is one job folder on the agent's disk.
type JobReport struct {
	ID    string `json:"id"`
	Lease string `json:"lease"`
	Phase Phase  `json:"phase,omitempty"`
}

// Phase is how far a job's folder says the agent got.
type Phase string

// Phases in their order.
const (
	PhaseOffered  Phase = "offered"
	PhaseAccepted Phase = "accepted"
	PhaseStarting Phase = "starting"
	PhaseRunning  Phase = "running"
	PhaseEnded    Phase = "ended"    // restic is gone, finish is not acknowledged
	PhaseFinished Phase = "finished" // finish is acknowledged, log or listing still open
)

// HelloRequest is said once by each process before its first poll, and again when asked to.
type HelloRequest struct {
	BootID          string `json:"boot_id"`
	BootNumber      int64  `json:"boot_number"`
	Seq             int64  `json:"seq"`
	ProtocolVersion int    `json:"protocol_version"`
	AgentVersion    string `json:"agent_version"`
	ResticVersion   string `json:"restic_version,omitempty"`
	Facts           Facts  `json:"facts"`
	Kinds           []Kind `json:"kinds"`
	// Features are what the agent can do beside its kinds: FeatureSchedule, FeatureTarget, FeatureInitIfMissing, FeatureHooks,
	// FeatureEstimate, FeatureWindows, FeatureLimits.
	Features []string `json:"features,omitempty"`
	// Hooks are the names of those that the host offers: allowed by its guard, and fit to be run.
	Hooks        []string           `json:"hooks,omitempty"`
	Guard        GuardReport        `json:"guard"`
	Repositories []RepositoryReport `json:"repositories"`
	Jobs         []JobReport        `json:"jobs"`
	Now          time.Time          `json:"now"`
}

// Verdict is the server's word on one job that a hello named.
type Verdict string

// Verdicts.
const (
	VerdictContinue Verdict = "continue"
	VerdictCancel   Verdict = "cancel"
	VerdictDrop     Verdict = "drop"
)

// JobVerdict is one job's verdict.
type JobVerdict struct {
	ID      string  `json:"id"`
	Verdict Verdict `json:"verdict"`
}

// HelloReply answers hello.
type HelloReply struct {
	ServerTime time.Time    `json:"server_time"`
	Mark       string       `json:"mark"`
	Settings   Settings     `json:"settings"`
	Jobs       []JobVerdict `json:"jobs"`
}
