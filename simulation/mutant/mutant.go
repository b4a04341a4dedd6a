// Package mutant takes rules out of the production code, one at a time, so that the simulation can show that it
// notices. Nothing of it is in the code itself: a mutant is an edit of a source file, which the compiler is given
// in place of that file (go build -overlay).
package mutant

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Mutant is one rule taken out.
type Mutant struct {
	Name string
	// Rule says what is missing then.
	Rule string
	// Stays says why the rule stays although no history needs it; empty: histories need it.
	Stays string
	// Rare: ten times as many histories are run, for few of them notice.
	Rare  bool
	Edits []Edit
}

// Edit replaces one text of a file, which must be there once.
type Edit struct{ File, Old, New string }

// apply gives the edited files by their paths below root.
func (m Mutant) apply(root string) (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, e := range m.Edits {
		text, ok := files[e.File]
		if !ok {
			var err error
			if text, err = os.ReadFile(filepath.Join(root, e.File)); err != nil {
				return nil, fmt.Errorf("mutant %s: %w", m.Name, err)
			}
		}
		if n := strings.Count(string(text), e.Old); n != 1 {
			return nil, fmt.Errorf("mutant %s: %s holds %d times, not once: %s", m.Name, e.File, n, e.Old)
		}
		files[e.File] = []byte(strings.Replace(string(text), e.Old, e.New, 1))
	}
	return files, nil
}

// Overlay writes the edited files below dir, and the overlay file for the go command, whose path it returns.
func (m Mutant) Overlay(root, dir string) (string, error) {
	files, err := m.apply(root)
	if err != nil {
		return "", err
	}
	replace := map[string]string{}
	n := 0
	for name, text := range files {
		n++
		to := filepath.Join(dir, fmt.Sprintf("%s-%d.go", m.Name, n))
		if err := os.WriteFile(to, text, 0o600); err != nil {
			return "", err
		}
		replace[filepath.Join(root, name)] = to
	}
	raw, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, m.Name+".json")
	return path, os.WriteFile(path, raw, 0o600)
}
