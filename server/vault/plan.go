package vault

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"restic-manager/server/database"
	"restic-manager/server/fault"
)

// Plan is what saving a repository would do.
type Plan struct {
	Changes   []FieldChange `json:"changes" doc:"What differs from the repository as it is; of a new one, all that is set"`
	UpdatedAt *time.Time    `json:"updated_at,omitempty" doc:"Of the repository as it is; absent: a new one"`
	HostCount int64         `json:"host_count" doc:"Hosts that use it"`
}

// FieldChange is one field that differs. The texts are for people; of secrets they say only that they differ.
type FieldChange struct {
	Field  string `json:"field" doc:"As in the repository, as in maintenance.forget"`
	Before string `json:"before"`
	After  string `json:"after"`
}

// Plan says what Update with the patch would do, or what Create with it would where id is empty: what they refuse it refuses.
// Nothing is changed. Secrets that are given are compared with those that are kept, and are told apart by nothing but
// whether they are the same; a comparison that fails stands in the audit trail, so that nobody guesses unseen.
func (s *Store) Plan(ctx context.Context, actor database.Actor, id string, p Patch) (plan Plan, err error) {
	p, key, err := s.checkPatch(p)
	if err != nil {
		return plan, err
	}
	if id == "" && (p.Name == nil || p.URL == nil) {
		return plan, fault.Invalidf("name and url: a new repository needs both")
	}
	err = s.db.Write(ctx, func(tx *database.Tx) error {
		plan = Plan{Changes: []FieldChange{}}
		var was settingRow
		var secrets Secrets
		if id != "" {
			if was, err = lockSetting(tx, id); errors.Is(err, errNoRepository) {
				return fault.Invalidf("id: there is no such repository")
			} else if err != nil {
				return err
			}
			if secrets, err = s.open(was); err != nil {
				return err
			}
			at := was.UpdatedAt.UTC()
			plan.UpdatedAt = &at
			if err := tx.Raw("SELECT count(*) FROM host_repositories WHERE setting_id = ?", id).Scan(&plan.HostCount).Error; err != nil {
				return err
			}
		}
		row := was
		changed, err := s.apply(tx, &row, &secrets, p, key)
		if err != nil {
			return err
		}
		if changed.any("name") {
			var taken []string
			if err := tx.Raw("SELECT id FROM repository_settings WHERE name_key = ?", key).Scan(&taken).Error; err != nil {
				return err
			}
			if len(taken) > 0 && taken[0] != id {
				return errNameTaken
			}
		}
		if plan.Changes, err = compare(tx, was, row, changed); err != nil {
			return err
		}
		if id != "" && changed.any("password", "env_keys", "maintenance_env_keys") {
			return tx.Audit(actor, "repository.compare", "repository:"+id, map[string]any{"name": was.Name})
		}
		return nil
	})
	if err != nil {
		return Plan{}, fmt.Errorf("plan a repository: %w", err)
	}
	return plan, nil
}

// compare tells for people what was changed, in the order of a repository's fields.
func compare(tx *database.Tx, was, row settingRow, changed changes) (list []FieldChange, err error) {
	list = []FieldChange{}
	add := func(field, before, after string) { list = append(list, FieldChange{field, before, after}) }
	if changed.any("name") {
		add("name", was.Name, row.Name)
	}
	if changed.any("url") {
		add("url", was.URL, row.URL)
	}
	if changed.any("password") {
		what := "another one"
		if was.ID == "" {
			what = "the one that is given"
		}
		add("password", "", what)
	}
	if changed.any("append_only") {
		add("append_only", ifSet(was.AppendOnly), ifSet(row.AppendOnly))
	}
	for _, e := range []struct{ field, before, after string }{{"env", was.EnvKeys, row.EnvKeys}, {"maintenance_env", was.MaintenanceEnvKeys, row.MaintenanceEnvKeys}} {
		before, after := keyList(e.before), keyList(e.after)
		if before == after && after != "" {
			after += " (other values)"
		}
		if changed.any(e.field+"_keys") && (before != "" || after != "") {
			add(e.field, before, after)
		}
	}
	if changed.any("runner_id") {
		before, err := hostName(tx, was.RunnerID)
		if err != nil {
			return nil, err
		}
		after, err := hostName(tx, row.RunnerID)
		if err != nil {
			return nil, err
		}
		add("runner", before, after)
	}
	if !changed.any("maintenance") {
		return list, nil
	}
	var before Maintenance
	if was.Maintenance != "" {
		if before, err = readMaintenance(was.Maintenance); err != nil {
			return nil, err
		}
	}
	after, err := readMaintenance(row.Maintenance)
	if err != nil {
		return nil, err
	}
	b, a := before.shown(), after.shown()
	for i := range a {
		if a[i][1] != b[i][1] {
			add("maintenance."+a[i][0], b[i][1], a[i][1])
		}
	}
	return list, nil
}

// shown are the fields for people; what is a default says nothing.
func (m Maintenance) shown() [][2]string {
	unused := ""
	if m.MaxUnusedPercent != nil {
		unused = strconv.Itoa(*m.MaxUnusedPercent)
	}
	parts := ""
	if m.CheckParts != 0 && m.CheckParts != defaultCheckParts {
		parts = strconv.FormatInt(m.CheckParts, 10)
	}
	zone := m.Zone
	if zone == "UTC" {
		zone = ""
	}
	return [][2]string{{"enabled", ifSet(m.Enabled)}, {"zone", zone}, {"forget", m.Forget}, {"prune", m.Prune}, {"check", m.Check}, {"check_parts", parts}, {"max_unused_percent", unused}}
}

func ifSet(b bool) string {
	if b {
		return "yes"
	}
	return ""
}

// keyList are the keys of a JSON list as text.
func keyList(raw string) string {
	return strings.NewReplacer("[", "", "]", "", `"`, "", ",", ", ").Replace(raw)
}

func hostName(tx *database.Tx, id *string) (string, error) {
	if id == nil || *id == "" {
		return "", nil
	}
	var names []string
	if err := tx.Raw("SELECT name FROM hosts WHERE id = ?", *id).Scan(&names).Error; err != nil || len(names) == 0 {
		return "", err
	}
	return names[0], nil
}
