package wire

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestHooksOfASpecAreNamesAlone(t *testing.T) {
	paths := []string{"/home"}
	for name, s := range map[string]*BackupSpec{
		"before and after":      {Paths: paths, HooksBefore: []string{"stop-db", "freeze.sh"}, HooksAfter: []string{"stop-db", "_thaw"}, HookFailure: HookContinues, HookTimeLimitSeconds: 86400},
		"as many as allowed":    {Paths: paths, HooksBefore: numbered(8, "h%d"), HookFailure: HookFails},
		"of what a hook writes": {StdinHook: "pg_dump", StdinName: "all.sql", HooksAfter: []string{"x"}, Tags: []string{"t"}, UploadLimitKiB: 5},
	} {
		if err := s.Validate(); err != nil {
			t.Errorf("%s: got %v, want no error", name, err)
		}
	}
	stdin := func(change func(*BackupSpec)) *BackupSpec {
		s := &BackupSpec{StdinHook: "pg_dump", StdinName: "all.sql"}
		change(s)
		return s
	}
	type refused struct {
		field string
		spec  *BackupSpec
	}
	all := []refused{
		{"hooks_before", &BackupSpec{Paths: paths, HooksBefore: numbered(9, "h%d")}},
		{"hooks_after", &BackupSpec{Paths: paths, HooksAfter: []string{"a", "b", "a"}}},
		{"hook_failure", &BackupSpec{Paths: paths, HookFailure: "ignore"}},
		{"hook_time_limit_seconds", &BackupSpec{Paths: paths, HookTimeLimitSeconds: -1}},
		{"hook_time_limit_seconds", &BackupSpec{Paths: paths, HookTimeLimitSeconds: 86401}},
		{"dry_run", &BackupSpec{Paths: paths, HooksAfter: []string{"x"}, DryRun: true}},
		{"stdin_name", &BackupSpec{Paths: paths, StdinName: "x"}},
		{"stdin_name", stdin(func(s *BackupSpec) { s.StdinName = "" })}, {"stdin_name", stdin(func(s *BackupSpec) { s.StdinName = "a/b" })},
		{"stdin_name", stdin(func(s *BackupSpec) { s.StdinName = "-x" })}, {"stdin_name", stdin(func(s *BackupSpec) { s.StdinName = ".." })},
		{"paths", stdin(func(s *BackupSpec) { s.Paths = paths })},
		{"stdin_hook", stdin(func(s *BackupSpec) { s.Excludes = []string{"x"} })}, {"stdin_hook", stdin(func(s *BackupSpec) { s.OneFileSystem = true })},
		{"stdin_hook", stdin(func(s *BackupSpec) { s.ExcludeCaches = true })}, {"stdin_hook", stdin(func(s *BackupSpec) { s.ExcludeLargerThan = 1 })},
	}
	for _, bad := range []string{"", "..", ".", ".hidden", "a/b", "/bin/sh", "../x", "-c", "a b", "a\x00", "a\n", "ü", "$(x)", "a;b", long(65)} {
		all = append(all, refused{"hooks_before", &BackupSpec{Paths: paths, HooksBefore: []string{bad}}}, refused{"hooks_after", &BackupSpec{Paths: paths, HooksAfter: []string{bad}}})
		if bad != "" {
			all = append(all, refused{"stdin_hook", stdin(func(s *BackupSpec) { s.StdinHook = bad })})
		}
	}
	for _, c := range all {
		if err := c.spec.Validate(); err == nil || !strings.HasPrefix(err.Error(), c.field+": ") {
			t.Errorf("%+v: got %v, want an error of %s", c.spec, err, c.field)
		}
	}
}

func TestHooksAreNamedOnceAndHaveALimit(t *testing.T) {
	s := &BackupSpec{HooksBefore: []string{"b", "a"}, HooksAfter: []string{"a"}, StdinHook: "d"}
	if got := s.Hooks(); !slices.Equal(got, []string{"a", "b", "d"}) {
		t.Errorf("hooks: got %v", got)
	}
	if got := s.HookLimit(); got != HookTimeLimit {
		t.Errorf("limit: got %s, want %s", got, HookTimeLimit)
	}
	if s.HookTimeLimitSeconds = 5; s.HookLimit() != 5*time.Second {
		t.Errorf("limit: got %s, want 5s", s.HookLimit())
	}
}
