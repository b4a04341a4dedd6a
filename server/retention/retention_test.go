//go:build !race

package retention

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

func utc(s string) time.Time {
	t, err := time.Parse("2006-01-02T15:04:05Z", s)
	if err != nil {
		panic(err)
	}
	return t
}

func idOf(n int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "snapshot %d", n))
	return hex.EncodeToString(sum[:])
}

// good is a snapshot that a job of ours made and that ended at that time.
func good(n int, end time.Time, policy, host string) Snapshot {
	return Snapshot{ID: idOf(n), Time: end.Add(-20 * time.Minute),
		Jobs: []Job{{ID: fmt.Sprintf("job-%d", n), PolicyID: policy, HostID: host, StartedAt: end.Add(-21 * time.Minute), EndedAt: end}}}
}

func daily(n int) map[string]Rule { return map[string]Rule{"p": {Keep: Keep{Daily: n}}} }

var now = utc("2026-11-27T08:00:00Z")

// TestSevenForgedRemoveNoneOfSevenGood is the attack that leaves restic's own --keep-daily 7 with 0 of 7 good ones, in
// 100 orders of the list.
func TestSevenForgedRemoveNoneOfSevenGood(t *testing.T) {
	var all []Snapshot
	isGood := map[string]bool{}
	for day := range 7 {
		end := now.AddDate(0, 0, -day).Add(-5 * time.Hour)
		g := good(day, end, "p", "h")
		all, isGood[g.ID] = append(all, g), true
		// Forged later in the day, under the same host, with what else can be copied.
		all = append(all, Snapshot{ID: idOf(100 + day), Time: end.Add(3 * time.Hour), Tags: g.Tags})
	}
	r := rand.New(rand.NewPCG(1, 2))
	for order := range 100 {
		r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		p := Compute(all, daily(7), now)
		if p.Frozen == "" || !strings.Contains(p.Frozen, "7 snapshots") || len(p.Remove) > 0 {
			t.Fatalf("order %d: got frozen %q and %d to remove, want a word on 7 snapshots and none", order, p.Frozen, len(p.Remove))
		}
		for _, v := range p.Verdicts {
			if !v.Keep || (v.Anomaly == "") != isGood[v.ID] {
				t.Fatalf("order %d: snapshot %s, good %v: got %+v", order, short(v.ID), isGood[v.ID], v)
			}
		}
		// Nor after a person has said that they may stay as they are.
		seen := slices.Clone(all)
		for i := range seen {
			seen[i].Seen = !isGood[seen[i].ID]
		}
		if p := Compute(seen, daily(7), now); p.Frozen != "" || len(p.Remove) > 0 {
			t.Fatalf("order %d, looked at: got frozen %q, remove %d; want none of both", order, p.Frozen, len(p.Remove))
		}
		if p := Compute(seen, daily(5), now); len(p.Remove) != 2 || !isGood[p.Remove[0]] || p.Remove[0] != idOf(6) || p.Remove[1] != idOf(5) {
			t.Fatalf("order %d, 5 days kept: got %v removed, want the two oldest good ones", order, p.Remove)
		}
	}
}

