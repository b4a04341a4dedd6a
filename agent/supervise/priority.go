package supervise

import (
	"fmt"

	"golang.org/x/sys/unix"

	"restic-manager/shared/wire"
)

// Of ioprio_set(2): who is meant, the classes, and how a class stands in a priority.
const (
	ioprioWhoProcess = 1
	ioprioBestEffort = 2
	ioprioIdle       = 3
	ioprioClassShift = 13
	ioprioLowest     = 7
)

// giveWay has this thread, and what it becomes, give way to other programs: at least so nice, at least of that class.
// What it was given to begin with stays where that is stricter; without privileges there is no way back either. The
// errors are for people: restic runs all the same.
func giveWay(nice int, class wire.IOClass) (errs []error) {
	if nice > 0 {
		is, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
		is = 20 - is // as the system call gives it
		if err == nil && is < nice {
			err = unix.Setpriority(unix.PRIO_PROCESS, 0, nice)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("restic runs as nice as the agent, not at %d: %w", nice, err))
		}
	}
	if class != wire.IOClassOwn {
		if err := setIOClass(class); err != nil {
			errs = append(errs, fmt.Errorf("restic runs in the agent's I/O class, not in %s: %w", class, err))
		}
	}
	return errs
}

func setIOClass(class wire.IOClass) error {
	priority := ioprioIdle << ioprioClassShift
	if class == wire.IOClassLow {
		is, _, errno := unix.Syscall(unix.SYS_IOPRIO_GET, ioprioWhoProcess, 0, 0)
		if errno != 0 {
			return errno
		}
		if is>>ioprioClassShift == ioprioIdle {
			return nil
		}
		priority = ioprioBestEffort<<ioprioClassShift | ioprioLowest
	}
	if _, _, errno := unix.Syscall(unix.SYS_IOPRIO_SET, ioprioWhoProcess, 0, uintptr(priority)); errno != 0 {
		return errno
	}
	return nil
}
