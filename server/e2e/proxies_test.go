package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"restic-manager/agent/client"
	"restic-manager/shared/wire"
)

// reverse is a reverse proxy of Debian's that runs with the sample of packaging/proxies.
type reverse struct {
	sample string
	// places are what the sample says and what stands there in its place: PROXY and SERVER are their addresses, DIR is the
	// folder of the certificate.
	places map[string]string
	// anchor is a line of the sample, and mark what comes behind it at the reload, so that its answers show it.
	anchor, mark string
	// around writes the rest of the configuration to the folder and gives the command that runs the proxy.
	around func(t *testing.T, dir, sample string) []string
	reload func(t *testing.T, p *process, dir, sample string)
}

var reverses = map[string]reverse{
	"nginx": {
		sample: "nginx.conf",
		places: map[string]string{
			"listen 443 ssl http2;":        "listen PROXY ssl http2;",
			"server 127.0.0.1:8080;":       "server SERVER;",
			"/etc/ssl/backup.crt;":         "DIR/tls.crt;",
			"/etc/ssl/private/backup.key;": "DIR/tls.key;",
		},
		anchor: "location / {", mark: "add_header X-Reloaded yes always;",
		around: func(t *testing.T, dir, sample string) []string {
			user := ""
			if os.Geteuid() == 0 {
				user = "user root;" // its workers write below the test's folder
			}
			putText(t, filepath.Join(dir, "main.conf"), fmt.Sprintf(`%s
daemon off;
pid %[2]s/nginx.pid;
error_log %[2]s/error.log;
events { worker_connections 4096; }
http {
	access_log off;
	client_body_temp_path %[2]s/body;
	proxy_temp_path %[2]s/proxied;
	fastcgi_temp_path %[2]s/fastcgi;
	uwsgi_temp_path %[2]s/uwsgi;
	scgi_temp_path %[2]s/scgi;
	include %[3]s;
}
`, user, dir, sample))
			return []string{found(t, "nginx"), "-e", filepath.Join(dir, "error.log"), "-c", filepath.Join(dir, "main.conf")}
		},
		reload: func(t *testing.T, p *process, _, _ string) { sendSignal(t, p, syscall.SIGHUP) },
	},
	"caddy": {
		sample: "Caddyfile",
		places: map[string]string{
			"{$DOMAIN:backup.example} {": "{\n\tadmin unix/DIR/admin.sock\n\tauto_https off\n}\nhttps://PROXY {\n\ttls DIR/tls.crt DIR/tls.key\n\tbind 127.0.0.1",
			"{$UPSTREAM:127.0.0.1:8080}": "SERVER",
		},
		anchor: "bind 127.0.0.1", mark: "header X-Reloaded yes",
		around: func(t *testing.T, _, sample string) []string {
			return []string{found(t, "caddy"), "run", "--config", sample, "--adapter", "caddyfile"}
		},
		reload: func(t *testing.T, _ *process, dir, sample string) {
			cmd := exec.Command(found(t, "caddy"), "reload", "--config", sample, "--adapter", "caddyfile", "--address", "unix/"+filepath.Join(dir, "admin.sock"))
			cmd.Env = append(os.Environ(), "HOME="+dir)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("caddy reload: %v\n%s", err, out)
			}
		},
	},
	"haproxy": {
		sample: "haproxy.cfg",
		places: map[string]string{
			"bind :443 ssl crt /etc/haproxy/backup.pem": "bind PROXY ssl crt DIR/both.pem",
			"server one 127.0.0.1:8080":                 "server one SERVER",
		},
		anchor: "default_backend restic_manager", mark: "http-response set-header X-Reloaded yes",
		around: func(t *testing.T, dir, sample string) []string {
			both := textOf(t, filepath.Join(dir, "tls.crt")) + textOf(t, filepath.Join(dir, "tls.key"))
			putText(t, filepath.Join(dir, "both.pem"), both)
			// As Debian's own has it, whose limits are shorter than the sample's.
			putText(t, filepath.Join(dir, "main.cfg"), fmt.Sprintf(`global
	stats socket %s/admin.sock mode 660 level admin expose-fd listeners
	maxconn 4096
defaults
	mode http
	timeout connect 5000
	timeout client 50000
	timeout server 50000
`, dir))
			return []string{found(t, "haproxy"), "-W", "-f", filepath.Join(dir, "main.cfg"), "-f", sample}
		},
		reload: func(t *testing.T, p *process, _, _ string) { sendSignal(t, p, syscall.SIGUSR2) },
	},
}

