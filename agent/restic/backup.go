package restic

import (
	"slices"
	"strconv"

	"restic-manager/shared/wire"
)

// backup reads the sources. The host is fixed and the list of paths stable, so that restic finds the
// parent snapshot. Source: restic doc, "Backing up".
func (i *Invocation) backup(a Access, o Order, s *wire.BackupSpec) error {
	if err := wire.CheckName(a.Host.Hostname); err != nil {
		return coded(wire.CodeInvalidSpec, "this machine's hostname %.80q: %v", a.Host.Hostname, err)
	}
	i.Args = []string{"backup", "--json", flag("host", a.Host.Hostname)}
	for _, t := range s.Tags {
		i.Args = append(i.Args, flag("tag", t))
	}
	if s.ExcludeCaches {
		i.Args = append(i.Args, "--exclude-caches")
	}
	if s.OneFileSystem {
		i.Args = append(i.Args, "--one-file-system")
	}
	if s.DryRun {
		i.Args = append(i.Args, "--dry-run")
		i.DryRun = true
	}
	if s.UploadLimitKiB > 0 {
		i.Args = append(i.Args, flag("limit-upload", strconv.Itoa(s.UploadLimitKiB)))
	}
	if s.DownloadLimitKiB > 0 {
		i.Args = append(i.Args, flag("limit-download", strconv.Itoa(s.DownloadLimitKiB)))
	}
	if s.ExcludeLargerThan > 0 {
		i.Args = append(i.Args, flag("exclude-larger-than", strconv.FormatInt(s.ExcludeLargerThan, 10)))
	}
	if len(s.Excludes) > 0 {
		name, err := i.file(o, "excludes", patternFile(s.Excludes))
		if err != nil {
			return err
		}
		i.Args = append(i.Args, flag("exclude-file", name))
	}
	if s.StdinHook != "" {
		// The parent is found by this path.
		i.Args = append(i.Args, "--stdin", flag("stdin-filename", s.StdinName))
		i.Stdin = true
		return nil
	}
	name, err := i.file(o, "paths", rawList(s.Paths))
	if err != nil {
		return err
	}
	i.Args = append(i.Args, flag("files-from-raw", name))
	i.Sources = slices.Clone(s.Paths)
	return nil
}
