package spool

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"syscall"
)

// A sealed file is {"sha256":"<of the body>","body":<JSON>} and a newline: a torn or altered one is told
// from a sound one, whatever byte is wrong.
const (
	sealHead = `{"sha256":"`
	sealMid  = `","body":`
	sealTail = "}\n"
	sealSize = len(sealHead) + 2*sha256.Size + len(sealMid) + len(sealTail)
	// maxSealed bounds what is read of a sealed file.
	maxSealed = 8 << 20
)

// DamagedError says that a durable file is torn or was altered.
type DamagedError struct {
	Path   string
	Reason string
}

// Error names the file.
func (e *DamagedError) Error() string { return fmt.Sprintf("%s is damaged: %s", e.Path, e.Reason) }

func seal(body []byte) []byte {
	sum := sha256.Sum256(body)
	b := make([]byte, 0, len(body)+sealSize)
	b = append(b, sealHead...)
	b = hex.AppendEncode(b, sum[:])
	b = append(b, sealMid...)
	b = append(b, body...)
	return append(b, sealTail...)
}

// unseal returns the body; reason is empty when the file is sound.
func unseal(b []byte) (body []byte, reason string) {
	if len(b) < sealSize {
		return nil, "it is too short"
	}
	body = b[len(sealHead)+2*sha256.Size+len(sealMid) : len(b)-len(sealTail)]
	if !bytes.Equal(seal(body), b) {
		return nil, "its sum does not match"
	}
	return body, ""
}

// readSealed returns a file's body: fs.ErrNotExist without the file, *DamagedError when it is torn, or no
// file at all.
func readSealed(d Disk, path string) ([]byte, error) {
	f, err := d.Open(path)
	if err != nil {
		return nil, noFile(path, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSealed+1))
	if err != nil {
		return nil, noFile(path, fmt.Errorf("read %s: %w", path, err))
	}
	if len(b) > maxSealed {
		return nil, &DamagedError{path, "it is too large"}
	}
	body, reason := unseal(b)
	if reason != "" {
		return nil, &DamagedError{path, reason}
	}
	return body, nil
}

// noFile makes damage of the error of a folder or a link in a file's place, or of a file in its folder's:
// one such name must not keep the agent from all its jobs.
func noFile(path string, err error) error {
	if errors.Is(err, syscall.EISDIR) || errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.ENOTDIR) {
		return &DamagedError{path, err.Error()}
	}
	return err
}

func readJSON(d Disk, path string, into any) error {
	body, err := readSealed(d, path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, into); err != nil {
		return &DamagedError{path, err.Error()}
	}
	return nil
}

// writeSealed replaces a file durably. It writes into the space that was set aside for it, where there
// is some, so that it succeeds on a full disk.
func writeSealed(d Disk, path string, body []byte) error {
	temp, err := writeTemp(d, path, seal(body))
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := d.Rename(temp, path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := d.SyncDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

func writeJSON(d Disk, path string, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return writeSealed(d, path, body)
}

// writeTemp writes a temporary file durably and returns its name. A failed write leaves the space set
// aside as large as it was.
func writeTemp(d Disk, path string, b []byte) (string, error) {
	temp := path + spaceSuffix
	f, err := d.Edit(temp)
	if errors.Is(err, fs.ErrNotExist) {
		temp = path + tempSuffix
		f, err = d.Create(temp)
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	if _, err := f.WriteAt(b, 0); err != nil {
		return "", err
	}
	if err := f.Truncate(int64(len(b))); err != nil {
		return "", err
	}
	if err := f.Sync(); err != nil {
		return "", err
	}
	return temp, nil
}

const (
	tempSuffix  = ".tmp"
	spaceSuffix = ".space"
)

// setAside makes the space into which path will be written next.
func setAside(d Disk, path string, size int64) error {
	f, err := d.Create(path + spaceSuffix)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Allocate(size); err != nil {
		return errors.Join(err, d.Remove(path+spaceSuffix))
	}
	return nil
}
