package supervise

import (
	"os/exec"
	"syscall"
	"testing"
)

// strangerGroup is a process group that has nothing to do with any job.
func strangerGroup(t *testing.T) int {
	t.Helper()
	cmd := exec.Command("/bin/sleep", "600")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd.Process.Pid
}
