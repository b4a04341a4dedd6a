package fleet

import (
	"slices"
	"strings"
	"time"

	"restic-manager/server/fault"
	"restic-manager/shared/wire"
)

// HostFilter narrows a list of hosts; empty fields do not.
type HostFilter struct {
	Statuses    []string // of never_seen, online, offline, revoked
	Protections []Protection
	Search      string        // part of the name or hostname, in any case
	Label       string        // key, or key=value
	Version     string        // of the agent, exactly
	OlderThan   time.Duration // the last success is older, or there is none
	NewerThan   time.Duration // the last success is newer
	Policy      string        // a policy's id: it applies to the host; NoPolicy
}

// NoPolicy as HostFilter.Policy finds the hosts that nothing backs up by itself.
const NoPolicy = "none"

// unprotected is the condition on hosts h that no enabled policy runs there.
const unprotected = `h.revoked_at IS NULL AND NOT EXISTS (SELECT 1 FROM assignments a JOIN policies p ON p.id = a.policy_id
	WHERE a.host_id = h.id AND a.problem = '' AND p.enabled)`

var hostStatuses = []string{"never_seen", "online", "offline", "revoked"}

// conditions are the filter in SQL on hosts h, with the arguments by their names; at is now.
func (f HostFilter) conditions(postgres bool, at time.Time) (where []string, args map[string]any, err error) {
	args = map[string]any{}
	add := func(condition, name string, arg any) { where, args[name] = append(where, condition), arg }
	for _, status := range f.Statuses {
		if !slices.Contains(hostStatuses, status) {
			return nil, nil, fault.Invalidf("status: give one of %s", strings.Join(hostStatuses, ", "))
		}
	}
	if len(f.Statuses) > 0 {
		add("h.status IN @statuses", "statuses", f.Statuses)
	}
	if len(f.Protections) > 0 {
		var places []int
		for _, p := range f.Protections {
			place := slices.Index(Protections, p)
			if place < 0 {
				return nil, nil, fault.Invalidf("protection: %.40q is none", p)
			}
			places = append(places, place)
		}
		add(severity+" IN @protections", "protections", places)
	}
	if f.Search != "" {
		part := "%" + escapeLike(nameKey(cleanLine(f.Search, maxHostname))) + "%"
		add(`(h.name_key LIKE @search ESCAPE '!' OR lower(h.hostname) LIKE @search ESCAPE '!')`, "search", part)
	}
	if f.Label != "" {
		text, err := labelText(f.Label)
		if err != nil {
			return nil, nil, err
		}
		find := "instr(h.labels, @label) > 0"
		if postgres {
			find = "strpos(h.labels, @label) > 0"
		}
		add(find, "label", text)
	}
	if f.Version != "" {
		add("h.agent_version = @version", "version", f.Version)
	}
	if f.OlderThan > 0 {
		add("(h.last_success_at IS NULL OR h.last_success_at < @older)", "older", at.Add(-f.OlderThan))
	}
	if f.NewerThan > 0 {
		add("h.last_success_at >= @newer", "newer", at.Add(-f.NewerThan))
	}
	switch {
	case f.Policy == NoPolicy:
		where = append(where, unprotected)
	case wire.IsUUID(f.Policy):
		add("EXISTS (SELECT 1 FROM assignments a WHERE a.host_id = h.id AND a.policy_id = @policy)", "policy", f.Policy)
	case f.Policy != "":
		return nil, nil, fault.Invalidf("policy: give a policy's id, or %s", NoPolicy)
	}
	return where, args, nil
}

func escapeLike(s string) string {
	return strings.NewReplacer("!", "!!", "%", "!%", "_", "!_").Replace(s)
}

// whereAll joins conditions.
func whereAll(where []string) string {
	if len(where) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(where, " AND ")
}

// named are the arguments of a query by their names; gorm takes them for others where the query names none.
func named(query string, args map[string]any) []any {
	if strings.Contains(query, "@") {
		return []any{args}
	}
	return nil
}
