package vault

import (
	"fmt"
	"testing"
	"time"

	"restic-manager/server/fleet"
	"restic-manager/shared/wire"
)

func (r *rig) exec(query string, args ...any) {
	r.t.Helper()
	r.write(execs(query, args...))
}

// refused has a backup of the host end with the code before it starts.
func (r *rig) refused(host, code string) {
	r.t.Helper()
	r.clock.Advance(time.Second)
	if _, _, err := r.fleet.CreateJob(r.t.Context(), tester, fleet.NewJob{HostID: host, Kind: wire.KindBackup, Spec: &wire.BackupSpec{Paths: []string{"/etc"}}}); err != nil {
		r.t.Fatal(err)
	}
	id, _ := r.take(host, wire.KindBackup)
	r.finish(host, id, wire.StateRejected, code)
}

func (r *rig) inits() (n int) {
	r.t.Helper()
	r.read(&n, "SELECT count(*) FROM jobs WHERE kind = 'init'")
	return n
}

// Only restic's own word that there is no repository has one made, once for all hosts that share it.
func TestARepositoryThatIsNotThereIsMadeOnce(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		o := r.create("/srv/store")
		var hosts []string
		for i := range 3 {
			host := r.host(fmt.Sprint("web-", i))
			r.able(host, `{"summary":"","kinds":["backup","init"]}`, allKinds)
			r.use(host, o.ID)
			hosts = append(hosts, host)
		}
		for _, code := range []string{wire.CodeRepositoryUnreachable, wire.CodeWrongPassword, wire.CodePermissionDenied} {
			r.refused(hosts[0], code)
			r.duty()
			if got := r.inits(); got != 0 {
				t.Fatalf("%s: got %d inits, want none", code, got)
			}
		}
		for _, host := range hosts {
			r.refused(host, wire.CodeRepositoryMissing)
		}
		r.duty()
		r.duty()
		if got := r.inits(); got != 1 {
			t.Fatalf("got %d inits, want one for all three hosts", got)
		}
		var by, spec string
		r.read(&by, "SELECT host_id FROM jobs WHERE kind = 'init'")
		r.read(&spec, "SELECT spec FROM jobs WHERE kind = 'init'")
		if spec != `{"if_missing":true}` {
			t.Errorf("got the spec %s, want that one made meanwhile is good", spec)
		}
		id, _ := r.take(by, wire.KindInit)
		r.finish(by, id, wire.StateFailed, wire.CodePermissionDenied)
		r.duty()
		if got := r.inits(); got != 1 {
			t.Errorf("got %d inits after one that failed, want that people look first", got)
		}
		r.clock.Advance(missingFor)
		r.refused(hosts[1], wire.CodeRepositoryMissing)
		r.duty()
		if got := r.inits(); got != 2 {
			t.Errorf("got %d inits, want that it is tried again after some hours", got)
		}
	})
}

// Each host of a setting with {host} has a repository of its own to be made; one that is switched off, or whose agent
// is an older one, gets what fits.
func TestEachHostsOwnRepositoryIsMade(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		o := r.create("/srv/{host}")
		off := r.create("/srv/off", func(n *New) { n.AutoInit = of(false) })
		one, two, three := r.host("one"), r.host("two"), r.host("three")
		r.use(one, o.ID)
		r.use(two, o.ID)
		r.use(three, off.ID)
		for _, host := range []string{one, two, three} {
			r.refused(host, wire.CodeRepositoryMissing)
		}
		r.duty()
		r.duty()
		var hosts []string
		r.read(&hosts, "SELECT host_id FROM jobs WHERE kind = 'init' AND spec = '{}'")
		if len(hosts) != 2 || hosts[0] == three || hosts[1] == three {
			t.Errorf("got inits of %v, want one of each host with a folder of its own", hosts)
		}
	})
}

// A repository that was there is never made anew: people look.
func TestARepositoryThatIsGoneIsNotMadeAnew(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		const restic = "00000000000000000000000000000000000000000000000000000000000000aa"
		host := r.host("web-1")
		o := r.create("/srv/store")
		r.use(host, o.ID)
		r.exec("INSERT INTO repositories (id, created_at, refreshed_at) VALUES (?, ?, ?)", restic, r.clock.Now(), r.clock.Now())
		r.exec("INSERT INTO repository_maintenance (repository_id, setting_id) VALUES (?, ?)", restic, o.ID)
		r.refused(host, wire.CodeRepositoryMissing)
		r.duty()
		if got := r.inits(); got != 0 {
			t.Errorf("got %d inits in place of one that is gone", got)
		}
		got := r.get(o.ID)
		if len(got.Contents) != 1 || got.Contents[0].MissingSince == nil {
			t.Errorf("got %+v, want that it is gone", got.Contents)
		}
		if got.MissingCount != 1 {
			t.Errorf("got missing_count %d, want 1", got.MissingCount)
		}
		r.clock.Advance(time.Minute)
		r.exec("UPDATE repositories SET refreshed_at = ? WHERE id = ?", r.clock.Now(), restic)
		r.duty()
		if got := r.get(o.ID); got.Contents[0].MissingSince != nil {
			t.Error("it is listed again, and still counts as gone")
		}
		if got := r.update(o.ID, Patch{URL: of("/srv/mistyped")}); got.AutoInit {
			t.Error("another address of a known repository is made by itself")
		}
	})
}

// A host that was given a repository is asked whether there is one before its first backup is refused: one host of those
// that share it.
func TestANewRepositoryIsAskedForOnce(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		o := r.create("/srv/store")
		for i := range 3 {
			r.use(r.host(fmt.Sprint("web-", i)), o.ID)
		}
		r.duty()
		r.duty()
		var hosts []string
		r.read(&hosts, "SELECT host_id FROM jobs WHERE kind = 'snapshots'")
		if len(hosts) != 1 {
			t.Fatalf("got %d lists, want one", len(hosts))
		}
		id, _ := r.take(hosts[0], wire.KindSnapshots)
		r.finish(hosts[0], id, wire.StateRejected, wire.CodeRepositoryMissing)
		r.clock.Advance(time.Second)
		r.duty()
		if got := r.inits(); got != 1 {
			t.Errorf("got %d inits, want one", got)
		}
		r.duty()
		r.read(&hosts, "SELECT host_id FROM jobs WHERE kind = 'snapshots'")
		if len(hosts) != 1 {
			t.Errorf("got %d lists, want none beside the init", len(hosts))
		}
	})
}
