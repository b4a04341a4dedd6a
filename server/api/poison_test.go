//go:build !race

package api

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"restic-manager/server/database"
	"restic-manager/shared/wire"
)

// poisons are JSON values, as they are written, that have broken servers.
var poisons = map[string]string{
	"NUL": `"a\u0000b"`, "only NUL": `"\u0000"`, "lone surrogate": `"\ud800"`, "surrogates the wrong way round": `"\udc00\ud800"`, "half a pair at the end": `"x\ud83d"`,
	"escape": `"\u001b[2J\u0007"`, "newline": `"a\r\nSet-Cookie: x=y"`, "C1": `"\u0085\u009b"`, "bidi": `"\u202ecod.exe"`, "zero width": `"\u200b\ufeff"`,
	"not UTF-8": "\"\xff\xfe\"", "overlong": "\"\xc0\x80\"", "raw control": "\"\x01\"", "raw NUL": "\"\x00\"", "emoji": `"\ud83d\ude00"`, "non-character": `"\uffff\ufffe"`,
	"SQL": `"'; DROP TABLE hosts; --"`, "percent": `"%00%n%s${x}{{7*7}}"`, "path": `"../../../../etc/passwd"`, "empty": `""`, "blank": `" "`, "backslashes": `"\\\\\\"`,
	"100 KB": `"` + strings.Repeat("x", 100_000) + `"`, "10 MB": `"` + strings.Repeat("x", 10_000_000) + `"`,
	"null": `null`, "object": `{}`, "array": `[]`, "true": `true`, "nested": strings.Repeat(`[`, 9000) + strings.Repeat(`]`, 9000),
	"largest": `9223372036854775807`, "smallest": `-9223372036854775808`, "larger": `99999999999999999999999`, "2^31": `2147483648`, "-1": `-1`, "0": `0`, "fraction": `0.5`,
	"1e308": `1e308`, "1e999": `1e999`, "-1e308": `-1e308`, "tiny": `5e-324`, "year 0": `"0000-01-01T00:00:00Z"`, "year 1": `"0001-01-01T00:00:00Z"`, "year 9999": `"9999-12-31T23:59:59Z"`,
	"hex": `"` + strings.Repeat("a", 64) + `"`, "uuid": `"` + nobody + `"`, "word": `"running"`,
}

const placeholder = `"\u0001poison"`

// mutations gives the value as JSON once for each of its leaves, that leaf replaced by the placeholder.
func mutations(t testing.TB, v any) map[string]string {
	t.Helper()
	var tree any
	if err := json.Unmarshal([]byte(toJSON(t, v)), &tree); err != nil {
		t.Fatal(err)
	}
	found := map[string]string{"": placeholder}
	var walk func(at string, v any, set func(any))
	walk = func(at string, v any, set func(any)) {
		set("\x01poison")
		found[at] = toJSON(t, tree)
		set(v)
		switch v := v.(type) {
		case map[string]any:
			for k, e := range v {
				walk(at+"."+k, e, func(n any) { v[k] = n })
			}
		case []any:
			for i, e := range v {
				walk(fmt.Sprint(at, ".", i), e, func(n any) { v[i] = n })
			}
		}
	}
	if m, ok := tree.(map[string]any); ok {
		for k, e := range m {
			walk(k, e, func(n any) { m[k] = n })
		}
	}
	return found
}

// poisonable is one call and a body that it takes.
type poisonable struct {
	request
	sample func() any
	// fresh has each body made anew: its numbers must go up.
	fresh bool
}

func (r *rig) poison(t *testing.T, calls map[string]poisonable) {
	t.Helper()
	n := 0
	for name, c := range calls {
		leaves := mutations(t, c.sample())
		for _, leaf := range slices.Sorted(maps.Keys(leaves)) {
			for _, kind := range slices.Sorted(maps.Keys(poisons)) {
				if kind == "10 MB" && n%50 != 0 && leaf != "" { // all alike: refused before anything is read
					continue
				}
				body := leaves[leaf]
				if c.fresh {
					body = mutations(t, c.sample())[leaf]
				}
				q := c.request
				q.body = strings.Replace(body, placeholder, poisons[kind], 1)
				a := r.call(q)
				if a.status >= 500 || a.status == 0 {
					t.Errorf("%s, %q is %s: got %d: %.200s", name, leaf, kind, a.status, a.body)
				}
				n++
			}
		}
	}
	if strings.Contains(r.words.String(), "panicked") {
		t.Error("a request panicked")
	}
	t.Logf("%d requests", n)
}

