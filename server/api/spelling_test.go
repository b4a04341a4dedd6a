package api

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"restic-manager/server/access"
	"restic-manager/shared/wire"
)

// send writes a request as it stands, which Go's client would mend or refuse, and reads so many answers; fewer
// when the connection ends.
func (r *rig) send(raw string, answers int) (statuses []int, bodies []string) {
	r.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		r.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, raw); err != nil {
		r.t.Fatal(err)
	}
	b := bufio.NewReader(conn)
	for range answers {
		a, err := http.ReadResponse(b, nil)
		if err != nil {
			break
		}
		body, _ := io.ReadAll(a.Body) // cut is as good as an answer
		a.Body.Close()
		statuses, bodies = append(statuses, a.StatusCode), append(bodies, string(body))
	}
	return statuses, bodies
}

// lines are a principal's headers as they go over the wire.
func (p principal) lines() string {
	var b strings.Builder
	for name, values := range p {
		for _, v := range values {
			fmt.Fprintf(&b, "%s: %s\r\n", name, v)
		}
	}
	return b.String()
}

// spellings of a path that something in between might read as the path itself.
func spellings(path string) []string {
	last := strings.LastIndexByte(path, '/')
	head, tail := path[:last], path[last+1:]
	escaped := fmt.Sprintf("%%%02x%s", tail[0], tail[1:])
	if wire.IsUUID(tail) { // a letter of an id may be escaped: it stays the id
		escaped = "%2e/" + tail
	}
	return []string{
		"/api/%2e%2e" + path, "/api/.." + path, "/./" + path[1:], "/" + path, strings.ReplaceAll(path, "/", "//"), path + ";a=b", path + "%00", path + "/", path + "%2f", path + "/.",
		strings.ReplaceAll(path[1:], "/", "%2f"), "/API" + path[4:], "/Api" + path[4:], path + "%20", path + "%09", head + "/" + escaped, "/api/%c0%ae%c0%ae" + path, "/public/.." + path,
		"/api/%252e%252e" + path, strings.Replace(path, "/", "\\", 2), path + "%23x", path + ".json", path + "%3f", path + "/..;/" + tail, "/;" + path, "/api/agents/.." + path[4:],
		"/api/hosts/.." + path[4:], "/healthz/.." + path, "/metrics" + path, "/%2fapi" + path[4:], "/\u200bapi" + path[4:], "/ａpi" + path[4:],
	}
}

