package memory

import (
	"maps"
	"slices"
)

// Clone is a copy of all that a Flush has written: a backup of the database. A server that is restored from it
// knows nothing of what came later.
func (s *Store) Clone() *Store {
	c := *s
	c.hosts, c.jobs = maps.Clone(s.hosts), maps.Clone(s.jobs)
	for id, h := range c.hosts {
		one := *h
		c.hosts[id] = &one
	}
	for id, r := range c.jobs {
		one := *r
		c.jobs[id] = &one
	}
	c.names, c.queue, c.trail = slices.Clone(s.names), slices.Clone(s.queue), slices.Clone(s.trail)
	c.keys, c.pulse = maps.Clone(s.keys), newPulse()
	return &c
}