func TestWhatDoesNotCount(t *testing.T) {
	end := now.Add(-time.Hour)
	sound := good(1, end, "p", "h")
	change := func(do func(s *Snapshot)) Snapshot {
		s := sound
		s.Jobs = slices.Clone(s.Jobs)
		do(&s)
		return s
	}
	for what, c := range map[string]struct {
		s       Snapshot
		anomaly string
	}{
		"its own time within 10 minutes before the start": {change(func(s *Snapshot) { s.Time = s.Jobs[0].StartedAt.Add(-10 * time.Minute) }), ""},
		"10 minutes and a second before":                  {change(func(s *Snapshot) { s.Time = s.Jobs[0].StartedAt.Add(-10*time.Minute - time.Second) }), "its time is not that"},
		"10 minutes after the end":                        {change(func(s *Snapshot) { s.Time = end.Add(10 * time.Minute) }), ""},
		"10 minutes and a second after":                   {change(func(s *Snapshot) { s.Time = end.Add(10*time.Minute + time.Second) }), "its time is not that"},
		"no job":                                          {change(func(s *Snapshot) { s.Jobs = nil }), "no backup that was ordered here"},
		"of next year":                                    {change(func(s *Snapshot) { s.Jobs, s.Time = nil, now.AddDate(1, 0, 0) }), "in the future"},
		"two jobs":                                        {change(func(s *Snapshot) { s.Jobs = append(s.Jobs, Job{ID: "other"}) }), "several backups say"},
		"begun unseen":                                    {change(func(s *Snapshot) { s.Jobs[0].DueAt, s.Time = end.AddDate(0, 0, -3), end.AddDate(0, 0, -3) }), ""},
		"before it was due":                               {change(func(s *Snapshot) { s.Jobs[0].DueAt, s.Time = end.AddDate(0, 0, -3), end.AddDate(0, 0, -4) }), "its time is not that"},
		"adopted":                                         {change(func(s *Snapshot) { s.Jobs, s.AdoptedAt = nil, now }), ""},
	} {
		p := Compute([]Snapshot{c.s}, nil, now)
		v := p.Verdicts[0]
		if c.anomaly == "" && (v.Anomaly != "" || p.Frozen != "") || c.anomaly != "" && (!strings.Contains(v.Anomaly, c.anomaly) || !strings.Contains(p.Frozen, c.anomaly)) || !v.Keep {
			t.Errorf("%s: got %+v, frozen %q; want %q", what, v, p.Frozen, c.anomaly)
		}
	}
	twin := change(func(s *Snapshot) { s.ID = idOf(2) })
	for _, v := range Compute([]Snapshot{sound, twin}, nil, now).Verdicts {
		if !strings.Contains(v.Anomaly, "another snapshot is said to be of the same backup") {
			t.Errorf("two snapshots of one job: got %+v", v)
		}
	}
}

func TestTheTimeThatCounts(t *testing.T) {
	end := now.Add(-time.Hour)
	due := end.AddDate(0, 0, -3)
	unseen := good(1, end, "p", "h")
	unseen.Jobs[0].DueAt, unseen.Time = due, due.Add(time.Minute)
	scheduled := good(2, end, "p", "h")
	scheduled.Jobs[0].DueAt = end.Add(-time.Hour)
	early := Snapshot{ID: idOf(3), Time: end.AddDate(0, 0, -9), AdoptedAt: now}
	late := Snapshot{ID: idOf(4), Time: now.AddDate(1, 0, 0), AdoptedAt: now}
	skewed := good(5, end, "p", "h")
	skewed.Time, skewed.AdoptedAt = end.Add(5*time.Hour), now
	for what, c := range map[string]struct {
		s    Snapshot
		want time.Time
	}{
		"a job's end by the server's clock":                      {good(6, end, "p", "h"), end},
		"the end too, where it was due a while before":           {scheduled, end},
		"the due time, where it ran while the server was away":   {unseen, due},
		"an adopted one's own":                                   {early, early.Time},
		"an adopted one's, but no later than it was seen":        {late, now},
		"the job's end, of one whose clock is off and was taken": {skewed, end},
	} {
		if v := Compute([]Snapshot{c.s}, nil, now).Verdicts[0]; !v.At.Equal(c.want) || v.Anomaly != "" {
			t.Errorf("%s: got %s (%s), want %s", what, v.At, v.Anomaly, c.want)
		}
	}
}

// TestWeeksAwayAreNotOneDay: a machine that made its backups while the server was away reports them all at once.
func TestWeeksAwayAreNotOneDay(t *testing.T) {
	var all []Snapshot
	for day := range 7 {
		s := good(day, now.Add(-time.Duration(day)*time.Second), "p", "h")
		s.Jobs[0].DueAt = now.AddDate(0, 0, -day).Add(-4 * time.Hour)
		s.Time = s.Jobs[0].DueAt.Add(time.Minute)
		all = append(all, s)
	}
	if p := Compute(all, daily(7), now); p.Frozen != "" || len(p.Remove) > 0 {
		t.Errorf("got frozen %q, %d removed; want all 7 days kept", p.Frozen, len(p.Remove))
	}
}

