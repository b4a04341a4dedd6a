package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// Spec is the typed order of one kind of job. There are no raw arguments: every field becomes a constant
// flag with a typed value, a file, or a positional after "--".
type Spec interface {
	// Kind is the kind the spec belongs to.
	Kind() Kind
	// Validate refuses what must never reach restic's command line. Both sides run it. The error names
	// the field and says what to give.
	Validate() error
}

// BackupSpec backs up absolute paths, or what a hook writes.
type BackupSpec struct {
	Paths             []string `json:"paths,omitempty"`
	Excludes          []string `json:"excludes,omitempty"`
	ExcludeCaches     bool     `json:"exclude_caches,omitempty"`
	OneFileSystem     bool     `json:"one_file_system,omitempty"`
	Tags              []string `json:"tags,omitempty"`
	DryRun            bool     `json:"dry_run,omitempty"`
	UploadLimitKiB    int      `json:"upload_limit_kib,omitempty"`    // per second, 0: none
	ExcludeLargerThan int64    `json:"exclude_larger_than,omitempty"` // bytes, 0: none

	// Hooks are scripts of the host, named only; see hooks.go. An agent without FeatureHooks gets no spec with one.
	HooksBefore []string `json:"hooks_before,omitempty" maxItems:"8" doc:"Names of the host's own scripts, run before restic in this order"`
	HooksAfter  []string `json:"hooks_after,omitempty" maxItems:"8" doc:"Run after restic, however it ended"`
	HookFailure string   `json:"hook_failure,omitempty" enum:"fail,continue" doc:"What a failed script before the backup does to it; left out: fail"`
	// HookTimeLimitSeconds is each hook's; 0: HookTimeLimit, and for StdinHook the job's own.
	HookTimeLimitSeconds int64 `json:"hook_time_limit_seconds,omitempty" minimum:"0" maximum:"86400" doc:"Of each script; 0: 10 minutes, and for stdin_hook the job's own limit"`
	// StdinHook writes what is backed up, in place of Paths, as the file StdinName of the snapshot.
	StdinHook string `json:"stdin_hook,omitempty" doc:"Name of the script whose output is backed up, in place of paths"`
	StdinName string `json:"stdin_name,omitempty" doc:"The file's name in the snapshot"`

	// For agents with FeatureLimits.
	DownloadLimitKiB int     `json:"download_limit_kib,omitempty"` // per second, 0: none
	CPUNice          int     `json:"cpu_nice,omitempty"`           // as nice(1), 0: the agent's own
	IOClass          IOClass `json:"io_class,omitempty"`           // empty: the agent's own
}

// IOClass is how restic's reading and writing of this host's disks gives way to that of others; see ioprio_set(2).
type IOClass string

// Classes from the least strict on.
const (
	IOClassOwn  IOClass = ""     // as the agent's
	IOClassLow  IOClass = "low"  // best effort, the last of its levels
	IOClassIdle IOClass = "idle" // only when nobody else reads or writes
)

// Stricter is the one of two classes that gives way more.
func (c IOClass) Stricter(other IOClass) IOClass {
	if ioClasses[other] > ioClasses[c] {
		return other
	}
	return c
}

var ioClasses = map[IOClass]int{IOClassOwn: 0, IOClassLow: 1, IOClassIdle: 2}

// Known reports whether it is a class.
func (c IOClass) Known() bool {
	_, known := ioClasses[c]
	return known
}

// MaxNice is the nicest that a process can be.
const MaxNice = 19

// Limited reports whether the backup needs an agent with FeatureLimits.
func (s *BackupSpec) Limited() bool {
	return s.DownloadLimitKiB != 0 || s.CPUNice != 0 || s.IOClass != IOClassOwn
}

// RestoreSpec restores one snapshot, or chosen paths of it, into a new folder below the host's restore
// root. Target is that folder's name, one path element; empty lets the agent name it after the job.
type RestoreSpec struct {
	SnapshotID string   `json:"snapshot_id"`
	Paths      []string `json:"paths,omitempty"` // absolute paths in the snapshot; none: all
	Target     string   `json:"target,omitempty"`
	Verify     bool     `json:"verify,omitempty"`
}

