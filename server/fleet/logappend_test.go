package fleet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"restic-manager/server/fault"
	"restic-manager/shared/wire"
)

// TestAppendLogsOfManyJobsAtOnceKeepsEachApart has many agents send at once, each batch twice, as a retry does,
// with strangers among them: every log is its own file, and only the strangers are refused.
func TestAppendLogsOfManyJobsAtOnceKeepsEachApart(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		const jobs, batches = 16, 4
		stranger := x.host("stranger")
		hosts, ids, files := make([]string, jobs), make([]string, jobs), make([][][]byte, jobs)
		for i := range ids {
			hosts[i] = x.host(fmt.Sprint("host ", i))
			ids[i] = x.runningJob(hosts[i])
			for n := range batches * 3 {
				files[i] = append(files[i], records(fmt.Sprintf("job %d line %d", i, n+1)))
			}
		}
		var wg sync.WaitGroup
		for i, id := range ids {
			wg.Go(func() {
				for b := range batches {
					var twice sync.WaitGroup
					for range 2 {
						twice.Go(func() {
							reply, err := x.put(hosts[i], id, files[i], 1+3*b, 3)
							if want := int64(4 + 3*b); err != nil || reply.NextLine != want {
								t.Errorf("job %d batch %d: got next_line %d, %v, want %d", i, b, reply.NextLine, err, want)
							}
						})
					}
					if _, err := x.put(stranger, id, files[i], 1+3*b, 3); !fault.Is(err, wire.ProblemLeaseLost) {
						t.Errorf("job %d, another host: got %v, want %s", i, err, wire.ProblemLeaseLost)
					}
					twice.Wait()
				}
			})
		}
		wg.Wait()
		for i, id := range ids {
			page, err := x.LogLines(t.Context(), id, 0, 0, 0)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, l := range page.Lines {
				got = append(got, l.Text)
			}
			want := make([]string, batches*3)
			for n := range want {
				want[n] = fmt.Sprintf("job %d line %d", i, n+1)
			}
			if !slices.Equal(got, want) {
				t.Errorf("job %d: got %q, want %q", i, got, want)
			}
		}
	})
}

func appendingOf(hostID, jobID string, file [][]byte) *appending {
	body := bytes.Join(file, nil)
	return &appending{hostID: hostID, jobID: jobID, lease: hex32(1), done: make(chan struct{}), body: LogBody{Raw: body, Plain: body},
		q: wire.LogQuery{FirstLine: 1, Lines: int64(len(file)), SumBefore: shaHex(nil)}}
}

// TestBatchThatCannotBeStoredFailsAlone: the database refuses one batch of three in one transaction.
func TestBatchThatCannotBeStoredFailsAlone(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		all := []*appending{}
		for i := range 3 {
			host := x.host(fmt.Sprint("host ", i))
			all = append(all, appendingOf(host, x.runningJob(host), lines(2)))
		}
		slices.SortFunc(all, func(a, b *appending) int { return strings.Compare(a.jobID, b.jobID) })
		all[1].body.Encoding = "unheard of"
		x.storeBatches(all, func() {})
		for i, a := range all {
			want := int64(3)
			if i == 1 {
				want = 0
			}
			if (a.err != nil) != (i == 1) || a.reply.NextLine != want {
				t.Errorf("batch %d: got next_line %d, %v, want %d", i, a.reply.NextLine, a.err, want)
			}
			page, err := x.LogLines(t.Context(), a.jobID, 0, 0, 0)
			if got := int64(len(page.Lines)); err != nil || got != max(want-1, 0) {
				t.Errorf("batch %d: got %d lines, %v, want %d", i, got, err, max(want-1, 0))
			}
		}
	})
}

func TestTakeGivesOneBatchOfEachJob(t *testing.T) {
	w := &appends{}
	for _, id := range []string{"c", "a", "c", "b", "a"} {
		w.put(&appending{jobID: id, q: wire.LogQuery{FirstLine: int64(len(w.waiting))}})
	}
	for _, want := range []string{"[a1 b3 c0]", "[a4 c2]", "[]"} {
		var got []string
		for _, a := range w.take() {
			got = append(got, fmt.Sprint(a.jobID, a.q.FirstLine))
		}
		if fmt.Sprint(got) != want {
			t.Errorf("got %v, want %s", got, want)
		}
	}
	if w.storing != 0 {
		t.Errorf("nothing waits: got %d goroutines, want none", w.storing)
	}
	for i := range appendPortion + 5 {
		w.put(&appending{jobID: fmt.Sprint(i)})
	}
	if got := len(w.take()); got != appendPortion {
		t.Errorf("got %d at once, want %d", got, appendPortion)
	}
}

// TestBatchesWaitForOneTransactionUnlessItIsHeldUp: then another is begun, and one of them ends once both go on.
func TestBatchesWaitForOneTransactionUnlessItIsHeldUp(t *testing.T) {
	w := &appends{}
	batch := func(id string) *appending { return &appending{jobID: id} }
	if !w.put(batch("a")) || w.put(batch("b")) {
		t.Error("the first batch begins a transaction, the second waits for it")
	}
	if got := len(w.take()); got != 2 {
		t.Errorf("got %d, want both", got)
	}
	if w.holdUp() {
		t.Error("held up while nothing waits: another was begun for nothing")
	}
	if !w.put(batch("c")) || w.put(batch("d")) {
		t.Error("while one is held up, the next batch begins another, and only one")
	}
	if len(w.take()) != 2 || w.put(batch("e")) || !w.holdUp() {
		t.Error("that one is held up too while a batch waits: one more is to begin")
	}
	w.goOn()
	w.goOn()
	for i, want := range []int{0, 0, 1} {
		if got := len(w.take()); got != want {
			t.Errorf("taker %d of three, none held up: got %d batches, want %d", i, got, want)
		}
	}
	if w.take(); w.storing != 0 || w.slow != 0 {
		t.Errorf("at the end: got %d storing, %d held up, want none", w.storing, w.slow)
	}
	for range appendSlots {
		w.put(batch("f"))
		w.holdUp()
	}
	if w.storing != appendSlots {
		t.Errorf("all held up: got %d, want no more than %d", w.storing, appendSlots)
	}
}

// TestAppendLogOfACallerThatLeftIsWithdrawn: its bytes are not read any more once the call has returned.
func TestAppendLogOfACallerThatLeftIsWithdrawn(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		host := x.host("a")
		id, file := x.runningJob(host), lines(2)
		x.appends.storing = 1 // busy
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		body := bytes.Join(file, nil)
		q := wire.LogQuery{FirstLine: 1, Lines: 2, SumBefore: shaHex(nil)}
		if _, err := x.AppendLog(ctx, host, id, hex32(1), q, LogBody{Raw: body, Plain: body}); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want %v", err, context.Canceled)
		}
		if got := len(x.appends.waiting); got != 0 {
			t.Errorf("got %d waiting, want none", got)
		}
		x.appends.storing = 0
		if reply, err := x.put(host, id, file, 1, 2); err != nil || reply.NextLine != 3 {
			t.Errorf("sent again: got %+v, %v, want next_line 3", reply, err)
		}
	})
}

func TestPanicWhileStoringIsAnError(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		if err := x.storeTogether([]*appending{nil}, func() {}); err == nil || !strings.Contains(err.Error(), "panicked") {
			t.Errorf("got %v, want an error that says so", err)
		}
	})
}
