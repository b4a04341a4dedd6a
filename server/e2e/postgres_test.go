package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// cluster is a PostgreSQL of the test's own, for tests that kill it.
type cluster struct {
	t        testing.TB
	dir, url string
}

func newCluster(t testing.TB) *cluster {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "restic-manager-e2e-postgres.")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, dir: dir}
	t.Cleanup(func() { c.tool("stop") })
	c.url = strings.TrimSpace(c.tool("start"))
	return c
}

func (c *cluster) tool(verb string) string {
	c.t.Helper()
	cmd := exec.Command("../../tools/postgres", verb, c.dir)
	var words strings.Builder
	cmd.Stderr = &words
	out, err := cmd.Output()
	if err != nil {
		c.t.Fatal(fmt.Errorf("tools/postgres %s: %w: %s", verb, err, words.String()))
	}
	return string(out)
}

// kill is kill -9 of all its processes; again starts it on the same data.
func (c *cluster) kill()  { c.tool("kill") }
func (c *cluster) again() { c.tool("again") }
