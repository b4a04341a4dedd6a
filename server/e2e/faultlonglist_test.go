package e2e

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"restic-manager/shared/wire"
)

// memory is a figure of the process in MiB: VmRSS, what it holds; VmHWM, the most it held.
func (p *process) memory(t testing.TB, key string) float64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, key+":"); ok {
			n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(v), " kB"))
			if err != nil {
				t.Fatal(err)
			}
			return float64(n) / 1024
		}
	}
	t.Fatalf("no %s in %s", key, b)
	return 0
}

// writeList is the scripted restic's list: so many snapshots of a generation, which each tells in its size.
func (a *scripted) writeList(generation, snapshots int) {
	a.t.Helper()
	path := filepath.Join(a.repository, "list")
	f, err := os.Create(path + ".next")
	if err != nil {
		a.t.Fatal(err)
	}
	hostname, err := os.Hostname() // a host is shown its own
	if err != nil {
		a.t.Fatal(err)
	}
	w := bufio.NewWriter(f)
	for n := range snapshots {
		fmt.Fprintf(w, `{"time":"2026-01-01T00:00:00Z","tree":"%064x","paths":["/srv/data","/home","/etc"],"hostname":%q,"username":"root","tags":["nightly"],"program_version":"restic 0.18.0",`+
			`"summary":{"backup_start":"2026-01-01T00:00:00Z","backup_end":"2026-01-01T00:01:00Z","files_new":0,"files_changed":0,"files_unmodified":0,"data_added":0,"data_added_packed":0,"total_files_processed":1,"total_bytes_processed":%d},"id":"%032x%032x","short_id":"%08x"}`+"\n",
			n, hostname, generation, n, generation, n)
	}
	if err := w.Flush(); err != nil {
		a.t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		a.t.Fatal(err)
	}
	if err := os.Rename(path+".next", path); err != nil {
		a.t.Fatal(err)
	}
}

// look reads a page of a host's list and its count: it is full, of one generation, and none is missing.
func (s *server) look(host string, snapshots int) (generation int, err error) {
	const limit = 10
	var page snapshotPage
	if _, err := s.try("GET", fmt.Sprintf("/api/hosts/%s/snapshots?limit=%d", host, limit), nil, &page); err != nil {
		return 0, err
	}
	if len(page.Snapshots) != limit {
		return 0, fmt.Errorf("%d snapshots on a page, want %d", len(page.Snapshots), limit)
	}
	generation = int(page.Snapshots[0].SizeBytes)
	for _, one := range page.Snapshots {
		if int(one.SizeBytes) != generation {
			return generation, fmt.Errorf("snapshots of lists %d and %d on one page", generation, one.SizeBytes)
		}
	}
	var h hostView
	if _, err := s.try("GET", "/api/hosts/"+host, nil, &h); err != nil {
		return generation, err
	}
	if h.SnapshotCount != int64(snapshots) {
		return generation, fmt.Errorf("a count of %d, want %d", h.SnapshotCount, snapshots)
	}
	return generation, nil
}

var commitTook = regexp.MustCompile(`"route":"/api/agents/listings/\{token\}/commit","status":200,"ms":(\d+)`)

// TestFaultLongList: the real agent lists a repository with very many snapshots, twice, while readers look at the
// server's list a hundred times a second. What it costs both programs, and that readers see the old list or the new one.
func TestFaultLongList(t *testing.T) {
	const agentMay, serverMay, swapMay = 64.0, 128.0, 10 * time.Second
	snapshots := figures(5000, longList)
	for _, engine := range databases {
		t.Run(engine, func(t *testing.T) {
			s := newServer(t, engine)
			a := newScripted(t, s)
			agentHeld, serverHeld := a.memory(t, "VmRSS"), s.memory(t, "VmRSS")
			list := func(generation int) {
				a.writeList(generation, snapshots)
				s.run(a.hostID, wire.KindSnapshots, nil, wire.StateSucceeded)
			}
			listed := func(generation int) {
				t.Helper()
				eventually(t, time.Minute, "the new list is there", func() error {
					g, err := s.look(a.hostID, snapshots)
					if err == nil && g != generation {
						err = fmt.Errorf("it is list %d", g)
					}
					return err
				})
			}
			list(1)
			listed(1)
			looks, bad := 0, 0
			replaced := make(chan struct{})
			var readers sync.WaitGroup
			readers.Go(func() {
				tick := time.NewTicker(10 * time.Millisecond)
				defer tick.Stop()
				for last := 0; ; looks++ {
					g, err := s.look(a.hostID, snapshots)
					if err != nil || g < last {
						bad++
						t.Errorf("a look: got list %d after %d, %v", g, last, err)
						return
					}
					last = g
					select {
					case <-replaced:
						return
					case <-tick.C:
					}
				}
			})
			list(2)
			listed(2)
			close(replaced)
			readers.Wait()
			swap := time.Duration(0)
			commits := commitTook.FindAllStringSubmatch(s.words(), -1)
			if len(commits) == 0 {
				t.Fatal("no commit of a list in the server's log")
			}
			for _, m := range commits {
				ms, _ := strconv.Atoi(m[1])
				swap = max(swap, time.Duration(ms)*time.Millisecond)
			}
			agentGrew, serverGrew := a.memory(t, "VmHWM")-agentHeld, s.memory(t, "VmHWM")-serverHeld
			if agentGrew > agentMay || serverGrew > serverMay || swap > patience*swapMay {
				bad++
				t.Errorf("got %.0f MiB more at the agent, %.0f at the server, a swap in %s; want %.0f, %.0f, %s at most", agentGrew, serverGrew, swap, agentMay, serverMay, patience*swapMay)
			}
			fault(t, faultRow{Row: "23", Fault: fmt.Sprintf("%d snapshots listed and listed anew under readers", snapshots), Variant: engine + ", scripted restic", Runs: 2, Violations: bad,
				Figure: fmt.Sprintf("agent +%.0f MiB, server +%.0f MiB at most, swap in %s at most, %d looks: the old list or the new", agentGrew, serverGrew, swap, looks)})
		})
	}
}
