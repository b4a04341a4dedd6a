package restic

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"restic-manager/shared/wire"
)

// fakeAccess is an Access to a script in restic's place. What it writes goes to files in its folder $D.
func fakeAccess(t testing.TB, version Version, body string) (a Access, dir string) {
	t.Helper()
	dir = t.TempDir()
	path := script(t, filepath.Join(dir, "restic"), "D="+dir+"\n"+body)
	return Access{
		Binary:     Binary{Path: path, Version: version},
		Host:       Host{Hostname: "web-1", StateDir: dir, CacheDir: dir, TempDir: dir},
		Repository: Repository{URL: "rest:https://backup.example/x", Password: "pass word"},
	}, dir
}

func (a Access) question(t testing.TB) Invocation {
	t.Helper()
	i, err := a.begin()
	if err != nil {
		t.Fatal(err)
	}
	i.listSnapshots()
	return i
}

func snapshotJSON(i int) string {
	return fmt.Sprintf(`{"time":"2026-11-23T08:25:37.908629765Z","tree":"%064d","paths":["/srv"],"hostname":"web-1","id":"%064d","short_id":"x","unknown":[1]}`, i, i)
}

func TestThePasswordIsInAPipeAndNowhereElse(t *testing.T) {
	a, dir := fakeAccess(t, v018, `cat /dev/fd/3 > $D/password; tr '\0' '\n' < /proc/$$/environ > $D/environ; tr '\0' '\n' < /proc/$$/cmdline > $D/cmdline
cat > $D/stdin; pwd > $D/cwd; ps -o pgid= $$ | tr -d ' ' > $D/pgid; echo $$ > $D/pid; echo '[]'`)
	a.Repository.Password = "s3cret with $(blanks)"
	a.Repository.Env = map[string]string{"AWS_SECRET_ACCESS_KEY": "k", "AWS_ACCESS_KEY_ID": "i"}
	t.Setenv("RESTIC_PASSWORD_COMMAND", "touch "+dir+"/canary")
	t.Setenv("RESTIC_HOST", "other")
	t.Setenv("LD_LIBRARY_PATH", "/x")
	if n, err := a.ListSnapshots(t.Context(), func(wire.Snapshot) error { return nil }); n != 0 || err != nil {
		t.Fatalf("got %d, %v", n, err)
	}
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if got := read("password"); got != a.Repository.Password {
		t.Errorf("password: got %q", got)
	}
	want := []string{
		"AWS_ACCESS_KEY_ID=i", "AWS_SECRET_ACCESS_KEY=k", "HOME=" + dir, "LANG=C.UTF-8", "PATH=" + SafePath, "RESTIC_CACHE_DIR=" + dir,
		"RESTIC_PASSWORD_FILE=/dev/fd/3", "RESTIC_PROGRESS_FPS=1", "RESTIC_REPOSITORY=rest:https://backup.example/x", "TMPDIR=" + dir,
	}
	if got := slices.Sorted(strings.SplitSeq(strings.TrimSpace(read("environ")), "\n")); !slices.Equal(got, want) {
		t.Errorf("environment: got %q, want %q", got, want)
	}
	for _, name := range []string{"environ", "cmdline"} {
		if strings.Contains(read(name), "s3cret") {
			t.Errorf("%s shows the password", name)
		}
	}
	if got := read("stdin"); got != "" {
		t.Errorf("stdin: got %q, want nothing", got)
	}
	if got := strings.TrimSpace(read("cwd")); got != "/" {
		t.Errorf("folder: got %s, want /", got)
	}
	if read("pgid") != read("pid") {
		t.Errorf("process group: got %s of %s, want its own", read("pgid"), read("pid"))
	}
}

