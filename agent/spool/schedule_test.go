package spool

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"restic-manager/shared/wire"
)

type someSchedule struct {
	Until time.Time `json:"until"`
	Text  string    `json:"text"`
}

// TestScheduleIsTheOldOneOrTheNewOne cuts the power at each write of a second schedule: one of both is there, and the
// new one where the write was answered.
func TestScheduleIsTheOldOneOrTheNewOne(t *testing.T) {
	old, next := someSchedule{Text: "old"}, someSchedule{Until: time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC), Text: "new and longer"}
	random := rand.New(rand.NewPCG(3, 4))
	for n := 1; ; n++ {
		var failed error
		for _, keep := range []func() bool{nil, func() bool { return true }, func() bool { return random.IntN(2) == 0 }} {
			m, s, c := openMemory(t)
			must(t, s.SaveSchedule(old))
			m.FailWrites(func(i int, _ string) error {
				if i >= n {
					return errPower
				}
				return nil
			})
			failed = s.SaveSchedule(next)
			m.FailWrites(nil)
			m.Crash(keep)
			var got someSchedule
			ok, err := reopen(t, m, c).Schedule(&got)
			must(t, err)
			if !ok || got != next && (failed == nil || got != old) {
				t.Errorf("power cut at write %d: got %+v %v after %v, want the old or, once answered, the new one", n, got, ok, failed)
			}
		}
		if failed == nil && n > 12 {
			return
		}
	}
}

func TestScheduleIsWrittenOnAFullDisk(t *testing.T) {
	m, s, _ := openMemory(t)
	must(t, s.SaveSchedule(someSchedule{Text: "one"}))
	for _, text := range []string{"two", "six", "ten"} {
		m.SetCapacity(m.Used())
		must(t, s.SaveSchedule(someSchedule{Text: text}))
	}
}

func TestDamagedScheduleCountsAsNone(t *testing.T) {
	m, s, _ := openMemory(t)
	var got someSchedule
	if ok, err := s.Schedule(&got); ok || err != nil {
		t.Errorf("without a file: got %v, %v", ok, err)
	}
	must(t, s.SaveSchedule(someSchedule{Text: "x"}))
	f, err := m.Edit(s.path(scheduleFile))
	must(t, err)
	_, err = f.WriteAt([]byte("!"), 90)
	must(t, err)
	if ok, err := s.Schedule(&got); ok || err != nil {
		t.Errorf("damaged: got %v, %v", ok, err)
	}
}

func TestSecretsAreForTheirUserAloneAndGoAltogether(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(OS{}, dir, time.Now)
	must(t, err)
	defer s.Close()
	want := wire.Secrets{RepositoryURL: "rest:https://backup/1", Password: "secret"}
	must(t, s.SaveSecrets(&want))
	got, err := s.Secrets()
	must(t, err)
	if got == nil || got.Password != want.Password {
		t.Errorf("got %+v, want %+v", got, want)
	}
	info, err := os.Stat(filepath.Join(dir, secretsFile))
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("got mode %#o, want 0600", info.Mode().Perm())
	}
	must(t, os.WriteFile(filepath.Join(dir, secretsFile+tempSuffix), []byte("half of a secret"), 0o600)) // a killed write's
	must(t, s.RemoveSecrets())
	for _, name := range []string{secretsFile, secretsFile + tempSuffix} {
		if _, err := os.Stat(filepath.Join(dir, name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there: %v", name, err)
		}
	}
	must(t, s.RemoveSecrets())
	if got, err := s.Secrets(); got != nil || err != nil {
		t.Errorf("got %+v, %v, want none", got, err)
	}
}
