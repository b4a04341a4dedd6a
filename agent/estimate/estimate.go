// Package estimate reads a host's tree as a backup would, and says what would be in it and what not. It reads names, sizes
// and kinds, and of CACHEDIR.TAG files the first 43 bytes; of no other file anything. What the guard denies is neither
// looked into nor named.
//
// It runs as a process of its own below a supervisor, at low priority, and speaks as restic does: lines of JSON for
// progress, errors and the summary.
package estimate

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"restic-manager/agent/pattern"
	"restic-manager/shared/wire"
)

// Order is what is to be read.
type Order struct {
	Spec wire.EstimateSpec `json:"spec"`
	// Denied are the guard's folders and files as clean absolute paths, in their written and in their resolved form.
	Denied []string `json:"denied"`
}

// Told is where the reading is.
type Told struct {
	Files, Bytes, Errors int64
	Folder               string
}

// Watch is told what happens; both may be nil. Progress comes at most every half second.
type Watch struct {
	Progress func(Told)
	// Unreadable names what is in and could not be read.
	Unreadable func(path string, err error)
}

const progressEvery = 500 * time.Millisecond

// entry is a file or folder with what is known of the folder it lies in.
type entry struct {
	name, path string
	parts      []string
	// device is the one that the nearest of the paths lies on, above that of the folder.
	device, above uint64
	cached        bool // the folder is a cache
	untested      bool // the folder is above one of the paths, and so in it whatever the patterns say
}

// walk is one reading of the tree.
type walk struct {
	order    Order
	patterns pattern.List
	denied   map[string]bool
	roots    map[string]bool // all paths of the spec
	onTheWay map[string]bool // folders between a path of the spec and another one below it
	estimate *wire.Estimate
	largest  top[wire.EstimateFolder]
	out      top[wire.EstimateExcluded]
	samples  sampler
	watch    Watch
	told     Told
	toldAt   time.Time
	now      func() time.Time
	seen     map[int]bool // patterns that matched anything
	included func(path string)
}

// Read reads the tree. The error says that the order makes no sense.
func Read(o Order, w Watch) (*wire.Estimate, error) { return read(o, w, func(string) {}) }

// read tells included everything that is in.
func read(o Order, w Watch, included func(path string)) (*wire.Estimate, error) {
	list, err := pattern.ParseList(o.Spec.Excludes)
	if err != nil {
		return nil, err
	}
	k := &walk{order: o, patterns: list, denied: map[string]bool{}, roots: map[string]bool{}, onTheWay: map[string]bool{}, watch: w, now: time.Now, included: included,
		seen: map[int]bool{}, estimate: &wire.Estimate{Patterns: make([]wire.EstimatePattern, len(o.Spec.Excludes))}}
	k.largest.size, k.largest.path = func(f wire.EstimateFolder) int64 { return f.Bytes }, func(f wire.EstimateFolder) string { return f.Path }
	k.out.size, k.out.path = func(x wire.EstimateExcluded) int64 { return x.Bytes }, func(x wire.EstimateExcluded) string { return x.Path }
	for _, d := range o.Denied {
		k.denied[d] = true
	}
	for _, root := range k.outermost() {
		k.root(root)
	}
	k.progress(true, "")
	k.estimate.Largest, k.estimate.LargestExcluded, k.estimate.Samples = k.largest.sorted(), k.out.sorted(), k.samples.sorted()
	return k.estimate, k.estimate.Fit(wire.MaxEstimate)
}

// outermost are the paths that lie in no other one, in order. A path within another one is met on the way, and so are the
// folders between them, which restic takes in untested.
func (k *walk) outermost() []string {
	sorted := slices.Sorted(slices.Values(k.order.Spec.Paths))
	for _, p := range sorted {
		k.roots[p] = true
	}
	return slices.DeleteFunc(sorted, func(p string) bool {
		inner := false
		for above := p; above != "/"; {
			above = path.Dir(above)
			inner = inner || k.roots[above]
		}
		for above := path.Dir(p); inner; above = path.Dir(above) {
			k.onTheWay[above] = true
			if k.roots[above] && !k.inner(above) {
				break
			}
		}
		return inner
	})
}

func (k *walk) inner(p string) bool {
	for p != "/" {
		if p = path.Dir(p); k.roots[p] {
			return true
		}
	}
	return false
}

// root reads one path. Of the root of all, restic reads each entry as if it were a path.
func (k *walk) root(p string) {
	if p == "/" {
		k.folder(unix.AT_FDCWD, "/", entry{path: "/", untested: true})
		return
	}
	above, err := open(unix.AT_FDCWD, path.Dir(p), 0)
	if err != nil {
		k.unreadable(p, err)
		return
	}
	defer above.Close()
	fd := int(above.Fd())
	// The guard has looked where the path leads; somebody may have moved it since.
	if real, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd)); err != nil || k.isDenied(path.Join(real, path.Base(p))) {
		return
	}
	k.visit(fd, entry{name: path.Base(p), path: p, parts: pattern.Parts(p), untested: true,
		cached: k.order.Spec.ExcludeCaches && k.isCache(fd, path.Dir(p))})
}

