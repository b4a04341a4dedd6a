package policy

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"gorm.io/gorm"

	"restic-manager/server/fault"
	"restic-manager/server/fleet"
	"restic-manager/shared/wire"
)

// Plan is what saving a policy would do.
type Plan struct {
	Hosts    PlanHosts `json:"hosts"`
	NextRuns []PlanRun `json:"next_runs" doc:"The first ten"`
	// Retention is nil for a new policy, which has made no snapshots.
	Retention *PlanRetention `json:"retention,omitempty" doc:"What retention would remove after saving; left out for a new policy"`
	Changes   []Change       `json:"changes" doc:"What differs from the policy as it is; of a new one, all that is set"`
	Warnings  []string       `json:"warnings"`
}

// PlanHosts are the hosts that a policy would apply to. The lists hold the first 100 each, by name.
type PlanHosts struct {
	Added        []HostRef     `json:"added"`
	AddedCount   int           `json:"added_count"`
	Removed      []HostRef     `json:"removed"`
	RemovedCount int           `json:"removed_count"`
	Kept         int           `json:"kept"`
	Problems     []PlanProblem `json:"problems" doc:"Hosts at which it would not run"`
	ProblemCount int           `json:"problem_count"`
}

// PlanProblem is why the policy would not run at a host.
type PlanProblem struct {
	Host    HostRef `json:"host"`
	Problem string  `json:"problem"`
}

// PlanRun is a due time at a host.
type PlanRun struct {
	Host HostRef   `json:"host"`
	At   time.Time `json:"at"`
}

const (
	planHosts = 100
	planRuns  = 10
	// oftenBelow is how often is too often for most machines.
	oftenBelow = 15 * time.Minute
)

// planned is a host with what warnings are about.
type planned struct {
	Target        target `gorm:"embedded"`
	Guard         string
	Reported      string
	KeepsSchedule bool
}

// Plan says what saving the draft would do, as the policy of that id or as a new one when it is empty. Nothing is
// written; so it cannot see that a host is refused the policy's repository, which only giving it tells.
func (s *Store) Plan(ctx context.Context, id string, d Draft) (Plan, error) {
	p := Plan{Hosts: PlanHosts{Added: []HostRef{}, Removed: []HostRef{}, Problems: []PlanProblem{}}, NextRuns: []PlanRun{}, Warnings: []string{}}
	d, err := d.checked()
	if err != nil {
		return p, err
	}
	now, err := s.db.Now(ctx)
	if err != nil {
		return p, err
	}
	err = s.view(ctx, func(db *gorm.DB) error { return s.plan(db, &p, id, d, now) })
	if err != nil {
		return p, fmt.Errorf("plan a policy: %w", err)
	}
	return p, nil
}

func (s *Store) plan(db *gorm.DB, p *Plan, id string, d Draft, now time.Time) error {
	before, known, err := readBase(db, id)
	if err != nil {
		return err
	}
	p.Changes = differences(before, d.state())
	if err := checkPlanned(db, id, d); err != nil {
		return err
	}
	var hosts []planned
	err = db.Raw(`SELECT x.*, hosts.guard, hosts.reported_repositories AS reported, ` + fleet.KeepsSchedule + ` AS keeps_schedule
		FROM (` + selectTargets + `) x JOIN hosts ON hosts.id = x.id ORDER BY hosts.name_key`).Scan(&hosts).Error
	if err != nil {
		return err
	}
	var runs []planned
	var given []planned
	stays := map[string]bool{}
	for _, h := range hosts {
		v, err := s.judge(d.Spec, h.Target)
		if err != nil {
			return err
		}
		if v.why == "" {
			continue
		}
		ref := HostRef{h.Target.ID, h.Target.Name}
		stays[ref.ID] = true
		if known[ref.ID] {
			p.Hosts.Kept++
		} else {
			p.Hosts.AddedCount++
			p.Hosts.Added = first(p.Hosts.Added, ref)
		}
		if v.problem != "" {
			p.Hosts.ProblemCount++
			p.Hosts.Problems = first(p.Hosts.Problems, PlanProblem{ref, v.problem})
			continue
		}
		runs = append(runs, h)
		if v.gives {
			given = append(given, h)
		}
	}
	if err := p.removed(db, known, stays); err != nil {
		return err
	}
	existing := id
	if id == "" {
		id = planID
	}
	if d.Enabled {
		if err := p.runs(id, d.Spec, runs, now); err != nil {
			return err
		}
	}
	if err := p.warn(d, hosts, runs, given, now); err != nil {
		return err
	}
	return s.retention(db, p, existing, d, now)
}

