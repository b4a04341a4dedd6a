package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"restic-manager/server/access"
	"restic-manager/server/database"
	"restic-manager/shared/wire"
)

// Each row's own call does what it says: without that, the refusals below would prove nothing.
func TestEveryRouteAnswersItsOwnCall(t *testing.T) {
	each(t, nil, func(t *testing.T, r *rig) {
		w := newWorld(r)
		for _, row := range r.table() {
			switch {
			case row.Permission == Agent:
				q, _ := w.ofAgent(row)
				w.must(q, nil)
			case row.Permission.signedIn():
				q, _ := w.person(row)
				w.must(q, nil)
				if row.ID == "logout" || row.ID == "changePassword" {
					w = w.again()
				}
			}
		}
	})
}

// again is the world after its administrator has signed out or has another password.
func (w *world) again() *world {
	w.t.Helper()
	if err := w.access.ResetPassword(w.t.Context(), database.System, adminName, goodSecret); err != nil {
		w.t.Fatal(err)
	}
	w.admin = w.signIn(adminName)
	return w
}

// ids are those of things that are not what a call is about: of each other type, of deleted things, and words
// that are none.
func (w *world) ids() map[string]string {
	w.t.Helper()
	host, gone := w.host(), w.host()
	j, lost := host.running(w.admin), gone.running(w.admin)
	account, _ := w.account(access.Viewer)
	former, _ := w.account(access.Viewer)
	_, other := w.account(access.Viewer)
	void, ended := w.token(), w.session(other)
	forgotten := w.repository()
	ids := map[string]string{
		"host": host.id, "job": j.id, "operator": account, "enrollment token": w.token(), "another's session": w.session(other), "listing": w.listing(j), "policy": w.policy(),
		"deleted host": gone.id, "job of a deleted host": lost.id, "deleted operator": former, "deleted enrollment token": void, "ended session": ended,
		"repository": w.repository(), "removal": w.removal(), "forgotten repository": forgotten,
		"snapshot": sha("s"), "lease": j.lease, "nobody": nobody, "upper case": strings.ToUpper(host.id), "braces": "{" + j.id + "}", "no hyphens": strings.ReplaceAll(j.id, "-", ""),
	}
	for _, path := range []string{"/api/hosts/" + gone.id + "/revoke", "/api/hosts/" + gone.id, "/api/operators/" + former, "/api/enrollment-tokens/" + void, "/api/repositories/" + forgotten} {
		m := "DELETE"
		if strings.HasSuffix(path, "revoke") {
			m = "POST"
		}
		w.must(request{method: m, path: path, as: w.admin}, nil)
	}
	if err := w.access.DeleteSession(w.t.Context(), database.System, w.owner(other), ended); err != nil {
		w.t.Fatal(err)
	}
	return ids
}

func (w *world) owner(name string) string {
	w.t.Helper()
	var list struct{ Operators []access.OperatorAccount }
	w.must(request{method: "GET", path: "/api/operators?limit=1000", as: w.admin}, &list)
	i := slices.IndexFunc(list.Operators, func(o access.OperatorAccount) bool { return o.Username == name })
	return list.Operators[i].ID
}

// things names which of ids a row of people may find: the type that its path is about.
var things = map[string]string{"/api/hosts/": "host", "/api/jobs/": "job", "/api/operators/": "operator", "/api/enrollment-tokens/": "enrollment token", "/api/sessions/": "nothing", "/api/repositories/": "repository", "/api/policies/": "policy", "/api/removals/": "removal", "/api/api-keys/": "nothing"}

// What a person may not find, because it is another's, deleted, of another type or no id at all, answers as
// what never was: byte for byte, but for the request's id. So it is in each path of people.
func TestForeignDeletedAndMistypedIdsOfPeopleAnswerAsRandomOnes(t *testing.T) {
	each(t, nil, func(t *testing.T, r *rig) {
		w := newWorld(r)
		ids := w.ids()
		n := 0
		for _, row := range r.table() {
			if !row.Permission.signedIn() || !strings.Contains(row.Path, "{id}") {
				continue
			}
			thing := things[row.Path[:strings.Index(row.Path, "{")]]
			if thing == "" {
				t.Fatalf("%s: what is its id of?", row.Path)
			}
			ask := func(id string) answered {
				return r.call(request{method: row.Method, path: strings.Replace(row.Path, "{id}", id, 1), as: w.admin, body: wellFormed[row.ID]})
			}
			want := ask(database.NewID())
			if want.status != 404 {
				t.Errorf("%s %s: got %d for a random id, want 404", row.Method, row.Path, want.status)
			}
			for _, what := range slices.Sorted(maps.Keys(ids)) {
				if what == thing {
					continue
				}
				if got := ask(ids[what]); got.status != 404 || got.withoutID(t) != want.withoutID(t) {
					t.Errorf("%s %s with the id of a %s: got %d %s, want as for a random one: %s", row.Method, row.Path, what, got.status, got.body, want.body)
				}
				n++
			}
		}
		t.Logf("%d checks", n)
		if n < 250 {
			t.Errorf("%d checks, want 250 and more", n)
		}
	})
}

