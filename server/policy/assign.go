package policy

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"gorm.io/gorm/clause"

	"restic-manager/server/database"
)

// assignment is a row of assignments: a host that a policy applies to.
type assignment struct {
	PolicyID       string     `gorm:"column:policy_id;primaryKey"`
	HostID         string     `gorm:"column:host_id;primaryKey"`
	Why            string     `gorm:"column:why"`
	Problem        string     `gorm:"column:problem"`
	Since          time.Time  `gorm:"column:since"`
	AccountedUntil time.Time  `gorm:"column:accounted_until"`
	NextDueAt      *time.Time `gorm:"column:next_due_at"`
}

// TableName is assignments.
func (assignment) TableName() string { return "assignments" }

func (a assignment) same(b assignment) bool {
	next := a.NextDueAt == b.NextDueAt || a.NextDueAt != nil && b.NextDueAt != nil && a.NextDueAt.Equal(*b.NextDueAt)
	return a.Why == b.Why && a.Problem == b.Problem && a.AccountedUntil.Equal(b.AccountedUntil) && next
}

// target is a host as policies see it.
type target struct {
	ID          string
	Name        string
	Labels      string
	ServerHeld  bool   // the server holds its repository
	SettingID   string // of that repository; empty: it was given to the host by hand
	SettingName string
	// What decides on what its agent can do; Said: it has said hello.
	Features, Hooks, AgentVersion string
	Said                          bool
}

const selectTargets = `SELECT h.id, h.name, h.labels, hr.host_id IS NOT NULL AS server_held,
	coalesce(CAST(hr.setting_id AS text), '') AS setting_id, coalesce(rs.name, '') AS setting_name,
	h.features, h.hooks, h.agent_version, h.hello_at IS NOT NULL AS said
	FROM hosts h LEFT JOIN host_repositories hr ON hr.host_id = h.id LEFT JOIN repository_settings rs ON rs.id = hr.setting_id
	WHERE h.revoked_at IS NULL`

// verdict is what a policy is to a host.
type verdict struct {
	why     string // empty: it does not apply
	problem string
	gives   bool // the host has no repository yet, and gets the policy's
}

// judge says what the policy is to the host. It is all there is to who a policy applies to: for saving and for planning.
func (s *Store) judge(spec Spec, t target) (verdict, error) {
	var labels map[string]string
	if err := json.Unmarshal([]byte(t.Labels), &labels); err != nil {
		return verdict{}, fmt.Errorf("read the labels of host %s: %w", t.ID, err)
	}
	v := verdict{why: spec.Hosts.why(t.ID, labels)}
	const once = "; a machine uses one repository at a time"
	switch {
	case v.why == "" || t.SettingID == spec.RepositoryID:
	case t.SettingID != "":
		v.problem = "uses repository " + t.SettingName + once
	case t.ServerHeld:
		v.problem = "uses a repository that was set for it alone" + once
	case s.assign == nil:
		v.problem = "does not use the policy's repository yet; set it for the machine first"
	default:
		v.gives = true
	}
	if v.why == "" || v.problem != "" {
		return v, nil
	}
	lacks, err := t.lacking(spec)
	if lacks != "" {
		v.problem, v.gives = lacks, false // what does not run there changes nothing there
	}
	return v, err
}

// changing is the lock that whoever changes policies has for themselves, and whoever judges a host shares.
const changing = 0x706f6c69

// lockFleet lets nobody change a host, and no host come, until the transaction ends: who changes labels at the same time
// would not see the policy, nor this transaction the labels. The hosts come first: others have theirs locked when they
// ask for the lock on changing.
func lockFleet(tx *database.Tx) error {
	if !tx.Postgres() {
		return nil
	}
	var ids []string
	if err := tx.Raw("SELECT id FROM hosts ORDER BY id" + forUpdate(tx)).Scan(&ids).Error; err != nil {
		return fmt.Errorf("lock the hosts: %w", err)
	}
	if err := tx.Exec("SELECT pg_advisory_xact_lock(?)", changing).Error; err != nil {
		return fmt.Errorf("lock the policies: %w", err)
	}
	return nil
}

