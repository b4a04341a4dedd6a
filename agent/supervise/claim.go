package supervise

import (
	"errors"
	"fmt"
	"os"
	"time"

	"restic-manager/agent/spool"
	"restic-manager/shared/wire"
)

// supervisor is one process's one job.
type supervisor struct {
	order  Order
	folder *spool.Folder
	// own is the lock that the supervisor alone has; shared is the one that restic inherits. Both are
	// released by the kernel when their holders are gone, never by hand.
	own, shared spool.Lock
}

// claim takes the locks and links the claim. With an error nothing was run and nothing
// will be; the word says why.
func (s *supervisor) claim() (word string, err error) {
	return Take(s.folder, spool.Claim{
		Kind: spool.ClaimSupervisor, Nonce: s.order.Nonce, PID: os.Getpid(),
		StartTicks: startTicks(os.Getpid()), MachineBoot: machineBoot(), At: time.Now().UTC(),
	}, &s.own, &s.shared)
}

// Take takes a folder's locks into own and shared and links the supervisor's claim, the only right to run
// restic. With an error nothing was run and nothing will be by this supervisor; the word is that of the answer
// to Start. The locks are the caller's also then.
func Take(f *spool.Folder, c spool.Claim, own, shared *spool.Lock) (word string, err error) {
	if *own, err = f.LockSupervisor(); err != nil {
		return refusal(err)
	}
	if *shared, err = f.LockRun(); err != nil {
		return refusal(err)
	}
	j, err := f.Job()
	if err != nil {
		return sayFailed, err
	}
	if j.Nonce != c.Nonce || j.Phase != wire.PhaseStarting && j.Phase != wire.PhaseRunning {
		return sayLost, fmt.Errorf("the folder of job %s is for another start", f.ID())
	}
	spent, err := f.InLedger()
	if err != nil {
		return sayFailed, err
	}
	if spent {
		return saySpent, ErrSpent
	}
	won, err := f.Claim(c)
	if err != nil {
		return sayFailed, err
	}
	if !won {
		return sayLost, ErrClaimed
	}
	return sayClaimed, nil
}

func refusal(err error) (string, error) {
	if errors.Is(err, spool.ErrLocked) {
		return sayAlive, err
	}
	return sayFailed, err
}
