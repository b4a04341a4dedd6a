package e2e

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"restic-manager/agent/restic/restictest"
	"restic-manager/shared/wire"
)

// hostile is a server that speaks the whole agent API and means harm: it has a list of orders and of answers
// that no server would give, and gives one after the other.
type hostile struct {
	*httptest.Server
	elsewhere *httptest.Server // where redirects lead

	mu      sync.Mutex // guards the fields below
	steps   []step
	jobs    map[string]*hostileJob
	changed chan struct{}
	calls   int // those about jobs
	spoiled int // those of them that were answered with harm
	polls   int
	// The requests that came elsewhere, and those of them with an Authorization.
	visited, carried int
}

// step is an order, or an answer to one poll.
type step struct {
	order  *hostileOrder
	answer http.HandlerFunc
}

// hostileOrder is what is offered, and what the accept then says instead where that differs.
type hostileOrder struct {
	kind     wire.Kind
	spec     json.RawMessage
	source   string
	secrets  *wire.Secrets
	limit    int64
	accepted *wire.AcceptReply
}

type hostileJob struct {
	id      string
	order   hostileOrder
	offered time.Time
	taken   bool
	ended   bool
	result  wire.FinishRequest
	lines   int64
}

func newHostile(t *testing.T) *hostile {
	h := &hostile{jobs: map[string]*hostileJob{}, changed: make(chan struct{})}
	h.elsewhere = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.visited++
		if r.Header.Get("Authorization") != "" {
			h.carried++
		}
	}))
	h.Server = httptest.NewServer(h)
	t.Cleanup(func() {
		for _, s := range []*httptest.Server{h.Server, h.elsewhere} {
			s.CloseClientConnections()
			s.Close()
		}
	})
	return h
}

// set changes the state and wakes who waits for it.
func (h *hostile) set(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
	close(h.changed)
	h.changed = make(chan struct{})
}

// spoilEvery says which call about a job is answered with harm.
const spoilEvery = 61

func (h *hostile) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "zstd" {
		d, err := zstd.NewReader(r.Body)
		if err != nil {
			return
		}
		defer d.Close()
		body = d
	}
	raw, err := io.ReadAll(body)
	if err != nil {
		return
	}
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/api/agents/"), "/")
	switch parts[0] {
	case "hello":
		say(w, wire.HelloReply{ServerTime: time.Now(), Mark: "m", Jobs: []wire.JobVerdict{}})
	case "next-command":
		h.poll(w, r)
	case "listings":
		if len(parts) == 1 {
			say(w, wire.ListingReply{Token: strings.Repeat("a", 32), MaxPartBytes: 1 << 62})
			return
		}
		say(w, wire.Empty{})
	case "jobs":
		h.about(w, r, parts[1], parts[2], raw)
	default:
		http.NotFound(w, r)
	}
}

