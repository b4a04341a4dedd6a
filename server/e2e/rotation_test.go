package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"restic-manager/shared/wire"
)

// A repository is made by itself, and gets another password: whatever is killed on the way, the password that the server
// has opens it, and at the end it has one key.
func TestARepositoryIsMadeAndItsKeyRotated(t *testing.T) { each(t, madeAndRotated) }

func madeAndRotated(t *testing.T, v variant) {
	p := points{t, t.TempDir()}
	s := newServer(t, v.database, p.variable())
	a := enrollAgent(t, s, v.restic)
	guard := filepath.Join(filepath.Dir(a.config), "guard.yaml")
	if err := os.WriteFile(guard, []byte("version: 1\nmaintenance: {keys: true}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	a.start()
	a.repository = filepath.Join(a.dir, "repository")
	type rotation struct {
		State, Why string
		JobID      string `json:"job_id"`
	}
	var o struct {
		ID       string
		KitStale bool `json:"kit_stale"`
		Rotation rotation
	}
	s.do("POST", "/api/repositories", map[string]any{"name": "Store", "url": a.repository, "password": a.password}, &o)
	s.do("PUT", "/api/hosts/"+a.hostID+"/repository", map[string]string{"setting_id": o.ID}, nil)
	eventually(t, 40*time.Second, "the repository is made by itself", func() error {
		_, err := a.resticRun("snapshots", "--no-lock")
		return err
	})
	source := t.TempDir()
	if err := os.WriteFile(filepath.Join(source, "file"), []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	backup := map[string]any{"paths": []string{source}}
	s.run(a.hostID, wire.KindBackup, backup, wire.StateSucceeded)

	at := "/api/repositories/" + o.ID
	// opens reads the password that is in force and opens the repository by it.
	opens := func(when string) string {
		t.Helper()
		var secrets struct{ Password string }
		s.do("POST", at+"/reveal", map[string]string{"current_password": adminPassword}, &secrets)
		a.password = secrets.Password
		if _, err := a.resticRun("cat", "--no-lock", "config"); err != nil {
			t.Fatalf("%s: the password of the server does not open the repository: %v", when, err)
		}
		return secrets.Password
	}
	// goOn has the rotation go on at once and waits for its step to end.
	goOn := func() (ended string) {
		t.Helper()
		s.do("POST", at+"/rotate", map[string]any{}, &o)
		if o.Rotation.JobID == "" {
			return ""
		}
		eventually(t, 40*time.Second, "a step ends", func() error {
			j := s.job(o.Rotation.JobID)
			if !j.State.Terminal() {
				return fmt.Errorf("it is %s", j.State)
			}
			ended = string(j.State)
			return nil
		})
		return ended
	}
	old := opens("before")
	kill := func(point string) {
		t.Helper()
		p.arm(point, "kill")
		s.do("POST", at+"/rotate", map[string]any{}, &o)
		p.hit(point)
	}

	var keys []struct{ ID string }
	count := func() int {
		t.Helper()
		if err := json.Unmarshal(a.mustRestic("key", "list", "--json", "--no-lock"), &keys); err != nil {
			t.Fatal(err)
		}
		return len(keys)
	}
	kill("supervisor.restic.exited")
	if j := s.reaches(o.Rotation.JobID, time.Minute, wire.StateFailed); j.Error == nil || j.Error.Code != wire.CodeInterrupted {
		t.Errorf("got %s, want a step that was cut off after the new key was added", j)
	}
	if got := opens("the supervisor killed after the new key was added"); got != old {
		t.Error("the new password is in force before it was seen to open the repository")
	}
	kill("agent.accept.answered")
	<-a.done
	opens("the agent killed before restic")
	s.restart()
	opens("the server killed")
	a.launch()
	goOn()
	if n := count(); n != 2 {
		t.Errorf("got %d keys after the step was repeated, want the old one and the new one", n)
	}
	eventually(t, time.Minute, "the new password is in force", func() error {
		goOn()
		if o.Rotation.State != "switched" {
			return fmt.Errorf("it is %s: %s", o.Rotation.State, o.Rotation.Why)
		}
		return nil
	})
	if got := opens("after the switch"); got == old || strings.Contains(a.words(), got) {
		t.Error("the old password is still in force, or the new one is in the agent's words")
	}
	s.run(a.hostID, wire.KindBackup, backup, wire.StateSucceeded)

	p.arm("supervisor.restic.exited", "kill")
	eventually(t, time.Minute, "the step that removes the key is cut off", func() error {
		s.do("POST", at+"/rotate", map[string]any{}, &o)
		if !p.wasHit("supervisor.restic.exited") {
			return fmt.Errorf("not yet: %s %s", o.Rotation.State, o.Rotation.Why)
		}
		return nil
	})
	opens("the supervisor killed after the old key was removed")
	eventually(t, time.Minute, "the rotation is done", func() error {
		s.do("GET", at, nil, &o)
		if o.Rotation.State != "done" {
			goOn()
			return fmt.Errorf("it is %s: %s", o.Rotation.State, o.Rotation.Why)
		}
		return nil
	})
	fresh := opens("after the end")
	if n := count(); n != 1 {
		t.Errorf("got %d keys at the end, want one", n)
	}
	a.password = old
	if _, err := a.resticRun("cat", "--no-lock", "config"); err == nil {
		t.Error("the old password still opens the repository")
	}
	a.password = fresh
	if !o.KitStale {
		t.Error("the recovery kit of before counts as good")
	}
	s.run(a.hostID, wire.KindBackup, backup, wire.StateSucceeded)
	a.mustRestic("check", "--no-lock")
}
