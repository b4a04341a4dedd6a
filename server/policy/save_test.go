package policy

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"restic-manager/server/database"
	"restic-manager/server/fault"
	"restic-manager/shared/wire"
)

func TestASaveMakesAVersion(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		p := x.create(x.draft())
		if p.Version != 1 || !p.Enabled || !p.CreatedAt.Equal(day(1, 12, 0)) {
			t.Errorf("got %+v", p)
		}
		x.clock.Advance(time.Hour)
		q := x.change(p, func(d *Draft) {})
		if q.Version != 1 || !q.UpdatedAt.Equal(p.UpdatedAt) {
			t.Errorf("a save that changes nothing: got %+v", q)
		}
		q = x.change(p, func(d *Draft) {
			d.Name, d.Spec.Backup.Paths, d.Spec.Keep = "Nightly", []string{"/home", "/etc"}, &Keep{Daily: 7}
		})
		if q.Version != 2 || q.Name != "Nightly" || !q.UpdatedAt.Equal(day(1, 13, 0)) {
			t.Errorf("got %+v", q)
		}
		_, err := x.Put(t.Context(), tester, p.ID, Draft{"x", true, p.Spec}, 1)
		wantCode(t, err, "policy_changed")
		versions, err := x.Versions(t.Context(), p.ID)
		if err != nil || len(versions) != 2 {
			t.Fatalf("got %+v, %v", versions, err)
		}
		want := []Change{{"name", p.Name, "Nightly"}, {"backup.paths", "/home", "/home\n/etc"}, {"keep.daily", "", "7"}}
		if v := versions[0]; v.Version != 2 || v.By != "tester" || !reflect.DeepEqual(v.Changes, want) {
			t.Errorf("got %+v, want the changes %+v", v, want)
		}
		if v := versions[1]; v.Version != 1 || len(v.Changes) != 0 || v.Name != p.Name {
			t.Errorf("got %+v", v)
		}
		if err := x.Delete(t.Context(), tester, p.ID); err != nil {
			t.Fatal(err)
		}
		_, err = x.ByID(t.Context(), p.ID)
		wantCode(t, err, "not_found")
		var actions []string
		x.read(&actions, "SELECT action FROM audit WHERE target = ? ORDER BY id", "policy:"+p.ID)
		if got, want := fmt.Sprint(actions), "[policy.create policy.update policy.delete]"; got != want {
			t.Errorf("the audit trail: got %s, want %s", got, want)
		}
	})
}

func TestNamesOfPoliciesAreTheirOwn(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		d := x.draft()
		d.Name = "  Nightly "
		p := x.create(d)
		if p.Name != "Nightly" {
			t.Errorf("got %q", p.Name)
		}
		d.Name = "NIGHTLY"
		_, err := x.Create(t.Context(), tester, d)
		wantCode(t, err, "name_taken")
		_, err = x.Plan(t.Context(), "", d)
		wantCode(t, err, "name_taken")
		if _, err := x.Plan(t.Context(), p.ID, d); err != nil {
			t.Errorf("its own name in other letters: %v", err)
		}
		other := x.create(x.draft())
		_, err = x.Put(t.Context(), tester, other.ID, d, 1)
		wantCode(t, err, "name_taken")
	})
}

func TestWhatIsWrongWithASpecIsNamed(t *testing.T) {
	good := func() Spec {
		return Spec{Hosts: Selector{All: true}, Backup: wire.BackupSpec{Paths: []string{"/home"}}, Schedule: Timing{Cron: "30 2 * * *", Zone: "UTC"}}
	}
	if _, err := good().checked(); err != nil {
		t.Fatal(err)
	}
	for field, change := range map[string]func(s *Spec){
		"hosts.ids":               func(s *Spec) { s.Hosts.IDs = []string{"x"} },
		"hosts.labels":            func(s *Spec) { s.Hosts.Labels = map[string]string{"a b": "c"} },
		"hosts.labels: the value": func(s *Spec) { s.Hosts.Labels = map[string]string{"a": "b c"} },
		"repository_id":           func(s *Spec) { s.RepositoryID = "x" },
		"backup.paths":            func(s *Spec) { s.Backup.Paths = nil },
		"backup.paths: \"home":    func(s *Spec) { s.Backup.Paths = []string{"home"} },
		"backup.dry_run":          func(s *Spec) { s.Backup.DryRun = true },
		"schedule.cron":           func(s *Spec) { s.Schedule.Cron = "0 0 31 2 *" },
		"schedule.zone":           func(s *Spec) { s.Schedule.Zone = "Local" },
		"schedule.spread_seconds": func(s *Spec) { s.Schedule.SpreadSeconds = 86401 },
		"schedule.late_seconds":   func(s *Spec) { s.Schedule.LateSeconds = -1 },
		"time_limit_seconds":      func(s *Spec) { s.TimeLimitSeconds = 1 << 40 },
		"keep.daily":              func(s *Spec) { s.Keep = &Keep{Daily: -1} },
		"keep.within_days":        func(s *Spec) { s.Keep = &Keep{WithinDays: 1 << 30} },
		"keep.tags":               func(s *Spec) { s.Keep = &Keep{Tags: []string{"a b"}} },
	} {
		s := good()
		change(&s)
		_, err := s.checked()
		if e := fault.As(err); e == nil || e.Kind != fault.Invalid || !strings.HasPrefix(e.Message, field) {
			t.Errorf("got %v, want it to name %s", err, field)
		}
	}
}

