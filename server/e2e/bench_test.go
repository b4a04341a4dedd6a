package e2e

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"restic-manager/shared/wire"
)

// BenchmarkAgentAroundRestic is what the agent costs around restic: a backup through agent and supervisor beside
// `restic backup --json` with RESTIC_PROGRESS_FPS=1 into a file, in pairs whose order alternates, each into a new
// repository. lifetime: restic's own, from its start to its exit. cpu: of that restic, the supervisor and the
// agent, the shipping of the log and the listing afterwards included; the other runs of restic (its version,
// snapshots) are told apart as cpu-ratio-with-listing. setup: from the order to restic's start. PSS: agent and
// supervisor. RESTIC_MANAGER_BENCH_PAIRS is how many pairs; 5 when not set.
func BenchmarkAgentAroundRestic(b *testing.B) {
	for _, source := range []struct {
		name string
		make func(b *testing.B, dir string)
	}{
		{"20000-small-files", func(b *testing.B, dir string) {
			for d := range 200 {
				sub := filepath.Join(dir, strconv.Itoa(d))
				if err := os.MkdirAll(sub, 0o755); err != nil {
					b.Fatal(err)
				}
				for f := range 100 {
					writeRandom(b, filepath.Join(sub, strconv.Itoa(f)), 2048+f*32, uint64(d*100+f))
				}
			}
		}},
		{"one-2-GiB-file", func(b *testing.B, dir string) {
			f, err := os.Create(filepath.Join(dir, "big"))
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			piece := filepath.Join(b.TempDir(), "piece")
			for i := range 32 {
				writeRandom(b, piece, 64<<20, uint64(i))
				p, err := os.ReadFile(piece)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := f.Write(p); err != nil {
					b.Fatal(err)
				}
			}
		}},
	} {
		b.Run(source.name, func(b *testing.B) {
			s := newServer(b, "sqlite")
			dir := b.TempDir()
			source.make(b, dir)
			var lifetime, cpu, cpuAll, setup, memory []float64
			for pair := range pairs(b) {
				var direct, ours cost
				if pair%2 == 0 {
					direct = directBackup(b, dir)
				}
				ours = agentBackup(b, s, dir)
				if pair%2 == 1 {
					direct = directBackup(b, dir)
				}
				b.Logf("pair %d: alone %+v, through the agent %+v", pair, direct, ours)
				lifetime = append(lifetime, ours.lifetime/direct.lifetime)
				cpu = append(cpu, ours.cpu/direct.cpu)
				cpuAll = append(cpuAll, ours.cpuAll/direct.cpu)
				setup = append(setup, ours.setup)
				memory = append(memory, ours.memory)
			}
			low, mid, high := interval(lifetime)
			b.ReportMetric(mid, "lifetime-ratio")
			b.ReportMetric(low, "lifetime-low")
			b.ReportMetric(high, "lifetime-high")
			low, mid, high = interval(cpu)
			b.ReportMetric(mid, "cpu-ratio")
			b.ReportMetric(low, "cpu-low")
			b.ReportMetric(high, "cpu-high")
			_, mid, _ = interval(cpuAll)
			b.ReportMetric(mid, "cpu-ratio-with-listing")
			_, mid, _ = interval(setup)
			b.ReportMetric(mid, "setup-s")
			b.ReportMetric(slices.Max(memory), "PSS-MiB")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func pairs(b *testing.B) int {
	n, err := strconv.Atoi(cmp.Or(os.Getenv("RESTIC_MANAGER_BENCH_PAIRS"), "5"))
	if err != nil || n < 1 {
		b.Fatalf("RESTIC_MANAGER_BENCH_PAIRS: %v: give a number", err)
	}
	return n
}

// interval is the median and the bounds that hold about 95 % of it, by ranks of the binomial.
func interval(x []float64) (low, median, high float64) {
	x = slices.Sorted(slices.Values(x))
	n := float64(len(x))
	k := max(int(math.Floor(n/2-0.98*math.Sqrt(n))), 0)
	return x[k], x[len(x)/2], x[len(x)-1-k]
}

// cost is in seconds, memory in MiB.
type cost struct{ lifetime, cpu, cpuAll, setup, memory float64 }

func directBackup(b *testing.B, source string) cost {
	b.Helper()
	dir := b.TempDir()
	env := []string{"RESTIC_REPOSITORY=" + dir + "/repository", "RESTIC_PASSWORD=x", "RESTIC_CACHE_DIR=" + dir + "/cache", "HOME=" + dir,
		"PATH=" + os.Getenv("PATH"), "RESTIC_PROGRESS_FPS=1"}
	run := func(args ...string) *exec.Cmd {
		out, err := os.Create(filepath.Join(dir, "out"))
		if err != nil {
			b.Fatal(err)
		}
		defer out.Close()
		cmd := exec.Command(resticPath(b, "0.18.0"), args...)
		cmd.Env, cmd.Stdout, cmd.Stderr = env, out, out
		if err := cmd.Run(); err != nil {
			words, _ := os.ReadFile(out.Name())
			b.Fatalf("restic %v: %v: %s", args, err, words)
		}
		return cmd
	}
	run("init")
	syscall.Sync()
	began := time.Now()
	cmd := run("backup", "--json", "--", source)
	seconds := time.Since(began).Seconds()
	used := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	os.RemoveAll(dir)
	return cost{lifetime: seconds, cpu: used.Seconds()}
}

func agentBackup(b *testing.B, s *server, source string) cost {
	b.Helper()
	a := newAgent(b, s, "0.18.0")
	others := a.wrapRestic()
	a.restart()
	a.online()
	a.init()
	syscall.Sync()
	before, othersBefore := processCPU(b, a.cmd.Process.Pid), others()
	ctx, cancel := context.WithCancel(b.Context())
	peak := make(chan float64)
	go func() { peak <- a.watchPSS(ctx) }()
	j := s.order(a.hostID, wire.KindBackup, map[string]any{"paths": []string{source}})
	raw := s.ended(b, j.ID)
	a.listed()
	eventually(b, time.Minute, "the job's processes are gone", func() error {
		if left := childrenOf(a.cmd.Process.Pid); len(left) > 0 {
			return fmt.Errorf("left: %v", left)
		}
		return nil
	})
	cancel()
	all := processCPU(b, a.cmd.Process.Pid) - before
	c := cost{lifetime: raw.Elapsed, cpu: all - (others() - othersBefore), cpuAll: all, setup: raw.StartedAt.Sub(raw.QueuedAt).Seconds(), memory: <-peak}
	a.kill()
	os.RemoveAll(a.dir)
	return c
}

// endedJob is what the benchmark reads of a job.
type endedJob struct {
	State     wire.State      `json:"state"`
	Summary   json.RawMessage `json:"summary"`
	Elapsed   float64         `json:"elapsed_seconds"`
	QueuedAt  time.Time       `json:"queued_at"`
	StartedAt time.Time       `json:"agent_started_at"`
}

// ended waits for the job's success, and asks seldom: the server is on the same machine.
func (s *server) ended(b *testing.B, id string) (j endedJob) {
	b.Helper()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for begun := time.Now(); ; <-tick.C {
		if s.do("GET", "/api/jobs/"+id, nil, &j); j.State.Terminal() {
			break
		}
		if time.Since(begun) > 20*time.Minute {
			b.Fatalf("job %s is %s", id, j.State)
		}
	}
	if j.State != wire.StateSucceeded || len(j.Summary) == 0 || j.Elapsed == 0 || j.StartedAt.IsZero() {
		b.Fatalf("job %s: got %+v", id, j)
	}
	return j
}

// wrapRestic has the agent run restic through a script, which becomes restic for a backup and notes the CPU of
// every other run. others is the sum, in seconds.
func (a *agent) wrapRestic() (others func() float64) {
	real, script, notes := resticPath(a.t, a.restic), filepath.Join(a.dir, "restic"), filepath.Join(a.dir, "times")
	text := fmt.Sprintf("#!/bin/sh\ncase \" $* \" in *\" backup \"*) exec %[1]s \"$@\";; esac\n%[1]s \"$@\"\ncode=$?\ntimes >>%[2]s\nexit $code\n", real, notes)
	if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
		a.t.Fatal(err)
	}
	config := strings.Replace(a.read(), "restic_path: "+real, "restic_path: "+script, 1)
	if err := os.WriteFile(a.config, []byte(config), 0o600); err != nil {
		a.t.Fatal(err)
	}
	return func() (sum float64) {
		raw, err := os.ReadFile(notes)
		if err != nil {
			a.t.Fatal(err)
		}
		for word := range strings.FieldsSeq(string(raw)) { // 0m0.35s: of the shell, then of its children
			d, err := time.ParseDuration(word)
			if err != nil {
				a.t.Fatal(err)
			}
			sum += d.Seconds()
		}
		return sum
	}
}

// processCPU is the seconds of CPU that a process and its waited-for children used (proc(5), stat).
func processCPU(b *testing.B, pid int) float64 {
	b.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	fields := strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')')+2:]))
	ticks := 0.0
	for _, f := range fields[11:15] { // utime, stime, cutime, cstime
		n, err := strconv.ParseFloat(f, 64)
		if err != nil {
			b.Fatal(err)
		}
		ticks += n
	}
	return ticks / 100
}

