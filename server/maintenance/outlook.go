package maintenance

import (
	"fmt"
	"time"

	"gorm.io/gorm"

	"restic-manager/server/retention"
)

// Outlook says what retention would remove of a policy's snapshots now if its rule were another one, against what it would
// remove by the rule that it has. It reads the caller's view and writes nothing.
func (s *Store) Outlook(db *gorm.DB, policyID string, after retention.Rule, now time.Time) (retention.Outlook, error) {
	var o retention.Outlook
	rules, err := readRules(db)
	if err != nil {
		return o, err
	}
	// Those of the machines that it applies to as well: what was adopted there may be its.
	var repositories []string
	err = db.Raw(`SELECT DISTINCT repository_id FROM jobs WHERE policy_id = @policy AND kind = 'backup' AND snapshot_id <> '' AND repository_id <> ''
		UNION SELECT DISTINCT h.repository_id FROM hosts h JOIN assignments a ON a.host_id = h.id WHERE a.policy_id = @policy AND h.repository_id IS NOT NULL
		ORDER BY 1`, map[string]any{"policy": policyID}).Scan(&repositories).Error
	if err != nil {
		return o, fmt.Errorf("find the repositories of policy %s: %w", policyID, err)
	}
	facts, err := readFactsOf(db, repositories, now)
	if err != nil {
		return o, err
	}
	var kept []struct{ RepositoryID, Frozen string }
	if err := db.Raw("SELECT repository_id, frozen FROM repository_maintenance").Scan(&kept).Error; err != nil {
		return o, fmt.Errorf("read what is maintained: %w", err)
	}
	frozen := make(map[string]string, len(kept))
	for _, k := range kept {
		frozen[k.RepositoryID] = k.Frozen
	}
	for _, id := range repositories {
		why, maintained := frozen[id]
		o.Add(snapshotsOf(facts[id]), policyID, rules[policyID], after, why, maintained, now)
	}
	o.Order()
	return o, nil
}
