package restic

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"restic-manager/shared/wire"
)

// flagTypes are restic's flags that this package uses, by command: true for those that take a value.
var flagTypes = map[string]map[string]bool{
	"backup": {"json": false, "host": true, "tag": true, "exclude-caches": false, "one-file-system": false, "dry-run": false,
		"limit-upload": true, "limit-download": true, "exclude-larger-than": true, "exclude-file": true, "files-from-raw": true,
		"stdin": false, "stdin-filename": true},
	"restore":   {"json": false, "target": true, "verify": false, "include": true, "limit-download": true},
	"check":     {"json": false, "read-data": false, "read-data-subset": true, "limit-download": true},
	"prune":     {"json": false, "max-unused": true, "dry-run": false},
	"forget":    {"json": false, "dry-run": false},
	"init":      {"json": false},
	"snapshots": {"json": false, "no-lock": false, "latest": true},
	"unlock":    {},
	"cat":       {"json": false, "no-lock": false},
	"list":      {"no-lock": false},
}

var helpLine = regexp.MustCompile(`(?m)^\s+(?:-\w, )?--([a-z0-9-]+)(?:( \S+))?(?:\s{2,}|$)`)

func TestRealResticsHaveTheseFlags(t *testing.T) {
	for _, version := range realVersions {
		for command, flags := range flagTypes {
			b, err := exec.Command(filepath.Join(tools(t), "restic-"+version, "restic"), command, "--help").Output()
			if err != nil {
				t.Fatalf("%s %s --help: %v", version, command, err)
			}
			known := map[string]bool{}
			for _, m := range helpLine.FindAllStringSubmatch(string(b), -1) {
				known[m[1]] = m[2] != ""
			}
			for name, takes := range flags {
				if got, ok := known[name]; !ok || got != takes {
					t.Errorf("%s %s --%s: known %v, takes a value %v, want %v", version, command, name, ok, got, takes)
				}
			}
		}
	}
}

// parsed is a command line as restic's own parser (pflag) takes it apart.
type parsed struct {
	command string
	flags   map[string][]string
	rest    []string // behind --
}

// parse follows pflag's rules for the long form and refuses everything else: an argument before "--" that is
// no flag, a short flag, an unknown one, a value where none belongs or none where one does.
func parse(args []string) (parsed, error) {
	p := parsed{flags: map[string][]string{}}
	if len(args) == 0 {
		return p, errors.New("no command")
	}
	p.command = args[0]
	types, ok := flagTypes[p.command]
	if !ok {
		return p, fmt.Errorf("command %q", p.command)
	}
	for n, a := range args[1:] {
		if a == "--" {
			p.rest = args[n+2:]
			return p, nil
		}
		long, ok := strings.CutPrefix(a, "--")
		if !ok {
			return p, fmt.Errorf("%q stands before --", a)
		}
		name, value, has := strings.Cut(long, "=")
		takes, ok := types[name]
		if !ok || takes != has || has && value == "" {
			return p, fmt.Errorf("%q is not a flag of %s", a, p.command)
		}
		p.flags[name] = append(p.flags[name], value)
	}
	return p, nil
}

// reread makes the spec again of a command line and its files, as restic understands them.
func reread(i Invocation) (wire.Spec, error) {
	p, err := parse(i.Args)
	if err != nil {
		return nil, err
	}
	has := func(name string) bool { _, ok := p.flags[name]; return ok }
	one := func(name string) string { return strings.Join(p.flags[name], "\x00") }
	number := func(s string) int64 { n, _ := strconv.ParseInt(s, 10, 64); return n }
	content := func(flag string) string {
		for _, f := range i.Files {
			if filepath.Join(i.Dir, f.Name) == one(flag) {
				return string(f.Content)
			}
		}
		return ""
	}
	if p.command != "restore" && p.command != "forget" && len(p.rest) > 0 {
		return nil, fmt.Errorf("%s has arguments: %q", p.command, p.rest)
	}
	switch p.command {
	case "backup":
		s := &wire.BackupSpec{Tags: p.flags["tag"], ExcludeCaches: has("exclude-caches"), OneFileSystem: has("one-file-system"), DryRun: has("dry-run"),
			UploadLimitKiB: int(number(one("limit-upload"))), ExcludeLargerThan: number(one("exclude-larger-than")),
			DownloadLimitKiB: int(number(one("limit-download")))}
		if has("stdin") {
			s.StdinHook, s.StdinName = "dump", one("stdin-filename")
		} else {
			s.Paths = strings.Split(strings.TrimSuffix(content("files-from-raw"), "\x00"), "\x00")
		}
		for line := range strings.SplitSeq(strings.TrimSuffix(content("exclude-file"), "\n"), "\n") {
			if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
				s.Excludes = append(s.Excludes, os.Expand(line, func(name string) string {
					if name == "$" {
						return "$"
					}
					return "EXPANDED"
				}))
			}
		}
		return s, nil
	case "restore":
		if len(p.rest) != 1 {
			return nil, fmt.Errorf("restore of %q", p.rest)
		}
		return &wire.RestoreSpec{SnapshotID: p.rest[0], Paths: p.flags["include"], Target: filepath.Base(one("target")), Verify: has("verify")}, nil
	case "check":
		return &wire.CheckSpec{ReadData: has("read-data"), ReadDataSubset: one("read-data-subset")}, nil
	case "prune":
		n := int(number(strings.TrimSuffix(one("max-unused"), "%")))
		return &wire.PruneSpec{MaxUnusedPercent: &n, DryRun: has("dry-run")}, nil
	case "forget":
		return &wire.ForgetSpec{SnapshotIDs: p.rest, DryRun: has("dry-run")}, nil
	case "init":
		return &wire.InitSpec{}, nil
	case "snapshots":
		return &wire.SnapshotsSpec{}, nil
	case "unlock":
		return &wire.UnlockSpec{}, nil
	}
	return nil, fmt.Errorf("command %q", p.command)
}

