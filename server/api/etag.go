package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"
)

// tagged reports whether the row's answers carry an ETag: what people read and may ask for again. What waits, or is
// streamed, has none.
func (r *Route) tagged() bool {
	return r.Method == http.MethodGet && strings.HasPrefix(r.Path, "/api/") && r.Permission != Agent && !r.mayTakeLong()
}

// held keeps an answer back until it is whole.
type held struct {
	http.ResponseWriter
	code int
	body bytes.Buffer
}

// WriteHeader keeps the status.
func (h *held) WriteHeader(code int) {
	if h.code == 0 {
		h.code = code
	}
}

// Write keeps a piece of the body.
func (h *held) Write(b []byte) (int, error) {
	if h.code == 0 {
		h.code = http.StatusOK
	}
	return h.body.Write(b)
}

// tag gives an answer a strong ETag of its body, and 304 to whom has that already (RFC 9110, sections 8.8.3 and 13.1.2).
// It stands before the compression: the body's other form has another tag (section 8.8.3.3).
func (s *Server) tag(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		out := c.Response()
		h := &held{ResponseWriter: out.Writer}
		out.Writer = h
		err := next(c)
		out.Writer = h.ResponseWriter
		if err != nil || h.code == 0 { // told elsewhere
			return err
		}
		if h.code == http.StatusOK {
			etag := etagOf(h.body.Bytes(), c.Request())
			out.Header().Set("ETag", etag)
			if hasTag(c.Request().Header.Values("If-None-Match"), etag) {
				out.Header().Del("Content-Type")
				out.Header().Del("Content-Length")
				out.Status, out.Size = http.StatusNotModified, 0
				out.Writer.WriteHeader(http.StatusNotModified)
				return nil
			}
		}
		out.Writer.WriteHeader(h.code)
		if h.body.Len() == 0 {
			return nil
		}
		_, err = out.Writer.Write(h.body.Bytes())
		return err
	}
}

func etagOf(body []byte, r *http.Request) string {
	sum := sha256.Sum256(body)
	form := ""
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		form = "-gzip"
	}
	return `"` + hex.EncodeToString(sum[:16]) + form + `"`
}

// hasTag reports whether one of the tags that the caller has is this one.
func hasTag(given []string, etag string) bool {
	for _, line := range given {
		for one := range strings.SplitSeq(line, ",") {
			if one = strings.TrimSpace(one); one == "*" || strings.TrimPrefix(one, "W/") == etag {
				return true
			}
		}
	}
	return false
}
