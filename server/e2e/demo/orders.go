package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/cookiejar"
	"time"

	"restic-manager/shared/wire"
)

// director orders jobs as a person at the dashboard would, so that there is always something to see.
type director struct {
	o    livingOptions
	http *http.Client
}

// direct keeps the actors busy until ctx ends: one backup is long, one writes a million lines, one stalls, one is
// canceled on the way, and behind the long one others wait: for the machine and for the repository.
func (l *living) direct(ctx context.Context, actors []*machine) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		l.tell("orders", err)
		return
	}
	d := &director{o: l.o, http: &http.Client{Jar: jar, Timeout: time.Minute}}
	for {
		err := d.do(ctx, "POST", "/api/auth/login", map[string]string{"username": l.o.user, "password": l.o.password}, nil)
		if err == nil {
			break
		}
		l.tell("orders", err)
		if pause(ctx, 10*time.Second); ctx.Err() != nil {
			return
		}
	}
	if err := d.furnish(ctx, actors); err != nil && ctx.Err() == nil {
		l.tell("repositories and policies", err)
	}
	rest := make([]time.Time, len(actors)) // until when an actor is left alone
	for ctx.Err() == nil {
		for i, m := range actors {
			if time.Now().Before(rest[i]) {
				continue
			}
			next, err := d.direct(ctx, m)
			if err != nil && ctx.Err() == nil {
				l.tell("orders", err)
			}
			rest[i] = time.Now().Add(next)
		}
		pause(ctx, time.Second)
	}
}

// direct orders the actor's next job when it has none, and gives the time until it is looked at again.
func (d *director) direct(ctx context.Context, m *machine) (time.Duration, error) {
	m.mu.Lock()
	busy := ""
	for id := range m.jobs {
		busy = id
	}
	m.mu.Unlock()
	switch {
	case busy != "" && m.script == scriptCanceled:
		return 3 * time.Minute, d.do(ctx, "POST", "/api/jobs/"+busy+"/cancel", nil, nil)
	case busy != "":
		return 5 * time.Second, nil
	case m.script == scriptPartner: // waits for the long backup of its neighbour
		return 20 * time.Minute, d.order(ctx, m, wire.KindCheck, &wire.CheckSpec{})
	}
	paths := []string{"/etc", "/srv/www", "/var/log"}
	if err := d.order(ctx, m, wire.KindBackup, &wire.BackupSpec{Paths: paths, Tags: []string{"demo"}, ExcludeCaches: true}); err != nil {
		return 30 * time.Second, err
	}
	switch m.script {
	case scriptLong:
		return 30 * time.Second, d.order(ctx, m, wire.KindRestore, &wire.RestoreSpec{SnapshotID: randomHex() + randomHex(), Paths: []string{"/etc"}, Verify: true})
	case scriptCanceled:
		return 75 * time.Second, nil
	}
	return 20*time.Second + time.Duration(rand.IntN(60))*time.Second, nil
}

func (d *director) order(ctx context.Context, m *machine, k wire.Kind, spec wire.Spec) error {
	return d.do(ctx, "POST", "/api/hosts/"+m.host.ID+"/jobs", map[string]any{"kind": k, "spec": spec}, nil)
}

func (d *director) do(ctx context.Context, method, path string, body, into any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, method, d.o.server+path, bytes.NewReader(raw))
	if err != nil {
		return err
	}
	if body == nil {
		r.Body, r.ContentLength = http.NoBody, 0
	} else {
		r.Header.Set("Content-Type", "application/json")
	}
	answer, err := d.http.Do(r)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	defer answer.Body.Close()
	said, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err != nil {
		return err
	}
	if answer.StatusCode >= 300 {
		return fmt.Errorf("%s: %s %.300s", path, answer.Status, said)
	}
	if into != nil {
		return json.Unmarshal(said, into)
	}
	return nil
}