// An agent that names another host's job or listing, also with the right lease, learns and changes nothing.
func TestForeignDeletedAndMistypedIdsOfAgentsAnswerAsRandomOnes(t *testing.T) {
	each(t, nil, func(t *testing.T, r *rig) {
		w := newWorld(r)
		ids := w.ids()
		n := 0
		for _, row := range r.table() {
			// A hold is about nothing. Due times of policies that are another host's are unassigned, like those of none: the policy's own test.
			if row.Permission != Agent || row.ID == "hello" || row.ID == "nextCommand" || row.ID == "hold" || row.ID == "recordTicks" {
				continue
			}
			q, own := w.ofAgent(row)
			thief := w.host()
			ask := func(id string) answered {
				stolen := q
				stolen.as = principal(maps.Clone(map[string][]string(q.as))) // its lease stays
				stolen.as["Authorization"] = thief.as["Authorization"]
				stolen.path = strings.Replace(q.path, own, id, 1)
				if row.ID == "beginListing" {
					stolen.body = strings.Replace(q.body, own, id, 1)
				}
				return r.call(stolen)
			}
			random := database.NewID()
			if strings.Contains(row.Path, "{token}") {
				random = hexOf(16)
			}
			want := ask(random)
			if want.status < 400 || want.status >= 500 {
				t.Errorf("%s: got %d for a random id", row.ID, want.status)
			}
			before := r.dump(t, "hosts")
			ids["own, of another"] = own
			for _, what := range slices.Sorted(maps.Keys(ids)) {
				if got := ask(ids[what]); got.withoutID(t) != want.withoutID(t) || got.status != want.status {
					t.Errorf("%s with the id of a %s: got %d %s, want as for a random one: %d %s", row.ID, what, got.status, got.body, want.status, want.body)
				}
				n++
			}
			if words := changed(before, r.dump(t, "hosts")); len(words) > 0 {
				t.Errorf("%s by another agent changed %s", row.ID, strings.Join(words, "\n"))
			}
			w.must(q, nil) // the rightful one still may
		}
		t.Logf("%d checks", n)
		if n < 150 {
			t.Errorf("%d checks, want 150 and more", n)
		}
	})
}

// Ids in hellos, polls and queries are looked at as the caller's own: another host's job, with its right lease,
// is as unknown as one that never was.
func TestForeignIdsInListsAnswerAsRandomOnes(t *testing.T) {
	each(t, nil, func(t *testing.T, r *rig) {
		w := newWorld(r)
		victim := w.host().running(w.admin)
		thief := w.host()
		drops := func(job, lease string) string {
			var p wire.PollReply
			r.must(request{method: "GET", path: thief.pollPath(0) + "&jobs=" + job + ":" + lease, as: thief.as}, &p)
			p.Mark = ""
			return strings.ReplaceAll(toJSON(t, p), job, "")
		}
		if foreign, random := drops(victim.id, victim.lease), drops(database.NewID(), victim.lease); foreign != random {
			t.Errorf("a poll that names a foreign job: got %s, want %s", foreign, random)
		}
		verdicts := func(jobs ...wire.JobReport) []wire.JobVerdict {
			h := thief.helloBody()
			h.Jobs = jobs
			var reply wire.HelloReply
			r.must(request{method: "POST", path: "/api/agents/hello", as: thief.as, body: toJSON(t, h)}, &reply)
			thief.mark = reply.Mark
			return reply.Jobs
		}
		// A list of 50 with one foreign one among them.
		var jobs []wire.JobReport
		for range 49 {
			jobs = append(jobs, wire.JobReport{ID: database.NewID(), Lease: hexOf(16), Phase: wire.PhaseRunning})
		}
		jobs = slices.Insert(jobs, 25, wire.JobReport{ID: victim.id, Lease: victim.lease, Phase: wire.PhaseRunning})
		got := verdicts(jobs...)
		if len(got) != 50 {
			t.Fatalf("got %d verdicts, want 50", len(got))
		}
		for _, v := range got {
			if v.Verdict != got[0].Verdict {
				t.Errorf("the verdict on %s: got %s, on the others %s", v.ID, v.Verdict, got[0].Verdict)
			}
		}
		var was, is struct {
			State      wire.State
			DeadlineAt string `json:"lease_expires_at"`
		}
		r.must(request{method: "GET", path: "/api/jobs/" + victim.id, as: w.admin}, &was)
		if err := r.fleet.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.must(request{method: "GET", path: "/api/jobs/" + victim.id, as: w.admin}, &is)
		if was != is || is.State != wire.StateRunning {
			t.Errorf("the foreign job became %+v, was %+v", is, was)
		}
		for _, id := range []string{w.queued(thief), w.token(), database.NewID(), "x"} {
			var list struct{ Jobs []json.RawMessage }
			r.must(request{method: "GET", path: "/api/jobs?host=" + id, as: w.admin}, &list)
			if len(list.Jobs) != 0 {
				t.Errorf("jobs?host=%s: got %d jobs, want none", id, len(list.Jobs))
			}
		}
	})
}

