package fleet

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"gorm.io/gorm/clause"

	"restic-manager/server/database"
	"restic-manager/server/fault"
	"restic-manager/shared/wire"
)

// Limits of what names hosts.
const (
	maxHostName  = 128 // bytes
	maxHostname  = 255 // bytes; RFC 1035 section 2.3.4
	maxLabels    = 50
	maxHostnames = 20 // kept per host
)

// checkHostName gives the name without blanks around it, or an invalid fault.
func checkHostName(name string) (string, error) {
	name = strings.TrimSpace(name)
	if name == "" || cleanLine(name, maxHostName) != name {
		return "", fault.Invalidf("name: give 1 to %d bytes of visible text", maxHostName)
	}
	return name, nil
}

// CheckName is the rule of names that people give, for rooms beside this one: the name without blanks around it, and what
// makes names equal and orders them.
func CheckName(name string) (clean, key string, err error) {
	clean, err = checkHostName(name)
	return clean, nameKey(clean), err
}

// nameFromHostname is the name a host gets when nobody gave it one.
func nameFromHostname(hostname string) string {
	return cmp.Or(strings.TrimSpace(cleanLine(hostname, maxHostName)), "host")
}

// nameKey is what makes names equal and orders them.
func nameKey(name string) string { return strings.ToLower(name) }

// encodeLabels writes labels as JSON in the one form that queries know: keys sorted, no blanks.
func encodeLabels(labels map[string]string) (string, error) {
	if len(labels) > maxLabels {
		return "", fault.Invalidf("labels: at most %d", maxLabels)
	}
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		if err := wire.CheckName(k); err != nil {
			return "", fault.Invalidf("labels: %q: %v", cleanLine(k, 60), err)
		}
		if v := labels[k]; v != "" && wire.CheckName(v) != nil {
			return "", fault.Invalidf("labels: the value of %s: %v", k, wire.CheckName(v))
		}
	}
	if labels == nil {
		labels = map[string]string{}
	}
	raw, err := json.Marshal(labels)
	return string(raw), err
}

// labelText is what the JSON that encodeLabels writes holds when it has the key, or key=value: names need no
// escapes there, so to look for the text is to look for its meaning.
func labelText(label string) (string, error) {
	key, value, exact := strings.Cut(label, "=")
	if wire.CheckName(key) != nil || value != "" && wire.CheckName(value) != nil {
		return "", fault.Invalidf("label: give a key, or key=value")
	}
	if exact {
		return `"` + key + `":"` + value + `"`, nil
	}
	return `"` + key + `":"`, nil
}

// onNameTaken makes an insert of a host do nothing when its name is another's, also one that is being
// inserted beside it.
var onNameTaken = clause.OnConflict{Columns: []clause.Column{{Name: "name_key"}}, DoNothing: true}

// suffixed is the try-th name to propose: web, web-2 … web-9, then web with four random digits, because a
// fleet of equal hostnames must not try them all.
func suffixed(name string, try int) string {
	suffix := ""
	switch {
	case try > 9:
		b := make([]byte, 2)
		rand.Read(b)
		suffix = "-" + hex.EncodeToString(b)
	case try > 1:
		suffix = fmt.Sprintf("-%d", try)
	}
	return strings.TrimSpace(cleanLine(name, maxHostName-len(suffix))) + suffix
}

// recordHostname remembers that the host goes by this hostname: snapshots are its own when they have a
// hostname that it has had. The newest maxHostnames are kept.
func (s *Store) recordHostname(tx *database.Tx, hostID, hostname string) error {
	hostname = cleanLine(hostname, maxHostname)
	if hostname == "" {
		return nil
	}
	done := tx.Exec(`INSERT INTO host_names (host_id, hostname, recorded_at) VALUES (?, ?, ?) ON CONFLICT (host_id, hostname) DO NOTHING`,
		hostID, hostname, tx.Now)
	if done.Error != nil {
		return fmt.Errorf("record the hostname of host %s: %w", hostID, done.Error)
	}
	if done.RowsAffected == 0 {
		return nil
	}
	err := tx.Exec(`DELETE FROM host_names WHERE host_id = ? AND hostname NOT IN
		(SELECT hostname FROM host_names WHERE host_id = ? ORDER BY recorded_at DESC, hostname LIMIT ?)`, hostID, hostID, maxHostnames).Error
	if err != nil {
		return fmt.Errorf("forget old hostnames of host %s: %w", hostID, err)
	}
	if err := countSnapshots(tx, "id = ?", hostID); err != nil {
		return err
	}
	tx.Notify(database.TopicSnapshots(hostID))
	return nil
}

// countSnapshots counts anew how many snapshots the hosts have in their repository, and looks how large the newest is.
// Each hostname's newest is the first entry of an index. They are no join: databases then walk the whole list, the newest
// first, until they meet one of the host, for each host of the repository.
func countSnapshots(tx *database.Tx, where string, args ...any) error {
	err := tx.Exec(`UPDATE hosts SET snapshot_count = COALESCE((
			SELECT sum(c.snapshot_count) FROM repository_hostnames c JOIN host_names n ON n.hostname = c.hostname
			WHERE c.repository_id = hosts.repository_id AND n.host_id = hosts.id), 0),
			latest_size_bytes = COALESCE(NULLIF((SELECT
					(SELECT s.size_bytes FROM snapshots s WHERE s.repository_id = hosts.repository_id AND s.hostname = n.hostname
						ORDER BY s.time DESC, s.id DESC LIMIT 1)
				FROM host_names n WHERE n.host_id = hosts.id
				ORDER BY (SELECT max(s.time) FROM snapshots s WHERE s.repository_id = hosts.repository_id AND s.hostname = n.hostname) DESC NULLS LAST
				LIMIT 1), 0), success_bytes)
		WHERE `+where, args...).Error
	if err != nil {
		return fmt.Errorf("count the snapshots of hosts: %w", err)
	}
	return nil
}
