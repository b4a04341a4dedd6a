package api

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"restic-manager/shared/wire"
)

// FuzzAuthHeader: one header of one form gives a token, word for word; anything else gives none.
func FuzzAuthHeader(f *testing.F) {
	for _, s := range []string{"Bearer rma_x", "bearer  x", "Bearer", "Bearer ", "Basic eDp4", "Bearer a b", "\tBearer x", "Bearer\tx", "BEARER x", ""} {
		f.Add(s, false)
	}
	f.Add("Bearer rma_x", true)
	f.Fuzz(func(t *testing.T, header string, twice bool) {
		r := &http.Request{Header: http.Header{"Authorization": {header}}}
		if twice {
			r.Header.Add("Authorization", header)
		}
		token, ok := bearer(r)
		scheme, rest, _ := strings.Cut(header, " ")
		if want := !twice && strings.EqualFold(scheme, "bearer") && rest != ""; ok != want || ok && token != rest {
			t.Errorf("%q, twice %t: got %q, %t, want %t", header, twice, token, ok, want)
		}
	})
}

// FuzzAgentBodies gives the real handlers of enrollment, hello, finish and accept any body: nothing is the server's
// own failure, and each refusal has its code.
func FuzzAgentBodies(f *testing.F) {
	r := newRig(f, "sqlite", nil)
	if err := r.access.EnsureAdmin(f.Context(), adminName, goodSecret); err != nil {
		f.Fatal(err)
	}
	a := r.enroll("alpha")
	a.hello()
	j := a.running(r.signIn(adminName))
	paths := []string{"/api/agents/enroll", "/api/agents/hello", "/api/agents/jobs/" + j.id + "/finish", "/api/agents/jobs/" + j.id + "/accept", "/api/agents/jobs/" + j.id + "/resume",
		"/api/agents/jobs/" + j.id + "/progress", "/api/agents/listings"}
	for i := range paths {
		for _, s := range []string{"", "null", "{}", "[]", `{"token":"rme_x","agent_token_sha256":"` + strings.Repeat("ab", 32) + `","protocol_version":1,"hostname":"\u0000"}`, `{"protocol_version":-1}`,
			`{"boot_id":"b","boot_number":9223372036854775807,"seq":-1,"now":"2026-11-24T00:00:00Z","protocol_version":1}`, `{"state":"failed","error":{"code":"\u0000","message":"\ud800"}}`,
			`{"lease":"` + strings.Repeat("ab", 16) + `","delivery":-1}`, `{"percent_done":1e308,"seq":-5,"current_files":["\u0000"]}`, `{"state":"running","listing":{"token":"x","snapshots":[null,1]}}`, "{\"a\":\"\xff\"}"} {
			f.Add(uint8(i), []byte(s))
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, body []byte) {
		path := paths[int(which)%len(paths)]
		q := httptest.NewRequest("POST", path, bytes.NewReader(body))
		for k, v := range j.as {
			q.Header[k] = v
		}
		q.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		r.ServeHTTP(w, q)
		var p wire.Problem
		if w.Code >= 500 || w.Code >= 400 && (json.Unmarshal(w.Body.Bytes(), &p) != nil || p.Code == "") {
			t.Errorf("%s %q: got %d %s", path, body, w.Code, w.Body)
		}
	})
}
