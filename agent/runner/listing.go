package runner

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"restic-manager/agent/client"
	"restic-manager/agent/restic"
	"restic-manager/shared/wire"
)

// listingTries is how often a listing that another one overtook is made anew.
const listingTries = 5

// listing is one listing of a job's repository. It rides on the finish, or follows it: who decides first.
type listing struct {
	*job
	// short is what restic 0.14 said of the new snapshot's id; empty: all, or there is none.
	short string

	mu      sync.Mutex // guards the fields below
	decided bool
}

// decide is true for the first to ask.
func (l *listing) decide() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	first := !l.decided
	l.decided = true
	return first
}

// list lists the repository's snapshots. Its failure never fails the job. mayRide lets the listing ride on
// the finish when it is there soon enough and fits.
func (j *job) list(mayRide bool) {
	l := &listing{job: j, decided: !mayRide}
	if mayRide {
		if r, err := j.folder.Result(); err == nil && r != nil {
			l.short = r.ShortSnapshotID
		}
	}
	// The finish is made once: before the list is there, or has failed, it could not name its snapshot.
	if l.short == "" {
		l.hurry()
	}
	j.helpers.Go(l.run)
}

// hurry lets the finish go without the listing when that is not there soon.
func (l *listing) hurry() {
	timer := time.AfterFunc(l.t.Ride, l.follow)
	context.AfterFunc(l.ctx, func() { timer.Stop() })
}

// follow lets the finish go without the listing.
func (l *listing) follow() {
	if l.decide() {
		l.report(Listed{Rides: false})
	}
}

func (l *listing) run() {
	err := l.attempt()
	if l.ctx.Err() != nil {
		return
	}
	if err != nil {
		l.log.Warn("the repository's snapshots could not be listed; the job's result stands", "job", l.id, "error", err)
	}
	l.follow()
	l.report(ListingSettled{})
}

// attempt lists, anew when another list overtook this one.
func (l *listing) attempt() error {
	access, _, err := l.access(l.ctx)
	if err != nil {
		return err
	}
	for range listingTries {
		err = l.once(access)
		if client.Code(err) != wire.ProblemListingSuperseded {
			return err
		}
	}
	return fmt.Errorf("another list of the repository overtook this one %d times: %w", listingTries, err)
}

// once draws the token, lists, and hands the list over.
func (l *listing) once(access restic.Access) error {
	var token wire.ListingReply
	err := l.until(l.ctx, func(ctx context.Context) (err error) {
		token, err = l.client.BeginListing(ctx, l.ref())
		return err
	})
	if err != nil {
		return err
	}
	spill, err := newSpill(l.folder.ScratchPath("listing"), token.MaxPartBytes)
	if err != nil {
		return err
	}
	defer spill.remove()
	id, err := l.collect(access, spill)
	if err != nil {
		l.tellFailure(token.Token, err)
		return err
	}
	if l.ride(token.Token, id, spill) {
		return nil
	}
	l.follow()
	return l.upload(token.Token, id, spill)
}

// collect lists into the spill and learns whose list it is.
func (l *listing) collect(access restic.Access, s *spill) (id string, err error) {
	named := named{short: l.short}
	if _, err := access.ListSnapshots(l.ctx, func(snapshot wire.Snapshot) error {
		named.see(snapshot.ID)
		return s.add(snapshot)
	}); err != nil {
		return "", err
	}
	if l.short != "" {
		l.job.mu.Lock()
		l.snapshot = named.id()
		l.job.mu.Unlock()
		l.hurry()
	}
	if id, err = l.ids.learn(l.ctx, access, l.now()); err != nil {
		return "", err
	}
	return id, s.end()
}

// named finds the one snapshot whose id begins with the digits that restic 0.14 told.
type named struct {
	short string // empty: none is sought
	found []string
}

func (n *named) see(id string) {
	if n.short != "" && len(n.found) < 2 && strings.HasPrefix(id, n.short) {
		n.found = append(n.found, id)
	}
}

// id is empty where none was found, and where two were: which of them is new is not guessed.
func (n *named) id() string {
	if len(n.found) != 1 {
		return ""
	}
	return n.found[0]
}

// tellFailure lets the server show that the list could not be refreshed; the old one stays.
func (l *listing) tellFailure(token string, why error) {
	ctx, cancel := context.WithTimeout(l.ctx, time.Minute)
	defer cancel()
	_ = l.until(ctx, func(ctx context.Context) error {
		return l.client.CommitListing(ctx, l.ref(), token, wire.CommitRequest{Error: why.Error()})
	})
}