func say(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

// reoffer is after how long an offer that was not accepted is made again.
const reoffer = 400 * time.Millisecond

// poll gives the next step once there is a lane for it.
func (h *hostile) poll(w http.ResponseWriter, r *http.Request) {
	q, err := wire.ParsePollQuery(r.URL.Query())
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	hold := time.After(10 * time.Second)
	again := time.NewTicker(reoffer)
	defer again.Stop()
	for {
		var answer http.HandlerFunc
		h.mu.Lock()
		h.polls++
		changed := h.changed
		if len(h.steps) > 0 {
			answer = h.next(q)
		}
		h.mu.Unlock()
		if answer != nil {
			answer(w, r)
			return
		}
		select {
		case <-changed:
			// The agent gives a poll up when a job of its own goes on: an answer to that one would be lost.
			select {
			case <-time.After(20 * time.Millisecond):
			case <-r.Context().Done():
				return
			}
		case <-again.C: // an offer whose answer got lost
		case <-hold:
			say(w, wire.PollReply{Mark: "m"})
			return
		case <-r.Context().Done():
			return
		}
	}
}

// next is the answer of the first step; an order stays the first until it is accepted. h.mu is held.
func (h *hostile) next(q wire.PollQuery) http.HandlerFunc {
	s := h.steps[0]
	if s.answer != nil {
		h.steps = h.steps[1:]
		return s.answer
	}
	// The agent refuses what it does not know in the short lane.
	free := q.FreeShort
	if info, _ := s.order.kind.Info(); info.Lane == wire.LaneLong {
		free = q.FreeLong
	}
	if free < 1 {
		return nil
	}
	id := hostileID(len(h.jobs) + 1)
	if len(h.jobs) > 0 {
		if last := h.jobs[hostileID(len(h.jobs))]; !last.taken {
			// The agent rests before it takes an offer that it has already.
			if time.Since(last.offered) < reoffer {
				return nil
			}
			id = last.id
		}
	}
	h.jobs[id] = &hostileJob{id: id, order: *s.order, offered: time.Now()}
	reply := wire.PollReply{Mark: "m", Offer: &wire.Offer{JobID: id, Delivery: 1, Kind: s.order.kind, Spec: s.order.spec,
		Repository: wire.RepositoryRef{Name: s.order.source}, TimeLimitSeconds: s.order.limit, QueuedAt: time.Now()}}
	return func(w http.ResponseWriter, _ *http.Request) { say(w, reply) }
}

func hostileID(n int) string { return fmt.Sprintf("018f0000-0000-7000-8000-%012d", n) }

// about is the calls of one job; now and then one is answered with harm first, and comes again.
func (h *hostile) about(w http.ResponseWriter, r *http.Request, id, name string, body []byte) {
	h.mu.Lock()
	h.calls++
	spoil := h.calls%spoilEvery == 0
	n := h.spoiled
	if spoil {
		h.spoiled++
	}
	h.mu.Unlock()
	if spoil {
		harms := h.harms()
		harms[n%len(harms)].answer(w, r)
		return
	}
	var reply any = wire.Empty{}
	h.set(func() {
		j := h.jobs[id]
		if j == nil {
			reply = nil
			return
		}
		switch name {
		case "accept":
			if !j.taken {
				j.taken = true
				h.steps = h.steps[1:]
			}
			reply = wire.AcceptReply{Kind: j.order.kind, Spec: j.order.spec, Repository: wire.RepositoryRef{Name: j.order.source}, Secrets: j.order.secrets, TimeLimitSeconds: j.order.limit}
			if j.order.accepted != nil {
				reply = *j.order.accepted
			}
		case "resume":
			reply = wire.ResumeReply{State: wire.StateRunning, NextLine: j.lines + 1, Kind: j.order.kind, Spec: j.order.spec, TimeLimitSeconds: j.order.limit}
		case "log":
			if q, err := wire.ParseLogQuery(r.URL.Query()); err == nil && q.FirstLine == j.lines+1 {
				j.lines += q.Lines
			}
			reply = wire.LogReply{NextLine: j.lines + 1}
		case "progress":
			reply = wire.ProgressReply{}
		case "finish":
			_ = json.Unmarshal(body, &j.result)
			j.ended = true
			reply = wire.FinishReply{}
		}
	})
	if reply == nil {
		http.NotFound(w, r)
		return
	}
	say(w, reply)
}

// harm is an answer that no server would give.
type harm struct {
	name   string
	answer http.HandlerFunc
}

// harms are the bodies, the encodings and the redirects that a client could choke on.
func (h *hostile) harms() []harm {
	text := func(status int, kind, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	var list []harm
	for _, body := range []string{
		"", "null", "[]", "7", `"x"`, "{", `{"mark":`, `{"mark":7}`, `{"mark":{}}`, `{"mark":"m","offer":[]}`, `{"mark":"m","offer":{"delivery":1e999}}`,
		`{"mark":"m","offer":{"time_limit_seconds":123456789012345678901234567890}}`, `{"mark":"m","cancel":"x"}`, `{"mark":"m","cancel":[null,1]}`,
		`{"mark":"m","drop":[{"id":"../../../etc","lease":"x"}]}`, `{"mark":"m","mark":"n","offer":null,"offer":{"job_id":"../../../../tmp/x","kind":"backup","spec":{}}}`,
		`{"mark":"m","offer":{"job_id":"018f0000-0000-7000-8000-0000000000zz","kind":"backup","spec":{"paths":["/"]}}}`, `{"mark":"m","cancel":["../x","/etc/passwd"]}`,
		`{"mark":"m","offer":{"job_id":"","kind":"","spec":null}}`, `{"mark":"` + strings.Repeat("\\u0000", 10) + `"}`, "{\"mark\":\"\xff\xfe\"}",
		`{"mark":"m","configure":{"version":"v","settings":{"log_bytes_per_job":-1,"max_record_bytes":-9}}}`,
		`{"mark":"m","configure":{"version":"w","settings":{"log_bytes_per_job":9223372036854775807,"max_record_bytes":9223372036854775807}}}`,
		`{"mark":"m","configure":{"version":"` + strings.Repeat("v", 60) + `","settings":{"log_bytes_per_job":1,"max_record_bytes":1}}}`,
		strings.Repeat("[", 100_000), strings.Repeat(`{"offer":`, 50_000), `{"mark":"m","offer":{"spec":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}}`,
	} {
		list = append(list, harm{fmt.Sprintf("body %.60q", body), text(200, "application/json", body)})
	}
	for _, status := range []int{301, 302, 303, 307, 308} {
		list = append(list, harm{fmt.Sprint("redirect ", status), func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, h.elsewhere.URL+r.URL.Path, status)
		}})
	}
	list = append(list,
		harm{"a page", text(200, "text/html", "<html>")},
		harm{"no content", text(204, "", "")},
		harm{"a status of its own", text(299, "application/json", "{}")},
		harm{"a problem", text(500, wire.ProblemContentType, `{"code":"`+strings.Repeat("x", 5000)+`","next_line":-5,"boot_number":9223372036854775807}`)},
		harm{"a body without end", func(w http.ResponseWriter, r *http.Request) { endless(w, []byte(strings.Repeat(" ", 64<<10))) }},
		harm{"a bomb", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			endless(z, []byte(strings.Repeat("{", 64<<10)))
		}},
		harm{"no gzip", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			text(200, "application/json", "{}")(w, r)
		}},
		harm{"half an answer", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "1000")
			text(200, "application/json", `{"mark":`)(w, r)
		}},
		harm{"many headers", func(w http.ResponseWriter, r *http.Request) {
			for i := range 2000 {
				w.Header().Add("X-"+strconv.Itoa(i), strings.Repeat("x", 500))
			}
			text(200, "application/json", `{"mark":"m"}`)(w, r)
		}},
		harm{"no HTTP", func(w http.ResponseWriter, r *http.Request) {
			if c, _, err := w.(http.Hijacker).Hijack(); err == nil {
				_, _ = c.Write([]byte("\x00\x01\x02 not HTTP\r\n\r\n"))
				c.Close()
			}
		}},
		harm{"one byte at a time", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for _, b := range []byte(`{"mark":"` + strings.Repeat("m", 40) + `"}`) {
				<-tick.C
				if _, err := w.Write([]byte{b}); err != nil {
					return
				}
				_ = http.NewResponseController(w).Flush()
			}
		}},
	)
	return list
}