// childrenOf are the processes that the process has started (proc(5), children). Supervisors are among an agent's.
func childrenOf(pid int) (pids []int) {
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, l := range lists {
		raw, _ := os.ReadFile(l) // the thread may be gone
		for word := range strings.FieldsSeq(string(raw)) {
			if n, err := strconv.Atoi(word); err == nil {
				pids = append(pids, n)
			}
		}
	}
	return pids
}

// watchPSS is the largest proportional set size of agent and supervisors together, in MiB, looked at twice a
// second. It looks at few files: it runs beside what is measured.
func (a *agent) watchPSS(ctx context.Context) (peak float64) {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		sum := 0.0
		for _, pid := range append(childrenOf(a.cmd.Process.Pid), a.cmd.Process.Pid) {
			sum += pss(pid)
		}
		peak = max(peak, sum)
		select {
		case <-ctx.Done():
			return peak
		case <-tick.C:
		}
	}
}

func pss(pid int) float64 {
	exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if filepath.Base(exe) != "restic-manager-agent" {
		return 0 // restic itself, asked for its version or its list
	}
	raw, _ := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	for line := range strings.Lines(string(raw)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "Pss:" {
			kib, _ := strconv.ParseFloat(f[1], 64)
			return kib / 1024
		}
	}
	return 0
}
