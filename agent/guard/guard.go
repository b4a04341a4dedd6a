// Package guard is what this host's owner allows the server to order: guard.yaml, owned by root and never
// written over the network. The server may be taken over; the guard still holds. See docs/guard.md for the
// file and docs/security.md for what it is worth.
package guard

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"

	"restic-manager/agent/hostfile"
	"restic-manager/shared/wire"
)

// Options are what the guard knows apart from its file.
type Options struct {
	// Path is guard.yaml. A missing file means the defaults.
	Path string
	// Protected are the agent's own secrets, configuration and state: always denied to backups.
	Protected []string
	// RestoreRoot is the folder that restores write below, unless guard.yaml names another.
	RestoreRoot string
	// UID is the user of the agent. Only root may own guard.yaml, or this user when it is not root.
	UID int
}

// Guard decides what may be ordered. It is safe for concurrent use and reads the file anew when it changed.
type Guard struct {
	options Options

	mu     sync.Mutex // guards the fields below
	stamp  stamp
	policy *policy
	sum    string // SHA-256 of the file in hex; empty: no file
	broken error  // why everything is refused; nil: policy is sound
}

// Refusal says which rule of the guard forbids an order. It is not an error: it is an answer.
type Refusal struct {
	// Code is one of wire.CodeGuard, CodeGuardBroken, CodeClockSkew, CodeInvalidSpec, CodeRestoreTarget.
	Code string
	// Rule is the key of guard.yaml that decided, as in "backup.deny".
	Rule string
	// Message says what was refused, by which rule, and what to do.
	Message string
}

// JobError is the refusal as the error of a rejected job.
func (r *Refusal) JobError() *wire.JobError {
	return &wire.JobError{Code: r.Code, Message: r.Message}
}

// Facts are what an order is judged by beside its spec.
type Facts struct {
	// Source is wire.RepositoryLocal where the host's own configuration names the repository; any other name where the
	// server does.
	Source string
	// Location is the repository as wire.CheckRepositoryURL returns it.
	Location string
	// LocationPending says that the server tells the location only after accept. The repository's rules are
	// left out then, and Decide must be asked again, with the location, before anything runs.
	LocationPending bool
	// Skew is the server's clock minus the host's. Nil, not known yet, refuses the kinds that need the clock.
	Skew *time.Duration
}

// Open reads the guard. It never fails: a file that is broken, or may be changed by others, makes a guard
// that refuses everything and says why.
func Open(o Options) *Guard {
	g := &Guard{options: o}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.read()
	return g
}

// Reload reads the file again, changed or not. One that is gone is taken to be meant: the defaults hold.
func (g *Guard) Reload() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.read()
}

// Report tells the server what is allowed, so that it can grey out the rest.
func (g *Guard) Report() wire.GuardReport {
	p, sum, broken := g.current()
	if broken != nil {
		return wire.GuardReport{SHA256: sum, Summary: "broken: everything is refused", Broken: broken.Error(), Kinds: []wire.Kind{}}
	}
	return wire.GuardReport{SHA256: sum, Summary: p.summary(sum == ""), Kinds: p.allowedKinds()}
}

// Denied are the files and folders that no backup may hold, as literal absolute paths, in their written and
// in their resolved form. A backup of a folder above one of them must exclude it; whoever writes them as
// patterns escapes them.
func (g *Guard) Denied() []string {
	p, _, broken := g.current()
	if broken != nil {
		p = newPolicy(g.options)
	}
	return withResolved(p.denied)
}

// RestoreRoot is the folder below which restores may make new folders; empty when restores are disabled or
// the guard is broken.
func (g *Guard) RestoreRoot() string {
	p, _, broken := g.current()
	if broken != nil || !p.kinds[wire.KindRestore] {
		return ""
	}
	return p.restoreRoot
}