// CheckSpec checks a repository. ReadDataSubset reads part n of t of the data: "n/t" with t at most 256,
// or a percentage as "5%"; ReadData reads all.
type CheckSpec struct {
	ReadData       bool   `json:"read_data,omitempty"`
	ReadDataSubset string `json:"read_data_subset,omitempty"`
}

// PruneSpec removes unreferenced data.
type PruneSpec struct {
	MaxUnusedPercent *int `json:"max_unused_percent,omitempty"` // nil: restic's default of 5
	DryRun           bool `json:"dry_run,omitempty"`
}

// ForgetSpec removes snapshots by their full ids, never by a rule.
type ForgetSpec struct {
	SnapshotIDs []string `json:"snapshot_ids"`
	DryRun      bool     `json:"dry_run,omitempty"`
}

// InitSpec makes a new repository where the host's repository setting points.
// IfMissing: one that is there already and that the password opens is good. It goes to agents with FeatureInitIfMissing.
type InitSpec struct {
	IfMissing bool `json:"if_missing,omitempty"`
}

// SnapshotsSpec refreshes the list of snapshots.
type SnapshotsSpec struct{}

// UnlockSpec removes stale locks, as restic's plain unlock does.
type UnlockSpec struct{}

// RotateKeySpec is a step of giving a repository another password. Secrets.Password is the one that the server goes by,
// Secrets.SecondPassword the other one: the one to add, or the one whose key is to be removed.
type RotateKeySpec struct {
	Step RotateStep `json:"step"`
}

// RotateStep is a step of a rotation.
type RotateStep string

// The steps, in their order. Each may be repeated: what was done already is not done again.
const (
	RotateAdd    RotateStep = "add"
	RotateRemove RotateStep = "remove"
)

// Kind is KindBackup.
func (*BackupSpec) Kind() Kind { return KindBackup }

// Kind is KindRestore.
func (*RestoreSpec) Kind() Kind { return KindRestore }

// Kind is KindCheck.
func (*CheckSpec) Kind() Kind { return KindCheck }

// Kind is KindPrune.
func (*PruneSpec) Kind() Kind { return KindPrune }

// Kind is KindForget.
func (*ForgetSpec) Kind() Kind { return KindForget }

// Kind is KindInit.
func (*InitSpec) Kind() Kind { return KindInit }

// Kind is KindSnapshots.
func (*SnapshotsSpec) Kind() Kind { return KindSnapshots }

// Kind is KindUnlock.
func (*UnlockSpec) Kind() Kind { return KindUnlock }

// Kind is KindRotateKey.
func (*RotateKeySpec) Kind() Kind { return KindRotateKey }

// NewSpec is an empty spec of the kind, or an error for a kind this code does not know.
func NewSpec(k Kind) (Spec, error) {
	switch k {
	case KindBackup:
		return &BackupSpec{}, nil
	case KindRestore:
		return &RestoreSpec{}, nil
	case KindCheck:
		return &CheckSpec{}, nil
	case KindPrune:
		return &PruneSpec{}, nil
	case KindForget:
		return &ForgetSpec{}, nil
	case KindInit:
		return &InitSpec{}, nil
	case KindSnapshots:
		return &SnapshotsSpec{}, nil
	case KindUnlock:
		return &UnlockSpec{}, nil
	case KindRotateKey:
		return &RotateKeySpec{}, nil
	case KindEstimate:
		return &EstimateSpec{}, nil
	}
	return nil, fmt.Errorf("kind: %.40q is none of backup, restore, check, prune, forget, init, snapshots, unlock, estimate", k)
}

// DecodeSpec reads and validates the spec of a kind. Unknown fields are refused on both sides: a field
// that one side does not know might narrow what the other one means. Empty or null is the empty spec.
func DecodeSpec(k Kind, raw json.RawMessage) (Spec, error) {
	s, err := NewSpec(k)
	if err != nil {
		return nil, err
	}
	if raw = bytes.TrimSpace(raw); len(raw) > 0 && !bytes.Equal(raw, []byte("null")) {
		d := json.NewDecoder(bytes.NewReader(raw))
		d.DisallowUnknownFields()
		if err := d.Decode(s); err != nil {
			return nil, fmt.Errorf("spec: %w", err)
		}
		if _, err := d.Token(); err != io.EOF {
			return nil, errors.New("spec: one JSON object, nothing after it")
		}
	}
	return s, s.Validate()
}

