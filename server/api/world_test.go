package api

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"restic-manager/server/access"
	"restic-manager/server/database"
	"restic-manager/shared/wire"
)

// world makes one of everything, anew each time it is asked, so that every row of the table has a call that
// succeeds and a thing that the call is about.
type world struct {
	*rig
	admin principal
	me    string // the administrator's id
	n     int    // names things
}

func newWorld(r *rig) *world {
	w := &world{rig: r, admin: r.signIn(adminName)}
	var me Me
	r.must(request{method: "GET", path: "/api/auth/me", as: w.admin}, &me)
	w.me = me.ID
	return w
}

func (w *world) name(noun string) string {
	w.n++
	return fmt.Sprintf("%s-%d", noun, w.n)
}

// host is enrolled and has said hello.
func (w *world) host() *agent {
	w.t.Helper()
	a := w.enroll(w.name("host"))
	a.hello()
	return a
}

func (w *world) revoked() string {
	w.t.Helper()
	a := w.host()
	w.must(request{method: "POST", path: "/api/hosts/" + a.id + "/revoke", as: w.admin}, nil)
	return a.id
}

func (w *world) queued(a *agent) string {
	w.t.Helper()
	var j struct{ ID string }
	w.must(request{method: "POST", path: "/api/hosts/" + a.id + "/jobs", as: w.admin, body: wellFormed["createJob"]}, &j)
	return j.ID
}

func (w *world) canceled() string {
	w.t.Helper()
	id := w.queued(w.host())
	w.must(request{method: "POST", path: "/api/jobs/" + id + "/cancel", as: w.admin}, nil)
	return id
}

// account is an operator who can sign in under name.
func (w *world) account(role access.Role) (id, name string) {
	w.t.Helper()
	name = w.name("account")
	o, err := w.access.CreateOperator(w.t.Context(), database.System, access.NewOperator{Username: name, Password: goodSecret, Role: role})
	if err != nil {
		w.t.Fatal(err)
	}
	return o.ID, name
}

// session is one more sign-in of whoever that is.
func (w *world) session(name string) string {
	w.t.Helper()
	var me Me
	w.must(request{method: "GET", path: "/api/auth/me", as: w.signIn(name)}, &me)
	return me.SessionID
}

func (w *world) token() string {
	w.t.Helper()
	var t EnrollmentSecret
	w.must(request{method: "POST", path: "/api/enrollment-tokens", as: w.admin, body: `{}`}, &t)
	return t.ID
}

func (w *world) repository() string {
	w.t.Helper()
	var o struct{ ID string }
	w.must(request{method: "POST", path: "/api/repositories", as: w.admin, body: fmt.Sprintf(`{"name":%q,"url":"/srv/backup/{host}"}`, w.name("repository"))}, &o)
	return o.ID
}

// shared is a repository that is one for all hosts.
func (w *world) shared() string {
	w.t.Helper()
	var o struct{ ID string }
	w.must(request{method: "POST", path: "/api/repositories", as: w.admin, body: fmt.Sprintf(`{"name":%q,"url":"/srv/backup"}`, w.name("repository"))}, &o)
	return o.ID
}

// policyBody is a policy for one host that is not there.
func policyBody(name string) string {
	return `{"name":"` + name + `","spec":{"hosts":{"ids":["` + nobody + `"]},"backup":{"paths":["/a"]},"schedule":{"cron":"30 2 * * *","zone":"UTC"}}}`
}

// policy is at its first version.
func (w *world) policy() string {
	w.t.Helper()
	var p struct{ ID string }
	w.must(request{method: "POST", path: "/api/policies", as: w.admin, body: policyBody(w.name("policy"))}, &p)
	return p.ID
}

// due is a policy for the host that is due every minute, and the due time that has just come.
func (w *world) due(a *agent) (policyID string, due time.Time) {
	w.t.Helper()
	var p struct{ ID string }
	body := strings.Replace(strings.Replace(policyBody(w.name("minutely")), nobody, a.id, 1), "30 2 * * *", "* * * * *", 1)
	w.must(request{method: "POST", path: "/api/policies", as: w.admin, body: body}, &p)
	w.clock.turn(time.Minute)
	return p.ID, w.clock.now().UTC().Truncate(time.Minute)
}

