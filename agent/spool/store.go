package spool

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"restic-manager/shared/failpoint"
	"restic-manager/shared/wire"
)

// KeepFinished is how long finish.json is kept after a job is settled: a server restored from a backup may
// ask for it again.
const KeepFinished = 7 * 24 * time.Hour

// Store is the state folder of one agent process.
type Store struct {
	disk Disk
	dir  string
	now  func() time.Time
	lock Lock
}

// Open makes the state folder where there is none, takes its lock, and clears what a crash left half
// deleted. The error satisfies ErrLocked when another agent has the folder.
func Open(d Disk, dir string, now func() time.Time) (*Store, error) {
	s := &Store{disk: d, dir: filepath.Clean(dir), now: now}
	if err := mkdir(d, s.dir, filepath.Dir(s.dir)); err != nil {
		return nil, fmt.Errorf("make the state folder %s: %w", s.dir, err)
	}
	lock, err := d.Lock(filepath.Join(s.dir, "lock"))
	if errors.Is(err, ErrLocked) {
		return nil, fmt.Errorf("another agent runs on the state folder %s; stop it first, or give this one another --state-dir: %w", s.dir, ErrLocked)
	}
	if err != nil {
		return nil, fmt.Errorf("lock the state folder %s: %w", s.dir, err)
	}
	s.lock = lock
	for _, name := range []string{jobsDir, finishedDir, asideDir, trashDir} {
		if err := mkdir(d, s.path(name), s.dir); err != nil {
			return nil, errors.Join(fmt.Errorf("make the state folder %s: %w", s.path(name), err), lock.Close())
		}
	}
	s.emptyTrash()
	return s, nil
}

const (
	jobsDir     = "jobs"
	finishedDir = "finished"
	asideDir    = "aside"
	trashDir    = "trash"
	bootFile    = "boot.json"

	bootSpace = 4 << 10
)

// Close gives the state folder up.
func (s *Store) Close() error { return s.lock.Close() }

// Dir is the state folder.
func (s *Store) Dir() string { return s.dir }

// FreeBytes is how much may still be written to the state folder's disk.
func (s *Store) FreeBytes() (int64, error) { return s.disk.FreeBytes(s.dir) }

func (s *Store) path(names ...string) string {
	return filepath.Join(append([]string{s.dir}, names...)...)
}

// Boot draws the id and the number of a process of the agent: the number is above every earlier one, above
// floor, and at least the seconds of the clock. It is durable before it is returned. A process calls it
// once, and again with the server's number when that says it is superseded.
func (s *Store) Boot(floor int64) (Boot, error) {
	var last struct {
		Number int64 `json:"number"`
	}
	path := s.path(bootFile)
	err := readJSON(s.disk, path, &last)
	if _, damaged := errors.AsType[*DamagedError](err); err != nil && !damaged && !errors.Is(err, fs.ErrNotExist) {
		return Boot{}, fmt.Errorf("read the boot number: %w", err)
	}
	if err != nil {
		last.Number = 0
	}
	last.Number = max(last.Number+1, floor+1, s.now().Unix())
	if err := writeJSON(s.disk, path, last); err != nil {
		return Boot{}, fmt.Errorf("store the boot number: %w", err)
	}
	// Space for the next time: an agent that starts on a full disk still tells how its jobs ended.
	_ = setAside(s.disk, path, bootSpace)
	return Boot{ID: RandomHex(), Number: last.Number}, nil
}

