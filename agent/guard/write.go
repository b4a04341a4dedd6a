package guard

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"restic-manager/agent/hostfile"
)

// Permissions are what enroll may write into a new guard.yaml.
type Permissions struct {
	Maintenance bool     // forget and prune
	Paths       []string // the only paths that may be backed up; none: any
}

// IsZero reports whether there is nothing to write: the defaults hold.
func (p Permissions) IsZero() bool { return !p.Maintenance && len(p.Paths) == 0 }

// Check refuses paths that guard.yaml would refuse.
func (p Permissions) Check() error {
	for _, a := range p.Paths {
		if err := checkFolder(a); err != nil {
			return fmt.Errorf("--allow-paths: %w", err)
		}
	}
	return nil
}

// Write makes guard.yaml with these permissions over the defaults. One that is there already is refused
// with fs.ErrExist, for its owner decides, unless it says the same.
func Write(path string, p Permissions) error {
	if err := p.Check(); err != nil {
		return err
	}
	data := p.text()
	if had, err := hostfile.Read(path); err == nil && bytes.Equal(had.Data, data) {
		return nil
	}
	// Readable by everybody, so that anybody can see what is allowed; changed by its owner only.
	err := hostfile.WriteNew(path, data, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already and stands: edit it by hand, and leave --allow and --allow-paths out: %w", filepath.Clean(path), fs.ErrExist)
	}
	return err
}

func (p Permissions) text() []byte {
	var b strings.Builder
	b.WriteString("# What the server may order on this host. Owned by root; the server cannot change it.\n# Keys that are left out have their defaults.\nversion: 1\n")
	if len(p.Paths) > 0 {
		b.WriteString("backup:\n  allow:\n")
		for _, a := range p.Paths {
			fmt.Fprintf(&b, "    - '%s'\n", strings.ReplaceAll(a, "'", "''"))
		}
	}
	if p.Maintenance {
		b.WriteString("maintenance:\n  forget: true\n  prune: true\n")
	}
	return []byte(b.String())
}