// visit reads what e names in the folder fd and returns what of it is in.
func (k *walk) visit(fd int, e entry) (files, bytes int64) {
	if k.denied[e.path] {
		return 0, 0
	}
	var st unix.Stat_t
	err := retried(func() error { return unix.Fstatat(fd, e.name, &st, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT) })
	above := k.onTheWay[e.path]
	if !above {
		if out, matched := k.patterns.Excludes(e.parts, !e.untested, nil); out {
			if err == nil {
				k.excludeByPattern(fd, e, st, matched)
			}
			return 0, 0
		}
	}
	if err != nil {
		k.unreadable(e.path, err)
		return 0, 0
	}
	if k.roots[e.path] {
		e.device = st.Dev
	}
	kind := st.Mode & unix.S_IFMT
	if !above {
		// restic leaves sockets out without a word.
		if kind == unix.S_IFSOCK || k.excludedOtherwise(fd, e, st) {
			return 0, 0
		}
	}
	k.included(e.path)
	switch kind {
	case unix.S_IFDIR:
		k.estimate.Folders++
		if k.order.Spec.OneFileSystem && st.Dev != e.device && !above {
			return 0, 0 // where another file system is mounted: the folder is in, what lies in it is not
		}
		files, bytes = k.folder(fd, e.name, entry{path: e.path, parts: e.parts, device: e.device, above: st.Dev, untested: above})
		if bytes == 0 {
			return files, bytes
		}
		k.largest.add(wire.EstimateFolder{Path: shown(e.path), Files: files, Bytes: bytes, Exclude: literal(e.path)})
		return files, bytes
	case unix.S_IFREG:
		k.estimate.Files++
		k.estimate.Bytes += st.Size
		k.samples.add(e.path)
		return 1, st.Size
	}
	k.estimate.Others++
	return 0, 0
}

// folder reads what lies in a folder; e is the folder as what lies in it sees it, but for its name.
func (k *walk) folder(fd int, name string, e entry) (files, bytes int64) {
	d, err := open(fd, name, unix.O_NOFOLLOW)
	if err != nil {
		k.unreadable(e.path, err)
		return 0, 0
	}
	defer d.Close()
	k.progress(false, e.path)
	names, err := d.Readdirnames(-1)
	if err != nil {
		k.unreadable(e.path, err)
	}
	slices.Sort(names)
	inner := int(d.Fd())
	if e.path == "/" {
		var st unix.Stat_t
		if unix.Fstat(inner, &st) == nil {
			e.device, e.above = st.Dev, st.Dev
		}
	}
	e.cached = k.order.Spec.ExcludeCaches && slices.Contains(names, cacheTag) && k.isCache(inner, e.path)
	for _, n := range names {
		child := e
		child.name, child.path = n, path.Join(e.path, n)
		child.parts = append(slices.Clip(e.parts), n)
		f, b := k.visit(inner, child)
		files, bytes = files+f, bytes+b
	}
	return files, bytes
}

// open opens a folder; AT_FDCWD stands for a path of its own.
func open(fd int, name string, flags int) (*os.File, error) {
	var f int
	err := retried(func() (err error) {
		f, err = unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NONBLOCK|flags, 0)
		return err
	})
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(f), name), nil
}

func retried(call func() error) error {
	for {
		if err := call(); err != syscall.EINTR {
			return err
		}
	}
}

// excludedOtherwise judges by cache, file system and size. Source: restic doc, "Excluding files".
func (k *walk) excludedOtherwise(fd int, e entry, st unix.Stat_t) bool {
	s := k.order.Spec
	folder := st.Mode&unix.S_IFMT == unix.S_IFDIR
	switch {
	case e.cached && e.name != cacheTag:
		k.exclude(fd, e, st, &k.estimate.Caches, wire.ExcludedByCache, nil)
	case s.OneFileSystem && st.Dev != e.device && !(folder && e.above == e.device):
		k.exclude(fd, e, st, &k.estimate.FileSystems, wire.ExcludedByFileSystem, nil)
	case s.ExcludeLargerThan > 0 && !folder && st.Size > s.ExcludeLargerThan:
		k.exclude(fd, e, st, &k.estimate.TooLarge, wire.ExcludedBySize, nil)
	default:
		// A mount point is in as an empty folder: what it hides is named as it would be met.
		if s.OneFileSystem && st.Dev != e.device && !k.onTheWay[e.path] {
			k.exclude(fd, e, st, &k.estimate.FileSystems, wire.ExcludedByFileSystem, nil)
		}
		return false
	}
	return true
}

