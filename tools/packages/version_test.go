package main

import (
	"os/exec"
	"testing"
	"time"
)

// TestVersionsComeAfterEachOther asks dpkg, in the order in which commits and tags come.
func TestVersionsComeAfterEachOther(t *testing.T) {
	at := time.Date(2026, 11, 27, 10, 0, 0, 0, time.UTC)
	for _, c := range []struct{ git, want string }{
		{"09e2937", "0.0.0+20261127100000.09e2937"},
		{"v1.0.0-rc1", "1.0.0~rc1"},
		{"v1.0.0-rc1-3-gabcdef0", "1.0.0~rc1+3.gabcdef0"},
		{"v1.0.0-rc2", "1.0.0~rc2"},
		{"v1.0.0", "1.0.0"},
		{"v1.0.0-2-g09e2937", "1.0.0+2.g09e2937"},
		{"v1.0.0-11-g09e2937-dirty", "1.0.0+11.g09e2937+dirty"},
		{"v1.0.1", "1.0.1"},
		{"1.10.0", "1.10.0"},
	} {
		if got := packageVersion(c.git, at); got != c.want {
			t.Errorf("%s: got %s, want %s", c.git, got, c.want)
		}
	}
	last := "0.0.0+20261127090000.fffffff" // an hour before
	for _, git := range []string{"09e2937", "v1.0.0-rc1", "v1.0.0-rc1-3-gabcdef0", "v1.0.0-rc2", "v1.0.0", "v1.0.0-2-g09e2937", "v1.0.0-11-g09e2937-dirty", "v1.0.1", "1.10.0"} {
		next := packageVersion(git, at)
		if err := exec.Command("dpkg", "--compare-versions", last, "lt", next).Run(); err != nil {
			t.Errorf("%s is not older than %s", last, next)
		}
		last = next
	}
	if got := packageVersion("dev", at); got != "0.0.0+20261127100000.dev" {
		t.Errorf("got %s for a tree that git does not know", got)
	}
}