// SpecFromArgs is the short form of an order: the arguments of a backup are absolute paths, nothing
// else; no other kind takes any.
func SpecFromArgs(k Kind, args []string) (Spec, error) {
	if k != KindBackup {
		return nil, fmt.Errorf("args: only backup takes them; give a spec for %s", k)
	}
	s := &BackupSpec{Paths: args}
	return s, s.Validate()
}

// Limits of specs.
const (
	maxPaths    = 1000
	maxExcludes = 1000
	maxTags     = 50
	maxPathLen  = 4096 // PATH_MAX of Linux
	maxForget   = 5000
	// maxRestoreBytes keeps the paths of a restore, which are arguments, far below Linux's limit of 2 MiB.
	maxRestoreBytes = 512 << 10
)

// Validate checks paths, patterns, tags and hooks.
func (s *BackupSpec) Validate() error {
	if err := s.checkHooks(); err != nil {
		return err
	}
	if len(s.Paths) == 0 && s.StdinHook == "" {
		return errors.New("paths: give at least one absolute path")
	}
	if err := checkPaths("paths", s.Paths); err != nil {
		return err
	}
	if len(s.Excludes) > maxExcludes {
		return fmt.Errorf("excludes: at most %d patterns", maxExcludes)
	}
	for _, e := range s.Excludes {
		if err := checkPattern(e); err != nil {
			return err
		}
	}
	if len(s.Tags) > maxTags {
		return fmt.Errorf("tags: at most %d", maxTags)
	}
	for _, t := range s.Tags {
		if err := CheckName(t); err != nil {
			return fmt.Errorf("tags: %.40q: %w", t, err)
		}
	}
	if s.UploadLimitKiB < 0 || s.UploadLimitKiB > 1<<30 {
		return errors.New("upload_limit_kib: give 0 (no limit) or KiB per second, 1073741824 at most")
	}
	if s.ExcludeLargerThan < 0 {
		return errors.New("exclude_larger_than: give 0 (no limit) or a number of bytes")
	}
	return s.checkLimits()
}

func (s *BackupSpec) checkLimits() error {
	switch {
	case s.DownloadLimitKiB < 0 || s.DownloadLimitKiB > 1<<30:
		return errors.New("download_limit_kib: give 0 (no limit) or KiB per second, 1073741824 at most")
	case s.CPUNice < 0 || s.CPUNice > MaxNice:
		return fmt.Errorf("cpu_nice: give 0 (as the agent) to %d (gives way to everything)", MaxNice)
	case !s.IOClass.Known():
		return fmt.Errorf("io_class: %.20q is none of low, idle; leave it out for the agent's own", s.IOClass)
	}
	return nil
}