func putText(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func textOf(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func sendSignal(t testing.TB, p *process, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

const callers = 100

// TestReverseProxies has a hundred agents work through each proxy while it is reloaded: no poll that waits is cut, each
// job is done once and ends once, and each log is whole. The jobs of every second one are in the middle then.
func TestReverseProxies(t *testing.T) {
	t.Parallel()
	for name, r := range reverses {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			workThrough(t, r)
		})
	}
}

func workThrough(t *testing.T, r reverse) {
	s := newServerBehind(t)
	dir := t.TempDir()
	selfSigned(t, dir)
	address := freeAddress(t)
	text := textOf(t, filepath.Join("..", "..", "packaging", "proxies", r.sample))
	for there, stead := range r.places {
		if !strings.Contains(text, there) {
			t.Fatalf("%s has no %q any more", r.sample, there)
		}
		text = strings.Replace(text, there, strings.NewReplacer("PROXY", address, "SERVER", s.listen, "DIR", dir).Replace(stead), 1)
	}
	sample := filepath.Join(dir, r.sample)
	putText(t, sample, text)
	command := r.around(t, dir, sample)
	proxy := startProcess(t, filepath.Join(dir, "proxy.log"), nil, command[0], command[1:]...)
	t.Cleanup(func() {
		if code := proxy.terminate(t, patience*30*time.Second); t.Failed() {
			t.Logf("the proxy ended with %d; its words:\n%s", code, tail(proxy.words(), 40))
		}
	})
	f := &fronted{t: t, s: s, url: "https://" + address, ca: filepath.Join(dir, "tls.crt"), reloaded: make(chan struct{}), done: map[string]int{}}
	f.http = comingFrom(2)
	t.Cleanup(f.http.CloseIdleConnections)
	eventually(t, 20*time.Second, "the proxy answers", func() error {
		answer, err := f.ask("GET", "/readyz", nil)
		if err == nil && answer.StatusCode != 200 {
			err = fmt.Errorf("readyz: %s", answer.Status)
		}
		return err
	})
	f.signsIn()

	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	t.Cleanup(func() { cancel(); all.Wait() })
	idle := f.join(0)
	var long sync.WaitGroup
	var hosts []*caller
	for n := range callers {
		c := f.join(n + 1)
		c.halts = n%2 == 1
		hosts = append(hosts, c)
		all.Go(func() { c.work(ctx) })
	}
	s.holds(callers)
	long.Go(func() { idle.waits(ctx) })
	var jobs []string
	order := func(c *caller, n int) {
		jobs = append(jobs, s.order(c.id, wire.KindBackup, &wire.BackupSpec{Paths: []string{fmt.Sprintf("/data/%d", n)}}).ID)
	}
	for _, c := range hosts {
		order(c, 0)
		if !c.halts {
			order(c, 1)
		}
	}
	eventually(t, 30*time.Second, "the jobs flow", func() error {
		if n := f.ended(); n < callers/4 {
			return fmt.Errorf("%d of %d have ended", n, len(jobs))
		}
		return nil
	})
	putText(t, sample, strings.Replace(text, r.anchor, r.anchor+"\n\t\t"+r.mark, 1))
	r.reload(t, proxy, dir, sample)
	close(f.reloaded)
	eventually(t, 20*time.Second, "the proxy has its new configuration", func() error {
		f.http.CloseIdleConnections()
		answer, err := f.ask("GET", "/healthz", nil)
		if err == nil && answer.Header.Get("X-Reloaded") != "yes" {
			err = fmt.Errorf("it answers %s by its old one", answer.Status)
		}
		return err
	})
	for _, c := range hosts[:callers/4] {
		order(c, 2)
	}
	for _, id := range jobs {
		j := s.reaches(id, 60*time.Second, wire.StateSucceeded)
		if j = s.complete(id); j.LogLines == nil || *j.LogLines != linesOfJob {
			t.Errorf("got %v lines of the log of job %s, want %d", j.LogLines, id, linesOfJob)
		}
	}
	f.mu.Lock()
	for _, id := range jobs {
		if f.done[id] != 1 {
			t.Errorf("job %s was done %d times", id, f.done[id])
		}
	}
	f.mu.Unlock()
	answer, err := f.ask("GET", "/api/jobs/"+jobs[0]+"/log.txt", nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := io.ReadAll(answer.Body); string(got) != s.log(jobs[0]) || len(got) < bigRecord {
		t.Errorf("got %d bytes of a log through the proxy, want %d", len(got), len(s.log(jobs[0])))
	}
	s.holds(callers + f.waiting())
	long.Wait()
	f.mu.Lock()
	if len(f.cut) > 0 {
		t.Errorf("%d polls were cut, as by %v", len(f.cut), f.cut[0])
	}
	f.mu.Unlock()
}

// newServerBehind trusts what comes from 127.0.0.1, the proxy; the test itself comes from other addresses.
func newServerBehind(t testing.TB) *server {
	t.Helper()
	dir := t.TempDir()
	s := &server{t: t, dir: dir, logFile: filepath.Join(dir, "server.log"), listen: freeAddress(t), http: comingFrom(3),
		env: []string{"RESTIC_MANAGER_TRUSTED_PROXIES=127.0.0.1/32", "RESTIC_MANAGER_METRICS_TOKEN=" + metricsToken}}
	s.url = "http://" + s.listen
	s.start()
	t.Cleanup(func() {
		s.http.CloseIdleConnections()
		s.kill()
		if t.Failed() {
			t.Logf("words of the server:\n%s", tail(s.words(), 20))
		}
	})
	s.signIn()
	return s
}

// comingFrom is a client whose own address is 127.0.0.n.
func comingFrom(n byte) *http.Client {
	return &http.Client{Timeout: time.Minute, Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, n)}}).DialContext}}
}