func TestAListIsWholeOrAnError(t *testing.T) {
	one, two := snapshotJSON(1), snapshotJSON(2)
	for name, c := range map[string]struct {
		body  string
		count int
		code  string
	}{
		"whole":            {"echo '[" + one + "," + two + "]'", 2, ""},
		"pretty":           {"printf '[\n%s\n,\n%s\n]\n\n' '" + one + "' '" + two + "'", 2, ""},
		"empty":            {"echo '[]'", 0, ""},
		"words on stderr":  {"echo 'unable to open cache: x' >&2; echo '[]'", 0, ""},
		"torn":             {"printf '[" + one + ",'", 1, wire.CodeRestic},
		"torn in an entry": {"printf '[" + one + ",{\"id\":'", 1, wire.CodeRestic},
		"unclosed":         {"printf '[" + one + "'", 1, wire.CodeRestic},
		"nothing":          {"true", 0, wire.CodeRestic},
		"null":             {"echo null", 0, wire.CodeRestic},
		"an object":        {"echo '{}'", 0, wire.CodeRestic},
		"text before":      {"echo 'hello'; echo '[]'", 0, wire.CodeRestic},
		"text behind":      {"echo '[]'; echo 'hello'", 0, wire.CodeRestic},
		"two lists":        {"echo '[][]'", 0, wire.CodeRestic},
		"a short id":       {`echo '[{"id":"0123abcd"}]'`, 0, wire.CodeRestic},
		"whole but failed": {"echo '[" + one + "]'; exit 1", 1, wire.CodeRestic},
		"wrong password":   {"exit 12", 0, wire.CodeWrongPassword},
		"no repository":    {`echo '{"message_type":"exit_error","code":10,"message":"Fatal: repository does not exist"}' >&2; exit 10`, 0, wire.CodeRepositoryMissing},
		"locked":           {"echo 'repository is already locked by PID 7 on vm by root (UID 0, GID 0)' >&2; exit 11", 0, wire.CodeRepositoryLocked},
		"killed":           {"kill -9 $$", 0, wire.CodeCrashed},
	} {
		a, _ := fakeAccess(t, v018, c.body)
		n, err := a.ListSnapshots(t.Context(), func(wire.Snapshot) error { return nil })
		if codeOf(err) != c.code || n != c.count {
			t.Errorf("%s: got %d, %v, want %d, %q", name, n, err, c.count, c.code)
		}
	}
}

func TestALongListIsReadEntryByEntry(t *testing.T) {
	a, dir := fakeAccess(t, v018, `cat $D/list`)
	const count = 10_000
	var b strings.Builder
	b.WriteByte('[')
	for i := range count {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(snapshotJSON(i))
	}
	b.WriteString("]\n")
	write(t, filepath.Join(dir, "list"), b.String())
	seen := 0
	n, err := a.ListSnapshots(t.Context(), func(s wire.Snapshot) error {
		if want := fmt.Sprintf("%064d", seen); s.ID != want || s.Hostname != "web-1" || s.Time.Nanosecond() != 908629765 {
			t.Fatalf("got %+v, want %s", s, want)
		}
		seen++
		return nil
	})
	if err != nil || n != count || seen != count {
		t.Errorf("got %d, %d seen, %v, want %d", n, seen, err, count)
	}
	// One entry without an end does not fill the memory.
	a, _ = fakeAccess(t, v018, `printf '[{"id":"'; head -c 100000000 /dev/zero | tr '\0' x`)
	if _, err := a.ListSnapshots(t.Context(), func(wire.Snapshot) error { return nil }); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("an endless entry: got %v", err)
	}
}

func TestAListenersErrorEndsTheListing(t *testing.T) {
	full := errors.New("disk full")
	a, dir := fakeAccess(t, v018, `trap 'echo int > $D/int; exit 1' INT; printf '[%s' '`+snapshotJSON(1)+`'; i=0; while [ $i -lt 100000 ]; do printf ',%s' '`+snapshotJSON(2)+`'; i=$((i+1)); done; sleep 1000`)
	n, err := a.ListSnapshots(t.Context(), func(wire.Snapshot) error { return full })
	if err != full || n != 0 {
		t.Errorf("got %d, %v, want %v", n, err, full)
	}
	if _, err := os.Stat(filepath.Join(dir, "int")); err != nil {
		t.Errorf("restic was not interrupted: %v", err)
	}
}

func TestAQuestionEndsAtItsLimit(t *testing.T) {
	for name, body := range map[string]string{
		"obeys SIGINT":   `trap 'exit 130' INT; echo 'Stat(<config/>) returned error, retrying after 1.4s: Head "https://h/config": dial tcp 1.2.3.4:1: connect: connection refused' >&2; sleep 1000 & echo $$ > $D/pid; while :; do wait; done`,
		"ignores SIGINT": `trap '' INT; echo 'Stat(<config/>) returned error, retrying after 1.4s: dial tcp 1.2.3.4:1: connect: connection refused' >&2; echo $$ > $D/pid; while :; do sleep 1; done`,
		"floods":         `trap '' INT; echo 'Stat(<config/>) returned error, retrying after 1.4s: dial tcp 1.2.3.4:1: connect: connection refused' >&2; echo $$ > $D/pid; while :; do echo '[{'; done`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, dir := fakeAccess(t, v018, body)
			began := time.Now()
			err := a.question(t).ask(t.Context(), 2*time.Second, 300*time.Millisecond, drainAll)
			if codeOf(err) != wire.CodeRepositoryUnreachable || !strings.Contains(err.Error(), "did not answer within 2s") || !strings.Contains(err.Error(), "connection refused") {
				t.Errorf("got %v", err)
			}
			if d := time.Since(began); d > 30*time.Second {
				t.Errorf("took %s", d)
			}
			gone(t, dir)
		})
	}
}

