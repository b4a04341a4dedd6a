package simulation

import (
	"encoding/json"
	"strconv"
	"time"

	"restic-manager/agent/client"
	"restic-manager/agent/runner"
	"restic-manager/shared/wire"
)

// repository is what restic works on: its snapshots are a version, which each change of them counts up.
type repository struct {
	id, location string
	version      int
}

// listing is one listing of a repository's snapshots, as runner's is. It rides on the finish, or follows it.
type listing struct {
	*jobRun
	decided bool
	tries   int
}

func (j *jobRun) list(mayRide bool) {
	l := &listing{jobRun: j, decided: !mayRide}
	j.listing = l
	j.live(2*time.Second, l.follow)
	l.once()
}

// follow lets the finish go without the listing.
func (l *listing) follow() {
	if !l.decided {
		l.decided = true
		l.step(runner.Listed{Rides: false})
	}
}

// settled ends it, with or without a list at the server.
func (l *listing) settled() {
	l.follow()
	l.step(runner.ListingSettled{})
}

// once draws the token, lists, and hands the list over.
func (l *listing) once() {
	w, s, host := l.m.w, l.m.w.server, l.m.host
	l.tries++
	wanted := func() bool { return l.listing == l }
	until(l.jobRun, 0, "listing token of "+w.name(l.id), func() (wire.ListingReply, error) {
		return s.beginListing(host, l.id)
	}, wanted, func(reply wire.ListingReply, err error) {
		if err != nil {
			l.settled()
			return
		}
		l.live(w.some(100*time.Millisecond, 10*time.Second), func() { l.collected(reply.Token) })
	})
}

// collected: restic has listed.
func (l *listing) collected(token string) {
	w, s, host, repo := l.m.w, l.m.w.server, l.m.host, l.m.repo
	if w.r.IntN(20) == 0 {
		l.settled() // restic failed
		return
	}
	version := repo.version
	if !l.decided {
		l.decided = true
		l.riding = &wire.Listing{Token: token, RepositoryID: repo.id, Snapshots: []json.RawMessage{json.RawMessage(strconv.Itoa(version))}}
		l.step(runner.Listed{Rides: true})
		l.step(runner.ListingSettled{})
		return
	}
	l.live(w.some(50*time.Millisecond, 20*time.Second), func() {
		until(l.jobRun, 0, "commit of the listing of "+w.name(l.id), func() (wire.Empty, error) {
			return wire.Empty{}, s.commit(host, token, repo.id, version)
		}, func() bool { return l.listing == l }, func(_ wire.Empty, err error) {
			if client.Code(err) == wire.ProblemListingSuperseded && l.tries < 5 {
				l.once()
				return
			}
			l.settled()
		})
	})
}
