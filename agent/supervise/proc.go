package supervise

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// process is what /proc/PID/stat says of one (proc(5)).
type process struct {
	pid, group int
	state      byte
	// ticks are user and system time together; start is since the machine's boot.
	ticks, start uint64
}

func readProcess(pid int) (process, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return process{}, err
	}
	// The name, in parentheses, may hold anything; the fields are counted from its end.
	i := bytes.LastIndexByte(b, ')')
	f := strings.Fields(string(b[i+1:]))
	if i < 0 || len(f) < 20 {
		return process{}, fmt.Errorf("/proc/%d/stat is not as proc(5) says", pid)
	}
	p := process{pid: pid, state: f[0][0]}
	p.group, _ = strconv.Atoi(f[2])
	user, _ := strconv.ParseUint(f[11], 10, 64)
	system, _ := strconv.ParseUint(f[12], 10, 64)
	p.ticks = user + system
	p.start, _ = strconv.ParseUint(f[19], 10, 64)
	return p, nil
}

// startTicks identifies a process together with its pid; 0 when it is not there.
func startTicks(pid int) uint64 {
	p, err := readProcess(pid)
	if err != nil {
		return 0
	}
	return p.start
}

// members are the living processes of a group, zombies left out.
func members(group int) []process {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	var found []process
	for {
		names, err := dir.Readdirnames(256)
		for _, name := range names {
			pid, err := strconv.Atoi(name)
			if err != nil {
				continue
			}
			p, err := readProcess(pid)
			if err == nil && p.group == group && p.state != 'Z' && p.state != 'X' {
				found = append(found, p)
			}
		}
		if err != nil || len(names) == 0 {
			return found
		}
	}
}

// machineBoot changes with each boot of the machine.
func machineBoot() string {
	b, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b))
}

// ioBytes are the bytes a process has read and written so far, sockets included; 0 where the kernel does
// not say.
func ioBytes(pid int) uint64 {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/io")
	if err != nil {
		return 0
	}
	var total uint64
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		if name == "rchar" || name == "wchar" {
			n, _ := strconv.ParseUint(value, 10, 64)
			total += n
		}
	}
	return total
}

// hasOpen reports whether a process has a file open. False too when that cannot be seen.
func hasOpen(pid int, file os.FileInfo) bool {
	dir := "/proc/" + strconv.Itoa(pid) + "/fd"
	d, err := os.Open(dir)
	if err != nil {
		return false
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return false
	}
	for _, name := range names {
		if info, err := os.Stat(dir + "/" + name); err == nil && os.SameFile(info, file) {
			return true
		}
	}
	return false
}

// signalGroup sends a signal to each process of a group; a group that is gone is no error.
func signalGroup(group int, sig syscall.Signal) error {
	if group <= 1 {
		return fmt.Errorf("%d is no process group", group)
	}
	if err := syscall.Kill(-group, sig); err != nil && err != syscall.ESRCH {
		return fmt.Errorf("send %v to group %d: %w", sig, group, err)
	}
	return nil
}
