package guard

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"restic-manager/agent/hostfile"
	"restic-manager/shared/wire"
)

// file is guard.yaml as written. Pointers tell a missing key from a zero.
type file struct {
	Version *int     `yaml:"version"`
	Kinds   []string `yaml:"kinds"`
	Backup  struct {
		Allow                []string `yaml:"allow"`
		Deny                 []string `yaml:"deny"`
		FollowSymlinkedRoots bool     `yaml:"follow_symlinked_roots"`
	} `yaml:"backup"`
	Repositories []repositoryRule `yaml:"repositories"`
	Restore      struct {
		Mode string `yaml:"mode"`
		Root string `yaml:"root"`
	} `yaml:"restore"`
	Maintenance struct {
		Forget *bool  `yaml:"forget"`
		Prune  *bool  `yaml:"prune"`
		Keys   *bool  `yaml:"keys"`
		Unlock string `yaml:"unlock"`
	} `yaml:"maintenance"`
	Limits struct {
		MaxRuntime string `yaml:"max_runtime"`
		UploadKiB  int    `yaml:"upload_kib"`

		DownloadKiB int    `yaml:"download_kib"`
		Nice        int    `yaml:"nice"`
		IOClass     string `yaml:"io_class"`
	} `yaml:"limits"`
	Schedule struct {
		KeepSecrets bool `yaml:"keep_secrets"`
	} `yaml:"schedule"`
	Rclone struct {
		Remotes []string `yaml:"remotes"`
		Config  string   `yaml:"config"`
	} `yaml:"rclone"`
	Hooks hookRules `yaml:"hooks"`
}

// Words of guard.yaml.
const (
	restoreDisabled = "disabled"
	restoreStaging  = "staging"
	unlockDisabled  = "disabled"
	unlockOwn       = "own-dead-locks-only"
)

// policy is what holds: the file over the defaults.
type policy struct {
	kinds          map[wire.Kind]bool
	allow          []string
	denied         []string // built-in ones first
	followSymlinks bool
	repositories   []repositoryRule // none: any
	restoreRoot    string
	limits         Limits
	keepSecrets    bool
	remotes        []string // of rclone; none: no repository is reached by it
	rcloneConfig   string
	hooks          hookRules
	uid            int
}

// kernelFolders hold no data that a restore could bring back, and much that is not what it seems.
var kernelFolders = []string{"/proc", "/sys", "/dev"}

// defaultKinds hold without a file: what neither deletes backups nor overwrites files.
var defaultKinds = []wire.Kind{wire.KindBackup, wire.KindRestore, wire.KindCheck, wire.KindInit, wire.KindSnapshots, wire.KindUnlock}

// newPolicy is what holds without a file.
func newPolicy(o Options) *policy {
	p := &policy{kinds: map[wire.Kind]bool{}, allow: []string{"/"}, restoreRoot: o.RestoreRoot, uid: o.UID,
		rcloneConfig: filepath.Join(filepath.Dir(o.Path), "rclone.conf"), hooks: hookRules{Dir: filepath.Join(filepath.Dir(o.Path), "hooks.d")}}
	for _, k := range defaultKinds {
		p.kinds[k] = true
	}
	for _, d := range o.Protected {
		p.denied = append(p.denied, path.Clean(d))
	}
	p.denied = append(p.denied, kernelFolders...)
	return p
}

// parse reads guard.yaml. Every error makes the guard refuse everything.
func parse(data []byte, o Options) (*policy, error) {
	var f file
	if err := hostfile.Decode(data, &f); err != nil {
		return nil, fmt.Errorf("guard.yaml: %w", err)
	}
	p := newPolicy(o)
	for _, part := range []func(*file) error{p.readVersion, p.readKinds, p.readBackup, p.readRepositories, p.readRestore, p.readMaintenance, p.readLimits, p.readRclone, p.readHooks} {
		if err := part(&f); err != nil {
			return nil, fmt.Errorf("guard.yaml: %w", err)
		}
	}
	p.keepSecrets = f.Schedule.KeepSecrets
	return p, nil
}

func (p *policy) readVersion(f *file) error {
	if f.Version == nil || *f.Version != 1 {
		return errors.New("version: give 1")
	}
	return nil
}

