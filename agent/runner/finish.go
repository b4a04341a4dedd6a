package runner

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"restic-manager/agent/spool"
	"restic-manager/shared/wire"
)

// makeFinish makes the bytes of the result and writes them. Where the disk refuses they stay in memory: the
// same bytes are sent as long as this process lives.
func (j *job) makeFinish(a MakeFinish) {
	finish, err := j.finishBytes(a)
	if err != nil {
		// The result is there and cannot be put into words: say at least that.
		j.log.Error("a job's result cannot be made", "job", j.id, "error", err)
		finish, _ = json.Marshal(wire.FinishRequest{State: wire.StateFailed, EndedAt: j.now().UTC(), LogSHA256: sumOfNothing,
			Error: &wire.JobError{Code: wire.CodeInterrupted, Message: fmt.Sprintf("the result could not be read: %v; look at the log", err)}})
	}
	j.finish = finish
	if a.InMemory {
		return
	}
	err = j.folder.SaveFinish(finish)
	if spool.IsNoSpace(err) && rides(finish) {
		// Without the listing it fits into the space set aside for it.
		j.mu.Lock()
		j.riding = nil
		j.mu.Unlock()
		if plain, e := j.finishBytes(a); e == nil {
			j.finish = plain
			err = j.folder.SaveFinish(plain)
		}
	}
	if err != nil {
		j.log.Error("a job's result cannot be written; it is sent from memory", "job", j.id, "error", err)
	}
}

// sumOfNothing is the SHA-256 of an empty log.
var sumOfNothing = hex.EncodeToString(sha256.New().Sum(nil))

func (j *job) finishBytes(a MakeFinish) ([]byte, error) {
	switch a.From {
	case FromLedger:
		kept, ok, err := j.store.KeptFinish(j.id)
		if err != nil {
			j.log.Error("the kept result of a job cannot be read", "job", j.id, "error", err)
		}
		if ok {
			return kept, nil
		}
		return j.failed(wire.StateFailed, a.Error, false)
	case FromRefusal:
		return j.failed(wire.StateRejected, a.Error, false)
	case FromInterruption:
		return j.failed(wire.StateFailed, a.Error, true)
	}
	result, err := j.folder.Result()
	if err != nil {
		return nil, err
	}
	if result == nil {
		return nil, fmt.Errorf("result.json is gone")
	}
	f := result.Finish
	j.mu.Lock()
	f.Listing = j.riding
	if f.Summary != nil && j.snapshot != "" {
		summary := *f.Summary
		summary.SnapshotID = j.snapshot
		f.Summary = &summary
	}
	j.mu.Unlock()
	return json.Marshal(f)
}

// failed is the result of a job that left none. withLog counts what there is of its log.
func (j *job) failed(state wire.State, why *wire.JobError, withLog bool) ([]byte, error) {
	f := wire.FinishRequest{State: state, Error: why, EndedAt: j.now().UTC(), LogSHA256: sumOfNothing}
	if withLog {
		sum, err := j.folder.LogSum()
		if err != nil {
			return nil, err
		}
		f.LogLines, f.LogSHA256 = sum.Lines, sum.SHA256
		if claim, err := j.folder.ReadClaim(j.state.Nonce); err == nil && claim != nil && !claim.At.IsZero() && j.state.ran() {
			f.StartedAt = claim.At.UTC()
			f.ElapsedSeconds = max(0, f.EndedAt.Sub(f.StartedAt).Round(time.Millisecond).Seconds())
		}
	}
	return json.Marshal(f)
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
