// Package boot holds the rules by which the processes of one agent are told apart: a restart from a clone,
// a living process from its late messages. Pure functions: no database, no clock, no randomness.
package boot

import (
	"slices"

	"restic-manager/server/fault"
	"restic-manager/shared/wire"
)

// Host is what is known of the processes that spoke with one host's identity.
type Host struct {
	Newest Boot // zero: none said hello yet
	Older  []Older
	Alarm  bool
}

// Boot is one process of an agent.
type Boot struct {
	ID     string
	Number int64
	Seq    int64 // of its latest hello
	Mark   string
}

// Older is a process before the newest. Probe is the mark it was given after a newer one's hello: only a
// living process can echo it, for the replies to late duplicates reach nobody. Empty: none was given.
type Older struct {
	ID    string
	Probe string
}

// MaxOlder bounds how many older processes are remembered.
const MaxOlder = 8

// Reply is what a hello or a poll is answered with.
type Reply struct {
	Mark string
	// Newest: the message is of the newest process. Only that one is offered jobs.
	Newest bool
	// Refresh: a hello brings facts that are not older than those known.
	Refresh bool
	// Raised: this message has just raised the alarm.
	Raised bool
}

// Hello takes a process's hello. mark is fresh and random; it is used for a process not seen before. A
// number that is not above the newest one's is boot_superseded, with that number: a late message of an older
// process, or a living one with a slow clock, which takes the next number and asks again.
func (h Host) Hello(id string, number, seq int64, mark string) (Host, Reply, error) {
	switch {
	case id == h.Newest.ID && number == h.Newest.Number:
		r := Reply{Mark: h.Newest.Mark, Newest: true, Refresh: seq >= h.Newest.Seq}
		h.Newest.Seq = max(h.Newest.Seq, seq)
		return h, r, nil
	case number <= h.Newest.Number:
		e := fault.New(fault.Conflict, wire.ProblemBootSuperseded,
			"a newer process of this agent has spoken; if this one lives, take boot number %d and say hello again", h.Newest.Number+1)
		e.BootNumber = h.Newest.Number
		return h, Reply{}, e
	}
	h.Older = slices.DeleteFunc(slices.Clone(h.Older), func(o Older) bool { return o.ID == id })
	if h.Newest.ID != "" && h.Newest.ID != id {
		h.Older = append(h.Older, Older{ID: h.Newest.ID})
		h.Older = h.Older[max(0, len(h.Older)-MaxOlder):]
	}
	h.Newest = Boot{ID: id, Number: number, Seq: seq, Mark: mark}
	return h, Reply{Mark: mark, Newest: true, Refresh: true}, nil
}

// Poll takes a process's poll with the mark it echoes. mark is fresh and random; it is used the first time
// an older process polls after a newer one's hello, and written down only then. An older process that echoes
// it lives beside the newer one: the alarm is raised, and stays until Clear. A process that never said hello
// is hello_required.
func (h Host) Poll(id, echoed, mark string) (Host, Reply, error) {
	if id != "" && id == h.Newest.ID {
		return h, Reply{Mark: h.Newest.Mark, Newest: true}, nil
	}
	i := slices.IndexFunc(h.Older, func(o Older) bool { return o.ID == id })
	if id == "" || i < 0 {
		return h, Reply{}, fault.New(fault.Conflict, wire.ProblemHelloRequired, "this process is not known here; say hello, then poll")
	}
	if h.Older[i].Probe == "" {
		h.Older = slices.Clone(h.Older)
		h.Older[i].Probe = mark
		return h, Reply{Mark: mark}, nil
	}
	r := Reply{Mark: h.Older[i].Probe}
	if echoed == h.Older[i].Probe && !h.Alarm {
		h.Alarm, r.Raised = true, true
	}
	return h, r, nil
}

// Clear forgets all processes and the alarm: one copy was switched off, the other says hello again.
func (h Host) Clear() Host { return Host{} }
