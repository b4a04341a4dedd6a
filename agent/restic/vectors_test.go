package restic

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"restic-manager/agent/restic/restictest"
	"restic-manager/shared/wire"
)

// The proven vectors and 2,000 generated orders run nothing and write nothing but what they say. All are
// taken apart as restic would; a part of what is accepted is given to a real restic, which reads its command
// line, its files and the password before it finds that there is no repository.
func TestHostileOrdersExecuteNothing(t *testing.T) {
	for _, version := range realVersions {
		t.Run(version, func(t *testing.T) { executesNothing(t, realAccess(t, version)) })
	}
}

func executesNothing(t *testing.T, a Access) {
	canaries := filepath.Join(t.TempDir(), "canaries")
	if err := os.Mkdir(canaries, 0o777); err != nil {
		t.Fatal(err)
	}
	canary := filepath.Join(canaries, "c")
	var specs []wire.Spec
	for _, v := range restictest.Vectors(canary) {
		specs = append(specs, restictest.Placed(v)...)
		for name, change := range map[string]func(*Access){
			"repository": func(a *Access) { a.Repository.URL = v },
			"env key":    func(a *Access) { k, value, _ := strings.Cut(v, "="); a.Repository.Env = map[string]string{k: value} },
		} {
			b := a
			change(&b)
			if i, err := Build(b, Order{Spec: &wire.SnapshotsSpec{}, JobDir: a.jobDir()}); err == nil {
				t.Errorf("%s %q: got %q, want it refused", name, v, i.Args)
			}
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		specs = append(specs, restictest.Generate(r, canary))
	}

	work := make(chan Invocation)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for i := range work {
				runHostile(t, i)
			}
		})
	}
	accepted, ran := 0, 0
	for n, s := range specs {
		dir := filepath.Join(a.jobDir(), fmt.Sprint(n))
		i, err := Build(a, Order{Spec: s, JobDir: dir, RestoreTarget: "/restore/t"})
		if err != nil {
			if codeOf(err) != wire.CodeInvalidSpec {
				t.Errorf("%+v: got %v, want it run or refused as invalid", s, err)
			}
			continue
		}
		accepted++
		holds(t, i, s)
		if n >= 15*len(restictest.Placed("")) && accepted%8 != 0 {
			continue
		}
		ran++
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		work <- i
	}
	close(work)
	wg.Wait()
	t.Logf("%d specs, %d accepted, %d given to a real restic", len(specs), accepted, ran)
	if accepted < 300 || ran < 80 || accepted > len(specs)/2+len(specs)/4 {
		t.Errorf("accepted %d of %d and ran %d: the generator proves little", accepted, len(specs), ran)
	}
	empty(t, canaries)
}

// runHostile gives an invocation to the real restic; its failure is expected.
func runHostile(t *testing.T, i Invocation) {
	// The sources need not exist: restic shall read their names.
	if err := i.Prepare(); err != nil && codeOf(err) != wire.CodeSourceMissing {
		t.Errorf("prepare: %v", err)
		return
	}
	cmd, release, err := i.Cmd()
	if err != nil {
		t.Error(err)
		return
	}
	defer release()
	words, err := cmd.CombinedOutput()
	if strings.Contains(string(words), "unknown") && strings.Contains(string(words), "flag") || strings.Contains(string(words), "invalid argument") {
		t.Errorf("%q: %v: %s", i.Args, err, words)
	}
}

func empty(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 0 {
		t.Errorf("canaries: got %v, %v, want none", entries, err)
	}
}

// A repository that exists lets restic go on to the sources, patterns and ids.
func TestHostileNamesAreBackedUpAndRestoredAsNames(t *testing.T) {
	for _, version := range realVersions {
		t.Run(version, func(t *testing.T) { namesStayNames(t, realAccess(t, version)) })
	}
}

func namesStayNames(t *testing.T, a Access) {
	succeeds(t, a, &wire.InitSpec{})
	root := t.TempDir()
	canaries := filepath.Join(root, "canaries")
	if err := os.Mkdir(canaries, 0o777); err != nil {
		t.Fatal(err)
	}
	src := filepath.Join(root, "src")
	spec := &wire.BackupSpec{Excludes: []string{"--password-command=touch c", "$(touch c)", "`touch c`"}}
	for n, v := range restictest.Vectors(filepath.Join(canaries, "c")) {
		name := filepath.Join(src, fmt.Sprint(n), strings.ReplaceAll(strings.TrimSpace(strings.ReplaceAll(v, canaries, "")), "/", "_"))
		write(t, name, v)
		spec.Paths = append(spec.Paths, name)
	}
	o, _ := succeeds(t, a, spec)
	if got, want := o.Summary.FilesNew, int64(len(spec.Paths)); got != want {
		t.Errorf("files: got %d, want %d", got, want)
	}
	target := filepath.Join(root, "restored")
	restore := &wire.RestoreSpec{SnapshotID: list(t, a)[0].ID, Paths: spec.Paths} // 0.14.0 prints a short id
	succeeds(t, a, restore, func(o *Order) { o.RestoreTarget = target })
	for n, v := range restictest.Vectors(filepath.Join(canaries, "c")) {
		if b, err := os.ReadFile(filepath.Join(target, spec.Paths[n])); err != nil || string(b) != v {
			t.Errorf("%q: got %q, %v", spec.Paths[n], b, err)
		}
	}
	empty(t, canaries)
}

// FuzzBuildArgv holds every accepted spec to its command line.
func FuzzBuildArgv(f *testing.F) {
	for _, v := range restictest.Vectors("/canary") {
		for _, s := range restictest.Placed(v) {
			if b, err := json.Marshal(s); err == nil {
				f.Add(string(s.Kind()), b, "/srv/repo", "web-1")
			}
		}
	}
	r := rand.New(rand.NewPCG(3, 4))
	for range 50 {
		s := restictest.Generate(r, "/canary")
		if b, err := json.Marshal(s); err == nil {
			f.Add(string(s.Kind()), b, "rest:https://h/x", "--host")
		}
	}
	f.Fuzz(func(t *testing.T, kind string, raw []byte, location, hostname string) {
		s, err := wire.NewSpec(wire.Kind(kind))
		if err != nil || json.Unmarshal(raw, s) != nil {
			return
		}
		a := plainAccess()
		a.Repository.URL, a.Host.Hostname = location, hostname
		i, err := Build(a, plainOrder(s))
		if err != nil {
			return
		}
		holds(t, i, s)
	})
}

// The canary works: the same value as a bare argument, which this package never makes, does run.
func TestABareArgumentWouldHaveRun(t *testing.T) {
	a := realAccess(t, "0.18.0")
	canaries := t.TempDir()
	cmd := exec.Command(a.Binary.Path, "backup", "--password-command=touch "+filepath.Join(canaries, "c"))
	cmd.Env = []string{"RESTIC_REPOSITORY=" + a.Repository.URL, "RESTIC_PASSWORD=x", "PATH=" + SafePath, "HOME=" + a.Host.StateDir}
	words, err := cmd.CombinedOutput()
	if _, statErr := os.Stat(filepath.Join(canaries, "c")); statErr != nil {
		t.Errorf("got no canary, %v: %s", err, words)
	}
}