// However a path is spelled, whoever asks gets no more than the path written plainly gives: what is not the plain
// spelling is not there.
func TestNoSpellingOfAPathGetsAnotherAnswer(t *testing.T) {
	each(t, nil, func(t *testing.T, r *rig) {
		w := newWorld(r)
		viewer := r.operator("vera", access.Viewer)
		host := w.host()
		n := 0
		seen := map[string]bool{}
		for _, path := range []string{"/api/hosts", "/api/operators", "/api/agents/next-command", "/api/jobs/" + w.queued(host)} {
			for _, spelled := range spellings(path) {
				seen[spelled] = true
				for who, as := range map[string]principal{"nobody": nil, "viewer": viewer, "administrator": w.admin, "agent": host.as} {
					got, body := r.send("GET "+spelled+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"+as.lines()+"\r\n", 1)
					if len(got) != 1 || got[0] != 400 && got[0] != 404 && !(who != "administrator" && (got[0] == 401 || got[0] == 403)) {
						t.Errorf("%s, %s: got %v %.200q", who, spelled, got, body)
					}
					n++
				}
			}
		}
		t.Logf("%d spellings, %d requests", len(seen), n)
		if len(seen) < 60 {
			t.Errorf("%d spellings, want 60 and more", len(seen))
		}
	})
}

// A header or a length that is there twice has two meanings, so it has none.
func TestWhatIsThereTwiceIsRefused(t *testing.T) {
	each(t, nil, func(t *testing.T, r *rig) {
		w := newWorld(r)
		host := w.host()
		j := host.running(w.admin)
		cookie := w.admin["Cookie"][0]
		name, _, _ := strings.Cut(cookie, "=")
		order := "POST /api/hosts/" + host.id + "/jobs HTTP/1.1\r\nHost: x\r\nConnection: close\r\nCookie: " + cookie + "\r\n"
		progress := "POST /api/agents/jobs/" + j.id + "/progress HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: " + host.as["Authorization"][0] + "\r\n"
		protocol, lease := wire.HeaderProtocol+": 1\r\n", wire.HeaderLease+": "+j.lease+"\r\n"
		const kind, body = "Content-Type: application/json\r\n", `{"kind":"backup","args":["/a"]}`
		length := fmt.Sprintf("Content-Length: %d\r\n", len(body))
		for name, c := range map[string]struct {
			raw  string
			want []int
		}{
			"once":                       {order + kind + length + "\r\n" + body, []int{200, 201}},
			"once, agent":                {progress + protocol + lease + "Content-Length: 9\r\n\r\n{\"seq\":1}", []int{200}},
			"two content types":          {order + kind + "Content-Type: text/plain\r\n" + length + "\r\n" + body, []int{400}},
			"two encodings":              {order + kind + "Content-Encoding: identity\r\nContent-Encoding: gzip\r\n" + length + "\r\n" + body, []int{400}},
			"two keys":                   {order + kind + "Idempotency-Key: a\r\nIdempotency-Key: b\r\n" + length + "\r\n" + body, []int{400}},
			"two origins":                {order + kind + "Origin: http://x\r\nOrigin: https://evil.example\r\n" + length + "\r\n" + body, []int{400}},
			"two fetch sites":            {order + kind + "Sec-Fetch-Site: same-origin\r\nSec-Fetch-Site: cross-site\r\n" + length + "\r\n" + body, []int{400}},
			"two cookies":                {order + "Cookie: " + name + "=other\r\n" + kind + length + "\r\n" + body, []int{401}},
			"two cookies in one":         {strings.Replace(order, cookie, cookie+"; "+cookie, 1) + kind + length + "\r\n" + body, []int{401}},
			"two bearers":                {progress + "Authorization: Bearer rma_x\r\n" + protocol + lease + "Content-Length: 9\r\n\r\n{\"seq\":2}", []int{401}},
			"two leases":                 {progress + protocol + lease + wire.HeaderLease + ": " + hexOf(16) + "\r\nContent-Length: 9\r\n\r\n{\"seq\":2}", []int{400}},
			"two protocols":              {progress + protocol + wire.HeaderProtocol + ": 7\r\n" + lease + "Content-Length: 9\r\n\r\n{\"seq\":2}", []int{400}},
			"two hosts":                  {order + "Host: y\r\n" + kind + length + "\r\n" + body, []int{400}},
			"two lengths":                {order + kind + length + "Content-Length: 0\r\n\r\n" + body, []int{400}},
			"a length with a sign":       {order + kind + "Content-Length: +31\r\n\r\n" + body, []int{400}},
			"an unknown coding":          {order + kind + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", []int{501}},
			"two codings":                {order + kind + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", []int{400, 501}},
			"a folded header":            {order + kind + "X: a\r\n b\r\n" + length + "\r\n" + body, []int{200, 201}}, // obs-fold is one value
			"a header without a name":    {order + kind + ": x\r\n" + length + "\r\n" + body, []int{400}},
			"a space before the colon":   {order + kind + "Content-Length : 5\r\n" + length + "\r\n" + body, []int{400}},
			"a bare CR in a header":      {order + kind + "X: a\rContent-Length: 5\r\n" + length + "\r\n" + body, []int{400}},
			"a NUL in a header":          {order + kind + "X: a\x00\r\n" + length + "\r\n" + body, []int{400}},
			"a parameter twice":          {strings.Replace(order, " HTTP/", "?a=1&a=2 HTTP/", 1) + kind + length + "\r\n" + body, []int{400}},
			"a key twice":                {order + kind + "Content-Length: 33\r\n\r\n" + `{"kind":"backup","kind":"prune"} `, []int{400}},
			"a method in small letters":  {strings.Replace(order, "POST", "post", 1) + kind + length + "\r\n" + body, []int{405}},
			"another method in a header": {strings.Replace(order, "POST", "GET", 1) + "X-HTTP-Method-Override: POST\r\n" + kind + length + "\r\n" + body, []int{405}},
			"another path in a header":   {"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Original-URL: /api/hosts\r\nX-Rewrite-URL: /api/hosts\r\n\r\n", []int{200}},
		} {
			got, bodies := r.send(c.raw, 1)
			if len(got) != 1 || !slices.Contains(c.want, got[0]) {
				t.Errorf("%s: got %v, want %v: %.300q", name, got, c.want, bodies)
			}
			if name == "another path in a header" && bodies[0] != "ok\n" {
				t.Errorf("%s: got %q", name, bodies)
			}
		}
		// Both a length and a coding: the coding counts (RFC 9112, section 6.3), and what follows the body is a
		// request by itself, which has no right but its own.
		smuggled := "GET /api/operators HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
		raw := strings.Replace(order, "Connection: close\r\n", "", 1) + kind + fmt.Sprintf("Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n1f\r\n%s\r\n0\r\n\r\n", 8+len(body)+len(smuggled), body) + smuggled
		if got, _ := r.send(raw, 2); len(got) > 0 && got[0] != 200 && got[0] != 201 && got[0] != 400 || len(got) > 1 && got[1] != 401 {
			t.Errorf("a length and a coding: got %v, want the first alone, or 401 for the second", got)
		}
	})
}
