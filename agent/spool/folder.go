package spool

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"restic-manager/shared/wire"
)

const (
	jobFile        = "job.json"
	resultFile     = "result.json"
	finishFile     = "finish.json"
	groupFile      = "group.json"
	logFile        = "log.ndjson"
	progressFile   = "progress.json"
	cancelFile     = "cancel"
	supervisorLock = "supervisor.lock"
	runLock        = "run.lock"
	claimPrefix    = "claim-"
	claimFile      = "claim" // with spaceSuffix: the space of the first claim
	damagedSuffix  = ".damaged"

	// resultSpace is set aside for result.json and again for finish.json.
	resultSpace = 256 << 10
	// markerSpace is set aside for the last line of a log on a full disk, and again for a claim.
	markerSpace = 4 << 10
)

// IsNoSpace reports whether an error means that a disk or a quota is full.
func IsNoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}

// Folder is the folder of one job. The agent and the job's supervisor have one each.
type Folder struct {
	disk  Disk
	state string
	dir   string
	id    string
	now   func() time.Time
}

// OpenFolder is a job's folder as the supervisor sees it: without the state folder's lock.
func OpenFolder(d Disk, stateDir, id string, now func() time.Time) *Folder {
	return newFolder(d, stateDir, id, now)
}

func newFolder(d Disk, state, id string, now func() time.Time) *Folder {
	return &Folder{disk: d, state: state, dir: filepath.Join(state, jobsDir, filepath.Base(filepath.Clean("/"+id))), id: id, now: now}
}

// ID is the job's id.
func (f *Folder) ID() string { return f.id }

// Dir is the folder's path.
func (f *Folder) Dir() string { return f.dir }

// StateDir is the state folder's path.
func (f *Folder) StateDir() string { return f.state }

// ScratchPath is a place in the folder for a file that need not survive; it goes with the folder.
func (f *Folder) ScratchPath(name string) string { return f.path("scratch-" + filepath.Base(name)) }

// RunLockPath is the file whose lock restic inherits.
func (f *Folder) RunLockPath() string { return f.path(runLock) }

func (f *Folder) path(name string) string { return filepath.Join(f.dir, name) }

// Job reads job.json: *DamagedError when it is torn, altered or missing in a folder that is there.
func (f *Folder) Job() (Job, error) {
	var j Job
	err := readJSON(f.disk, f.path(jobFile), &j)
	if errors.Is(err, fs.ErrNotExist) {
		if info, e := f.disk.Stat(f.dir); e == nil {
			return Job{}, &DamagedError{f.path(jobFile), missing(info)}
		}
	}
	if err == nil && !j.valid(f.id) {
		err = &DamagedError{f.path(jobFile), "it is not this job's"}
	}
	if err != nil {
		return Job{}, fmt.Errorf("read job %s: %w", f.id, err)
	}
	return j, nil
}

func missing(folder Info) string {
	if !folder.IsDir {
		return "a file is where the job's folder should be"
	}
	return "it is missing"
}

// Save replaces job.json durably. The job's lease is entered among its leases.
func (f *Folder) Save(j Job) error {
	j = j.AddLease(j.Lease)
	if !j.valid(f.id) {
		return fmt.Errorf("write job %s: its id, phase, lease or nonce is not valid", f.id)
	}
	if err := writeJSON(f.disk, f.path(jobFile), j); err != nil {
		return err
	}
	// Space for the next time; without it the next Save may meet a full disk, which it then says.
	_ = setAside(f.disk, f.path(jobFile), f.jobSpace(j))
	return nil
}

// jobSpace is a little more than the job takes now.
func (f *Folder) jobSpace(j Job) int64 {
	const more = 4 << 10
	if info, err := f.disk.Stat(f.path(jobFile)); err == nil {
		return info.Size + more
	}
	return int64(len(j.Offer.Spec)) + 2*more
}

