package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"restic-manager/server/database/databasetest"
)

// keep copies a file to a place of its own.
func keep(t *testing.T, from, to string) {
	t.Helper()
	raw, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestABackupBringsTheServerBackAfterATotalLoss(t *testing.T) {
	for _, engine := range databasetest.Engines {
		t.Run(engine, func(t *testing.T) {
			old, safe := t.TempDir(), t.TempDir()
			data := "--data-dir=" + old
			r := startServer(t, old, nil)
			mustRun(t, "user", "add", "ann", "--role=administrator", "--password-file="+passwordFile(t), data)
			mustRun(t, "token", "create", "--name=web1", data)

			file := filepath.Join(safe, "backup.db")
			out := mustRun(t, "backup", "--to="+file, data) // while the server runs
			if key := filepath.Join(old, "secret.key"); !strings.Contains(out, "operators") || !strings.Contains(out, key) {
				t.Errorf("got %q, want the tables and where the key is", out)
			}
			if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("the backup: got %v %v, want a file that is its owner's alone", info, err)
			}
			if left, _ := filepath.Glob(filepath.Join(safe, "*")); len(left) != 1 {
				t.Errorf("got %v, want the backup alone", left)
			}
			if code, _, stderr := command(t, nil, "", "backup", "--to="+file, data); code != 1 || !strings.Contains(stderr, "not there yet") {
				t.Errorf("over a file: got %d %q", code, stderr)
			}
			keep(t, filepath.Join(old, "secret.key"), filepath.Join(safe, "secret.key"))
			r.shutdown(t)
			if err := os.RemoveAll(old); err != nil {
				t.Fatal(err)
			}

			dir := t.TempDir()
			data = "--data-dir=" + dir
			place := []string{data}
			if engine == "postgres" {
				place = append(place, "--database="+databasetest.New(t, engine))
			}
			restore := append([]string{"restore", "--from=" + file}, place...)
			if out := mustRun(t, restore...); !strings.Contains(out, "put the copy of its encryption key at "+filepath.Join(dir, "secret.key")) {
				t.Errorf("without the key: got %q", out)
			}
			code, _, stderr := command(t, nil, "", restore...)
			if code != 1 || !strings.Contains(stderr, "holds something already") {
				t.Errorf("restored twice: got %d %q", code, stderr)
			}
			keep(t, filepath.Join(safe, "secret.key"), filepath.Join(dir, "secret.key"))
			again := startServer(t, dir, nil, place[1:]...)
			status, cookie := again.login(t, "ann", password)
			if status != 204 {
				t.Errorf("sign-in after the restore: got %d, want 204", status)
			}
			var tokens struct {
				Tokens []struct {
					Name string `json:"name"`
				} `json:"tokens"`
			}
			if status, _ := again.call(t, "GET", "/api/enrollment-tokens", cookie, nil, &tokens); status != 200 || len(tokens.Tokens) != 1 || tokens.Tokens[0].Name != "web1" {
				t.Errorf("the tokens: got %d %v, want the one from before", status, tokens)
			}
		})
	}
}

func TestARestoreTellsAWrongKeyAndAWrongFile(t *testing.T) {
	old, dir := t.TempDir(), t.TempDir()
	r := startServer(t, old, nil)
	r.shutdown(t)
	file := filepath.Join(t.TempDir(), "backup.db")
	mustRun(t, "backup", "--to="+file, "--data-dir="+old)

	other := t.TempDir()
	o := startServer(t, other, nil)
	o.shutdown(t)
	keep(t, filepath.Join(other, "secret.key"), filepath.Join(dir, "secret.key"))
	if code, _, stderr := command(t, nil, "", "restore", "--from="+file, "--data-dir="+dir); code == 0 || !strings.Contains(stderr, "is not the one it was made with") {
		t.Errorf("another key: got %d %q", code, stderr)
	}

	text := filepath.Join(t.TempDir(), "letter.txt")
	if err := os.WriteFile(text, []byte("Dear reader, this is no database at all, however long it gets to be in the end.\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(t.TempDir(), "empty.db")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{text, empty} {
		fresh := t.TempDir()
		if code, _, stderr := command(t, nil, "", "restore", "--from="+name, "--data-dir="+fresh); code != 1 || !strings.Contains(stderr, name+" cannot be restored") {
			t.Errorf("got %d %q, want the file named", code, stderr)
		}
		if _, err := os.Stat(filepath.Join(fresh, "restic-manager.db")); err == nil {
			t.Errorf("a database was made from %s", name)
		}
		if left, _ := filepath.Glob(filepath.Join(filepath.Dir(name), ".restore-*")); len(left) != 0 {
			t.Errorf("%v is left", left)
		}
	}
}

func TestADatabaseMovesToPostgresOnceItsServerHasStopped(t *testing.T) {
	dir := t.TempDir()
	to := databasetest.New(t, "postgres")
	r := startServer(t, dir, nil)
	mustRun(t, "user", "add", "ann", "--role=administrator", "--password-file="+passwordFile(t), "--data-dir="+dir)
	files, err := filepath.Glob(filepath.Join(dir, "*.db"))
	if err != nil || len(files) != 1 {
		t.Fatalf("got %v, %v: want the one database", files, err)
	}
	move := []string{"db", "copy", "--from=" + files[0], "--to=" + to}
	if code, _, stderr := command(t, nil, "", move...); code == 0 || !strings.Contains(stderr, "Stop it first") {
		t.Errorf("while its server runs: got %d %q", code, stderr)
	}
	r.shutdown(t)
	if out := mustRun(t, move...); !strings.Contains(out, "is the same") || !strings.Contains(out, "operators") {
		t.Errorf("got %q", out)
	}
	again := startServer(t, dir, nil, "--database="+to)
	if status, _ := again.login(t, "ann", password); status != 204 {
		t.Errorf("sign-in at the new database: got %d, want 204", status)
	}
	if code, _, stderr := command(t, nil, "", "db", "copy", "--from=/nonexistent/a.db", "--to="+to); code != 1 || !strings.Contains(stderr, "there is no database at") {
		t.Errorf("no source: got %d %q", code, stderr)
	}
}

func passwordFile(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
