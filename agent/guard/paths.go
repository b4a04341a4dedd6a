package guard

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// inside reports whether path is folder or lies below it. Both are clean and absolute; whole components
// count, so that /etc-evil is not within /etc.
func inside(path, folder string) bool {
	if folder == "/" {
		return strings.HasPrefix(path, "/")
	}
	return path == folder || strings.HasPrefix(path, folder+"/")
}

// insideAny is the first of the folders that path lies in.
func insideAny(path string, folders []string) (string, bool) {
	for _, f := range folders {
		if inside(path, f) {
			return f, true
		}
	}
	return "", false
}

// resolve follows the symbolic links of path as far as it exists; what does not exist is kept as written.
func resolve(path string) (string, error) {
	real, err := filepath.EvalSymlinks(path)
	if err == nil {
		return real, nil
	}
	if !errors.Is(err, fs.ErrNotExist) || path == "/" {
		return "", err
	}
	// A dangling link could point anywhere once its target appears.
	if info, lerr := os.Lstat(path); lerr == nil && info.Mode()&fs.ModeSymlink != 0 {
		return "", err
	}
	above, err := resolve(filepath.Dir(path))
	if err != nil {
		return "", err
	}
	return filepath.Join(above, filepath.Base(path)), nil
}

// withResolved are the paths and what they resolve to, sorted, each once.
func withResolved(paths []string) []string {
	all := slices.Clone(paths)
	for _, p := range paths {
		if real, err := resolve(p); err == nil {
			all = append(all, real)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
