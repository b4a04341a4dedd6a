package e2e

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// oddTree makes a folder with what breaks backup tools: blanks, quotes, newlines, names that are not UTF-8,
// names like flags, links, a sparse file, times with nanoseconds, owners, modes, extended attributes.
func oddTree(t testing.TB, root string) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(root, 0o755))
	for i, name := range []string{
		"plain.txt", "with blank", ` leading and trailing `, `quo"te'd`, "new\nline", "tab\there", "back\\slash",
		"invalid-\xff\xfe-utf8", "--password-command=touch x", "-o", "$HOME", "#comment", "!bang", "*star?[x]",
		"ünïcode-☃-😀", "control-\x01\x1b[31mred", strings.Repeat("long", 60),
	} {
		p := filepath.Join(root, name)
		must(os.WriteFile(p, fmt.Appendf(nil, "file %d\n", i), 0o644))
		must(os.Chtimes(p, time.Unix(1700000000, 0), time.Unix(1600000000+int64(i), int64(123456789+i))))
	}
	must(os.WriteFile(filepath.Join(root, "empty"), nil, 0o600))
	must(os.MkdirAll(filepath.Join(root, "deep", "er", "est"), 0o750))
	must(os.WriteFile(filepath.Join(root, "deep", "er", "est", "f"), []byte("deep"), 0o400))
	must(os.Symlink("../outside/of the tree", filepath.Join(root, "dangling link")))
	must(os.Symlink("plain.txt", filepath.Join(root, "link")))
	must(os.Link(filepath.Join(root, "plain.txt"), filepath.Join(root, "hard link")))
	must(os.Chmod(filepath.Join(root, "plain.txt"), 0o640))
	writeRandom(t, filepath.Join(root, "random.bin"), 3<<20, 1)
	f, err := os.Create(filepath.Join(root, "sparse"))
	must(err)
	must(f.Truncate(5 << 20))
	must(f.Close())
	must(os.Chmod(filepath.Join(root, "sparse"), 0o4755))
	if os.Geteuid() == 0 {
		must(os.Lchown(filepath.Join(root, "with blank"), 1234, 4321))
		must(os.Lchown(filepath.Join(root, "dangling link"), 1234, 4321))
	}
	_ = unix.Setxattr(filepath.Join(root, "plain.txt"), "user.note", []byte("kept\x00too"), 0)
	must(os.Chtimes(filepath.Join(root, "deep"), time.Unix(1500000000, 5), time.Unix(1500000000, 42)))
}

func writeRandom(t testing.TB, path string, size int, seed uint64) {
	t.Helper()
	b := make([]byte, size)
	r := rand.New(rand.NewPCG(seed, 7))
	for i := 0; i+8 <= len(b); i += 8 {
		v := r.Uint64()
		for j := range 8 {
			b[i+j] = byte(v >> (8 * j))
		}
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// describe is one line per entry: all that a restore must bring back. Hard links are told by the first name
// of their group.
func describe(t testing.TB, root string) []string {
	t.Helper()
	var lines []string
	first := map[uint64]string{}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		rel, _ := filepath.Rel(root, p)
		line := fmt.Sprintf("%q %v %d:%d %d", rel, info.Mode(), st.Uid, st.Gid, info.ModTime().UnixNano())
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" -> %q", target)
		case info.Mode().IsRegular():
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" %d %x", len(b), sha256.Sum256(b))
			if st.Nlink > 1 {
				if first[st.Ino] == "" {
					first[st.Ino] = rel
				}
				line += fmt.Sprintf(" linked with %q", first[st.Ino])
			}
			value := make([]byte, 100)
			if n, err := unix.Getxattr(p, "user.note", value); err == nil {
				line += fmt.Sprintf(" note=%q", value[:n])
			}
		}
		lines = append(lines, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(lines)
	return lines
}
