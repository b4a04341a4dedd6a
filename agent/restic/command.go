package restic

import (
	"bytes"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"restic-manager/shared/wire"
)

// Order is one job's order as restic gets it.
type Order struct {
	Spec wire.Spec
	// JobDir is the job's folder, absolute: the files that a command line names are written there.
	JobDir string
	// RestoreTarget is the absolute folder a restore writes into; empty for every other kind.
	RestoreTarget string
	// TimeLimit of the run; 0: none.
	TimeLimit time.Duration
	// Keys is what FindKeys found, for a rotation of keys alone.
	Keys *Keys
	// DownloadKiB bounds what a run reads from the repository, in KiB per second; 0: none. A backup has its own, and what
	// a rotation of keys reads is too little to count.
	DownloadKiB int
}

// File is a file that a command line names, as Prepare writes it into the job's folder.
type File struct {
	Name    string `json:"name"`
	Content []byte `json:"content"`
}

// Invocation is one run of restic, complete. It travels as JSON from the agent to the supervisor through a
// pipe and never touches the disk: it holds the repository's secrets.
type Invocation struct {
	Kind    wire.Kind `json:"kind"`
	Version Version   `json:"version"`
	Path    string    `json:"path"`
	Args    []string  `json:"args"`              // without the program's name
	Options []string  `json:"options,omitempty"` // before them
	Env     []string  `json:"env"`
	// Password reaches restic by a pipe, as RESTIC_PASSWORD_FILE=/dev/fd/3.
	Password string `json:"password"`
	// NewPassword is one to be added, readable at the next descriptor; empty: none.
	NewPassword string `json:"new_password,omitempty"`
	// Dir is where Prepare writes Files.
	Dir       string        `json:"dir,omitempty"`
	Files     []File        `json:"files,omitempty"`
	TimeLimit time.Duration `json:"time_limit"` // 0: none
	// Sources are the paths a backup reads; Missing are those of them that Prepare did not find.
	Sources []string `json:"sources,omitempty"`
	Missing []string `json:"missing,omitempty"`
	// RestoredTo is the folder a restore writes into.
	RestoredTo string `json:"restored_to,omitempty"`
	// Chosen is how many paths of the snapshot a restore names; 0: all of it.
	Chosen int `json:"chosen,omitempty"`
	// Forgets is how many snapshots a forget names.
	Forgets int `json:"forgets,omitempty"`
	// DryRun says that nothing is changed: no snapshot of the summary exists.
	DryRun bool `json:"dry_run,omitempty"`
	// Stdin says that it backs up what it reads at its standard input, which whoever runs it must give it.
	Stdin bool `json:"stdin,omitempty"`
}

// passwordFD is the descriptor at which restic reads the password: the first of exec.Cmd's ExtraFiles.
const passwordFD = "/dev/fd/3"

// newPasswordFD is the descriptor at which it reads the password to be added.
const newPasswordFD = "/dev/fd/4"

// Build makes the command line of an order. It touches no disk and validates the spec and the repository
// again; its errors are *Error with wire.CodeInvalidSpec, wire.CodeNoRepository or wire.CodeUnknownKind.
// Everything before "--" is a constant or --known=value; paths and patterns travel in files.
func Build(a Access, o Order) (Invocation, error) {
	i, err := a.begin()
	if err != nil {
		return Invocation{}, err
	}
	if o.Spec == nil {
		return Invocation{}, coded(wire.CodeInvalidSpec, "spec: there is none")
	}
	if err := o.Spec.Validate(); err != nil {
		return Invocation{}, &Error{Code: wire.CodeInvalidSpec, Message: err.Error()}
	}
	i.Kind, i.TimeLimit = o.Spec.Kind(), o.TimeLimit
	switch s := o.Spec.(type) {
	case *wire.BackupSpec:
		err = i.backup(a, o, s)
	case *wire.RestoreSpec:
		err = i.restore(o, s)
	case *wire.CheckSpec:
		i.check(s)
	case *wire.PruneSpec:
		i.prune(s)
	case *wire.ForgetSpec:
		i.forget(s)
	case *wire.InitSpec:
		i.init()
	case *wire.SnapshotsSpec:
		i.snapshots()
	case *wire.UnlockSpec:
		i.unlock()
	case *wire.RotateKeySpec:
		err = i.rotateKey(s, o.Keys)
	default:
		err = coded(wire.CodeUnknownKind, "this agent does not know jobs of the kind %.40q; upgrade it", i.Kind)
	}
	if err != nil {
		return Invocation{}, err
	}
	if o.DownloadKiB > 0 && i.Kind != wire.KindBackup && i.Kind != wire.KindRotateKey {
		i.Args = slices.Insert(i.Args, 1, flag("limit-download", strconv.Itoa(o.DownloadKiB)))
	}
	return i, nil
}

