package restic

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"restic-manager/shared/wire"
)

// script writes a program that stands in for restic. The fork lock keeps another test's child from holding
// the file open for writing while it is run.
func script(t testing.TB, path, body string) string {
	t.Helper()
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func says(version string) string {
	return "echo 'restic " + version + " compiled with go1.19.8 on linux/amd64'"
}

func TestVersionTextsOfAllVersionsAreRead(t *testing.T) {
	for text, want := range map[string]string{
		"restic 0.14.0 compiled with go1.19.8 on linux/amd64":                                       "0.14.0",
		"restic 0.18.0 compiled with go1.24.4 on linux/arm64\n":                                     "0.18.0",
		"restic 0.19.1-dev (compiled manually) compiled with go1.26.8 on linux/amd64":               "0.19.1-dev",
		"restic 0.16.5 (v0.16.5-3-gabcdef) compiled with go1.22 on freebsd/amd64":                   "0.16.5",
		"warning of the loader\nrestic 1.2.34 compiled with go1.24.4 X:nocoverageredesign on a/b\n": "1.2.34",
	} {
		got, err := ParseVersion(text)
		if err != nil || got.String() != want {
			t.Errorf("%q: got %s, %v, want %s", text, got, err, want)
		}
		var again Version
		if err := again.UnmarshalText([]byte(got.String())); err != nil || again != got {
			t.Errorf("%s: read back as %s, %v", got, again, err)
		}
	}
	for _, text := range []string{"", "restic", "restic 0.18 compiled with go on linux/amd64", "rustic 0.18.0 compiled with go1 on linux/amd64", "restic 999999.0.0 compiled with go1 on linux/amd64"} {
		if v, err := ParseVersion(text); err == nil {
			t.Errorf("%q: got %s, want an error", text, v)
		}
	}
	if !v018.AtLeast(17, 1) || v018.AtLeast(18, 1) || !(Version{Major: 1}).AtLeast(99, 0) || (Version{}).AtLeast(0, 1) {
		t.Error("versions are ordered wrongly")
	}
}

func TestEveryRecordedVersionTextIsRead(t *testing.T) {
	for _, version := range recordedVersions {
		r := loadRecordings(t, version)["version-text"]
		if v, err := ParseVersion(string(r.stdout)); err != nil || "v"+v.String() != version {
			t.Errorf("%s: got %s, %v", version, v, err)
		}
	}
}

func TestABinaryIsAskedAgainOnlyWhenItChanged(t *testing.T) {
	dir := t.TempDir()
	ledger := filepath.Join(dir, "asked")
	path := script(t, filepath.Join(dir, "restic"), "echo x >> "+ledger+"; "+says("0.18.0"))
	f := NewFinder(path)
	asked := func() int {
		b, _ := os.ReadFile(ledger)
		return strings.Count(string(b), "x")
	}
	for range 3 {
		if b, err := f.Find(t.Context()); err != nil || b.Version != v018 || b.Path != path {
			t.Fatalf("got %+v, %v", b, err)
		}
	}
	if got := asked(); got != 1 {
		t.Errorf("asked: got %d times, want once", got)
	}
	next := script(t, filepath.Join(dir, "next"), "echo x >> "+ledger+"; "+says("0.19.1"))
	if err := os.Rename(next, path); err != nil {
		t.Fatal(err)
	}
	if b, err := f.Find(t.Context()); err != nil || b.Version.String() != "0.19.1" || asked() != 2 {
		t.Errorf("after an upgrade: got %s, %v, asked %d times", b.Version, err, asked())
	}
}

func TestWhatIsNoUsableResticIsSaid(t *testing.T) {
	dir := t.TempDir()
	file := func(name, body string) string { return script(t, filepath.Join(dir, name), body) }
	writable := file("writable", says("0.18.0"))
	if err := os.Chmod(writable, 0o757); err != nil {
		t.Fatal(err)
	}
	plain := file("plain", says("0.18.0"))
	if err := os.Chmod(plain, 0o644); err != nil {
		t.Fatal(err)
	}
	open := filepath.Join(dir, "open")
	if err := os.Mkdir(open, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ path, code, hint string }{
		"missing":         {filepath.Join(dir, "none"), wire.CodeResticMissing, "apt-get install restic"},
		"relative":        {"restic", wire.CodeResticMissing, "absolute"},
		"a folder":        {dir, wire.CodeResticMissing, "not a program"},
		"not executable":  {plain, wire.CodeResticMissing, "chmod 755"},
		"writable":        {writable, wire.CodeResticMissing, "others may write it"},
		"in a wild place": {file("open/restic", says("0.18.0")), wire.CodeResticMissing, "everybody may write the folder"},
		"another program": {file("other", "echo hello"), wire.CodeResticMissing, "not restic"},
		"a broken one":    {file("broken", "exit 7"), wire.CodeResticMissing, "does not run"},
		"too old":         {file("old", says("0.13.1")), wire.CodeResticTooOld, "0.14.0"},
	} {
		_, err := NewFinder(c.path).Find(t.Context())
		e, ok := errors.AsType[*Error](err)
		if !ok || e.Code != c.code || !strings.Contains(e.Message, c.hint) {
			t.Errorf("%s: got %v, want %s with %q", name, err, c.code, c.hint)
		}
	}
}

func TestSomebodyElsesBinaryIsRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("only root can give a file away; the rule is tested where the tests run as root")
		return
	}
	path := script(t, filepath.Join(t.TempDir(), "restic"), says("0.18.0"))
	if err := os.Chown(path, 12345, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := NewFinder(path).Find(t.Context()); err == nil || !strings.Contains(err.Error(), "belongs to user 12345") {
		t.Errorf("got %v", err)
	}
}

func TestTheFirstUsableResticOfTheSafePathIsTaken(t *testing.T) {
	a, b, c := t.TempDir(), t.TempDir(), t.TempDir()
	script(t, filepath.Join(b, "restic"), says("0.13.0"))
	want := script(t, filepath.Join(c, "restic"), says("0.18.0"))
	f := NewFinder("")
	if f.path != SafePath {
		t.Errorf("path: got %s", f.path)
	}
	t.Setenv("PATH", b)
	f.path = a + ":" + b + ":" + c
	if got, err := f.Find(t.Context()); err != nil || got.Path != want {
		t.Errorf("got %+v, %v, want %s", got, err, want)
	}
	f.path = a + ":" + b
	if _, err := f.Find(t.Context()); codeOf(err) != wire.CodeResticTooOld {
		t.Errorf("got %v, want the reason of the only one there", err)
	}
	f.path = a
	if _, err := f.Find(t.Context()); codeOf(err) != wire.CodeResticMissing || !strings.Contains(err.Error(), "apt-get install restic") {
		t.Errorf("got %v", err)
	}
}
