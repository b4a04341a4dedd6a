package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Kind names what a job does.
type Kind string

// The kinds of jobs.
const (
	KindBackup    Kind = "backup"
	KindRestore   Kind = "restore"
	KindCheck     Kind = "check"
	KindPrune     Kind = "prune"
	KindForget    Kind = "forget"
	KindInit      Kind = "init"
	KindSnapshots Kind = "snapshots"
	KindUnlock    Kind = "unlock"
	// KindRotateKey is a step of giving a repository another password; the server alone orders it.
	KindRotateKey Kind = "rotate_key"
	KindEstimate  Kind = "estimate"
)

// Lane is which of a host's lanes a job occupies; one job per lane and host.
type Lane string

// The lanes.
const (
	LaneLong  Lane = "long"
	LaneShort Lane = "short"
)

// Hold is what a job needs of its repository while accepted or running.
type Hold string

// The holds.
const (
	HoldNone      Hold = "none"
	HoldShared    Hold = "shared"
	HoldExclusive Hold = "exclusive"
)

// KindInfo is the row of a kind in the protocol's table.
type KindInfo struct {
	Kind      Kind
	Lane      Lane
	Hold      Hold
	TimeLimit time.Duration
	// Lists says that a snapshot listing follows a success.
	Lists bool
	// NeedsClock says that the kind is refused when the host's clock is off by more than MaxSkew.
	NeedsClock bool
	// NoRepository says that the kind does without the repository: nothing of it is told, asked or learnt.
	NoRepository bool
}

// Kinds is the table of kinds, in the order the UI shows them.
var Kinds = []KindInfo{
	{Kind: KindBackup, Lane: LaneLong, Hold: HoldShared, TimeLimit: 24 * time.Hour, Lists: true},
	{Kind: KindRestore, Lane: LaneLong, Hold: HoldShared, TimeLimit: 24 * time.Hour},
	{Kind: KindCheck, Lane: LaneLong, Hold: HoldExclusive, TimeLimit: 24 * time.Hour},
	{Kind: KindPrune, Lane: LaneLong, Hold: HoldExclusive, TimeLimit: 24 * time.Hour, NeedsClock: true},
	{Kind: KindForget, Lane: LaneShort, Hold: HoldExclusive, TimeLimit: time.Hour, Lists: true, NeedsClock: true},
	{Kind: KindInit, Lane: LaneShort, Hold: HoldExclusive, TimeLimit: 10 * time.Minute, Lists: true},
	{Kind: KindSnapshots, Lane: LaneShort, Hold: HoldShared, TimeLimit: 10 * time.Minute, Lists: true},
	{Kind: KindUnlock, Lane: LaneShort, Hold: HoldNone, TimeLimit: 10 * time.Minute, NeedsClock: true},
	{Kind: KindRotateKey, Lane: LaneShort, Hold: HoldExclusive, TimeLimit: 10 * time.Minute},
	{Kind: KindEstimate, Lane: LaneShort, Hold: HoldNone, TimeLimit: 10 * time.Minute, NoRepository: true},
}

// Info is the kind's row; ok is false for a kind this code does not know.
func (k Kind) Info() (KindInfo, bool) {
	for _, i := range Kinds {
		if i.Kind == k {
			return i, true
		}
	}
	return KindInfo{}, false
}

// JobRef names a job at an agent by the lease the agent has for it.
type JobRef struct {
	ID    string `json:"id"`
	Lease string `json:"lease"`
}

// PollQuery is the query of next-command. Jobs names every job folder there is.
type PollQuery struct {
	Wait      time.Duration // whole seconds; 0 answers at once
	Boot      string
	Seq       int64
	Mark      string
	FreeLong  int
	FreeShort int
	Jobs      []JobRef
	Config    string // version of the configuration the agent has
}

// Encode writes the query string.
func (q PollQuery) Encode() string {
	v := url.Values{}
	v.Set("wait", strconv.Itoa(int(q.Wait/time.Second)))
	v.Set("boot", q.Boot)
	v.Set("seq", strconv.FormatInt(q.Seq, 10))
	v.Set("mark", q.Mark)
	v.Set("free_long", strconv.Itoa(q.FreeLong))
	v.Set("free_short", strconv.Itoa(q.FreeShort))
	if len(q.Jobs) > 0 {
		refs := make([]string, len(q.Jobs))
		for i, j := range q.Jobs {
			refs[i] = j.ID + ":" + j.Lease
		}
		v.Set("jobs", strings.Join(refs, ","))
	}
	if q.Config != "" {
		v.Set("config", q.Config)
	}
	return v.Encode()
}

// MaxPollJobs bounds how many job folders one poll may name.
const MaxPollJobs = 1000

