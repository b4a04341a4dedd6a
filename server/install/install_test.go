package install

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"io"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"restic-manager/packaging"
	"restic-manager/server/fault"
)

func put(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path, old, old); err != nil {
		t.Fatal(err)
	}
	return path
}

func sumOf(s string) string { h := sha256.Sum256([]byte(s)); return hex.EncodeToString(h[:]) }

func TestFolderOfAgents(t *testing.T) {
	dir := t.TempDir()
	a := OpenAgents(filepath.Join(dir, "none"))
	if list, err := a.List(); err != nil || len(list) != 0 {
		t.Errorf("a folder that is not there: got %v, %v", list, err)
	}
	a = OpenAgents(dir)
	put(t, dir, prefix+"linux-arm64", "b")
	put(t, dir, prefix+"linux-amd64", "a")
	for _, odd := range []string{"restic-manager-agent", prefix + "linux", prefix + "linux-amd64.old", prefix + "linux-$(id)", "other-linux-amd64"} {
		put(t, dir, odd, "x")
	}
	if err := os.Mkdir(filepath.Join(dir, prefix+"linux-armv7"), 0o700); err != nil {
		t.Fatal(err)
	}
	list, err := a.List()
	if err != nil || len(list) != 2 || list[0] != (Program{"linux-amd64", 1, sumOf("a")}) || list[1] != (Program{"linux-arm64", 1, sumOf("b")}) {
		t.Errorf("got %v, %v", list, err)
	}
	for _, platform := range []string{"linux-armv7", "linux-riscv64", "", "../x", "linux-amd64/", "linux"} {
		if f, _, err := a.Open(platform); !fault.Is(err, "not_found") {
			t.Errorf("%q: got %v, %v, want not_found", platform, f, err)
		}
	}
}

// TestSumIsMadeOncePerFile: the second answer is from memory, whatever the bytes; another time, size or file is not.
func TestSumIsMadeOncePerFile(t *testing.T) {
	dir := t.TempDir()
	a := OpenAgents(dir)
	path := put(t, dir, prefix+"linux-amd64", "one")
	want := func(what, text, sum string) {
		t.Helper()
		f, p, err := a.Open("linux-amd64")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if b, err := io.ReadAll(f); err != nil || string(b) != text || p.SHA256 != sum || p.Size != int64(len(text)) {
			t.Errorf("%s: got %q %v %+v, want %q", what, b, err, p, text)
		}
	}
	want("first", "one", sumOf("one"))
	put(t, dir, prefix+"linux-amd64", "two")
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	kept := a.sums["linux-amd64"].file.ModTime()
	if err := os.Chtimes(path, kept, kept); err != nil {
		t.Fatal(err)
	}
	want("with the time of the one before", "two", sumOf("one"))
	if err := os.Chtimes(path, info.ModTime().Add(time.Second), info.ModTime().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	want("at another time", "two", sumOf("two"))
	put(t, dir, "new", "six")
	if err := os.Rename(filepath.Join(dir, "new"), path); err != nil {
		t.Fatal(err)
	}
	want("another file", "six", sumOf("six"))
	if err := os.WriteFile(path, []byte("now"), 0o600); err != nil {
		t.Fatal(err)
	}
	want("just written", "now", sumOf("now"))
	if a.sums["linux-amd64"].sum == sumOf("now") {
		t.Error("the sum of a file that may still be written was kept")
	}
}

func TestServerURL(t *testing.T) {
	for host, want := range map[string]string{
		"backup.example": "https://backup.example", "backup.example:8443": "https://backup.example:8443", "192.0.2.1:80": "https://192.0.2.1:80",
		"[2001:db8::1]": "https://[2001:db8::1]", "[2001:db8::1]:8443": "https://[2001:db8::1]:8443", "a_b": "https://a_b",
		"": "", "a b": "", "a'b": "", "a\nb": "", "$(id)": "", "a;b": "", "a/b": "", "a?b": "", "a#b": "", "u@b": "", "a:b": "", "a:": "", "a:0": "", "a:65536": "", ":80": "", "-a": "",
		"[::1": "", "::1": "", "[fe80::1%25eth0]": "", "[127.0.0.1]": "", "[a]": "", "ä.example": "", strings.Repeat("a", 300): "",
	} {
		got, err := ServerURL("https", host)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: got %q, %v; want %q", host, got, err, want)
		}
	}
	if _, err := ServerURL("file", "a"); err == nil {
		t.Error("a scheme that is none was taken")
	}
}

// pairOf is a certificate for these names, signed by itself.
func pairOf(t *testing.T, until time.Time, names ...string) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: names, NotBefore: until.Add(-time.Hour), NotAfter: until, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, &c, &c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestCertificateThatMachinesTrustNeedsNoPin(t *testing.T) {
	now := time.Now()
	pair := pairOf(t, now.Add(time.Minute), "backup.example")
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	for _, c := range []struct {
		name, host string
		roots      *x509.CertPool
		now        time.Time
		want       string
	}{
		{"trusted", "backup.example", roots, now, Public},
		{"of another name", "other.example", roots, now, PrivateCert},
		{"expired", "backup.example", roots, now.Add(time.Hour), PrivateCert},
		{"unknown to the roots", "backup.example", x509.NewCertPool(), now, PrivateCert},
		{"unknown to this system", "backup.example", nil, now, PrivateCert},
	} {
		got, err := Judge(pair, c.host, c.roots, c.now)
		if err != nil || got.Kind != c.want || (got.CertPin == "sha256:"+sumOf(string(leaf.Raw))) != (c.want == PrivateCert) || got.Private() != (got.SPKIPin != "") {
			t.Errorf("%s: got %+v, %v, want %s", c.name, got, err, c.want)
		}
	}
	if _, err := Judge(&tls.Certificate{}, "a", nil, now); err == nil {
		t.Error("no certificate was judged")
	}
}

