package web

import (
	"compress/gzip"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"restic-manager/frontend"
	"restic-manager/shared/wire"
)

func testHandler(t *testing.T) http.Handler {
	t.Helper()
	h, err := Handler(fstest.MapFS{
		"index.html":         {Data: []byte("<p>the page</p>")},
		"assets/app-1a2b.js": {Data: []byte("let a = 1")},
		"robots.txt":         {Data: []byte("User-agent: *")},
	})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func ask(h http.Handler, method, path, accept string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	if accept != "" {
		r.Header.Set("Accept", accept)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

const browser = "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"

func TestEveryAddressOfAPersonIsThePageAndNothingElseIs(t *testing.T) {
	h := testHandler(t)
	for _, c := range []struct {
		path, accept, body string
		status             int
		cache              string
	}{
		{"/", browser, "<p>the page</p>", 200, "no-cache"},
		{"/hosts/019", browser, "<p>the page</p>", 200, "no-cache"},
		{"/apiary", browser, "<p>the page</p>", 200, "no-cache"},
		{"/assets/app-1a2b.js", "*/*", "let a = 1", 200, "public, max-age=31536000, immutable"},
		{"/robots.txt", "*/*", "User-agent: *", 200, "no-cache"},
		{"/assets/gone.js", browser, "There is nothing here.", 404, "no-store"},
		{"/assets/", browser, "There is nothing here.", 404, "no-store"},
		{"/favicon.ico", "image/avif,*/*", "There is nothing here.", 404, "no-store"},
		{"/hosts", "application/json", "There is nothing here.", 404, "no-store"},
		{"/assets/../index.html", browser, "There is nothing here.", 404, "no-store"},
	} {
		w := ask(h, "GET", c.path, c.accept)
		if w.Code != c.status || strings.TrimSpace(w.Body.String()) != c.body || w.Header().Get("Cache-Control") != c.cache {
			t.Errorf("%s: got %d %q %q, want %d %q %q", c.path, w.Code, w.Body, w.Header().Get("Cache-Control"), c.status, c.body, c.cache)
		}
	}
}

func TestTheAPIIsNeverAnsweredWithThePage(t *testing.T) {
	h := testHandler(t)
	for _, method := range []string{"GET", "POST", "HEAD"} {
		for _, path := range []string{"/api", "/api/", "/api/nothing", "/api/agents/nothing"} {
			w := ask(h, method, path, browser)
			var p wire.Problem
			err := json.Unmarshal(w.Body.Bytes(), &p)
			if w.Code != 404 || w.Header().Get("Content-Type") != wire.ProblemContentType || err != nil || p.Code != "not_found" {
				t.Errorf("%s %s: got %d %s %q", method, path, w.Code, w.Header().Get("Content-Type"), w.Body)
			}
		}
	}
}

func TestPagesAreOnlyRead(t *testing.T) {
	w := ask(testHandler(t), "POST", "/", browser)
	if w.Code != 405 || w.Header().Get("Allow") != "GET, HEAD" {
		t.Errorf("got %d, Allow %q; want 405 and GET, HEAD", w.Code, w.Header().Get("Allow"))
	}
}

func TestAKnownVersionIsNotSentAgain(t *testing.T) {
	h := testHandler(t)
	tag := ask(h, "GET", "/", browser).Header().Get("ETag")
	r := httptest.NewRequest("GET", "/hosts", nil)
	r.Header.Set("If-None-Match", tag)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != 304 || w.Body.Len() != 0 || tag == "" {
		t.Errorf("got %d with %d bytes for tag %q, want 304", w.Code, w.Body.Len(), tag)
	}
}

func TestEveryAnswerCarriesTheSecurityHeaders(t *testing.T) {
	h := testHandler(t)
	for _, path := range []string{"/", "/assets/app-1a2b.js", "/assets/gone.js", "/api/nothing"} {
		w := ask(h, "GET", path, browser)
		for name, want := range map[string]string{
			"Content-Security-Policy": "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'",
			"X-Content-Type-Options":  "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer", "Cross-Origin-Opener-Policy": "same-origin",
		} {
			if got := w.Header().Get(name); got != want {
				t.Errorf("%s %s: got %q, want %q", path, name, got, want)
			}
		}
		if got := w.Header().Get("Strict-Transport-Security"); got != "" {
			t.Errorf("%s over plain HTTP: got %q, want no promise of HTTPS", path, got)
		}
	}
	r := httptest.NewRequest("GET", "/", nil)
	r.TLS = &tls.ConnectionState{}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if got := w.Header().Get("Strict-Transport-Security"); got == "" {
		t.Error("no Strict-Transport-Security over HTTPS")
	}
}

// The policy forbids inline scripts and styles and foreign files: the page must need none.
func TestTheEmbeddedPageObeysItsOwnPolicy(t *testing.T) {
	h, err := Handler(frontend.Dist())
	if err != nil {
		t.Fatal(err)
	}
	page := ask(h, "GET", "/", browser).Body.String()
	for _, bad := range []string{"<script>", "<style", " style=", " onclick=", "javascript:", `src="http`, `href="http`} {
		if strings.Contains(page, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	for _, m := range regexp.MustCompile(`(?:src|href)="(/[^"]+\.[a-z]+)"`).FindAllStringSubmatch(page, -1) {
		if w := ask(h, "GET", m[1], "*/*"); w.Code != 200 {
			t.Errorf("the page needs %s: got %d", m[1], w.Code)
		}
	}
	for _, want := range []string{`lang="en"`, "width=device-width", "<title>", "/api/openapi.json"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}

func TestFilesAreSentCompressedToWhoTakesThem(t *testing.T) {
	long := strings.Repeat("let a = 1;\n", 1000)
	h, err := Handler(fstest.MapFS{"index.html": {Data: []byte("<p>the page</p>")}, "assets/app.js": {Data: []byte(long)}})
	if err != nil {
		t.Fatal(err)
	}
	tags := map[string]bool{}
	for accept, zipped := range map[string]bool{"": false, "gzip": true, "br, gzip;q=0.5": true, "gzip;q=0": false, "identity": false} {
		r := httptest.NewRequest("GET", "/assets/app.js", nil)
		r.Header.Set("Accept-Encoding", accept)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		body := w.Body.Bytes()
		if got := w.Header().Get("Content-Encoding") == "gzip"; got != zipped {
			t.Errorf("Accept-Encoding %q: gzip %t, want %t", accept, got, zipped)
		}
		if zipped {
			z, err := gzip.NewReader(w.Body)
			if err != nil {
				t.Fatal(err)
			}
			if body, err = io.ReadAll(z); err != nil {
				t.Fatal(err)
			}
		}
		if string(body) != long || w.Header().Get("Vary") != "Accept-Encoding" {
			t.Errorf("Accept-Encoding %q: %d bytes, Vary %q; want the file and Accept-Encoding", accept, len(body), w.Header().Get("Vary"))
		}
		tags[fmt.Sprint(zipped)+w.Header().Get("ETag")] = true
	}
	if len(tags) != 2 {
		t.Errorf("got the tags %v, want one for each encoding", tags)
	}
	if w := ask(h, "GET", "/", browser); w.Header().Get("Vary") != "" {
		t.Error("a file too small to compress varies")
	}
}

func TestAFrontendWithoutAPageIsRefused(t *testing.T) {
	if _, err := Handler(fstest.MapFS{"assets/a.js": {Data: []byte("1")}}); err == nil {
		t.Error("got no error")
	}
}