// What people send is stored or refused, and never breaks the server.
func TestPoisonedBodiesOfPeople(t *testing.T) {
	each(t, nil, func(t *testing.T, r *rig) {
		admin := r.signIn(adminName)
		host := r.enroll("alpha")
		host.hello()
		fixed := func(v any) func() any { return func() any { return v } }
		jobs := request{method: "POST", path: "/api/hosts/" + host.id + "/jobs", as: admin}
		id := sha("snapshot")
		calls := map[string]poisonable{
			"token":      {request: request{method: "POST", path: "/api/enrollment-tokens", as: admin}, sample: fixed(map[string]any{"name": "x", "labels": map[string]string{"a": "b"}, "expires_in_seconds": 5})},
			"host":       {request: request{method: "PATCH", path: "/api/hosts/" + host.id, as: admin}, sample: fixed(map[string]any{"name": "x", "labels": map[string]string{"a": "b"}})},
			"repository": {request: request{method: "PUT", path: "/api/hosts/" + host.id + "/repository", as: admin}, sample: fixed(map[string]any{"url": "/srv/r", "password": "x", "env": map[string]string{"AWS_REGION": "x"}})},
			"args":       {request: jobs, sample: fixed(map[string]any{"kind": "backup", "args": []string{"/a"}, "time_limit_seconds": 5, "ttl_seconds": 5})},
			"backup": {request: jobs, sample: fixed(map[string]any{"kind": "backup", "spec": wire.BackupSpec{Paths: []string{"/a"}, Excludes: []string{"x"}, Tags: []string{"t"},
				ExcludeCaches: true, OneFileSystem: true, DryRun: true, UploadLimitKiB: 1, ExcludeLargerThan: 1}})},
			"restore": {request: jobs, sample: fixed(map[string]any{"kind": "restore", "spec": wire.RestoreSpec{SnapshotID: id, Paths: []string{"/a"}, Target: "x", Verify: true}})},
			"check":   {request: jobs, sample: fixed(map[string]any{"kind": "check", "spec": wire.CheckSpec{ReadDataSubset: "1/2"}})},
			"prune":   {request: jobs, sample: fixed(map[string]any{"kind": "prune", "spec": map[string]any{"max_unused_percent": 3, "dry_run": true}})},
			"forget":  {request: jobs, sample: fixed(map[string]any{"kind": "forget", "spec": wire.ForgetSpec{SnapshotIDs: []string{id}, DryRun: true}})},
			"setup":   {request: request{method: "POST", path: "/api/setup"}, sample: fixed(map[string]any{"code": "x", "username": "u", "password": "p"})},
		}
		r.poison(t, calls)
		// The host is still there and can be shown.
		for _, path := range []string{"/api/hosts", "/api/hosts/" + host.id, "/api/jobs", "/api/audit", "/api/enrollment-tokens"} {
			r.must(request{method: "GET", path: path, as: admin}, nil)
		}
	})
}

// full is a hello with something everywhere.
func (a *agent) full() any {
	h := a.helloBody()
	h.Guard = wire.GuardReport{SHA256: sha("g"), Summary: "s", Broken: "b", Kinds: kinds()[:2]}
	h.Kinds = h.Kinds[:2]
	h.Jobs = []wire.JobReport{{ID: database.NewID(), Lease: hexOf(16), Phase: wire.PhaseRunning}}
	return h
}