// fronted is a server behind a proxy.
type fronted struct {
	t       *testing.T
	s       *server
	url, ca string
	http    *http.Client // whose own address is 127.0.0.2
	cookie  string

	reloaded chan struct{} // closed when the proxy was told to

	mu   sync.Mutex     // guards all below
	done map[string]int // jobs that were begun here
	over int
	held int
	cut  []error // of polls
}

func (f *fronted) ended() int   { f.mu.Lock(); defer f.mu.Unlock(); return f.over }
func (f *fronted) waiting() int { f.mu.Lock(); defer f.mu.Unlock(); return f.held }

// ask is a person's request through the proxy, with a lie about where it comes from.
func (f *fronted) ask(method, path string, in any) (*http.Response, error) {
	q, err := http.NewRequest(method, f.url+path, bytes.NewReader(mustJSON(in)))
	if err != nil {
		return nil, err
	}
	q.Header.Set("Content-Type", "application/json")
	q.Header.Set("Origin", f.url)
	q.Header.Set("X-Forwarded-For", "198.51.100.9")
	q.Header.Set("X-Forwarded-Proto", "http")
	if f.cookie != "" {
		q.Header.Set("Cookie", f.cookie)
	}
	a, err := f.http.Do(q)
	if err != nil {
		return nil, err
	}
	defer a.Body.Close()
	b, err := io.ReadAll(a.Body)
	a.Body = io.NopCloser(bytes.NewReader(b))
	return a, err
}

// signsIn shows that the server takes the proxy's word for address and scheme, and the client's for neither.
func (f *fronted) signsIn() {
	f.t.Helper()
	answer, err := f.ask("POST", "/api/auth/login", map[string]string{"username": adminUser, "password": adminPassword})
	if err != nil || answer.StatusCode != 204 {
		f.t.Fatalf("sign in through the proxy: %v %+v", err, answer)
	}
	for _, c := range answer.Cookies() {
		f.cookie = c.Name + "=" + c.Value
		if !c.Secure {
			f.t.Errorf("the cookie %s goes over plain HTTP too: the server did not learn that the proxy serves HTTPS", c.Name)
		}
	}
	var b []byte
	f.s.do("GET", "/api/sessions", nil, &b)
	if !strings.Contains(string(b), `"127.0.0.2"`) || strings.Contains(string(b), "198.51.100.9") {
		f.t.Errorf("got the sessions %s, want one from 127.0.0.2 and none from where the client said", b)
	}
}

