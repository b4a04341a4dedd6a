package supervise

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"restic-manager/shared/wire"
)

// texts are the job's log lines of restic's output.
func (r *rig) texts() (list []string) {
	for _, rec := range r.records() {
		if rec.Stream == wire.StreamOut {
			list = append(list, strings.TrimSpace(string(rec.Line())))
		}
	}
	return list
}

func TestResticAndWhatItStartsGiveWay(t *testing.T) {
	needIonice(t)
	own, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err != nil {
		t.Fatal(err)
	}
	nice := func(wanted int) string { return fmt.Sprint("nice ", max(wanted, 20-own)) } // what this test itself was given stays
	for _, c := range []struct {
		name  string
		nice  int
		class wire.IOClass
		want  []string // of one process
	}{
		{"idle", 12, wire.IOClassIdle, []string{nice(12), "idle"}},
		{"low", 5, wire.IOClassLow, []string{nice(5), "best-effort: prio 7"}},
		{"as the agent", 0, wire.IOClassOwn, []string{nice(0), "none: prio 0"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, "priority", "summary")
			r.order.Nice, r.order.IOClass = c.nice, c.class
			p := r.start()
			result := r.end(p)
			wantState(t, result, wire.StateSucceeded, "")
			if got, want := r.texts(), slices.Concat(c.want, c.want); len(got) < len(want) || !slices.Equal(got[:len(want)], want) {
				t.Errorf("restic, then what it started: got %q, want %q", got, want)
			}
		})
	}
}

// TestTheSupervisorGivesNoWay: what drains the pipes and keeps the time limit runs as before.
func TestTheSupervisorGivesNoWay(t *testing.T) {
	r := newRig(t, "out:here", "wait:"+t.TempDir()+"/never")
	r.order.Nice, r.order.IOClass = 15, wire.IOClassIdle
	p := r.start()
	until(t, "restic runs", func() bool { return r.has(wire.StreamOut, "here") })
	g, err := r.folder.Group()
	if err != nil || g == nil {
		t.Fatalf("restic's group: %v, %v", g, err)
	}
	supervisor, err := exec.Command("ps", "-o", "ppid=", "-p", strconv.Itoa(g.PGID)).Output()
	if err != nil {
		t.Fatal(err)
	}
	parent, _ := strconv.Atoi(strings.TrimSpace(string(supervisor)))
	own, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err != nil {
		t.Fatal(err)
	}
	for pid, want := range map[int]int{g.PGID: max(15, 20-own), parent: 20 - own} {
		got, err := unix.Getpriority(unix.PRIO_PROCESS, pid)
		if err != nil || 20-got != want {
			t.Errorf("process %d: got nice %d, %v, want %d", pid, 20-got, err, want)
		}
	}
	syscall.Kill(-g.PGID, syscall.SIGKILL)
	r.end(p)
}

// TestNobodyGoesBackUp: an agent that runs nice already is as nice as before, whatever is asked.
func TestNobodyGoesBackUp(t *testing.T) {
	needIonice(t)
	if os.Getenv("TEST_NICE") == "" {
		cmd := exec.Command("nice", "-n", "10", "ionice", "-c", "3", os.Args[0], "-test.run", "^TestNobodyGoesBackUp$")
		cmd.Env = append(os.Environ(), "TEST_NICE=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	r := newRig(t, "priority", "summary")
	r.order.Nice, r.order.IOClass = 4, wire.IOClassLow
	wantState(t, r.run(), wire.StateSucceeded, "")
	if got, want := r.texts(), []string{"nice 10", "idle"}; !slices.Equal(got[:2], want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func needIonice(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("ionice"); err != nil {
		t.Fatal("this test needs ionice (util-linux)")
	}
}
