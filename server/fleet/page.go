package fleet

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"

	"restic-manager/server/fault"
)

// The sizes of pages.
const (
	defaultPage = 50
	maxPage     = 1000
)

// limit is how many rows the page may hold.
func (p Page) limit() int {
	if p.Limit <= 0 {
		return defaultPage
	}
	return min(p.Limit, maxPage)
}

// encodeCursor makes an opaque cursor of the sort key of a page's last row.
func encodeCursor(parts ...any) string {
	raw, err := json.Marshal(parts)
	if err != nil {
		panic(err) // only strings, numbers and times are sort keys
	}
	return base64.RawURLEncoding.EncodeToString(raw)
}

// decodeCursor reads encodeCursor's parts into dst. Anything else is an invalid fault.
func decodeCursor(s string, dst ...any) error {
	bad := fault.Invalidf("cursor: it is not one of this list; begin again without a cursor")
	raw, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return bad
	}
	want := len(dst)
	d := json.NewDecoder(bytes.NewReader(raw))
	var parts []json.RawMessage
	if d.Decode(&parts) != nil || len(parts) != want {
		return bad
	}
	if _, err := d.Token(); err != io.EOF {
		return bad
	}
	for i, p := range parts {
		if bytes.Equal(p, []byte("null")) || json.Unmarshal(p, dst[i]) != nil {
			return bad
		}
	}
	return nil
}