// Claim links the claim of a nonce; won is false when somebody else did before. It is durable, and stays
// for good, before won is true. With an error it may or may not stand: read it again.
func (f *Folder) Claim(c Claim) (won bool, err error) {
	if !wire.IsRandomHex(c.Nonce) {
		return false, fmt.Errorf("claim job %s: %.40q is not a nonce", f.id, c.Nonce)
	}
	body, err := marshal(c)
	if err != nil {
		return false, fmt.Errorf("claim job %s: %w", f.id, err)
	}
	path := f.path(claimPrefix + c.Nonce)
	temp := path + "." + string(c.Kind) + "-" + strconv.Itoa(c.PID)
	// Whoever comes first has the space; the other needs some of its own.
	_ = f.disk.Rename(f.path(claimFile+spaceSuffix), temp+spaceSuffix)
	if temp, err = writeTemp(f.disk, temp, seal(body)); err != nil {
		return false, fmt.Errorf("claim job %s: %w", f.id, err)
	}
	err = f.disk.Link(temp, path)
	lost := errors.Is(err, fs.ErrExist)
	if err != nil && !lost {
		return false, fmt.Errorf("claim job %s: %w", f.id, errors.Join(err, f.disk.Remove(temp)))
	}
	if err := f.disk.Remove(temp); err != nil {
		return false, fmt.Errorf("claim job %s: %w", f.id, err)
	}
	// The loser makes the winner's link durable too, before it acts on it.
	if err := f.disk.SyncDir(f.dir); err != nil {
		return false, fmt.Errorf("claim job %s: %w", f.id, err)
	}
	return !lost, nil
}

// Abandon links the claim of a nonce in the agent's name, so that no supervisor runs under it; won is
// false when a supervisor was first.
func (f *Folder) Abandon(nonce string) (won bool, err error) {
	won, err = f.Claim(Claim{Kind: ClaimAbandoned, Nonce: nonce, PID: os.Getpid(), At: f.now().UTC()})
	if err != nil || won {
		return won, err
	}
	// An agent that crashed after it abandoned comes here again.
	c, err := f.ReadClaim(nonce)
	return c != nil && c.Kind == ClaimAbandoned && !c.Damaged, err
}

// ReadClaim reads the claim of a nonce: nil without one. One that cannot be read is a supervisor's.
func (f *Folder) ReadClaim(nonce string) (*Claim, error) {
	var c Claim
	err := readJSON(f.disk, f.path(claimPrefix+nonce), &c)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if _, damaged := errors.AsType[*DamagedError](err); damaged || err == nil && (c.Nonce != nonce || c.Kind != ClaimSupervisor && c.Kind != ClaimAbandoned) {
		return &Claim{Kind: ClaimSupervisor, Nonce: nonce, Damaged: true}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the claim of job %s: %w", f.id, err)
	}
	return &c, nil
}

// ran reports whether any claim of the folder is, or may be, a supervisor's.
func (f *Folder) ran() (bool, error) {
	names, err := f.disk.List(f.dir)
	if err != nil {
		return false, err
	}
	for _, name := range names {
		nonce, ok := strings.CutPrefix(name, claimPrefix)
		if !ok || strings.Contains(nonce, ".") {
			continue
		}
		c, err := f.ReadClaim(nonce)
		if err != nil {
			return false, err
		}
		if c != nil && c.Kind != ClaimAbandoned {
			return true, nil
		}
	}
	return false, nil
}

// LockSupervisor takes the lock that only the supervisor has.
func (f *Folder) LockSupervisor() (Lock, error) { return f.disk.Lock(f.path(supervisorLock)) }

// LockRun takes the lock that restic inherits. Who has it may write the log.
func (f *Folder) LockRun() (Lock, error) { return f.disk.Lock(f.path(runLock)) }

// SupervisorAlive reports whether a supervisor lives.
func (f *Folder) SupervisorAlive() (bool, error) { return f.disk.Locked(f.path(supervisorLock)) }

// RunAlive reports whether the supervisor, restic, or what restic started lives.
func (f *Folder) RunAlive() (bool, error) {
	for _, name := range []string{supervisorLock, runLock} {
		if held, err := f.disk.Locked(f.path(name)); err != nil || held {
			return held, err
		}
	}
	return false, nil
}

// Enter enters the job in the ledger: from here on its id is never run again. The supervisor does it
// after its claim and before restic.
func (f *Folder) Enter() error { return f.enterLedger("run") }

// InLedger reports whether the job's id is in the ledger. An error means that it cannot be told: do not
// run it.
func (f *Folder) InLedger() (bool, error) { return inLedger(f.disk, f.state, f.id) }

func (f *Folder) enterLedger(why string) error {
	return enterLedger(f.disk, f.state, f.id, why, f.now())
}

// SaveGroup records restic's process group durably.
func (f *Folder) SaveGroup(g Group) error { return writeJSON(f.disk, f.path(groupFile), g) }