// plainAccess touches no disk.
func plainAccess() Access {
	return Access{
		Binary:     Binary{Path: "/usr/bin/restic", Version: v018},
		Host:       Host{Hostname: "web-1", StateDir: "/state", CacheDir: "/cache", TempDir: "/tmp"},
		Repository: Repository{URL: "/srv/repo", Password: "secret"},
	}
}

func plainOrder(s wire.Spec) Order {
	return Order{Spec: s, JobDir: "/jobs/1", RestoreTarget: "/restore/t", TimeLimit: time.Hour}
}

// holds checks the command line of a spec that was accepted.
func holds(t testing.TB, i Invocation, spec wire.Spec) {
	t.Helper()
	got, err := reread(i)
	if err != nil {
		t.Fatalf("%q: %v", i.Args, err)
	}
	want := spec
	switch s := spec.(type) {
	case *wire.BackupSpec:
		c := *s
		// What is run is the supervisor's; restic is told of nothing but the input.
		c.HooksBefore, c.HooksAfter, c.HookFailure, c.HookTimeLimitSeconds = nil, nil, "", 0
		if c.StdinHook != "" {
			c.StdinHook = "dump"
		}
		if i.Stdin != (c.StdinHook != "") {
			t.Errorf("stdin: got %v for %q", i.Stdin, s.StdinHook)
		}
		c.CPUNice, c.IOClass = 0, wire.IOClassOwn // the supervisor's
		want = &c
	case *wire.RestoreSpec:
		c := *s
		c.Target = "t"
		if slices.Contains(c.Paths, "/") {
			c.Paths = nil
		}
		want = &c
	case *wire.PruneSpec:
		if s.MaxUnusedPercent == nil {
			five := 5
			want = &wire.PruneSpec{MaxUnusedPercent: &five, DryRun: s.DryRun}
		}
	}
	a, errA := json.Marshal(got)
	b, errB := json.Marshal(want)
	if errA != nil || errB != nil || string(a) != string(b) {
		t.Fatalf("%q: means %s, want %s", i.Args, a, b)
	}
	if strings.Contains(strings.Join(i.Args, "\x00"), i.Password) {
		t.Fatalf("%q: shows the password", i.Args)
	}
	for _, a := range slices.Concat(i.Args, i.Env) {
		if strings.ContainsRune(a, 0) {
			t.Fatalf("%q has a NUL", a)
		}
	}
	for n, e := range i.Env {
		k, _, _ := strings.Cut(e, "=")
		if !slices.Contains(ownEnv, k) && !slices.Contains(wire.RepositoryEnvKeys, k) {
			t.Fatalf("environment: %d: %q", n, k)
		}
	}
}

var ownEnv = []string{"PATH", "HOME", "TMPDIR", "LANG", "RESTIC_CACHE_DIR", "RESTIC_PROGRESS_FPS", "RESTIC_PASSWORD_FILE", "RESTIC_REPOSITORY"}