func (p *policy) readKinds(f *file) error {
	if f.Kinds == nil {
		return nil
	}
	p.kinds = map[wire.Kind]bool{}
	for _, k := range f.Kinds {
		if _, known := wire.Kind(k).Info(); !known {
			return fmt.Errorf("kinds: %.40q is not a kind of job", k)
		}
		p.kinds[wire.Kind(k)] = true
	}
	return nil
}

func (p *policy) readBackup(f *file) error {
	for key, paths := range map[string][]string{"backup.allow": f.Backup.Allow, "backup.deny": f.Backup.Deny} {
		for _, a := range paths {
			if err := checkFolder(a); err != nil {
				return fmt.Errorf("%s: %w", key, err)
			}
		}
	}
	if f.Backup.Allow != nil {
		p.allow = f.Backup.Allow
	}
	p.denied = append(p.denied, f.Backup.Deny...)
	p.followSymlinks = f.Backup.FollowSymlinkedRoots
	return nil
}

func (p *policy) readRepositories(f *file) error {
	if f.Repositories != nil && len(f.Repositories) == 0 {
		return errors.New("repositories: the list is empty; leave the key out to allow any, or take the kinds out to allow nothing")
	}
	for i := range f.Repositories {
		if err := f.Repositories[i].check(); err != nil {
			return fmt.Errorf("repositories: %w", err)
		}
	}
	p.repositories = f.Repositories
	return nil
}

func (p *policy) readRestore(f *file) error {
	switch f.Restore.Mode {
	case restoreDisabled:
		delete(p.kinds, wire.KindRestore)
	case restoreStaging:
		p.kinds[wire.KindRestore] = true
	case "":
	default:
		return fmt.Errorf("restore.mode: give %s, or %s (into new folders below restore.root)", restoreDisabled, restoreStaging)
	}
	if f.Restore.Root != "" {
		if err := checkFolder(f.Restore.Root); err != nil {
			return fmt.Errorf("restore.root: %w", err)
		}
		if f.Restore.Root == "/" {
			return errors.New("restore.root: give a folder for restores alone, not /")
		}
		p.restoreRoot = f.Restore.Root
	}
	return nil
}

func (p *policy) readMaintenance(f *file) error {
	for k, allowed := range map[wire.Kind]*bool{wire.KindForget: f.Maintenance.Forget, wire.KindPrune: f.Maintenance.Prune, wire.KindRotateKey: f.Maintenance.Keys} {
		if allowed != nil {
			p.set(k, *allowed)
		}
	}
	switch f.Maintenance.Unlock {
	case unlockDisabled:
		delete(p.kinds, wire.KindUnlock)
	case unlockOwn:
		p.kinds[wire.KindUnlock] = true
	case "":
	default:
		return fmt.Errorf("maintenance.unlock: give %s or %s", unlockDisabled, unlockOwn)
	}
	return nil
}

func (p *policy) set(k wire.Kind, allowed bool) {
	if allowed {
		p.kinds[k] = true
	} else {
		delete(p.kinds, k)
	}
}

