package runner

import (
	"os"
	"path/filepath"
	"testing"
)

// A restore's folder is made in real folders only: a link that somebody put in place of the root, of a folder above it
// or of the target itself is not followed, however late.
func TestATargetIsMadeInRealFoldersOnly(t *testing.T) {
	for name, swap := range map[string]func(t *testing.T, dir string){
		"the target":             func(t *testing.T, dir string) { link(t, dir+"/canary", dir+"/above/root/new") },
		"the target, to nowhere": func(t *testing.T, dir string) { link(t, dir+"/nowhere", dir+"/above/root/new") },
		"the root": func(t *testing.T, dir string) {
			rename(t, dir+"/above/root", dir+"/aside")
			link(t, dir+"/canary", dir+"/above/root")
		},
		"the root, to itself": func(t *testing.T, dir string) {
			rename(t, dir+"/above/root", dir+"/aside")
			link(t, dir+"/aside", dir+"/above/root")
		},
		"a folder above": func(t *testing.T, dir string) {
			rename(t, dir+"/above", dir+"/aside")
			link(t, dir+"/canary", dir+"/above")
		},
		"a file for the root": func(t *testing.T, dir string) {
			rename(t, dir+"/above/root", dir+"/aside")
			if err := os.WriteFile(dir+"/above/root", nil, 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"a root that others can change": func(t *testing.T, dir string) {
			if err := os.Chmod(dir+"/above/root", 0o777); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, err := filepath.EvalSymlinks(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range []string{"/above/root", "/canary/root"} {
				if err := os.MkdirAll(dir+d, 0o700); err != nil {
					t.Fatal(err)
				}
			}
			if err := makeTarget(dir + "/above/root/first"); err != nil {
				t.Fatalf("in real folders: %v", err)
			}
			swap(t, dir)
			if err := makeTarget(dir + "/above/root/new"); err == nil {
				t.Error("the folder was made")
			}
			for _, made := range []string{"/canary/new", "/canary/root/new", "/nowhere", "/aside/new", "/aside/root/new"} {
				if _, err := os.Lstat(dir + made); err == nil {
					t.Errorf("%s was made", made)
				}
			}
		})
	}
}

func link(t *testing.T, to, at string) {
	t.Helper()
	if err := os.Symlink(to, at); err != nil {
		t.Fatal(err)
	}
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}
