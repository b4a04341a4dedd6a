package vault

import (
	"reflect"
	"strings"
	"testing"
)

func TestAPlanOfARepositoryIsWhatSavingDoes(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		runner := r.host("maint1")
		o := r.create("/srv/a", func(n *New) {
			n.Password, n.Env = "canary-password", map[string]string{"RESTIC_REST_PASSWORD": "canary-env"}
		})
		other := r.create("/srv/b", func(n *New) { n.Name = "taken" })
		audited := func() (n int64) {
			r.read(&n, "SELECT count(*) FROM audit WHERE action = 'repository.compare'")
			return n
		}
		yes, same := true, map[string]string{"RESTIC_REST_PASSWORD": "canary-env"}
		for name, c := range map[string]struct {
			patch Patch
			want  []FieldChange
		}{
			"what it is":    {Patch{Name: &o.Name, URL: &o.URL, Password: of("canary-password"), Env: &same, AppendOnly: new(bool), RunnerID: of(""), Maintenance: &Maintenance{}}, []FieldChange{}},
			"other fields":  {Patch{URL: of("/srv/c"), AppendOnly: &yes, RunnerID: &runner}, []FieldChange{{"url", "/srv/a", "/srv/c"}, {"append_only", "", "yes"}, {"runner", "", "maint1"}}},
			"a maintenance": {Patch{Maintenance: &Maintenance{Forget: "0 5 * * *", Zone: "UTC", Enabled: true}}, []FieldChange{{"maintenance.enabled", "", "yes"}, {"maintenance.forget", "", "0 5 * * *"}}},
		} {
			p, err := r.Plan(t.Context(), tester, o.ID, c.patch)
			if err != nil || !reflect.DeepEqual(p.Changes, c.want) || p.UpdatedAt == nil || !p.UpdatedAt.Equal(o.UpdatedAt) {
				t.Errorf("%s: got %+v, %v, want %v", name, p, err, c.want)
			}
		}
		now, err := r.ByID(t.Context(), o.ID)
		if n := audited(); n != 0 || err != nil || !reflect.DeepEqual(now, o) {
			t.Errorf("after plans without other secrets: got %d rows in the audit trail and %+v, %v, want none and %+v", n, now, err, o)
		}
		p, err := r.Plan(t.Context(), tester, o.ID, Patch{Password: of("canary-guess"), Env: &map[string]string{"RESTIC_REST_PASSWORD": "canary-guess"}})
		want := []FieldChange{{"password", "", "another one"}, {"env", "RESTIC_REST_PASSWORD", "RESTIC_REST_PASSWORD (other values)"}}
		if err != nil || !reflect.DeepEqual(p.Changes, want) {
			t.Errorf("other secrets: got %+v, %v, want %v", p, err, want)
		}
		if n := audited(); n != 1 || strings.Contains(r.dump(), "canary") {
			t.Errorf("other secrets: got %d rows in the audit trail, want 1; or a secret stands in the database", n)
		}
		p, err = r.Plan(t.Context(), tester, "", Patch{Name: of("fresh"), URL: of("/srv/new"), Password: of("canary-new")})
		if want := []FieldChange{{"name", "", "fresh"}, {"url", "", "/srv/new"}, {"password", "", "the one that is given"}}; err != nil || !reflect.DeepEqual(p.Changes, want) || p.UpdatedAt != nil {
			t.Errorf("a new one: got %+v, %v, want %v", p, err, want)
		}
		_, err = r.Plan(t.Context(), tester, o.ID, Patch{Name: of("TAKEN")})
		wantCode(t, err, "name_taken")
		_, err = r.Plan(t.Context(), tester, "", Patch{Name: of("taken"), URL: &other.URL})
		wantCode(t, err, "name_taken")
		for _, bad := range []Patch{{URL: of("nowhere")}, {RunnerID: of("x")}, {Maintenance: &Maintenance{Prune: "often"}}} {
			_, err = r.Plan(t.Context(), tester, o.ID, bad)
			wantCode(t, err, "invalid")
		}
		_, err = r.Plan(t.Context(), tester, runner, Patch{URL: of("/srv/c")})
		wantCode(t, err, "invalid")
		_, err = r.Plan(t.Context(), tester, "", Patch{URL: of("/srv/c")})
		wantCode(t, err, "invalid")
	})
}
