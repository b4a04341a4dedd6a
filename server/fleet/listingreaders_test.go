package fleet

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"restic-manager/shared/wire"
)

// longList is the length of the lists that readers look at while one replaces the other. The end-to-end tests have
// 100,000 and the built programs: the race detector makes SQLite thirty times slower.
const longList = 2_000

// generation gives the lines of one list, part by part. Two generations have no snapshot in common; each snapshot
// tells its own in its size.
func generation(g int) (parts [][]byte, sum string) {
	var part, all []byte
	for n := range longList {
		part = fmt.Appendf(part, `{"id":"%032x%032x","time":"2026-01-01T00:00:00Z","tree":"","hostname":"h","summary":{"total_bytes_processed":%d}}`+"\n", n, g, g)
		if len(part) > wire.MaxBody-1024 || n == longList-1 {
			parts, all, part = append(parts, part), append(all, part...), nil
		}
	}
	return parts, shaHex(all)
}

// replaceBy makes a generation the list.
func (x *fixture) replaceBy(host, job string, g int) {
	x.clock.Advance(time.Hour) // the list's date tells its generation
	token := x.draw(host, job)
	parts, sum := generation(g)
	for n, part := range parts {
		if err := x.PutListingPart(x.t.Context(), host, token, n, part); err != nil {
			x.t.Error(err)
		}
	}
	r := wire.CommitRequest{Parts: len(parts), Count: longList, SHA256: sum, RepositoryID: repo(5)}
	if err := x.CommitListing(x.t.Context(), host, token, r); err != nil {
		x.t.Error(err)
	}
}

// listReader looks at the lists of a host, whose generation their dates tell.
type listReader struct {
	*fixture
	host  string
	start time.Time // generation 0
}

func (r listReader) generationAt(at *time.Time) int { return int(at.Sub(r.start) / time.Hour) }

// page reads one page: it is full or the last one, and of one generation.
func (r listReader) page(cursor string) (page SnapshotPage, g int, err error) {
	page, err = r.Snapshots(r.t.Context(), r.host, SnapshotFilter{}, Page{Limit: maxPage, Cursor: cursor})
	if err != nil {
		return page, 0, err
	}
	if page.RefreshedAt == nil || len(page.Snapshots) == 0 {
		return page, 0, fmt.Errorf("an empty list of %v", page.RefreshedAt)
	}
	g = r.generationAt(page.RefreshedAt)
	if len(page.Snapshots) != maxPage {
		return page, g, fmt.Errorf("%d snapshots on a page, want %d", len(page.Snapshots), maxPage)
	}
	for _, s := range page.Snapshots {
		if s.SizeBytes != int64(g) {
			return page, g, fmt.Errorf("a snapshot of list %d in list %d", s.SizeBytes, g)
		}
	}
	return page, g, nil
}

// walk reads all pages. When the list was replaced on the way it begins again.
func (r listReader) walk() (g int, err error) {
	for {
		count, first, cursor := 0, 0, ""
		for {
			var page SnapshotPage
			if page, g, err = r.page(cursor); err != nil {
				return g, err
			}
			if cursor == "" {
				first = g
			}
			count += len(page.Snapshots)
			if cursor = page.NextCursor; cursor == "" || g != first {
				break
			}
		}
		if g == first && count != longList {
			return g, fmt.Errorf("%d snapshots on all pages of list %d, want %d", count, g, longList)
		}
		if g == first {
			return g, nil
		}
	}
}

// count reads the host's row: its count and date are of one list.
func (r listReader) count() (g int, err error) {
	h, err := r.HostByID(r.t.Context(), r.host)
	if err == nil && h.SnapshotCount != longList {
		err = fmt.Errorf("a count of %d, want %d", h.SnapshotCount, longList)
	}
	if err != nil {
		return 0, err
	}
	return r.generationAt(h.SnapshotsRefreshedAt), nil
}

// TestReadersNeverSeeAnEmptyOrMixedList replaces a list by one that has nothing in common with it, while
// readers look at it a hundred times a second: at a page, at all pages, at the host's count.
func TestReadersNeverSeeAnEmptyOrMixedList(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		host := x.host("a")
		job := x.queue(host, wire.KindSnapshots)
		r := listReader{fixture: x, host: host, start: x.clock.Now().Add(time.Hour)}
		x.replaceBy(host, job, 0)
		looks := map[string]func() (int, error){
			"a page":    func() (int, error) { _, g, err := r.page(""); return g, err },
			"all pages": r.walk,
			"the count": r.count,
		}
		done := make(chan struct{})
		var readers sync.WaitGroup
		for what, look := range looks {
			if g, err := look(); err != nil || g != 0 {
				t.Fatalf("%s before: got list %d, %v, want 0", what, g, err)
			}
			readers.Go(func() {
				tick := time.NewTicker(10 * time.Millisecond)
				defer tick.Stop()
				for last := 0; ; {
					g, err := look()
					if err != nil || g < last {
						t.Errorf("%s: got list %d after %d, %v", what, g, last, err)
						return
					}
					last = g
					select {
					case <-done:
						return
					case <-tick.C:
					}
				}
			})
		}
		x.replaceBy(host, job, 1)
		close(done)
		readers.Wait()
		for what, look := range looks {
			if g, err := look(); err != nil || g != 1 {
				t.Errorf("%s after: got list %d, %v, want 1", what, g, err)
			}
		}
	})
}
