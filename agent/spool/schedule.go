package spool

import (
	"errors"
	"fmt"
	"io/fs"

	"restic-manager/shared/wire"
)

const (
	scheduleFile = "schedule.json"
	secretsFile  = "schedule-secrets.json"

	// scheduleMore is set aside beyond what the schedule takes now.
	scheduleMore = 16 << 10
)

// SaveSchedule replaces schedule.json durably: what this host does by itself, and how far it got. It must hold no
// secret.
func (s *Store) SaveSchedule(v any) error {
	path := s.path(scheduleFile)
	if err := writeJSON(s.disk, path, v); err != nil {
		return err
	}
	// Space for the next time, as job.json has it.
	if info, err := s.disk.Stat(path); err == nil {
		_ = setAside(s.disk, path, info.Size+scheduleMore)
	}
	return nil
}

// Schedule reads schedule.json; ok is false when there is none, or not a sound one: the server then tells it anew.
func (s *Store) Schedule(into any) (ok bool, err error) {
	return s.readOwn(scheduleFile, into)
}

// SaveSecrets writes what opens the server's repository, durably and readable by the agent's user alone. Only where
// the guard allows it.
func (s *Store) SaveSecrets(secrets *wire.Secrets) error {
	return writeJSON(s.disk, s.path(secretsFile), secrets)
}

// Secrets reads what SaveSecrets kept; nil when there is nothing sound.
func (s *Store) Secrets() (*wire.Secrets, error) {
	var secrets wire.Secrets
	ok, err := s.readOwn(secretsFile, &secrets)
	if !ok {
		return nil, err
	}
	return &secrets, nil
}

// RemoveSecrets takes the kept secrets, and what a killed write left of them, off the disk.
func (s *Store) RemoveSecrets() error {
	removed := false
	for _, name := range []string{secretsFile, secretsFile + tempSuffix} {
		err := s.disk.Remove(s.path(name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove the kept secrets: %w", err)
		}
		removed = removed || err == nil
	}
	if !removed {
		return nil
	}
	return s.disk.SyncDir(s.dir)
}

// readOwn reads a sealed file of the state folder; a damaged one counts as none.
func (s *Store) readOwn(name string, into any) (ok bool, err error) {
	err = readJSON(s.disk, s.path(name), into)
	if _, damaged := errors.AsType[*DamagedError](err); damaged || errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read %s: %w", name, err)
	}
	return true, nil
}
