package doctor

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"restic-manager/agent/runner"
	"restic-manager/shared/checkup"
	"restic-manager/shared/wire"
)

// In how many parts an answer comes, over which time, to see whether something on the way keeps them back.
const (
	parts     = 8
	partsTake = 4 * time.Second
)

// canHold is why no held request can be tried; nil: one can.
func (d *doctor) canHold() *checkup.Result {
	var r checkup.Result
	switch {
	case d.NoHold:
		r = checkup.Skip("left out by --no-hold")
	case d.oldHold:
		r = checkup.Skip("the server is older than this agent and cannot hold a request to try it")
	case !d.enrolled:
		r = checkup.Skip("the server holds requests of enrolled machines alone: ask again after enroll")
	case d.answer.problem.Code != "":
		r = checkup.Skip("the server holds requests of machines that it accepts alone")
	default:
		return nil
	}
	return &r
}

// buffering finds out whether an answer that comes in parts arrives in parts.
func (d *doctor) buffering(ctx context.Context) checkup.Result {
	if r := d.canHold(); r != nil {
		return *r
	}
	d.wait(fmt.Sprintf("buffering: %s", partsTake))
	ctx, cancel := context.WithTimeout(ctx, partsTake+2*stepLimit)
	defer cancel()
	t := d.way.Transport.Clone()
	defer t.CloseIdleConnections()
	path := holdPath(wire.HoldQuery{Wait: partsTake, Parts: parts})
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, d.way.Base.String()+path, nil)
	if err != nil {
		return checkup.Skip("%v", err)
	}
	r.Header = d.headers(path, nil)
	began := d.Now()
	answer, err := t.RoundTrip(r)
	if err != nil {
		return checkup.Fail("see the log of the proxy on the way", "an answer in parts does not come: %v", bare(err))
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return checkup.Skip("the server does not give what this is tried with (status %d)", answer.StatusCode)
	}
	var first time.Duration
	n := 0
	for lines := bufio.NewScanner(answer.Body); lines.Scan(); n++ {
		if n == 0 {
			first = d.Now().Sub(began)
		}
	}
	switch {
	case n < parts:
		return checkup.Warn("have the proxy leave long answers alone", "an answer that takes %s breaks off after %d of %d parts", partsTake, n, parts)
	case first > partsTake*3/4:
		return checkup.Warn("agents work so; what is long, as a log, comes late: have the proxy pass answers on at once", "a proxy keeps answers back until they are whole: the first of %d parts came after %.1f s in place of %.1f s", parts, first.Seconds(), (partsTake / parts).Seconds())
	}
	return checkup.Ok("answers arrive as they are sent")
}

// lengths are the holds that are tried, beside each other. There are as many as the server holds of one host.
var lengths = []time.Duration{5 * time.Second, 10 * time.Second, 15 * time.Second, 20 * time.Second, 25 * time.Second, 30 * time.Second, 45 * time.Second, wire.MaxHold}

// longestPoll is what agents hold at most.
const longestPoll = 30 * time.Second

// trial is one held request.
type trial struct {
	length time.Duration
	took   time.Duration // until it ended, however it did
	err    error         // nil: the server's own answer came
	// refused says that the server itself did not hold it: that tells nothing of the way.
	refused bool
}