// excludeByPattern counts what patterns take out: for each that matches, and as the reason the first of them.
func (k *walk) excludeByPattern(fd int, e entry, st unix.Stat_t, matched []int) {
	decides := matched[0]
	c := k.exclude(fd, e, st, &wire.EstimateOut{}, wire.ExcludedByPattern, &decides)
	for _, i := range matched {
		p := &k.estimate.Patterns[i]
		p.EstimateOut = sum(p.EstimateOut, c)
		p.Covered = false
		if k.seen[i] = true; len(p.Samples) < wire.MaxEstimateSamples {
			p.Samples = append(p.Samples, shown(e.path))
		}
	}
}

// exclude counts a file or folder that is out, and what lies in it.
func (k *walk) exclude(fd int, e entry, st unix.Stat_t, by *wire.EstimateOut, why wire.ExcludedBy, place *int) wire.EstimateOut {
	c := wire.EstimateOut{Matches: 1}
	if why == wire.ExcludedByFileSystem {
		// Another file system may be on a machine that does not answer.
		c.Partial = true
	} else {
		k.measure(fd, e, st, &c)
	}
	*by = sum(*by, c)
	k.estimate.Excluded = sum(k.estimate.Excluded, c)
	k.out.add(wire.EstimateExcluded{Path: shown(e.path), Files: c.Files, Bytes: c.Bytes, By: why, Pattern: place, Partial: c.Partial})
	return c
}

func sum(a, b wire.EstimateOut) wire.EstimateOut {
	return wire.EstimateOut{Matches: a.Matches + b.Matches, Files: a.Files + b.Files, Bytes: a.Bytes + b.Bytes, Partial: a.Partial || b.Partial}
}

// measure counts what lies in something that is out, as far as it lies on the same file system.
func (k *walk) measure(fd int, e entry, st unix.Stat_t, c *wire.EstimateOut) {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		c.Files++
		c.Bytes += st.Size
	case unix.S_IFDIR:
		d, err := open(fd, e.name, unix.O_NOFOLLOW)
		if err != nil {
			c.Partial = true
			return
		}
		defer d.Close()
		k.progress(false, e.path)
		names, err := d.Readdirnames(-1)
		c.Partial = c.Partial || err != nil
		inner := int(d.Fd())
		for _, n := range names {
			child := entry{name: n, path: path.Join(e.path, n), parts: append(slices.Clip(e.parts), n)}
			if k.denied[child.path] {
				continue
			}
			k.cover(child)
			var at unix.Stat_t
			if retried(func() error { return unix.Fstatat(inner, n, &at, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT) }) != nil || at.Dev != st.Dev {
				c.Partial = true
				continue
			}
			k.measure(inner, child, at, c)
		}
	}
}

// cover notes patterns that have matched nothing so far, and match within what is out.
func (k *walk) cover(e entry) {
	if len(k.seen) == len(k.estimate.Patterns) {
		return
	}
	for i := range k.estimate.Patterns {
		if !k.seen[i] && !k.estimate.Patterns[i].Covered && k.patterns.Matches(i, e.parts) {
			k.estimate.Patterns[i].Covered = true
		}
	}
}

// The mark of a folder that need not be backed up. Source: the Cache Directory Tagging Specification.
const (
	cacheTag       = "CACHEDIR.TAG"
	cacheSignature = "Signature: 8a477f597d28d172789f06886806bc55"
)

// isCache reports whether the folder has the mark. What is no file, or leads to what is denied, is none.
func (k *walk) isCache(fd int, folder string) bool {
	tag, err := unix.Openat(fd, cacheTag, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return false
	}
	f := os.NewFile(uintptr(tag), cacheTag)
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return false
	}
	if real, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", tag)); err != nil || k.isDenied(real) {
		return false
	}
	head := make([]byte, len(cacheSignature))
	n, _ := f.ReadAt(head, 0)
	return string(head[:n]) == cacheSignature
}

func (k *walk) isDenied(p string) bool {
	for d := range k.denied {
		if p == d || strings.HasPrefix(p, d+"/") {
			return true
		}
	}
	return false
}

func (k *walk) unreadable(p string, err error) {
	k.told.Errors++
	if k.watch.Unreadable != nil {
		k.watch.Unreadable(p, err)
	}
}

func (k *walk) progress(last bool, folder string) {
	if k.watch.Progress == nil {
		return
	}
	if now := k.now(); last || now.Sub(k.toldAt) >= progressEvery {
		k.toldAt = now
		k.told.Files, k.told.Bytes, k.told.Folder = k.estimate.Files, k.estimate.Bytes, folder
		k.watch.Progress(k.told)
	}
}

// shown is a path as JSON can hold it.
func shown(p string) string { return strings.ToValidUTF8(p, "\uFFFD") }

// literal is the pattern that takes out just this path, empty where none can that an order may carry.
func literal(p string) string {
	text, ok := pattern.Literal(p)
	if !ok || wire.CheckExclude(text) != nil {
		return ""
	}
	return text
}

// Reason is an error without the path, which is named beside it.
func Reason(err error) string {
	if e, ok := err.(*fs.PathError); ok {
		err = e.Err
	}
	return err.Error()
}