// begin is what all command lines share: program, environment, password.
func (a Access) begin() (Invocation, error) {
	env, err := a.environment()
	if err != nil {
		return Invocation{}, err
	}
	if !filepath.IsAbs(a.Binary.Path) {
		return Invocation{}, coded(wire.CodeResticMissing, "restic's path %.200q is not absolute; %s", a.Binary.Path, install)
	}
	i := Invocation{Version: a.Binary.Version, Path: a.Binary.Path, Env: env, Password: a.Repository.Password}
	if strings.HasPrefix(a.Repository.URL, "rclone:") {
		return i.withRclone(a.Host.RcloneConfig, strings.Split(SafePath, ":"))
	}
	return i, nil
}

// environment builds restic's environment from empty: constants, this host's folders, the repository, and
// credentials from the closed list.
func (a Access) environment() ([]string, error) {
	refuse := func(format string, args ...any) ([]string, error) {
		return nil, coded(wire.CodeNoRepository, format, args...)
	}
	url, err := wire.CheckRepositoryURL(a.Repository.URL)
	if err != nil {
		return refuse("%v", err)
	}
	if err := wire.CheckRepositoryEnv(a.Repository.Env); err != nil {
		return refuse("%v", err)
	}
	if err := wire.CheckRepositoryPassword(a.Repository.Password); err != nil {
		return refuse("%v", err)
	}
	for _, dir := range []string{a.Host.StateDir, a.Host.CacheDir, a.Host.TempDir} {
		if !filepath.IsAbs(dir) || strings.ContainsRune(dir, 0) {
			return refuse("the agent's folder %.200q is not absolute; set its folders in agent.yaml", dir)
		}
	}
	env := []string{
		"PATH=" + SafePath,
		"HOME=" + a.Host.StateDir,
		"TMPDIR=" + a.Host.TempDir,
		"LANG=C.UTF-8",
		"RESTIC_CACHE_DIR=" + a.Host.CacheDir,
		"RESTIC_PROGRESS_FPS=1",
		"RESTIC_PASSWORD_FILE=" + passwordFD,
		"RESTIC_REPOSITORY=" + url,
	}
	for _, k := range slices.Sorted(maps.Keys(a.Repository.Env)) {
		env = append(env, k+"="+a.Repository.Env[k])
	}
	return env, nil
}

// flag is --name=value: the value never becomes an argument of its own.
func flag(name, value string) string { return "--" + name + "=" + value }

// file plans a file in the job's folder and returns its path.
func (i *Invocation) file(o Order, name string, content []byte) (string, error) {
	if !filepath.IsAbs(o.JobDir) || strings.ContainsRune(o.JobDir, 0) || !utf8.ValidString(o.JobDir) {
		return "", coded(wire.CodeInvalidSpec, "the job's folder %.200q is not an absolute path", o.JobDir)
	}
	i.Dir = o.JobDir
	i.Files = append(i.Files, File{Name: name, Content: content})
	return filepath.Join(o.JobDir, name), nil
}

// rawList is the format of --files-from-raw: every name ends with a NUL. It is the only one that keeps
// every name as it is: --files-from-verbatim splits names at line breaks.
func rawList(paths []string) []byte {
	var b bytes.Buffer
	for _, p := range paths {
		b.WriteString(p)
		b.WriteByte(0)
	}
	return b.Bytes()
}

// patternFile is the format of --exclude-file. restic expands $NAME there and reads $$ as $; the comment
// keeps a first pattern from being taken for a byte order mark.
func patternFile(patterns []string) []byte {
	var b bytes.Buffer
	b.WriteString("# patterns of this job\n")
	for _, p := range patterns {
		b.WriteString(strings.ReplaceAll(p, "$", "$$"))
		b.WriteByte('\n')
	}
	return b.Bytes()
}