// caller is an agent that does nothing but speak the protocol, through the proxy.
type caller struct {
	f    *fronted
	c    *client.Client
	id   string
	boot string
	seq  int64
	mark string
	repo string
	// halts in the middle of its jobs until the proxy was reloaded
	halts bool
}

func (f *fronted) join(n int) *caller {
	f.t.Helper()
	c := &caller{f: f, boot: randomHex(16), repo: randomHex(32)}
	secret := wire.AgentTokenPrefix + randomHex(32)
	var err error
	if c.c, err = client.New(client.Options{ServerURL: f.url, Token: secret, CAFile: f.ca}); err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(c.c.Close)
	enroll := wire.EnrollRequest{Token: f.s.token(fmt.Sprintf("caller-%d", n)), AgentTokenSHA256: shaOf(secret), Hostname: fmt.Sprintf("caller-%d", n),
		OS: "linux", Arch: "amd64", AgentVersion: "1.0.0", ProtocolVersion: wire.ProtocolVersion}
	var reply wire.EnrollReply
	if n == 0 {
		if reply, err = c.c.Enroll(f.t.Context(), enroll); err != nil {
			f.t.Fatal(err)
		}
	} else {
		// Of one address the server takes few a minute: the others come past the proxy, each from its own.
		own := *f.s
		own.http = comingFrom(byte(10 + n))
		own.do("POST", "/api/agents/enroll", enroll, &reply)
		own.http.CloseIdleConnections()
	}
	c.id, c.seq = reply.HostID, 1
	if _, err := c.c.Hello(f.t.Context(), helloOf(c.boot, 1, 1, c.repo)); err != nil {
		f.t.Fatal(err)
	}
	return c
}

func (c *caller) poll(ctx context.Context, wait time.Duration, jobs ...wire.JobRef) (wire.PollReply, error) {
	c.seq++
	r, err := c.c.Poll(ctx, wire.PollQuery{Boot: c.boot, Seq: c.seq, Mark: c.mark, Wait: wait, FreeLong: 1, FreeShort: 1, Jobs: jobs, Config: "none"})
	if err == nil {
		c.mark = r.Mark
	}
	return r, err
}

// waits polls for nothing. What was held longest was begun before the reload and is answered after it.
func (c *caller) waits(ctx context.Context) {
	if _, err := c.poll(ctx, 0); err != nil {
		c.f.t.Errorf("a poll that does not wait: %v", err)
	}
	c.f.mu.Lock()
	c.f.held++
	c.f.mu.Unlock()
	defer func() { c.f.mu.Lock(); c.f.held--; c.f.mu.Unlock() }()
	const hold = 30 * time.Second
	began := time.Now()
	if _, err := c.poll(ctx, hold); err != nil || time.Since(began) < hold-time.Second {
		c.f.t.Errorf("a poll that was to wait %s: after %s %v", hold, time.Since(began), err)
	}
}

// work polls, and does what is offered. A poll that is cut is asked again, as agents do; other calls are tried again by
// the client.
func (c *caller) work(ctx context.Context) {
	for ctx.Err() == nil {
		r, err := c.poll(ctx, 25*time.Second)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			c.f.mu.Lock()
			c.f.cut = append(c.f.cut, err)
			c.f.mu.Unlock()
		case r.Offer != nil:
			if err := c.perform(ctx, *r.Offer); err != nil && ctx.Err() == nil {
				c.f.t.Errorf("job %s: %v", r.Offer.JobID, err)
			}
		}
	}
}

const (
	batches    = 4
	linesOfJob = batches*20 + 1
	bigRecord  = 48 << 10 // characters of one line that does not shrink
)

