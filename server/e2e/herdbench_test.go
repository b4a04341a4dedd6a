package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"restic-manager/agent/client"
	"restic-manager/agent/runner"
	"restic-manager/server/database"
	"restic-manager/server/database/databasetest"
	"restic-manager/server/e2e/demo/madeup"
	"restic-manager/server/e2e/herd"
	"restic-manager/shared/wire"
)

// herdSize is how many agents there are; RESTIC_MANAGER_BENCH_HERD is another number. Each takes a file of this process and
// one of the server's.
func herdSize(b *testing.B) int {
	b.Helper()
	n := 10_000
	if v := os.Getenv("RESTIC_MANAGER_BENCH_HERD"); v != "" {
		var err error
		if n, err = strconv.Atoi(v); err != nil {
			b.Fatal(err)
		}
		if n < 2*orders {
			b.Fatalf("RESTIC_MANAGER_BENCH_HERD=%d: give %d at least, so that no agent gets two orders", n, 2*orders)
		}
	}
	return n
}

// grazing is a herd with its server, which serves HTTPS.
type grazing struct {
	b       *testing.B
	s       *server
	cert    string
	members []herd.Member
	h       *herd.Herd
	stop    context.CancelFunc
}

// fleetServer is a server on a made-up fleet.
func fleetServer(b *testing.B, engine string, hosts, jobs int) *grazing {
	b.Helper()
	dir := b.TempDir()
	selfSigned(b, dir)
	data := filepath.Join(dir, "data")
	if err := os.MkdirAll(data, 0o700); err != nil {
		b.Fatal(err)
	}
	database, env := filepath.Join(data, "restic-manager.db"), []string{}
	if engine == "postgres" {
		database = databasetest.New(b, engine)
		env = append(env, "DATABASE_URL="+database)
	}
	const seed = 7
	err := madeup.Fill(b.Context(), madeup.Options{Database: database, Hosts: hosts, Jobs: jobs, Snapshots: 4, Seed: seed, Now: time.Now(),
		AdminUser: adminUser, AdminPassword: adminPassword})
	if err != nil {
		b.Fatal(err)
	}
	g := &grazing{b: b, cert: filepath.Join(dir, "tls.crt")}
	online, err := madeup.OnlineHosts(b.Context(), database)
	if err != nil {
		b.Fatal(err)
	}
	for _, h := range online {
		g.members = append(g.members, herd.Member{HostID: h.ID, Token: madeup.AgentToken(seed, h.ID), BootNumber: h.BootNumber, Repository: h.Repository})
	}
	g.s = g.replica(data, env)
	return g
}

// replica is a server on the same database.
func (g *grazing) replica(data string, env []string) *server {
	g.b.Helper()
	s := &server{t: g.b, dir: data, logFile: filepath.Join(g.b.TempDir(), "log"), listen: freeAddress(g.b),
		env:  append(env, "RESTIC_MANAGER_TLS_CERT="+g.cert, "RESTIC_MANAGER_TLS_KEY="+filepath.Join(filepath.Dir(g.cert), "tls.key")),
		http: &http.Client{Timeout: 90 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}}
	s.url = "https://" + s.listen
	s.start()
	g.b.Cleanup(s.kill)
	s.signIn()
	return s
}

// gather has n agents wait at the server.
func (g *grazing) gather(n int, work *herd.Work) {
	g.b.Helper()
	if len(g.members) < n {
		g.b.Fatalf("%d hosts are online in the made-up fleet, want %d", len(g.members), n)
	}
	ctx, stop := context.WithCancel(g.b.Context())
	h, err := herd.Gather(ctx, g.members[:n], herd.Options{Client: client.Options{ServerURL: g.s.url, CAFile: g.cert, Version: "herd"}, Work: work}, time.Millisecond)
	if err != nil {
		g.b.Fatal(err)
	}
	g.h, g.stop = h, func() { stop(); h.Wait() }
	g.b.Cleanup(g.stop)
	g.allWait(n, 5*time.Minute)
}

// allWait waits until the server holds n polls, and tells how long that took.
func (g *grazing) allWait(n int, limit time.Duration) time.Duration {
	g.b.Helper()
	begun := time.Now()
	eventually(g.b, limit, "all wait", func() error {
		var info struct {
			Held int `json:"long_polls_held"`
		}
		if _, err := g.s.try("GET", "/api/server", nil, &info); err != nil {
			return err
		}
		// Of a herd some are always between two polls.
		if info.Held < n-n/500 {
			return fmt.Errorf("%d of %d; errors %v", info.Held, n, g.h.Errors())
		}
		return nil
	})
	return time.Since(begun)
}

