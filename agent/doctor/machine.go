package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"restic-manager/agent/client"
	"restic-manager/agent/config"
	"restic-manager/agent/restic"
	"restic-manager/agent/runner"
	"restic-manager/shared/checkup"
	"restic-manager/shared/wire"
)

// config reads agent.yaml and looks at its rights.
func (d *doctor) config(context.Context) checkup.Result {
	s, err := config.Load(d.Paths.Config)
	if err == nil {
		_, err = client.Explore(client.Options{ServerURL: s.ServerURL, CertPins: s.CertPins, CAFile: s.CAFile, InsecureHTTP: s.InsecureHTTP, Proxy: s.Proxy})
	}
	switch {
	case errors.Is(err, config.ErrNotEnrolled) && d.Server.ServerURL != "":
		return checkup.Skip("this machine is not enrolled yet (%s)", d.Paths.Config)
	case errors.Is(err, config.ErrNotEnrolled):
		return checkup.Fail("run restic-manager-agent enroll, or give --server URL to try the way to it before", "this machine is not enrolled: %s holds no enrollment", d.Paths.Config)
	case err != nil:
		return checkup.Fail("mend the file", "%s", err)
	}
	d.settings = s
	mode := "?"
	if info, err := os.Stat(d.Paths.Config); err == nil {
		mode = fmt.Sprintf("%04o", info.Mode().Perm())
	}
	return checkup.Ok("%s, mode %s, host %s", d.Paths.Config, mode, s.HostID)
}

func (d *doctor) guard(context.Context) checkup.Result {
	report := d.Guard(d.settings).Report()
	if report.Broken != "" {
		return checkup.Fail("mend "+d.Paths.Guard, "everything is refused: %s", report.Broken)
	}
	return checkup.Ok("%s", report.Summary)
}

func (d *doctor) finder() *restic.Finder {
	if d.settings == nil {
		return restic.NewFinder("")
	}
	return restic.NewFinder(d.settings.ResticPath)
}

func (d *doctor) restic(ctx context.Context) checkup.Result {
	b, err := d.finder().Find(ctx)
	if err != nil {
		return checkup.Fail("install restic "+restic.Minimum.String()+" or newer, or set restic_path in agent.yaml", "%s", err)
	}
	return checkup.Ok("%s at %s", b.Version, b.Path)
}

// folders are those the agent writes. One that is not there is made when the agent starts, or at the first restore.
func (d *doctor) folders(context.Context) checkup.Result {
	paths := []string{d.Paths.State, d.Paths.Cache, d.Paths.Runtime}
	if root := d.Guard(d.settings).RestoreRoot(); root != "" {
		paths = append(paths, root)
	}
	there := 0
	var missing []string
	for _, p := range paths {
		info, err := os.Stat(p)
		if errors.Is(err, fs.ErrNotExist) {
			missing = append(missing, p)
			continue
		}
		if r := d.folder(p, info, err); r != nil {
			return *r
		}
		there++
	}
	switch {
	case there == 0:
		return checkup.Skip("none is there yet: the agent makes them when it starts (%s)", strings.Join(paths, ", "))
	case len(missing) > 0:
		return checkup.Ok("what is there can be written; made when needed: %s", strings.Join(missing, ", "))
	}
	return checkup.Ok("%s can be written", strings.Join(paths, ", "))
}

// folder looks at one; nil: it is well.
func (d *doctor) folder(path string, info fs.FileInfo, err error) *checkup.Result {
	var r checkup.Result
	switch {
	case err != nil:
		r = checkup.Fail("see its rights, and those of the folders above", "%v", err)
	case !info.IsDir():
		r = checkup.Fail("put it aside; the agent makes the folder", "%s is no folder", path)
	case info.Mode().Perm()&0o022 != 0 && info.Mode()&fs.ModeSticky == 0:
		r = checkup.Fail("chmod go-w "+path, "others may write into %s (mode %04o)", path, info.Mode().Perm())
	default:
		f, err := os.CreateTemp(path, ".doctor-*")
		if err == nil {
			err = errors.Join(f.Close(), os.Remove(f.Name()))
		}
		if err == nil {
			return nil
		}
		owner := "?"
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			owner = fmt.Sprint(st.Uid)
		}
		r = checkup.Fail("run doctor as the agent's user, or give the folder to it (chown)", "%s, of user %s, cannot be written by user %d: %v", path, owner, d.UID, bareWrite(err))
	}
	return &r
}