// endless writes until nobody reads, 256 MiB at most.
func endless(w io.Writer, piece []byte) {
	for range (256 << 20) / len(piece) {
		if _, err := w.Write(piece); err != nil {
			return
		}
	}
}

// hostileOrders are the vectors in every field, hostile repositories and secrets, and generated ones.
func hostileOrders(d hostileHost, generated int) []*hostileOrder {
	var orders []*hostileOrder
	add := func(kind wire.Kind, spec any, change ...func(*hostileOrder)) {
		raw, err := json.Marshal(spec)
		if err != nil {
			return
		}
		o := &hostileOrder{kind: kind, spec: raw, source: wire.RepositoryLocal, limit: 60}
		for _, c := range change {
			c(o)
		}
		orders = append(orders, o)
	}
	held := func(url, password string, env map[string]string) func(*hostileOrder) {
		return func(o *hostileOrder) {
			o.source, o.secrets = wire.RepositoryServer, &wire.Secrets{RepositoryURL: url, Password: password, Env: env}
		}
	}
	second := filepath.Join(d.dir, "second")
	for _, v := range restictest.Vectors(d.canary) {
		for _, s := range restictest.Placed(v) {
			add(s.Kind(), s)
		}
		key, value, _ := strings.Cut(v, "=")
		add(wire.KindSnapshots, struct{}{}, held(v, "x", nil))
		add(wire.KindSnapshots, struct{}{}, held(second, v, nil))
		add(wire.KindSnapshots, struct{}{}, held(second, "x", map[string]string{key: value}))
		add(wire.KindSnapshots, struct{}{}, held(second, "x", map[string]string{"AWS_ACCESS_KEY_ID": v}))
		add(wire.Kind(v), struct{}{})
		add(wire.KindBackup, map[string]any{"paths": []string{d.data}, "args": []string{v}, "env": map[string]string{key: value}})
	}
	for _, url := range []string{"rclone:x:y", "file:/x", "https://127.0.0.1:1/", "rest:https://u:p@127.0.0.1:1/", "rest:ftp://h/", "sftp:-oProxyCommand=touch " + d.canary + ":/x",
		"sftp:user@-oProxyCommand=x:/x", "sftp://-F/x", "s3:-host/x", "b2:-x:y", "gs:b:$(x)", "/", "/..", "", "relative", "/etc/cron.d", "/proc/self/root", d.state + "/x", filepath.Dir(d.config) + "/x",
		"/usr/local/x", "/root/.ssh/x", "/srv/a\nb", "swift:x y:z", "azure::x", "rest:http://[fe80::1%25lo]/x"} {
		add(wire.KindInit, struct{}{}, held(url, "x", nil))
		add(wire.KindBackup, &wire.BackupSpec{Paths: []string{d.data}}, held(url, "x", nil))
	}
	for _, password := range []string{"", "a\nb", "a\r\nRESTIC_PASSWORD_COMMAND=touch " + d.canary, " x", "x\x00y", "\ufeffx", strings.Repeat("p", 1<<16)} {
		add(wire.KindInit, struct{}{}, held(second, password, nil))
	}
	for _, env := range []map[string]string{{"PATH": d.dir}, {"LD_PRELOAD": d.canary}, {"RESTIC_PASSWORD_COMMAND": "touch " + d.canary}, {"AWS_SECRET_ACCESS_KEY": "a\nLD_PRELOAD=x"},
		{"HTTPS_PROXY": h127}, {"GODEBUG": "x"}, {"RESTIC_CACHE_DIR": d.canary}, {"TMPDIR": d.canary}, {"HOME": d.canary}} {
		add(wire.KindInit, struct{}{}, held(second, "x", env))
	}
	for _, limit := range []int64{0, -1, 1 << 62, -1 << 62} {
		add(wire.KindSnapshots, struct{}{}, func(o *hostileOrder) { o.limit = limit })
	}
	// Everything that is denied, by name, above it, by a link, and all that was allowed with it.
	for _, p := range append([]string{d.dir, d.data, "/proc", "/proc/self", "/proc/1/environ", "/sys", "/sys/kernel", "/dev", "/dev/mem", filepath.Join(d.data, "to-own"), filepath.Join(d.data, "to-proc"), "/etc", "/root"}, d.denied...) {
		add(wire.KindBackup, &wire.BackupSpec{Paths: []string{p}})
		add(wire.KindBackup, &wire.BackupSpec{Paths: []string{d.data, p}})
		add(wire.KindEstimate, &wire.EstimateSpec{Paths: []string{p}, Excludes: []string{"private", "*.yaml"}})
		add(wire.KindEstimate, &wire.EstimateSpec{Paths: []string{d.data, p}, ExcludeCaches: true, OneFileSystem: true}, func(o *hostileOrder) { o.limit = 1 << 40 })
	}
	for range 4 { // whatever each how manieth is taken
		add(wire.KindEstimate, &wire.EstimateSpec{Paths: []string{d.data}, Excludes: []string{"file"}})
	}
	// What is accepted is not what was offered.
	for _, hook := range []string{"allowed", "other", "open", "link", "gone", "../hooks.d/allowed", d.hooks + "/allowed", d.hooks + "/other", "/bin/sh", "sh", "allowed;sh", ".."} {
		add(wire.KindBackup, &wire.BackupSpec{Paths: []string{d.data}, HooksBefore: []string{hook}, HooksAfter: []string{"allowed"}})
		add(wire.KindBackup, &wire.BackupSpec{Paths: []string{d.data}, HooksBefore: []string{"allowed", hook}, HookFailure: wire.HookContinues})
		add(wire.KindBackup, &wire.BackupSpec{Paths: []string{d.data}, HooksAfter: []string{hook}})
		add(wire.KindBackup, &wire.BackupSpec{StdinHook: hook, StdinName: "dump"})
		add(wire.KindBackup, &wire.BackupSpec{StdinHook: "allowed", StdinName: "dump", HooksAfter: []string{"allowed", hook}})
	}
	raw, _ := json.Marshal(&wire.BackupSpec{Paths: []string{"/proc"}})
	other := &wire.AcceptReply{Kind: wire.KindBackup, Spec: raw, Repository: wire.RepositoryRef{Name: wire.RepositoryServer}, TimeLimitSeconds: 1 << 62,
		Secrets: &wire.Secrets{RepositoryURL: "rclone::webdav,bearer_token_command='touch " + d.canary + "':x", Password: "x", Env: map[string]string{"RESTIC_PASSWORD_COMMAND": "touch " + d.canary}}}
	for _, s := range []wire.Spec{&wire.BackupSpec{Paths: []string{d.data}}, &wire.SnapshotsSpec{}, &wire.CheckSpec{}} {
		add(s.Kind(), s, func(o *hostileOrder) { o.accepted = other })
	}
	add(wire.KindSnapshots, struct{}{}, held("sftp:nobody@127.0.0.1:/x", "x", nil))
	r := rand.New(rand.NewPCG(5, 6))
	for range generated {
		s := restictest.Generate(r, d.canary)
		// Half of the sources are there, so that restic meets them.
		if b, ok := s.(*wire.BackupSpec); ok && r.IntN(2) == 0 {
			b.Paths = append(b.Paths, d.data)
		}
		add(s.Kind(), s)
	}
	return orders
}

