package policy

import (
	"fmt"
	"time"

	"gorm.io/gorm"

	"restic-manager/server/retention"
)

// Outlook says what retention would remove of a policy's snapshots if its rule were another one.
type Outlook func(db *gorm.DB, policyID string, after retention.Rule, now time.Time) (retention.Outlook, error)

// PlanRetention is what retention would remove after saving, of the snapshots that there are now.
type PlanRetention struct {
	Snapshots     int        `json:"snapshots" doc:"Of this policy, at all machines"`
	Kept          int        `json:"kept"`
	Removed       int        `json:"removed" doc:"By the rule that is to be saved"`
	RemovedBefore int        `json:"removed_before" doc:"By the rule as it is"`
	HostCount     int        `json:"host_count" doc:"Machines with snapshots of this policy, those included that it does not apply to any more"`
	FrozenCount   int        `json:"frozen_count" doc:"Of these, machines from whose repository nothing goes until a person has looked"`
	UnkeptCount   int        `json:"unmaintained_count" doc:"Of these, machines from whose repository the server removes nothing, because it does not maintain it"`
	Hosts         []PlanKept `json:"hosts" doc:"Those that most changes for first; the first 50"`
}

// PlanKept is what retention would remove at a host.
type PlanKept struct {
	Host          HostRef `json:"host"`
	Snapshots     int     `json:"snapshots"`
	Kept          int     `json:"kept"`
	Removed       int     `json:"removed"`
	RemovedBefore int     `json:"removed_before"`
	Frozen        string  `json:"frozen,omitempty" doc:"Why nothing goes until a person has looked"`
	Maintained    bool    `json:"maintained" doc:"The server removes snapshots from this machine's repository"`
}

// planKept bounds the machines that a plan shows in detail.
const planKept = 50

// rule is what retention goes by.
func (s Spec) rule() (retention.Rule, error) {
	zone, err := time.LoadLocation(s.Schedule.Zone)
	r := retention.Rule{Zone: zone}
	if s.Keep != nil {
		r.Keep = retention.Keep(*s.Keep)
	}
	return r, err
}

// retention adds what would be kept of what an existing policy has made.
func (s *Store) retention(db *gorm.DB, p *Plan, id string, d Draft, now time.Time) error {
	if id == "" || s.outlook == nil {
		return nil
	}
	rule, err := d.Spec.rule()
	if err != nil {
		return err
	}
	o, err := s.outlook(db, id, rule, now)
	if err != nil {
		return err
	}
	r := &PlanRetention{Snapshots: o.Snapshots, Kept: o.Snapshots - o.Removed, Removed: o.Removed, RemovedBefore: o.Before, HostCount: len(o.Hosts), Hosts: []PlanKept{}}
	var frozen []string
	for _, h := range o.Hosts {
		if h.Frozen != "" {
			frozen = append(frozen, h.HostID)
		}
		if !h.Maintained {
			r.UnkeptCount++
		}
	}
	r.FrozenCount = len(frozen)
	shown := o.Hosts[:min(len(o.Hosts), planKept)]
	ids := append([]string{}, frozen[:min(len(frozen), planKept)]...)
	for _, h := range shown {
		ids = append(ids, h.HostID)
	}
	names, err := namesOf(db, ids)
	if err != nil {
		return err
	}
	for _, h := range shown {
		r.Hosts = append(r.Hosts, PlanKept{Host: HostRef{h.HostID, names[h.HostID]}, Snapshots: h.Snapshots, Kept: h.Snapshots - h.Removed,
			Removed: h.Removed, RemovedBefore: h.Before, Frozen: h.Frozen, Maintained: h.Maintained})
	}
	p.Retention = r
	if r.Removed > 0 && len(frozen) > 0 {
		var who []string
		for _, id := range frozen[:min(len(frozen), planKept)] {
			who = append(who, names[id])
		}
		for len(who) < len(frozen) { // some counts them
			who = append(who, "")
		}
		p.Warnings = append(p.Warnings, fmt.Sprintf("From the repository of %s (%s) nothing is removed until a person has looked at it.", machines(len(frozen)), some(who)))
	}
	return nil
}

func namesOf(db *gorm.DB, ids []string) (map[string]string, error) {
	names := map[string]string{}
	if len(ids) == 0 {
		return names, nil
	}
	var refs []HostRef
	if err := db.Raw("SELECT id, name FROM hosts WHERE id IN ?", ids).Scan(&refs).Error; err != nil {
		return nil, err
	}
	for _, r := range refs {
		names[r.ID] = r.Name
	}
	return names, nil
}
