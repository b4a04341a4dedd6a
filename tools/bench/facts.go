package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// facts are what the figures depend on: the machine and the versions.
func facts() string {
	var b strings.Builder
	tell := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%-11s %s\n", name, value)
		}
	}
	tell("program", first("git", "describe", "--tags", "--always", "--dirty"))
	tell("measured", time.Now().UTC().Format("2006-01-02 15:04 UTC"))
	tell("processor", fmt.Sprintf("%d cores, %s", runtime.NumCPU(), field("/proc/cpuinfo", "model name")))
	if kib, err := strconv.Atoi(strings.TrimSuffix(field("/proc/meminfo", "MemTotal"), " kB")); err == nil {
		tell("memory", fmt.Sprintf("%.1f GiB", float64(kib)/(1<<20)))
	}
	tell("system", field("/etc/os-release", "PRETTY_NAME")+", Linux "+word("/proc/sys/kernel/osrelease"))
	tell("Go", runtime.Version())
	servers, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if len(servers) > 0 {
		tell("PostgreSQL", strings.TrimPrefix(first(servers[len(servers)-1], "--version"), "postgres (PostgreSQL) "))
	}
	tools, _ := filepath.Glob(filepath.Join(os.Getenv("RESTIC_MANAGER_TEST_TOOLS"), "restic-*", "restic"))
	var versions []string
	for _, t := range tools {
		if f := strings.Fields(first(t, "version")); len(f) > 1 {
			versions = append(versions, f[1])
		}
	}
	tell("restic", strings.Join(versions, ", "))
	if load := strings.Fields(word("/proc/loadavg")); len(load) > 0 {
		busy := ""
		if v, err := strconv.ParseFloat(load[0], 64); err == nil && v > 0.5*float64(runtime.NumCPU()) {
			busy = ": others are at work here, the figures will wander"
		}
		tell("load before", load[0]+busy)
	}
	return b.String()
}

// first is the first line of a command's output, or nothing.
func first(name string, args ...string) string {
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(line)
}

// word is a small file's content, or nothing.
func word(file string) string {
	b, _ := os.ReadFile(file)
	return strings.TrimSpace(string(b))
}

// field is the first value of a name in a file of "name: value" or "name=value" lines, or nothing.
func field(file, name string) string {
	for line := range strings.Lines(word(file)) {
		if i := strings.IndexAny(line, ":="); i > 0 && strings.TrimSpace(line[:i]) == name {
			return strings.Trim(strings.TrimSpace(line[i+1:]), `"`)
		}
	}
	return ""
}
