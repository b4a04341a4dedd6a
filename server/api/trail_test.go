package api

import (
	"slices"
	"strings"
	"testing"
	"time"

	"restic-manager/server/access"
	"restic-manager/server/database"
	"restic-manager/server/fleet"
)

// changing is a call that changes something: the row it leaves in the audit trail, and the topics it tells.
type changing struct {
	operation string
	as        principal
	path      string // "" is the row's own
	body      string
	action    string
	target    string
	topics    []string
}

// Every row of the table that changes something is here, or is named with a reason.
func TestEveryChangeHasItsAuditRowAndTellsItsTopics(t *testing.T) {
	each(t, nil, func(t *testing.T, r *rig) {
		admin := r.signIn(adminName)
		rows := map[string]*Route{}
		for _, row := range r.table() {
			if (row.hasBody() || row.Method == del) && !strings.HasPrefix(row.Path, "/api/agents/") {
				rows[row.ID] = row
			}
		}
		delete(rows, "setup") // there is an operator already; access tests it
		delete(rows, "previewSchedule")
		delete(rows, "planPolicy") // both only say what would be
		policy := newWorld(r).policy()
		host, job := r.prepared(admin)
		guest := r.operator("gil", access.Viewer)
		var sessions struct{ Sessions []access.Session }
		r.signIn("gil")
		r.must(request{method: get, path: "/api/sessions", as: guest}, &sessions)
		var me struct {
			ID        string
			SessionID string `json:"session_id"`
		}
		r.must(request{method: get, path: "/api/auth/me", as: guest}, &me)
		other := slices.IndexFunc(sessions.Sessions, func(s access.Session) bool { return s.ID != me.SessionID })
		var token EnrollmentSecret
		r.must(request{method: post, path: "/api/enrollment-tokens", as: admin, body: `{}`}, &token)
		aHost := []string{"hosts", "host:" + host, "audit"}
		aJob := []string{"jobs", "job:" + job, "host:" + host, "audit"}
		for _, c := range []changing{
			{"login", nil, "", `{"username":"gil","password":"` + goodSecret + `"}`, "session.create", "session:", []string{"audit"}},
			{"deleteSession", guest, "/api/sessions/" + sessions.Sessions[other].ID, "", "session.revoke", "session:" + sessions.Sessions[other].ID, []string{"audit"}},
			{"changePassword", guest, "", `{"current":"` + goodSecret + `","new":"lantern gravel heron"}`, "password.change", "operator:" + me.ID, []string{"audit"}},
			{"logout", guest, "", "", "session.end", "session:" + me.SessionID, []string{"audit"}},
			{"createOperator", admin, "", `{"username":"ivy","password":"` + goodSecret + `","role":"viewer"}`, "operator.create", "operator:", []string{"audit"}},
			{"updateOperator", admin, "/api/operators/" + me.ID, `{"role":"operator"}`, "operator.update", "operator:" + me.ID, []string{"audit"}},
			{"deleteOperator", admin, "/api/operators/" + me.ID, "", "operator.delete", "operator:" + me.ID, []string{"audit"}},
			{"createEnrollmentToken", admin, "", `{"name":"x"}`, "enrollment_token.create", "enrollment_token:", []string{"audit", "enrollment-tokens"}},
			{"deleteEnrollmentToken", admin, "/api/enrollment-tokens/" + token.ID, "", "enrollment_token.delete", "enrollment_token:" + token.ID, []string{"audit", "enrollment-tokens"}},
			{"createPolicy", admin, "", policyBody("nightly"), "policy.create", "policy:", []string{"policies", "audit"}},
			{"runPolicy", admin, "/api/policies/" + policy + "/run", `{}`, "policy.run", "policy:" + policy, []string{"audit"}},
			{"putPolicy", admin, "/api/policies/" + policy, strings.Replace(policyBody("weekly"), `{`, `{"enabled":false,"version":1,`, 1), "policy.update", "policy:" + policy, []string{"policies", "audit"}},
			{"deletePolicy", admin, "/api/policies/" + policy, "", "policy.delete", "policy:" + policy, []string{"policies", "audit"}},
			{"updateHost", admin, "/api/hosts/" + host, `{"labels":{"a":"b"}}`, "host.update", "host:" + host, aHost},
			{"clearCloneAlarm", admin, "/api/hosts/" + host + "/clone-alarm/clear", "", "host.clear_clone_alarm", "host:" + host, aHost},
			{"putRepository", admin, "/api/hosts/" + host + "/repository", `{"url":"/r","password":"x"}`, "repository.put", "host:" + host, append([]string{"snapshots:" + host}, aHost...)},
			{"deleteRepository", admin, "/api/hosts/" + host + "/repository", "", "repository.delete", "host:" + host, aHost},
			{"cancelJob", admin, "/api/jobs/" + job + "/cancel", "", "job.cancel", "job:" + job, aJob},
			{"createJob", admin, "/api/hosts/" + host + "/jobs", `{"kind":"check"}`, "job.create", "job:", []string{"jobs", "host:" + host, "audit"}},
			{"retryJob", admin, "/api/jobs/" + job + "/retry", "", "job.create", "job:", []string{"jobs", "host:" + host, "audit"}},
			{"revokeHost", admin, "/api/hosts/" + host + "/revoke", "", "host.revoke", "host:" + host, append([]string{"jobs"}, aHost...)},
			{"deleteHost", admin, "/api/hosts/" + host, "", "host.delete", "host:" + host, append([]string{"jobs"}, aHost...)},
		} {
			row := rows[c.operation]
			if row == nil {
				t.Errorf("%s changes nothing, or is here twice", c.operation)
				continue
			}
			delete(rows, c.operation)
			r.changes(row, c)
		}
		for _, id := range looks {
			delete(rows, id)
		}
		w := newWorld(r)
		for id, c := range changesOfTheWorld {
			q, _ := w.person(rows[id])
			c.operation, c.as, c.path, c.body = id, q.as, q.path, q.body
			r.changes(rows[id], c)
			delete(rows, id)
		}
		for id := range rows {
			t.Errorf("%s changes something, and no test looks for its audit row", id)
		}
	})
}

