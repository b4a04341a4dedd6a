package runner

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"restic-manager/agent/spool"
	"restic-manager/shared/wire"
)

// makeFinish makes the bytes of the result and writes them.
func (j *job) makeFinish(a MakeFinish) {
	j.mu.Lock()
	f := Finisher{Folder: j.folder, Store: j.store, Riding: j.riding, Snapshot: j.snapshot, Now: j.now().UTC(), Log: j.log}
	j.mu.Unlock()
	j.finish = f.Make(a, j.state)
}

// Finisher makes the bytes of one job's result.
type Finisher struct {
	Folder *spool.Folder
	Store  *spool.Store
	// Riding is the listing that goes with the result; nil: none.
	Riding *wire.Listing
	// Snapshot is the new snapshot's whole id, where a listing had to tell it; empty: it had not.
	Snapshot string
	Now      time.Time // by this host's clock
	Log      *slog.Logger
}

// Make makes the bytes and writes them, unless a says that there is no folder. Where the disk refuses they stay
// in memory: the same bytes are sent as long as this process lives.
func (f Finisher) Make(a MakeFinish, s State) []byte {
	finish, err := f.bytes(a, s)
	if err != nil {
		// The result is there and cannot be put into words: say at least that.
		f.Log.Error("a job's result cannot be made", "job", s.ID, "error", err)
		finish, _ = json.Marshal(wire.FinishRequest{State: wire.StateFailed, EndedAt: f.Now, LogSHA256: sumOfNothing,
			Error: &wire.JobError{Code: wire.CodeInterrupted, Message: fmt.Sprintf("the result could not be read: %v; look at the log", err)}})
	}
	if a.InMemory {
		return finish
	}
	err = f.Folder.SaveFinish(finish)
	if spool.IsNoSpace(err) && rides(finish) {
		// Without the listing it fits into the space set aside for it.
		f.Riding = nil
		if plain, e := f.bytes(a, s); e == nil {
			finish = plain
			err = f.Folder.SaveFinish(plain)
		}
	}
	if err != nil {
		f.Log.Error("a job's result cannot be written; it is sent from memory", "job", s.ID, "error", err)
	}
	return finish
}

// sumOfNothing is the SHA-256 of an empty log.
var sumOfNothing = hex.EncodeToString(sha256.New().Sum(nil))

func (f Finisher) bytes(a MakeFinish, s State) ([]byte, error) {
	switch a.From {
	case FromLedger:
		kept, ok, err := f.Store.KeptFinish(s.ID)
		if err != nil {
			f.Log.Error("the kept result of a job cannot be read", "job", s.ID, "error", err)
		}
		if ok {
			return kept, nil
		}
		return f.failed(wire.StateFailed, a.Error, s, false)
	case FromRefusal:
		return f.failed(wire.StateRejected, a.Error, s, false)
	case FromInterruption:
		return f.failed(wire.StateFailed, a.Error, s, true)
	}
	result, err := f.Folder.Result()
	if err != nil {
		return nil, err
	}
	if result == nil {
		return nil, fmt.Errorf("result.json is gone")
	}
	r := result.Finish
	r.Listing = f.Riding
	if r.Summary != nil && f.Snapshot != "" {
		summary := *r.Summary
		summary.SnapshotID = f.Snapshot
		r.Summary = &summary
	}
	return json.Marshal(r)
}

// failed is the result of a job that left none. withLog counts what there is of its log.
func (f Finisher) failed(state wire.State, why *wire.JobError, s State, withLog bool) ([]byte, error) {
	r := wire.FinishRequest{State: state, Error: why, EndedAt: f.Now, LogSHA256: sumOfNothing}
	if withLog {
		sum, err := f.Folder.LogSum()
		if err != nil {
			return nil, err
		}
		r.LogLines, r.LogSHA256 = sum.Lines, sum.SHA256
		if claim, err := f.Folder.ReadClaim(s.Nonce); err == nil && claim != nil && !claim.At.IsZero() && s.ran() {
			r.StartedAt = claim.At.UTC()
			r.ElapsedSeconds = max(0, r.EndedAt.Sub(r.StartedAt).Round(time.Millisecond).Seconds())
		}
	}
	return json.Marshal(r)
}

// rides reports whether the bytes of a finish hold a listing.
func rides(finish []byte) bool {
	var f struct {
		Listing *struct {
			Token string `json:"token"`
		} `json:"listing"`
	}
	return json.Unmarshal(finish, &f) == nil && f.Listing != nil
}