// What agents send is stored or refused as well, and shown to people afterwards.
func TestPoisonedBodiesOfAgents(t *testing.T) {
	each(t, nil, func(t *testing.T, r *rig) {
		admin := r.signIn(adminName)
		a := r.enroll("alpha")
		a.hello()
		j := a.running(admin)
		zero := 0
		progress := int64(0)
		calls := map[string]poisonable{
			"enroll": {request: request{method: "POST", path: "/api/agents/enroll"}, sample: func() any {
				return wire.EnrollRequest{Token: wire.EnrollmentTokenPrefix + hexOf(32), AgentTokenSHA256: sha("x"), Hostname: "h", OS: "linux", Arch: "amd64", AgentVersion: "1", ResticVersion: "1", ProtocolVersion: 1}
			}},
			"hello":  {request: request{method: "POST", path: "/api/agents/hello", as: a.as}, sample: a.full, fresh: true},
			"accept": {request: j.request("accept", ""), sample: func() any { return wire.AcceptRequest{Lease: j.lease, Delivery: 1} }},
			"start":  {request: j.request("start", ""), sample: func() any { return wire.StartRequest{StartNonce: hexOf(16), RepositoryID: sha("r")} }},
			"resume": {request: j.request("resume", ""), sample: func() any { return wire.ResumeRequest{OldLease: hexOf(16), NewLease: hexOf(16)} }},
			"progress": {request: j.request("progress", ""), fresh: true, sample: func() any {
				progress++
				return wire.Progress{Seq: progress, ElapsedSeconds: 1, PercentDone: 0.5, TotalFiles: 1, FilesDone: 1, TotalBytes: 1, BytesDone: 1, ErrorCount: 1, CurrentFiles: []string{"/a"}, StalledSeconds: 1}
			}},
			"listing": {request: request{method: "POST", path: "/api/agents/listings", as: a.as}, sample: func() any { return wire.ListingRequest{JobID: j.id} }},
			"commit": {request: request{method: "POST", path: "/api/agents/listings/" + hexOf(16) + "/commit", as: a.as}, sample: func() any {
				return wire.CommitRequest{Parts: 1, Count: 1, SHA256: sha("x"), RepositoryID: sha("r")}
			}},
		}
		r.poison(t, calls)
		for _, c := range []string{"", "null", "{", "[]", `"x"`, "7", "{}{}", "\x00", "\xff", strings.Repeat("[", 100_000)} {
			for name, call := range calls {
				q := call.request
				q.bytes, q.body = []byte(c), ""
				if got := r.call(q); got.status >= 500 {
					t.Errorf("%s with %.20q: got %d: %s", name, c, got.status, got.body)
				}
			}
		}
		if err := r.fleet.Flush(t.Context()); err != nil {
			t.Errorf("what was batched cannot be written: %v", err)
		}
		for _, path := range []string{"/api/hosts", "/api/hosts/" + a.id, "/api/jobs", "/api/jobs/" + j.id} {
			r.must(request{method: "GET", path: path, as: admin}, nil)
		}
		a.boot, a.number = hexOf(16), maxBootNumber // newer than any that was taken
		a.hello()
		r.poison(t, map[string]poisonable{"finish": {request: j.request("finish", ""), sample: func() any {
			return wire.FinishRequest{State: wire.StateFailed, ExitCode: &zero, SignalSent: true, Error: &wire.JobError{Code: "usage", Message: "m"},
				Summary: &wire.Summary{SnapshotID: sha("s"), FilesNew: 1, DataAdded: 1, TotalBytesProcessed: 1, ResticSeconds: 1, RestoredTo: "/r", RepositoryID: sha("r")},
				Issues:  []wire.Issue{{Path: "/a", Message: "m"}}, IssuesDropped: 1, StartedAt: time.Now(), EndedAt: time.Now(), ElapsedSeconds: 1, LogLines: 1, LogSHA256: sha(""),
				Listing: &wire.Listing{Token: hexOf(16), RepositoryID: sha("r"), Snapshots: []json.RawMessage{[]byte(`{"id":"` + sha("s") + `","time":"2026-11-24T00:00:00Z","tree":"t","paths":["/a"],"hostname":"h"}`)}}}
		}}})
		for _, path := range []string{"/api/jobs", "/api/jobs/" + j.id, "/api/hosts/" + a.id + "/snapshots"} {
			r.must(request{method: "GET", path: path, as: admin}, nil)
		}
	})
}