// hold finds out how long the way lets a request wait, and lets the agent poll no longer than that.
func (d *doctor) hold(ctx context.Context) checkup.Result {
	if r := d.canHold(); r != nil {
		return *r
	}
	d.wait(fmt.Sprintf("hold: up to %s", wire.MaxHold))
	trials := d.try(ctx, lengths)
	survived, cut := judge(trials)
	if cut != nil && !cut.refused {
		// Once more, alone: what comes and goes is no rule.
		again := d.try(ctx, []time.Duration{cut.length})
		if again[0].refused {
			cut = &again[0]
		} else if again[0].err == nil {
			return checkup.Warn("try again; the agent polls as before", "a request of %s was cut after %s, and the same was not when it was tried again: %v", cut.length, seconds(cut.took), bare(cut.err))
		}
		cut.took = min(cut.took, again[0].took)
	}
	if ctx.Err() != nil {
		return checkup.Skip("interrupted")
	}
	if cut != nil && cut.refused {
		return checkup.Warn("ask again in a minute; the agent polls as before", "it was not found out: %v", cut.err)
	}
	d.report.HoldSeconds = int(survived / time.Second)
	if cut == nil {
		return d.keep(0, checkup.Ok("a request may wait for %s", survived))
	}
	found := fmt.Sprintf("a request that waits for %s is cut after %s", cut.length, seconds(cut.took))
	age := cut.took
	if isTimeout(cut.err) {
		found = fmt.Sprintf("a request that waits for %s is never answered: something on the way forgets the silent connection", cut.length)
		age = cut.length // at the latest; when it was is not known
	}
	if survived >= longestPoll {
		return d.keep(0, checkup.Ok("a request may wait for %s, longer than agents ask for; %s", survived, found))
	}
	limit := max(runner.ShortestHold, min(survived, age*3/4).Truncate(time.Second))
	hint := "have what cuts it (a proxy's or balancer's idle time) let requests wait for a minute"
	if survived == 0 {
		return d.keep(limit, checkup.Fail(hint+"; until then the host may look offline", "not even %s: %s", lengths[0], found))
	}
	return d.keep(limit, checkup.Warn(hint, "%s; a request may wait for %s", found, survived))
}

// judge gives the longest hold below which all survived, and the shortest that did not; nil: all did.
func judge(trials []trial) (survived time.Duration, cut *trial) {
	for i := range trials {
		if trials[i].err != nil {
			return survived, &trials[i]
		}
		survived = trials[i].length
	}
	return survived, nil
}

// try holds requests of these lengths at once, each over a connection of its own, and gives what became of them in the
// same order.
func (d *doctor) try(ctx context.Context, lengths []time.Duration) []trial {
	trials := make([]trial, len(lengths))
	var all sync.WaitGroup
	for i, length := range lengths {
		all.Go(func() { trials[i] = d.tryOne(ctx, length) })
	}
	all.Wait()
	slices.SortFunc(trials, func(a, b trial) int { return int(a.length - b.length) })
	return trials
}

func (d *doctor) tryOne(ctx context.Context, length time.Duration) trial {
	ctx, cancel := context.WithTimeout(ctx, length+stepLimit)
	defer cancel()
	t := d.way.Transport.Clone()
	defer t.CloseIdleConnections()
	began := d.Now()
	a, err := d.call(ctx, t, holdPath(wire.HoldQuery{Wait: length}), nil)
	took := d.Now().Sub(began)
	refused := err == nil && a.problem.Code != ""
	switch {
	case err != nil:
	case refused:
		err = fmt.Errorf("the server answers %s: %s", a.problem.Code, a.problem.Detail)
	case a.hold.ServerTime.IsZero():
		err = fmt.Errorf("something on the way answers in the server's place: status %d%s", a.status, by(a))
	case took < length-time.Second:
		err = fmt.Errorf("the answer came after %s already: it is not of this request", seconds(took))
	}
	return trial{length: length, took: took, err: err, refused: refused}
}

// keep writes the limit where the agent of this machine reads it before each poll; 0: there is none.
func (d *doctor) keep(limit time.Duration, r checkup.Result) checkup.Result {
	state := d.Paths.State
	var err error
	if limit == 0 {
		had, none := runner.ReadHold(state)
		if err = runner.ForgetHold(state); err == nil && none == nil {
			r.Detail += fmt.Sprintf("; the agent's limit of %d s is taken away", had.Seconds)
		}
	} else {
		err = runner.WriteHold(state, runner.Hold{ServerURL: d.settings.ServerURL, Seconds: int(limit / time.Second), FoundAt: d.Now().UTC(), FoundBy: runner.FoundByDoctor})
		if err == nil {
			r.Detail += fmt.Sprintf("; the agent polls for %s at most from now on", limit)
		}
	}
	if err != nil {
		r.Hint = fmt.Sprintf("run doctor as the agent's user: %s cannot be written (%v)", runner.HoldPath(state), err)
	}
	return r
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }
