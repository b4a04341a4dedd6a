package doctor

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"restic-manager/agent/runner"
	"restic-manager/shared/checkup"
)

// machine is a rig of which the machine alone is looked at.
func machine(t *testing.T, names ...string) *rig {
	r := newRig(t, "https://"+host)
	r.names = names
	return r
}

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func TestAnAgentYAMLThatOthersCanReadOrNobodyUnderstands(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		mode os.FileMode
		want []string
	}{
		"readable by others": {"server_url: https://x\nhost_id: " + hostID + "\nagent_token: " + secret + "\n", 0o644, []string{"chmod 600"}},
		"a misspelt key":     {"server_ulr: https://x\n", 0o600, []string{"line 1", "unknown key"}},
		"a wrong pin":        {"server_url: https://x\nhost_id: " + hostID + "\nagent_token: " + secret + "\ncert_pins: [abc]\n", 0o600, []string{"cert_pins", "64 hex digits"}},
		"no enrollment":      {"# nothing yet\n", 0o600, []string{"not enrolled", "--server URL"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := machine(t, "config")
			r.yaml.HostID = "" // it is written here
			write(t, r.Paths.Config, c.text, c.mode)
			r.must(finds{"config", checkup.Wrong, c.want})
		})
	}
}

func TestAGuardThatIsBrokenIsTold(t *testing.T) {
	r := machine(t, "guard")
	r.must(finds{"guard", checkup.Good, []string{"the defaults"}})
	write(t, r.Paths.Guard, "alow: [backup]\n", 0o600)
	r.must(finds{"guard", checkup.Wrong, []string{"everything is refused", "alow", "guard.yaml"}})
}

func TestResticThatIsMissingOrTooOld(t *testing.T) {
	r := machine(t, "config", "restic")
	r.yaml.ResticPath = filepath.Join(t.TempDir(), "restic")
	write(t, r.Paths.Config, "restic_path: "+r.yaml.ResticPath+"\n", 0o600) // the owner's keys stay
	r.must(finds{"restic", checkup.Wrong, []string{"there is no restic at", "0.14.0"}})
	write(t, r.yaml.ResticPath, "#!/bin/sh\necho 'restic 0.12.1 compiled with go1.17 on linux/amd64'\n", 0o755)
	r.must(finds{"restic", checkup.Wrong, []string{"0.12.1", "too old"}})
	write(t, r.yaml.ResticPath, "#!/bin/sh\necho 'restic 0.18.0 compiled with go1.24 on linux/amd64'\n", 0o755)
	r.must(finds{"restic", checkup.Good, []string{"0.18.0"}})
}

func TestFoldersThatTheAgentCannotUse(t *testing.T) {
	r := machine(t, "folders")
	r.must(finds{"folders", checkup.Good, []string{"what is there can be written", r.Paths.Cache}})
	entries, err := os.ReadDir(r.Paths.State)
	if err != nil || len(entries) != 0 {
		t.Errorf("the state folder: got %v, %v, want nothing left behind", entries, err)
	}
	if err := os.Chmod(r.Paths.State, 0o777); err != nil {
		t.Fatal(err)
	}
	r.must(finds{"folders", checkup.Wrong, []string{"others may write into", "chmod go-w"}})
	if err := os.Remove(r.Paths.State); err != nil {
		t.Fatal(err)
	}
	r.must(finds{"folders", checkup.Skipped, []string{"none is there yet"}})
	write(t, r.Paths.State, "", 0o600)
	r.must(finds{"folders", checkup.Wrong, []string{"is no folder"}})
	if os.Geteuid() == 0 {
		r.Paths.State = "/proc/self" // root may write anywhere else
	} else {
		r.Paths.State = "/usr/bin"
	}
	r.must(finds{"folders", checkup.Wrong, []string{"cannot be written by user", "run doctor as the agent's user"}})
}

func TestADiskThatIsFull(t *testing.T) {
	r := machine(t, "disk")
	for free, want := range map[uint64]finds{
		50 << 30:  {"disk", checkup.Good, []string{"50.0 GiB free"}},
		100 << 20: {"disk", checkup.Warning, []string{"100.0 MiB free"}},
		7 << 20:   {"disk", checkup.Wrong, []string{"only 7.0 MiB free", "jobs are refused below 8.0 MiB"}},
	} {
		r.Outside.Free = func(path string) (uint64, error) {
			if path == r.Paths.State {
				return free, nil
			}
			return 1 << 40, nil
		}
		r.must(want)
	}
}

// fakeRestic says what cat config would.
func fakeRestic(t *testing.T, script string) string {
	p := filepath.Join(t.TempDir(), "restic")
	write(t, p, "#!/bin/sh\n[ \"$1\" = version ] && echo 'restic 0.18.0 compiled with go1.24 on linux/amd64' && exit 0\n"+script, 0o755)
	return p
}

