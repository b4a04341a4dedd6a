// Package ascode holds a server to a document of the fleet, and writes such a document of a server. It is a client of the
// API as any other: it can do what its key may do, and nothing else.
package ascode

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"restic-manager/server/access"
	"restic-manager/shared/wire"
)

// Options say which server, how it is known, and who asks.
type Options struct {
	Server   string // https://backup.example.com
	Key      string // of the API
	CAFile   string // trusts only what these certificates vouch for; empty: the system's
	CertPins []string
	Insecure bool // lets the key go over plain HTTP to another machine
	Version  string
}

// Client speaks to one server. It is safe for concurrent use.
type Client struct {
	base *url.URL
	key  string
	name string
	http *http.Client
}

// maxAnswer bounds what is read of an answer.
const maxAnswer = 256 << 20

// New makes a client; it says nothing to the server yet.
func New(o Options) (*Client, error) {
	u, err := url.Parse(o.Server)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "":
		return nil, errors.New("--server: give the server's address, as in https://backup.example.com")
	case u.Scheme == "http" && !o.Insecure && !loopback(u.Hostname()):
		return nil, fmt.Errorf("--server: http:// to %s would send the key in the clear; use https://, or --insecure-http if the network is yours alone", u.Hostname())
	case !strings.HasPrefix(o.Key, access.APIKeyPrefix) || strings.ContainsAny(o.Key, " \t\r\n"):
		return nil, fmt.Errorf("the API key begins with %s; give it in RESTIC_MANAGER_API_KEY or as the whole of --api-key-file. An administrator makes one under Settings, API keys", access.APIKeyPrefix)
	}
	config, err := newTLS(o, u.Hostname())
	if err != nil {
		return nil, err
	}
	u.Path = ""
	return &Client{base: u, key: o.Key, name: "restic-manager/" + o.Version, http: &http.Client{
		Timeout: 2 * time.Minute,
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: config, TLSHandshakeTimeout: 30 * time.Second, ForceAttemptHTTP2: true,
			DialContext: (&net.Dialer{Timeout: 30 * time.Second}).DialContext},
		// A key goes to the server that was named, and to no other.
		CheckRedirect: func(r *http.Request, _ []*http.Request) error {
			return fmt.Errorf("the server answers from another place, %s; give that as --server", r.URL.Host)
		},
	}}, nil
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// Refusal is a problem that the server answered.
type Refusal struct {
	Status int
	Code   string
	Detail string
}

func (r *Refusal) Error() string { return r.Detail }

// call does one call of the API; in nil: without a body, out nil: without an answer.
func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		raw, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(raw)
	}
	r, err := http.NewRequestWithContext(ctx, method, c.base.String()+path, body)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+c.key)
	r.Header.Set("User-Agent", c.name)
	if in != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	answer, err := c.http.Do(r)
	if err != nil {
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err
		}
		return fmt.Errorf("ask %s: %w", c.base.Host, err)
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read the answer of %s: %w", c.base.Host, err)
	}
	if answer.StatusCode >= 300 {
		return refusal(answer, raw)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return fmt.Errorf("%s answers %s %s with something else than restic-manager would; is that its address?", c.base.Host, method, path)
	}
	return nil
}

func refusal(answer *http.Response, raw []byte) error {
	var p struct {
		Code, Detail string
		Errors       []struct{ Location, Message string }
	}
	if answer.Header.Get("Content-Type") != wire.ProblemContentType || json.Unmarshal(raw, &p) != nil || p.Detail == "" {
		return &Refusal{answer.StatusCode, "", fmt.Sprintf("the server answers %s; is that restic-manager's address?", answer.Status)}
	}
	for _, e := range p.Errors {
		p.Detail += fmt.Sprintf(" (%s: %s)", strings.TrimPrefix(e.Location, "body."), e.Message)
	}
	return &Refusal{answer.StatusCode, p.Code, p.Detail}
}