// ParsePollQuery reads a poll's query. Errors name the parameter.
func ParsePollQuery(v url.Values) (PollQuery, error) {
	q := PollQuery{Boot: v.Get("boot"), Mark: v.Get("mark"), Config: v.Get("config")}
	var bad error
	number := func(name string, low, high int64) int64 {
		s := v.Get(name)
		if s == "" {
			return 0
		}
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n < low || n > high {
			bad = errors.Join(bad, fmt.Errorf("%s: give a whole number from %d to %d", name, low, high))
			return 0
		}
		return n
	}
	q.Wait = time.Duration(number("wait", 0, 60)) * time.Second
	q.Seq = number("seq", 0, 1<<62)
	q.FreeLong = int(number("free_long", 0, 100))
	q.FreeShort = int(number("free_short", 0, 100))
	if q.Boot == "" || len(q.Boot) > 64 || CheckName(q.Boot) != nil {
		bad = errors.Join(bad, errors.New("boot: give the boot id of this process"))
	}
	if len(q.Mark) > 64 || len(q.Config) > 64 {
		bad = errors.Join(bad, errors.New("mark, config: at most 64 characters"))
	}
	if s := v.Get("jobs"); s != "" {
		refs := strings.Split(s, ",")
		if len(refs) > MaxPollJobs {
			return PollQuery{}, errors.Join(bad, fmt.Errorf("jobs: at most %d", MaxPollJobs))
		}
		for _, r := range refs {
			id, lease, ok := strings.Cut(r, ":")
			if !ok || !IsUUID(id) || (lease != "" && !IsRandomHex(lease)) {
				bad = errors.Join(bad, errors.New("jobs: give id:lease pairs, separated by commas"))
				break
			}
			q.Jobs = append(q.Jobs, JobRef{ID: id, Lease: lease})
		}
	}
	return q, bad
}

// Offer is a job that waits for the agent. It holds no secret.
type Offer struct {
	JobID            string          `json:"job_id"`
	Delivery         int             `json:"delivery"`
	Kind             Kind            `json:"kind"`
	Spec             json.RawMessage `json:"spec"`
	Repository       RepositoryRef   `json:"repository"`
	TimeLimitSeconds int64           `json:"time_limit_seconds"`
	QueuedAt         time.Time       `json:"queued_at"`
	// PolicyID is that of the job's policy, which hooks are told; empty: none.
	PolicyID string `json:"policy_id,omitempty"`
}

// RepositoryRef names the repository of a job. ID is restic's own, once known.
type RepositoryRef struct {
	Name string `json:"name"`
	ID   string `json:"id,omitempty"`
}

// Repository names that say where the location and password come from.
const (
	// RepositoryLocal is the one in the host's own agent.yaml.
	RepositoryLocal = "local"
	// RepositoryServer is the one the server holds for the host; it rides on accept, in memory only.
	RepositoryServer = "server"
	// RepositoryTarget is another one than the host's own, for maintenance; it rides on accept, in memory only.
	RepositoryTarget = "target"
)

// PollReply answers next-command; after the wait it holds the mark alone.
type PollReply struct {
	Mark      string     `json:"mark"`
	Offer     *Offer     `json:"offer,omitempty"`
	Cancel    []string   `json:"cancel,omitempty"`
	Drop      []JobRef   `json:"drop,omitempty"`
	Configure *Configure `json:"configure,omitempty"`
}

// Configure is a newer configuration than the poll named.
type Configure struct {
	Version  string   `json:"version"`
	Settings Settings `json:"settings"`
	// Schedule is nil for an agent without FeatureSchedule.
	Schedule *Schedule `json:"schedule,omitempty"`
}

// IsEmpty reports whether the reply asks for nothing.
func (r PollReply) IsEmpty() bool {
	return r.Offer == nil && len(r.Cancel) == 0 && len(r.Drop) == 0 && r.Configure == nil
}

// IsUUID reports whether s is a UUID in its canonical lower-case form (RFC 9562).
func IsUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i, c := range []byte(s) {
		switch {
		case i == 8 || i == 13 || i == 18 || i == 23:
			if c != '-' {
				return false
			}
		case !isLowerHex(c):
			return false
		}
	}
	return true
}

// IsRandomHex reports whether s is 128 bits in lower-case hex: a lease, a nonce, a listing token.
func IsRandomHex(s string) bool { return len(s) == 32 && allHex(s) }

// IsSHA256 reports whether s is a SHA-256 (or a restic id) in lower-case hex.
func IsSHA256(s string) bool { return len(s) == 64 && allHex(s) }

func allHex(s string) bool {
	return !slices.ContainsFunc([]byte(s), func(c byte) bool { return !isLowerHex(c) })
}

func isLowerHex(c byte) bool { return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' }
