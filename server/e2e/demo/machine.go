package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"restic-manager/agent/client"
	"restic-manager/server/e2e/demo/madeup"
	"restic-manager/shared/wire"
)

// machine speaks as one host's agent.
type machine struct {
	l         *living
	host      madeup.Host
	token     string
	script    int // place among the actors; -1: none
	neighbour *machine

	mu   sync.Mutex // guards all below
	seq  int64
	mark string
	jobs map[string]*work
}

func newMachine(l *living, h madeup.Host, token string) *machine {
	return &machine{l: l, host: h, token: token, script: -1, jobs: map[string]*work{}, seq: time.Now().UnixMilli()}
}

func randomHex() string {
	b := make([]byte, 16)
	rand.Read(b)
	return hex.EncodeToString(b)
}

func (m *machine) dial() (*client.Client, error) {
	return client.New(client.Options{ServerURL: m.l.o.server, Token: m.token, Version: m.host.Facts.AgentVersion})
}

// listen polls as an agent does, until ctx ends.
func (m *machine) listen(ctx context.Context, c *client.Client) {
	defer c.Close()
	for ctx.Err() == nil {
		if err := m.poll(ctx, c, 50*time.Second); err != nil && ctx.Err() == nil {
			m.l.tell("poll", err)
			pause(ctx, client.Delay(1, 5*time.Second, err))
		}
	}
}

// touch polls once and does not wait. Work that it brings gets a connection of its own.
func (m *machine) touch(ctx context.Context) {
	c, err := m.dial()
	if err != nil {
		m.l.tell("touch", err)
		return
	}
	defer c.Close()
	if err := m.poll(ctx, c, 0); err != nil && ctx.Err() == nil {
		m.l.tell("touch", err)
	}
}

func (m *machine) poll(ctx context.Context, c *client.Client, wait time.Duration) error {
	reply, err := c.Poll(ctx, m.query(wait))
	if client.Code(err) == wire.ProblemHelloRequired {
		return m.hello(ctx, c)
	}
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mark = reply.Mark
	for _, id := range reply.Cancel {
		if w := m.jobs[id]; w != nil {
			w.cancel()
		}
	}
	if o := reply.Offer; o != nil && m.jobs[o.JobID] == nil {
		w := newWork(m, *o)
		m.jobs[o.JobID] = w
		go w.run(ctx)
	}
	return nil
}

// query names every job that the machine has, which renews their leases.
func (m *machine) query(wait time.Duration) wire.PollQuery {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.seq++
	q := wire.PollQuery{Wait: wait, Boot: m.host.BootID, Seq: m.seq, Mark: m.mark, FreeLong: 1, FreeShort: 1}
	for _, id := range slices.Sorted(maps.Keys(m.jobs)) {
		w := m.jobs[id]
		q.Jobs = append(q.Jobs, wire.JobRef{ID: id, Lease: w.lease})
		if info, _ := w.offer.Kind.Info(); info.Lane == wire.LaneLong {
			q.FreeLong = 0
		} else {
			q.FreeShort = 0
		}
	}
	return q
}

// hello introduces a new process of the agent, as after its host was told to forget the old one.
func (m *machine) hello(ctx context.Context, c *client.Client) error {
	m.mu.Lock()
	m.seq++
	m.host.BootID, m.host.BootNumber = randomHex(), m.host.BootNumber+1
	r := wire.HelloRequest{BootID: m.host.BootID, BootNumber: m.host.BootNumber, Seq: m.seq, ProtocolVersion: wire.ProtocolVersion,
		AgentVersion: m.host.Facts.AgentVersion, ResticVersion: m.host.Facts.ResticVersion, Facts: m.host.Facts, Kinds: m.host.Kinds,
		Guard: m.host.Guard, Repositories: m.host.Repositories, Now: time.Now()}
	for id, w := range m.jobs {
		r.Jobs = append(r.Jobs, wire.JobReport{ID: id, Lease: w.lease, Phase: wire.PhaseRunning})
	}
	m.mu.Unlock()
	reply, err := c.Hello(ctx, r)
	if p, ok := errors.AsType[*wire.Problem](err); ok && p.Code == wire.ProblemBootSuperseded {
		m.mu.Lock()
		m.host.BootNumber = p.BootNumber
		m.mu.Unlock()
	}
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mark = reply.Mark
	return nil
}

// forget drops a job that is over.
func (m *machine) forget(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.jobs, id)
}

// wait is until the machine's jobs have noticed that the demo ends.
func (m *machine) wait() {
	m.mu.Lock()
	var all []*work
	for _, w := range m.jobs {
		all = append(all, w)
	}
	m.mu.Unlock()
	for _, w := range all {
		<-w.over
	}
}

// pause is until d is over or ctx has ended.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
