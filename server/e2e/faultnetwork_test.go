package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"restic-manager/server/e2e/faultproxy"
	"restic-manager/server/e2e/scripted/script"
	"restic-manager/shared/wire"
)

// TestFaultReorderedChunks: requests whose sender gave them up arrive after the ones it sent then.
func TestFaultReorderedChunks(t *testing.T) {
	t.Parallel()
	for _, engine := range databases {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, engine)
			const lines = 400
			r := newFaultRig(t, s, figures(3, 25))
			r.script(script.Act{Lines: lines, Rate: 200})
			r.faults(faultproxy.Faults{Stray: 0.2, LoseAfter: 0.1})
			r.each(func(_ int, a *scripted) {
				for range figures(2, 20) {
					r.ended(a.backup().ID, 3*time.Minute)
				}
			})
			var c faultproxy.Counts
			for _, p := range r.proxies {
				p.Set(faultproxy.Faults{})
				p.Settle()
				n := p.Counts()
				c.Requests, c.Late, c.Lost = c.Requests+n.Requests, c.Late+n.Late, c.Lost+n.Lost
			}
			v := r.judge(succeeded(lines))
			if want := figures(6, 500); v.jobs != want {
				t.Errorf("jobs: got %d, want %d", v.jobs, want)
			}
			fault(t, faultRow{Row: "10", Fault: "requests arrive after later ones", Variant: engine, Runs: v.jobs, Violations: v.violations,
				Figure: fmt.Sprintf("%d of %d requests came late, %d replies lost; %d bytes of log equal", c.Late, c.Requests, c.Lost, v.bytes)})
		})
	}
}

// weather is one kind of bad line.
type weather struct {
	name   string
	faults faultproxy.Faults
	rate   int
}

var weathers = []weather{
	{"1 KB/s", faultproxy.Faults{}, 1024},
	{"20 % of the requests lost", faultproxy.Faults{LoseBefore: 0.1, LoseAfter: 0.1}, 0},
	{"3 s round trip", faultproxy.Faults{Delay: 3 * time.Second}, 0},
	{"5 % never answered", faultproxy.Faults{Swallow: 0.05, CutReply: 0.05, CutBody: 0.05}, 0},
}

// TestFaultSlowLines: lines that are slow, lose, or half open. Every job ends as restic did, and nobody asks in a
// circle.
func TestFaultSlowLines(t *testing.T) {
	t.Parallel()
	const lines = 50
	for _, engine := range databases[:figures(1, len(databases))] {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, engine)
			// An agent for each weather in the short form.
			r := newFaultRig(t, s, len(weathers)*figures(1, 5))
			r.script(script.Act{Lines: lines, Rate: 100})
			for i, p := range r.proxies {
				w := weathers[i%len(weathers)]
				p.Set(w.faults)
				p.Limit(w.rate)
			}
			began := time.Now()
			slowest := make([]time.Duration, len(r.agents))
			r.each(func(i int, a *scripted) {
				for n := range figures(1, 5) {
					if n > 0 {
						<-time.After(10 * time.Second) // the figure below tells of one job, not of how fast they follow each other
					}
					ordered := time.Now()
					r.ended(a.backup().ID, 5*time.Minute)
					slowest[i] = max(slowest[i], time.Since(ordered))
				}
			})
			took := time.Since(began)
			requests, peak := 0, 0
			var busiest string
			for i, p := range r.proxies {
				c := p.Counts()
				if c.Peak > peak {
					busiest = fmt.Sprintf("%s: %v", weathers[i%len(weathers)].name, c.PeakOf)
				}
				p.Set(faultproxy.Faults{})
				p.Limit(0)
				requests, peak = requests+c.Requests, max(peak, c.Peak)
			}
			v := r.judge(succeeded(lines))
			if peak >= 30 {
				v.violations++
				t.Errorf("an agent sent %d requests in ten seconds, want less than 30 (%s)", peak, busiest)
			}
			if want := figures(4, 100); v.jobs != want {
				t.Errorf("jobs: got %d, want %d", v.jobs, want)
			}
			fault(t, faultRow{Row: "8", Fault: "slow, lossy and half-open lines", Variant: engine, Runs: v.jobs, Violations: v.violations,
				Figure: fmt.Sprintf("at most %d requests of an agent in 10 s (%s), %.2f/s on the mean; slowest job %s", peak, busiest,
					float64(requests)/took.Seconds()/float64(len(r.agents)), seconds(slices.Max(slowest)))})
		})
	}
}

