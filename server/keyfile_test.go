package main

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"
)

// A server whose key file goes away while it runs has it in memory: it answers as before, nobody more than before, and
// does not start again without it.
func TestAServerThatLostItsKeyFileAllowsNoMore(t *testing.T) {
	dir := t.TempDir()
	r := startServer(t, dir, []string{"RESTIC_MANAGER_ADMIN_USER=ann", "RESTIC_MANAGER_ADMIN_PASSWORD=" + password})
	_, cookie := r.login(t, "ann", password)
	if err := os.Remove(filepath.Join(dir, "secret.key")); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/api/hosts", "/api/operators", "/api/audit", "/api/agents/next-command"} {
		if status, _ := r.call(t, http.MethodGet, path, "", nil, nil); status != 401 {
			t.Errorf("%s without a sign-in: got %d, want 401", path, status)
		}
	}
	if status, _ := r.login(t, "ann", "a wrong wrong wrong one"); status != 401 {
		t.Errorf("a wrong password: got %d, want 401", status)
	}
	if status, _ := r.call(t, http.MethodGet, "/api/hosts", cookie, nil, nil); status != 200 {
		t.Errorf("who was signed in: got %d, want 200", status)
	}
	r.shutdown(t)
	if code, _, _ := command(t, nil, "", "serve", "--listen=127.0.0.1:0", "--data-dir="+dir); code != 78 {
		t.Errorf("a start without the key: got exit code %d, want 78", code)
	}
}
