package spool

import (
	"errors"
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"restic-manager/shared/wire"
)

// setAsideOf puts one folder aside per hour, the last of them now; each takes about size bytes.
func setAsideOf(t *testing.T, s *Store, m *Memory, c *clock, count, size int) (ids []string) {
	t.Helper()
	for n := range count {
		if n > 0 {
			c.turn(time.Hour)
		}
		j := testJob(wire.PhaseAccepted)
		j.Offer.JobID = fmt.Sprintf("01999999-0000-7000-8000-%012d", n)
		f, err := s.Create(j)
		must(t, err)
		for _, name := range []string{resultFile, finishFile, logFile, claimFile, jobFile} {
			_ = m.Remove(f.path(name + spaceSuffix))
		}
		overwrite(t, m, f.path(logFile), make([]byte, size))
		must(t, s.PutAside(j.ID(), "test"))
		ids = append(ids, j.ID())
	}
	return ids
}

func TestFoldersPutAsideAreBoundedInAgeAndBytes(t *testing.T) {
	for _, c := range []struct {
		name  string
		keep  time.Duration
		limit int64
		left  int // the newest
	}{
		{"young and small", 100 * time.Hour, 1 << 20, 5},
		{"two are too old", 3 * time.Hour, 1 << 20, 3},
		{"room for two", 100 * time.Hour, 24_000, 2},
		{"room for none", 100 * time.Hour, 100, 0},
		{"old and large", 4 * time.Hour, 24_000, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, s, now := openMemory(t)
			ids := setAsideOf(t, s, m, now, 5, 10_000)
			deleted, err := s.ExpireAside(c.keep, c.limit)
			must(t, err)
			aside, err := s.Aside()
			must(t, err)
			for n, id := range ids {
				_, there := aside[id]
				if want := n >= len(ids)-c.left; there != want || there == slices.Contains(deleted, id) {
					t.Errorf("folder %d: got there=%v, want %v; deleted %v", n, there, want, deleted)
				}
				if known, err := s.Known(id); err != nil || !known {
					t.Errorf("folder %d: got known=%v %v, want its job never to run again", n, known, err)
				}
			}
		})
	}
}

func TestFolderThatCannotBeDeletedDoesNotKeepTheOthers(t *testing.T) {
	m, s, c := openMemory(t)
	ids := setAsideOf(t, s, m, c, 3, 10)
	m.FailWrites(func(_ int, path string) error {
		if path == testDir+"/aside/"+ids[1]+"/log.ndjson" {
			return syscall.EIO
		}
		return nil
	})
	deleted, err := s.ExpireAside(0, 1<<20)
	if !errors.Is(err, syscall.EIO) || len(deleted) != 2 || slices.Contains(deleted, ids[1]) {
		t.Errorf("got %v deleted, %v; want the other two, and the error", deleted, err)
	}
}