// finishRoom is kept free of the listing in a finish.
const finishRoom = 64 << 10

// ride hands the listing to the finish if that still waits for it and both fit.
func (l *listing) ride(token, id string, s *spill) bool {
	result, err := l.folder.Result()
	if err != nil || result == nil {
		return false
	}
	plain, err := json.Marshal(result.Finish)
	// In a finish the lines are values in an array: as many bytes, newlines for commas.
	if err != nil || int64(len(plain))+s.size+finishRoom > wire.MaxBody {
		return false
	}
	snapshots, err := s.all()
	if err != nil || !l.decide() {
		return false
	}
	l.job.mu.Lock()
	l.riding = &wire.Listing{Token: token, RepositoryID: id, Snapshots: snapshots}
	l.job.mu.Unlock()
	l.report(Listed{Rides: true})
	return true
}

// upload sends the parts and commits them.
func (l *listing) upload(token, id string, s *spill) error {
	for n := range s.parts {
		part, err := s.part(n)
		if err != nil {
			return err
		}
		body := client.PrepareBody(part)
		if err := l.until(l.ctx, func(ctx context.Context) error {
			return l.client.PutListingPart(ctx, l.ref(), token, n, body)
		}); err != nil {
			return err
		}
	}
	return l.until(l.ctx, func(ctx context.Context) error {
		return l.client.CommitListing(ctx, l.ref(), token, wire.CommitRequest{Parts: len(s.parts), Count: s.count, SHA256: s.sum(), RepositoryID: id})
	})
}

// spill holds a list on disk, cut into parts; in memory there is one snapshot at a time.
type spill struct {
	file  *os.File
	w     *bufio.Writer
	hash  hash.Hash
	limit int64
	size  int64
	count int
	// parts are the offsets at which they begin.
	parts []int64
}

// smallestPart and largestPart bound what the server may ask for, in bytes.
const (
	smallestPart = 16 << 10
	largestPart  = wire.MaxBody
)

func newSpill(path string, limit int) (*spill, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make room for the listing: %w", err)
	}
	if limit <= 0 {
		limit = largestPart
	}
	return &spill{file: f, w: bufio.NewWriter(f), hash: sha256.New(), limit: int64(min(max(limit, smallestPart), largestPart))}, nil
}

func (s *spill) remove() {
	s.file.Close()
	os.Remove(s.file.Name())
}

// add appends one snapshot as a line.
func (s *spill) add(snapshot wire.Snapshot) error {
	line, err := json.Marshal(snapshot)
	if err != nil {
		return fmt.Errorf("encode a snapshot: %w", err)
	}
	line = append(line, '\n')
	n := int64(len(line))
	if n > s.limit {
		return fmt.Errorf("snapshot %.8s takes %d bytes; %d is the limit of a part", snapshot.ID, n, s.limit)
	}
	if len(s.parts) == 0 || s.size+n-s.parts[len(s.parts)-1] > s.limit {
		s.parts = append(s.parts, s.size)
	}
	s.hash.Write(line)
	if _, err := s.w.Write(line); err != nil {
		return fmt.Errorf("write the listing: %w", err)
	}
	s.size += n
	s.count++
	return nil
}

func (s *spill) end() error {
	if err := s.w.Flush(); err != nil {
		return fmt.Errorf("write the listing: %w", err)
	}
	return nil
}

func (s *spill) sum() string { return hex.EncodeToString(s.hash.Sum(nil)) }

// part reads one part.
func (s *spill) part(n int) ([]byte, error) {
	end := s.size
	if n+1 < len(s.parts) {
		end = s.parts[n+1]
	}
	b := make([]byte, end-s.parts[n])
	if _, err := s.file.ReadAt(b, s.parts[n]); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read the listing: %w", err)
	}
	return b, nil
}

// all reads the whole list, which fits into one finish.
func (s *spill) all() ([]json.RawMessage, error) {
	b := make([]byte, s.size)
	if _, err := s.file.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read the listing: %w", err)
	}
	out := make([]json.RawMessage, 0, s.count)
	for line := range bytes.Lines(b) {
		out = append(out, bytes.TrimSuffix(line, []byte("\n")))
	}
	return out, nil
}