// perform is a job from its acceptance to its end, with a list that is sent in a part of its own.
func (c *caller) perform(ctx context.Context, o wire.Offer) error {
	ref := wire.JobRef{ID: o.JobID, Lease: randomHex(16)}
	if _, err := c.c.Accept(ctx, ref.ID, wire.AcceptRequest{Lease: ref.Lease, Delivery: o.Delivery}); err != nil {
		return fmt.Errorf("accept: %w", err)
	}
	if err := c.c.Start(ctx, ref, wire.StartRequest{StartNonce: randomHex(16), RepositoryID: c.repo}); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	c.f.mu.Lock()
	c.f.done[ref.ID]++
	first := c.f.done[ref.ID] == 1 && len(c.f.done) == 1
	c.f.mu.Unlock()
	log := &logTape{c: c.c, ref: ref, sum: sha256.New()}
	for n := range batches {
		if n == batches/2 && c.halts {
			select {
			case <-c.f.reloaded:
			case <-ctx.Done():
			}
		}
		var lines []string
		for i := range 20 {
			lines = append(lines, fmt.Sprintf("line %d of %s", n*20+i, ref.ID))
		}
		if n == 1 {
			lines = append(lines, incompressible(bigRecord))
		}
		if err := log.send(ctx, lines); err != nil {
			return fmt.Errorf("log: %w", err)
		}
		if _, err := c.c.Progress(ctx, ref, wire.Progress{Seq: int64(n + 1), PercentDone: float64(n) / batches}); err != nil {
			return fmt.Errorf("progress: %w", err)
		}
	}
	if first {
		if err := c.list(ctx, ref); err != nil {
			return fmt.Errorf("list: %w", err)
		}
	}
	end := wire.FinishRequest{State: wire.StateSucceeded, ExitCode: new(int), LogLines: log.lines, LogSHA256: hex.EncodeToString(log.sum.Sum(nil)), StartedAt: time.Now(), EndedAt: time.Now()}
	if _, err := c.c.Finish(ctx, ref, mustJSON(end)); err != nil {
		return fmt.Errorf("finish: %w", err)
	}
	c.f.mu.Lock()
	c.f.over++
	c.f.mu.Unlock()
	return nil
}

// incompressible is text that compression makes little of.
func incompressible(n int) string {
	b := make([]byte, n*3/4)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return base64.StdEncoding.EncodeToString(b)
}

// list replaces the host's list by one part that is as large as may be.
func (c *caller) list(ctx context.Context, ref wire.JobRef) error {
	reply, err := c.c.BeginListing(ctx, ref)
	if err != nil {
		return err
	}
	var part []byte
	count := 0
	for len(part) < reply.MaxPartBytes-8<<10 {
		line, err := json.Marshal(wire.Snapshot{ID: randomHex(32), Tree: randomHex(32), Time: time.Now(), Hostname: "h", Paths: []string{"/" + incompressible(3<<10)}})
		if err != nil {
			return err
		}
		part, count = append(append(part, line...), '\n'), count+1
	}
	if err := c.c.PutListingPart(ctx, ref, reply.Token, 0, client.PrepareBody(part)); err != nil {
		return err
	}
	return c.c.CommitListing(ctx, ref, reply.Token, wire.CommitRequest{Parts: 1, Count: count, SHA256: hexSum(part), RepositoryID: c.repo})
}

// logTape is the log of a job on its way.
type logTape struct {
	c     *client.Client
	ref   wire.JobRef
	lines int64
	sum   hash.Hash
}

func (l *logTape) send(ctx context.Context, lines []string) error {
	var b []byte
	for _, line := range lines {
		b = wire.AppendRecord(b, time.Now(), wire.StreamOut, []byte(line), wire.MaxRecord)
	}
	q := wire.LogQuery{FirstLine: l.lines + 1, Lines: int64(len(lines)), SumBefore: hex.EncodeToString(l.sum.Sum(nil))}
	reply, err := l.c.AppendLog(ctx, l.ref, q, client.PrepareBody(b))
	if err != nil {
		return err
	}
	l.sum.Write(b)
	l.lines += int64(len(lines))
	if reply.NextLine != l.lines+1 {
		return fmt.Errorf("the next line is %d, want %d", reply.NextLine, l.lines+1)
	}
	return nil
}
