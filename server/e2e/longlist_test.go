package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"sync"
	"testing"
	"time"

	"restic-manager/agent/client"
	"restic-manager/shared/wire"
)

const (
	longList = 100_000
	longPage = 1000
)

// lister is an agent of this test's own: it enrolls and sends lists, as the protocol has it.
type lister struct {
	t    *testing.T
	s    *server
	c    *client.Client
	host string
	job  wire.JobRef
}

func newLister(t *testing.T, s *server) *lister {
	t.Helper()
	const secret = wire.AgentTokenPrefix + "a-secret-of-this-test"
	c, err := client.New(client.Options{ServerURL: s.url, Token: secret})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	var token struct {
		Token string `json:"token"`
	}
	s.do("POST", "/api/enrollment-tokens", map[string]any{"name": "lister"}, &token)
	reply, err := c.Enroll(t.Context(), wire.EnrollRequest{Token: token.Token, AgentTokenSHA256: hexSum([]byte(secret)), Hostname: "h",
		OS: "linux", Arch: "amd64", AgentVersion: "1.0.0", ProtocolVersion: wire.ProtocolVersion})
	if err != nil {
		t.Fatal(err)
	}
	l := &lister{t: t, s: s, c: c, host: reply.HostID}
	_, err = c.Hello(t.Context(), wire.HelloRequest{BootID: "b", BootNumber: 1, Seq: 1, ProtocolVersion: wire.ProtocolVersion, AgentVersion: "1.0.0",
		ResticVersion: "0.18.0", Now: time.Now(), Facts: wire.Facts{Hostname: "h"}, Kinds: []wire.Kind{wire.KindSnapshots}})
	if err != nil {
		t.Fatal(err)
	}
	l.job = wire.JobRef{ID: s.order(l.host, wire.KindSnapshots, nil).ID, Lease: fmt.Sprintf("%032x", 1)}
	return l
}

func hexSum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// replace makes a generation the list. Two generations have no snapshot in common; each snapshot tells its own in
// its size.
func (l *lister) replace(generation int) error {
	reply, err := l.c.BeginListing(l.t.Context(), l.job)
	if err != nil {
		return err
	}
	sum, part, parts := sha256.New(), []byte{}, 0
	for n := range longList {
		part = fmt.Appendf(part, `{"id":"%032x%032x","time":"2026-01-01T00:00:00Z","tree":"","hostname":"h","paths":["/srv/data"],"summary":{"total_bytes_processed":%d}}`+"\n",
			n, generation, generation)
		if len(part) < reply.MaxPartBytes-1024 && n < longList-1 {
			continue
		}
		sum.Write(part)
		if err := l.c.PutListingPart(l.t.Context(), l.job, reply.Token, parts, client.PrepareBody(part)); err != nil {
			return err
		}
		part, parts = part[:0], parts+1
	}
	return l.c.CommitListing(l.t.Context(), l.job, reply.Token, wire.CommitRequest{
		Parts: parts, Count: longList, SHA256: hex.EncodeToString(sum.Sum(nil)), RepositoryID: hexSum([]byte("repository"))})
}

// page reads a page: it is full, of one generation, and never empty.
func (l *lister) page(cursor string) (page snapshotPage, generation int, err error) {
	if _, err = l.s.try("GET", fmt.Sprintf("/api/hosts/%s/snapshots?limit=%d&cursor=%s", l.host, longPage, cursor), nil, &page); err != nil {
		return page, 0, err
	}
	if len(page.Snapshots) != longPage || page.RefreshedAt == nil {
		return page, 0, fmt.Errorf("%d snapshots on a page of %v, want %d", len(page.Snapshots), page.RefreshedAt, longPage)
	}
	generation = int(page.Snapshots[0].SizeBytes)
	for _, one := range page.Snapshots {
		if int(one.SizeBytes) != generation {
			return page, generation, fmt.Errorf("snapshots of lists %d and %d on one page", generation, one.SizeBytes)
		}
	}
	return page, generation, nil
}

// walk reads all pages; from a page of another date on it begins again.
func (l *lister) walk() (generation int, err error) {
	count, cursor, date := 0, "", time.Time{}
	for {
		page, g, err := l.page(cursor)
		if err != nil {
			return g, err
		}
		if !page.RefreshedAt.Equal(date) {
			if cursor != "" {
				count, cursor, date = 0, "", time.Time{}
				continue
			}
			date, generation = *page.RefreshedAt, g
		}
		if g != generation {
			return g, fmt.Errorf("lists %d and %d under one date", generation, g)
		}
		count += len(page.Snapshots)
		if cursor = page.NextCursor; cursor == "" {
			break
		}
	}
	if count != longList {
		return generation, fmt.Errorf("%d snapshots on all pages, want %d", count, longList)
	}
	return generation, nil
}

// TestHundredThousandSnapshotsAreReplacedUnderReaders has readers look at a host's list a hundred times a second while
// another of the same length takes its place: no page is empty or of two lists, and neither is the host's count.
func TestHundredThousandSnapshotsAreReplacedUnderReaders(t *testing.T) {
	t.Parallel()
	for _, engine := range databases {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			l := newLister(t, newServer(t, engine))
			if err := l.replace(1); err != nil {
				t.Fatal(err)
			}
			looks := map[string]func() (int, error){
				"a page":    func() (int, error) { _, g, err := l.page(""); return g, err },
				"all pages": l.walk,
				"the count": func() (int, error) {
					h := hostView{}
					_, err := l.s.try("GET", "/api/hosts/"+l.host, nil, &h)
					if err == nil && h.SnapshotCount != longList {
						err = fmt.Errorf("a count of %d, want %d", h.SnapshotCount, longList)
					}
					return 0, err
				},
			}
			replaced := make(chan struct{})
			var readers sync.WaitGroup
			for what, look := range looks {
				readers.Go(func() {
					tick := time.NewTicker(10 * time.Millisecond)
					defer tick.Stop()
					count := 0
					for last := 0; ; count++ {
						g, err := look()
						if err != nil || g < last {
							t.Errorf("%s: got list %d after %d, %v", what, g, last, err)
							return
						}
						last = g
						select {
						case <-replaced:
							t.Logf("%s: %d looks", what, count)
							return
						case <-tick.C:
						}
					}
				})
			}
			err := l.replace(2)
			close(replaced)
			readers.Wait()
			if err != nil {
				t.Fatal(err)
			}
			if g, err := l.walk(); err != nil || g != 2 {
				t.Errorf("afterwards: got list %d, %v, want 2", g, err)
			}
		})
	}
}
