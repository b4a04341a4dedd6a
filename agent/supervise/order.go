package supervise

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"restic-manager/agent/restic"
	"restic-manager/agent/spool"
	"restic-manager/shared/wire"
)

// Order is all that a supervisor needs. It holds secrets and travels through a pipe only.
type Order struct {
	// StateDir is the agent's state folder, JobID and Nonce say which job and which start of it.
	StateDir string `json:"state_dir"`
	JobID    string `json:"job_id"`
	Nonce    string `json:"nonce"`
	// Run is the job. Its TimeLimit is kept by the monotonic clock; 0: none.
	Run restic.Invocation `json:"run"`
	// Unlock, where not nil, allows a plain unlock after restic was killed.
	Unlock *restic.Access `json:"unlock,omitempty"`
	// Proof, where not nil, is what must hold once restic has ended well, or the job has failed.
	Proof *restic.Proof `json:"proof,omitempty"`
	// Existing, where not nil, is opened after an init that found a repository: one that it opens is good.
	Existing *restic.Access `json:"existing,omitempty"`
	// Log bounds the log; zero values are the defaults.
	Log spool.LogLimits `json:"log"`
	// Grace is how long restic has from SIGINT to SIGKILL; 0: wire.CancelGrace.
	Grace time.Duration `json:"grace,omitempty"`
	// PipeWait is how long what restic started may hold its pipes after its exit, before the group is
	// ended; 0: 5 s.
	PipeWait time.Duration `json:"pipe_wait,omitempty"`
	// UnlockLimit is how long the unlock may take; 0: 60 s.
	UnlockLimit time.Duration `json:"unlock_limit,omitempty"`
}

// maxOrder bounds what is read of an order: two specs of wire.MaxBody with room for their encoding.
const maxOrder = 16 << 20

func readOrder(r io.Reader) (Order, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxOrder+1))
	if err != nil {
		return Order{}, fmt.Errorf("read the order: %w", err)
	}
	if len(b) > maxOrder {
		return Order{}, errors.New("read the order: it is too large")
	}
	var o Order
	// An agent that died while it wrote leaves half an order, which does not decode.
	if err := json.Unmarshal(b, &o); err != nil {
		return Order{}, fmt.Errorf("read the order: %w", err)
	}
	if !wire.IsUUID(o.JobID) || !wire.IsRandomHex(o.Nonce) || o.StateDir == "" || o.Run.Path == "" {
		return Order{}, errors.New("read the order: it is not complete")
	}
	return o.orDefault(), nil
}

func (o Order) orDefault() Order {
	if o.Grace <= 0 {
		o.Grace = wire.CancelGrace
	}
	if o.PipeWait <= 0 {
		o.PipeWait = 5 * time.Second
	}
	if o.UnlockLimit <= 0 {
		o.UnlockLimit = time.Minute
	}
	return o
}
