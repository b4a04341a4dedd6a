package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"restic-manager/shared/wire"
)

const (
	hostID = "0198c0de-0000-7000-8000-000000000001"
	token  = "rme_0123456789abcdef0123456789abcdef"
)

// TestMain lets this test's binary be the agent, for what needs a process of its own.
func TestMain(m *testing.M) {
	if os.Getenv("AGENT_TEST_MAIN") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// server is a fake of the server's HTTP, as far as these tests need it.
type server struct {
	*httptest.Server
	mu      sync.Mutex
	enrolls []wire.EnrollRequest
	hellos  []wire.HelloRequest
	paths   []string
	// answer, where set, may answer in place of the server; it reports whether it did. n counts the requests
	// for a path from 0.
	answer func(path string, n int, w http.ResponseWriter, r *http.Request) bool
	polled chan struct{} // closed at the first poll
	once   sync.Once
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{polled: make(chan struct{})}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "zstd" {
		d, err := zstd.NewReader(r.Body)
		if err != nil {
			panic(err)
		}
		defer d.Close()
		body = d
	}
	data, _ := io.ReadAll(body)
	s.mu.Lock()
	n := 0
	for _, p := range s.paths {
		if p == r.URL.Path {
			n++
		}
	}
	s.paths = append(s.paths, r.URL.Path)
	switch r.URL.Path {
	case "/api/agents/enroll":
		var q wire.EnrollRequest
		_ = json.Unmarshal(data, &q)
		s.enrolls = append(s.enrolls, q)
	case "/api/agents/hello":
		var q wire.HelloRequest
		_ = json.Unmarshal(data, &q)
		s.hellos = append(s.hellos, q)
	}
	answer := s.answer
	s.mu.Unlock()
	if answer != nil && answer(r.URL.Path, n, w, r) {
		return
	}
	switch r.URL.Path {
	case "/api/agents/enroll":
		reply(w, 201, wire.EnrollReply{HostID: hostID, Name: "web1"})
	case "/api/agents/hello":
		reply(w, 200, wire.HelloReply{ServerTime: time.Now(), Mark: "m"})
	case "/api/agents/next-command":
		s.once.Do(func() { close(s.polled) })
		select {
		case <-r.Context().Done():
		case <-time.After(10 * time.Second):
			reply(w, 200, wire.PollReply{Mark: "m"})
		}
	default:
		problem(w, 404, "not_found")
	}
}

func (s *server) asked() []wire.EnrollRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]wire.EnrollRequest(nil), s.enrolls...)
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func problem(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", wire.ProblemContentType)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(wire.Problem{Title: "no", Code: code, MinProtocolVersion: 9, HelpURL: "https://help.example"})
}

// machine is one host's folders, and runs commands on it.
type machine struct {
	t      *testing.T
	dir    string
	config string
	state  string
	env    map[string]string
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	dir := t.TempDir()
	for name, sub := range map[string]string{"CACHE_DIRECTORY": "cache", "RUNTIME_DIRECTORY": "run"} {
		t.Setenv(name, filepath.Join(dir, sub))
	}
	return &machine{t: t, dir: dir, config: filepath.Join(dir, "etc", "agent.yaml"), state: filepath.Join(dir, "state"), env: map[string]string{}}
}

// command runs one command in this process.
func (m *machine) command(ctx context.Context, args ...string) (code int, out, words string) {
	m.t.Helper()
	var o, e lockedBuffer
	code = execute(ctx, console{&o, &e, func(key string) string { return m.env[key] }}, args)
	return code, o.String(), e.String()
}

func (m *machine) enroll(s *server, args ...string) (code int, out, words string) {
	m.t.Helper()
	return m.command(context.Background(), append([]string{"enroll", "--server", s.URL, "--config", m.config, "--token", token}, args...)...)
}

// mustEnroll enrolls with a fresh fake server.
func (m *machine) mustEnroll() *server {
	m.t.Helper()
	s := newServer(m.t)
	if code, _, words := m.enroll(s); code != 0 {
		m.t.Fatalf("enroll: exit %d: %s", code, words)
	}
	return s
}

func (m *machine) read(path string) string {
	m.t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		m.t.Fatal(err)
	}
	return string(b)
}

// lockedBuffer is written by the agent's goroutines and read by the test.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// wantCode checks an exit code and that the words help.
func wantCode(t *testing.T, what string, code, want int, words, help string) {
	t.Helper()
	if code != want || !strings.Contains(words, help) {
		t.Errorf("%s: got exit %d with %q, want %d with %q", what, code, words, want, help)
	}
}