// bareWrite drops the temporary file's name, which is of no use to anybody.
func bareWrite(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

const (
	leastFree = 8 << 20   // below it jobs are refused
	soonFull  = 200 << 20 // restic's cache of a mid-sized repository
)

func (d *doctor) disk(context.Context) checkup.Result {
	var said []string
	worst := uint64(1) << 63
	where := ""
	for _, p := range []string{d.Paths.State, d.Paths.Cache} {
		left, err := d.Free(above(p))
		if err != nil {
			return checkup.Fail("see the disk", "the room below %s cannot be told: %v", p, err)
		}
		if left < worst {
			worst, where = left, p
		}
		said = append(said, fmt.Sprintf("%s free for %s", size(left), p))
	}
	text := strings.Join(said, ", ")
	switch {
	case worst < leastFree:
		return checkup.Fail("free some space: jobs are refused below "+size(leastFree), "only %s free for %s", size(worst), where)
	case worst < soonFull:
		return checkup.Warn("free some space before it is full", "%s", text)
	}
	return checkup.Ok("%s", text)
}

// above is the path, or the nearest folder above that is there.
func above(path string) string {
	for {
		if _, err := os.Stat(path); err == nil || path == filepath.Dir(path) {
			return path
		}
		path = filepath.Dir(path)
	}
}

func size(n uint64) string {
	for _, u := range []struct {
		bytes uint64
		name  string
	}{{1 << 40, "TiB"}, {1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if n >= u.bytes {
			return fmt.Sprintf("%.1f %s", float64(n)/float64(u.bytes), u.name)
		}
	}
	return fmt.Sprintf("%d B", n)
}

// repository opens the one that agent.yaml names. restic's cache stays out of it: doctor may run as another user.
func (d *doctor) repository(ctx context.Context) checkup.Result {
	switch {
	case d.settings == nil:
		return checkup.Skip("not known before the machine is enrolled")
	case d.settings.RepoURL == "":
		return checkup.Skip("agent.yaml names none: the server holds it, and its password is not here; test it there (Repositories, Test)")
	}
	d.wait("repository: up to " + wire.PreflightLimit.String())
	binary, err := d.finder().Find(ctx)
	if err != nil {
		return checkup.Skip("not tried: restic comes first")
	}
	secrets, err := d.settings.Repository(ctx)
	if err != nil {
		return checkup.Fail("mend it in "+d.Paths.Config, "%s", err)
	}
	temp, err := os.MkdirTemp("", "restic-manager-doctor-")
	if err != nil {
		return checkup.Fail("see the disk and TMPDIR", "%v", err)
	}
	defer os.RemoveAll(temp)
	home := d.Paths.State // keys of ssh and settings of rclone are there
	if _, err := os.Stat(home); err != nil {
		home = temp
	}
	began := d.Now()
	a := restic.Access{Binary: binary, Host: restic.Host{Hostname: d.settings.Name, StateDir: home, CacheDir: temp, TempDir: temp},
		Repository: restic.Repository{URL: secrets.RepositoryURL, Password: secrets.Password, Env: secrets.Env}}
	id, err := a.CatConfig(ctx)
	if err != nil {
		hint := "see that the storage is reachable from this machine: restic uses no proxy"
		if e, ok := errors.AsType[*restic.Error](err); ok {
			switch e.Code {
			case wire.CodeWrongPassword:
				hint = "correct the password in " + d.Paths.Config
			case wire.CodeRepositoryMissing:
				hint = "see repo_url, or make the repository (Initialize at the server, or restic init)"
			}
		}
		return checkup.Fail(hint, "%s: %s", secrets.RepositoryURL, err)
	}
	return checkup.Ok("%s opens, id %.8s (%s)", secrets.RepositoryURL, id, millis(d.Now().Sub(began)))
}

// unit is the agent's service, as packages name it.
const unit = "restic-manager-agent"

// silent is how old the agent's last word may be.
const silent = time.Minute

// service finds out whether the agent runs: its own last word counts, and where that is old, what systemd or OpenRC say.
func (d *doctor) service(ctx context.Context) checkup.Result {
	word, err := runner.ReadStatus(runner.StatusPath(d.Paths.State))
	alive := err == nil && d.Now().Sub(word.UpdatedAt) <= silent
	manager, active := d.manager(ctx)
	start := map[string]string{"systemd": "systemctl enable --now " + unit, "OpenRC": "rc-update add " + unit + " && rc-service " + unit + " start"}[manager]
	switch {
	case alive && word.State == runner.ContactOnline:
		return checkup.Ok("the agent runs (process %d), online", word.PID)
	case alive:
		return checkup.Warn("see the lines above, or restic-manager-agent status", "the agent runs (process %d) and is %s", word.PID, word.State)
	case d.settings == nil:
		return checkup.Skip("not started before the machine is enrolled")
	case active:
		return checkup.Warn("see journalctl -u "+unit+", and that doctor has the agent's --state-dir", "%s says that it runs, and there is no word of it in %s", manager, d.Paths.State)
	case manager != "":
		return checkup.Fail(start, "the agent does not run")
	}
	return checkup.Fail("start it: restic-manager-agent run, best as a service (docs/install.md)", "the agent does not run, and no service of the name %s is there", unit)
}

// manager is which service manager knows the agent, and whether it says that it runs; empty: none does.
func (d *doctor) manager(ctx context.Context) (name string, active bool) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if out, err := d.Run(ctx, "systemctl", "show", "--property=LoadState,ActiveState", unit); err == nil && strings.Contains(out, "LoadState=loaded") {
		return "systemd", strings.Contains(out, "ActiveState=active")
	}
	if _, err := os.Stat("/etc/init.d/" + unit); err == nil {
		if _, err := d.Run(ctx, "rc-service", unit, "status"); err == nil {
			return "OpenRC", true
		}
		return "OpenRC", false
	}
	return "", false
}