func TestTheRepositoryOfAgentYAMLIsOpened(t *testing.T) {
	r := machine(t, "config", "repository")
	r.must(finds{"repository", checkup.Skipped, []string{"the server holds it", "its password is not here"}})
	r.yaml.RepoURL, r.yaml.RepoPassword = "/srv/repository", "hunter2"
	r.yaml.ResticPath = fakeRestic(t, "echo '{\"version\":2,\"id\":\""+strings.Repeat("ab", 32)+"\"}'\n")
	write(t, r.Paths.Config, "repo_url: /srv/repository\nrepo_password: hunter2\nrestic_path: "+r.yaml.ResticPath+"\n", 0o600)
	r.must(finds{"repository", checkup.Good, []string{"/srv/repository opens, id abababab"}})
	write(t, r.yaml.ResticPath, "#!/bin/sh\n[ \"$1\" = version ] && echo 'restic 0.18.0 compiled with go1.24 on linux/amd64' && exit 0\necho 'Fatal: wrong password or no key found' >&2\nexit 12\n", 0o755)
	r.must(finds{"repository", checkup.Wrong, []string{"correct the password"}})
	write(t, r.yaml.ResticPath, "#!/bin/sh\n[ \"$1\" = version ] && echo 'restic 0.18.0 compiled with go1.24 on linux/amd64' && exit 0\necho 'Fatal: repository does not exist: unable to open config file' >&2\nexit 10\n", 0o755)
	r.must(finds{"repository", checkup.Wrong, []string{"see repo_url"}})
}

func TestWhetherTheAgentRuns(t *testing.T) {
	r := machine(t, "config", "service")
	says := func(state string, ago time.Duration) {
		b, err := json.Marshal(runner.Status{PID: 7, State: state, UpdatedAt: time.Now().Add(-ago)})
		if err != nil {
			t.Fatal(err)
		}
		write(t, runner.StatusPath(r.Paths.State), string(b), 0o644)
	}
	systemd := func(text string) {
		r.Outside.Run = func(_ context.Context, name string, args ...string) (string, error) {
			if name != "systemctl" || args[len(args)-1] != "restic-manager-agent" {
				return "", os.ErrNotExist
			}
			return text, nil
		}
	}
	r.must(finds{"service", checkup.Wrong, []string{"does not run", "restic-manager-agent run"}})
	systemd("LoadState=not-found\nActiveState=inactive")
	r.must(finds{"service", checkup.Wrong, []string{"no service of the name"}})
	systemd("LoadState=loaded\nActiveState=inactive")
	r.must(finds{"service", checkup.Wrong, []string{"systemctl enable --now restic-manager-agent"}})
	systemd("LoadState=loaded\nActiveState=active")
	r.must(finds{"service", checkup.Warning, []string{"no word of it", "--state-dir"}})
	says(runner.ContactOnline, time.Second)
	r.must(finds{"service", checkup.Good, []string{"process 7", "online"}})
	says(runner.ContactUnreachable, time.Second)
	r.must(finds{"service", checkup.Warning, []string{"unreachable"}})
	systemd("LoadState=loaded\nActiveState=inactive")
	says(runner.ContactOnline, 2*time.Minute)
	r.must(finds{"service", checkup.Wrong, []string{"does not run"}})
}

// TestTheServicesProxyCounts: the agent has another environment than the shell that doctor is asked in.
func TestTheServicesProxyCounts(t *testing.T) {
	own := map[string]string{}
	o := Outside{
		Env: func(name string) string { return own[name] },
		Run: func(context.Context, string, ...string) (string, error) {
			return `LANG=C "HTTPS_PROXY=http://ann:pass@proxy.example:3128" NO_PROXY=localhost,.example RESTIC_MANAGER_LOG_LEVEL=debug`, nil
		},
	}
	got := ServiceProxy(t.Context(), o)
	if len(got) != 2 || got["HTTPS_PROXY"] != "http://ann:pass@proxy.example:3128" || got["NO_PROXY"] != "localhost,.example" {
		t.Errorf("got %v, want the unit's two", got)
	}
	own["http_proxy"] = "http://mine.example"
	if got := ServiceProxy(t.Context(), o); len(got) != 0 {
		t.Errorf("beside one's own: got %v, want none", got)
	}
	own = nil
	o.Run = func(context.Context, string, ...string) (string, error) { return "", os.ErrNotExist }
	if got := ServiceProxy(t.Context(), o); len(got) != 0 {
		t.Errorf("without systemd: got %v, want none", got)
	}
}