// planID stands for the id of a policy that is not there yet: its machines' moments within the spread are not known.
const planID = "00000000-0000-0000-0000-000000000000"

// first adds to a list while it has room.
func first[T any](list []T, e T) []T {
	if len(list) == planHosts {
		return list
	}
	return append(list, e)
}

// readBase is the policy as it is, and the hosts that it applies to.
func readBase(db *gorm.DB, id string) (state, map[string]bool, error) {
	known := map[string]bool{}
	if id == "" {
		return state{}, known, nil
	}
	var rows []row
	if wire.IsUUID(id) {
		if err := db.Raw("SELECT * FROM policies WHERE id = ?", id).Scan(&rows).Error; err != nil {
			return state{}, nil, err
		}
	}
	if len(rows) == 0 {
		return state{}, nil, fault.Invalidf("id: there is no such policy")
	}
	var hosts []string
	if err := db.Raw("SELECT host_id FROM assignments WHERE policy_id = ?", id).Scan(&hosts).Error; err != nil {
		return state{}, nil, err
	}
	for _, h := range hosts {
		known[h] = true
	}
	base, err := rows[0].state()
	return base, known, err
}

// checkPlanned refuses what saving would refuse.
func checkPlanned(db *gorm.DB, id string, d Draft) error {
	var n []string
	if err := db.Raw("SELECT id FROM policies WHERE name_key = ?", nameKey(d.Name)).Scan(&n).Error; err != nil {
		return err
	}
	if len(n) > 0 && n[0] != id {
		return errNameTaken
	}
	if d.Spec.RepositoryID == "" {
		return nil
	}
	if err := db.Raw("SELECT id FROM repository_settings WHERE id = ?", d.Spec.RepositoryID).Scan(&n).Error; err != nil {
		return err
	}
	if !slices.Contains(n, d.Spec.RepositoryID) {
		return errNoRepository()
	}
	return nil
}

func (p *Plan) removed(db *gorm.DB, known, stays map[string]bool) error {
	var gone []string
	for id := range known {
		if !stays[id] {
			gone = append(gone, id)
		}
	}
	p.Hosts.RemovedCount = len(gone)
	slices.Sort(gone)
	for ids := range slices.Chunk(gone, batch) {
		var refs []HostRef
		if err := db.Raw("SELECT id, name FROM hosts WHERE id IN ?", ids).Scan(&refs).Error; err != nil {
			return err
		}
		p.Hosts.Removed = append(p.Hosts.Removed, refs...)
	}
	slices.SortFunc(p.Hosts.Removed, func(a, b HostRef) int { return cmp.Compare(nameKey(a.Name), nameKey(b.Name)) })
	p.Hosts.Removed = p.Hosts.Removed[:min(len(p.Hosts.Removed), planHosts)]
	return nil
}

// runs finds the first due times: every host's next one, and of few hosts those after it.
func (p *Plan) runs(id string, spec Spec, hosts []planned, now time.Time) error {
	times, err := spec.Schedule.parse()
	if err != nil {
		return err
	}
	each := 1
	if len(hosts) < planRuns {
		each = planRuns
	}
	for _, h := range hosts {
		at := stretch{spec: spec, times: times}.at(id, h.Target.ID)
		for _, t := range at.Runs(now, now.AddDate(10, 0, 0), each) {
			p.NextRuns = append(p.NextRuns, PlanRun{HostRef{h.Target.ID, h.Target.Name}, t})
		}
	}
	slices.SortStableFunc(p.NextRuns, func(a, b PlanRun) int { return a.At.Compare(b.At) })
	p.NextRuns = slices.Clip(p.NextRuns[:min(len(p.NextRuns), planRuns)])
	return nil
}

