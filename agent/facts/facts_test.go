package facts

import (
	"context"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestCollectDescribesThisMachine(t *testing.T) {
	f := Collect(context.Background())
	name, err := os.Hostname()
	if err != nil || f.Hostname != name {
		t.Errorf("hostname: got %q, want %q (%v)", f.Hostname, name, err)
	}
	if f.OS != runtime.GOOS || f.Arch != runtime.GOARCH || f.CPUs < 1 || f.TimeZone == "" {
		t.Errorf("got %+v", f)
	}
	if runtime.GOOS == "linux" && (f.OSVersion == "" || f.MemoryBytes < 64<<20) {
		t.Errorf("Linux: got %+v", f)
	}
}

func TestPrettyNameReadsOSRelease(t *testing.T) {
	for file, want := range map[string]string{
		"PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=x\n": "Debian GNU/Linux 12 (bookworm)",
		"# PRETTY_NAME=no\nNAME='Alpine Linux'\nVERSION=3\n":       "Alpine Linux 3",
		"PRETTY_NAME=Arch\r\n":                                     "Arch",
		"PRETTY_NAME=\"a \\\"b\\\" \\$c\"":                         `a "b" $c`,
		"PRETTY_NAME=\"bad \xff\x1b[31m\"":                         "bad \ufffd [31m",
		"PRETTY_NAME=" + strings.Repeat("é", 300):                  strings.Repeat("é", 100),
		"":        "",
		"\x00=\"": "",
	} {
		if got := prettyName([]byte(file)); got != want {
			t.Errorf("%.40q: got %q, want %q", file, got, want)
		}
	}
}

func TestMemTotalReadsMeminfo(t *testing.T) {
	for file, want := range map[string]int64{
		"MemTotal:       16384000 kB\nMemFree: 1 kB\n": 16384000 << 10,
		"MemFree: 1 kB\nMemTotal: 7 kB":                7 << 10,
		"MemTotal: -7 kB":                              0,
		"MemTotal: x kB":                               0,
		"MemTotal: 99999999999999999999 kB":            0,
		"":                                             0,
	} {
		if got := memTotal([]byte(file)); got != want {
			t.Errorf("%q: got %d, want %d", file, got, want)
		}
	}
}

func TestTimeZonePrefersNames(t *testing.T) {
	now := time.Date(2026, 11, 24, 0, 0, 0, 0, time.FixedZone("", -3*3600-1800))
	for _, tc := range []struct{ env, file, localtime, want string }{
		{"Europe/Berlin", "Etc/UTC\n", "/usr/share/zoneinfo/Asia/Tokyo", "Europe/Berlin"},
		{":America/Argentina/Buenos_Aires", "", "", "America/Argentina/Buenos_Aires"},
		{"", "Etc/UTC\n", "../usr/share/zoneinfo/Asia/Tokyo", "Asia/Tokyo"},
		{"/etc/evil", "Etc/GMT+3\n", "", "Etc/GMT+3"},
		{"../x", "<b>", "/elsewhere", "-03:30"},
		{"", "", "", "-03:30"},
	} {
		if got := timeZone(tc.env, tc.file, tc.localtime, now); got != tc.want {
			t.Errorf("%+v: got %q", tc, got)
		}
	}
}

func TestBooted(t *testing.T) {
	now := time.Date(2026, 11, 24, 1, 2, 3, 0, time.UTC)
	if got, want := booted(now, []byte("3600.50 7000.00\n")), now.Add(-3600500*time.Millisecond); !got.Equal(want) {
		t.Errorf("got %s, want %s", got, want)
	}
	for _, none := range []string{"", "soon", "-"} {
		if got := booted(now, []byte(none)); !got.IsZero() {
			t.Errorf("%q: got %s, want none", none, got)
		}
	}
}
