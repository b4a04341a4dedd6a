package spool

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Memory is a Disk in memory, for tests: it knows what was fsynced, and Crash forgets the rest, as a power
// cut may. Writes can be made to fail. It is safe for concurrent use.
type Memory struct {
	mu    sync.Mutex
	now   func() time.Time
	root  *node
	epoch int
	locks map[string]bool
	// fail, where set, is asked before each write with its number, from 1.
	fail   func(n int, path string) error
	writes int
	// capacity bounds the bytes of all files, allocated ones included; negative: no bound.
	capacity int64
}

// node is a file or a folder.
type node struct {
	dir     bool
	modTime time.Time

	// Files: what is written, what of it is durable, and how much space is set aside.
	data, durable []byte
	allocated     int64

	// Folders: the names, the durable names, and the changes since in their order.
	names, durableNames map[string]*node
	changes             []change
}

// change is one change of a folder's names; a rename within a folder is one change.
type change struct {
	remove string
	add    string
	node   *node
}

// NewMemory is an empty disk with the root folder; now gives the files' times.
func NewMemory(now func() time.Time) *Memory {
	return &Memory{now: now, root: newDir(now()), locks: map[string]bool{}, capacity: -1}
}

func newDir(at time.Time) *node {
	return &node{dir: true, modTime: at, names: map[string]*node{}, durableNames: map[string]*node{}}
}

// FailWrites makes writes fail: f is asked before each change of the disk (write, truncate, allocation,
// fsync, make, rename, link, removal) with its number from 1 on, and its error is returned. nil ends it. The
// count begins anew.
func (m *Memory) FailWrites(f func(n int, path string) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail, m.writes = f, 0
}

// Writes is how many changes were asked for since the last FailWrites.
func (m *Memory) Writes() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.writes
}

// SetCapacity bounds the bytes of all files together; more is ENOSPC. Negative: no bound.
func (m *Memory) SetCapacity(bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.capacity = bytes
}

// Used is how many bytes all files take, allocated ones included.
func (m *Memory) Used() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.root.used(map[*node]bool{})
}

// Crash forgets what was not fsynced: bytes of files and names in folders. Open files and locks are gone.
// keep, where not nil, is asked for each change that a real disk may have kept all the same; a folder
// keeps its changes in their order, up to the first that is not kept.
func (m *Memory) Crash(keep func() bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if keep == nil {
		keep = func() bool { return false }
	}
	m.epoch++
	clear(m.locks)
	m.root.crash(keep, map[*node]bool{})
}

// ReleaseLocks is the death of all processes: their locks are free, what they wrote stays.
func (m *Memory) ReleaseLocks() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.locks)
}

func (n *node) crash(keep func() bool, seen map[*node]bool) {
	if seen[n] {
		return
	}
	seen[n] = true
	if !n.dir {
		n.data = tornData(n.durable, n.data, keep)
		n.durable = slices.Clone(n.data)
		n.allocated = min(n.allocated, int64(len(n.data)))
		return
	}
	for _, c := range n.changes {
		if !keep() {
			break
		}
		c.apply(n.durableNames)
	}
	n.names, n.changes = maps.Clone(n.durableNames), nil
	for _, name := range slices.Sorted(maps.Keys(n.names)) {
		n.names[name].crash(keep, seen)
	}
}

// tornData is what may be left of a file: the durable bytes, all that was written, or, of an append, half
// of it.
func tornData(durable, data []byte, keep func() bool) []byte {
	if !keep() {
		return slices.Clone(durable)
	}
	if len(data) > len(durable) && string(data[:len(durable)]) == string(durable) && keep() {
		return slices.Clone(data[:len(durable)+(len(data)-len(durable))/2])
	}
	return slices.Clone(data)
}

func (c change) apply(names map[string]*node) {
	if c.remove != "" {
		delete(names, c.remove)
	}
	if c.node != nil {
		names[c.add] = c.node
	}
}

func (n *node) change(at time.Time, c change) {
	c.apply(n.names)
	n.modTime = at
	n.changes = append(n.changes, c)
}

func (n *node) used(seen map[*node]bool) int64 {
	if seen[n] {
		return 0
	}
	seen[n] = true
	total := max(int64(len(n.data)), n.allocated)
	for _, child := range n.names {
		total += child.used(seen)
	}
	return total
}

func pathError(op, path string, err error) error {
	return &fs.PathError{Op: op, Path: path, Err: err}
}

func (m *Memory) find(path string) (*node, error) {
	n := m.root
	for _, name := range strings.Split(strings.Trim(filepath.Clean(path), "/"), "/") {
		if name == "" {
			continue
		}
		if !n.dir {
			return nil, syscall.ENOTDIR
		}
		child, ok := n.names[name]
		if !ok {
			return nil, fs.ErrNotExist
		}
		n = child
	}
	return n, nil
}

func (m *Memory) parent(path string) (*node, string, error) {
	n, err := m.find(filepath.Dir(path))
	if err == nil && !n.dir {
		err = syscall.ENOTDIR
	}
	return n, filepath.Base(path), err
}