// h127 is a proxy that nobody may be sent to.
const h127 = "http://127.0.0.1:1"

// hostileHost is one machine under a hostile server: its folders, and what is denied there.
type hostileHost struct {
	dir, config, state, cache, run, data, canaries, canary, hooks string
	denied                                                        []string
}

func newHostileHost(t *testing.T, server, restic string) hostileHost {
	t.Helper()
	dir := t.TempDir()
	d := hostileHost{dir: dir, config: dir + "/restic-manager/agent.yaml", state: dir + "/state", cache: dir + "/cache", run: dir + "/run", data: dir + "/data", canaries: dir + "/canaries", canary: dir + "/canaries/c", hooks: dir + "/restic-manager/hooks.d"}
	d.denied = []string{d.data + "/private", d.config, dir + "/restic-manager/guard.yaml", dir + "/restic-manager", d.state, d.cache, d.run}
	for _, f := range []string{d.hooks, d.state, d.cache, d.run, d.data + "/private", d.canaries} {
		if err := os.MkdirAll(f, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{"to-own": dir + "/restic-manager", "to-proc": "/proc"} {
		if err := os.Symlink(to, filepath.Join(d.data, link)); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{
		d.data + "/file":         "x",
		d.data + "/private/file": "private",
		d.config: "server_url: " + server + "\nhost_id: 018f0000-0000-7000-8000-00000000abcd\nname: h\nagent_token: rma_" + strings.Repeat("ab", 32) +
			"\nrepo_url: " + dir + "/repository\nrepo_password: x\nrestic_path: " + restic + "\n",
		// The owner allowed too much; what the agent itself denies stands over that.
		dir + "/restic-manager/guard.yaml": "version: 1\nbackup: {allow: [" + dir + ", /proc, /sys, /dev], deny: [" + d.data + "/private]}\nmaintenance: {forget: true, prune: true}\n" +
			"hooks: {allow: [allowed, open, link, gone]}\n" +
			"repositories: [{schemes: [local], path_prefix: " + dir + "}, {schemes: [sftp]}, {schemes: [rest, s3]}]\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, mode := range map[string]os.FileMode{"allowed": 0o755, "other": 0o755, "open": 0o777} {
		text := "#!/bin/sh\necho a dump\n"
		if name != "allowed" {
			text = "#!/bin/sh\n: > " + d.canary + "\n"
		}
		if err := errors.Join(os.WriteFile(filepath.Join(d.hooks, name), []byte(text), 0o700), os.Chmod(filepath.Join(d.hooks, name), mode)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(d.hooks, "other"), filepath.Join(d.hooks, "link")); err != nil {
		t.Fatal(err)
	}
	return d
}

// nobody is the user of an agent without root's rights.
const nobody = 65534

// TestAHostileServerOrdersNothingButRestic gives a real agent the proven vectors, generated orders, and answers
// that no server would give, once as root and once as a user with CAP_DAC_READ_SEARCH alone. What strace saw is
// the judge: nothing but restic (and ssh for sftp) was run, nothing was written outside the agent's folders and
// the repository, nothing denied was read, and the bearer went nowhere else.
func TestAHostileServerOrdersNothingButRestic(t *testing.T) {
	t.Parallel()
	// The short form: each fourth order, among them each vector at some of its places.
	generated, every, harms := 160, 4, 10
	if os.Getenv("RESTIC_MANAGER_FAULTS") == "full" {
		generated, every, harms = 2000, 1, 1<<20
	}
	for _, as := range []string{"root", "CAP_DAC_READ_SEARCH"} {
		t.Run(as, func(t *testing.T) {
			t.Parallel()
			h := newHostile(t)
			d := newHostileHost(t, h.URL, resticPath(t, "0.18.0"))
			command := []string{tool(t, "RESTIC_MANAGER_TEST_BIN", "restic-manager-agent"), "run", "--config", d.config, "--state-dir", d.state}
			if as != "root" {
				for _, f := range []string{d.dir, d.state, d.cache, d.run, d.config} {
					if err := os.Chown(f, nobody, nobody); err != nil {
						t.Fatal(err)
					}
				}
				command = append([]string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all,+dac_read_search",
					"--ambient-caps=-all,+dac_read_search", "--bounding-set=-all,+dac_read_search", "--no-new-privs", "--"}, command...)
			}
			var orders []*hostileOrder
			for i, o := range hostileOrders(d, generated) {
				if i%every == 0 {
					orders = append(orders, o)
				}
			}
			h.fill(orders, harms, d)
			begun := time.Now()
			a := startHostile(t, d, command)
			last := hostileID(len(orders) + 2)
			eventually(t, 20*time.Minute, "the last order is done", func() error {
				h.mu.Lock()
				defer h.mu.Unlock()
				if j := h.jobs[last]; j == nil || !j.ended {
					return fmt.Errorf("%d steps left, %d jobs\n%s", len(h.steps), len(h.jobs), tail(a.words(), 5))
				}
				return nil
			})
			peak := a.peak(t)
			if code := a.terminate(t); code != 0 {
				t.Errorf("the agent ended with %d:\n%s", code, tail(a.words(), 20))
			}
			l := readLedger(t, a.ledger)
			h.check(t, d, last, peak)
			l.check(t, d, resticPath(t, "0.18.0"), command)
			t.Logf("%s: %d orders in %s: %s; %d polls, %d calls about jobs, %d of those answered with harm; the agent's memory at most %d MiB; %s", as, len(orders)+2,
				time.Since(begun).Round(time.Second), h.results(), h.polls, h.calls, h.spoiled, peak>>20, l)
		})
	}
}

// fill begins with the making of the repository and ends with an honest backup; in between one harmful answer
// comes to a poll after every few orders, so that the agent's back-off stays short.
func (h *hostile) fill(orders []*hostileOrder, harms int, d hostileHost) {
	honest := func(s wire.Spec) step {
		raw, _ := json.Marshal(s)
		return step{order: &hostileOrder{kind: s.Kind(), spec: raw, source: wire.RepositoryLocal, limit: 120}}
	}
	all := h.harms()
	if harms < len(all) {
		rand.New(rand.NewPCG(7, 8)).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		all = all[:harms]
	}
	h.steps = []step{honest(&wire.InitSpec{})}
	every := max(1, len(orders)/(len(all)+1))
	for i, o := range orders {
		h.steps = append(h.steps, step{order: o})
		if i%every == every-1 && len(all) > 0 {
			h.steps, all = append(h.steps, step{answer: all[0].answer}), all[1:]
		}
	}
	h.steps = append(h.steps, honest(&wire.BackupSpec{Paths: []string{d.data}}))
}

func (h *hostile) check(t *testing.T, d hostileHost, last string, peak int64) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if got := h.jobs[last].result; got.State != wire.StateSucceeded {
		t.Errorf("the honest backup at the end: got %s, %+v", got.State, got.Error)
	}
	if h.visited != 0 || h.carried != 0 {
		t.Errorf("requests that followed a redirect: got %d, %d of them with the bearer", h.visited, h.carried)
	}
	estimates := 0
	for _, j := range h.jobs {
		if j.result.Estimate == nil {
			continue
		}
		estimates++
		said, _ := json.Marshal(j.result.Estimate)
		for _, p := range []string{"private", "agent.yaml", "guard.yaml"} {
			if bytes.Contains(said, []byte(p)) {
				t.Errorf("an estimate names %s, which is denied: %s", p, said)
			}
		}
	}
	if estimates == 0 {
		t.Error("no estimate was made: this proves nothing of them")
	}
	// A fifth of what one endless answer would have brought; the collector's own limit is 64 MiB.
	if peak == 0 || peak > 128<<20 {
		t.Errorf("the agent's memory: got a peak of %d bytes", peak)
	}
	if left, err := os.ReadDir(d.canaries); err != nil || len(left) != 0 {
		t.Errorf("canaries: got %v, %v, want none", left, err)
	}
}

// results counts what became of the orders.
func (h *hostile) results() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	counts := map[string]int{}
	for _, j := range h.jobs {
		what := string(j.result.State)
		if e := j.result.Error; e != nil {
			what += "/" + e.Code
		}
		counts[what]++
	}
	var out []string
	for what, n := range counts {
		out = append(out, fmt.Sprintf("%s %d", what, n))
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

// traced is an agent under strace.
type traced struct {
	*process
	ledger string
	agent  int
}

func startHostile(t *testing.T, d hostileHost, command []string) *traced {
	t.Helper()
	a := &traced{ledger: filepath.Join(t.TempDir(), "ledger")}
	if _, err := exec.LookPath("strace"); err != nil {
		t.Fatalf("%v: run make test", err)
	}
	args := append([]string{"-f", "-Y", "-y", "-s", "4096", "--seccomp-bpf", "-o", a.ledger, "-e", "trace=" + strings.Join(tracedCalls, ","), "--"}, command...)
	a.process = startProcess(t, filepath.Join(d.dir, "agent.log"), []string{"STATE_DIRECTORY=" + d.state, "CACHE_DIRECTORY=" + d.cache, "RUNTIME_DIRECTORY=" + d.run}, "strace", args...)
	t.Cleanup(func() {
		if a.agent != 0 {
			_ = syscall.Kill(a.agent, syscall.SIGKILL)
		}
		a.kill()
		if t.Failed() {
			t.Logf("words of the agent:\n%s", tail(a.words(), 40))
		}
	})
	pid := strconv.Itoa(a.cmd.Process.Pid)
	eventually(t, 20*time.Second, "the agent runs under strace", func() error {
		select {
		case <-a.done:
			t.Fatalf("strace ended:\n%s", tail(a.words(), 20))
		default:
		}
		b, _ := os.ReadFile("/proc/" + pid + "/task/" + pid + "/children")
		for _, child := range strings.Fields(string(b)) {
			cmdline, _ := os.ReadFile("/proc/" + child + "/cmdline")
			if bytes.HasPrefix(cmdline, []byte(command[slices.Index(command, "run")-1])) {
				a.agent, _ = strconv.Atoi(child)
				return nil
			}
		}
		return fmt.Errorf("children: %s", b)
	})
	return a
}

// peak is the most memory that the agent itself ever had; it also says that it is alive.
func (a *traced) peak(t *testing.T) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", a.agent))
	if err != nil {
		t.Fatalf("the agent is gone: %v\n%s", err, tail(a.words(), 20))
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, _ := strconv.ParseInt(strings.Fields(v)[0], 10, 64)
			return n << 10
		}
	}
	return 0
}

func (a *traced) terminate(t *testing.T) int {
	t.Helper()
	_ = syscall.Kill(a.agent, syscall.SIGTERM)
	select {
	case <-a.done:
	case <-time.After(2 * time.Minute):
		t.Fatal("the agent did not end within 2 minutes of SIGTERM")
	}
	return a.cmd.ProcessState.ExitCode()
}
