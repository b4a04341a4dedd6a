package vault

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"filippo.io/age/armor"
)

const passphrase = "correct horse battery staple"

// opened is the text of a kit, as anybody's age gives it.
func opened(t *testing.T, kit Kit, with string) (string, error) {
	t.Helper()
	identity, err := age.NewScryptIdentity(with)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := age.Decrypt(armor.NewReader(bytes.NewReader(kit.Sealed)), identity)
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(plain)
	if err != nil {
		t.Fatal(err)
	}
	return string(text), nil
}

// With the kit, its passphrase and restic alone the data comes back: the kit's own commands do it.
func TestTheRecoveryKitBringsTheDataBack(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		dir := t.TempDir()
		o := r.create(filepath.Join(dir, "it's {host}"), func(n *New) {
			n.Name, n.Password = "Off site", `a'b"c $(touch x) \`+"`d`"
			n.Env = map[string]string{"AWS_REGION": "eu'1"}
			n.MaintenanceEnv = map[string]string{"AWS_REGION": "remover"}
		})
		host := r.host("web")
		r.use(host, o.ID)
		s := r.handed(host)
		if err := os.MkdirAll(filepath.Join(dir, "data"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "data", "file"), []byte("precious"), 0o600); err != nil {
			t.Fatal(err)
		}
		env := append(os.Environ(), "PATH="+resticPath(t)+":"+os.Getenv("PATH"), "HOME="+dir, "RESTIC_CACHE_DIR="+filepath.Join(dir, "cache"))
		run := func(at string, env []string, name string, args ...string) string {
			t.Helper()
			c := exec.Command(name, args...)
			c.Dir, c.Env = at, env
			out, err := c.CombinedOutput()
			if err != nil {
				t.Fatalf("%s %v: %v: %s", name, args, err, out)
			}
			return string(out)
		}
		agent := append(env, "RESTIC_REPOSITORY="+s.RepositoryURL, "RESTIC_PASSWORD="+s.Password)
		run(dir, agent, filepath.Join(resticPath(t), "restic"), "init")
		run(filepath.Join(dir, "data"), agent, filepath.Join(resticPath(t), "restic"), "backup", "file")

		kit, err := r.Kit(t.Context(), tester, o.ID, passphrase)
		if err != nil {
			t.Fatal(err)
		}
		if kit.Name != "recovery-kit-Off-site.age" || !bytes.HasPrefix(kit.Sealed, []byte("-----BEGIN AGE ENCRYPTED FILE-----")) {
			t.Errorf("got %s beginning with %.40q", kit.Name, kit.Sealed)
		}
		if _, err := opened(t, kit, passphrase+"x"); err == nil {
			t.Error("another passphrase opens the kit")
		}
		text, err := opened(t, kit, passphrase)
		if err != nil {
			t.Fatal(err)
		}
		elsewhere := t.TempDir()
		script := filepath.Join(elsewhere, "kit.sh")
		if err := os.WriteFile(script, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		out := run(elsewhere, env, "sh", "-eu", script)
		if !strings.Contains(out, "1 snapshots") {
			t.Errorf("the list: got %s", out)
		}
		found, err := os.ReadFile(filepath.Join(elsewhere, "restored", "file"))
		if err != nil || string(found) != "precious" {
			t.Errorf("restored: got %q, %v", found, err)
		}
		if _, err := os.Stat(filepath.Join(elsewhere, "x")); err == nil {
			t.Error("the shell ran a part of the password")
		}
		for _, want := range []string{"AWS_REGION='eu'\\''1'", "# export AWS_REGION='remover'", "# web\n", "Off site"} {
			if !strings.Contains(text, want) {
				t.Errorf("the kit lacks %q:\n%s", want, text)
			}
		}
	})
}

func TestAKitIsStaleOnceWhatOpensTheRepositoryChanged(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		r.kitWork = 10 // how hard it is to guess is not what is looked at
		o := r.create("/srv/all")
		stale := func(what string, want bool) {
			t.Helper()
			if got := r.get(o.ID).KitStale; got != want {
				t.Errorf("%s: stale is %t, want %t", what, got, want)
			}
		}
		make := func() {
			t.Helper()
			r.clock.Advance(time.Minute)
			if _, err := r.Kit(t.Context(), tester, o.ID, passphrase); err != nil {
				t.Fatal(err)
			}
			stale("made", false)
			r.clock.Advance(time.Minute)
		}
		stale("never made", true)
		make()
		r.update(o.ID, Patch{Name: of("other"), AppendOnly: of(true), Maintenance: &Maintenance{Enabled: true}})
		stale("another name", false)
		for what, p := range map[string]Patch{"password": {Password: of("x")}, "environment": {Env: &map[string]string{"AWS_REGION": "x"}},
			"second set": {MaintenanceEnv: &map[string]string{"AWS_REGION": "y"}}, "address": {URL: of("/srv/elsewhere")}} {
			r.update(o.ID, p)
			stale(what, true)
			make()
		}
		if text, err := opened(t, func() Kit { k, _ := r.Kit(t.Context(), tester, o.ID, passphrase); return k }(), passphrase); err != nil || !strings.Contains(text, "RESTIC_REPOSITORY='/srv/elsewhere'") {
			t.Errorf("got %s, %v", text, err)
		}
		_, err := r.Kit(t.Context(), tester, o.ID, "short")
		wantCode(t, err, "invalid")
	})
}