// looks are calls with a body that write nothing.
var looks = []string{"planPolicy", "importPolicies", "planRepository", "previewSchedule", "previewRetention"}

// changesOfTheWorld are calls that the world makes up.
var changesOfTheWorld = map[string]changing{
	"createAPIKey": {action: "api_key.create", target: "api_key:"}, "deleteAPIKey": {action: "api_key.delete", target: "api_key:"},
	"createRepository": {action: "repository.create", target: "repository:", topics: []string{"repositories"}},
	"updateRepository": {action: "repository.update", target: "repository:", topics: []string{"repositories"}},
	"forgetRepository": {action: "repository.delete", target: "repository:", topics: []string{"repositories"}},
	"revealRepository": {action: "repository.reveal", target: "repository:"}, "makeRecoveryKit": {action: "repository.kit", target: "repository:"},
	"rotateRepository":   {action: "repository.rotate", target: "repository:", topics: []string{"repositories", "jobs"}},
	"giveUpRotation":     {action: "repository.rotate_give_up", target: "repository:", topics: []string{"repositories"}},
	"testRepository":     {action: "job.create", target: "job:", topics: []string{"jobs"}},
	"maintainRepository": {action: "job.create", target: "job:", topics: []string{"jobs"}},
	"adoptSnapshots":     {action: "retention.adopt", target: "repository:", topics: []string{"repositories"}},
	"unfreezeRepository": {action: "retention.unfreeze", target: "repository:", topics: []string{"repositories"}},
	"approveRemoval":     {action: "removal.approve", target: "removal:", topics: []string{"repositories", "jobs"}},
	"refuseRemoval":      {action: "removal.refuse", target: "removal:", topics: []string{"repositories"}},
}

// prepared is a host with a clone alarm, a list of snapshots and a queued job.
func (r *rig) prepared(admin principal) (host, job string) {
	r.t.Helper()
	a := r.enroll("alpha")
	a.hello()
	err := r.db.Write(r.t.Context(), func(tx *database.Tx) error {
		return tx.Exec("UPDATE hosts SET clone_alarm_at = ?, clone_alarm = 'two' WHERE id = ?", tx.Now, a.id).Error
	})
	if err != nil {
		r.t.Fatal(err)
	}
	var j fleet.Job
	r.must(request{method: post, path: "/api/hosts/" + a.id + "/jobs", as: admin, body: `{"kind":"backup","args":["/etc"]}`}, &j)
	return a.id, j.ID
}

// changes makes the call, and looks for what it must leave behind.
func (r *rig) changes(row *Route, c changing) {
	r.t.Helper()
	r.clock.turn(10 * time.Second) // what was told before is not repeated
	before := r.trail()
	feed, err := r.fleet.Changes(r.t.Context(), "", 0)
	if err != nil {
		r.t.Fatal(err)
	}
	q := request{method: row.Method, path: row.Path, as: c.as, body: c.body}
	if c.path != "" {
		q.path = c.path
	}
	r.must(q, nil)
	entries := r.trail()
	entries = entries[:len(entries)-len(before)]
	rows := 1
	if c.operation == "approveRemoval" || c.operation == "rotateRepository" {
		rows = 2 // the job's too
	}
	if len(entries) != rows || entries[0].Action != c.action || !strings.HasPrefix(entries[0].Target, c.target) || entries[0].Actor.Kind != "operator" {
		r.t.Errorf("%s left %+v in the audit trail, want one %s of %s", c.operation, entries, c.action, c.target)
	}
	page, err := r.fleet.Changes(r.t.Context(), feed.Next, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, topic := range c.topics {
		if !slices.Contains(page.Topics, topic) {
			r.t.Errorf("%s told of %v, want %s among them", c.operation, page.Topics, topic)
		}
	}
}

func (r *rig) trail() []access.AuditEntry {
	r.t.Helper()
	entries, _, err := r.access.Audit(r.t.Context(), access.AuditFilter{}, access.Page{Limit: 1000})
	if err != nil {
		r.t.Fatal(err)
	}
	return entries
}
