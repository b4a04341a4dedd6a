package access

import (
	"slices"
	"strings"

	"restic-manager/server/fault"
)

// Scope is one part of what a key may do. Each stands for itself: none includes another.
type Scope string

// The scopes. FleetRead is what a viewer may, the others together what an operator may beyond.
const (
	FleetRead         Scope = "fleet:read"         // looks, plans and previews: changes nothing
	HostsWrite        Scope = "hosts:write"        // adds, names, labels and removes machines
	JobsWrite         Scope = "jobs:write"         // orders and stops jobs
	PoliciesWrite     Scope = "policies:write"     // makes, changes and deletes policies
	RepositoriesWrite Scope = "repositories:write" // sets repositories up, changes and maintains them
	// AnyScope is for what every key may: ask which key it is.
	AnyScope Scope = "any"
)

// Scopes are all that a key can be given, in the order in which they are shown.
var Scopes = []Scope{FleetRead, JobsWrite, PoliciesWrite, RepositoriesWrite, HostsWrite}

// scopes are those of a key that names none.
func (r Role) scopes() []Scope {
	if r == Viewer {
		return []Scope{FleetRead}
	}
	return slices.Clone(Scopes)
}

// ScopeSet are scopes as they are stored: their words in order, with spaces between. Empty: all that the role may.
type ScopeSet string

// list gives the scopes of a key of the role.
func (s ScopeSet) list(r Role) (list []Scope) {
	if s == "" {
		return r.scopes()
	}
	for word := range strings.FieldsSeq(string(s)) {
		list = append(list, Scope(word))
	}
	return list
}

// newScopes gives the set and the least role that may do all of it. A role that is given must be enough.
func newScopes(list []Scope, r Role) (ScopeSet, Role, error) {
	least := Viewer
	var words []string
	for _, known := range Scopes {
		if slices.Contains(list, known) {
			words = append(words, string(known))
			if known != FleetRead {
				least = Operator
			}
		}
	}
	for _, given := range list {
		if !slices.Contains(Scopes, given) {
			return "", "", fault.Invalidf("scopes: %.40q is none; there are fleet:read, jobs:write, policies:write, repositories:write and hosts:write", given)
		}
	}
	if r != "" && !r.Includes(least) {
		return "", "", fault.Invalidf("scopes: the role %s may not do all of them; leave the role out", r)
	}
	return ScopeSet(strings.Join(words, " ")), least, nil
}

// KeyScopes are those of a key; nil: it is none.
func (p Principal) KeyScopes() []Scope {
	if !p.Key {
		return nil
	}
	return p.Scopes.list(p.Role)
}

// Allows is nil for a principal whose role includes need and who, being a key, has the scope; else a forbidden fault that
// says what is missing.
func (p Principal) Allows(need Role, scope Scope) error {
	if err := p.Role.Allows(need); err != nil {
		return err
	}
	if !p.Key || scope == AnyScope {
		return nil
	}
	has := p.Scopes.list(p.Role)
	if slices.Contains(has, scope) {
		return nil
	}
	var words []string
	for _, s := range has {
		words = append(words, string(s))
	}
	return fault.New(fault.Forbidden, "forbidden", "This needs a key with the scope %s; this one has %s. Make another one under Settings, API keys.", scope, strings.Join(words, ", "))
}
