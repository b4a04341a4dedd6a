package e2e

import (
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"restic-manager/shared/wire"
)

// storage is one folder behind two of restic's own servers: the hosts' credentials add and read, those of maintenance
// remove too. A proxy chooses by the user's name, and remembers who came.
type storage struct {
	url string

	mu    sync.Mutex // guards users
	users []string
}

const (
	hostsSecret       = "secret of the hosts"
	maintenanceSecret = "secret of maintenance"
)

func newStorage(t *testing.T) *storage {
	t.Helper()
	s, dir := &storage{}, t.TempDir()
	start := func(user, password string, flags ...string) *url.URL {
		sum := sha1.Sum([]byte(password))
		file := filepath.Join(dir, user+".htpasswd")
		if err := os.WriteFile(file, []byte(user+":{SHA}"+base64.StdEncoding.EncodeToString(sum[:])+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		listen := freeAddress(t)
		p := startProcess(t, filepath.Join(dir, user+".log"), nil, tool(t, "RESTIC_MANAGER_TEST_TOOLS", "rest-server/rest-server"),
			append([]string{"--path", filepath.Join(dir, "store"), "--listen", listen, "--htpasswd-file", file}, flags...)...)
		t.Cleanup(p.kill)
		eventually(t, 10*time.Second, "the storage answers", func() error {
			a, err := http.Get("http://" + listen + "/")
			if err == nil {
				a.Body.Close()
			}
			return err
		})
		return &url.URL{Scheme: "http", Host: listen}
	}
	add := httputil.NewSingleHostReverseProxy(start("hosts", hostsSecret, "--append-only"))
	remove := httputil.NewSingleHostReverseProxy(start("maintenance", maintenanceSecret))
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, _, _ := r.BasicAuth()
		s.mu.Lock()
		s.users = append(s.users, user)
		s.mu.Unlock()
		if user == "maintenance" {
			remove.ServeHTTP(w, r)
			return
		}
		add.ServeHTTP(w, r)
	}))
	t.Cleanup(proxy.Close)
	s.url = proxy.URL
	return s
}

// came tells who has asked since it was called last.
func (s *storage) came() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	users := slices.Compact(slices.Sorted(slices.Values(s.users)))
	s.users = nil
	return users
}

// A repository set up once is used by machines and looked at by the runner: with the credentials that each is to have,
// and with its own repository what it was.
func TestARepositoryOfManyAndItsRunner(t *testing.T) {
	t.Parallel()
	for _, database := range databases { // restic reads the login of a rest-server from its environment from 0.16.1 on
		t.Run(database, func(t *testing.T) { t.Parallel(); repositoryOfMany(t, variant{database, "0.18.0"}) })
	}
}

func repositoryOfMany(t *testing.T, v variant) {
	s, store := newServer(t, v.database), newStorage(t)
	one, two := enrollAgent(t, s, v.restic), enrollAgent(t, s, v.restic)
	one.start()
	two.start()
	runner := enrollAgent(t, s, v.restic)
	runner.repository = filepath.Join(runner.dir, "repository")
	runner.own("repo_url: "+runner.repository, "repo_password: "+runner.password)
	if err := os.WriteFile(filepath.Join(filepath.Dir(runner.config), "guard.yaml"), []byte("version: 1\nmaintenance: {forget: true, prune: true}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	runner.start()
	runner.init()
	source := t.TempDir()
	if err := os.WriteFile(filepath.Join(source, "file"), []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	backup := map[string]any{"paths": []string{source}}
	s.run(runner.hostID, wire.KindBackup, backup, wire.StateSucceeded)

	var o struct {
		ID       string
		Contents []struct {
			RepositoryID  string `json:"repository_id"`
			SnapshotCount int64  `json:"snapshot_count"`
			Host          *struct{ ID string }
		}
	}
	s.do("POST", "/api/repositories", map[string]any{"name": "Off site", "url": "rest:" + store.url + "/{host}",
		"env":             map[string]string{"RESTIC_REST_USERNAME": "hosts", "RESTIC_REST_PASSWORD": hostsSecret},
		"maintenance_env": map[string]string{"RESTIC_REST_USERNAME": "maintenance", "RESTIC_REST_PASSWORD": maintenanceSecret},
		"append_only":     true, "runner_id": runner.hostID}, &o)
	for _, a := range []*agent{one, two} {
		s.do("PUT", "/api/hosts/"+a.hostID+"/repository", map[string]string{"setting_id": o.ID}, nil)
		a.init()
		s.run(a.hostID, wire.KindBackup, backup, wire.StateSucceeded)
	}
	if got := store.came(); !slices.Equal(got, []string{"hosts"}) {
		t.Errorf("backups came as %v, want the hosts' credentials alone", got)
	}
	look := func(by *agent, want string) {
		t.Helper()
		var j job
		s.do("POST", "/api/repositories/"+o.ID+"/test", map[string]string{"host_id": by.hostID}, &j)
		s.reaches(j.ID, time.Minute, wire.StateSucceeded, wire.StateFailed, wire.StateRejected)
		if got := store.came(); !slices.Contains(got, want) || len(got) != 1 {
			t.Errorf("a test came as %v, want %s alone", got, want)
		}
	}
	look(one, "hosts")
	look(runner, "maintenance")

	eventually(t, 20*time.Second, "what was found there is shown", func() error {
		s.do("GET", "/api/repositories/"+o.ID, nil, &o)
		if len(o.Contents) != 2 || o.Contents[0].SnapshotCount != 1 || o.Contents[1].SnapshotCount != 1 || o.Contents[0].Host == nil {
			return fmt.Errorf("got %+v, want one snapshot of each host", o.Contents)
		}
		return nil
	})
	for _, kind := range []wire.Kind{wire.KindCheck, wire.KindPrune} {
		var began struct{ Job job }
		s.do("POST", "/api/repositories/"+o.ID+"/maintain", map[string]any{"repository_id": o.Contents[0].RepositoryID, "kind": kind}, &began)
		if j := s.reaches(began.Job.ID, time.Minute, wire.StateSucceeded); j.HostID != runner.hostID {
			t.Errorf("%s was carried out by %s, want the runner", kind, j.HostID)
		}
		if got := store.came(); !slices.Equal(got, []string{"maintenance"}) {
			t.Errorf("%s came as %v, want the credentials that remove", kind, got)
		}
	}
	for _, a := range []*agent{runner, one, two} {
		if got := s.host(a.hostID); got.SnapshotCount != 1 || got.ListingError != "" {
			t.Errorf("%s: got %d snapshots and %q, want its own one", got.Name, got.SnapshotCount, got.ListingError)
		}
	}
	s.run(runner.hostID, wire.KindBackup, backup, wire.StateSucceeded)
	if got := len(store.came()); got != 0 {
		t.Error("the runner's own backup went to the repository that it maintains")
	}
}