// Validate checks the id, the paths and the folder's name.
func (s *RestoreSpec) Validate() error {
	if !IsSHA256(s.SnapshotID) {
		return errors.New("snapshot_id: give the full id, 64 hex digits")
	}
	if err := checkPaths("paths", s.Paths); err != nil {
		return err
	}
	total := 0
	for _, p := range s.Paths {
		total += len(p)
		// restic reads an include as a pattern; only a literal path means what it says.
		if strings.ContainsAny(p, `*?[]\`) {
			return fmt.Errorf("paths: %.80q: the characters * ? [ ] \\ are patterns to restic; restore the folder above it", p)
		}
		if strings.ContainsRune(p, utf8.RuneError) {
			return fmt.Errorf("paths: %.80q is ambiguous: its name is not UTF-8; restore the folder above it", p)
		}
	}
	if total > maxRestoreBytes {
		return fmt.Errorf("paths: together longer than %d bytes; restore the folder above them", maxRestoreBytes)
	}
	if s.Target != "" {
		if err := CheckName(s.Target); err != nil {
			return fmt.Errorf("target: the name of a new folder: %w", err)
		}
		if strings.Trim(s.Target, ".") == "" {
			return errors.New("target: give the name of a new folder, not dots")
		}
	}
	return nil
}

var readDataSubset = regexp.MustCompile(`^(?:([1-9][0-9]{0,2})/([1-9][0-9]{0,2})|([1-9][0-9]?|100)%)$`)

// Validate checks the subset.
func (s *CheckSpec) Validate() error {
	if s.ReadDataSubset == "" {
		return nil
	}
	if s.ReadData {
		return errors.New("read_data_subset: give it or read_data, not both")
	}
	m := readDataSubset.FindStringSubmatch(s.ReadDataSubset)
	if m == nil {
		return errors.New(`read_data_subset: give "n/t" with t at most 256, or a percentage such as "5%"`)
	}
	if m[1] != "" {
		var n, t int
		fmt.Sscanf(m[1]+" "+m[2], "%d %d", &n, &t)
		if t > 256 || n > t {
			return errors.New(`read_data_subset: in "n/t", t is at most 256 and n at most t`)
		}
	}
	return nil
}

// Validate checks the percentage.
func (s *PruneSpec) Validate() error {
	if p := s.MaxUnusedPercent; p != nil && (*p < 0 || *p > 100) {
		return errors.New("max_unused_percent: give 0 to 100")
	}
	return nil
}

// Validate checks the ids.
func (s *ForgetSpec) Validate() error {
	if len(s.SnapshotIDs) == 0 || len(s.SnapshotIDs) > maxForget {
		return fmt.Errorf("snapshot_ids: give 1 to %d full ids", maxForget)
	}
	for _, id := range s.SnapshotIDs {
		if !IsSHA256(id) {
			return fmt.Errorf("snapshot_ids: %.70q is not a full id of 64 hex digits", id)
		}
	}
	return nil
}

// Validate has nothing to check.
func (*InitSpec) Validate() error { return nil }

// Validate has nothing to check.
func (*SnapshotsSpec) Validate() error { return nil }

// Validate has nothing to check.
func (*UnlockSpec) Validate() error { return nil }

// Validate checks the step.
func (s *RotateKeySpec) Validate() error {
	if s.Step != RotateAdd && s.Step != RotateRemove {
		return fmt.Errorf("step: give %s or %s", RotateAdd, RotateRemove)
	}
	return nil
}

// checkPaths wants absolute, clean paths of valid UTF-8 without NUL: anything else may mean something
// else to restic than to the guard.
func checkPaths(field string, paths []string) error {
	if len(paths) > maxPaths {
		return fmt.Errorf("%s: at most %d", field, maxPaths)
	}
	for _, p := range paths {
		switch {
		case !strings.HasPrefix(p, "/"):
			return fmt.Errorf("%s: %.80q is not absolute; begin it with /", field, p)
		case len(p) > maxPathLen:
			return fmt.Errorf("%s: %.80q… is longer than %d bytes", field, p, maxPathLen)
		case !utf8.ValidString(p) || strings.ContainsRune(p, 0):
			return fmt.Errorf("%s: %.80q holds a NUL or is not UTF-8; name the folder above it", field, p)
		case path.Clean(p) != p:
			return fmt.Errorf("%s: %.80q is not clean; write %.80q", field, p, path.Clean(p))
		}
	}
	if sorted := slices.Sorted(slices.Values(paths)); len(slices.Compact(sorted)) != len(paths) {
		return fmt.Errorf("%s: a path is named twice", field)
	}
	return nil
}

// CheckExclude refuses what cannot stand as a line among the excludes of a backup.
func CheckExclude(pattern string) error { return checkPattern(pattern) }

// checkPattern wants a line that an exclude file reads as one pattern: restic strips blanks there and reads
// # as a comment. It expands $NAME too; whoever writes the file doubles the $.
func checkPattern(e string) error {
	switch {
	case e == "" || strings.TrimSpace(e) != e:
		return fmt.Errorf("excludes: %.80q is empty or has blanks around it", e)
	case len(e) > maxPathLen:
		return fmt.Errorf("excludes: %.80q… is longer than %d bytes", e, maxPathLen)
	case !utf8.ValidString(e) || strings.ContainsAny(e, "\x00\n\r"):
		return fmt.Errorf("excludes: %.80q holds a NUL, a line break or is not UTF-8", e)
	case strings.HasPrefix(e, "#"):
		return fmt.Errorf("excludes: %.80q would be read as a comment; write [#] in place of the first #", e)
	case strings.HasPrefix(e, "!"):
		return fmt.Errorf("excludes: %.80q: patterns that include again are not supported", e)
	}
	// restic matches a pattern part by part: [a/b] is none to it.
	for part := range strings.SplitSeq(e, "/") {
		if _, err := path.Match(part, part); err != nil {
			return fmt.Errorf("excludes: %.80q is not a pattern: %w; write [[] for a literal [", e, err)
		}
	}
	return nil
}

var name = regexp.MustCompile(`^[A-Za-z0-9._@:+][A-Za-z0-9._@:+-]{0,127}$`)

// CheckName checks a tag, a label's part, a folder's name: 1 to 128 of A-Z a-z 0-9 . _ @ : + -, not
// beginning with a dash.
func CheckName(s string) error {
	if !name.MatchString(s) {
		return errors.New("use 1 to 128 of the characters A-Z a-z 0-9 . _ @ : + -, not beginning with -")
	}
	return nil
}

// RepositoryEnvKeys is the closed list of environment keys a repository may set: credentials of
// backends, values only. Keys that name programs, files to read, or further configuration are not in it.
var RepositoryEnvKeys = []string{
	"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION", "AWS_REGION",
	"B2_ACCOUNT_ID", "B2_ACCOUNT_KEY",
	"AZURE_ACCOUNT_NAME", "AZURE_ACCOUNT_KEY", "AZURE_ACCOUNT_SAS", "AZURE_ENDPOINT_SUFFIX",
	"GOOGLE_PROJECT_ID", "GOOGLE_ACCESS_TOKEN",
	"OS_AUTH_URL", "OS_REGION_NAME", "OS_USERNAME", "OS_USER_ID", "OS_PASSWORD", "OS_TENANT_ID", "OS_TENANT_NAME",
	"OS_USER_DOMAIN_NAME", "OS_USER_DOMAIN_ID", "OS_PROJECT_NAME", "OS_PROJECT_DOMAIN_NAME", "OS_PROJECT_DOMAIN_ID",
	"OS_TRUST_ID", "OS_APPLICATION_CREDENTIAL_ID", "OS_APPLICATION_CREDENTIAL_NAME", "OS_APPLICATION_CREDENTIAL_SECRET",
	"OS_STORAGE_URL", "OS_AUTH_TOKEN", "ST_AUTH", "ST_USER", "ST_KEY",
	"RESTIC_REST_USERNAME", "RESTIC_REST_PASSWORD",
}

// maxRepositoryPassword fits into one page of a pipe, so that handing it to restic never blocks.
const maxRepositoryPassword = 4096

// CheckRepositoryPassword refuses a password that restic would read as another one from a file: it strips
// white space and a byte order mark. The error does not repeat it. Source: restic's LoadPasswordFromFile.
func CheckRepositoryPassword(p string) error {
	switch {
	case p == "" || len(p) > maxRepositoryPassword:
		return fmt.Errorf("password: give the repository's, 1 to %d bytes", maxRepositoryPassword)
	case strings.TrimSpace(p) != p:
		return errors.New("password: it begins or ends with white space, which restic strips; leave that away, or add a key without it (restic key add)")
	case strings.ContainsAny(p, "\x00\n\r") || strings.HasPrefix(p, "\xef\xbb\xbf") || strings.HasPrefix(p, "\xfe\xff") || strings.HasPrefix(p, "\xff\xfe"):
		return errors.New("password: it holds a NUL or a line break, or begins with a byte order mark, which restic does not keep; add another key (restic key add)")
	}
	return nil
}

// CheckRepositoryEnv refuses keys outside RepositoryEnvKeys and values with NUL or line breaks.
func CheckRepositoryEnv(env map[string]string) error {
	for k, v := range env {
		if !slices.Contains(RepositoryEnvKeys, k) {
			return fmt.Errorf("environment: %.60q is not one of the keys a repository may set (%s …)", k, strings.Join(RepositoryEnvKeys[:3], ", "))
		}
		if strings.ContainsAny(v, "\x00\n\r") || len(v) > 4096 {
			return fmt.Errorf("environment: the value of %s holds a line break or NUL, or is longer than 4096 bytes", k)
		}
	}
	return nil
}