func TestKeepIsResticsMeaning(t *testing.T) {
	// Ends, in Berlin: two a day for 40 days, at 01:30 and at 13:30 (winter), the newest first.
	var ends []time.Time
	for day := range 40 {
		for _, hour := range []int{12, 0} {
			ends = append(ends, time.Date(2026, 11, 27-day, hour, 30, 0, 0, time.UTC))
		}
	}
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	var all []Snapshot
	for i, end := range ends {
		all = append(all, good(i, end, "p", "h"))
	}
	all[5].Tags = []string{"pinned"}
	for what, c := range map[string]struct {
		keep Keep
		want []int
	}{
		"last":                              {Keep{Last: 3}, []int{0, 1, 2}},
		"hourly":                            {Keep{Hourly: 2}, []int{0, 1}},
		"daily, the newest of each day":     {Keep{Daily: 3}, []int{0, 2, 4}},
		"weekly, from Monday":               {Keep{Weekly: 3}, []int{0, 10, 24}}, // Friday 27, Sunday 22, Sunday 15
		"monthly":                           {Keep{Monthly: 2}, []int{0, 54}},    // 27 November, 31 October
		"yearly, and the oldest":            {Keep{Yearly: 2}, []int{0, 79}},
		"within a day of the newest":        {Keep{WithinDays: 1}, []int{0, 1}},
		"tags add":                          {Keep{Last: 1, Tags: []string{"pinned"}}, []int{0, 5}},
		"each keeps its own":                {Keep{Last: 1, Daily: 2}, []int{0, 2}},
		"nothing keeps all":                 {Keep{}, nil},
		"tags alone keep all":               {Keep{Tags: []string{"pinned"}}, nil},
		"numbers below nothing are nothing": {Keep{Last: -1}, nil},
	} {
		p := Compute(all, map[string]Rule{"p": {Keep: c.keep, Zone: berlin}}, now.AddDate(0, 0, 1))
		var got []int
		for _, v := range p.Verdicts {
			if v.Keep != (len(v.Reasons) > 0) {
				t.Errorf("%s: kept %v for %v", what, v.Keep, v.Reasons)
			}
			if v.Keep {
				got = append(got, slices.IndexFunc(all, func(s Snapshot) bool { return s.ID == v.ID }))
			}
		}
		if c.want == nil && (len(got) != len(all) || p.NeedsApproval) || c.want != nil && !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", what, got, c.want)
		}
	}
	// 23:30 in UTC is the next day in Berlin.
	late := []Snapshot{good(1, utc("2026-11-20T23:30:00Z"), "p", "h"), good(2, utc("2026-11-20T12:00:00Z"), "p", "h"), good(3, utc("2026-11-20T10:00:00Z"), "p", "h")}
	rule := map[string]Rule{"p": {Keep: Keep{Daily: 2}, Zone: berlin}}
	late = append(late, good(4, utc("2026-11-18T10:00:00Z"), "p", "h"))
	if p := Compute(late, rule, now); !slices.Equal(p.Remove, []string{idOf(4), idOf(3)}) {
		t.Errorf("days of Berlin: got %d removed, want the second of its day, and the third day", len(p.Remove))
	}
}

func TestGroupsAndWhatHasNoRule(t *testing.T) {
	var all []Snapshot
	for i := range 5 {
		end := now.Add(-time.Duration(i+1) * time.Hour)
		all = append(all, good(i, end, "p", "a"), good(10+i, end, "p", "b"), good(20+i, end, "gone", "a"), good(30+i, end, "", "a"))
	}
	p := Compute(all, map[string]Rule{"p": {Keep: Keep{Last: 2}}}, now)
	want := map[string]string{"a": idOf(1), "b": idOf(11)}
	for _, v := range p.Verdicts {
		switch {
		case v.PolicyID == "" && (!v.Keep || v.Reasons[0] != "no policy made it"), v.PolicyID == "gone" && (!v.Keep || v.Reasons[0] != "its policy is gone"):
			t.Errorf("got %+v, want it kept with its reason", v)
		case v.PolicyID == "p" && v.ID == want[v.HostID] && (!v.Keep || v.Reasons[0] != "the last, number 2"):
			t.Errorf("host %s: got %+v, want the second kept", v.HostID, v)
		}
	}
	if len(p.Remove) != 6 || !p.NeedsApproval {
		t.Errorf("got %d of 20 to remove, approval %v; want 3 of each host, and a person asked", len(p.Remove), p.NeedsApproval)
	}
	if p.Remove[0] != idOf(14) && p.Remove[0] != idOf(4) {
		t.Errorf("got %s first, want one of the oldest", short(p.Remove[0]))
	}
}

