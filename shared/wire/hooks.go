package wire

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// FeatureHooks in HelloRequest.Features says that the agent runs hooks, and backs up what one writes.
const FeatureHooks = "hooks"

// What BackupSpec.HookFailure may be. Empty is HookFails.
const (
	// HookFails: a hook before the backup that fails ends the job; restic is not run.
	HookFails = "fail"
	// HookContinues: the backup is made all the same, and ends with issues.
	HookContinues = "continue"
)

const (
	// MaxHooks bounds how many hooks a job has before, and after.
	MaxHooks = 8
	// HookTimeLimit is that of a hook whose spec names none.
	HookTimeLimit    = 10 * time.Minute
	maxHookTimeLimit = 24 * time.Hour
	// MaxHostHooks bounds how many hooks a host offers.
	MaxHostHooks = 100
)

// hookName keeps a name from being a path, a hidden file or a flag.
var hookName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$`)

// CheckHookName checks the name of a hook: that of a file in the folder of the host's hooks, never a path.
func CheckHookName(s string) error {
	if !hookName.MatchString(s) {
		return fmt.Errorf("%.80q is not the name of a hook: use 1 to 64 of the characters A-Z a-z 0-9 . _ -, beginning with a letter, a digit or _", s)
	}
	return nil
}

// Hooks are the names of all hooks that the job needs, each once, sorted.
func (s *BackupSpec) Hooks() []string {
	all := slices.Concat(s.HooksBefore, s.HooksAfter)
	if s.StdinHook != "" {
		all = append(all, s.StdinHook)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// HookLimit is the time limit of each hook before and after the backup.
func (s *BackupSpec) HookLimit() time.Duration {
	if s.HookTimeLimitSeconds > 0 {
		return time.Duration(s.HookTimeLimitSeconds) * time.Second
	}
	return HookTimeLimit
}

func (s *BackupSpec) checkHooks() error {
	if err := checkHookNames(s.HooksBefore); err != nil {
		return fmt.Errorf("hooks_before: %w", err)
	}
	if err := checkHookNames(s.HooksAfter); err != nil {
		return fmt.Errorf("hooks_after: %w", err)
	}
	if !slices.Contains([]string{"", HookFails, HookContinues}, s.HookFailure) {
		return fmt.Errorf("hook_failure: give %s or %s", HookFails, HookContinues)
	}
	if s.HookTimeLimitSeconds < 0 || s.HookTimeLimitSeconds > int64(maxHookTimeLimit.Seconds()) {
		return fmt.Errorf("hook_time_limit_seconds: give 0 (10 minutes) to %d", int64(maxHookTimeLimit.Seconds()))
	}
	if s.DryRun && len(s.Hooks()) > 0 {
		return errors.New("dry_run: the hooks would really run; leave them out of a dry run")
	}
	return s.checkStdin()
}

func checkHookNames(names []string) error {
	if len(names) > MaxHooks {
		return fmt.Errorf("at most %d", MaxHooks)
	}
	for i, n := range names {
		if err := CheckHookName(n); err != nil {
			return err
		}
		if slices.Contains(names[:i], n) {
			return fmt.Errorf("%s is named twice", n)
		}
	}
	return nil
}

func (s *BackupSpec) checkStdin() error {
	if s.StdinHook == "" {
		if s.StdinName != "" {
			return errors.New("stdin_name: it names what stdin_hook writes; give that too, or leave it out")
		}
		return nil
	}
	switch err := CheckHookName(s.StdinHook); {
	case err != nil:
		return fmt.Errorf("stdin_hook: %w", err)
	case s.StdinName == "":
		return errors.New("stdin_name: give the file's name in the snapshot, such as database.sql")
	case CheckName(s.StdinName) != nil || strings.Trim(s.StdinName, ".") == "":
		return fmt.Errorf("stdin_name: %.80q is not a file's name: use 1 to 128 of the characters A-Z a-z 0-9 . _ @ : + -, not beginning with -", s.StdinName)
	case len(s.Paths) > 0:
		return errors.New("paths: a backup of what stdin_hook writes has none; make a second policy for the folders")
	case len(s.Excludes) > 0 || s.ExcludeCaches || s.OneFileSystem || s.ExcludeLargerThan != 0:
		return errors.New("stdin_hook: excludes, exclude_caches, exclude_larger_than and one_file_system are about folders; leave them out")
	}
	return nil
}
