package boot

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"restic-manager/server/fault"
	"restic-manager/shared/wire"
)

// TestRestartsNeverAlarm: 1,000 restarts, with any of the older processes' messages coming again, late. A
// late message echoes only what its process had been given while it lived.
func TestRestartsNeverAlarm(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	type message struct {
		hello  bool
		id     string
		number int64
		seq    int64
		mark   string
	}
	var h Host
	var sent []message
	marks := 0
	say := func(m message) Reply {
		marks++
		var reply Reply
		mark := fmt.Sprint("m", marks)
		if m.hello {
			h, reply, _ = h.Hello(m.id, m.number, m.seq, mark)
		} else {
			h, reply, _ = h.Poll(m.id, m.mark, mark)
		}
		return reply
	}
	for n := int64(1); n <= 1000; n++ {
		id := fmt.Sprint("b", n)
		m := message{hello: true, id: id, number: n, seq: 1}
		sent = append(sent, m)
		mark := say(m).Mark
		for seq := int64(2); seq < 2+r.Int64N(4); seq++ {
			m := message{id: id, seq: seq, mark: mark}
			sent = append(sent, m)
			mark = say(m).Mark
			say(sent[r.IntN(len(sent))])              // late: its reply reaches nobody
			say(sent[max(0, len(sent)-1-r.IntN(12))]) // late by a little
		}
		if h.Alarm {
			t.Fatalf("restart %d raised the alarm", n)
		}
		if h.Newest.ID != id {
			t.Fatalf("newest: got %s, want %s", h.Newest.ID, id)
		}
	}
	if len(h.Older) > MaxOlder {
		t.Fatalf("remembered: got %d older processes, want at most %d", len(h.Older), MaxOlder)
	}
}

func TestLiveCloneAlarmsWithinTwoPolls(t *testing.T) {
	var h Host
	h, _, _ = h.Hello("a", 5, 1, "ma")
	h, _, _ = h.Hello("b", 6, 1, "mb")
	h, r, err := h.Poll("a", "ma", "probe")
	if err != nil || h.Alarm || r.Newest {
		t.Fatalf("first poll: got %+v, %v, alarm %v, want none yet", r, err, h.Alarm)
	}
	h, again, _ := h.Poll("a", "ma", "x") // a duplicate: echoes the old mark
	if h.Alarm || again.Mark != r.Mark {
		t.Fatalf("a duplicate: got %+v, alarm %v", again, h.Alarm)
	}
	h, r, _ = h.Poll("a", r.Mark, "x")
	if !h.Alarm || !r.Raised {
		t.Fatal("second poll of a living older process: want the alarm")
	}
	if h, _, err := h.Clear().Poll("b", "mb", "x"); !fault.Is(err, wire.ProblemHelloRequired) || h.Alarm {
		t.Fatalf("after clearing: got %v, want hello_required", err)
	}
}

func TestEqualAndLowerNumbersAreSuperseded(t *testing.T) {
	var h Host
	h, _, _ = h.Hello("a", 5, 1, "ma")
	for _, n := range []int64{1, 5} {
		got, _, err := h.Hello("b", n, 1, "mb")
		if e := fault.As(err); e == nil || e.Code != wire.ProblemBootSuperseded || e.BootNumber != 5 || got.Newest != h.Newest {
			t.Fatalf("number %d: got %v, want boot_superseded with 5", n, err)
		}
	}
	h, r, err := h.Hello("b", 6, 1, "mb")
	if err != nil || !r.Newest || h.Newest.ID != "b" {
		t.Fatalf("number 6: got %+v, %v, want the newest", r, err)
	}
}

func TestLateHelloRefreshesNothing(t *testing.T) {
	var h Host
	h, _, _ = h.Hello("a", 5, 1, "ma")
	h, _, _ = h.Hello("a", 5, 9, "x")
	if _, r, err := h.Hello("a", 5, 1, "y"); err != nil || r.Refresh || r.Mark != "ma" {
		t.Fatalf("got %+v, %v, want the same mark and no newer facts", r, err)
	}
}