// write counts a change and asks whether it fails.
func (m *Memory) write(path string) error {
	m.writes++
	if m.fail == nil {
		return nil
	}
	return m.fail(m.writes, path)
}

// Mkdir makes a folder.
func (m *Memory) Mkdir(path string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, name, err := m.parent(path)
	if err == nil {
		err = m.write(path)
	}
	if err == nil && dir.names[name] != nil {
		err = fs.ErrExist
	}
	if err != nil {
		return pathError("mkdir", path, err)
	}
	dir.change(m.now(), change{add: name, node: newDir(m.now())})
	return nil
}

// Open opens for reading.
func (m *Memory) Open(path string) (File, error) { return m.open(path, false, false, false) }

// Create makes or empties a file.
func (m *Memory) Create(path string) (File, error) { return m.open(path, true, true, false) }

// Edit opens an existing file.
func (m *Memory) Edit(path string) (File, error) { return m.open(path, false, false, false) }

// Append opens for appending.
func (m *Memory) Append(path string) (File, error) { return m.open(path, true, false, true) }

func (m *Memory) open(path string, create, empty, atEnd bool) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, name, err := m.parent(path)
	if err != nil {
		return nil, pathError("open", path, err)
	}
	n := dir.names[name]
	if n == nil {
		if !create {
			return nil, pathError("open", path, fs.ErrNotExist)
		}
		if err := m.write(path); err != nil {
			return nil, pathError("open", path, err)
		}
		n = &node{modTime: m.now()}
		dir.change(m.now(), change{add: name, node: n})
	} else if empty {
		if err := m.write(path); err != nil {
			return nil, pathError("open", path, err)
		}
		n.data, n.allocated, n.modTime = nil, 0, m.now()
	}
	if n.dir {
		return nil, pathError("open", path, syscall.EISDIR)
	}
	return &memoryFile{m: m, n: n, path: path, epoch: m.epoch, atEnd: atEnd}, nil
}

// Rename renames; a folder is never replaced, as with os.Rename.
func (m *Memory) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	fromDir, fromName, err := m.parent(from)
	var toDir *node
	var toName string
	if err == nil {
		toDir, toName, err = m.parent(to)
	}
	if err == nil {
		err = m.write(to)
	}
	if err == nil && fromDir.names[fromName] == nil {
		err = fs.ErrNotExist
	}
	old := toDirName(toDir, toName)
	if err == nil && old == fromDir.names[fromName] && !old.dir {
		return nil // two names of one file: rename(2) does nothing
	}
	if err == nil && strings.HasPrefix(filepath.Clean(to)+"/", filepath.Clean(from)+"/") {
		err = syscall.EINVAL // into itself
	}
	if err == nil && old != nil && (old.dir || fromDir.names[fromName].dir) {
		err = fs.ErrExist
	}
	if err != nil {
		return pathError("rename", from, err)
	}
	n := fromDir.names[fromName]
	if fromDir == toDir {
		fromDir.change(m.now(), change{remove: fromName, add: toName, node: n})
		return nil
	}
	toDir.change(m.now(), change{add: toName, node: n})
	fromDir.change(m.now(), change{remove: fromName})
	return nil
}

func toDirName(dir *node, name string) *node {
	if dir == nil {
		return nil
	}
	return dir.names[name]
}

// Link gives a file a second name.
func (m *Memory) Link(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.find(from)
	var dir *node
	var name string
	if err == nil {
		dir, name, err = m.parent(to)
	}
	if err == nil {
		err = m.write(to)
	}
	if err == nil && dir.names[name] != nil {
		err = fs.ErrExist
	}
	if err == nil && n.dir {
		err = syscall.EPERM
	}
	if err != nil {
		return pathError("link", to, err)
	}
	dir.change(m.now(), change{add: name, node: n})
	return nil
}

// Remove removes a file or an empty folder.
func (m *Memory) Remove(path string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, name, err := m.parent(path)
	if err == nil {
		err = m.write(path)
	}
	if err == nil && dir.names[name] == nil {
		err = fs.ErrNotExist
	}
	if err == nil && len(dir.names[name].names) > 0 {
		err = syscall.ENOTEMPTY
	}
	if err != nil {
		return pathError("remove", path, err)
	}
	dir.change(m.now(), change{remove: name})
	return nil
}

// List names a folder's entries.
func (m *Memory) List(path string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.find(path)
	if err == nil && !n.dir {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return nil, pathError("list", path, err)
	}
	return slices.Sorted(maps.Keys(n.names)), nil
}

// Stat describes a path.
func (m *Memory) Stat(path string) (Info, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.find(path)
	if err != nil {
		return Info{}, pathError("stat", path, err)
	}
	return Info{Size: int64(len(n.data)), IsDir: n.dir, ModTime: n.modTime}, nil
}

// SyncDir makes a folder's names durable, not the files behind them.
func (m *Memory) SyncDir(path string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.find(path)
	if err == nil {
		err = m.write(path)
	}
	if err == nil && !n.dir {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return pathError("fsync", path, err)
	}
	n.durableNames, n.changes = maps.Clone(n.names), nil
	return nil
}

