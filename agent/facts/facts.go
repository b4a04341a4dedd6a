// Package facts describes the machine the agent runs on. Nothing in it fails: what cannot be found out is
// left empty.
package facts

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"restic-manager/shared/wire"
)

// Collect describes this machine. What concerns restic, the agent and the guard is left empty.
func Collect(context.Context) wire.Facts {
	name, _ := os.Hostname()
	now := time.Now()
	return wire.Facts{
		Hostname:    clean(name),
		OS:          runtime.GOOS,
		OSVersion:   prettyName(readFirst("/etc/os-release", "/usr/lib/os-release")),
		Arch:        runtime.GOARCH,
		CPUs:        runtime.NumCPU(),
		MemoryBytes: memTotal(readFirst("/proc/meminfo")),
		TimeZone:    timeZone(os.Getenv("TZ"), string(readFirst("/etc/timezone")), link("/etc/localtime"), now),
	}
}

// Booted is when this machine was started, by its clock; zero when that cannot be told.
func Booted(now time.Time) time.Time { return booted(now, readFirst("/proc/uptime")) }

func booted(now time.Time, uptime []byte) time.Time {
	seconds, _, _ := strings.Cut(string(uptime), " ")
	d, err := time.ParseDuration(seconds + "s")
	if err != nil {
		return time.Time{}
	}
	return now.Add(-d)
}

// maxFile bounds what is read of a file that somebody else wrote, in bytes.
const maxFile = 64 << 10

func readFirst(paths ...string) []byte {
	for _, p := range paths {
		if data, err := os.ReadFile(p); err == nil {
			return data[:min(len(data), maxFile)]
		}
	}
	return nil
}

func link(path string) string {
	to, _ := os.Readlink(path)
	return to
}

// prettyName is PRETTY_NAME of an os-release file, or NAME and VERSION (freedesktop.org, os-release).
func prettyName(osRelease []byte) string {
	values := map[string]string{}
	for s := bufio.NewScanner(bytes.NewReader(osRelease)); s.Scan(); {
		key, value, ok := strings.Cut(strings.TrimSpace(s.Text()), "=")
		if ok && !strings.HasPrefix(key, "#") {
			values[key] = unquote(value)
		}
	}
	if p := values["PRETTY_NAME"]; p != "" {
		return clean(p)
	}
	return clean(values["NAME"] + " " + values["VERSION"])
}

// unquote undoes the quotes and backslashes of a shell's assignment.
func unquote(s string) string {
	if len(s) >= 2 && (s[0] == '"' || s[0] == '\'') && s[len(s)-1] == s[0] {
		quote := s[0]
		s = s[1 : len(s)-1]
		if quote == '\'' {
			return s
		}
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// memTotal is the installed memory in bytes, from /proc/meminfo (proc_meminfo(5)); 0 where it is not said.
func memTotal(meminfo []byte) int64 {
	for s := bufio.NewScanner(bytes.NewReader(meminfo)); s.Scan(); {
		fields := strings.Fields(s.Text())
		if len(fields) == 3 && fields[0] == "MemTotal:" && fields[2] == "kB" {
			n, err := strconv.ParseInt(fields[1], 10, 53)
			if err != nil || n < 0 {
				return 0
			}
			return n * 1024
		}
	}
	return 0
}

// timeZone is the IANA name where the system says one, else the offset of now.
func timeZone(env, file, localtime string, now time.Time) string {
	if name := strings.TrimPrefix(env, ":"); isZone(name) {
		return name
	}
	if _, name, ok := strings.Cut(filepath.ToSlash(localtime), "/zoneinfo/"); ok && isZone(name) {
		return name
	}
	if name := strings.TrimSpace(file); isZone(name) {
		return name
	}
	return now.Format("-07:00")
}

// isZone keeps to the characters of IANA's names; the zone need not be known here.
func isZone(s string) bool {
	return s != "" && len(s) <= 64 && s[0] != '/' && !strings.Contains(s, "..") && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_/+-", r))
	})
}

// clean makes text of others fit to be shown: valid, of one line, at most 200 bytes.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(strings.TrimSpace(s), "\ufffd"))
	if len(s) > 200 {
		s = strings.ToValidUTF8(s[:200], "")
	}
	return s
}