// reassign has the policy apply to the hosts that it names, in the transaction that changes it. With told, what its hosts
// are to do is another than before.
func (s *Store) reassign(tx *database.Tx, r row, spec Spec, told bool) error {
	if err := checkRepository(tx, spec.RepositoryID); err != nil {
		return err
	}
	if err := lockFleet(tx); err != nil {
		return err
	}
	var targets []target
	if err := tx.Raw(selectTargets).Scan(&targets).Error; err != nil {
		return fmt.Errorf("read the hosts: %w", err)
	}
	had, err := assigned(tx, "SELECT * FROM assignments WHERE policy_id = ?", r.ID)
	if err != nil {
		return err
	}
	line, err := loadTimeline(tx.DB, r.ID, r.Version)
	if err != nil {
		return err
	}
	verdicts := make(map[string]verdict, len(targets))
	var given []string
	for _, t := range targets {
		v, err := s.judge(spec, t)
		if err != nil {
			return err
		}
		if verdicts[t.ID] = v; v.gives && r.Enabled {
			given = append(given, t.ID)
		}
	}
	if err := s.give(tx, spec, verdicts, given); err != nil {
		return err
	}
	var want []assignment
	for _, t := range targets {
		if v := verdicts[t.ID]; v.why != "" {
			want = append(want, line.assign(had[key{r.ID, t.ID}], r, t.ID, v, tx.Now))
		}
	}
	touched, err := settle(tx, had, want)
	if err != nil {
		return err
	}
	if told {
		for _, a := range want {
			touched[a.HostID] = true
		}
	}
	if err := s.tell(tx, touched); err != nil {
		return err
	}
	return s.rejudge(tx, r.ID, given)
}

// give has the hosts use the policy's repository; where one cannot, that is the problem of its verdict.
func (s *Store) give(tx *database.Tx, spec Spec, verdicts map[string]verdict, hosts []string) error {
	if len(hosts) == 0 {
		return nil
	}
	problems, err := s.assign(tx, spec.RepositoryID, hosts)
	if err != nil {
		return fmt.Errorf("give %d hosts their repository: %w", len(hosts), err)
	}
	for id, problem := range problems {
		v := verdicts[id]
		v.problem = "cannot use the policy's repository: " + problem.Message
		verdicts[id] = v
	}
	return nil
}

// unassign has the policy apply to nobody.
func (s *Store) unassign(tx *database.Tx, r row) error {
	if err := lockFleet(tx); err != nil {
		return err
	}
	had, err := assigned(tx, "SELECT * FROM assignments WHERE policy_id = ?", r.ID)
	if err != nil {
		return err
	}
	touched, err := settle(tx, had, nil)
	if err != nil {
		return err
	}
	return s.tell(tx, touched)
}

// hostChanged judges one host anew, in the transaction that changes it and has its row locked.
func (s *Store) hostChanged(tx *database.Tx, hostID string) error {
	if tx.Postgres() {
		if err := tx.Exec("SELECT pg_advisory_xact_lock_shared(?)", changing).Error; err != nil {
			return fmt.Errorf("share the lock on the policies: %w", err)
		}
	}
	var targets []target
	if err := tx.Raw(selectTargets+" AND h.id = ?", hostID).Scan(&targets).Error; err != nil {
		return fmt.Errorf("read host %s: %w", hostID, err)
	}
	had, err := assigned(tx, "SELECT * FROM assignments WHERE host_id = ?", hostID)
	if err != nil {
		return err
	}
	var policies []row
	if len(targets) > 0 { // else it is revoked
		if err := tx.Raw("SELECT * FROM policies ORDER BY id").Scan(&policies).Error; err != nil {
			return fmt.Errorf("read the policies: %w", err)
		}
	}
	verdicts, err := s.judgeAll(tx, policies, hostID, targets)
	if err != nil {
		return err
	}
	var want []assignment
	for i, r := range policies {
		if verdicts[i].why == "" {
			continue
		}
		line, err := s.readTimeline(tx.DB, r.ID, r.Version)
		if err != nil {
			return err
		}
		want = append(want, line.assign(had[key{r.ID, hostID}], r, hostID, verdicts[i], tx.Now))
	}
	touched, err := settle(tx, had, want)
	if err != nil {
		return err
	}
	return s.tell(tx, touched)
}

// judgeAll gives the verdicts of all policies on one host. The first one that names a repository gives it to a host
// that has none; that decides on the others, also on those before it.
func (s *Store) judgeAll(tx *database.Tx, policies []row, hostID string, targets []target) ([]verdict, error) {
	verdicts := make([]verdict, len(policies))
	specs := make([]Spec, len(policies))
	gave := false
	for i, r := range policies {
		var err error
		if specs[i], err = decodeSpec(r.ID, r.Spec); err != nil {
			return nil, err
		}
		if verdicts[i], err = s.judge(specs[i], targets[0]); err != nil {
			return nil, err
		}
		if !verdicts[i].gives || !r.Enabled || gave {
			continue
		}
		one := map[string]verdict{hostID: verdicts[i]}
		if err := s.give(tx, specs[i], one, []string{hostID}); err != nil {
			return nil, err
		}
		verdicts[i] = one[hostID]
		gave = verdicts[i].problem == ""
	}
	if !gave {
		return verdicts, nil
	}
	if err := tx.Raw(selectTargets+" AND h.id = ?", hostID).Scan(&targets).Error; err != nil {
		return nil, fmt.Errorf("read host %s: %w", hostID, err)
	}
	for i := range policies {
		v, err := s.judge(specs[i], targets[0])
		if err != nil {
			return nil, err
		}
		verdicts[i] = v
	}
	return verdicts, nil
}

