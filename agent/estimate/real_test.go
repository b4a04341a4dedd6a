package estimate

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"restic-manager/agent/restic"
	"restic-manager/shared/wire"
)

// versions are those of restic that this product is tried with.
var versions = []string{"0.14.0", "0.18.0"}

// realRestic is a real restic with a repository of its own.
type realRestic struct {
	t           *testing.T
	binary, dir string
}

func newRealRestic(t *testing.T, version string) *realRestic {
	tools := os.Getenv("RESTIC_MANAGER_TEST_TOOLS")
	if tools == "" {
		t.Fatal("RESTIC_MANAGER_TEST_TOOLS is not set: run make test")
	}
	r := &realRestic{t: t, binary: filepath.Join(tools, "restic-"+version, "restic"), dir: t.TempDir()}
	if out, err := r.command("init").CombinedOutput(); err != nil {
		t.Fatalf("init: %v: %s", err, out)
	}
	return r
}

func (r *realRestic) command(args ...string) *exec.Cmd {
	cmd := exec.Command(r.binary, args...)
	cmd.Env = []string{"HOME=" + r.dir, "RESTIC_REPOSITORY=" + filepath.Join(r.dir, "repo"), "RESTIC_PASSWORD=x", "RESTIC_CACHE_DIR=" + filepath.Join(r.dir, "cache")}
	return cmd
}

// backup backs up as an order of the server's does, and returns what the snapshot holds, with the summary's figures. It
// leaves out the folders that lead to the paths.
func (r *realRestic) backup(s *wire.BackupSpec) (in []string, files, size int64) {
	r.t.Helper()
	job := r.t.TempDir()
	i, err := restic.Build(restic.Access{
		Binary:     restic.Binary{Path: r.binary, Version: restic.Version{Minor: 18}},
		Host:       restic.Host{Hostname: "h", StateDir: r.dir, CacheDir: filepath.Join(r.dir, "cache"), TempDir: r.dir},
		Repository: restic.Repository{URL: filepath.Join(r.dir, "repo"), Password: "x"},
	}, restic.Order{Spec: s, JobDir: job})
	if err == nil {
		err = i.Prepare()
	}
	if err != nil {
		r.t.Fatal(err)
	}
	var words bytes.Buffer
	cmd := r.command(append(i.Args, "--no-scan", "--force")...)
	if strings.Contains(r.binary, "0.14") {
		cmd = r.command(append(i.Args, "--force")...)
	}
	cmd.Stderr = &words
	out, err := cmd.Output()
	if err != nil {
		if strings.Contains(words.String(), "snapshot is empty") {
			return nil, 0, 0
		}
		r.t.Fatalf("backup: %v: %s", err, words.String())
	}
	var sum struct {
		Files int64  `json:"total_files_processed"`
		Bytes int64  `json:"total_bytes_processed"`
		ID    string `json:"snapshot_id"`
	}
	for line := range bytes.Lines(out) {
		if bytes.Contains(line, []byte(`"message_type":"summary"`)) {
			if err := json.Unmarshal(line, &sum); err != nil {
				r.t.Fatal(err)
			}
		}
	}
	listed, err := r.command("ls", "--json", sum.ID).Output()
	if err != nil {
		r.t.Fatalf("ls: %v", err)
	}
	lines := bufio.NewScanner(bytes.NewReader(listed))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var n struct {
			Path       string `json:"path"`
			StructType string `json:"struct_type"`
		}
		if err := json.Unmarshal(lines.Bytes(), &n); err != nil {
			r.t.Fatal(err)
		}
		if n.StructType == "node" && !leads(n.Path, s.Paths) {
			in = append(in, n.Path)
		}
	}
	slices.Sort(in)
	return in, sum.Files, sum.Bytes
}

// leads reports whether a folder is only there because a path lies below it.
func leads(p string, paths []string) bool {
	within := slices.ContainsFunc(paths, func(q string) bool { return p == q || strings.HasPrefix(p, q+"/") })
	return !within
}

// ours is what the estimate says is in.
func ours(t *testing.T, s *wire.BackupSpec) ([]string, *wire.Estimate) {
	t.Helper()
	var in []string
	e, err := read(Order{Spec: wire.EstimateSpec{Paths: s.Paths, Excludes: s.Excludes, ExcludeCaches: s.ExcludeCaches,
		OneFileSystem: s.OneFileSystem, ExcludeLargerThan: s.ExcludeLargerThan}},
		Watch{Unreadable: func(p string, err error) { t.Errorf("%s: %v", p, err) }}, func(p string) { in = append(in, p) })
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(in)
	return in, e
}