func TestPoisonedLogsPartsAndQueries(t *testing.T) {
	each(t, nil, func(t *testing.T, r *rig) {
		admin := r.signIn(adminName)
		a := r.enroll("alpha")
		a.hello()
		j := a.running(admin)
		next, sum := int64(1), ""
		for kind, p := range poisons {
			if kind == "10 MB" {
				continue
			}
			for _, line := range []string{p, `{"t":"2026-11-24T00:00:00Z","s":"out","text":` + p + `}`, `{"t":` + p + `,"s":` + p + `,"text":"x"}`, `{"s":"out","b64":` + p + `}`} {
				line += "\n"
				q := wire.LogQuery{FirstLine: next, Lines: 1, SumBefore: sha(sum)}
				got := r.call(request{method: "POST", path: "/api/agents/jobs/" + j.id + "/log?" + q.Encode(), as: j.as, bytes: []byte(line)})
				if got.status >= 500 {
					t.Errorf("log, %s: got %d: %s", kind, got.status, got.body)
				}
				if got.status == 200 {
					next, sum = next+1, sum+line
				}
			}
		}
		if next < 100 {
			t.Errorf("only %d lines were taken", next-1)
		}
		r.must(request{method: "GET", path: "/api/jobs/" + j.id + "/log?limit=5000", as: admin}, nil)
		text := r.must(request{method: "GET", path: "/api/jobs/" + j.id + "/log.txt", as: admin}, nil)
		if strings.ContainsAny(string(text.body), "\x00\x1b\u202e") {
			t.Error("the download holds bytes that act")
		}
		for i, query := range []string{"", "first_line=x&lines=1", "first_line=0&lines=1", "first_line=-1&lines=1", "first_line=1&lines=-1", "first_line=9223372036854775807&lines=1&sum_before=" + sha(""),
			"first_line=99999999999999999999&lines=1", "first_line=1&lines=1", "first_line=1&lines=1&sum_before=%00", "first_line=1&lines=5&sum_before=" + sha(""), "first_line=1&lines=1&lines=2"} {
			got := r.call(request{method: "POST", path: "/api/agents/jobs/" + j.id + "/log?" + query, as: j.as, bytes: []byte("{}\n")})
			if got.status >= 500 || got.status == 200 && i < 9 && !strings.Contains(query, "sum_before="+sha("")) {
				t.Errorf("log?%s: got %d: %s", query, got.status, got.body)
			}
		}
		for _, query := range []string{"", "boot=", "boot=%00", "boot=%ff", "boot=" + strings.Repeat("x", 100), "boot=a&seq=x", "boot=a&seq=-1", "boot=a&seq=99999999999999999999", "boot=a&wait=61", "boot=a&wait=-1",
			"boot=a&jobs=x", "boot=a&jobs=" + nobody, "boot=a&jobs=" + nobody + ":x", "boot=a&jobs=" + strings.Repeat(nobody+":,", 1001), "boot=a&mark=%00", "boot=a&mark=%ff", "boot=a&config=%00",
			"boot=a&mark=" + strings.Repeat("m", 65), "boot=a&boot=b", "boot=a&free_long=1e9", "boot=a;b", "%zz"} {
			got := r.call(request{method: "GET", path: "/api/agents/next-command?" + query, as: a.as})
			if got.status < 400 || got.status >= 500 {
				t.Errorf("next-command?%s: got %d: %s", query, got.status, got.body)
			}
		}
		var l wire.ListingReply
		r.must(request{method: "POST", path: "/api/agents/listings", as: a.as, body: `{"job_id":"` + j.id + `"}`}, &l)
		for kind, p := range poisons {
			for _, part := range []string{p, `{"id":` + p + `}`, `{"id":"` + sha("s") + `","time":` + p + `,"paths":[` + p + `],"hostname":` + p + `,"tags":[` + p + `],"username":` + p + `,"summary":{"total_files_processed":` + p + `}}`} {
				got := r.call(request{method: "PUT", path: "/api/agents/listings/" + l.Token + "/parts/0", as: a.as, bytes: []byte(part + "\n")})
				if got.status >= 500 {
					t.Errorf("part, %s: got %d: %s", kind, got.status, got.body)
				}
				got = r.call(request{method: "POST", path: "/api/agents/listings/" + l.Token + "/commit", as: a.as,
					body: toJSON(t, wire.CommitRequest{Parts: 1, Count: 1, SHA256: sha(part + "\n"), RepositoryID: sha(a.id)})})
				if got.status >= 500 {
					t.Errorf("commit, %s: got %d: %s", kind, got.status, got.body)
				}
				if got.status == 200 {
					r.must(request{method: "GET", path: "/api/hosts/" + a.id + "/snapshots?all=true", as: admin}, nil)
					r.must(request{method: "POST", path: "/api/agents/listings", as: a.as, body: `{"job_id":"` + j.id + `"}`}, &l)
				}
			}
		}
		for _, path := range []string{"/parts/-1", "/parts/x", "/parts/99999999999", "/parts/1e3", "/parts/%00"} {
			if got := r.call(request{method: "PUT", path: "/api/agents/listings/" + l.Token + path, as: a.as, bytes: []byte("{}\n")}); got.status < 400 || got.status >= 500 {
				t.Errorf("%s: got %d", path, got.status)
			}
		}
		for name, h := range map[string]http.Header{"bearer": {"Authorization": {"Bearer rma_" + strings.Repeat("x", 5000)}}, "lease": {wire.HeaderLease: {"x"}}, "cookie": {"Cookie": {cookieNameInsecure + "=" + strings.Repeat("x", 5000)}}} {
			for _, path := range []string{"/api/agents/jobs/" + j.id + "/progress", "/api/auth/login"} {
				if name == "cookie" && path != "/api/auth/login" { // cookies mean nothing to agents
					continue
				}
				if got := r.call(request{method: "POST", path: path, as: j.as, header: h, body: `{}`}); got.status < 400 || got.status >= 500 {
					t.Errorf("%s on %s: got %d", name, path, got.status)
				}
			}
		}
		if strings.Contains(r.words.String(), "panicked") {
			t.Error("a request panicked")
		}
	})
}