// KeepsSecrets reports whether the password of a repository that the server holds may be kept on this host's disk, so
// that due jobs run after a restart while the server is away. A broken guard allows nothing.
func (g *Guard) KeepsSecrets() bool {
	p, _, broken := g.current()
	return broken == nil && p.keepSecrets
}

// RcloneConfig is the configuration that rclone is to use: the host owner's.
func (g *Guard) RcloneConfig() string {
	p, _, broken := g.current()
	if broken != nil {
		return ""
	}
	return p.rcloneConfig
}

// Limits are bounds that shorten an order in place of refusing it.
type Limits struct {
	MaxRuntime time.Duration // 0: none
	UploadKiB  int           // KiB per second, 0: none

	DownloadKiB int          // KiB per second, 0: none
	Nice        int          // as nice(1); at least so nice
	IOClass     wire.IOClass // at least so strict
}

// Limits are those of guard.yaml.
func (g *Guard) Limits() Limits {
	p, _, broken := g.current()
	if broken != nil {
		return Limits{}
	}
	return p.limits
}

// TimeLimit is the time limit of an order within the guard's; an order without one gets the guard's.
func (l Limits) TimeLimit(asked time.Duration) time.Duration {
	return time.Duration(within(int64(asked), int64(l.MaxRuntime)))
}

// Upload is the upload limit of an order within the guard's, in KiB per second; 0 is none.
func (l Limits) Upload(askedKiB int) int { return int(within(int64(askedKiB), int64(l.UploadKiB))) }

// Download is the download limit of an order within the guard's, in KiB per second; 0 is none.
func (l Limits) Download(askedKiB int) int { return int(within(int64(askedKiB), int64(l.DownloadKiB))) }

// Priority is how much an order gives way to everything else, within the guard's: the stricter of both.
func (l Limits) Priority(nice int, class wire.IOClass) (int, wire.IOClass) {
	return max(nice, l.Nice), l.IOClass.Stricter(class)
}

// within is the smaller of two bounds, where 0 means no bound.
func within(a, b int64) int64 {
	if a <= 0 || b > 0 && b < a {
		return b
	}
	return a
}

var errGone = errors.New("guard.yaml was there and is gone: everything is refused until it is back, or the agent is told by SIGHUP or a restart to go by the defaults")

// current is the guard as the file stands now.
func (g *Guard) current() (*policy, string, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stamp != stampOf(g.options.Path) {
		there := g.sum != "" || g.broken != nil
		g.read()
		if there && g.sum == "" && g.broken == nil {
			// An editor that replaces the file, or a disk that went, must not open what the file had closed.
			g.policy, g.broken = nil, errGone
		}
	}
	return g.policy, g.sum, g.broken
}

// read takes the file in; g.mu is held. The stamp is taken first: a change during the reading is then seen
// as one at the next look.
func (g *Guard) read() {
	g.stamp = stampOf(g.options.Path)
	g.policy, g.sum, g.broken = load(g.options)
}

// load reads the file. A broken one still has its sum, if it could be read.
func load(o Options) (*policy, string, error) {
	f, err := hostfile.Read(o.Path)
	if errors.Is(err, fs.ErrNotExist) {
		if _, dangling := os.Lstat(o.Path); dangling == nil {
			return nil, "", errors.New("guard.yaml is a link to a file that is not there")
		}
		return newPolicy(o), "", nil
	}
	if err != nil {
		return nil, "", errors.New("guard.yaml cannot be read: " + err.Error())
	}
	hash := sha256.Sum256(f.Data)
	sum := hex.EncodeToString(hash[:])
	if err := checkOwners(o, f); err != nil {
		return nil, sum, err
	}
	p, err := parse(f.Data, o)
	return p, sum, err
}

// allowedKinds in the order of the table of kinds.
func (p *policy) allowedKinds() []wire.Kind {
	kinds := []wire.Kind{}
	for _, i := range wire.Kinds {
		if p.allows(i.Kind) {
			kinds = append(kinds, i.Kind)
		}
	}
	return slices.Clip(kinds)
}
