package api

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"restic-manager/server/fault"
	"restic-manager/shared/wire"
)

func gzipOf(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// zstdOf is one frame that tells its size.
func zstdOf(t testing.TB, b []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return w.EncodeAll(b, nil)
}

// zstdStreamOf is a frame that does not tell its size.
func zstdStreamOf(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := zstd.NewWriter(&out)
	if err != nil {
		t.Fatal(err)
	}
	for part := range bytes.SplitAfterSeq(b, []byte("\n")) {
		if _, err := w.Write(part); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func readTestBody(s *Server, raw []byte, encoding string, limit int64) (*body, error) {
	r := httptest.NewRequest("POST", "/", bytes.NewReader(raw))
	if encoding != "" {
		r.Header.Set("Content-Encoding", encoding)
	}
	return s.readBody(&exchange{ResponseWriter: httptest.NewRecorder(), server: s}, r, limit, true)
}

func testServer(t testing.TB) *Server {
	t.Helper()
	s, err := build(Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

func TestReadBodyGivesWhatWasSentAndWhatItSays(t *testing.T) {
	s := testServer(t)
	for _, size := range []int{0, 1, 100, tinyBuffer - 1, tinyBuffer, tinyBuffer + 1, smallBuffer - 1, smallBuffer, smallBuffer + 1, 500_000, wire.MaxBody - 1, wire.MaxBody} {
		plain := bytes.Repeat([]byte("a line of a log\n"), size/16+1)[:size]
		for name, c := range map[string]struct {
			encoding string
			raw      []byte
		}{
			"plain": {"", plain}, "identity": {"identity", plain}, "gzip": {"gzip", gzipOf(t, plain)}, "zstd": {"zstd", zstdOf(t, plain)},
			"zstd stream": {"zstd", zstdStreamOf(t, plain)}, "two gzip members": {"gzip", append(gzipOf(t, plain[:size/2]), gzipOf(t, plain[size/2:])...)},
			"two zstd frames": {"zstd", append(zstdOf(t, plain[:size/2]), zstdOf(t, plain[size/2:])...)},
		} {
			b, err := readTestBody(s, c.raw, c.encoding, wire.MaxBody)
			if err != nil {
				t.Errorf("%s, %d bytes: %v", name, size, err)
				continue
			}
			if !bytes.Equal(b.plain, plain) || !bytes.Equal(b.raw, c.raw) {
				t.Errorf("%s, %d bytes: the bytes are not those that were sent", name, size)
			}
			b.release()
		}
	}
}

func TestReadBodyLimitHoldsAfterInflation(t *testing.T) {
	s := testServer(t)
	for _, size := range []int{wire.MaxBody + 1, wire.MaxBody + 2, 2 * wire.MaxBody, 4 << 20} {
		plain := make([]byte, size)
		for name, c := range map[string]struct {
			encoding string
			raw      []byte
		}{
			"plain": {"", plain}, "gzip": {"gzip", gzipOf(t, plain)}, "zstd": {"zstd", zstdOf(t, plain)}, "zstd stream": {"zstd", zstdStreamOf(t, plain)},
			"many zstd frames": {"zstd", bytes.Repeat(zstdOf(t, plain[:size/8]), 9)}, "many zstd streams": {"zstd", bytes.Repeat(zstdStreamOf(t, plain[:size/8]), 9)}, "many gzip members": {"gzip", bytes.Repeat(gzipOf(t, plain[:size/8]), 9)},
		} {
			_, err := readTestBody(s, c.raw, c.encoding, wire.MaxBody)
			if f := fault.As(err); f == nil || f.Kind != fault.TooLarge {
				t.Errorf("%s, %d bytes: got %v, want too large", name, size, err)
			}
		}
	}
}

// A bomb of 256 MiB costs what a body of the limit costs, not what it says.
func TestReadBodyRefusesBombsCheaply(t *testing.T) {
	s := testServer(t)
	part := make([]byte, 1<<20)
	var zipped, streamed bytes.Buffer
	g := gzip.NewWriter(&zipped)
	z, err := zstd.NewWriter(&streamed, zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		t.Fatal(err)
	}
	for range 256 {
		g.Write(part)
		z.Write(part)
	}
	g.Close()
	z.Close()
	if zipped.Len() > wire.MaxBody || streamed.Len() > wire.MaxBody {
		t.Fatalf("the bombs are %d and %d bytes: not bombs", zipped.Len(), streamed.Len())
	}
	for encoding, bomb := range map[string][]byte{"gzip": zipped.Bytes(), "zstd": streamed.Bytes()} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range 20 {
			if _, err := readTestBody(s, bomb, encoding, wire.MaxBody); fault.As(err) == nil || fault.As(err).Kind != fault.TooLarge {
				t.Fatalf("%s: got %v, want too large", encoding, err)
			}
		}
		runtime.ReadMemStats(&after)
		if got := (after.TotalAlloc - before.TotalAlloc) / 20; got > 8<<20 {
			t.Errorf("%s: a bomb cost %d KiB of memory, want less than 8 MiB", encoding, got>>10)
		}
	}
}

func TestReadBodyRefuses(t *testing.T) {
	s := testServer(t)
	good := gzipOf(t, []byte("text"))
	for name, c := range map[string]struct {
		encoding string
		raw      []byte
		want     int
	}{
		"unknown encoding":    {"br", []byte("x"), 415},
		"two encodings":       {"gzip, zstd", good, 415},
		"not gzip":            {"gzip", []byte("text"), 400},
		"cut gzip":            {"gzip", good[:len(good)-3], 400},
		"gzip with a tail":    {"gzip", append(bytes.Clone(good), "tail"...), 400},
		"not zstd":            {"zstd", []byte("text"), 400},
		"cut zstd":            {"zstd", zstdOf(t, bytes.Repeat([]byte("text"), 100))[:20], 400},
		"gzip said to be std": {"zstd", good, 400},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := readTestBody(s, c.raw, c.encoding, wire.MaxBody)
			if err == nil {
				t.Fatal("it was taken")
			}
			if p, _ := s.problem(&exchange{}, err); p.Status != c.want {
				t.Errorf("got %d, want %d (%v)", p.Status, c.want, err)
			}
		})
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("connection reset by peer") }

func TestReadBodyThatBreaksOffIsTheCallersError(t *testing.T) {
	s := testServer(t)
	r := httptest.NewRequest("POST", "/", io.MultiReader(strings.NewReader(`{"a":`), brokenReader{}))
	_, err := s.readBody(&exchange{ResponseWriter: httptest.NewRecorder()}, r, 1000, false)
	if p, _ := s.problem(&exchange{}, err); p.Status != http.StatusBadRequest {
		t.Errorf("got %d, want 400 (%v)", p.Status, err)
	}
}

// Who holds a host's credential can have the server wait for so many bodies, and the others are not kept waiting.
func TestBodiesOfOneHostAreWaitedForSixteenAtATime(t *testing.T) {
	each(t, nil, func(t *testing.T, r *rig) {
		w := newWorld(r)
		hostile, other := w.host(), w.host()
		j := hostile.running(w.admin)
		var ends []func() error
		begin := func() <-chan int {
			from, to := io.Pipe()
			status := make(chan int, 1)
			ends = append(ends, func() error { return to.CloseWithError(nil) })
			go func() {
				q, err := http.NewRequest("POST", r.url+j.request("progress", "").path, from)
				if err != nil {
					panic(err) // a constant
				}
				q.Header = http.Header(j.as)
				a, err := r.client.Do(q)
				if err != nil {
					status <- 0
					return
				}
				a.Body.Close()
				status <- a.StatusCode
			}()
			if _, err := to.Write([]byte(`{"seq":1}`)); err != nil {
				t.Fatal(err)
			}
			return status
		}
		var all []<-chan int
		for range maxBodies {
			all = append(all, begin())
		}
		r.waitBodies(hostile.id, maxBodies)
		if got := r.call(j.request("progress", `{"seq":2}`)); got.status != 429 || got.header.Get("Retry-After") == "" {
			t.Errorf("one more: got %d %s, want 429", got.status, got.body)
		}
		other.hello()
		for _, end := range ends {
			if err := end(); err != nil {
				t.Fatal(err)
			}
		}
		for _, status := range all {
			if got := <-status; got != 200 {
				t.Errorf("a body that was waited for: got %d, want 200", got)
			}
		}
		r.waitBodies(hostile.id, 0)
		r.must(j.request("progress", `{"seq":3}`), nil)
	})
}

// waitBodies waits until the host has so many requests with a body under way.
func (r *rig) waitBodies(host string, want int) {
	r.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for {
		r.bodies.mu.Lock()
		got := r.bodies.inside[host]
		r.bodies.mu.Unlock()
		if got == want {
			return
		}
		select {
		case <-deadline:
			r.t.Fatalf("%d bodies are waited for, want %d", got, want)
		case <-tick.C:
		}
	}
}

func TestASmallBodyHasLessTimeThanALargeOne(t *testing.T) {
	for limit, want := range map[int64]time.Duration{64 << 10: 8200 * time.Millisecond, wire.MaxBody: 56200 * time.Millisecond} {
		if got := bodyTimeout(limit); got != want {
			t.Errorf("%d bytes: got %s, want %s", limit, got, want)
		}
	}
}