func TestEveryKindHasItsCommandLine(t *testing.T) {
	id, zero := strings.Repeat("ab", 32), 0
	for _, c := range []struct {
		spec wire.Spec
		want []string
	}{
		{&wire.BackupSpec{Paths: []string{"/home"}}, []string{"backup", "--json", "--host=web-1", "--files-from-raw=/jobs/1/paths"}},
		{&wire.BackupSpec{Paths: []string{"/home"}, Excludes: []string{"*.tmp"}, ExcludeCaches: true, OneFileSystem: true, Tags: []string{"a", "b:1"}, DryRun: true, UploadLimitKiB: 5, DownloadLimitKiB: 6, CPUNice: 7, IOClass: wire.IOClassLow, ExcludeLargerThan: 1 << 40},
			[]string{"backup", "--json", "--host=web-1", "--tag=a", "--tag=b:1", "--exclude-caches", "--one-file-system", "--dry-run", "--limit-upload=5", "--limit-download=6",
				"--exclude-larger-than=1099511627776", "--exclude-file=/jobs/1/excludes", "--files-from-raw=/jobs/1/paths"}},
		{&wire.RestoreSpec{SnapshotID: id}, []string{"restore", "--json", "--target=/restore/t", "--", id}},
		{&wire.RestoreSpec{SnapshotID: id, Paths: []string{"/a b", "/--x"}, Verify: true}, []string{"restore", "--json", "--target=/restore/t", "--verify", "--include=/a b", "--include=/--x", "--", id}},
		{&wire.RestoreSpec{SnapshotID: id, Paths: []string{"/x", "/"}}, []string{"restore", "--json", "--target=/restore/t", "--", id}},
		{&wire.CheckSpec{}, []string{"check", "--json"}},
		{&wire.CheckSpec{ReadData: true}, []string{"check", "--json", "--read-data"}},
		{&wire.CheckSpec{ReadDataSubset: "1/10"}, []string{"check", "--json", "--read-data-subset=1/10"}},
		{&wire.PruneSpec{}, []string{"prune", "--json", "--max-unused=5%"}},
		{&wire.PruneSpec{MaxUnusedPercent: &zero, DryRun: true}, []string{"prune", "--json", "--max-unused=0%", "--dry-run"}},
		{&wire.ForgetSpec{SnapshotIDs: []string{id, id}, DryRun: true}, []string{"forget", "--json", "--dry-run", "--", id, id}},
		{&wire.InitSpec{}, []string{"init", "--json"}},
		{&wire.SnapshotsSpec{}, []string{"snapshots", "--json", "--no-lock", "--latest=1"}},
		{&wire.UnlockSpec{}, []string{"unlock"}},
	} {
		i, err := Build(plainAccess(), plainOrder(c.spec))
		if err != nil || !slices.Equal(i.Args, c.want) {
			t.Errorf("%s: got %q, %v, want %q", c.spec.Kind(), i.Args, err, c.want)
			continue
		}
		if i.Kind != c.spec.Kind() || i.TimeLimit != time.Hour || i.Version != v018 || i.Path != "/usr/bin/restic" {
			t.Errorf("%s: got %+v", c.spec.Kind(), i)
		}
		holds(t, i, c.spec)
		b, err := json.Marshal(i)
		var again Invocation
		if err := errors.Join(err, json.Unmarshal(b, &again)); err != nil || !reflect.DeepEqual(again, i) {
			t.Errorf("%s: over the pipe: got %+v, %v, want %+v", c.spec.Kind(), again, err, i)
		}
	}
}

func TestBuildRefusesWhatItMustNotRun(t *testing.T) {
	good := &wire.BackupSpec{Paths: []string{"/home"}}
	id := strings.Repeat("ab", 32)
	for name, c := range map[string]struct {
		change func(*Access, *Order)
		code   string
	}{
		"no spec":                {func(a *Access, o *Order) { o.Spec = nil }, wire.CodeInvalidSpec},
		"an unknown spec":        {func(a *Access, o *Order) { o.Spec = unknownSpec{} }, wire.CodeUnknownKind},
		"a relative path":        {func(a *Access, o *Order) { o.Spec = &wire.BackupSpec{Paths: []string{"-o"}} }, wire.CodeInvalidSpec},
		"a wild hostname":        {func(a *Access, o *Order) { a.Host.Hostname = "--x y" }, wire.CodeInvalidSpec},
		"no hostname":            {func(a *Access, o *Order) { a.Host.Hostname = "" }, wire.CodeInvalidSpec},
		"a relative job folder":  {func(a *Access, o *Order) { o.JobDir = "jobs" }, wire.CodeInvalidSpec},
		"no job folder":          {func(a *Access, o *Order) { o.JobDir = "" }, wire.CodeInvalidSpec},
		"an rclone repository":   {func(a *Access, o *Order) { a.Repository.URL = "rclone::local:y" }, wire.CodeNoRepository},
		"no repository":          {func(a *Access, o *Order) { a.Repository.URL = "" }, wire.CodeNoRepository},
		"a wild environment":     {func(a *Access, o *Order) { a.Repository.Env = map[string]string{"PATH": "/x"} }, wire.CodeNoRepository},
		"no password":            {func(a *Access, o *Order) { a.Repository.Password = "" }, wire.CodeNoRepository},
		"a password with blanks": {func(a *Access, o *Order) { a.Repository.Password = "x\n" }, wire.CodeNoRepository},
		"a password with a NUL":  {func(a *Access, o *Order) { a.Repository.Password = "x\x00y" }, wire.CodeNoRepository},
		"a password with a mark": {func(a *Access, o *Order) { a.Repository.Password = "\ufeffx" }, wire.CodeNoRepository},
		"a password too long":    {func(a *Access, o *Order) { a.Repository.Password = strings.Repeat("x", 4097) }, wire.CodeNoRepository},
		"no cache folder":        {func(a *Access, o *Order) { a.Host.CacheDir = "" }, wire.CodeNoRepository},
		"a relative binary":      {func(a *Access, o *Order) { a.Binary.Path = "restic" }, wire.CodeResticMissing},
		"no restore target":      {func(a *Access, o *Order) { o.Spec, o.RestoreTarget = &wire.RestoreSpec{SnapshotID: id}, "" }, wire.CodeRestoreTarget},
		"the root as a target":   {func(a *Access, o *Order) { o.Spec, o.RestoreTarget = &wire.RestoreSpec{SnapshotID: id}, "/" }, wire.CodeRestoreTarget},
		"a target that climbs":   {func(a *Access, o *Order) { o.Spec, o.RestoreTarget = &wire.RestoreSpec{SnapshotID: id}, "/a/../etc" }, wire.CodeRestoreTarget},
	} {
		a, o := plainAccess(), plainOrder(good)
		c.change(&a, &o)
		i, err := Build(a, o)
		if codeOf(err) != c.code || !reflect.DeepEqual(i, Invocation{}) {
			t.Errorf("%s: got %v, want %s", name, err, c.code)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error shows the password: %v", name, err)
		}
	}
}

