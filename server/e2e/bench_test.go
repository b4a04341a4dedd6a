package e2e

import (
	"context"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"restic-manager/shared/wire"
)

// BenchmarkAgentAroundRestic is what the agent costs around restic: a backup through agent and supervisor beside
// `restic backup --json` with RESTIC_PROGRESS_FPS=1 into a file, in alternating pairs, each into a new
// repository. lifetime: restic's own; cpu: of restic, supervisor and agent, the listing and preflight left
// out where it says so.
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
			for range max(b.N, 5) {
				direct := directBackup(b, dir)
				ours := agentBackup(b, s, dir)
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
			_, mid, _ = interval(cpu)
			b.ReportMetric(mid, "cpu-ratio")
			_, mid, _ = interval(cpuAll)
			b.ReportMetric(mid, "cpu-ratio-with-listing")
			_, mid, _ = interval(setup)
			b.ReportMetric(mid, "setup-s")
			b.ReportMetric(slices.Max(memory), "PSS-MiB")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// interval is the median and the bounds that hold about 95 % of it, by ranks of the binomial.
func interval(x []float64) (low, median, high float64) {
	x = slices.Sorted(slices.Values(x))
	n := float64(len(x))
	k := max(int(math.Floor(n/2-0.98*math.Sqrt(n))), 0)
	return x[k], x[len(x)/2], x[len(x)-1-k]
}

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
	a.init()
	before := processCPU(b, a.cmd.Process.Pid)
	ctx, cancel := context.WithCancel(b.Context())
	peak := make(chan float64)
	go func() { peak <- a.watchPSS(ctx) }()
	j := s.order(a.hostID, wire.KindBackup, map[string]any{"paths": []string{source}})
	done := s.reaches(j.ID, 10*time.Minute, wire.StateSucceeded)
	atEnd := processCPU(b, a.cmd.Process.Pid)
	a.listed()
	eventually(b, time.Minute, "the job's processes are gone", func() error {
		if left := a.children(); len(left) > 0 {
			return fmt.Errorf("left: %v", left)
		}
		return nil
	})
	cancel()
	var raw struct {
		Elapsed   float64   `json:"elapsed_seconds"`
		QueuedAt  time.Time `json:"queued_at"`
		StartedAt time.Time `json:"agent_started_at"`
	}
	s.do("GET", "/api/jobs/"+j.ID, nil, &raw)
	if done.Summary == nil || raw.Elapsed == 0 {
		b.Fatalf("got %s", done)
	}
	all := processCPU(b, a.cmd.Process.Pid)
	c := cost{lifetime: raw.Elapsed, cpu: atEnd - before, cpuAll: all - before, setup: raw.StartedAt.Sub(raw.QueuedAt).Seconds(), memory: <-peak}
	a.kill()
	os.RemoveAll(a.dir)
	return c
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

// watchPSS is the largest proportional set size of agent and supervisors together, in MiB, looked at twice a
// second.
func (a *agent) watchPSS(ctx context.Context) (peak float64) {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		sum := 0.0
		for _, pid := range append(a.supervisors(), a.cmd.Process.Pid) {
			raw, _ := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
			for line := range strings.Lines(string(raw)) {
				if f := strings.Fields(line); len(f) > 1 && f[0] == "Pss:" {
					kib, _ := strconv.ParseFloat(f[1], 64)
					sum += kib / 1024
				}
			}
		}
		peak = max(peak, sum)
		select {
		case <-ctx.Done():
			return peak
		case <-tick.C:
		}
	}
}
