package spool

import (
	"maps"
	"slices"
)

// Clone is a copy of the disk with the same names and bytes, what is durable of them included, as a snapshot of
// a machine's disk is. Nothing is locked or open on it, and nothing of it fails.
func (m *Memory) Clone() *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := NewMemory(m.now)
	c.capacity = m.capacity
	c.root = m.root.clone(map[*node]*node{})
	return c
}

// clone keeps the files that have several names one file.
func (n *node) clone(done map[*node]*node) *node {
	if n == nil {
		return nil
	}
	if c := done[n]; c != nil {
		return c
	}
	c := &node{dir: n.dir, modTime: n.modTime, data: slices.Clone(n.data), durable: slices.Clone(n.durable), allocated: n.allocated}
	done[n] = c
	if !n.dir {
		return c
	}
	copied := func(names map[string]*node) map[string]*node {
		names = maps.Clone(names)
		for name, child := range names {
			names[name] = child.clone(done)
		}
		return names
	}
	c.names, c.durableNames = copied(n.names), copied(n.durableNames)
	for _, ch := range n.changes {
		c.changes = append(c.changes, change{remove: ch.remove, add: ch.add, node: ch.node.clone(done)})
	}
	return c
}