// gone wants the process whose id the script wrote to have ended; nobody need have waited for it yet.
func gone(t *testing.T, dir string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "pid"))
	if err != nil {
		t.Fatal(err)
	}
	stat := filepath.Join("/proc", strings.TrimSpace(string(b)), "stat")
	for deadline := time.Now().Add(10 * time.Second); ; {
		b, err := os.ReadFile(stat)
		if err != nil || strings.Contains(string(b), ") Z ") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("still there: %s", b)
		}
	}
}

func TestWhoStopsAskingIsToldSo(t *testing.T) {
	a, dir := fakeAccess(t, v018, `trap 'exit 1' INT; echo $$ > $D/pid; mkfifo $D/block; echo ready > $D/ready; read x < $D/block`)
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := errors.New("the agent stops")
	done := make(chan error, 1)
	go func() { done <- a.question(t).ask(ctx, time.Minute, 10*time.Second, drainAll) }()
	for { // the script is up when its file is there
		if _, err := os.Stat(filepath.Join(dir, "ready")); err == nil {
			break
		}
		select {
		case err := <-done:
			t.Fatalf("ended early: %v", err)
		default:
		}
	}
	cancel(stopped)
	if err := <-done; !errors.Is(err, stopped) {
		t.Errorf("got %v, want %v", err, stopped)
	}
}

func TestAGrandchildThatHoldsThePipesIsEnded(t *testing.T) {
	t.Parallel()
	a, dir := fakeAccess(t, v018, `sleep 1000 & echo $! > $D/pid; echo '[]'`)
	if n, err := a.ListSnapshots(t.Context(), func(wire.Snapshot) error { return nil }); n != 0 || err != nil {
		t.Errorf("got %d, %v", n, err)
	}
	gone(t, dir)
}

func TestAMissingProgramIsSaid(t *testing.T) {
	a, _ := fakeAccess(t, v018, "true")
	a.Binary.Path += ".gone"
	if _, err := a.CatConfig(t.Context()); codeOf(err) != wire.CodeResticMissing {
		t.Errorf("got %v", err)
	}
}

func TestUnlockCountsWhatIsGone(t *testing.T) {
	id := func(n int) string { return fmt.Sprintf("%064d", n) }
	a, _ := fakeAccess(t, v018, `[ "$1" = unlock ] && echo 'successfully removed 3 locks'`)
	if n, err := a.Unlock(t.Context()); n != 3 || err != nil {
		t.Errorf("0.18: got %d, %v, want 3", n, err)
	}
	a, _ = fakeAccess(t, v018, "true")
	if n, err := a.Unlock(t.Context()); n != 0 || err != nil {
		t.Errorf("0.18, none: got %d, %v, want 0", n, err)
	}
	a, _ = fakeAccess(t, v014, `if [ "$1" = unlock ]; then touch $D/done; echo 'successfully removed locks'; exit; fi
echo `+id(1)+`; [ -f $D/done ] || echo `+id(2))
	if n, err := a.Unlock(t.Context()); n != 1 || err != nil {
		t.Errorf("0.14: got %d, %v, want 1", n, err)
	}
	a, _ = fakeAccess(t, v014, `[ "$1" != unlock ] || { echo 'Fatal: wrong password or no key found' >&2; exit 1; }`)
	if _, err := a.Unlock(t.Context()); codeOf(err) != wire.CodeWrongPassword {
		t.Errorf("got %v", err)
	}
}

func TestCatConfigWantsAnID(t *testing.T) {
	id := strings.Repeat("ab", 32)
	a, _ := fakeAccess(t, v018, `printf '{\n "version": 2,\n "id": "`+id+`"\n}\n'`)
	if got, err := a.CatConfig(t.Context()); got != id || err != nil {
		t.Errorf("got %s, %v", got, err)
	}
	for _, body := range []string{"echo '{}'", "true", "echo hello", `echo '{"id":"latest"}'`} {
		a, _ := fakeAccess(t, v018, body)
		if got, err := a.CatConfig(t.Context()); got != "" || codeOf(err) != wire.CodePreflight {
			t.Errorf("%s: got %q, %v", body, got, err)
		}
	}
}

func drainAll(r io.Reader, _ func()) error { _, err := io.Copy(io.Discard, r); return err }