// maintained is a repository with a host that maintains it, and restic's id of what is there.
func (w *world) maintained() (id, content string) {
	w.t.Helper()
	id, content = w.repository(), sha(w.name("content"))
	w.must(request{method: "PATCH", path: "/api/repositories/" + id, as: w.admin, body: fmt.Sprintf(`{"runner_id":%q}`, w.host().id)}, nil)
	w.write(func(tx *database.Tx) error {
		if err := tx.Exec("INSERT INTO repositories (id, created_at, refreshed_at) VALUES (?, ?, ?)", content, tx.Now, tx.Now).Error; err != nil {
			return err
		}
		return tx.Exec("INSERT INTO repository_maintenance (repository_id, setting_id) VALUES (?, ?)", content, id).Error
	})
	return id, content
}

// removal waits for a person's yes, of the one snapshot more than its policy keeps.
func (w *world) removal() string {
	w.t.Helper()
	_, content := w.maintained()
	var p struct{ ID string }
	body := strings.Replace(policyBody(w.name("policy")), `"spec":{`, `"spec":{"keep":{"last":1},`, 1)
	w.must(request{method: "POST", path: "/api/policies", as: w.admin, body: body}, &p)
	host, policy, id := w.host().id, p.ID, database.NewID()
	old := sha(w.name("snapshot"))
	w.write(func(tx *database.Tx) (err error) {
		for i, snapshot := range []string{old, sha(w.name("snapshot"))} {
			at := tx.Now.Add(time.Duration(i-2) * time.Hour)
			err = errors.Join(err, tx.Exec(`INSERT INTO snapshots (repository_id, id, time, hostname, username, paths, tags, excludes, parent, tree, original, program_version,
				size_bytes, file_count, data_added, summary) VALUES (?, ?, ?, 'machine', '', '[]', '[]', '[]', '', '', '', '', 0, 0, 0, '')`, content, snapshot, at).Error,
				tx.Exec(`INSERT INTO jobs (id, host_id, kind, lane, hold, state, spec, created_by, time_limit_seconds, queued_at, expires_at, started_at, ended_at, policy_id,
					repository_id, snapshot_id) VALUES (?, ?, 'backup', 'long', 'shared', 'succeeded', '{}', 'x', 60, ?, ?, ?, ?, ?, ?, ?)`,
					database.NewIDAt(at), host, at, at, at, at, policy, content, snapshot).Error)
		}
		return errors.Join(err, tx.Exec("INSERT INTO removals (id, repository_id, made_at, snapshot_ids, id_count, total, state) VALUES (?, ?, ?, ?, 1, 2, 'waiting')",
			id, content, tx.Now, `["`+old+`"]`).Error)
	})
	return id
}

func (w *world) write(do func(tx *database.Tx) error) {
	w.t.Helper()
	if err := w.db.Write(w.t.Context(), do); err != nil {
		w.t.Fatal(err)
	}
}

// listing is a token that the agent drew, and its job.
func (w *world) listing(j *running) string {
	w.t.Helper()
	var l wire.ListingReply
	w.must(request{method: "POST", path: "/api/agents/listings", as: j.a.as, body: toJSON(w.t, wire.ListingRequest{JobID: j.id})}, &l)
	return l.Token
}