// warn says what is allowed, and may not be meant.
func (p *Plan) warn(d Draft, all, runs, given []planned, now time.Time) error {
	add := func(format string, args ...any) { p.Warnings = append(p.Warnings, fmt.Sprintf(format, args...)) }
	times, err := d.Spec.Schedule.parse()
	if err != nil {
		return err
	}
	if !d.Enabled {
		add("It is switched off: nothing runs.")
	}
	if p.Hosts.AddedCount+p.Hosts.Kept == 0 {
		add("It applies to no machine.")
	}
	if every := times.Every(now, 50); every > 0 && every < oftenBelow {
		add("It is due every %d minutes: a backup may not have ended when the next one is due.", int(every.Minutes()))
	}
	if len(d.Spec.Schedule.Windows) > 0 && len(times.Runs(now, now.AddDate(10, 0, 0), 1)) == 0 {
		add("No due time lies in one of its windows, and none can wait for one: it never runs.")
	}
	there := map[string]bool{}
	for _, h := range all {
		there[h.Target.ID] = true
	}
	missing := 0
	for _, id := range d.Spec.Hosts.IDs {
		if !there[id] {
			missing++
		}
	}
	if missing > 0 {
		add("%s named by hand %s revoked or not there any more.", machines(missing), isAre(missing))
	}
	kinds := map[string][]string{}
	for _, h := range runs {
		why, err := h.warnings(d.Spec)
		if err != nil {
			return err
		}
		for _, w := range why {
			kinds[w] = append(kinds[w], h.Target.Name)
		}
	}
	for _, h := range given {
		if h.Reported != "[]" && h.Reported != "null" {
			kinds[warnReplaced] = append(kinds[warnReplaced], h.Target.Name)
		}
	}
	for _, w := range []string{warnGuard, warnBroken, warnNone, warnReplaced, warnAway, warnBlind} {
		if names := kinds[w]; len(names) > 0 {
			add("%s (%s) %s", machines(len(names)), some(names), w)
		}
	}
	return nil
}

// What a warning says of machines.
const (
	warnGuard    = "allow no backup in their guard.yaml: it is refused there."
	warnBroken   = "refuse everything, because their guard.yaml is broken."
	warnNone     = "have no repository yet: neither the policy nor their own agent.yaml names one."
	warnReplaced = "have a repository in their own agent.yaml: they use the policy's in its place from then on."
	warnAway     = "have an agent that does not keep the schedule: they begin only while the server is reached. Upgrade the agent there."
	warnBlind    = "have an agent that does not keep the schedule: whether they run on battery or on a metered connection is not seen, and they begin all the same. Upgrade the agent there."
)

func (h planned) warnings(spec Spec) (list []string, err error) {
	var g wire.GuardReport
	if err := json.Unmarshal([]byte(h.Guard), &g); err != nil {
		return nil, fmt.Errorf("read the guard of host %s: %w", h.Target.ID, err)
	}
	switch {
	case g.Broken != "":
		list = append(list, warnBroken)
	case h.Target.Said && len(g.Kinds) > 0 && !slices.Contains(g.Kinds, wire.KindBackup):
		list = append(list, warnGuard)
	}
	if spec.RepositoryID == "" && h.Target.Said && !h.Target.ServerHeld && (h.Reported == "[]" || h.Reported == "null") {
		list = append(list, warnNone)
	}
	if h.Target.Said && !h.KeepsSchedule {
		list = append(list, warnAway)
		if spec.Schedule.SkipOnBattery || spec.Schedule.SkipOnMetered {
			list = append(list, warnBlind)
		}
	}
	return list, nil
}

func machines(n int) string {
	if n == 1 {
		return "1 machine"
	}
	return fmt.Sprintf("%d machines", n)
}

func isAre(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}

// some are the first names of a list.
func some(names []string) string {
	const few = 3
	if len(names) <= few {
		return strings.Join(names, ", ")
	}
	return strings.Join(names[:few], ", ") + fmt.Sprintf(" and %d more", len(names)-few)
}
