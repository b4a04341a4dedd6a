package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"restic-manager/shared/wire"
)

const (
	contentJSON   = "application/json"
	contentNDJSON = "application/x-ndjson"
)

// call is one request and where its reply goes.
type call struct {
	name        string
	method      string
	path        string
	query       string
	lease       string
	json        any   // marshalled into body
	body        *Body // nil: from json, or none
	contentType string
	anonymous   bool // no bearer
	reply       any
	// sound reports whether the decoded reply is what the server would say; nil: any JSON object is.
	sound func() bool
}

// call sends with retries. Its error is an *Error.
func (c *Client) call(ctx context.Context, k call) error {
	if k.body == nil && k.json != nil {
		data, err := json.Marshal(k.json)
		if err != nil {
			return &Error{Call: k.name, Final: true, Err: err}
		}
		body := PrepareBody(data)
		k.body, k.contentType = &body, contentJSON
	}
	// Not a plain []byte that is nil: retryablehttp would read that as no body at all, which is right for a
	// log request without lines, too.
	var raw any
	if k.body != nil && len(k.body.data) > 0 {
		raw = k.body.data
	}
	request, err := retryablehttp.NewRequestWithContext(ctx, k.method, c.address(k), raw)
	if err != nil {
		return &Error{Call: k.name, Final: true, Err: errors.New("the request cannot be made")}
	}
	c.headers(request.Header, k)
	request.SetResponseHandler(func(r *http.Response) error { return k.read(r) })
	response, err := c.retrying.Do(request)
	if response != nil {
		response.Body.Close()
	}
	return k.failure(ctx, err)
}

// poll sends once, within limit.
func (c *Client) poll(ctx context.Context, limit time.Duration, k call) error {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	request, err := http.NewRequestWithContext(limited, k.method, c.address(k), nil)
	if err != nil {
		return &Error{Call: k.name, Final: true, Err: errors.New("the request cannot be made")}
	}
	c.headers(request.Header, k)
	response, err := c.plain.Do(request)
	if err == nil {
		err = k.read(response)
		response.Body.Close()
	}
	return k.failure(ctx, err)
}

func (c *Client) address(k call) string {
	u := *c.base
	u.RawPath = u.EscapedPath() + k.path // the parts of k.path are escaped already
	u.Path, _ = url.PathUnescape(u.RawPath)
	u.RawQuery = k.query
	return u.String()
}

func (c *Client) headers(h http.Header, k call) {
	h.Set("User-Agent", c.agent)
	h.Set("Accept", contentJSON)
	if !k.anonymous {
		h.Set("Authorization", "Bearer "+c.token)
		h.Set(wire.HeaderProtocol, fmt.Sprint(wire.ProtocolVersion))
	}
	if k.lease != "" {
		h.Set(wire.HeaderLease, k.lease)
	}
	if k.contentType != "" {
		h.Set("Content-Type", k.contentType)
	}
	if k.body != nil && k.body.encoding != "" {
		h.Set("Content-Encoding", k.body.encoding)
	}
}

// read takes a reply in. What is not the server's word (HTML, a redirect, JSON of another kind) is an
// errStrange, and worth another try: a proxy speaks.
func (k call) read(r *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxReply+1))
	if err != nil {
		return &Error{Call: k.name, Status: r.StatusCode, Err: fmt.Errorf("read the reply: %w", bare(err))}
	}
	if len(body) > maxReply {
		return strange(k, r, "the reply is larger than %d bytes", maxReply)
	}
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case r.StatusCode >= 200 && r.StatusCode < 300:
		return k.decode(r, media, body)
	case r.StatusCode >= 300 && r.StatusCode < 400:
		return strange(k, r, "the reply is a redirect to %q, which is not followed; if the server moved, change server_url", redirectHost(r))
	}
	return k.problem(r, media, body)
}

func (k call) decode(r *http.Response, media string, body []byte) error {
	if media != contentJSON {
		return strange(k, r, "the reply is %q, not JSON", media)
	}
	if trimmed := bytes.TrimSpace(body); len(trimmed) == 0 || trimmed[0] != '{' {
		return strange(k, r, "the reply is not a JSON object")
	}
	// Decoded from scratch: an earlier try may have left half a reply behind.
	if err := json.Unmarshal(body, k.reply); err != nil {
		return strange(k, r, "the reply cannot be decoded")
	}
	if k.sound != nil && !k.sound() {
		return strange(k, r, "the reply lacks what the server always says")
	}
	return nil
}

// problem reads an error's body. One without a code is not the server's.
func (k call) problem(r *http.Response, media string, body []byte) error {
	e := &Error{Call: k.name, Status: r.StatusCode, RetryAfter: retryAfter(r)}
	p := &wire.Problem{}
	if media == wire.ProblemContentType && json.Unmarshal(body, p) == nil && p.Code != "" {
		p.Status = r.StatusCode
		e.Err, e.Final = p, finalProblem(r.StatusCode)
		return e
	}
	e.Err, e.Final = fmt.Errorf("the reply has status %s and is not the server's own; a proxy may stand in between", r.Status), finalBare(r.StatusCode)
	return e
}

func strange(k call, r *http.Response, format string, args ...any) error {
	return &Error{Call: k.name, Status: r.StatusCode, RetryAfter: retryAfter(r), Err: fmt.Errorf(format+"; a proxy may stand in between", args...)}
}

// redirectHost is scheme and host alone: the rest may hold secrets.
func redirectHost(r *http.Response) string {
	u, err := r.Location()
	if err != nil {
		return "nowhere"
	}
	return u.Scheme + "://" + u.Host
}