func TestMoreThanAFifthNeedsAPersonsYes(t *testing.T) {
	for _, c := range []struct {
		total, keep int
		forged      int
		want        bool
	}{{10, 8, 0, false}, {10, 7, 0, true}, {4, 3, 0, false}, {4, 2, 0, true}, {2, 1, 0, false}, {100, 80, 0, false}, {100, 79, 0, true},
		{10, 7, 1000, true}} { // those that do not count widen nothing
		var all []Snapshot
		for i := range c.total {
			all = append(all, good(i, now.Add(-time.Duration(i)*time.Hour), "p", "h"))
		}
		for i := range c.forged {
			all = append(all, Snapshot{ID: idOf(1000 + i), Time: now, Seen: true})
		}
		p := Compute(all, map[string]Rule{"p": {Keep: Keep{Last: c.keep}}}, now)
		if p.NeedsApproval != c.want || len(p.Remove) != c.total-c.keep {
			t.Errorf("%d of %d: got approval %v for %d, want %v", c.total-c.keep, c.total, p.NeedsApproval, len(p.Remove), c.want)
		}
	}
}

func TestWhatMayStillBeReportedWaitsAndDoesNotFreeze(t *testing.T) {
	all := []Snapshot{good(1, now.Add(-time.Hour), "p", "h"), good(2, now.Add(-2*time.Hour), "p", "h"), {ID: idOf(3), Time: now, Awaited: true}}
	p := Compute(all, map[string]Rule{"p": {Keep: Keep{Last: 1}}}, now)
	if p.Frozen != "" || !strings.Contains(p.Waits, short(idOf(3))) || len(p.Remove) > 0 {
		t.Errorf("got frozen %q, waits %q, remove %v; want it to wait alone", p.Frozen, p.Waits, p.Remove)
	}
}

// history is a random past with what an attacker does to it, and what of it is really good.
type history struct {
	list  []Snapshot
	good  map[string]truth // what is still there
	rules map[string]Rule
	moved bool // something of the attack is there to be seen
}

type truth struct {
	at           time.Time
	policy, host string
	tags         []string
}

var zonesOfTest = []*time.Location{time.UTC, time.FixedZone("east", 13*3600), time.FixedZone("west", -9*3600)}

func randomHistory(r *rand.Rand) history {
	h := history{good: map[string]truth{}, rules: map[string]Rule{}}
	n := 0
	for pi := range 1 + r.IntN(3) {
		policy := fmt.Sprintf("policy-%d", pi)
		some := func(most int) int { return max(0, r.IntN(most+3)-2) }
		h.rules[policy] = Rule{Zone: zonesOfTest[r.IntN(3)], Keep: Keep{Last: some(5), Hourly: some(4), Daily: some(9), Weekly: some(5), Monthly: some(4), Yearly: some(2),
			WithinDays: some(20), Tags: [][]string{nil, {"keep"}}[r.IntN(2)]}}
		for hi := range 1 + r.IntN(3) {
			host := fmt.Sprintf("host-%d", hi)
			end := now.Add(-time.Duration(r.IntN(3600)) * time.Second)
			step := []time.Duration{time.Hour, 7 * time.Hour, 24 * time.Hour, 5 * 24 * time.Hour}[r.IntN(4)]
			for range 1 + r.IntN(25) {
				s := good(n, end, policy, host)
				s.Time = s.Time.Add(time.Duration(r.IntN(600)-300) * time.Second) // clocks differ
				if r.IntN(6) == 0 {
					s.Tags = []string{"keep"}
				}
				n++
				h.list, h.good[s.ID] = append(h.list, s), truth{end, policy, host, s.Tags}
				if r.IntN(8) > 0 { // sometimes two end at one moment
					end = end.Add(-time.Duration(1+r.Int64N(int64(2*step)/int64(time.Second))) * time.Second)
				}
			}
		}
	}
	h.attack(r, 1000)
	r.Shuffle(len(h.list), func(i, j int) { h.list[i], h.list[j] = h.list[j], h.list[i] })
	return h
}

