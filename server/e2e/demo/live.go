package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"restic-manager/server/e2e/demo/madeup"
)

// livingOptions say whom to speak to, and as whom.
type livingOptions struct {
	server, database, user, password string
	machines                         int
	seed                             uint64
}

// touchEvery is how long a machine that nobody needs stays silent: short of the 90 s after which a host counts as
// offline.
const touchEvery = time.Minute

// living is the part of the fleet that is awake.
type living struct {
	o     livingOptions
	all   []*machine
	lists *madeup.Lists
	told  sync.Map // errors that were told
}

// live speaks as the machines until ctx ends. The first o.machines of them wait for work as agents do; all others show a
// sign of life each minute, and take what has been ordered from them with it.
func live(ctx context.Context, o livingOptions) error {
	hosts, err := madeup.OnlineHosts(ctx, o.database)
	if err != nil {
		return err
	}
	l := &living{o: o}
	if l.lists, err = madeup.OpenLists(ctx, o.database); err != nil {
		return err
	}
	defer l.lists.Close()
	if err := l.settle(ctx); err != nil {
		return fmt.Errorf("end what an earlier demo left: %w", err)
	}
	for _, h := range hosts {
		l.all = append(l.all, newMachine(l, h, madeup.AgentToken(o.seed, h.ID)))
	}
	actors := cast(l.all, o.machines)
	fmt.Printf("%d machines are awake, %d of them wait for work\n", len(l.all), len(actors))
	var wait sync.WaitGroup
	for i, m := range actors {
		m.script = i
		c, err := m.dial()
		if err != nil {
			return err
		}
		wait.Go(func() { m.listen(ctx, c) })
	}
	wait.Go(func() { l.touch(ctx) })
	if o.user != "" && len(actors) > 0 {
		wait.Go(func() { l.direct(ctx, actors) })
	}
	wait.Wait()
	for _, m := range l.all {
		m.wait()
	}
	return nil
}

// cast chooses who plays: healthy machines, spread over the fleet, of which the first one's repository has another
// machine that is awake.
func cast(all []*machine, n int) (actors []*machine) {
	seen := map[string]*machine{}
	var able []*machine
	for _, m := range all {
		if m.host.CloneAlarm || m.host.Guard.Broken != "" || m.host.Facts.ResticVersion == "" || m.host.Repository == "" || m.host.Bytes == 0 {
			continue
		}
		if first := seen[m.host.Repository]; first != nil && len(actors) == 0 {
			actors = append(actors, first, m)
			first.neighbour = m
		}
		seen[m.host.Repository] = m
		able = append(able, m)
	}
	for i := range able {
		if m := able[i*37%len(able)]; len(actors) < n && !contains(actors, m) {
			actors = append(actors, m)
		}
	}
	return actors[:min(len(actors), n)]
}

func contains(list []*machine, m *machine) bool {
	for _, o := range list {
		if o == m {
			return true
		}
	}
	return false
}

// touch has every machine that is not listening poll once a minute without waiting. Some at once: the server answers
// from its memory, mostly.
func (l *living) touch(ctx context.Context) {
	turns := make(chan *machine)
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			for m := range turns {
				m.touch(ctx)
			}
		})
	}
	defer wait.Wait()
	defer close(turns)
	tick := time.NewTicker(touchEvery / time.Duration(max(len(l.all), 1)))
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if m := l.all[i%len(l.all)]; m.script < 0 {
				turns <- m
			}
		}
	}
}

// tell says an error once: the same of ten thousand machines is one.
func (l *living) tell(what string, err error) {
	text := what + ": " + err.Error()
	if _, known := l.told.LoadOrStore(text, true); !known {
		fmt.Fprintln(os.Stderr, time.Now().Format(time.TimeOnly), text)
	}
}