// rejudge is for the policies beside one that gave hosts their repository: where they are for another one, they have a
// problem now.
func (s *Store) rejudge(tx *database.Tx, except string, hosts []string) error {
	if len(hosts) == 0 {
		return nil
	}
	given := make(map[string]bool, len(hosts))
	for _, id := range hosts {
		given[id] = true
	}
	var targets []target
	if err := tx.Raw(selectTargets).Scan(&targets).Error; err != nil {
		return fmt.Errorf("read the hosts: %w", err)
	}
	targets = slices.DeleteFunc(targets, func(t target) bool { return !given[t.ID] })
	var policies []row
	if err := tx.Raw("SELECT * FROM policies WHERE id <> ? ORDER BY id", except).Scan(&policies).Error; err != nil {
		return fmt.Errorf("read the policies: %w", err)
	}
	for _, r := range policies {
		spec, err := decodeSpec(r.ID, r.Spec)
		if err != nil {
			return err
		}
		had, err := assigned(tx, "SELECT * FROM assignments WHERE policy_id = ?", r.ID)
		if err != nil {
			return err
		}
		maps.DeleteFunc(had, func(k key, _ assignment) bool { return !given[k.host] })
		line, err := s.readTimeline(tx.DB, r.ID, r.Version)
		if err != nil {
			return err
		}
		var want []assignment
		for _, t := range targets {
			v, err := s.judge(spec, t)
			if err != nil {
				return err
			}
			if was, ok := had[key{r.ID, t.ID}]; v.gives && ok { // it was refused one, and still has none
				v.problem = was.Problem
			}
			if v.why != "" {
				want = append(want, line.assign(had[key{r.ID, t.ID}], r, t.ID, v, tx.Now))
			}
		}
		touched, err := settle(tx, had, want)
		if err != nil {
			return err
		}
		if err := s.tell(tx, touched); err != nil {
			return err
		}
	}
	return nil
}

// checkRepository wants a setting of that id, which then stays until the transaction ends. Its lock comes before those
// of hosts.
func checkRepository(tx *database.Tx, id string) error {
	if id == "" {
		return nil
	}
	var ids []string
	if err := tx.Raw("SELECT id FROM repository_settings WHERE id = ?"+forUpdate(tx), id).Scan(&ids).Error; err != nil {
		return fmt.Errorf("look for repository %s: %w", id, err)
	}
	if len(ids) == 0 {
		return errNoRepository()
	}
	return nil
}

type key struct{ policy, host string }

func assigned(tx *database.Tx, query, id string) (map[key]assignment, error) {
	var rows []assignment
	if err := tx.Raw(query, id).Scan(&rows).Error; err != nil {
		return nil, fmt.Errorf("read assignments: %w", err)
	}
	had := make(map[key]assignment, len(rows))
	for _, a := range rows {
		had[key{a.PolicyID, a.HostID}] = a
	}
	return had, nil
}

// batch is how many rows one statement writes.
const batch = 500

// settle makes the rows had into those wanted, and gives the hosts that are to do something else now.
func settle(tx *database.Tx, had map[key]assignment, want []assignment) (touched map[string]bool, err error) {
	touched = map[string]bool{}
	stays := make(map[key]bool, len(want))
	var write []assignment
	for _, a := range want {
		k := key{a.PolicyID, a.HostID}
		stays[k] = true
		was, there := had[k]
		if there && was.same(a) {
			continue
		}
		write = append(write, a)
		if !there || was.Problem != a.Problem || (was.NextDueAt == nil) != (a.NextDueAt == nil) {
			touched[a.HostID] = true
		}
	}
	for rows := range slices.Chunk(write, batch) {
		if err := tx.Clauses(clause.OnConflict{UpdateAll: true}).Create(&rows).Error; err != nil {
			return nil, fmt.Errorf("write assignments: %w", err)
		}
	}
	gone := map[string][]string{}
	for k := range had {
		if !stays[k] {
			gone[k.policy] = append(gone[k.policy], k.host)
			touched[k.host] = true
		}
	}
	for policy, hosts := range gone {
		for ids := range slices.Chunk(hosts, batch) {
			if err := tx.Exec("DELETE FROM assignments WHERE policy_id = ? AND host_id IN ?", policy, ids).Error; err != nil {
				return nil, fmt.Errorf("delete assignments: %w", err)
			}
		}
	}
	return touched, nil
}

// tell has the hosts' agents learn what they are to do now.
func (s *Store) tell(tx *database.Tx, touched map[string]bool) error {
	if len(touched) > 0 {
		tx.Notify(database.TopicPolicies)
	}
	ids := make([]string, 0, len(touched))
	for id := range touched {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return s.fleet.ScheduleChanged(tx, ids)
}
