package vault

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"

	"restic-manager/server/fault"
)

// Maintenance says when a repository is looked after, and how. An empty schedule is none.
type Maintenance struct {
	Zone             string `json:"zone,omitempty" maxLength:"64" doc:"The time zone of the schedules, as in Europe/Berlin; empty: UTC"`
	Forget           string `json:"forget,omitempty" maxLength:"128" doc:"When what no policy keeps is forgotten: a cron expression of five fields; empty: never"`
	Prune            string `json:"prune,omitempty" maxLength:"128" doc:"When the space of what is forgotten is freed"`
	Check            string `json:"check,omitempty" maxLength:"128" doc:"When one part of the data is read and verified"`
	CheckParts       int64  `json:"check_parts,omitempty" minimum:"0" maximum:"256" doc:"In how many parts the data is read, one each time; 0: 10"`
	MaxUnusedPercent *int   `json:"max_unused_percent,omitempty" minimum:"0" maximum:"100" doc:"How much unused space prune may leave; absent: restic's own limit"`
	Enabled          bool   `json:"enabled,omitempty"`
}

// defaultCheckParts is in how many parts a repository's data is read.
const defaultCheckParts = 10

// check gives the maintenance with its defaults, or an invalid fault.
func (s *Store) check(m Maintenance) (Maintenance, error) {
	m.Zone = strings.TrimSpace(m.Zone)
	if m.Zone == "" {
		m.Zone = "UTC"
	}
	if _, err := time.LoadLocation(m.Zone); err != nil || m.Zone == "Local" {
		return m, fault.Invalidf("maintenance.zone: give the name of a time zone, as in Europe/Berlin, or UTC")
	}
	if m.CheckParts == 0 {
		m.CheckParts = defaultCheckParts
	}
	if m.CheckParts < 1 || m.CheckParts > 256 {
		return m, fault.Invalidf("maintenance.check_parts: give 1 to 256")
	}
	if p := m.MaxUnusedPercent; p != nil && (*p < 0 || *p > 100) {
		return m, fault.Invalidf("maintenance.max_unused_percent: give 0 to 100")
	}
	for _, one := range []struct {
		field      string
		expression *string
	}{{"forget", &m.Forget}, {"prune", &m.Prune}, {"check", &m.Check}} {
		if *one.expression = strings.TrimSpace(*one.expression); *one.expression == "" {
			continue
		}
		if err := s.checkCron(*one.expression, m.Zone); err != nil {
			return m, fault.Invalidf("maintenance.%s: %v", one.field, err)
		}
	}
	return m, nil
}

var cronForm = regexp.MustCompile(`^(@(hourly|daily|midnight|weekly|monthly|yearly)|[0-9A-Za-z*/,-]+( +[0-9A-Za-z*/,-]+){4})$`)

// checkCronForm stands in for the real check of schedules where there is none.
func checkCronForm(expression, _ string) error {
	if !cronForm.MatchString(expression) {
		return fmt.Errorf("give five fields (minute, hour, day of month, month, day of week), as in 30 2 * * *")
	}
	return nil
}

func (m Maintenance) text() (string, error) {
	raw, err := json.Marshal(m)
	return string(raw), err
}

func readMaintenance(text string) (m Maintenance, err error) {
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		return m, fmt.Errorf("read the maintenance of a repository: %w", err)
	}
	if m.CheckParts == 0 {
		m.CheckParts = defaultCheckParts
	}
	return m, nil
}