// attack does up to 12 of the things that one can do who has the repository's password, and a host's credentials.
func (h *history) attack(r *rand.Rand, n int) {
	for range r.IntN(12) {
		i := r.IntN(len(h.list))
		victim := h.list[i]
		forged := Snapshot{ID: idOf(n), Time: victim.Time, Tags: victim.Tags}
		n++
		switch r.IntN(7) {
		case 0: // back-dated
			forged.Time = now.AddDate(0, 0, -r.IntN(400))
		case 1: // future-dated
			forged.Time = now.AddDate(0, 0, 1+r.IntN(400))
		case 2: // the same time and tags
		case 3: // later in the same day
			forged.Time = victim.Time.Add(time.Duration(r.IntN(12)) * time.Hour)
		case 4: // said to be of the victim's job
			forged.Jobs = victim.Jobs
		case 5: // another host reports the victim's snapshot as its own
			if len(victim.Jobs) == 0 {
				continue
			}
			h.list[i].Jobs = append(slices.Clone(victim.Jobs), Job{ID: fmt.Sprintf("liar-%d", n), PolicyID: "policy-0", HostID: "host-0", StartedAt: now.Add(-time.Hour), EndedAt: now})
			continue
		case 6: // deleted; not where a forged one would then stand in its place
			if len(h.list) > 1 && !h.shared(victim) {
				h.list = slices.Delete(h.list, i, i+1)
				delete(h.good, victim.ID)
			}
			continue
		}
		h.list = append(h.list, forged)
	}
	h.moved = slices.ContainsFunc(h.list, func(s Snapshot) bool { return len(s.Jobs) != 1 || h.shared(s) })
}

// shared reports whether another snapshot is said to be of the same job.
func (h *history) shared(s Snapshot) bool {
	return len(s.Jobs) > 0 && slices.ContainsFunc(h.list, func(o Snapshot) bool {
		return o.ID != s.ID && len(o.Jobs) > 0 && o.Jobs[0].ID == s.Jobs[0].ID
	})
}

// needed states what a policy needs: of each of the newest periods that have a good snapshot, the newest one of them. It
// is written from the promise, by the calendar's words, not from the code.
func (h history) needed() map[string]string {
	need := map[string]string{}
	groups := map[string][]string{}
	for id, g := range h.good {
		groups[g.policy+" "+g.host] = append(groups[g.policy+" "+g.host], id)
	}
	for _, ids := range groups {
		slices.SortFunc(ids, func(a, b string) int {
			if c := h.good[b].at.Compare(h.good[a].at); c != 0 {
				return c
			}
			return strings.Compare(b, a)
		})
		rule := h.rules[h.good[ids[0]].policy]
		word := map[string]func(t time.Time) string{
			"hour": func(t time.Time) string { return t.Format("2006-01-02 15") }, "day": func(t time.Time) string { return t.Format("2006-01-02") },
			"week":  func(t time.Time) string { y, w := t.ISOWeek(); return fmt.Sprint(y, " week ", w) },
			"month": func(t time.Time) string { return t.Format("2006-01") }, "year": func(t time.Time) string { return t.Format("2006") },
		}
		for period, count := range map[string]int{"hour": rule.Keep.Hourly, "day": rule.Keep.Daily, "week": rule.Keep.Weekly, "month": rule.Keep.Monthly, "year": rule.Keep.Yearly} {
			seen := map[string]bool{}
			for _, id := range ids {
				w := word[period](h.good[id].at.In(rule.Zone))
				if !seen[w] && len(seen) < count {
					seen[w] = true
					need[id] = "the newest of " + period + " " + w
				}
			}
		}
		for i, id := range ids {
			g := h.good[id]
			switch {
			case i == 0:
				need[id] = "the newest"
			case rule.Keep.Nothing():
				need[id] = "nothing is set"
			case i < rule.Keep.Last:
				need[id] = "one of the last"
			case g.at.After(h.good[ids[0]].at.In(rule.Zone).AddDate(0, 0, -rule.Keep.WithinDays)) && rule.Keep.WithinDays > 0:
				need[id] = "within days"
			case len(rule.Keep.Tags) > 0 && slices.Contains(g.tags, "keep"):
				need[id] = "tagged"
			}
		}
	}
	return need
}