// person gives a call of people that succeeds, as the administrator. id is what it is about.
func (w *world) person(row *Route) (q request, id string) {
	w.t.Helper()
	q = request{method: row.Method, path: row.Path, as: w.admin, body: wellFormed[row.ID]}
	switch row.ID {
	case "deleteSession":
		id = w.session(adminName)
	case "getOperator", "updateOperator", "deleteOperator":
		id, _ = w.account(access.Viewer)
	case "createOperator":
		q.body = fmt.Sprintf(`{"username":%q,"password":"another fine long secret","role":"viewer"}`, w.name("account"))
	case "deleteEnrollmentToken", "getEnrollmentToken":
		id = w.token()
	case "getPolicy", "putPolicy", "deletePolicy", "listPolicyVersions", "listPolicyHosts", "runPolicy":
		id = w.policy()
		if row.ID == "putPolicy" {
			q.body = strings.Replace(policyBody(w.name("renamed")), `{`, `{"enabled":true,"version":1,`, 1)
		}
	case "createPolicy":
		q.body = policyBody(w.name("policy"))
	case "getHost", "listHostPolicies", "updateHost", "revokeHost", "clearCloneAlarm", "putRepository", "listSnapshots", "getCalendar", "createJob":
		id = w.host().id
	case "createRepository":
		q.body = fmt.Sprintf(`{"name":%q,"url":"rest:https://backup.example/{host}"}`, w.name("repository"))
	case "getRepository", "updateRepository", "forgetRepository", "listRepositoryHosts", "getRepositoryGrowth", "revealRepository", "makeRecoveryKit":
		id = w.repository()
	case "deleteAPIKey":
		var k struct{ ID string }
		w.must(request{method: "POST", path: "/api/api-keys", as: w.admin, body: wellFormed["createAPIKey"]}, &k)
		id = k.ID
	case "listRemovals", "adoptSnapshots", "unfreezeRepository", "maintainRepository":
		var content string
		id, content = w.maintained()
		if q.body != "" {
			q.body = strings.Replace(q.body, sha("r"), content, 1)
		}
	case "approveRemoval", "refuseRemoval":
		id = w.removal()
	case "previewRetention":
		q.body = strings.Replace(q.body, nobody, w.host().id, 1)
	case "testRepository":
		id = w.repository()
		q.body = fmt.Sprintf(`{"host_id":%q}`, w.host().id)
	case "rotateRepository":
		id = w.shared()
		q.body = fmt.Sprintf(`{"host_id":%q}`, w.host().id)
	case "giveUpRotation":
		id = w.shared()
		var o struct {
			Rotation struct {
				JobID string `json:"job_id"`
			}
		}
		w.must(request{method: "POST", path: "/api/repositories/" + id + "/rotate", as: w.admin, body: fmt.Sprintf(`{"host_id":%q}`, w.host().id)}, &o)
		w.must(request{method: "POST", path: "/api/jobs/" + o.Rotation.JobID + "/cancel", as: w.admin}, nil)
	case "deleteRepository":
		id = w.host().id
		w.must(request{method: "PUT", path: "/api/hosts/" + id + "/repository", as: w.admin, body: wellFormed["putRepository"]}, nil)
	case "getSnapshot":
		a := w.host()
		id = a.id
		token := w.listing(a.running(w.admin))
		w.must(request{method: "PUT", path: "/api/agents/listings/" + token + "/parts/0", as: a.as, bytes: []byte(listed)}, nil)
		w.must(request{method: "POST", path: "/api/agents/listings/" + token + "/commit", as: a.as,
			body: toJSON(w.t, wire.CommitRequest{Parts: 1, Count: 1, SHA256: sha(listed), RepositoryID: sha(a.id)})}, nil)
		q.path = strings.Replace(q.path, "{snapshot}", sha("s")[:8], 1)
	case "deleteHost":
		id = w.revoked()
	case "getJob", "cancelJob", "readLog", "downloadLog":
		id = w.queued(w.host())
	case "retryJob":
		id = w.canceled()
	}
	q.path = strings.Replace(q.path, "{id}", id, 1)
	return q, id
}

