package coredump

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

func TestForbidHidesThisProcessAndLimitsItsChildren(t *testing.T) {
	const dumpable = "RESTIC_MANAGER_TEST_DUMPABLE"
	get := func() uintptr {
		v, _, _ := syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_GET_DUMPABLE, 0, 0)
		return v
	}
	if os.Getenv(dumpable) != "" { // the child
		if get() != 1 {
			t.Error("the child is hidden from its own user")
		}
		return
	}
	if get() == 0 {
		t.Fatal("this process is hidden already: the test would show nothing")
	}
	if err := Forbid(); err != nil {
		t.Fatal(err)
	}
	if got := get(); got != 0 {
		t.Errorf("dumpable: got %d, want 0", got)
	}
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_CORE, &l); err != nil || l != (syscall.Rlimit{}) {
		t.Errorf("limit of a core: got %+v, %v, want 0", l, err)
	}
	if out, err := exec.Command("/bin/sh", "-c", "ulimit -Hc").Output(); err != nil || strings.TrimSpace(string(out)) != "0" {
		t.Errorf("limit of a child's core: got %q, %v, want 0", out, err)
	}
	child := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	child.Env = append(os.Environ(), dumpable+"=1")
	if out, err := child.CombinedOutput(); err != nil {
		t.Errorf("the child: %v\n%s", err, out)
	}
}