// Group reads restic's process group: nil when it was not recorded, *DamagedError when it is torn.
func (f *Folder) Group() (*Group, error) { return readMaybe[Group](f, groupFile) }

// SaveResult writes result.json durably, into the space set aside for it. Issues that do not fit are
// counted as dropped.
func (f *Folder) SaveResult(r Result) error {
	body, err := fit(r, resultSpace-int64(sealSize))
	if err != nil {
		return fmt.Errorf("write the result of job %s: %w", f.id, err)
	}
	return writeSealed(f.disk, f.path(resultFile), body)
}

// Result reads result.json: nil when there is none, *DamagedError when it is torn.
func (f *Folder) Result() (*Result, error) { return readMaybe[Result](f, resultFile) }

// SaveFinish writes the bytes of the finish request durably; up to 250 KiB fit on a full disk. Written
// once, they stay: other bytes are an error, the same again are none.
func (f *Folder) SaveFinish(finish []byte) error {
	old, err := f.Finish()
	if err != nil {
		return err
	}
	if old == nil {
		return writeSealed(f.disk, f.path(finishFile), finish)
	}
	if !bytes.Equal(old, finish) {
		return fmt.Errorf("write the finish of job %s: there is another one", f.id)
	}
	return f.disk.SyncDir(f.dir)
}

// Finish reads the bytes of the finish request: nil when they are not made, *DamagedError when they are
// torn.
func (f *Folder) Finish() ([]byte, error) {
	b, err := readSealed(f.disk, f.path(finishFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the finish of job %s: %w", f.id, err)
	}
	return b, nil
}

// Cancel leaves the order to cancel, durably.
func (f *Folder) Cancel() error {
	file, err := f.disk.Append(f.path(cancelFile))
	if err != nil {
		return fmt.Errorf("cancel job %s: %w", f.id, err)
	}
	defer file.Close()
	if err := errors.Join(file.Sync(), f.disk.SyncDir(f.dir)); err != nil {
		return fmt.Errorf("cancel job %s: %w", f.id, err)
	}
	return nil
}

// Canceled reports whether the order to cancel is there.
func (f *Folder) Canceled() (bool, error) { return exists(f.disk, f.path(cancelFile)) }

// Facts look at the whole folder. Locks are looked at before the result, else a supervisor that ends
// between the two would seem to have left none. Damaged files but job.json are put aside within the
// folder. A damaged job.json is a *DamagedError: such a job is never run.
func (f *Folder) Facts() (Facts, error) {
	facts := Facts{ID: f.id}
	var err error
	if facts.Job, err = f.Job(); err != nil {
		return Facts{}, err
	}
	if facts.SupervisorAlive, err = f.SupervisorAlive(); err != nil {
		return Facts{}, err
	}
	if facts.RunAlive, err = f.RunAlive(); err != nil {
		return Facts{}, err
	}
	if facts.Job.Nonce != "" {
		if facts.Claim, err = f.ReadClaim(facts.Job.Nonce); err != nil {
			return Facts{}, err
		}
	}
	if facts.Ran, err = f.ran(); err != nil {
		return Facts{}, err
	}
	if facts.Group, err = f.Group(); f.sound(&facts, groupFile, &err) != nil {
		return Facts{}, err
	}
	if facts.Result, err = f.Result(); f.sound(&facts, resultFile, &err) != nil {
		return Facts{}, err
	}
	if facts.Finish, err = f.Finish(); f.sound(&facts, finishFile, &err) != nil {
		return Facts{}, err
	}
	facts.Canceled, err = f.Canceled()
	return facts, err
}

// sound turns the error of a damaged file into the file's being put aside. A folder in which somebody
// works is left as it is; the file counts as not there.
func (f *Folder) sound(facts *Facts, name string, err *error) error {
	if _, damaged := errors.AsType[*DamagedError](*err); !damaged {
		return *err
	}
	*err = nil
	facts.PutAside = append(facts.PutAside, name)
	facts.Ran = facts.Ran || name != finishFile
	if !facts.RunAlive {
		*err = f.disk.Rename(f.path(name), f.path(name+damagedSuffix))
	}
	return *err
}

func readMaybe[T any](f *Folder, name string) (*T, error) {
	var v T
	err := readJSON(f.disk, f.path(name), &v)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("job %s: %w", f.id, err)
	}
	return &v, nil
}