// ofAgent gives a call of an agent that succeeds, and the id or listing token that it is about.
func (w *world) ofAgent(row *Route) (q request, id string) {
	w.t.Helper()
	a := w.host()
	q = request{method: row.Method, path: row.Path, as: a.as, body: wellFormed[row.ID]}
	switch row.ID {
	case "hello":
		q.body = toJSON(w.t, a.helloBody())
	case "nextCommand":
		q.path = a.pollPath(0)
	case "acceptJob":
		id = w.queued(a)
		w.must(request{method: "GET", path: a.pollPath(0), as: a.as}, nil)
	case "startJob":
		j := a.accepted(w.admin)
		q.as, id = j.as, j.id
	case "recordTicks":
		p, due := w.due(a)
		id = p
		q.body = toJSON(w.t, wire.TicksRequest{Ticks: []wire.Tick{{PolicyID: p, DueAt: due}}})
	case "adoptJob":
		p, due := w.due(a)
		id = wire.TickJobID(p, a.id, due)
		lease := hexOf(16)
		q.as = principal(maps.Clone(map[string][]string(a.as)))
		q.as[wire.HeaderLease] = []string{lease}
		q.body = toJSON(w.t, wire.AdoptRequest{PolicyID: p, PolicyVersion: 1, DueAt: due, Kind: wire.KindBackup, Spec: []byte(`{"paths":["/a"]}`),
			StartNonce: hexOf(16), Repository: wire.RepositoryLocal, TimeLimitSeconds: 3600, StartedAt: due})
	case "resumeJob":
		j := a.running(w.admin)
		q.as, id = j.as, j.id
		q.body = toJSON(w.t, wire.ResumeRequest{OldLease: j.lease, NewLease: hexOf(16)})
	case "appendLog", "reportProgress", "finishJob":
		j := a.running(w.admin)
		q.as, id = j.as, j.id
		if row.ID == "appendLog" {
			q.path += "?" + wire.LogQuery{FirstLine: 1, Lines: 1, SumBefore: sha("")}.Encode()
			q.bytes = records(1)
		}
	case "beginListing":
		j := a.running(w.admin)
		id = j.id
		q.body = toJSON(w.t, wire.ListingRequest{JobID: id})
	case "putListingPart", "commitListing":
		id = w.listing(a.running(w.admin))
		if row.ID == "putListingPart" {
			q.path, q.bytes = strings.Replace(q.path, "{n}", "0", 1), []byte(listed)
		} else {
			w.must(request{method: "PUT", path: "/api/agents/listings/" + id + "/parts/0", as: a.as, bytes: []byte(listed)}, nil)
			q.body = toJSON(w.t, wire.CommitRequest{Parts: 1, Count: 1, SHA256: sha(listed), RepositoryID: sha(a.id)})
		}
	}
	q.path = strings.NewReplacer("{id}", id, "{token}", id).Replace(q.path)
	return q, id
}

// listed is a part of a listing.
var listed = `{"id":"` + sha("s") + `","time":"2026-11-24T00:00:00Z","tree":"` + sha("t") + `","paths":["/a"],"hostname":"h"}` + "\n"

// dump is every row of every table but those left out, as text, in one order.
func (r *rig) dump(t testing.TB, leaveOut ...string) map[string][]string {
	t.Helper()
	query := "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
	if r.db.Postgres() {
		query = "SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema() AND table_type = 'BASE TABLE'"
	}
	db := r.db.Read(context.Background())
	var tables []string
	if err := db.Raw(query).Scan(&tables).Error; err != nil {
		t.Fatal(err)
	}
	if len(tables) < 15 {
		t.Fatalf("only %d tables were found: %v", len(tables), tables)
	}
	all := map[string][]string{}
	for _, table := range tables {
		if slices.Contains(leaveOut, table) {
			continue
		}
		var rows []map[string]any
		if err := db.Table(table).Find(&rows).Error; err != nil {
			t.Fatal(err)
		}
		for _, row := range rows {
			var b strings.Builder
			for _, column := range slices.Sorted(maps.Keys(row)) {
				fmt.Fprintf(&b, "%s=%v ", column, row[column])
			}
			all[table] = append(all[table], b.String())
		}
		slices.Sort(all[table])
	}
	return all
}

// changed names what differs between two dumps.
func changed(before, after map[string][]string) (words []string) {
	for _, table := range slices.Sorted(maps.Keys(after)) {
		for _, row := range after[table] {
			if !slices.Contains(before[table], row) {
				words = append(words, table+": now "+row)
			}
		}
	}
	for table, rows := range before {
		for _, row := range rows {
			if !slices.Contains(after[table], row) {
				words = append(words, table+": was "+row)
			}
		}
	}
	return words
}