// RandomHex is 128 random bits in hex: a lease, a nonce, a boot id.
func RandomHex() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// Create makes a job's folder with its job.json and the space for its result, all durable. The job's lease
// is entered among its leases. Errors satisfy IsNoSpace when the disk or a quota is full; nothing is left
// behind then.
func (s *Store) Create(j Job) (*Folder, error) {
	if !wire.IsUUID(j.ID()) {
		return nil, fmt.Errorf("make a job's folder: %.40q is not a job id", j.ID())
	}
	f := s.Folder(j.ID())
	if err := s.disk.Mkdir(f.dir); err != nil {
		return nil, fmt.Errorf("make the folder of job %s: %w", f.id, err)
	}
	err := func() error {
		for _, name := range []string{resultFile, finishFile} {
			if err := setAside(s.disk, f.path(name), resultSpace); err != nil {
				return err
			}
		}
		for _, name := range []string{logFile, claimFile} {
			if err := setAside(s.disk, f.path(name), markerSpace); err != nil {
				return err
			}
		}
		log, err := s.disk.Append(f.path(logFile))
		if err != nil {
			return err
		}
		if err := log.Close(); err != nil {
			return err
		}
		if err := f.Save(j); err != nil {
			return err
		}
		return s.disk.SyncDir(s.path(jobsDir))
	}()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make the folder of job %s: %w", f.id, err), s.removeTree(f.dir))
	}
	return f, nil
}

// Folder is the folder of a job, there or not.
func (s *Store) Folder(id string) *Folder { return newFolder(s.disk, s.dir, id, s.now) }

// Jobs are the names of all job folders, damaged ones included.
func (s *Store) Jobs() ([]string, error) {
	names, err := s.disk.List(s.path(jobsDir))
	if err != nil {
		return nil, fmt.Errorf("list the job folders: %w", err)
	}
	return names, nil
}

// Scan looks at every job folder: what an agent does first. Folders whose job.json cannot be read are
// returned as damaged; nothing of theirs may run. The names that an agent which was killed had not made durable
// are durable before anything is built on them. The error is one of the disk's.
func (s *Store) Scan() (found []Facts, damaged []Damaged, err error) {
	names, err := s.Jobs()
	if err != nil {
		return nil, nil, err
	}
	if err := s.settleNames(names); err != nil {
		return nil, nil, err
	}
	for _, name := range names {
		facts, err := s.Folder(name).Facts()
		if err == nil {
			found = append(found, facts)
			continue
		}
		bad, ok := errors.AsType[*DamagedError](err)
		if !ok {
			return nil, nil, fmt.Errorf("look at job %.60q: %w", name, err)
		}
		if s.unborn(name) && s.Remove(name) == nil {
			continue
		}
		alive, err := s.Folder(name).RunAlive()
		if err != nil {
			return nil, nil, fmt.Errorf("look at job %.60q: %w", name, err)
		}
		damaged = append(damaged, Damaged{ID: name, Reason: bad.Error(), Alive: alive})
	}
	return found, damaged, nil
}

// unborn reports whether a folder is what a Create that was cut short leaves: space and an empty log. Its job was
// never accepted here, so that it may be offered again.
func (s *Store) unborn(name string) bool {
	names, err := s.disk.List(s.path(jobsDir, name))
	if err != nil || !wire.IsUUID(name) {
		return false
	}
	for _, file := range names {
		info, err := s.disk.Stat(s.path(jobsDir, name, file))
		early := file == jobFile+tempSuffix || strings.HasSuffix(file, spaceSuffix) || file == logFile && info.Size == 0
		if err != nil || info.IsDir || !early {
			return false
		}
	}
	return true
}

// settleNames makes the names of the job folders, and those in them, durable.
func (s *Store) settleNames(folders []string) error {
	if err := s.disk.SyncDir(s.path(jobsDir)); err != nil {
		return fmt.Errorf("make the job folders durable: %w", err)
	}
	for _, name := range folders {
		err := s.disk.SyncDir(s.path(jobsDir, name))
		if err != nil && !errors.Is(err, syscall.ENOTDIR) { // a file there is a damaged folder
			return fmt.Errorf("make the folder of job %.60q durable: %w", name, err)
		}
	}
	return nil
}

// Known reports whether a job of this id was run, may have been, or was put aside: it is never run again.
// An error means that it cannot be told: do not run it.
func (s *Store) Known(id string) (bool, error) {
	if in, err := inLedger(s.disk, s.dir, id); err != nil || in {
		return in, err
	}
	if there, err := exists(s.disk, s.path(asideDir, id)); err != nil || there {
		return there, err
	}
	_, kept, err := s.keptName(id)
	return kept, err
}

