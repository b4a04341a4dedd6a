package supervise

import "time"

const (
	// sampleEvery is how often a silent restic is looked at, and how long a silence must be to be told.
	sampleEvery = 30 * time.Second
	// A restic that only prints its clock takes less than this share of one processor, and reads and writes
	// less than this many bytes a second.
	idleTicks = 1 // of 100 a second
	idleBytes = 2 << 10
)

// stall finds out since when a process group neither says nor does anything.
type stall struct {
	group   int
	sampled time.Time
	usage   usage
	// worked is when the group was last seen to use a processor or do I/O.
	worked time.Time
	// measure is the group's usage so far.
	measure func(group int) usage
}

// usage is what a group has used since it exists; it falls when a member ends.
type usage struct{ ticks, bytes uint64 }

func newStall(group int, now time.Time) *stall {
	return &stall{group: group, worked: now, measure: groupUsage}
}

// since is how long there has been neither output nor work; 0 while there is, or for less than a sample.
func (s *stall) since(now, output time.Time) time.Duration {
	if now.Sub(output) < sampleEvery {
		s.sampled, s.usage = time.Time{}, usage{}
		return 0
	}
	if s.sampled.IsZero() || now.Sub(s.sampled) >= sampleEvery {
		s.sample(now)
	}
	last := output
	if s.worked.After(last) {
		last = s.worked
	}
	if idle := now.Sub(last); idle >= 2*sampleEvery {
		return idle
	}
	return 0
}

func (s *stall) sample(now time.Time) {
	used := s.measure(s.group)
	if !s.sampled.IsZero() {
		seconds := uint64(now.Sub(s.sampled) / time.Second)
		if used.ticks < s.usage.ticks || used.bytes < s.usage.bytes ||
			used.ticks-s.usage.ticks > idleTicks*seconds || used.bytes-s.usage.bytes > idleBytes*seconds {
			s.worked = now
		}
	} else {
		// Nothing to compare with: it may have worked until now.
		s.worked = now
	}
	s.sampled, s.usage = now, used
}

func groupUsage(group int) usage {
	var u usage
	for _, p := range members(group) {
		u.ticks += p.ticks
		u.bytes += ioBytes(p.pid)
	}
	return u
}