// extras are keys that no body has, but rows of the database do.
var extras = map[string]string{
	"id": `"` + nobody + `"`, "host_id": `"` + nobody + `"`, "job_id_": `"` + nobody + `"`, "operator_id": `"` + nobody + `"`, "session_id": `"` + nobody + `"`,
	"state_": `"succeeded"`, "status": `"online"`, "bearer_hash": `"x"`, "token_sha256": `"x"`, "password_hash": `"x"`, "created_at": `"2026-01-01T00:00:00Z"`,
	"created_by": `"root"`, "site_id": `1`, "revoked_at": `null`, "disabled_at": `null`, "is_admin": `true`, "admin": `true`, "permission": `"public"`,
	"__proto__": `{"role":"administrator"}`, "$schema": `"x"`, "": `1`, "actor": `{"kind":"system"}`,
}

// with gives a JSON object one key more.
func with(object, key, value string) string {
	rest := strings.TrimPrefix(strings.TrimSpace(object), "{")
	if strings.TrimSpace(rest) != "}" {
		rest = "," + rest
	}
	return fmt.Sprintf("{%q:%s%s", key, value, rest)
}

// A body of people holds what its call takes and nothing else, so that nobody sets a field that is not theirs
// to set; a role in a body that has one is the caller's to give, by its permission.
func TestExtraKeysInBodiesOfPeopleAreRefused(t *testing.T) {
	each(t, nil, func(t *testing.T, r *rig) {
		w := newWorld(r)
		n := 0
		for _, row := range r.table() {
			if !row.hasBody() || row.Permission == Agent || row.ID == "enroll" {
				continue
			}
			q := request{method: row.Method, path: row.Path, as: w.admin, body: wellFormed[row.ID]}
			if row.Permission.signedIn() {
				q, _ = w.person(row)
			}
			if q.body == "" {
				q.body = `{}`
			}
			extras := maps.Clone(extras)
			if !strings.Contains(q.body, `"role"`) && row.ID != "updateOperator" {
				extras["role"] = `"administrator"`
			}
			if strings.Contains(q.body, `"host_id"`) { // it is the call's own
				delete(extras, "host_id")
			}
			before := r.dump(t, "login_throttle")
			for _, key := range slices.Sorted(maps.Keys(extras)) {
				bad := q
				bad.body = with(q.body, key, extras[key])
				if a := r.call(bad); a.status != 422 || bytes.Contains(a.body, []byte(nobody)) {
					t.Errorf("%s %s with %q: got %d %s, want 422", row.Method, row.Path, key, a.status, a.body)
				}
				n++
			}
			if words := changed(before, r.dump(t, "login_throttle")); len(words) > 0 {
				t.Errorf("%s changed %s", row.ID, strings.Join(words, "\n"))
			}
		}
		t.Logf("%d checks", n)
	})
}