// Remove deletes a job's folder, all at once as far as a crash can tell.
func (s *Store) Remove(id string) error {
	f := s.Folder(id)
	trash := s.path(trashDir, id)
	if err := s.removeTree(trash); err != nil {
		return fmt.Errorf("delete the folder of job %s: %w", id, err)
	}
	err := s.disk.Rename(f.dir, trash)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = s.disk.SyncDir(s.path(jobsDir))
	}
	if err == nil {
		err = s.removeTree(trash)
	}
	if err != nil {
		return fmt.Errorf("delete the folder of job %s: %w", id, err)
	}
	return nil
}

// Settle keeps the folder's finish.json for KeepFinished and deletes the folder. Without a finish.json it
// only deletes.
func (s *Store) Settle(id string) error {
	if err := s.keepFinish(id); err != nil {
		return fmt.Errorf("keep the finish of job %s: %w", id, err)
	}
	return s.Remove(id)
}

// keepFinish gives finish.json a second name outside the folder: a crash leaves one or both, never none.
func (s *Store) keepFinish(id string) error {
	_, kept, err := s.keptName(id)
	if err != nil {
		return err
	}
	if kept { // perhaps by an agent that was killed before it was durable
		return s.disk.SyncDir(s.path(finishedDir))
	}
	name := id + "-" + strconv.FormatInt(s.now().Unix(), 10)
	err = s.disk.Link(s.Folder(id).path(finishFile), s.path(finishedDir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return s.disk.SyncDir(s.path(finishedDir))
}

// KeptFinish returns the bytes of a settled job's finish; ok is false when there are none, or not sound
// ones.
func (s *Store) KeptFinish(id string) (finish []byte, ok bool, err error) {
	name, ok, err := s.keptName(id)
	if err != nil || !ok {
		return nil, false, err
	}
	finish, err = readSealed(s.disk, s.path(finishedDir, name))
	if _, damaged := errors.AsType[*DamagedError](err); damaged {
		return nil, false, nil
	}
	return finish, err == nil, err
}

func (s *Store) keptName(id string) (string, bool, error) {
	names, err := s.disk.List(s.path(finishedDir))
	if err != nil {
		return "", false, fmt.Errorf("list the kept results: %w", err)
	}
	for _, name := range names {
		if strings.HasPrefix(name, id+"-") {
			return name, true, nil
		}
	}
	return "", false, nil
}

// Expire deletes kept results that are older than KeepFinished and returns how many.
func (s *Store) Expire() (int, error) {
	names, err := s.disk.List(s.path(finishedDir))
	if err != nil {
		return 0, fmt.Errorf("list the kept results: %w", err)
	}
	n := 0
	for _, name := range names {
		i := strings.LastIndexByte(name, '-')
		at, err := strconv.ParseInt(name[i+1:], 10, 64)
		if err == nil && s.now().Sub(time.Unix(at, 0)) <= KeepFinished {
			continue
		}
		if err := s.disk.Remove(s.path(finishedDir, name)); err != nil {
			return n, fmt.Errorf("delete the kept result %s: %w", name, err)
		}
		n++
	}
	return n, nil
}

// emptyTrash goes on with deletions that a crash cut short; what cannot be deleted waits for the next
// start.
func (s *Store) emptyTrash() {
	names, err := s.disk.List(s.path(trashDir))
	if err != nil {
		return
	}
	for _, name := range names {
		_ = s.removeTree(s.path(trashDir, name))
	}
}

// removeTree deletes a folder and what is in it; one that is not there is no error.
func (s *Store) removeTree(path string) error {
	info, err := s.disk.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.IsDir {
		names, err := s.disk.List(path)
		if err != nil {
			return err
		}
		for _, name := range names {
			if err := s.removeTree(filepath.Join(path, name)); err != nil {
				return err
			}
			if err := failpoint.Hit("agent.folder.half-removed"); err != nil {
				return err
			}
		}
	}
	if err := s.disk.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