func same(t *testing.T, what string, r *realRestic, s *wire.BackupSpec) {
	t.Helper()
	want, files, size := r.backup(s)
	got, e := ours(t, s)
	t.Logf("%s: %d paths are in, %d things out, by %d patterns", what, len(want), e.Excluded.Matches, len(s.Excludes))
	for _, p := range got {
		if !slices.Contains(want, p) {
			t.Errorf("%s: %q is in here and out in restic; %+v", what, p, s)
		}
	}
	for _, p := range want {
		if !slices.Contains(got, p) {
			t.Errorf("%s: %q is out here and in in restic; %+v", what, p, s)
		}
	}
	if len(want) > 0 && (e.Bytes != size || e.Files != files) {
		t.Errorf("%s: got %d files of %d bytes, restic has %d of %d", what, e.Files, e.Bytes, files, size)
	}
}

// forest makes up trees.
type forest struct {
	*rand.Rand
	t     *testing.T
	dir   string
	files []string // all paths
}

var names = []string{"a", "b", "c", "ab", "A", "cache", "a.tmp", "b.log", "c.log", ".a", "x y", "é", "a*b", "[z]", `a\b`, "$HOME", "#a", "node_modules", "a?", "!b"}

func (f *forest) name() string { return names[f.IntN(len(names))] }

func (f *forest) must(err error) {
	if err != nil && !os.IsExist(err) {
		f.t.Fatal(err)
	}
}

// grow fills a folder.
func (f *forest) grow(dir string, depth int) {
	f.must(os.MkdirAll(dir, 0o755))
	f.files = append(f.files, dir)
	if f.IntN(8) == 0 {
		body := cacheSignature
		if f.IntN(3) == 0 {
			body = cacheSignature[:f.IntN(len(cacheSignature))]
		}
		f.must(os.WriteFile(filepath.Join(dir, cacheTag), []byte(body+"\n"), 0o644))
	}
	for range f.IntN(6) {
		p := filepath.Join(dir, f.name())
		if _, err := os.Lstat(p); err == nil {
			continue
		}
		f.files = append(f.files, p)
		switch k := f.IntN(20); {
		case k < 8 && depth > 0:
			f.grow(p, depth-1)
		case k == 8:
			f.must(os.Symlink(f.files[f.IntN(len(f.files))], p))
		case k == 9:
			f.must(syscall.Mkfifo(p, 0o644))
		default:
			f.must(os.WriteFile(p, bytes.Repeat([]byte("x"), f.IntN(4000)), 0o644))
		}
	}
}

