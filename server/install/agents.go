package install

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"restic-manager/server/fault"
)

const (
	prefix = "restic-manager-agent-"
	// maxPlatforms bounds the answers; more than there are.
	maxPlatforms = 32
)

// platformName is what may be between the prefix and the end of a program's name, and in a URL.
var platformName = regexp.MustCompile(`^[a-z0-9]{1,16}-[a-z0-9]{1,16}$`)

// Program is an agent for one platform.
type Program struct {
	Platform string // as in linux-arm64
	Size     int64  // bytes
	SHA256   string // hexadecimal
}

// OS is the platform's first part, as in linux.
func (p Program) OS() string { os, _, _ := strings.Cut(p.Platform, "-"); return os }

// Arch is the platform's second part: amd64, arm64, armv7.
func (p Program) Arch() string { _, arch, _ := strings.Cut(p.Platform, "-"); return arch }

// Agents is a folder of programs named restic-manager-agent-OS-ARCH. It is safe for concurrent use.
type Agents struct {
	dir string

	mu   sync.Mutex // guards sums, and is held while one is made: those that ask at once make one
	sums map[string]summed
}

// summed is a program's sum, and the file it was made of.
type summed struct {
	file fs.FileInfo
	sum  string
}

// OpenAgents looks into dir whenever it is asked; a folder that is not there has no programs.
func OpenAgents(dir string) *Agents { return &Agents{dir: dir, sums: map[string]summed{}} }

// List is what is there, by name. An empty or missing folder is an empty list.
func (a *Agents) List() ([]Program, error) {
	entries, err := os.ReadDir(a.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("look for agents: %w", err)
	}
	list := []Program{}
	for _, e := range entries {
		platform, ours := strings.CutPrefix(e.Name(), prefix)
		if !ours || !platformName.MatchString(platform) || len(list) == maxPlatforms {
			continue
		}
		f, p, err := a.Open(platform)
		if fault.Is(err, "not_found") { // a folder, or gone meanwhile
			continue
		}
		if err != nil {
			return nil, err
		}
		f.Close()
		list = append(list, p)
	}
	return list, nil
}

// Open is one platform's program, with its sum; the caller closes it. One that is not there is not_found.
func (a *Agents) Open(platform string) (*os.File, Program, error) {
	none := fault.NotFoundf("There is no agent for this platform here.")
	if !platformName.MatchString(platform) {
		return nil, Program{}, none
	}
	f, err := os.Open(filepath.Join(a.dir, prefix+platform))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, Program{}, none
	}
	if err != nil {
		return nil, Program{}, fmt.Errorf("open the agent for %s: %w", platform, err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = none
	}
	var sum string
	if err == nil {
		sum, err = a.sum(platform, f, info)
	}
	if err != nil {
		f.Close()
		return nil, Program{}, err
	}
	return f, Program{Platform: platform, Size: info.Size(), SHA256: sum}, nil
}

// sum is made once of each file; one that was changed or replaced is another.
func (a *Agents) sum(platform string, f *os.File, info fs.FileInfo) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if known := a.sums[platform]; known.file != nil && os.SameFile(known.file, info) &&
		known.file.Size() == info.Size() && known.file.ModTime().Equal(info.ModTime()) {
		return known.sum, nil
	}
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("read the agent for %s: %w", platform, err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", fmt.Errorf("read the agent for %s: %w", platform, err)
	}
	sum := hex.EncodeToString(h.Sum(nil))
	// A file that is being written may change again within the resolution of its time: it is not kept yet.
	if time.Since(info.ModTime()) > settled {
		a.sums[platform] = summed{info, sum}
	}
	return sum, nil
}

// settled is the age from which a file's time tells that it was not changed since.
const settled = 2 * time.Second