// remoteName is that of a remote in rclone.conf: nothing that rclone reads as options.
var remoteName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_-]{0,127}$`)

func (p *policy) readRclone(f *file) error {
	for _, r := range f.Rclone.Remotes {
		if !remoteName.MatchString(r) {
			return fmt.Errorf("rclone.remotes: %.40q: give the name of a remote in rclone.conf, of letters, digits, _ and -, without the colon", r)
		}
	}
	p.remotes = f.Rclone.Remotes
	if f.Rclone.Config != "" {
		if err := checkFolder(f.Rclone.Config); err != nil {
			return fmt.Errorf("rclone.config: %w", err)
		}
		p.rcloneConfig = f.Rclone.Config
	}
	if len(p.remotes) > 0 {
		p.denied = append(p.denied, p.rcloneConfig) // it holds the secrets of the remotes
	}
	return nil
}

func (p *policy) readLimits(f *file) error {
	if f.Limits.MaxRuntime != "" {
		d, err := time.ParseDuration(f.Limits.MaxRuntime)
		if err != nil || d < time.Minute {
			return errors.New("limits.max_runtime: give a duration of at least a minute, such as 24h or 90m")
		}
		p.limits.MaxRuntime = d
	}
	if f.Limits.UploadKiB < 0 || f.Limits.UploadKiB > 1<<30 {
		return errors.New("limits.upload_kib: give 0 (no limit) or KiB per second")
	}
	p.limits.UploadKiB = f.Limits.UploadKiB
	if f.Limits.DownloadKiB < 0 || f.Limits.DownloadKiB > 1<<30 {
		return errors.New("limits.download_kib: give 0 (no limit) or KiB per second")
	}
	if f.Limits.Nice < 0 || f.Limits.Nice > wire.MaxNice {
		return fmt.Errorf("limits.nice: give 0 (as the agent) to %d (gives way to everything)", wire.MaxNice)
	}
	class := wire.IOClass(f.Limits.IOClass)
	if !class.Known() {
		return errors.New("limits.io_class: give low or idle, or leave it out for the agent's own")
	}
	p.limits.DownloadKiB, p.limits.Nice, p.limits.IOClass = f.Limits.DownloadKiB, f.Limits.Nice, class
	return nil
}

// checkFolder wants a path that means one thing: absolute, clean, of printable UTF-8.
func checkFolder(s string) error {
	if !path.IsAbs(s) || path.Clean(s) != s || !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
		return fmt.Errorf("%.80q: give an absolute path without a / at its end, and without . or ..", s)
	}
	return nil
}

// repositoryRule allows repositories; every key that is given must fit.
type repositoryRule struct {
	Schemes    []string `yaml:"schemes"`
	Hosts      []string `yaml:"hosts"`       // HOST or HOST:PORT; HOST alone is its any port
	PathPrefix string   `yaml:"path_prefix"` // by components
}

var (
	schemes  = []string{"local", "rest", "s3", "b2", "azure", "gs", "swift", "sftp", "rclone"}
	hostname = regexp.MustCompile(`^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9][A-Za-z0-9.-]*)(:[0-9]{1,5})?$`)
)

func (r *repositoryRule) check() error {
	if len(r.Schemes) == 0 && len(r.Hosts) == 0 && r.PathPrefix == "" {
		return errors.New("an entry says nothing; give it schemes, hosts or path_prefix, or leave repositories out to allow any")
	}
	for _, s := range r.Schemes {
		if !slices.Contains(schemes, s) {
			return fmt.Errorf("schemes: %.20q is none of %s", s, strings.Join(schemes, ", "))
		}
	}
	for _, h := range r.Hosts {
		if !hostname.MatchString(h) {
			return fmt.Errorf("hosts: %.80q: give HOST or HOST:PORT", h)
		}
	}
	if r.PathPrefix != "" {
		if p := path.Clean("/" + r.PathPrefix); strings.ContainsAny(r.PathPrefix, "\x00\n\r") || p != "/"+strings.Trim(r.PathPrefix, "/") {
			return fmt.Errorf("path_prefix: %.80q: give a clean path", r.PathPrefix)
		}
	}
	return nil
}

// summary is one line for people.
func (p *policy) summary(absent bool) string {
	var kinds []string
	for _, k := range p.allowedKinds() {
		if k != wire.KindEstimate || !p.kinds[wire.KindBackup] { // it goes with backup
			kinds = append(kinds, string(k))
		}
	}
	s := "allows " + strings.Join(kinds, ", ")
	if len(kinds) == 0 {
		s = "allows nothing"
	}
	if !slices.Equal(p.allow, []string{"/"}) {
		s += fmt.Sprintf("; backups of %s", list(p.allow))
	}
	if len(p.repositories) > 0 {
		s += "; only the repositories it names"
	}
	if p.keepSecrets {
		s += "; keeps the server's repository password on disk"
	}
	s += p.hookSummary()
	if absent {
		s += " (no guard.yaml: the defaults)"
	}
	return s
}

// list shows at most five, so that a long file stays one line.
func list(paths []string) string {
	if len(paths) == 0 {
		return "nothing"
	}
	sorted := slices.Sorted(maps.Keys(set(paths)))
	if len(sorted) > 5 {
		return fmt.Sprintf("%s and %d more", strings.Join(sorted[:5], ", "), len(sorted)-5)
	}
	return strings.Join(sorted, ", ")
}

func set(items []string) map[string]bool {
	m := map[string]bool{}
	for _, i := range items {
		m[i] = true
	}
	return m
}
