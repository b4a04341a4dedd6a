package config

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// keySize is AES-256's.
const keySize = 32

// LoadKey reads the encryption key, or makes it where there is no file yet; created tells, so that its owner
// can be told to keep a copy. A file that others may read or that holds no whole key is an *Error.
func LoadKey(path string) (key []byte, created bool, err error) {
	key, err = readKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, false, err
	}
	key = make([]byte, keySize)
	rand.Read(key)
	if err := writeNew(path, []byte(hex.EncodeToString(key)+"\n")); err != nil {
		if errors.Is(err, fs.ErrExist) { // another server was first
			key, err = readKey(path)
			return key, false, err
		}
		return nil, false, Errorf("make the encryption key: %v. Name its file with --key-file, or the server's folder with --data-dir", err)
	}
	return key, true, nil
}

// ReadKey reads the encryption key and makes none: a missing one is fs.ErrNotExist.
func ReadKey(path string) ([]byte, error) { return readKey(path) }

func readKey(path string) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err != nil {
		return nil, Errorf("read the encryption key: %v", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, Errorf("read the encryption key: %v", err)
	}
	if !info.Mode().IsRegular() || info.Size() > 4096 {
		return nil, Errorf("the encryption key %s is not a small plain file", path)
	}
	if info.Mode().Perm()&0o027 != 0 {
		return nil, Errorf("the encryption key %s can be read or changed by others (mode %04o): run chmod 0600 %s, and think of who may have read it", path, info.Mode().Perm(), path)
	}
	raw := make([]byte, info.Size())
	if _, err := f.ReadAt(raw, 0); err != nil && len(raw) > 0 {
		return nil, Errorf("read the encryption key: %v", err)
	}
	return parseKey(path, bytes.TrimSpace(raw))
}

func parseKey(path string, text []byte) ([]byte, error) {
	key, err := hex.DecodeString(string(text))
	if err != nil {
		key, err = base64.StdEncoding.DecodeString(string(text))
	}
	if err != nil || len(key) != keySize {
		return nil, Errorf("the encryption key %s is damaged: it must hold 32 bytes as 64 hexadecimal digits or as base64. Put the copy from your backup there; do not make a new one while the database holds sealed passwords", path)
	}
	if bytes.Count(key, key[:1]) == keySize {
		return nil, Errorf("the encryption key %s is the same byte over and over: make a real one with openssl rand -hex 32", path)
	}
	return key, nil
}

// writeNew makes a file that is whole or not there at all, whatever happens meanwhile; an existing one is
// fs.ErrExist.
func writeNew(path string, content []byte) error {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, filepath.Base(path)+".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(content)
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err != nil {
		return err
	}
	if err := os.Link(tmp.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// MakeDataDir makes the data folder, readable by nobody else.
func MakeDataDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Errorf("make the data folder: %v. Choose another with --data-dir", err)
	}
	return nil
}

// LockDataDir holds the data folder for this process until unlock: two servers on one SQLite file would each
// believe that nobody else wakes agents or sweeps. Another holder is an *Error.
func LockDataDir(dir string) (unlock func(), err error) {
	path := filepath.Join(dir, "server.lock")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, Errorf("lock the data folder: %v", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, Errorf("another restic-manager server runs on %s. Stop it first, or use PostgreSQL for several servers", dir)
		}
		return nil, Errorf("lock %s: %v", path, err)
	}
	return func() { f.Close() }, nil
}