// TestFaultCutFromServer: the line to the server is away in the middle of a job, cut or frozen. restic is untouched,
// the host goes offline when it should (whole runs alone: a new server judges nobody for three minutes) and its job
// does not fail, and all arrives after.
func TestFaultCutFromServer(t *testing.T) {
	t.Parallel()
	for _, engine := range databases[:figures(1, len(databases))] {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			away := 12 * time.Second
			if whole() {
				away = 10 * time.Minute
			}
			s := newServer(t, engine)
			began := time.Now()
			r := newFaultRig(t, s, figures(2, 10))
			const rate = 20
			lines := rate * int((away - 4*time.Second).Seconds()) // restic ends while the line is away
			r.script(script.Act{Lines: lines, Rate: rate})
			if whole() {
				<-time.After(time.Until(began.Add(3*time.Minute + 20*time.Second)))
			}
			jobs := make([]job, len(r.agents))
			for i, a := range r.agents {
				jobs[i] = a.backup()
			}
			for _, j := range jobs {
				s.reaches(j.ID, time.Minute, wire.StateRunning)
			}
			cut := time.Now()
			for i, p := range r.proxies {
				if i%2 == 0 {
					p.Freeze()
				} else {
					p.Cut()
				}
			}
			figure := ""
			if whole() {
				shown := r.offline(cut, jobs)
				figure = fmt.Sprintf("shown offline after %s to %s; ", seconds(slices.Min(shown)), seconds(slices.Max(shown)))
			}
			<-time.After(time.Until(cut.Add(away)))
			back, caught := r.catchUp(jobs)
			v := r.judge(succeeded(lines))
			fault(t, faultRow{Row: "6", Fault: fmt.Sprintf("the line to the server away for %s", away), Variant: engine, Runs: v.jobs, Violations: v.violations,
				Figure: figure + fmt.Sprintf("%d lines of each job there at most %s after the line was back, %s after the agent's first word of it", lines,
					seconds(slices.Max(caught)), seconds(slices.Max(back)))})
		})
	}
}

// offline waits until every host is shown offline, and returns after how long. Its job is then shown as running,
// disconnected.
func (r *faultRig) offline(cut time.Time, jobs []job) []time.Duration {
	r.t.Helper()
	shown := make([]time.Duration, len(r.agents))
	eventually(r.t, 2*time.Minute, "all hosts are offline", func() error {
		left := 0
		for i, a := range r.agents {
			if shown[i] > 0 {
				continue
			}
			if r.s.host(a.hostID).Status != "offline" {
				left++
				continue
			}
			shown[i] = time.Since(cut)
		}
		if left > 0 {
			return fmt.Errorf("%d are not", left)
		}
		return nil
	})
	for i, d := range shown {
		// 90 s from the last word, which was said before the cut, and a sweep each 15 s.
		if d < 75*time.Second || d > 110*time.Second {
			r.t.Errorf("shown offline after %s, want 90 s to 105 s", d)
		}
		// The last word may have renewed the job's lease: then it is a sweep later.
		eventually(r.t, 20*time.Second, "the job of a host that is offline is running, disconnected", func() error {
			var j struct {
				State             wire.State `json:"state"`
				DisconnectedSince *time.Time `json:"disconnected_since"`
			}
			r.s.do("GET", "/api/jobs/"+jobs[i].ID, nil, &j)
			if j.State != wire.StateRunning || j.DisconnectedSince == nil {
				return fmt.Errorf("it is %s, disconnected since %v", j.State, j.DisconnectedSince)
			}
			return nil
		})
	}
	return shown
}

// catchUp heals the line and waits until all has arrived: how long after the line was back each job's log was whole, and how long
// after the first of it that came then.
func (r *faultRig) catchUp(jobs []job) (back, caught []time.Duration) {
	r.t.Helper()
	before := make([]int, len(jobs))
	for i, j := range jobs {
		before[i] = strings.Count(r.s.log(j.ID), "\n")
	}
	for _, p := range r.proxies {
		p.Heal()
	}
	healed := time.Now()
	back, caught = make([]time.Duration, len(jobs)), make([]time.Duration, len(jobs))
	r.each(func(i int, a *scripted) {
		eventually(r.t, 2*time.Minute, "the first word of the job", func() error {
			if now := strings.Count(r.s.log(jobs[i].ID), "\n"); now == before[i] {
				return fmt.Errorf("still %d lines", now)
			}
			return nil
		})
		first := time.Now()
		r.ended(jobs[i].ID, 3*time.Minute)
		back[i], caught[i] = time.Since(first), time.Since(healed)
	})
	return back, caught
}
