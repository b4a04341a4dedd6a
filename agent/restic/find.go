package restic

import "context"

// Binary is a restic program that was found and asked for its version.
type Binary struct {
	Path    string
	Version Version
}

// Finder finds restic, and asks each binary for its version once: again only when the file's inode, size
// or times changed. It may be used from several goroutines.
type Finder struct {
	configured string
}

// NewFinder finds the binary at an absolute path; empty: the first restic in SafePath.
func NewFinder(configured string) *Finder { return &Finder{configured: configured} }

// Find returns restic. Its errors are *Error: wire.CodeResticMissing says what to install, or why the
// configured file may not be run; wire.CodeResticTooOld names the version found.
func (f *Finder) Find(ctx context.Context) (Binary, error) { panic("soon") }