// cpuSeconds and rss of a process (proc_pid_stat(5), proc_pid_status(5)).
func cpuSeconds(b *testing.B, pid int) float64 {
	b.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	return statSeconds(raw, 2)
}

// statSeconds is the processor time in a process's stat: of user and system for 2 fields, of these and of the children it has waited
// for for 4.
func statSeconds(stat []byte, fields int) (seconds float64) {
	for _, f := range strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))[11 : 11+fields] {
		ticks, _ := strconv.ParseFloat(f, 64)
		seconds += ticks / 100 // USER_HZ
	}
	return seconds
}

func rssMiB(b *testing.B, pid int) float64 {
	b.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		if v, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, _ := strconv.ParseFloat(strings.Fields(v)[0], 64)
			return kib / 1024
		}
	}
	b.Fatal("no VmRSS")
	return 0
}

func p99(all []time.Duration) time.Duration { return nth(all, 99) }

// nth is the time that so many of a hundred do not exceed.
func nth(all []time.Duration, percent int) time.Duration {
	slices.Sort(all)
	return all[len(all)*percent/100]
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// BenchmarkIdleHerd is what agents cost that only wait, TLS: the server's processor time as a part of one core, over a
// minute in which each of them asks again twice or three times; beside what as many cost a bare handler that parks them as long.
func BenchmarkIdleHerd(b *testing.B) {
	for _, engine := range databases {
		b.Run(engine, func(b *testing.B) {
			n := herdSize(b)
			for b.Loop() {
				g := fleetServer(b, engine, n+n/4, 5*n)
				g.gather(n, nil)
				pause := time.NewTimer(time.Minute)
				<-pause.C // each is told its configuration once, and settles
				before, begun := cpuSeconds(b, g.s.cmd.Process.Pid), time.Now()
				answered := g.h.Answered.Load()
				pause.Reset(time.Minute)
				<-pause.C
				ours := (cpuSeconds(b, g.s.cmd.Process.Pid) - before) / time.Since(begun).Seconds()
				b.ReportMetric(ours, "core-share")
				b.ReportMetric(float64(g.h.Answered.Load()-answered)/time.Since(begun).Seconds(), "polls/s")
				b.ReportMetric(rssMiB(b, g.s.cmd.Process.Pid), "MiB")
				g.unanswered()
				g.stop()
				g.s.kill()
				bare := bareIdle(b, g, n)
				b.ReportMetric(bare, "baseline-core-share")
				b.ReportMetric(ours/bare, "core-ratio")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// unanswered reports the requests that got no answer, which an agent sends again, and fails with any answer that is an error.
func (g *grazing) unanswered() {
	g.b.Helper()
	n := int64(0)
	for what, count := range g.h.Errors() {
		if !strings.HasPrefix(what, herd.NoAnswer) {
			g.b.Errorf("%d times %s", count, what)
			continue
		}
		n += count
		g.b.Logf("%d times %s", count, what)
	}
	g.b.ReportMetric(float64(n), "unanswered")
}

// BenchmarkHerdReturns is the time after kill -9 of the server, away for 2 s, until all agents wait again, TLS; the requests that it
// answers in the busiest second meanwhile; answers that are neither 2xx nor 503; and how much more than the mean is asked in the busiest
// ten seconds of the minute after, in which a herd that came back together might come again together.
func BenchmarkHerdReturns(b *testing.B) {
	for _, engine := range databases {
		b.Run(engine, func(b *testing.B) {
			n := herdSize(b)
			for b.Loop() {
				g := fleetServer(b, engine, n+n/4, 5*n)
				g.gather(n, nil)
				stop := g.watch()
				g.s.kill()
				away := time.NewTimer(2 * time.Second)
				<-away.C
				begun := time.Now()
				g.s.start()
				g.allWait(n, 2*time.Minute)
				b.ReportMetric(time.Since(begun).Seconds(), "s")
				b.ReportMetric(float64(slices.Max(stop())), "busiest-requests/s")
				b.ReportMetric(rssMiB(b, g.s.cmd.Process.Pid), "MiB")
				others := 0.0
				for what, count := range g.h.Errors() {
					if !strings.HasPrefix(what, herd.NoAnswer) && !strings.HasPrefix(what, "503") {
						others += float64(count)
					}
				}
				b.ReportMetric(others, "other-answers")
				stop = g.watch()
				after := time.NewTimer(time.Minute)
				<-after.C
				b.ReportMetric(wave(stop(), 10), "second-wave")
				g.stop()
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// watch counts what the server answers in each second; the func it gives ends that.
func (g *grazing) watch() (stop func() []int64) {
	ctx, cancel := context.WithCancel(g.b.Context())
	var seconds []int64
	var watch sync.WaitGroup
	watch.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for last := g.h.Reached.Load(); ; {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			now := g.h.Reached.Load()
			seconds, last = append(seconds, now-last), now
		}
	})
	return func() []int64 { cancel(); watch.Wait(); return seconds }
}

// wave is the mean of the busiest window of so many seconds by the mean of all.
func wave(seconds []int64, window int) float64 {
	var all, most int64
	for i := range seconds {
		all += seconds[i]
		if i+1 >= window {
			var here int64
			for _, n := range seconds[i+1-window : i+1] {
				here += n
			}
			most = max(most, here)
		}
	}
	return float64(most) / float64(window) / (float64(all) / float64(len(seconds)))
}

// orders is how many jobs are ordered one after the other.
const orders = 400

// BenchmarkDispatch is the time from a person's POST of a job until its agent holds the offer, all others waiting, TLS; beside
// a bare handler's pair of a POST that wakes a parked GET, with as many connections. On PostgreSQL also with the POST at
// another replica than the one at which the agent waits. What a row alone costs that is committed to the same disk meanwhile is
// told, for no order is answered before it is there.
func BenchmarkDispatch(b *testing.B) {
	for _, engine := range databases {
		b.Run(engine, func(b *testing.B) {
			n := herdSize(b)
			for b.Loop() {
				g := fleetServer(b, engine, n+n/4, 5*n)
				g.gather(n, nil)
				all, answered := g.dispatch(g.s, g.members[:orders])
				ours := p99(all)
				b.ReportMetric(ms(nth(all, 50)), "p50-ms")
				b.ReportMetric(ms(nth(answered, 50)), "order-answered-p50-ms")
				b.ReportMetric(ms(p99(answered)), "order-answered-p99-ms")
				commits := bareCommits(b, engine)
				b.ReportMetric(ms(nth(commits, 50)), "bare-commit-p50-ms")
				b.ReportMetric(ms(p99(commits)), "bare-commit-p99-ms")
				if engine == "postgres" {
					data := b.TempDir()
					key, err := os.ReadFile(filepath.Join(g.s.dir, "secret.key"))
					if err != nil {
						b.Fatal(err)
					}
					if err := os.WriteFile(filepath.Join(data, "secret.key"), key, 0o600); err != nil {
						b.Fatal(err)
					}
					second := g.replica(data, g.s.env[:1])
					elsewhere, _ := g.dispatch(second, g.members[orders:2*orders])
					b.ReportMetric(ms(nth(elsewhere, 50))-ms(nth(all, 50)), "other-replica-more-ms")
					b.ReportMetric(ms(p99(elsewhere))-ms(ours), "other-replica-more-p99-ms")
				}
				g.stop()
				g.s.kill()
				bare := bareDispatch(b, g, n)
				b.ReportMetric(ms(ours), "p99-ms")
				b.ReportMetric(ms(bare), "baseline-p99-ms")
				b.ReportMetric(ms(ours)/ms(bare), "ratio")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// dispatch orders one job of each of these at a server, one after the other: how long each took to its agent, and to the answer.
func (g *grazing) dispatch(at *server, members []herd.Member) (took, answered []time.Duration) {
	g.b.Helper()
	for _, m := range members {
		begun := time.Now()
		var j job
		at.do("POST", "/api/hosts/"+m.HostID+"/jobs", map[string]any{"kind": wire.KindSnapshots}, &j)
		answered = append(answered, time.Since(begun))
		for {
			offer := <-g.h.Offers
			if offer.JobID == j.ID {
				took = append(took, offer.At.Sub(begun))
				break
			}
		}
	}
	return took, answered
}

// bareCommits are the times of rows that are committed one after the other to a table with nothing behind it, in a database beside
// the server's.
func bareCommits(b *testing.B, engine string) []time.Duration {
	b.Helper()
	db, err := database.Open(b.Context(), database.Options{URL: databasetest.New(b, engine), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	write := func(sql string, args ...any) {
		err := db.Write(b.Context(), func(tx *database.Tx) error { return tx.Exec(sql, args...).Error })
		if err != nil {
			b.Fatal(err)
		}
	}
	write("CREATE TABLE bare (id BIGINT PRIMARY KEY)")
	var took []time.Duration
	for i := range orders {
		begun := time.Now()
		write("INSERT INTO bare VALUES (?)", i)
		took = append(took, time.Since(begun))
	}
	return took
}

// bareServer in the environment has this program be the bare handler, with the certificate it names; see TestMain.
const bareServer = "RESTIC_MANAGER_BENCH_BARE"

// serveBare parks each GET until a POST of the same path.
func serveBare(cert string) error {
	var mu sync.Mutex
	parked := map[string]chan struct{}{}
	at := func(path string) chan struct{} {
		mu.Lock()
		defer mu.Unlock()
		if parked[path] == nil {
			parked[path] = make(chan struct{}, 1)
		}
		return parked[path]
	}
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.Method == "POST" {
			io.Copy(io.Discard, r.Body)
			at(r.URL.Path) <- struct{}{}
			w.WriteHeader(201)
			io.WriteString(w, `{"id":"`+r.URL.Path+`"}`)
			return
		}
		hold, err := time.ParseDuration(r.URL.Query().Get("wait"))
		if err != nil {
			hold = time.Hour
		}
		over := time.NewTimer(hold)
		defer over.Stop()
		select {
		case <-at(r.URL.Path):
		case <-over.C:
		case <-r.Context().Done():
		}
		io.WriteString(w, `{"mark":"0123456789abcdef0123456789abcdef"}`)
	})
	return (&http.Server{Addr: os.Getenv(bareServer + "_LISTEN"), Handler: h}).ListenAndServeTLS(cert, filepath.Join(filepath.Dir(cert), "tls.key"))
}

// startBare runs the bare handler as a process of its own, and gives where it listens.
func startBare(b *testing.B, g *grazing) (listen string, c *exec.Cmd) {
	b.Helper()
	listen = freeAddress(b)
	c = exec.Command(os.Args[0])
	c.Env = append(os.Environ(), bareServer+"="+g.cert, bareServer+"_LISTEN="+listen)
	if err := c.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Process.Kill(); c.Wait() })
	eventually(b, 10*time.Second, "the bare server listens", func() error {
		r, err := g.s.http.Post("https://"+listen+"/nobody", "application/json", strings.NewReader("{}"))
		if err == nil {
			r.Body.Close()
		}
		return err
	})
	return listen, c
}

// bareClients are so many that each do what park does, over connections of their own; they come one after the other, as a herd does.
func bareClients(n int, park func(own *http.Client, i int)) (wait func()) {
	var all sync.WaitGroup
	pace := time.NewTicker(time.Millisecond)
	defer pace.Stop()
	for i := range n {
		own := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
		all.Go(func() {
			defer own.CloseIdleConnections()
			park(own, i)
		})
		<-pace.C
	}
	return all.Wait
}

// bareGet is whether the bare handler answered.
func bareGet(ctx context.Context, own *http.Client, url string) bool {
	r, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		return false
	}
	answer, err := own.Do(r)
	if err != nil {
		return false
	}
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, answer.Body)
	return err == nil
}

// bareIdle is the processor time, in cores, of a bare handler that parks so many for as long as agents wait.
func bareIdle(b *testing.B, g *grazing, n int) float64 {
	b.Helper()
	listen, c := startBare(b, g)
	ctx, stop := context.WithCancel(b.Context())
	wait := bareClients(n, func(own *http.Client, i int) {
		for bareGet(ctx, own, fmt.Sprintf("https://%s/%d?wait=%s", listen, i, runner.DefaultTiming.HoldIdle.Draw())) {
		}
	})
	pause := time.NewTimer(time.Minute)
	<-pause.C
	before, begun := cpuSeconds(b, c.Process.Pid), time.Now()
	pause.Reset(time.Minute)
	<-pause.C
	share := (cpuSeconds(b, c.Process.Pid) - before) / time.Since(begun).Seconds()
	stop()
	wait()
	return share
}

func bareDispatch(b *testing.B, g *grazing, n int) time.Duration {
	b.Helper()
	listen, _ := startBare(b, g)
	type back struct {
		i  int
		at time.Time
	}
	answers := make(chan back, n)
	ctx, stop := context.WithCancel(b.Context())
	wait := bareClients(n, func(own *http.Client, i int) {
		if bareGet(ctx, own, fmt.Sprintf("https://%s/%d", listen, i)) {
			answers <- back{i, time.Now()}
		}
	})
	defer wait()
	defer stop()
	var took []time.Duration
	for i := range orders {
		begun := time.Now()
		r, err := g.s.http.Post(fmt.Sprintf("https://%s/%d", listen, i), "application/json", strings.NewReader(`{"kind":"snapshots"}`))
		if err != nil {
			b.Fatal(err)
		}
		io.Copy(io.Discard, r.Body)
		r.Body.Close()
		for a := range answers {
			if a.i == i {
				took = append(took, a.at.Sub(begun))
				break
			}
		}
	}
	return p99(took)
}

// BenchmarkPagesOfALargeFleet is the 99th of a hundred of what the fleet page, a host's list of jobs and a page in the middle of a long
// log take, beside the same at a tenth of the data. The fleet page also where a host changes before each, so that all are counted again.
func BenchmarkPagesOfALargeFleet(b *testing.B) {
	for _, engine := range databases {
		b.Run(engine, func(b *testing.B) {
			for b.Loop() {
				small := pagesOf(b, engine, 1000, 100_000, 100_000)
				large := pagesOf(b, engine, 10_000, 1_000_000, 1_000_000)
				for _, name := range slices.Sorted(maps.Keys(large)) {
					b.ReportMetric(ms(large[name]), name+"-ms")
					b.ReportMetric(ms(small[name]), "baseline-"+name+"-ms")
					b.ReportMetric(ms(large[name])/ms(small[name]), name+"-ratio")
				}
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

func pagesOf(b *testing.B, engine string, hosts, jobs, lines int) map[string]time.Duration {
	b.Helper()
	g := fleetServer(b, engine, hosts, jobs)
	g.gather(1, &herd.Work{Lines: lines, Batch: 5000, Progress: 3})
	m := g.members[0]
	var j job
	g.s.do("POST", "/api/hosts/"+m.HostID+"/jobs", map[string]any{"kind": wire.KindBackup, "spec": map[string]any{"paths": []string{"/srv"}}}, &j)
	g.s.reaches(j.ID, 10*time.Minute, wire.StateSucceeded)
	g.s.complete(j.ID)
	g.stop()
	fleet := []string{"/api/fleet", "/api/hosts?limit=100"}
	pages := map[string]func(i int) []string{ // what is asked for; what a page needs before is not timed
		"fleet": func(int) []string { return fleet },
		"changed-fleet": func(i int) []string {
			g.s.do("PATCH", "/api/hosts/"+m.HostID, map[string]any{"labels": map[string]string{"turn": strconv.Itoa(i)}}, nil)
			return fleet
		},
		"jobs": func(i int) []string {
			return []string{"/api/jobs?limit=50&host=" + g.members[i%len(g.members)].HostID}
		},
		"log": func(i int) []string {
			return []string{fmt.Sprintf("/api/jobs/%s/log?after=%d&limit=1000", j.ID, lines/4+i*(lines/1000))}
		},
	}
	took := map[string]time.Duration{}
	for name, page := range pages {
		var all []time.Duration
		for i := range 320 {
			paths := page(i)
			begun := time.Now()
			for _, path := range paths {
				var raw json.RawMessage
				g.s.do("GET", path, nil, &raw)
			}
			if i >= 20 { // the first ones read from disk
				all = append(all, time.Since(begun))
			}
		}
		took[name] = p99(all)
	}
	g.s.kill()
	return took
}

// night is a job of a minute, as it comes to the server: 2,000 lines of log and progress, told once a second, and the list of a
// repository that keeps a month.
var night = herd.Work{Lines: 2000, Batch: 34, Progress: 60, Snapshots: 30}

// ownRepositories gives each host a repository of its own.
func (g *grazing) ownRepositories() {
	for i := range g.members {
		g.members[i].Repository = fmt.Sprintf("%064x", i+1)
	}
}

// order has a host back up. One that still has a job queued is refused (409).
func (g *grazing) order(hostID string) (j job, err error) {
	_, err = g.s.try("POST", "/api/hosts/"+hostID+"/jobs", map[string]any{"kind": wire.KindBackup, "spec": map[string]any{"paths": []string{"/srv"}}}, &j)
	return j, err
}

// forgetOffers reads the offers, so that the herd goes on.
func (g *grazing) forgetOffers() {
	go func() {
		for range g.h.Offers {
		}
	}()
}

// BenchmarkNightCeiling is how many of a night's jobs a second one server takes, ordered as fast as they end, 200 at once, on both
// cores together with the herd and the database. hosts: so many could back up once within four hours.
func BenchmarkNightCeiling(b *testing.B) {
	for _, engine := range databases {
		b.Run(engine, func(b *testing.B) {
			const atOnce, length = 200, 60 * time.Second
			for b.Loop() {
				g := fleetServer(b, engine, 2*atOnce, 10*atOnce)
				g.ownRepositories()
				work := night
				g.gather(atOnce, &work)
				g.forgetOffers()
				spent := g.spending()
				finished, asked := g.h.Finished.Load(), g.h.Asked.Load()
				ctx, stop := context.WithTimeout(b.Context(), length)
				var wait sync.WaitGroup
				for part := range 8 {
					wait.Go(func() {
						for ctx.Err() == nil {
							for i := part; i < atOnce && ctx.Err() == nil; i += 8 {
								g.order(g.members[i].HostID)
							}
						}
					})
				}
				wait.Wait()
				stop()
				seconds := spent()
				rate := float64(g.h.Finished.Load()-finished) / seconds
				b.ReportMetric(rate, "jobs/s")
				b.ReportMetric(float64(g.h.Asked.Load()-asked)/seconds, "requests/s")
				b.ReportMetric(rate*4*3600, "hosts")
				b.Logf("errors: %v", g.h.Errors())
				g.stop()
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// spending begins to count processor time; the func it gives reports that of server and PostgreSQL, in cores, and gives the
// seconds that went by.
func (g *grazing) spending() func() float64 {
	g.b.Helper()
	begun, server, postgres := time.Now(), cpuSeconds(g.b, g.s.cmd.Process.Pid), postgresSeconds(g.b)
	return func() float64 {
		seconds := time.Since(begun).Seconds()
		g.b.ReportMetric((cpuSeconds(g.b, g.s.cmd.Process.Pid)-server)/seconds, "cores")
		g.b.ReportMetric((postgresSeconds(g.b)-postgres)/seconds, "postgres-cores")
		g.b.ReportMetric(rssMiB(g.b, g.s.cmd.Process.Pid), "MiB")
		return seconds
	}
}

// postgresSeconds is the processor time of PostgreSQL's living processes and of those that have ended.
func postgresSeconds(b *testing.B) float64 {
	b.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		b.Fatal(err)
	}
	total := 0.0
	for _, path := range all {
		raw, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(raw), "(postgres)") {
			continue
		}
		total += statSeconds(raw, 4)
	}
	return total
}

// BenchmarkNight is a fleet of 10,000 in the four hours of its night: all wait, and so many of them back up each second as
// bring each through once (1x) and ten times (10x). Beside what it costs: from the order to the agent that takes it.
func BenchmarkNight(b *testing.B) {
	for _, engine := range databases {
		for _, times := range []int{1, 10} {
			b.Run(fmt.Sprintf("%s/%dx", engine, times), func(b *testing.B) {
				n := herdSize(b)
				for b.Loop() {
					g := fleetServer(b, engine, n+n/4, 5*n)
					g.ownRepositories()
					work := night
					work.Every = time.Second
					g.gather(n, &work)
					rate := float64(times*n) / (4 * 3600)
					pace := time.NewTicker(time.Duration(float64(time.Second) / rate))
					defer pace.Stop()
					ordered, next := map[string]time.Time{}, 0
					var took []time.Duration
					// until orders, and notes when one reaches its agent.
					until := func(d time.Duration) {
						over := time.NewTimer(d)
						for {
							select {
							case <-over.C:
								return
							case o := <-g.h.Offers:
								if at, ok := ordered[o.JobID]; ok {
									took = append(took, o.At.Sub(at))
									delete(ordered, o.JobID)
								}
							case <-pace.C:
								begun := time.Now()
								j, err := g.order(g.members[next%n].HostID)
								if err != nil {
									b.Fatal(err)
								}
								ordered[j.ID] = begun
								next++
							}
						}
					}
					until(75 * time.Second) // as many begin as end
					took = nil
					spent := g.spending()
					finished, asked := g.h.Finished.Load(), g.h.Asked.Load()
					until(time.Minute)
					seconds := spent()
					b.ReportMetric(float64(g.h.Finished.Load()-finished)/seconds, "jobs/s")
					b.ReportMetric(float64(g.h.Asked.Load()-asked)/seconds, "requests/s")
					b.ReportMetric(ms(p99(took)), "p99-ms")
					g.unanswered()
					g.stop()
				}
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}
