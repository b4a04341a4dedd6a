// Package web serves the built frontend: its files, its one page for every address that a person may open,
// and never an answer to what belongs to the API.
package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"

	"restic-manager/shared/wire"
)

// policy lets the page load its own files and nothing else. Styles may stand in the page: its components place
// and size what they draw by style attributes; scripts may not.
const policy = "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; " +
	"object-src 'none'; base-uri 'none'; frame-ancestors 'none'; form-action 'self'"

type file struct {
	content   []byte
	zipped    []byte // nil: it is sent as it is
	kind, tag string
	forever   bool // its name changes with its content
}

type handler struct {
	files map[string]file
}

// Handler serves the files of a built frontend; they are read once. One without index.html is an error.
func Handler(dist fs.FS) (http.Handler, error) {
	h := &handler{files: map[string]file{}}
	err := fs.WalkDir(dist, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := fs.ReadFile(dist, name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(content)
		kind := contentType(name, content)
		zipped, err := compress(kind, content)
		if err != nil {
			return err
		}
		h.files["/"+name] = file{
			content: content, zipped: zipped, kind: kind, tag: hex.EncodeToString(sum[:12]),
			forever: strings.HasPrefix(name, "assets/"),
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the frontend: %w", err)
	}
	if _, ok := h.files["/index.html"]; !ok {
		return nil, fmt.Errorf("read the frontend: there is no index.html")
	}
	return h, nil
}

// compress is the content as gzip, once for all who ask; nil where it is small or compressed already.
func compress(kind string, content []byte) ([]byte, error) {
	if len(content) < 1024 || strings.HasPrefix(kind, "font/") || strings.HasPrefix(kind, "image/png") {
		return nil, nil
	}
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(content); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// takesGzip reads Accept-Encoding (RFC 9110, 12.5.3); gzip;q=0 is a refusal.
func takesGzip(r *http.Request) bool {
	for _, part := range strings.Split(r.Header.Get("Accept-Encoding"), ",") {
		name, weight, _ := strings.Cut(strings.TrimSpace(part), ";")
		if name == "gzip" {
			q, err := strconv.ParseFloat(strings.TrimPrefix(strings.TrimSpace(weight), "q="), 64)
			return weight == "" || err == nil && q > 0
		}
	}
	return false
}

// contentType does not ask the machine's own tables for what browsers refuse to run under a wrong name.
func contentType(name string, content []byte) string {
	switch path.Ext(name) {
	case ".html":
		return "text/html; charset=utf-8"
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	case ".json":
		return "application/json"
	case ".woff2":
		return "font/woff2"
	}
	if t := mime.TypeByExtension(path.Ext(name)); t != "" {
		return t
	}
	return http.DetectContentType(content)
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	secure(w.Header(), r)
	p := r.URL.Path
	if p == "/api" || strings.HasPrefix(p, "/api/") {
		problem(w, http.StatusNotFound, "not_found", "There is no such call. The API is described at /api/openapi.json.")
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		problem(w, http.StatusMethodNotAllowed, "method_not_allowed", "Pages can only be read.")
		return
	}
	f, ok := h.files[p]
	switch {
	case ok:
	case isPage(r):
		f = h.files["/index.html"]
	default:
		w.Header().Set("Cache-Control", "no-store")
		http.Error(w, "There is nothing here.", http.StatusNotFound)
		return
	}
	f.serve(w, r)
}

// isPage reports whether a person may have opened this address: the page itself then knows what to show.
// A missing script or picture must not be answered with HTML.
func isPage(r *http.Request) bool {
	p := r.URL.Path
	return !strings.HasPrefix(p, "/assets/") && !strings.Contains(path.Base(p), ".") &&
		(p == "/" || strings.Contains(r.Header.Get("Accept"), "text/html") || r.Header.Get("Accept") == "" || r.Header.Get("Accept") == "*/*")
}

func (f file) serve(w http.ResponseWriter, r *http.Request) {
	head := w.Header()
	head.Set("Content-Type", f.kind)
	content, tag := f.content, f.tag
	if f.zipped != nil {
		head.Set("Vary", "Accept-Encoding")
		if takesGzip(r) {
			head.Set("Content-Encoding", "gzip")
			content, tag = f.zipped, tag+"-gzip"
		}
	}
	head.Set("ETag", `"`+tag+`"`)
	head.Set("Cache-Control", "no-cache")
	if f.forever {
		head.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
}

// secure sets the headers of OWASP ASVS 5.0, 3.4.
func secure(h http.Header, r *http.Request) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
	if r.TLS != nil {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
}

func problem(w http.ResponseWriter, status int, code, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(wire.Problem{Title: http.StatusText(status), Status: status, Code: code, Detail: detail}) // the client has gone
}
