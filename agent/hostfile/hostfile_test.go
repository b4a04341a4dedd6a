package hostfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

type sample struct {
	A   string            `yaml:"a"`
	N   int               `yaml:"n"`
	L   []string          `yaml:"l"`
	M   map[string]string `yaml:"m"`
	Sub struct {
		B bool `yaml:"b"`
	} `yaml:"sub"`
}

func TestDecodeTakesPlainFiles(t *testing.T) {
	var s sample
	if err := Decode([]byte("# words\na: 'x: y'\nn: 3\nl: [p, q]\nm:\n  k: v\nsub: {b: true}\n"), &s); err != nil {
		t.Fatal(err)
	}
	if s.A != "x: y" || s.N != 3 || len(s.L) != 2 || s.M["k"] != "v" || !s.Sub.B {
		t.Errorf("got %+v", s)
	}
	for _, empty := range []string{"", "\n", "# nothing\n", "---\n", "~"} {
		kept := sample{A: "kept"}
		if err := Decode([]byte(empty), &kept); err != nil || kept.A != "kept" {
			t.Errorf("%q: got %+v, %v", empty, kept, err)
		}
	}
}

// TestErrorsNameTheLineAndNeverAValue: a value may be a password.
func TestErrorsNameTheLineAndNeverAValue(t *testing.T) {
	for yaml, want := range map[string]string{
		"a: x\nhunter: 1\n":               `line 2: unknown key "hunter"`,
		"a: x\nsub:\n  c: hunter2\n":      `line 3: unknown key "c"`,
		"a: x\na: hunter2\n":              `line 2: the key "a" was given in line 1 already`,
		"m:\n  k: hunter2\n  k: x\n":      `line 3: the key "k" was given in line 2 already`,
		"n: hunter2\n":                    "line 1: the value has the wrong form",
		"a: [hunter2]\n":                  "line 1: the value has the wrong form",
		"m: hunter2\n":                    "line 1: the value has the wrong form",
		"sub: {b: hunter2}\n":             "line 1: the value has the wrong form",
		"a: *hunter2\n":                   "not valid YAML",
		"a: &hunter2 x\n":                 "line 1: YAML anchors",
		"a: \"hunter2\nn: 1\n":            "not valid YAML",
		"a: @hunter2\n":                   "not valid YAML",
		"a: !hunter2 x\nn: y\n":           "line 2",
		"hunter2\n":                       `give "key: value" lines`,
		"[hunter2]\n":                     `give "key: value" lines`,
		"a: x\n---\na: hunter2\n":         "second YAML document",
		"a:\nn: 1\n":                      `line 1: the key "a" has no value`,
		"[hunter2, x]: 1\n":               "line 1: a key is a plain word",
		"a: x\n<<: {n: 1}\n":              "line 2: a key is a plain word",
		"x1: 1\nx2: 2\n":                  `line 1: unknown key "x1"; line 2: unknown key "x2"`,
		"a: hunter2\x00\n":                "not valid YAML",
		strings.Repeat("[", 20000) + "\n": "not valid YAML",
	} {
		var s sample
		err := Decode([]byte(yaml), &s)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: got %v, want %q", yaml, err, want)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%.40q: the error quotes the value: %v", yaml, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("a: x\nm: {k: v}\n"))
	f.Add([]byte("a: &x y\nl: [*x, *x]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var s sample
		_ = Decode(data, &s)
	})
}

func TestWriteReplacesAndMakesItsFolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "deep", "file")
	for _, text := range []string{"one", "two"} {
		if err := Write(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := Read(path)
		if err != nil || string(f.Data) != text || f.Mode.Perm() != 0o600 || f.UID != os.Geteuid() {
			t.Errorf("got %+v, %v, want %q", f, err, text)
		}
	}
	info, err := os.Stat(filepath.Dir(path))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("folder: got %v, %v, want 0700", info.Mode(), err)
	}
	onlyFile(t, path)
}

func TestWriteNewNeverReplaces(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := WriteNew(path, []byte("one"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := WriteNew(path, []byte("two"), 0o644); !errors.Is(err, fs.ErrExist) {
		t.Errorf("got %v, want fs.ErrExist", err)
	}
	if f, err := Read(path); err != nil || string(f.Data) != "one" {
		t.Errorf("got %q, %v, want the first", f.Data, err)
	}
	onlyFile(t, path)
}

func TestWriteThatFailsLeavesTheOldFile(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "file")
	if err := os.MkdirAll(filepath.Join(path, "is a folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Write(path, []byte("x"), 0o600); err == nil {
		t.Error("a folder was replaced")
	}
	onlyFile(t, path)
}

// onlyFile checks that no temporary file is left beside path.
func onlyFile(t *testing.T, path string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("the folder holds %v, %v, want the file alone", entries, err)
	}
}

func TestRemoveTakesWhatIsNotThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := Write(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := Remove(path); err != nil {
			t.Error(err)
		}
	}
}

func TestReadRefusesWhatIsNotAFile(t *testing.T) {
	folder := t.TempDir()
	fifo := filepath.Join(folder, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	large := filepath.Join(folder, "large")
	if err := os.WriteFile(large, make([]byte, MaxSize+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{fifo, folder, large} {
		if _, err := Read(path); err == nil {
			t.Errorf("%s was read", path)
		}
	}
	if _, err := Read(filepath.Join(folder, "missing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: got %v", err)
	}
}