// pattern makes up one that has to do with the trees.
func (f *forest) pattern() string {
	p := f.files[f.IntN(len(f.files))]
	parts := strings.Split(strings.TrimPrefix(p, "/"), "/")
	below := len(strings.Split(strings.TrimPrefix(f.dir, "/"), "/"))
	rooted := f.IntN(3) == 0
	if !rooted {
		parts = parts[min(below+1+f.IntN(3), len(parts)-1):]
		if f.IntN(2) == 0 {
			parts = parts[:1+f.IntN(len(parts))]
		}
	}
	parts = slices.Clone(parts)
	for i := range parts {
		fixed := rooted && i <= below
		switch k := f.IntN(16); {
		case k == 0:
			parts[i] = "*"
		case k == 1 && !fixed:
			parts[i] = "**"
		case k == 2 && !fixed:
			parts[i] = []string{"*.log", "[a-c]*", "?", "a*", "*b", "[^a]", `\[z]`, `a\*b`, "*.*", "a**b", "c.*g"}[f.IntN(11)]
		case k == 3 && !fixed:
			parts[i] = f.name()
		default:
			if f.IntN(4) > 0 || strings.ContainsAny(parts[i], `*?[\`) {
				parts[i] = strings.NewReplacer("*", `\*`, "?", `\?`, "[", `\[`, `\`, `\\`).Replace(parts[i])
			}
		}
	}
	text := strings.Join(parts, "/")
	if rooted {
		text = "/" + text
	}
	switch f.IntN(12) {
	case 0:
		text += "/"
	case 1:
		text += "/**"
	case 2:
		text += "/*"
	case 3:
		text = strings.Replace(text, "/", "/./", 1)
	case 4:
		if !rooted {
			text = "**/" + text
		}
	case 5, 6: // two of them, which restic counts in a way of its own
		at := strings.LastIndex(text, "/")
		text = text[:at+1] + "**/" + text[at+1:] + []string{"", "/**"}[f.IntN(2)]
	}
	return text
}

// TestTheEstimateHoldsWhatRealResticBacksUp compares over random trees and patterns: 40 for each version, and 300 with
// RESTIC_MANAGER_FAULTS=full.
func TestTheEstimateHoldsWhatRealResticBacksUp(t *testing.T) {
	trees := 40
	if os.Getenv("RESTIC_MANAGER_FAULTS") == "full" {
		trees = 300
	}
	const each = 10 // trees of one backup
	for _, version := range versions {
		t.Run(version, func(t *testing.T) {
			r := newRealRestic(t, version)
			for n := range trees / each {
				seed := uint64(n + 1)
				f := &forest{Rand: rand.New(rand.NewPCG(seed, 7)), t: t, dir: t.TempDir()}
				spec := &wire.BackupSpec{ExcludeCaches: f.IntN(2) == 0}
				if f.IntN(2) == 0 {
					spec.ExcludeLargerThan = int64(1 + f.IntN(4000))
				}
				spec.OneFileSystem = f.IntN(4) == 0
				for i := range each {
					root := filepath.Join(f.dir, fmt.Sprint("t", i))
					f.grow(root, 4)
					spec.Paths = append(spec.Paths, root)
				}
				for range f.IntN(3) { // paths within others
					if p := f.files[f.IntN(len(f.files))]; !slices.Contains(spec.Paths, p) {
						spec.Paths = append(spec.Paths, p)
					}
				}
				for want := f.IntN(14); len(spec.Excludes) < want; {
					if p := f.pattern(); wire.CheckExclude(p) == nil && !takesAll(p) {
						spec.Excludes = append(spec.Excludes, p)
					}
				}
				same(t, fmt.Sprint("seed ", seed), r, spec)
				if t.Failed() {
					return
				}
			}
		})
	}
}

// takesAll: such patterns leave nothing to compare.
func takesAll(p string) bool {
	return strings.Trim(strings.ReplaceAll(p, "/", ""), "*?") == ""
}

// TestOtherFileSystemsAreOutAsInRealRestic goes by the file systems that every Linux has mounted in /dev.
func TestOtherFileSystemsAreOutAsInRealRestic(t *testing.T) {
	shm, err := os.MkdirTemp("/dev/shm", "restic-manager-test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(shm) })
	here := t.TempDir()
	for _, dir := range []string{shm, here} {
		if err := errorsOf(os.Mkdir(filepath.Join(dir, "sub"), 0o755), os.WriteFile(filepath.Join(dir, "sub", "f"), []byte("12345"), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(shm, filepath.Join(here, "link")); err != nil {
		t.Fatal(err)
	}
	for _, version := range versions {
		t.Run(version, func(t *testing.T) {
			r := newRealRestic(t, version)
			for _, paths := range [][]string{{here, shm}, {"/dev"}, {"/dev", filepath.Join(shm, "sub")}} {
				s := &wire.BackupSpec{Paths: paths, OneFileSystem: true}
				same(t, fmt.Sprint(paths), r, s)
				if _, e := ours(t, s); paths[0] == "/dev" && (e.FileSystems.Matches == 0 || !e.FileSystems.Partial) {
					t.Errorf("%v: got %+v of other file systems, want those that are mounted there", paths, e.FileSystems)
				}
			}
		})
	}
}

func errorsOf(all ...error) error {
	for _, err := range all {
		if err != nil {
			return err
		}
	}
	return nil
}

// TestSocketsAreOutAsInRealRestic: a socket cannot be made in a long folder.
func TestSocketsAreOutAsInRealRestic(t *testing.T) {
	dir, err := os.MkdirTemp("/tmp", "rm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.WriteFile(filepath.Join(dir, "f"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, version := range versions {
		same(t, version, newRealRestic(t, version), &wire.BackupSpec{Paths: []string{dir}})
	}
}
