package config

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTheKeyIsMadeOnceAndReadAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret.key")
	first, created, err := LoadKey(path)
	if err != nil || !created || len(first) != 32 {
		t.Fatalf("got %d bytes, created %v, %v; want a new key of 32", len(first), created, err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got mode %v, %v; want 0600", info.Mode(), err)
	}
	second, created, err := LoadKey(path)
	if err != nil || created || !bytes.Equal(first, second) {
		t.Errorf("got another key or an error the second time: created %v, %v", created, err)
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
		t.Errorf("got %v, want the key alone", entries)
	}
}

func TestParallelFirstStartsAgreeOnOneKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret.key")
	keys, made := make(chan string, 16), make(chan bool, 16)
	for range 16 {
		go func() {
			k, created, err := LoadKey(path)
			if err != nil {
				t.Error(err)
			}
			keys <- string(k)
			made <- created
		}()
	}
	seen, n := map[string]bool{}, 0
	for range 16 {
		seen[<-keys] = true
		if <-made {
			n++
		}
	}
	if len(seen) != 1 || n != 1 {
		t.Errorf("got %d keys made by %d, want one by one", len(seen), n)
	}
}

func TestBadKeyFilesAreRefused(t *testing.T) {
	good := bytes.Repeat([]byte{1, 2}, 16)
	for _, c := range []struct {
		name, content string
		mode          os.FileMode
		want          string
	}{
		{"hexadecimal", hex.EncodeToString(good), 0o600, ""},
		{"base64", base64.StdEncoding.EncodeToString(good) + "\n", 0o400, ""},
		{"readable by the group", hex.EncodeToString(good), 0o640, ""},
		{"readable by all", hex.EncodeToString(good), 0o644, "chmod 0600"},
		{"writable by the group", hex.EncodeToString(good), 0o660, "chmod 0600"},
		{"empty", "", 0o600, "damaged"},
		{"short", hex.EncodeToString(good[:16]), 0o600, "damaged"},
		{"cut", hex.EncodeToString(good)[:63], 0o600, "damaged"},
		{"long", hex.EncodeToString(good) + "00", 0o600, "damaged"},
		{"raw bytes", string(good), 0o600, "damaged"},
		{"no key at all", strings.Repeat("00", 32), 0o600, "same byte"},
		{"huge", strings.Repeat("0", 5000), 0o600, "small plain file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "secret.key")
			writeFile(t, path, c.content)
			if err := os.Chmod(path, c.mode); err != nil {
				t.Fatal(err)
			}
			key, _, err := LoadKey(path)
			if c.want == "" {
				if err != nil || !bytes.Equal(key, good) {
					t.Errorf("got %x, %v; want the key", key, err)
				}
				return
			}
			if _, is := errors.AsType[*Error](err); !is || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
			if again, _ := os.ReadFile(path); string(again) != c.content {
				t.Error("the file was changed")
			}
		})
	}
}

func TestTheDataFolderHasOneServer(t *testing.T) {
	dir := t.TempDir()
	unlock, err := LockDataDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := LockDataDir(dir); err == nil || !strings.Contains(err.Error(), "another restic-manager server") {
		t.Errorf("got %v, want a refusal", err)
	}
	unlock()
	again, err := LockDataDir(dir)
	if err != nil {
		t.Fatalf("after the first has gone: %v", err)
	}
	again()
}
