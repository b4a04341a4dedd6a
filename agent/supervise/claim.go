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
	if s.own, err = s.folder.LockSupervisor(); err != nil {
		return refusal(err)
	}
	if s.shared, err = s.folder.LockRun(); err != nil {
		return refusal(err)
	}
	j, err := s.folder.Job()
	if err != nil {
		return sayFailed, err
	}
	if j.Nonce != s.order.Nonce || j.Phase != wire.PhaseStarting && j.Phase != wire.PhaseRunning {
		return sayLost, fmt.Errorf("the folder of job %s is for another start", s.order.JobID)
	}
	spent, err := s.folder.InLedger()
	if err != nil {
		return sayFailed, err
	}
	if spent {
		return saySpent, ErrSpent
	}
	won, err := s.folder.Claim(spool.Claim{
		Kind: spool.ClaimSupervisor, Nonce: s.order.Nonce, PID: os.Getpid(),
		StartTicks: startTicks(os.Getpid()), MachineBoot: machineBoot(), At: time.Now().UTC(),
	})
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
