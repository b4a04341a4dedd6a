package e2e

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"restic-manager/shared/wire"
)

// canary is a secret that flows through real work, and is then looked for everywhere.
type canary struct {
	name  string
	forms [][]byte
	// environ are the programs whose environment holds it by the documented design, by a word of their command line.
	environ string
	// seen counts how often the watcher met it there.
	seen int
}

// canaries are all of them, and who watches the machine's processes for them.
type canaries struct {
	t  *testing.T
	mu sync.Mutex // guards all below
	// list grows while the test makes its secrets.
	list    []*canary
	found   map[string]bool
	sampled int
	answers []apiAnswer
	through http.RoundTripper // what carries a request
}

// apiAnswer is one body that the API gave to the test.
type apiAnswer struct {
	call string
	body []byte
}

// add looks for a secret as it is and as programs write it: hex, base64, in a URL, in JSON.
func (c *canaries) add(name, secret, environ string) {
	quoted, _ := json.Marshal(secret)
	k := &canary{name: name, environ: environ}
	for _, form := range []string{secret, hex.EncodeToString([]byte(secret)), base64.StdEncoding.EncodeToString([]byte(secret)), base64.RawURLEncoding.EncodeToString([]byte(secret)),
		url.QueryEscape(secret), strings.Trim(string(quoted), `"`)} {
		k.forms = append(k.forms, []byte(form))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = append(c.list, k)
}

// in names the secrets that b holds.
func (c *canaries) in(b []byte) (found []*canary) {
	for _, k := range c.list {
		for _, form := range k.forms {
			if bytes.Contains(b, form) {
				found = append(found, k)
				break
			}
		}
	}
	return found
}

// look fails for each secret in b, but those that may be there.
func (c *canaries) look(where string, b []byte, but ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range c.in(b) {
		if !strings.Contains(strings.Join(but, "\n"), k.name) {
			c.found[k.name+" in "+where] = true
		}
	}
}

// folder looks through every file below root, but those named.
func (c *canaries) folder(root string, but ...string) (files int) {
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil
		}
		for _, b := range but {
			if p == b || strings.HasPrefix(p, b+"/") {
				return nil
			}
		}
		if b, err := os.ReadFile(p); err == nil {
			files++
			c.look(p, b)
			c.look("the name of a file", []byte(p))
		}
		return nil
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return files
}

// watch samples all processes until stop is closed.
func (c *canaries) watch(stop <-chan struct{}) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		dirs, _ := filepath.Glob("/proc/[0-9]*")
		for _, d := range dirs {
			c.sample(d)
		}
	}
}

func (c *canaries) sample(proc string) {
	cmdline, err := os.ReadFile(proc + "/cmdline")
	if err != nil || len(cmdline) == 0 {
		return
	}
	environ, _ := os.ReadFile(proc + "/environ")
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sampled++
	for _, k := range c.in(cmdline) {
		c.found[k.name+" in the arguments of "+string(bytes.ReplaceAll(cmdline, []byte{0}, []byte(" ")))] = true
	}
	for _, k := range c.in(environ) {
		if k.name == "an enrollment token" && bytes.Contains(cmdline, []byte("\x00enroll\x00")) {
			continue // that is how enroll is told of it; the process may have been looked at just before the token was known here
		}
		if k.environ != "" && bytes.Contains(cmdline, []byte(k.environ)) {
			k.seen++
			continue
		}
		c.found[fmt.Sprintf("%s in the environment of %.100q", k.name, cmdline)] = true
	}
}

// RoundTrip keeps what the API answers.
func (c *canaries) RoundTrip(r *http.Request) (*http.Response, error) {
	a, err := c.through.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(a.Body)
	a.Body.Close()
	if err != nil {
		return nil, err
	}
	a.Body = io.NopCloser(bytes.NewReader(body))
	headers := a.Header.Clone()
	headers.Del("Set-Cookie")
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answers = append(c.answers, apiAnswer{r.Method + " " + r.URL.Path, append(fmt.Appendf(nil, "%v\n", headers), body...)})
	return a, nil
}