// An agent's body may hold more than is known (a newer agent): none of it counts, least of all an id.
func TestExtraKeysInBodiesOfAgentsCountForNothing(t *testing.T) {
	each(t, nil, func(t *testing.T, r *rig) {
		w := newWorld(r)
		victim := w.host()
		theirs := victim.running(w.admin)
		for _, row := range r.table() {
			if row.Permission != Agent || !row.hasBody() || row.ID == "appendLog" || row.ID == "putListingPart" {
				continue
			}
			q, id := w.ofAgent(row)
			for key, value := range extras {
				q.body = with(q.body, key, strings.ReplaceAll(value, nobody, theirs.id))
			}
			q.body = with(q.body, "host_id", `"`+victim.id+`"`)
			q.body = with(q.body, "HOST_ID", `"`+victim.id+`"`)
			if err := r.fleet.Flush(t.Context()); err != nil { // signs of life of before
				t.Fatal(err)
			}
			before := r.dump(t)
			w.must(q, nil)
			if err := r.fleet.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			for _, row := range changed(before, r.dump(t)) {
				if strings.Contains(row, victim.id) || strings.Contains(row, theirs.id) {
					t.Errorf("%s on %s changed what is the victim's: %s", q.path, id, row)
				}
			}
		}
	})
}

// Nothing that is told to people has a key that sounds of a secret; an enrollment token's is told once, a repository's to
// who gives their password again.
func TestNoAnswerHasAKeyForASecret(t *testing.T) {
	each(t, nil, func(t *testing.T, r *rig) {
		w := newWorld(r)
		for _, row := range r.table() {
			if !row.Permission.signedIn() || row.ID == "downloadLog" || row.ID == "makeRecoveryKit" {
				continue
			}
			q, _ := w.person(row)
			a := w.must(q, nil)
			if row.ID == "logout" || row.ID == "changePassword" {
				w = w.again()
			}
			if len(a.body) == 0 {
				continue
			}
			var v any
			if err := json.Unmarshal(a.body, &v); err != nil {
				t.Fatalf("%s: %v", row.ID, err)
			}
			for _, key := range keysOf(v) {
				if secretKey(key) && !(row.ID == "createEnrollmentToken" && key == "token") && !(row.ID == "createAPIKey" && key == "secret") && !(row.ID == "revealRepository" && key == "password") && !(row.ID == "listAudit" && bytes.Contains(a.body, []byte(`"password":"changed"`))) {
					t.Errorf("%s answers a key %q: %.300s", row.ID, key, a.body)
				}
			}
		}
	})
	// And so for the answers that were not made above: the contract names every field of every answer.
	var doc struct {
		Components struct {
			Schemas map[string]struct{ Properties map[string]any }
		}
		Paths map[string]map[string]struct {
			Permission string `json:"x-permission"`
			Responses  map[string]json.RawMessage
		}
	}
	if err := json.Unmarshal(OpenAPI(), &doc); err != nil {
		t.Fatal(err)
	}
	for path, methods := range doc.Paths {
		for method, op := range methods {
			if op.Permission == string(Agent) {
				continue
			}
			seen := map[string]bool{}
			for _, response := range op.Responses {
				refsOf(response, seen, doc.Components.Schemas)
			}
			for schema := range seen {
				for key := range doc.Components.Schemas[schema].Properties {
					if secretKey(key) && !(schema == "EnrollmentSecret" && key == "token") && !(schema == "APIKeySecret" && key == "secret") && !(schema == "RepositorySecrets" && key == "password") {
						t.Errorf("%s %s answers a %s with a key %q", method, path, schema, key)
					}
				}
			}
		}
	}
}

// secretKey reports whether a key names a secret, or what a secret is known by; times and ids of such things may be
// told.
func secretKey(key string) bool {
	words := strings.Split(strings.ToLower(key), "_")
	if last := words[len(words)-1]; last == "at" || last == "id" {
		return false
	}
	return slices.ContainsFunc(words, func(w string) bool {
		return slices.Contains([]string{"hash", "secret", "secrets", "password", "passphrase", "bearer", "cookie", "token", "lease", "nonce", "private", "credential", "credentials"}, w)
	})
}

func keysOf(v any) (keys []string) {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			keys = append(append(keys, k), keysOf(e)...)
		}
	case []any:
		for _, e := range v {
			keys = append(keys, keysOf(e)...)
		}
	}
	return keys
}

// refsOf collects the schemas that a piece of the contract leads to.
func refsOf(raw json.RawMessage, seen map[string]bool, schemas map[string]struct{ Properties map[string]any }) {
	const at = `"#/components/schemas/`
	for s := string(raw); ; {
		i := strings.Index(s, at)
		if i < 0 {
			return
		}
		s = s[i+len(at):]
		name := s[:strings.IndexByte(s, '"')]
		if seen[name] {
			continue
		}
		seen[name] = true
		if deeper, err := json.Marshal(schemas[name].Properties); err == nil {
			refsOf(deeper, seen, schemas)
		}
	}
}