var sites = []Site{
	{URL: "https://backup.example", Version: "1.0", Certificate: Certificate{Kind: Public}},
	{URL: "http://[::1]:8080", Version: "'; $(id)", Certificate: Certificate{Kind: None}},
	{URL: "https://192.0.2.1:8443", Certificate: Certificate{Kind: PrivateCert, CertPin: "sha256:" + strings.Repeat("ab", 32), SPKIPin: "sha256//" + strings.Repeat("A", 43) + "="}},
}

var programs = []Program{{"linux-amd64", 1, strings.Repeat("0", 64)}, {"linux-arm64", 1, strings.Repeat("1", 64)}}

func TestScriptPassesShellcheckAndEveryShell(t *testing.T) {
	tool := func(name string) string {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Fatalf("%s is not there: run make test", name)
		}
		return path
	}
	for _, s := range sites {
		text, err := Script(s, programs)
		if err != nil {
			t.Fatal(err)
		}
		path := put(t, t.TempDir(), "install.sh", string(text))
		for _, c := range [][]string{{tool("shellcheck"), "--shell=sh", "--enable=deprecate-which", path}, {tool("dash"), "-n", path}, {tool("busybox"), "ash", "-n", path}, {tool("bash"), "--posix", "-n", path}} {
			if out, err := exec.Command(c[0], c[1:]...).CombinedOutput(); err != nil {
				t.Errorf("%v: %v\n%s", c, err, out)
			}
		}
		for _, command := range []string{s.Command(), s.WgetCommand()} {
			check := exec.Command(tool("shellcheck"), "--shell=sh", "-")
			check.Stdin = strings.NewReader("#!/bin/sh\n" + command + "\n")
			if out, err := check.CombinedOutput(); err != nil {
				t.Errorf("%s: %v\n%s", command, err, out)
			}
		}
	}
	openrc := put(t, t.TempDir(), "agent.openrc", packaging.AgentOpenRC)
	if out, err := exec.Command(tool("shellcheck"), openrc).CombinedOutput(); err != nil {
		t.Errorf("OpenRC: %v\n%s", err, out)
	}
}

// TestScriptHasTheFilesAsTheyAre runs the functions that print them.
func TestScriptHasTheFilesAsTheyAre(t *testing.T) {
	text, err := Script(sites[0], programs)
	if err != nil {
		t.Fatal(err)
	}
	functions, last, _ := strings.Cut(string(text), "\n{ main \"$@\"; }\n")
	if last != "" || functions == string(text) {
		t.Fatalf("the last line is not the one that starts all: %q", last)
	}
	for call, want := range map[string]string{"unit_text": packaging.AgentUnit, "rc_text": packaging.AgentOpenRC, "sum_of linux-arm64": programs[1].SHA256 + "\n", "sum_of 'linux-*'": "", "sum_of x": "", `say "$made_for"`: "https://backup.example\n"} {
		out, err := exec.Command("sh", "-c", functions+"\n"+call).CombinedOutput()
		if err != nil || string(out) != want {
			t.Errorf("%s: got %q, %v", call, out, err)
		}
	}
}

func TestScriptTakesNoOddValue(t *testing.T) {
	if _, err := Script(sites[0], nil); !fault.Is(err, "not_found") {
		t.Errorf("without an agent: got %v, want not_found", err)
	}
	for name, change := range map[string]func(*Site, *Program){
		"URL":      func(s *Site, _ *Program) { s.URL = "https://a'; id; '" },
		"path":     func(s *Site, _ *Program) { s.URL = "https://a/b" },
		"pin":      func(s *Site, _ *Program) { s.CertPin = "sha256:$(id)" },
		"key":      func(s *Site, _ *Program) { s.SPKIPin = "sha256//`id`" },
		"platform": func(_ *Site, p *Program) { p.Platform = "linux-amd64) id ;; x" },
		"sum":      func(_ *Site, p *Program) { p.SHA256 = "$(id)" },
	} {
		s, p := sites[0], programs[0]
		change(&s, &p)
		if text, err := Script(s, []Program{p}); err == nil {
			t.Errorf("%s: got a script: %.300s", name, text)
		}
	}
	text, err := Script(sites[1], programs)
	if err != nil || !strings.Contains(string(text), "version='_____id_'\n") {
		t.Errorf("an odd version: got %v, %.300s", err, text)
	}
}

func TestWordsStayOneWord(t *testing.T) {
	for _, s := range []string{"", "a", "a b", "'", "''", "$(id)", "`id`", "\\", "a\nb", "\"", "*", "sha256//AB+c=", "!", "~"} {
		for _, quoted := range []string{quote(s), word(s)} {
			out, err := exec.Command("sh", "-c", `printf '<%s>' `+quoted).Output()
			if err != nil || string(out) != "<"+s+">" {
				t.Errorf("%q as %s: got %q, %v", s, quoted, out, err)
			}
		}
	}
}