// Lock takes a lock; who has it is not told apart, as with open file description locks.
func (m *Memory) Lock(path string) (Lock, error) {
	f, err := m.Append(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	m.mu.Lock()
	defer m.mu.Unlock()
	path = filepath.Clean(path)
	if m.locks[path] {
		return nil, fmt.Errorf("%s: %w", path, ErrLocked)
	}
	m.locks[path] = true
	return &memoryLock{m: m, path: path, epoch: m.epoch}, nil
}

// Locked reports whether a lock is taken.
func (m *Memory) Locked(path string) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.locks[filepath.Clean(path)], nil
}

// FreeBytes is the capacity less what is used; 1 TiB without a capacity.
func (m *Memory) FreeBytes(string) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.capacity < 0 {
		return 1 << 40, nil
	}
	return max(0, m.capacity-m.root.used(map[*node]bool{})), nil
}

type memoryLock struct {
	m     *Memory
	path  string
	epoch int
}

func (l *memoryLock) File() *os.File { return nil }

func (l *memoryLock) Close() error {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	if l.epoch == l.m.epoch {
		delete(l.m.locks, l.path)
	}
	return nil
}

type memoryFile struct {
	m     *Memory
	n     *node
	path  string
	epoch int
	at    int64
	atEnd bool
}

// begin locks the disk; a file that was open at a crash is closed.
func (f *memoryFile) begin() error {
	f.m.mu.Lock()
	if f.epoch != f.m.epoch {
		f.m.mu.Unlock()
		return pathError("use", f.path, fs.ErrClosed)
	}
	return nil
}

func (f *memoryFile) Read(p []byte) (int, error) {
	n, err := f.ReadAt(p, f.at)
	f.at += int64(n)
	if n > 0 && errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

func (f *memoryFile) ReadAt(p []byte, at int64) (int, error) {
	if err := f.begin(); err != nil {
		return 0, err
	}
	defer f.m.mu.Unlock()
	if at >= int64(len(f.n.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.n.data[at:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memoryFile) Write(p []byte) (int, error) {
	if f.atEnd {
		size, err := f.Size()
		if err != nil {
			return 0, err
		}
		f.at = size
	}
	n, err := f.WriteAt(p, f.at)
	f.at += int64(n)
	return n, err
}

// WriteAt writes; on a full disk it writes what fits, as a real one does.
func (f *memoryFile) WriteAt(p []byte, at int64) (int, error) {
	if err := f.begin(); err != nil {
		return 0, err
	}
	defer f.m.mu.Unlock()
	if err := f.m.write(f.path); err != nil {
		return 0, pathError("write", f.path, err)
	}
	fits := f.fits(at + int64(len(p)))
	n := min(int64(len(p)), max(0, fits-at))
	if n > 0 {
		f.grow(at + n)
		copy(f.n.data[at:], p[:n])
		f.n.modTime = f.m.now()
	}
	if n < int64(len(p)) {
		return int(n), pathError("write", f.path, syscall.ENOSPC)
	}
	return int(n), nil
}

// fits is how large the file may become on the way to size.
func (f *memoryFile) fits(size int64) int64 {
	has := max(int64(len(f.n.data)), f.n.allocated)
	if f.m.capacity < 0 || size <= has {
		return size
	}
	free := max(0, f.m.capacity-f.m.root.used(map[*node]bool{}))
	return min(size, has+free)
}

func (f *memoryFile) grow(size int64) {
	if more := size - int64(len(f.n.data)); more > 0 {
		f.n.data = append(f.n.data, make([]byte, more)...)
	}
}

func (f *memoryFile) Sync() error {
	if err := f.begin(); err != nil {
		return err
	}
	defer f.m.mu.Unlock()
	if err := f.m.write(f.path); err != nil {
		return pathError("fsync", f.path, err)
	}
	f.n.durable = slices.Clone(f.n.data)
	return nil
}

func (f *memoryFile) Truncate(size int64) error {
	if err := f.begin(); err != nil {
		return err
	}
	defer f.m.mu.Unlock()
	if err := f.m.write(f.path); err != nil {
		return pathError("truncate", f.path, err)
	}
	f.grow(size)
	f.n.data, f.n.allocated = slices.Clone(f.n.data[:size]), min(f.n.allocated, size)
	f.n.modTime = f.m.now()
	return nil
}

func (f *memoryFile) Size() (int64, error) {
	if err := f.begin(); err != nil {
		return 0, err
	}
	defer f.m.mu.Unlock()
	return int64(len(f.n.data)), nil
}

func (f *memoryFile) Allocate(size int64) error {
	if err := f.begin(); err != nil {
		return err
	}
	defer f.m.mu.Unlock()
	if err := f.m.write(f.path); err != nil {
		return pathError("allocate", f.path, err)
	}
	if f.fits(size) < size {
		return pathError("allocate", f.path, syscall.ENOSPC)
	}
	f.n.allocated = max(f.n.allocated, size)
	f.grow(size)
	return nil
}

func (f *memoryFile) Close() error { return nil }