// restServer is Debian's rest-server with a login.
func restServer(t *testing.T, dir, user, password string) (url string, p *process) {
	t.Helper()
	sum := sha1.Sum([]byte(password))
	file := filepath.Join(dir, "htpasswd")
	if err := os.WriteFile(file, []byte(user+":{SHA}"+base64.StdEncoding.EncodeToString(sum[:])+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	listen := freeAddress(t)
	p = startProcess(t, filepath.Join(dir, "rest-server.log"), nil, tool(t, "RESTIC_MANAGER_TEST_TOOLS", "rest-server/rest-server"),
		"--path", filepath.Join(dir, "store"), "--listen", listen, "--htpasswd-file", file)
	t.Cleanup(p.kill)
	eventually(t, 10*time.Second, "the rest-server answers", func() error {
		a, err := http.Get("http://" + listen + "/")
		if err == nil {
			a.Body.Close()
		}
		return err
	})
	return "rest:http://" + listen + "/h", p
}

// dump is the whole database as text or as its files.
func (c *canaries) dump(s *server) {
	c.t.Helper()
	if s.database == "" {
		if n := c.folder(s.dir, filepath.Join(s.dir, "secret.key")); n < 2 {
			c.t.Errorf("files of the server: got %d, want its database among them", n)
		}
		return
	}
	c.folder(s.dir, filepath.Join(s.dir, "secret.key"))
	programs, _ := filepath.Glob("/usr/lib/postgresql/*/bin/pg_dump")
	if len(programs) == 0 {
		c.t.Fatal("there is no pg_dump: run make test")
	}
	out, err := exec.Command(programs[len(programs)-1], "--inserts", s.database).Output()
	if err != nil || !bytes.Contains(out, []byte("INSERT INTO")) {
		c.t.Fatalf("pg_dump: %v", err)
	}
	c.look("the database", out)
}

// abort has a program crash with all that Go prints, and looks for a core.
func (c *canaries) abort(p *process, who string) {
	c.t.Helper()
	pid := p.cmd.Process.Pid
	if got := coreLimit(c.t, pid); got != 0 {
		c.t.Errorf("%s: the limit of a core is %d, want 0", who, got)
	}
	dir, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid))
	if err != nil {
		c.t.Fatal(err)
	}
	before, _ := filepath.Glob(filepath.Join(dir, "core*"))
	_ = p.cmd.Process.Signal(syscall.SIGABRT)
	select {
	case <-p.done:
	case <-time.After(30 * time.Second):
		c.t.Fatalf("%s did not end by SIGABRT", who)
	}
	status, _ := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !status.Signaled() || status.Signal() != syscall.SIGABRT || status.CoreDump() {
		c.t.Errorf("%s: ended by %v, want by SIGABRT without a core", who, p.cmd.ProcessState)
	}
	if after, _ := filepath.Glob(filepath.Join(dir, "core*")); len(after) != len(before) {
		c.t.Errorf("%s left a core: %v", who, after)
	}
	if !strings.Contains(p.words(), "goroutine ") {
		c.t.Errorf("%s printed nothing about its end:\n%s", who, tail(p.words(), 5))
	}
}

// allowCores lets what this test starts leave cores, unless it forbids them itself.
func allowCores(t *testing.T) {
	t.Helper()
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &l); err != nil {
		t.Fatal(err)
	}
	if l.Max == 0 {
		t.Fatal("the hard limit of cores is 0 here: that none is left would show nothing")
	}
	was := l.Cur
	l.Cur = l.Max
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &l); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		l.Cur = was
		_ = unix.Setrlimit(unix.RLIMIT_CORE, &l)
	})
}

func coreLimit(t *testing.T, pid int) uint64 {
	t.Helper()
	var l unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_CORE, nil, &l); err != nil {
		t.Fatal(err)
	}
	return l.Max
}

