package retention

import (
	"cmp"
	"slices"
	"time"
)

// Outlook is what becomes of one policy's snapshots by another rule, against what becomes of them by the one it has.
type Outlook struct {
	Snapshots int
	Removed   int // by the other rule
	Before    int // removed by the one it has
	// Hosts are those with snapshots of the policy, those that most changes for first.
	Hosts []HostOutlook
}

// HostOutlook is a host's part of it.
type HostOutlook struct {
	HostID    string
	Snapshots int
	Removed   int
	Before    int
	// Frozen says why nothing goes from the host's repository until a person has looked; empty: nobody must.
	Frozen string
	// Maintained says that the server removes snapshots from the host's repository at all.
	Maintained bool
}

// Add judges the snapshots of one repository by both rules. Frozen is why nothing goes there, where that is known already.
func (o *Outlook) Add(snapshots []Snapshot, policyID string, before, after Rule, frozen string, maintained bool, now time.Time) {
	was, is := Compute(snapshots, map[string]Rule{policyID: before}, now), Compute(snapshots, map[string]Rule{policyID: after}, now)
	frozen = cmp.Or(frozen, is.Frozen)
	hosts := map[string]*HostOutlook{}
	count := func(p Plan, add func(h *HostOutlook, keep bool)) {
		for _, v := range p.Verdicts {
			if v.PolicyID != policyID || v.Anomaly != "" {
				continue
			}
			h := hosts[v.HostID]
			if h == nil {
				h = &HostOutlook{HostID: v.HostID, Frozen: frozen, Maintained: maintained}
				hosts[v.HostID] = h
			}
			add(h, v.Keep)
		}
	}
	count(was, func(h *HostOutlook, keep bool) {
		if !keep {
			h.Before++
		}
	})
	count(is, func(h *HostOutlook, keep bool) {
		if h.Snapshots++; !keep {
			h.Removed++
		}
	})
	for _, h := range hosts {
		o.Snapshots, o.Removed, o.Before = o.Snapshots+h.Snapshots, o.Removed+h.Removed, o.Before+h.Before
		o.Hosts = append(o.Hosts, *h)
	}
}

// Order puts those first that most changes for: more snapshots that go, then fewer.
func (o *Outlook) Order() {
	slices.SortFunc(o.Hosts, func(a, b HostOutlook) int {
		return cmp.Or(cmp.Compare(b.Removed-b.Before, a.Removed-a.Before), cmp.Compare(b.Removed, a.Removed), cmp.Compare(b.Snapshots, a.Snapshots), cmp.Compare(a.HostID, b.HostID))
	})
}
