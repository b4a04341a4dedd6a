package api

import (
	"strings"
	"testing"

	"restic-manager/server/access"
)

func TestAnImportGivesDraftsThatCanBeSavedAndWritesNothing(t *testing.T) {
	each(t, nil, func(t *testing.T, r *rig) {
		viewer, operator := r.operator("vera", access.Viewer), r.operator("otto", access.Operator)
		var known struct{ ID string }
		r.must(request{method: "POST", path: "/api/repositories", as: operator, body: `{"name":"ours","url":"/srv/backup"}`}, &known)
		text := "a:\n  repository: /srv/backup\n  backup:\n    source: /etc\n    schedule: '2:30'\n    run-before: \"x\"\nb:\n  repository: /srv/other\n  backup:\n    source: /srv\n"
		before := r.dump(t, "sessions")
		var got struct {
			Repositories []ImportedRepository
			Policies     []ImportedPolicy
			LeftOut      []struct{ Where, Why string } `json:"left_out"`
		}
		r.must(request{method: "POST", path: "/api/policies/import", as: viewer, body: toJSON(t, map[string]any{"kind": "resticprofile", "name": "profiles.yaml", "file": []byte(text), "zone": "Europe/Berlin"})}, &got)
		if len(got.Repositories) != 2 || got.Repositories[0].ID != known.ID || got.Repositories[1].ID != "" || len(got.Policies) != 2 || got.Policies[0].Spec.RepositoryID != known.ID ||
			got.Policies[1].Spec.RepositoryID != "" || got.Policies[1].RepositoryName != "b" || got.Policies[1].Enabled {
			t.Errorf("got %+v", got)
		}
		if len(got.LeftOut) != 2 || got.LeftOut[0].Where != "a.backup.run-before" || got.LeftOut[0].Why == "" {
			t.Errorf("left out: got %+v", got.LeftOut)
		}
		if words := changed(before, r.dump(t, "sessions")); len(words) > 0 {
			t.Errorf("it changed %v", words)
		}
		for _, p := range got.Policies {
			r.must(request{method: "POST", path: "/api/policies", as: operator, body: toJSON(t, map[string]any{"name": p.Name, "enabled": p.Enabled, "spec": p.Spec})}, nil)
		}
		for name, body := range map[string]map[string]any{
			"another kind": {"kind": "borg", "file": []byte("x")}, "no bytes": {"kind": "backrest", "file": []byte{}}, "a wrong zone": {"kind": "resticprofile", "file": []byte(text), "zone": "Nowhere"},
			"no UTF-8": {"kind": "backrest", "file": []byte("{\"repos\": \"\xff\"}")}, "no base64": {"kind": "backrest", "file": "*"},
			"too much": {"kind": "backrest", "file": []byte(strings.Repeat("x", 512<<10+1))},
		} {
			if a := r.call(request{method: "POST", path: "/api/policies/import", as: viewer, body: toJSON(t, body)}); a.status != 422 {
				t.Errorf("%s: got %d %s, want 422", name, a.status, a.body)
			}
		}
	})
}
