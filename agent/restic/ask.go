package restic

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"restic-manager/shared/wire"
)

const (
	// askGrace is how long a question, which holds no lock, may take to end after SIGINT.
	askGrace    = 10 * time.Second
	unlockLimit = 2 * time.Minute
	// maxConfig bounds the repository's configuration, maxSnapshot one entry of the list of snapshots,
	// maxLocks the list of locks.
	maxConfig   = 64 << 10
	maxSnapshot = 8 << 20
	maxLocks    = 100_000
)

// CatConfig asks for the repository's id: the preflight of every job but init. It takes no lock and gives
// up after wire.PreflightLimit. Errors are *Error with the code that the job is rejected with.
func (a Access) CatConfig(ctx context.Context) (id string, err error) {
	i, err := a.begin()
	if err != nil {
		return "", err
	}
	i.catConfig()
	err = i.ask(ctx, wire.PreflightLimit, askGrace, func(r io.Reader, _ func()) error {
		b, err := io.ReadAll(io.LimitReader(r, maxConfig))
		if err != nil {
			return err
		}
		var config struct {
			ID string `json:"id"`
		}
		if err := json.Unmarshal(b, &config); err != nil || !wire.IsSHA256(config.ID) {
			return coded(wire.CodePreflight, "restic's configuration of the repository has no id; see whether restic cat config works by hand")
		}
		id = config.ID
		return nil
	})
	if err != nil {
		return "", err
	}
	return id, nil
}

// ListSnapshots gives every snapshot of the repository to each, in restic's order, without a lock; it gives
// up after wire.ListingLimit. The list is complete, and may be committed, only when the error is nil:
// restic exited with 0 and its array was whole. An error of each ends the listing and is returned.
func (a Access) ListSnapshots(ctx context.Context, each func(wire.Snapshot) error) (count int, err error) {
	i, err := a.begin()
	if err != nil {
		return 0, err
	}
	i.listSnapshots()
	err = i.ask(ctx, wire.ListingLimit, askGrace, func(r io.Reader, stop func()) error {
		count, err = decodeSnapshots(r, func(s wire.Snapshot) error {
			err := each(s)
			if err != nil {
				stop()
			}
			return err
		})
		return err
	})
	return count, err
}

// decodeSnapshots reads restic's array one entry at a time: it may be one line of a hundred megabytes.
func decodeSnapshots(r io.Reader, each func(wire.Snapshot) error) (count int, err error) {
	broken := func(err error) (int, error) {
		return count, coded(wire.CodeRestic, "the list of snapshots is not whole after %d of them: %v", count, err)
	}
	budget := &budget{r: r, left: maxSnapshot}
	d := json.NewDecoder(budget)
	if t, err := d.Token(); err != nil || t != json.Delim('[') {
		return broken(errors.Join(err, errors.New("it does not begin as a list")))
	}
	for d.More() {
		var s wire.Snapshot
		if err := d.Decode(&s); err != nil {
			return broken(err)
		}
		if !wire.IsSHA256(s.ID) {
			return broken(fmt.Errorf("%.80q is not a snapshot's id", s.ID))
		}
		if err := each(s); err != nil {
			return count, err
		}
		count++
		budget.left = maxSnapshot
	}
	if _, err := d.Token(); err != nil {
		return broken(err)
	}
	if _, err := d.Token(); err != io.EOF {
		return broken(errors.New("something follows it"))
	}
	return count, nil
}

// budget fails when one entry is longer than any entry should be: the decoder holds an entry whole.
type budget struct {
	r    io.Reader
	left int
}

// Read counts what one entry takes.
func (b *budget) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("one entry is longer than %d bytes", maxSnapshot)
	}
	n, err := b.r.Read(p)
	b.left -= n
	return n, err
}

// ListLocks returns the ids of the repository's locks.
func (a Access) ListLocks(ctx context.Context) (ids []string, err error) {
	i, err := a.begin()
	if err != nil {
		return nil, err
	}
	i.listLocks()
	err = i.ask(ctx, wire.PreflightLimit, askGrace, func(r io.Reader, _ func()) error {
		lines := NewLineReader(r, 128)
		for {
			line, _, err := lines.Next()
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return err
			}
			if id := string(bytes.TrimSpace(line)); wire.IsSHA256(id) && len(ids) < maxLocks {
				ids = append(ids, id)
			}
		}
	})
	if err != nil {
		return nil, err
	}
	return ids, nil
}

// Unlock removes stale locks, as restic's plain unlock does, and returns how many are gone.
func (a Access) Unlock(ctx context.Context) (removed int, err error) {
	i, err := a.begin()
	if err != nil {
		return 0, err
	}
	i.Kind = wire.KindUnlock
	i.unlock()
	// 0.14 and 0.15 do not say how many.
	counts := a.Binary.Version.AtLeast(16, 0)
	var before []string
	if !counts {
		if before, err = a.ListLocks(ctx); err != nil {
			return 0, err
		}
	}
	p := NewParser(i)
	err = i.ask(ctx, unlockLimit, wire.CancelGrace, func(r io.Reader, _ func()) error {
		return feed(p, wire.StreamOut, r)
	})
	if err != nil || counts {
		return int(p.unlocked), err
	}
	after, err := a.ListLocks(ctx)
	return max(len(before)-len(after), 0), err
}

// feed gives every line to the parser until the stream's end.
func feed(p *Parser, s wire.Stream, r io.Reader) error {
	lines := NewLineReader(r, MaxLine)
	for {
		line, truncated, err := lines.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		p.Feed(s, line, truncated)
	}
}

// overLimit is the failure of a question that was not answered in time.
func overLimit(p *Parser, limit time.Duration) *Error {
	code, why, ok := classify([]string{p.retry})
	m := fmt.Sprintf("the repository did not answer within %s", limit)
	if p.retry != "" {
		m += ": " + reason(strings.TrimSpace(p.retry))
	}
	if !ok || why == "" {
		code = wire.CodeRepositoryUnreachable
	}
	return &Error{Code: code, Message: sentence(code, m)}
}
