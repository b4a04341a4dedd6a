package guard

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"restic-manager/shared/wire"
)

// Decide answers whether this host does what the spec orders: nil when it does. The rules are asked in one
// order (kind, repository, paths, hooks, options, clock), and the first that does not allow refuses. The limits of
// guard.yaml shorten an order and refuse none: see Limits.
func (g *Guard) Decide(spec wire.Spec, f Facts) *Refusal {
	p, _, broken := g.current()
	if broken != nil {
		return &Refusal{Code: wire.CodeGuardBroken, Rule: "file",
			Message: fmt.Sprintf("this host refuses everything until its guard is mended: %v", broken)}
	}
	if spec == nil {
		return &Refusal{Code: wire.CodeInvalidSpec, Rule: "kinds", Message: "the order says nothing"}
	}
	for _, rule := range []func(wire.Spec, Facts) *Refusal{p.kind, p.repository, p.paths, p.allowedHooks, p.options, p.clock} {
		if r := rule(spec, f); r != nil {
			return r
		}
	}
	return nil
}

func refuse(rule, format string, args ...any) *Refusal {
	return &Refusal{Code: wire.CodeGuard, Rule: rule, Message: fmt.Sprintf("the guard of this host refuses by %s: ", rule) + fmt.Sprintf(format, args...)}
}

func (p *policy) kind(spec wire.Spec, _ Facts) *Refusal {
	kind := spec.Kind()
	if p.allows(kind) {
		return nil
	}
	switch kind {
	case wire.KindForget, wire.KindPrune:
		return refuse("maintenance", "%s is not allowed here; set maintenance.%s: true in guard.yaml, or enroll with --allow maintenance", kind, kind)
	case wire.KindRotateKey:
		return refuse("maintenance", "another password of the repository is not allowed here; set maintenance.keys: true in guard.yaml")
	case wire.KindRestore:
		return refuse("restore.mode", "restores are not allowed here; set restore.mode: staging in guard.yaml")
	}
	return refuse("kinds", "%s is not allowed here; name it under kinds in guard.yaml", kind)
}

// allows: an estimate tells less than the backup that it is about, and is allowed with it.
func (p *policy) allows(kind wire.Kind) bool {
	return p.kinds[kind] || kind == wire.KindEstimate && p.kinds[wire.KindBackup]
}

func (p *policy) repository(spec wire.Spec, f Facts) *Refusal {
	if info, ok := spec.Kind().Info(); ok && info.NoRepository {
		return nil
	}
	if f.LocationPending && f.Location == "" {
		return nil
	}
	return p.checkLocation(f)
}

func (p *policy) paths(spec wire.Spec, _ Facts) *Refusal {
	switch s := spec.(type) {
	case *wire.BackupSpec:
		return p.backupPaths(s.Paths)
	case *wire.EstimateSpec:
		return p.backupPaths(s.Paths)
	case *wire.RestoreSpec:
		return p.restoreTarget(s.Target)
	}
	return nil
}

func (p *policy) backupPaths(paths []string) *Refusal {
	for _, path := range paths {
		if r := p.backupPath(path); r != nil {
			return r
		}
	}
	return nil
}

// backupPath allows a path that is allowed and not denied, by what is written and by what it resolves to.
// A folder above a denied one is allowed: Denied is excluded from it.
func (p *policy) backupPath(path string) *Refusal {
	if !filepath.IsAbs(path) || filepath.Clean(path) != path {
		return refuse("backup.allow", "%.200q is not an absolute, clean path", path)
	}
	denied := withResolved(p.denied)
	if folder, in := insideAny(path, denied); in {
		return refuse("backup.deny", "%.200q lies in %s", path, folder)
	}
	if _, in := insideAny(path, p.allow); !in {
		return refuse("backup.allow", "%.200q lies in none of %s; add it in guard.yaml", path, list(p.allow))
	}
	real, err := resolve(path)
	if err != nil {
		return refuse("backup.deny", "%.200q cannot be resolved: %v", path, reason(err))
	}
	if real == path {
		return nil
	}
	if folder, in := insideAny(real, denied); in {
		return refuse("backup.deny", "%.200q is a link into %s", path, folder)
	}
	// restic sees such a path under its written name, so that the denied folders' own names would not
	// exclude them.
	for _, folder := range denied {
		if inside(folder, real) {
			return refuse("backup.deny", "%.200q is a link to %s, which holds %s; name %s itself", path, real, folder, real)
		}
	}
	if _, in := insideAny(real, withResolved(p.allow)); !in && !p.followSymlinks {
		return refuse("backup.follow_symlinked_roots", "%.200q is a link to %s, which lies in none of %s", path, real, list(p.allow))
	}
	return nil
}

// restoreTarget wants a new folder directly below the root; empty lets the agent name one after the job.
func (p *policy) restoreTarget(target string) *Refusal {
	if p.restoreRoot == "" {
		return refuse("restore.root", "no folder is set for restores; set restore.root in guard.yaml")
	}
	if target == "" {
		return nil
	}
	if strings.ContainsAny(target, "/\x00") || strings.Trim(target, ".") == "" {
		return refuse("restore.root", "%.100q is not the name of a folder below %s", target, p.restoreRoot)
	}
	if _, err := os.Lstat(filepath.Join(p.restoreRoot, target)); err == nil {
		return &Refusal{Code: wire.CodeRestoreTarget, Rule: "restore.mode",
			Message: fmt.Sprintf("%s exists; restores go into a new folder, give another target", filepath.Join(p.restoreRoot, target))}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return refuse("restore.root", "%s cannot be looked at: %v", filepath.Join(p.restoreRoot, target), reason(err))
	}
	return nil
}

// options run the spec's own check again: what arrives here may have been made by hand.
func (p *policy) options(spec wire.Spec, _ Facts) *Refusal {
	if err := spec.Validate(); err != nil {
		return &Refusal{Code: wire.CodeInvalidSpec, Rule: "options", Message: err.Error()}
	}
	return nil
}

func (p *policy) clock(spec wire.Spec, f Facts) *Refusal { return Clock(spec.Kind(), f.Skew) }

// Clock refuses what restic decides by the local clock, when that clock is off: it calls a lock stale by
// its age (restic: internal/repository/lock_file.go). skew nil is a clock that was not compared.
func Clock(kind wire.Kind, skew *time.Duration) *Refusal {
	if info, _ := kind.Info(); !info.NeedsClock {
		return nil
	}
	if skew == nil {
		return &Refusal{Code: wire.CodeClockSkew, Rule: "clock",
			Message: fmt.Sprintf("%s needs a clock that was compared with the server's, and it was not yet; try again", kind)}
	}
	if skew.Abs() > wire.MaxSkew {
		return &Refusal{Code: wire.CodeClockSkew, Rule: "clock",
			Message: fmt.Sprintf("the clock of this host is off by %s, and %s is refused above %s: set the clock (timedatectl set-ntp true)", skew.Abs().Round(time.Second), kind, wire.MaxSkew)}
	}
	return nil
}

// reason drops the path from an error of the file system: the message has it already.
func reason(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}