type unknownSpec struct{}

func (unknownSpec) Kind() wire.Kind { return "mount" }
func (unknownSpec) Validate() error { return nil }

func TestPrepareFindsWhatIsMissing(t *testing.T) {
	dir := t.TempDir()
	there, link := filepath.Join(dir, "there"), filepath.Join(dir, "link")
	write(t, there, "x")
	if err := os.Symlink("nowhere", link); err != nil {
		t.Fatal(err)
	}
	gone, below := filepath.Join(dir, "gone"), filepath.Join(there, "below")
	build := func(paths ...string) Invocation {
		i, err := Build(plainAccess(), Order{Spec: &wire.BackupSpec{Paths: paths, Excludes: []string{"$x"}}, JobDir: dir})
		if err != nil {
			t.Fatal(err)
		}
		return i
	}
	i := build(there, gone, link, below)
	if err := i.Prepare(); err != nil || !slices.Equal(i.Missing, []string{gone, below}) {
		t.Errorf("missing: got %q, %v, want %q", i.Missing, err, []string{gone, below})
	}
	for name, want := range map[string]string{"paths": strings.Join([]string{there, gone, link, below, ""}, "\x00"), "excludes": "# patterns of this job\n$$x\n"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || string(b) != want {
			t.Errorf("%s: got %q, %v, want %q", name, b, err, want)
		}
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v", name, info.Mode(), err)
		}
	}
	i = build(gone, below)
	err := i.Prepare()
	if codeOf(err) != wire.CodeSourceMissing || !strings.Contains(err.Error(), gone) {
		t.Errorf("nothing there: got %v, want %s", err, wire.CodeSourceMissing)
	}
	i = build(there)
	i.Dir = filepath.Join(dir, "no", "such")
	if err := i.Prepare(); err == nil {
		t.Error("without its folder: want an error")
	}
	i.Files[0].Name = "../escape"
	if err := i.Prepare(); err == nil {
		t.Error("a file outside the folder: want an error")
	}
}

func TestTheGuardsDownloadLimitHoldsForEveryKind(t *testing.T) {
	id := strings.Repeat("ab", 32)
	for _, c := range []struct {
		spec wire.Spec
		want []string
	}{
		{&wire.RestoreSpec{SnapshotID: id}, []string{"restore", "--limit-download=9", "--json", "--target=/restore/t", "--", id}},
		{&wire.CheckSpec{ReadData: true}, []string{"check", "--limit-download=9", "--json", "--read-data"}},
		{&wire.BackupSpec{Paths: []string{"/home"}, DownloadLimitKiB: 4}, []string{"backup", "--json", "--host=web-1", "--limit-download=4", "--files-from-raw=/jobs/1/paths"}},
	} {
		o := plainOrder(c.spec)
		o.DownloadKiB = 9
		i, err := Build(plainAccess(), o)
		if err != nil || !slices.Equal(i.Args, c.want) {
			t.Errorf("got %q, %v, want %q", i.Args, err, c.want)
		}
	}
}