// TestCanarySecretsAreNowhere lets a dozen secrets flow through real work and looks for them where none may be: the
// arguments and environments of all processes meanwhile, and afterwards the database, logs, answers, folders and
// crashes.
func TestCanarySecretsAreNowhere(t *testing.T) {
	allowCores(t)
	for _, db := range databases {
		t.Run(db, func(t *testing.T) {
			t.Parallel()
			c := &canaries{t: t, found: map[string]bool{}}
			c.add("the first administrator's password", adminPassword, "restic-manager\x00serve")
			c.add("the metrics token", "canary-metrics-token-4711", "restic-manager\x00serve")
			c.add("the storage's password", "canary-storage-password-4712", "restic")
			c.add("the held repository's password", "canary-held-password-4713", "")
			c.add("a wrong password", "canary-wrong-password-4714", "")
			c.add("the password in agent.yaml", "canary-yaml-password-4715", "")
			c.add("the password of repo_password_command", "canary-command-password-4716", "")
			c.add("an operator's password", "canary-operator-password-4717", "")
			c.add("the password of a repository's settings", "canary-setting-password-4718", "")
			c.add("the storage's password in a repository's settings", hostsSecret, "restic")
			c.add("the storage's password for maintenance", maintenanceSecret, "restic")
			c.add("the passphrase of a recovery kit", "canary-kit-passphrase-4721", "")
			stop, stopped := make(chan struct{}), make(chan struct{})
			go func() { defer close(stopped); c.watch(stop) }()

			s := newServer(t, db, "GOTRACEBACK=crash", "RESTIC_MANAGER_METRICS_TOKEN=canary-metrics-token-4711")
			c.through, s.http.Transport = s.http.Transport, c
			key, err := os.ReadFile(filepath.Join(s.dir, "secret.key"))
			if err != nil {
				t.Fatal(err)
			}
			c.add("the encryption key", strings.TrimSpace(string(key)), "")
			c.add("the first session", cookieValue(t, s.cookie), "")
			s.do("POST", "/api/operators", map[string]any{"username": "second", "password": "canary-operator-password-4717", "role": "administrator"}, nil)
			answer := s.do("POST", "/api/auth/login", map[string]string{"username": "second", "password": "canary-operator-password-4717"}, nil)
			for _, k := range answer.Cookies() {
				s.cookie = k.Name + "=" + k.Value
			}
			c.add("the second session", cookieValue(t, s.cookie), "")
			if _, err := s.try("POST", "/api/auth/login", map[string]string{"username": "second", "password": "canary-wrong-password-4714"}, nil); err == nil {
				t.Error("a wrong password signs in")
			}
			metrics, err := http.NewRequest("GET", s.url+"/metrics", nil)
			if err != nil {
				t.Fatal(err)
			}
			metrics.Header.Set("Authorization", "Bearer canary-metrics-token-4711")
			if a, err := s.http.Do(metrics); err != nil || a.StatusCode != 200 {
				t.Errorf("metrics: %v, %v", a, err)
			}

			own, command, held := c.enroll(s), c.enroll(s), c.enroll(s)
			own.repository, own.password = filepath.Join(own.dir, "repository"), "canary-yaml-password-4715"
			own.own("repo_url: "+own.repository, "repo_password: "+own.password)
			passwordFile := filepath.Join(command.dir, "password")
			if err := os.WriteFile(passwordFile, []byte("canary-command-password-4716\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			command.own("repo_url: "+filepath.Join(command.dir, "repository"), "repo_password_command: /bin/cat "+passwordFile)
			store := t.TempDir()
			location, rest := restServer(t, store, "user", "canary-storage-password-4712")
			env := map[string]string{"RESTIC_REST_USERNAME": "user", "RESTIC_REST_PASSWORD": "canary-storage-password-4712"}
			hold := func(password string) {
				s.do("PUT", "/api/hosts/"+held.hostID+"/repository", map[string]any{"url": location, "password": password, "env": env}, nil)
			}
			hold("canary-held-password-4713")
			var jobs []string
			for _, a := range []*agent{own, command, held} {
				a.start()
				source := filepath.Join(a.dir, "source")
				oddTree(t, source)
				jobs = append(jobs, s.run(a.hostID, wire.KindInit, nil, wire.StateSucceeded).ID,
					s.run(a.hostID, wire.KindBackup, map[string]any{"paths": []string{source}}, wire.StateSucceeded).ID,
					s.run(a.hostID, wire.KindCheck, nil, wire.StateSucceeded).ID)
			}
			// A running restic is canceled; meanwhile all three processes of the agent are looked at.
			writeRandom(t, filepath.Join(held.dir, "source", "big"), 4<<20, 1)
			slow := s.order(held.hostID, wire.KindBackup, map[string]any{"paths": []string{filepath.Join(held.dir, "source")}, "upload_limit_kib": 64})
			s.reaches(slow.ID, time.Minute, wire.StateRunning)
			around := held.children()
			if len(around) < 1 {
				t.Error("no supervisor and no restic while a job runs")
			}
			for _, pid := range around {
				if got := coreLimit(t, pid); got != 0 {
					t.Errorf("the limit of a core of process %d: got %d, want 0", pid, got)
				}
			}
			s.do("POST", "/api/jobs/"+slow.ID+"/cancel", nil, nil)
			s.reaches(slow.ID, 95*time.Second, wire.StateCanceled)
			hold("canary-wrong-password-4714")
			held.restart() // the repository's id is asked for anew
			wrong := s.run(held.hostID, wire.KindBackup, map[string]any{"paths": []string{filepath.Join(held.dir, "source")}}, wire.StateRejected, wire.StateFailed)
			if wrong.Error == nil || wrong.Error.Code != wire.CodeWrongPassword {
				t.Errorf("a backup with a wrong password: got %s", wrong)
			}
			pooled, keeper := c.enroll(s), c.enroll(s)
			jobs = append(jobs, c.pool(s, pooled, keeper, held)...)
			for _, id := range append(jobs, slow.ID, wrong.ID) {
				s.do("GET", "/api/jobs/"+id, nil, nil)
				s.do("GET", "/api/jobs/"+id+"/log", nil, nil)
				s.log(id)
			}
			for _, path := range []string{"/api/hosts", "/api/jobs", "/api/audit", "/api/operators", "/api/sessions", "/api/enrollment-tokens", "/api/auth/me", "/api/hosts/" + held.hostID, "/api/hosts/" + held.hostID + "/snapshots"} {
				s.do("GET", path, nil, nil)
			}

			for _, a := range []*agent{own, command, held, pooled, keeper} {
				c.abort(a.process, "the agent")
			}
			c.abort(s.process, "the server")
			close(stop)
			<-stopped
			c.dump(s)
			files := 0
			// The owner of that machine allowed it there, and nowhere else.
			kept := filepath.Join(pooled.data, "schedule-secrets.json")
			for _, a := range []*agent{own, command, held, pooled, keeper} {
				files += c.folder(a.dir, a.config, passwordFile, kept)
			}
			if b, _ := os.ReadFile(kept); !bytes.Contains(b, []byte("canary-setting-password-4718")) {
				t.Error("the kept password of due jobs is not where it may be: the looking finds nothing")
			}
			c.look("the words of the rest-server", []byte(rest.words()))
			for _, a := range c.answers {
				but := ""
				switch a.call { // shown once
				case "POST /api/enrollment-tokens":
					but = "an enrollment token"
				case "POST /api/api-keys":
					but = "an API key"
				}
				c.look("the answer to "+a.call, a.body, but)
			}
			for what := range c.found {
				t.Error(what)
			}
			// What must be found is: the looking itself works.
			for _, k := range c.list {
				if k.environ != "" && k.seen == 0 {
					t.Errorf("%s was never seen in the environment of %q: the watcher sees nothing", k.name, k.environ)
				}
			}
			if b, _ := os.ReadFile(own.config); len(c.in(b)) != 2 {
				t.Errorf("agent.yaml: got %d of its two secrets found", len(c.in(b)))
			}
			t.Logf("%s: %d secrets, %d samples of processes, %d answers, %d files of agents: nowhere", db, len(c.list), c.sampled, len(c.answers), files)
		})
	}
}

// pool sets up a repository of the server's for a machine, with other credentials for the one that maintains it, has
// policies back up to it and to the held one, and does all that people do with it. It returns the jobs.
func (c *canaries) pool(s *server, pooled, keeper, held *agent) (jobs []string) {
	t := c.t
	store := newStorage(t)
	for a, guard := range map[*agent]string{pooled: "schedule: {keep_secrets: true}", keeper: "maintenance: {forget: true, prune: true}"} {
		if err := os.WriteFile(filepath.Join(filepath.Dir(a.config), "guard.yaml"), []byte("version: 1\n"+guard+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		a.start()
	}
	source := filepath.Join(pooled.dir, "source")
	oddTree(t, source)
	var key struct{ Secret string }
	s.do("POST", "/api/api-keys", map[string]any{"name": "a program", "role": "operator"}, &key)
	c.add("an API key", key.Secret, "")
	asked, err := http.NewRequest("GET", s.url+"/api/hosts", nil)
	if err != nil {
		t.Fatal(err)
	}
	asked.Header.Set("Authorization", "Bearer "+key.Secret)
	if a, err := s.http.Do(asked); err != nil || a.StatusCode != 200 {
		t.Errorf("with the API key: %v, %v", a, err)
	}
	body := map[string]any{"name": "Off site", "url": "rest:" + store.url + "/store", "password": "canary-setting-password-4718",
		"env":             map[string]string{"RESTIC_REST_USERNAME": "hosts", "RESTIC_REST_PASSWORD": hostsSecret},
		"maintenance_env": map[string]string{"RESTIC_REST_USERNAME": "maintenance", "RESTIC_REST_PASSWORD": maintenanceSecret},
		"append_only":     true, "runner_id": keeper.hostID}
	var o struct {
		ID       string
		Contents []struct {
			RepositoryID string `json:"repository_id"`
		}
	}
	s.do("POST", "/api/repositories", body, &o)
	spec := func(host, repository string) map[string]any {
		return map[string]any{"name": "Of " + host, "spec": map[string]any{"hosts": map[string]any{"ids": []string{host}}, "repository_id": repository,
			"backup": map[string]any{"paths": []string{source}}, "schedule": map[string]any{"cron": "0 4 1 1 *", "zone": "UTC"}, "keep": map[string]any{"last": 2}}}
	}
	var policy, other struct{ ID string }
	s.do("POST", "/api/policies/plan", spec(pooled.hostID, o.ID), nil)
	s.do("POST", "/api/policies", spec(pooled.hostID, o.ID), &policy)
	s.do("POST", "/api/policies", spec(held.hostID, ""), &other) // the password of its repository stays in memory there
	jobs = append(jobs, s.run(pooled.hostID, wire.KindInit, nil, wire.StateSucceeded).ID)
	var run struct {
		Jobs []struct {
			JobID string `json:"job_id"`
		}
	}
	s.do("POST", "/api/policies/"+policy.ID+"/run", map[string]any{}, &run)
	jobs = append(jobs, s.reaches(run.Jobs[0].JobID, time.Minute, wire.StateSucceeded).ID,
		s.run(pooled.hostID, wire.KindEstimate, map[string]any{"paths": []string{filepath.Dir(source)}}, wire.StateSucceeded).ID)
	eventually(t, 30*time.Second, "what was found there is known", func() error {
		s.do("GET", "/api/repositories/"+o.ID, nil, &o)
		if len(o.Contents) != 1 {
			return fmt.Errorf("got %+v", o.Contents)
		}
		return nil
	})
	of := map[string]any{"repository_id": o.Contents[0].RepositoryID}
	s.do("POST", "/api/repositories/"+o.ID+"/adopt", of, nil)
	var began struct{ Job job }
	s.do("POST", "/api/repositories/"+o.ID+"/maintain", map[string]any{"repository_id": o.Contents[0].RepositoryID, "kind": wire.KindPrune}, &began)
	jobs = append(jobs, s.reaches(began.Job.ID, time.Minute, wire.StateSucceeded).ID)
	s.do("POST", "/api/repositories/"+o.ID+"/kit", map[string]string{"passphrase": "canary-kit-passphrase-4721", "current_password": "canary-operator-password-4717"}, nil)
	for _, path := range []string{"/api/repositories", "/api/repositories/" + o.ID, "/api/repositories/" + o.ID + "/removals", "/api/policies", "/api/policies/" + policy.ID,
		"/api/policies/" + policy.ID + "/versions", "/api/ticks", "/api/api-keys", "/api/hosts/" + pooled.hostID, "/api/audit"} {
		s.do("GET", path, nil, nil)
	}
	eventually(t, 30*time.Second, "the machine keeps the password of its due jobs", func() error {
		_, err := os.Stat(filepath.Join(pooled.data, "schedule-secrets.json"))
		return err
	})
	return jobs
}

func cookieValue(t *testing.T, cookie string) string {
	t.Helper()
	_, v, _ := strings.Cut(cookie, "=")
	if len(v) < 20 {
		t.Fatalf("no session: %q", cookie)
	}
	return v
}

// enroll enrolls an agent whose token and bearer are watched from then on.
func (c *canaries) enroll(s *server) *agent {
	c.t.Helper()
	before := len(c.answers)
	a := enrollAgent(c.t, s, "0.18.0")
	for _, x := range c.answers[before:] {
		if i := bytes.Index(x.body, []byte(wire.EnrollmentTokenPrefix)); i >= 0 && x.call == "POST /api/enrollment-tokens" {
			token, _, _ := bytes.Cut(x.body[i:], []byte(`"`))
			c.add("an enrollment token", string(token), "")
		}
	}
	for line := range strings.Lines(a.read()) {
		if v, ok := strings.CutPrefix(line, "agent_token:"); ok {
			c.add("an agent's bearer", strings.Trim(strings.TrimSpace(v), `"`), "")
		}
	}
	a.env = append(a.env, "GOTRACEBACK=crash")
	return a
}