// What means the same is stored as the same: a save of it makes no version.
func TestSpecsHaveOneForm(t *testing.T) {
	a := Spec{Hosts: Selector{IDs: []string{"0190a000-0000-7000-8000-000000000002", "0190a000-0000-7000-8000-000000000001", "0190a000-0000-7000-8000-000000000002"}, Labels: map[string]string{}},
		Backup: wire.BackupSpec{Paths: []string{"/b", "/a"}}, Schedule: Timing{Cron: "@daily", Zone: "UTC"}, Keep: &Keep{}}
	b := a
	b.Hosts, b.Keep = Selector{IDs: []string{"0190a000-0000-7000-8000-000000000001", "0190a000-0000-7000-8000-000000000002"}}, nil
	var texts []string
	for _, s := range []Spec{a, b} {
		s, err := s.checked()
		if err != nil {
			t.Fatal(err)
		}
		text, err := s.encode()
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, text)
	}
	if texts[0] != texts[1] {
		t.Errorf("got %s and %s", texts[0], texts[1])
	}
}

// Every field of a spec is one that a version tells of, or the check of changes has forgotten it.
func TestEveryFieldOfASpecIsToldOf(t *testing.T) {
	told := map[string]bool{}
	for _, f := range fields {
		told[f.name] = true
	}
	var walk func(prefix string, t reflect.Type) []string
	walk = func(prefix string, t reflect.Type) (names []string) {
		for f := range t.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			ft := f.Type
			if ft.Kind() == reflect.Pointer {
				ft = ft.Elem()
			}
			if ft.Kind() == reflect.Struct {
				names = append(names, walk(prefix+name+".", ft)...)
			} else {
				names = append(names, prefix+name)
			}
		}
		return names
	}
	for _, name := range walk("", reflect.TypeFor[Spec]()) {
		if !told[name] && name != "backup.dry_run" { // there is none
			t.Errorf("%s is no field of a change", name)
		}
	}
}

func TestWhatBecameOfAPolicyLately(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		x.hosts(3, func(int) string { return "{}" })
		d := x.draft()
		d.Spec.Schedule.Cron = "0 */6 * * *"
		p := x.create(d)
		x.clock.Set(day(2, 18, 30))
		x.look()
		p, err := x.ByID(t.Context(), p.ID)
		if want := (Last{Run: 3, Missed: 9, Open: 3}); err != nil || p.Last != want || p.NextDueAt == nil || !p.NextDueAt.Equal(day(3, 0, 0)) {
			t.Errorf("got %+v, next %v, %v, want %+v", p.Last, p.NextDueAt, err, want)
		}
		o, err := x.Calendar(t.Context(), 30, 24, 0)
		if err != nil {
			t.Fatal(err)
		}
		if want := []FleetDay{{Date: "2026-03-01", Missed: 3}, {Date: "2026-03-02", Missed: 9}}; !reflect.DeepEqual(o.Days, want) {
			t.Errorf("the days: got %+v, want %+v", o.Days, want)
		}
		if want := []DueHour{{day(3, 0, 0), 3}, {day(3, 6, 0), 3}, {day(3, 12, 0), 3}}; !reflect.DeepEqual(o.Due, want) {
			t.Errorf("what is due: got %+v, want %+v", o.Due, want)
		}
		if o, err = x.Calendar(t.Context(), 2, 0, 7*time.Hour); err != nil || len(o.Days) != 1 || o.Days[0] != (FleetDay{Date: "2026-03-02", Missed: 12}) || len(o.Due) != 0 {
			t.Errorf("7 hours ahead: got %+v, %v", o, err)
		}
	})
}

func TestPreviewsSayWhatAnExpressionMeans(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		p, err := x.Preview(t.Context(), Timing{Cron: "30 2 * * *", Zone: "Europe/Berlin"})
		// The 29th has no 02:30: it is due at 03:00, half an hour of that day's 23 late.
		if err != nil || p.Text != "every day at 02:30" || len(p.Next) != 5 || !p.Next[0].Equal(day(2, 1, 30)) || p.EverySeconds != 23*3600+1800 {
			t.Errorf("got %+v, %v", p, err)
		}
		_, err = x.Preview(t.Context(), Timing{Cron: "@every 5m", Zone: "UTC"})
		wantCode(t, err, "invalid")
	})
}

// A spec from the database is read as it was written.
func FuzzSpecsAreReadAsTheyAreWritten(f *testing.F) {
	f.Add(`{"hosts":{"all":true},"backup":{"paths":["/a"]},"schedule":{"cron":"@daily","zone":"UTC"}}`)
	f.Fuzz(func(t *testing.T, text string) {
		var s Spec
		if json.Unmarshal([]byte(text), &s) != nil {
			return
		}
		s, err := s.checked()
		if err != nil {
			return
		}
		first, err := s.encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := decodeSpec(database.FirstID, first)
		if err != nil {
			t.Fatal(err)
		}
		if again, err = again.checked(); err != nil {
			t.Fatalf("%s: %v", first, err)
		}
		if second, _ := again.encode(); second != first {
			t.Errorf("got %s, want %s", second, first)
		}
	})
}
