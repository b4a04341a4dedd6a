package supervise

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"restic-manager/agent/hook"
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
	// Nice is as nice(1) at least, IOClass the I/O class at least, of restic and what it starts.
	Nice    int          `json:"nice,omitempty"`
	IOClass wire.IOClass `json:"io_class,omitempty"`
	// Log bounds the log; zero values are the defaults.
	Log spool.LogLimits `json:"log"`
	// Grace is how long restic has from SIGINT to SIGKILL; 0: wire.CancelGrace.
	Grace time.Duration `json:"grace,omitempty"`
	// PipeWait is how long what restic started may hold its pipes after its exit, before the group is
	// ended; 0: 5 s.
	PipeWait time.Duration `json:"pipe_wait,omitempty"`
	// UnlockLimit is how long the unlock may take; 0: 60 s.
	UnlockLimit time.Duration `json:"unlock_limit,omitempty"`
	// Hooks are the scripts around restic.
	Hooks Hooks `json:"hooks,omitzero"`
}

// Hooks are what a job runs of the host's own scripts: names, of files in Dir.
type Hooks struct {
	Dir string `json:"dir"`
	// UID is the agent's user: files of anybody else but root are not run.
	UID    int      `json:"uid"`
	Before []string `json:"before,omitempty"`
	After  []string `json:"after,omitempty"`
	// Stdin writes what restic backs up; empty: restic reads files.
	Stdin string `json:"stdin,omitempty"`
	// Continue: a hook before that fails does not keep restic from running.
	Continue bool `json:"continue,omitempty"`
	// Limit is each hook's, StdinLimit that of Stdin; 0: none but the job's own.
	Limit      time.Duration `json:"limit,omitempty"`
	StdinLimit time.Duration `json:"stdin_limit,omitempty"`
	// Told is what they are told; stage and result are filled in.
	Told hook.Told `json:"told"`
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
	if o.Run.Stdin != (o.Hooks.Stdin != "") {
		return Order{}, errors.New("read the order: it says in one place only that restic reads what a hook writes")
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
