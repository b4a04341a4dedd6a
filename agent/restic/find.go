package restic

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"restic-manager/shared/wire"
)

// SafePath is the PATH of every program this package runs, and where Finder looks: a constant, so that
// nothing that somebody else put into the environment can stand in for restic or ssh.
const SafePath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

const (
	probeLimit = 15 * time.Second
	install    = "install it, for example with: apt-get install restic (0.14.0 or newer), or set restic_path in agent.yaml"
)

// Binary is a restic program that was found and asked for its version.
type Binary struct {
	// Path is absolute, symbolic links resolved.
	Path    string
	Version Version
}

// stamp tells one content of a file from another without reading it.
type stamp struct {
	dev, ino     uint64
	size         int64
	mtime, ctime syscall.Timespec
	mode, uid    uint32
}

type probed struct {
	stamp   stamp
	version Version
}

// Finder finds restic, and asks each binary for its version once: again only when the file's inode, size
// or times changed. It may be used from several goroutines.
type Finder struct {
	configured string
	path       string

	mu     sync.Mutex // guards probes
	probes map[string]probed
}

// NewFinder finds the binary at an absolute path; empty: the first restic in SafePath.
func NewFinder(configured string) *Finder {
	return &Finder{configured: configured, path: SafePath, probes: map[string]probed{}}
}

// Find returns restic. Its errors are *Error: wire.CodeResticMissing says what to install, or why the
// configured file may not be run; wire.CodeResticTooOld names the version found.
func (f *Finder) Find(ctx context.Context) (Binary, error) {
	if f.configured != "" {
		if !filepath.IsAbs(f.configured) {
			return Binary{}, coded(wire.CodeResticMissing, "restic_path %.200q is not absolute; begin it with /", f.configured)
		}
		return f.at(ctx, f.configured)
	}
	var first error
	for dir := range strings.SplitSeq(f.path, ":") {
		b, err := f.at(ctx, filepath.Join(dir, "restic"))
		if err == nil {
			return b, nil
		}
		if e, ok := errors.AsType[*Error](err); ok && e.Message == notThere(filepath.Join(dir, "restic")) {
			continue
		}
		if first == nil {
			first = err
		}
	}
	if first != nil {
		return Binary{}, first
	}
	return Binary{}, coded(wire.CodeResticMissing, "there is no restic in %s; %s", f.path, install)
}

func notThere(path string) string { return "there is no restic at " + path + "; " + install }

// at probes one file, unless that was done already.
func (f *Finder) at(ctx context.Context, path string) (Binary, error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return Binary{}, &Error{Code: wire.CodeResticMissing, Message: notThere(path)}
		}
		return Binary{}, coded(wire.CodeResticMissing, "restic at %s cannot be looked at: %v", path, err)
	}
	s, err := trusted(real)
	if err != nil {
		return Binary{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if p, ok := f.probes[real]; ok && p.stamp == s {
		return usable(Binary{Path: real, Version: p.version})
	}
	v, err := probe(ctx, real)
	if err != nil {
		return Binary{}, err
	}
	f.probes[real] = probed{stamp: s, version: v}
	return usable(Binary{Path: real, Version: v})
}

func usable(b Binary) (Binary, error) {
	if b.Version.Compare(Minimum) < 0 {
		return Binary{}, coded(wire.CodeResticTooOld, "restic %s at %s is too old; %s", b.Version, b.Path, install)
	}
	return b, nil
}

// trusted refuses a program that somebody other than root or this user could have put there.
func trusted(path string) (stamp, error) {
	refuse := func(format string, args ...any) (stamp, error) {
		return stamp{}, coded(wire.CodeResticMissing, "restic at "+path+" is not run: "+format, args...)
	}
	info, err := os.Stat(path)
	if err != nil {
		return refuse("%v", err)
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !ok:
		return refuse("its owner is unknown on this system")
	case !info.Mode().IsRegular() || info.Mode()&0o111 == 0:
		return refuse("it is not a program; make it executable (chmod 755) or %s", install)
	case st.Uid != 0 && int(st.Uid) != os.Geteuid():
		return refuse("it belongs to user %d; chown it to root", st.Uid)
	case st.Mode&0o002 != 0, st.Mode&0o020 != 0 && st.Gid != 0 && int(st.Gid) != os.Getegid():
		return refuse("others may write it; chmod it to 755")
	}
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		d, err := os.Stat(dir)
		if err != nil {
			return refuse("%v", err)
		}
		if d.Mode().Perm()&0o002 != 0 && d.Mode()&fs.ModeSticky == 0 {
			return refuse("everybody may write the folder %s; chmod it to 755", dir)
		}
		if dir == "/" {
			break
		}
	}
	return stamp{dev: uint64(st.Dev), ino: st.Ino, size: st.Size, mtime: st.Mtim, ctime: st.Ctim, mode: st.Mode, uid: st.Uid}, nil
}

// probe asks a binary for its version, in an empty environment.
func probe(ctx context.Context, path string) (Version, error) {
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "version")
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + SafePath, "LANG=C.UTF-8"}
	cmd.WaitDelay = time.Second
	out := head{limit: 4096}
	cmd.Stdout = &out
	err := cmd.Run()
	v, parse := ParseVersion(strings.TrimSpace(out.buf.String()))
	switch {
	case ctx.Err() != nil:
		return Version{}, coded(wire.CodeResticMissing, "restic at %s did not tell its version within %s; %s", path, probeLimit, install)
	case err != nil:
		return Version{}, coded(wire.CodeResticMissing, "restic at %s does not run (%v); %s", path, err, install)
	case parse != nil:
		return Version{}, coded(wire.CodeResticMissing, "the program at %s is not restic; %s", path, install)
	}
	return v, nil
}

// head keeps the first limit bytes written to it and swallows the rest.
type head struct {
	buf   bytes.Buffer
	limit int
}

// Write never fails: a writer that stops reading would block restic.
func (h *head) Write(b []byte) (int, error) {
	if room := h.limit - h.buf.Len(); room > 0 {
		h.buf.Write(b[:min(room, len(b))])
	}
	return len(b), nil
}
