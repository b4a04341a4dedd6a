package estimate

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"restic-manager/shared/wire"
)

// plant makes files of so many bytes; a name that ends with / is a folder.
func plant(t *testing.T, files map[string]int) string {
	t.Helper()
	dir := t.TempDir()
	for name, size := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, make([]byte, size), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func must(t *testing.T, o Order) *wire.Estimate {
	t.Helper()
	e, err := Read(o, Watch{Unreadable: func(p string, err error) { t.Errorf("%s: %v", p, err) }})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestEachPatternHasWhatItTakesOut(t *testing.T) {
	dir := plant(t, map[string]int{"a/x.tmp": 10, "a/y": 20, "b/cache/1": 100, "b/cache/x.tmp": 200, "b/cache/deep/z.old": 400, "c": 1})
	s := wire.EstimateSpec{Paths: []string{dir}, Excludes: []string{"*.tmp", "cache", "b/**/1", "*.old", "nothing", filepath.Join(dir, "b/cache")}}
	e := must(t, Order{Spec: s})
	if e.Files != 2 || e.Bytes != 21 || e.Folders != 3 {
		t.Errorf("in: got %d files, %d bytes, %d folders, want 2, 21, 3", e.Files, e.Bytes, e.Folders)
	}
	if want := (wire.EstimateOut{Matches: 2, Files: 4, Bytes: 710}); e.Excluded != want {
		t.Errorf("out: got %+v, want each thing once: %+v", e.Excluded, want)
	}
	for i, want := range []wire.EstimatePattern{
		{EstimateOut: wire.EstimateOut{Matches: 1, Files: 1, Bytes: 10}},
		{EstimateOut: wire.EstimateOut{Matches: 1, Files: 3, Bytes: 700}},
		{Covered: true}, // only within cache, which is out already
		{Covered: true},
		{}, // matches nothing
		{EstimateOut: wire.EstimateOut{Matches: 1, Files: 3, Bytes: 700}},
	} {
		got := e.Patterns[i]
		if got.EstimateOut != want.EstimateOut || got.Covered != want.Covered {
			t.Errorf("%s: got %+v, want %+v", s.Excludes[i], got, want)
		}
	}
	if got := e.Patterns[0].Samples; !slices.Equal(got, []string{filepath.Join(dir, "a/x.tmp")}) {
		t.Errorf("samples: got %v", got)
	}
	if got := e.LargestExcluded[0]; got.Path != filepath.Join(dir, "b/cache") || got.Bytes != 700 || got.By != wire.ExcludedByPattern || *got.Pattern != 1 {
		t.Errorf("the largest that is out: got %+v", got)
	}
	if got := e.Largest[0]; got.Path != dir || got.Bytes != 21 || got.Files != 2 {
		t.Errorf("the largest that is in: got %+v", got)
	}
}

func TestSizeAndCachesAreCountedForThemselves(t *testing.T) {
	dir := plant(t, map[string]int{"big": 5000, "limit": 1000, "k/CACHEDIR.TAG": 0, "k/data": 77, "fake/CACHEDIR.TAG": 3, "fake/data": 5})
	if err := os.WriteFile(filepath.Join(dir, "k/CACHEDIR.TAG"), []byte(cacheSignature+"\n# made by a test\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	e := must(t, Order{Spec: wire.EstimateSpec{Paths: []string{dir}, ExcludeCaches: true, ExcludeLargerThan: 1000}})
	if want := (wire.EstimateOut{Matches: 1, Files: 1, Bytes: 77}); e.Caches != want {
		t.Errorf("caches: got %+v, want %+v", e.Caches, want)
	}
	if want := (wire.EstimateOut{Matches: 1, Files: 1, Bytes: 5000}); e.TooLarge != want {
		t.Errorf("too large: got %+v, want %+v", e.TooLarge, want)
	}
	if e.Files != 4 {
		t.Errorf("in: got %d files, want the limit's own, both tags, and what lies beside the false one", e.Files)
	}
	if off := must(t, Order{Spec: wire.EstimateSpec{Paths: []string{dir}}}); off.Files != 6 || off.Excluded.Matches != 0 {
		t.Errorf("without the options: got %+v", off)
	}
}

// TestAMarkThatIsNoFileIsNotWaitedFor: a reader of a pipe waits for its writer.
func TestAMarkThatIsNoFileIsNotWaitedFor(t *testing.T) {
	dir := plant(t, map[string]int{"x": 1})
	if err := syscall.Mkfifo(filepath.Join(dir, cacheTag), 0o644); err != nil {
		t.Fatal(err)
	}
	if e := must(t, Order{Spec: wire.EstimateSpec{Paths: []string{dir}, ExcludeCaches: true}}); e.Files != 1 || e.Others != 1 {
		t.Errorf("got %+v, want the file and the pipe", e)
	}
}

func TestWhatIsDeniedIsNeitherCountedNorNamed(t *testing.T) {
	dir := plant(t, map[string]int{"a/x": 1, "secret/canary-1": 1000, "out/secret/canary-2": 2000, "out/y": 2, "canary-3": 4000})
	if err := os.Symlink(filepath.Join(dir, "secret/canary-1"), filepath.Join(dir, "a", cacheTag)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "secret/canary-1"), []byte(cacheSignature), 0o600); err != nil {
		t.Fatal(err)
	}
	o := Order{Spec: wire.EstimateSpec{Paths: []string{dir}, Excludes: []string{"out", "canary-*", "secret"}, ExcludeCaches: true},
		Denied: []string{filepath.Join(dir, "secret"), filepath.Join(dir, "out/secret"), filepath.Join(dir, "canary-3")}}
	e := must(t, o)
	said, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"secret", "canary"} {
		if strings.Contains(string(said), word) {
			t.Errorf("it names %q: %s", word, said)
		}
	}
	if e.Files != 1 || e.Bytes != 1 || e.Excluded.Bytes != 2 {
		t.Errorf("got %d files of %d bytes in and %d bytes out, want 1, 1 and 2; a link to a denied mark is none", e.Files, e.Bytes, e.Excluded.Bytes)
	}
	for i, p := range e.Patterns[1:] {
		if p.Matches != 0 || p.Covered {
			t.Errorf("pattern %d: got %+v, want nothing", i+1, p)
		}
	}
}

// TestAFolderThatBecameALinkIsNotFollowed: between the listing and the opening anybody may put a link there.
func TestAFolderThatBecameALinkIsNotFollowed(t *testing.T) {
	dir := plant(t, map[string]int{"secret/canary": 1000, "a/b/x": 1})
	parent := filepath.Join(dir, "a")
	d, err := open(-100, parent, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := errorsOf(os.RemoveAll(filepath.Join(parent, "b")), os.Symlink(filepath.Join(dir, "secret"), filepath.Join(parent, "b"))); err != nil {
		t.Fatal(err)
	}
	if f, err := open(int(d.Fd()), "b", syscall.O_NOFOLLOW); err == nil {
		f.Close()
		t.Error("a link was followed")
	}
	var met []string
	if _, err := read(Order{Spec: wire.EstimateSpec{Paths: []string{filepath.Join(parent, "b/canary")}}, Denied: []string{filepath.Join(dir, "secret")}},
		Watch{}, func(p string) { met = append(met, p) }); err != nil || len(met) > 0 {
		t.Errorf("a path through a link into what is denied: got %v, %v, want nothing", met, err)
	}
}

func TestWhatCannotBeReadIsTold(t *testing.T) {
	var told []string
	gone := filepath.Join(t.TempDir(), "gone")
	e, err := Read(Order{Spec: wire.EstimateSpec{Paths: []string{gone}}}, Watch{Unreadable: func(p string, err error) {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("got %v, want that it is not there", err)
		}
		told = append(told, p)
	}})
	if err != nil || !slices.Equal(told, []string{gone}) || e.Files != 0 {
		t.Errorf("got %+v, %v, told of %v", e, err, told)
	}
}

func TestProgressComesAsTimeGoesAndAtTheEnd(t *testing.T) {
	dir := plant(t, map[string]int{"a/1": 1, "b/1": 1, "c/1": 1})
	var told []Told
	if _, err := Read(Order{Spec: wire.EstimateSpec{Paths: []string{dir}}}, Watch{Progress: func(p Told) { told = append(told, p) }}); err != nil {
		t.Fatal(err)
	}
	if n := len(told); n == 0 || told[n-1].Files != 3 || told[n-1].Bytes != 3 {
		t.Errorf("got %+v, want the figures of the end as the last", told)
	}
	k := &walk{estimate: &wire.Estimate{}, watch: Watch{Progress: func(p Told) { told = append(told, p) }}, now: func() time.Time { return time.Unix(1000, 0) }}
	told = nil
	for range 3 {
		k.progress(false, "/x")
	}
	if len(told) != 1 {
		t.Errorf("got %d words within half a second, want 1", len(told))
	}
}

func TestListsHaveTheirBounds(t *testing.T) {
	files := map[string]int{}
	for i := range 120 {
		files[fmt.Sprintf("in-%03d-%s/f", i, strings.Repeat("x", 200))] = i
		files[fmt.Sprintf("out-%03d-%s.tmp", i, strings.Repeat("x", 200))] = i
	}
	dir := plant(t, files)
	s := wire.EstimateSpec{Paths: []string{dir}}
	for i := range 1000 {
		s.Excludes = append(s.Excludes, fmt.Sprintf("*%s.tmp", strings.Repeat("?", i%20)))
	}
	e := must(t, Order{Spec: s})
	if len(e.Largest) > wire.MaxEstimateList || len(e.LargestExcluded) > wire.MaxEstimateList || len(e.Samples) > wire.MaxEstimateList {
		t.Errorf("got %d, %d and %d entries, want %d at most", len(e.Largest), len(e.LargestExcluded), len(e.Samples), wire.MaxEstimateList)
	}
	b, err := json.Marshal(e)
	if err != nil || len(b) > wire.MaxEstimate || !e.Shortened {
		t.Errorf("got %d bytes, %v, shortened %v, want %d at most and said so", len(b), err, e.Shortened, wire.MaxEstimate)
	}
	if e.Excluded.Matches != 120 || e.Patterns[999].Matches != 120 {
		t.Errorf("counts are not shortened: got %+v", e.Excluded)
	}
	if got := e.LargestExcluded; len(got) > 0 && got[0].Bytes != 119 {
		t.Errorf("the largest comes first: got %+v", got[0])
	}
}
