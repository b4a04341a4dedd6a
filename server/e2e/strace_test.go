package e2e

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// tracedCalls start programs, open files, or change what is in a folder.
var tracedCalls = []string{"execve", "execveat", "open", "openat", "openat2", "creat", "mkdir", "mkdirat", "mknod", "mknodat", "rename", "renameat", "renameat2", "link", "linkat",
	"symlink", "symlinkat", "unlink", "unlinkat", "rmdir", "truncate", "chmod", "fchmodat", "chown", "lchown", "fchownat"}

// ledger is what strace saw, failed calls included.
type ledger struct{ calls []tracedCall }

// tracedCall is one system call of a program by its name, with the files it named.
type tracedCall struct {
	program, name, args string
	paths               []string
	done                bool // it did what it should
}

var (
	ledgerLine = regexp.MustCompile(`^(\d+)(?:<([^>]*)>)?\s+(.*)$`)
	resumed    = regexp.MustCompile(`^<\.\.\. (\w+) resumed>(.*)$`)
	quoted     = regexp.MustCompile(`(?:(?:AT_FDCWD|\d+)<([^>]*)>, )?"((?:[^"\\]|\\.)*)"`)
	plainCall  = regexp.MustCompile(`^(\w+)\((.*)$`)
)

func readLedger(t *testing.T, name string) *ledger {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	l := &ledger{}
	begun := map[string]string{}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		m := ledgerLine.FindStringSubmatch(lines.Text())
		if m == nil {
			t.Fatalf("a line of strace that this test cannot read: %q", lines.Text())
		}
		pid, program, text := m[1], m[2], m[3]
		if r := resumed.FindStringSubmatch(text); r != nil {
			text = begun[pid] + r[2]
			delete(begun, pid)
		} else if before, ok := strings.CutSuffix(text, "<unfinished ...>"); ok {
			begun[pid] = before
			// A program that takes its whole process over comes back under another number.
			if strings.HasPrefix(text, "exec") {
				l.add(program, before+") = 0")
			}
			continue
		}
		l.add(program, text)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return l
}

// add takes what is a call; signals and ends are none.
func (l *ledger) add(program, text string) {
	m := plainCall.FindStringSubmatch(text)
	if m == nil {
		return
	}
	c := tracedCall{program: program, name: m[1], args: m[2]}
	end := strings.LastIndex(m[2], ") = ")
	c.done = end < 0 || !strings.HasPrefix(m[2][end+4:], "-1")
	for i, q := range quoted.FindAllStringSubmatch(m[2], -1) {
		if i > 0 && (strings.HasPrefix(c.name, "exec") || strings.HasPrefix(c.name, "open")) {
			break // arguments
		}
		p := q[2]
		if !strings.HasPrefix(p, "/") {
			p = q[1] + "/" + p
		}
		c.paths = append(c.paths, filepath.Clean(p))
	}
	// A link's target is text.
	if strings.HasPrefix(c.name, "symlink") && len(c.paths) == 2 {
		c.paths = c.paths[1:]
	}
	l.calls = append(l.calls, c)
}

// writes reports whether the call could change something.
func (c tracedCall) writes() bool {
	switch {
	case strings.HasPrefix(c.name, "exec"):
		return false
	case strings.HasPrefix(c.name, "open"):
		return strings.Contains(c.args, "O_WRONLY") || strings.Contains(c.args, "O_RDWR") || strings.Contains(c.args, "O_CREAT") || strings.Contains(c.args, "O_TRUNC")
	}
	return true
}

// runtimeReads are what restic's runtime looks at, whatever it is ordered to do: its password, the terminal, and
// how much memory and how many processors there are.
var runtimeReads = regexp.MustCompile(`^(/dev/(fd/3|null|tty|urandom)|/proc/self/(cgroup|cpuset|maps|mountinfo)|/sys/devices/system/cpu/online|/sys/fs/cgroup/.*cpu\.(max|cfs_quota_us|cfs_period_us)|/sys/kernel/mm/transparent_hugepage/hpage_pmd_size)$`)

func below(path string, folders ...string) bool {
	return slices.ContainsFunc(folders, func(f string) bool { return path == f || strings.HasPrefix(path, f+"/") })
}

func (l *ledger) count(f func(tracedCall) bool) (n int) {
	for _, c := range l.calls {
		if f(c) {
			n++
		}
	}
	return n
}

func (l *ledger) String() string {
	programs := map[string]int{}
	for _, c := range l.calls {
		if strings.HasPrefix(c.name, "exec") && len(c.paths) > 0 && c.done {
			programs[filepath.Base(c.paths[0])]++
		}
	}
	return fmt.Sprintf("strace saw %d calls, programs run %v, %d opens to read, %d writes", len(l.calls), programs,
		l.count(func(c tracedCall) bool { return strings.HasPrefix(c.name, "open") && c.done && !c.writes() }), l.count(func(c tracedCall) bool { return c.done && c.writes() }))
}

// check holds the ledger to what a hostile server may reach.
func (l *ledger) check(t *testing.T, d hostileHost, restic string, command []string) {
	t.Helper()
	wrong := map[string]int{}
	seen, hooks := 0, 0
	for _, c := range l.calls {
		if len(c.paths) == 0 {
			continue
		}
		isRestic := c.program == "restic"
		switch path := c.paths[0]; {
		case strings.HasPrefix(c.name, "exec"):
			agent := command[slices.Index(command, "run")-1]
			if isSetpriv := filepath.Base(path) == "setpriv"; isSetpriv && c.program != "restic" && command[0] == "setpriv" {
				continue
			}
			if path == restic {
				seen++
			}
			if path == filepath.Join(d.hooks, "allowed") {
				hooks++
				continue
			}
			if path != restic && path != agent && path != "/proc/self/exe" && filepath.Base(path) != "ssh" {
				wrong["ran "+path]++
			}
		case c.done && c.writes():
			for _, p := range c.paths {
				if !below(p, d.state, d.cache, d.run, d.dir+"/repository", d.dir+"/second", "/dev/null") && p != "/dev/tty" {
					wrong[c.program+" "+c.name+" "+p]++
				}
			}
		case c.done && strings.HasPrefix(c.name, "open") && below(path, d.data+"/private"):
			wrong[c.program+" opened "+path]++
		case c.done && isRestic && strings.HasPrefix(c.name, "open"):
			if below(path, "/proc", "/sys", "/dev") && !runtimeReads.MatchString(path) {
				wrong["restic read "+path]++
			}
			// Of the agent's own folders restic is given its job's lists, its cache and its folder for what is temporary.
			if below(path, d.denied...) && !below(path, d.state+"/jobs", d.state+"/restore", d.cache, d.run) {
				wrong["restic read "+path]++
			}
		}
	}
	for what, n := range wrong {
		t.Errorf("%s (%d times)", what, n)
	}
	if hooks == 0 {
		t.Error("the allowed hook was never run: this proves nothing of the others")
	}
	if seen < 25 {
		t.Errorf("restic was run %d times: this proves little", seen)
	}
}