// check holds a plan against the promise; looked says that a person has let what does not count pass.
func (h history) check(looked bool) error {
	list := slices.Clone(h.list)
	for i := range list {
		list[i].Seen = looked
	}
	p := Compute(list, h.rules, now)
	if len(p.Verdicts) != len(list) {
		return fmt.Errorf("%d verdicts for %d snapshots", len(p.Verdicts), len(list))
	}
	if (p.Frozen != "") != (h.moved && !looked) {
		return fmt.Errorf("frozen %q, attacked %v, looked at %v", p.Frozen, h.moved, looked)
	}
	need := h.needed()
	for _, id := range p.Remove {
		if why, is := need[id]; is {
			return fmt.Errorf("snapshot %s is to go and is needed: %s", short(id), why)
		}
		if _, is := h.good[id]; !is {
			return fmt.Errorf("snapshot %s is to go, and no backup of ours made it", short(id))
		}
	}
	if p.Frozen != "" && len(p.Remove) > 0 {
		return fmt.Errorf("%d are to go while frozen", len(p.Remove))
	}
	if !h.moved { // nothing stays without need, but the oldest of a group
		kept := len(list) - len(p.Remove)
		oldest := 0
		for _, v := range p.Verdicts {
			if _, is := need[v.ID]; v.Keep && !is {
				if oldest++; !strings.Contains(v.Reasons[0], "the oldest") {
					return fmt.Errorf("snapshot %s is kept without need: %v", short(v.ID), v.Reasons)
				}
			}
		}
		if kept != len(need)+oldest {
			return fmt.Errorf("%d kept, %d needed and %d oldest", kept, len(need), oldest)
		}
	}
	return nil
}

func TestNoAttackRemovesWhatAPolicyNeeds(t *testing.T) {
	removed, attacked := 0, 0
	for seed := range uint64(10_000) {
		h := randomHistory(rand.New(rand.NewPCG(seed, 24)))
		for _, looked := range []bool{false, true} {
			if err := h.check(looked); err != nil {
				t.Fatalf("history %d: %v", seed, err)
			}
		}
		if h.moved {
			attacked++
		}
		list := slices.Clone(h.list)
		for i := range list {
			list[i].Seen = true
		}
		removed += len(Compute(list, h.rules, now).Remove)
	}
	if attacked < 5000 || removed < 20_000 {
		t.Errorf("%d histories were attacked and %d snapshots removed: the test looks at too little", attacked, removed)
	}
}

func FuzzCompute(f *testing.F) {
	f.Add([]byte("0123456789abcdef"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var seed [32]byte
		copy(seed[:], data)
		h := randomHistory(rand.New(rand.NewPCG(binary.LittleEndian.Uint64(seed[:8]), binary.LittleEndian.Uint64(seed[8:16]))))
		for _, looked := range []bool{false, true} {
			if err := h.check(looked); err != nil {
				t.Error(err)
			}
		}
	})
}

func BenchmarkCompute(b *testing.B) {
	var all []Snapshot
	for i := range 100_000 {
		all = append(all, good(i, now.Add(-time.Duration(i/50)*time.Hour), "p", fmt.Sprintf("host-%d", i%50)))
	}
	rules := map[string]Rule{"p": {Keep: Keep{Last: 3, Hourly: 24, Daily: 30, Weekly: 8, Monthly: 12, WithinDays: 14}}}
	for b.Loop() {
		if p := Compute(all, rules, now); len(p.Remove) == 0 {
			b.Fatal("nothing to remove")
		}
	}
}
