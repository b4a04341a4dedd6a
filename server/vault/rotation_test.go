package vault

import (
	"strings"
	"testing"
	"time"

	"restic-manager/server/fleet"
	"restic-manager/shared/wire"
)

// able makes the host's agent one that can do what it says.
func (r *rig) able(host string, guard string, kinds string) {
	r.t.Helper()
	r.exec("UPDATE hosts SET kinds = ?, guard = ?, features = '[\"target\",\"init_if_missing\"]' WHERE id = ?", kinds, guard, host)
}

const (
	allKinds   = `["backup","snapshots","init","rotate_key"]`
	allowsKeys = `{"summary":"","kinds":["rotate_key"]}`
)

// take has the host take the one job that waits for it.
func (r *rig) take(host string, kind wire.Kind) (id string, a wire.AcceptReply) {
	r.t.Helper()
	var ids []string
	r.read(&ids, "SELECT id FROM jobs WHERE host_id = ? AND kind = ? AND state = 'queued'", host, string(kind))
	if len(ids) != 1 {
		r.t.Fatalf("%d jobs of the kind %s wait for the host, want 1", len(ids), kind)
	}
	a, err := r.fleet.Accept(r.t.Context(), host, ids[0], wire.AcceptRequest{Lease: lease(ids[0]), Delivery: 1})
	if err != nil {
		r.t.Fatal(err)
	}
	return ids[0], a
}

func lease(id string) string { return strings.ReplaceAll(id, "-", "") }

// finish ends a job that was taken.
func (r *rig) finish(host, id string, state wire.State, code string) {
	r.t.Helper()
	f := wire.FinishRequest{State: state, EndedAt: r.clock.Now()}
	if code != "" {
		f.Error = &wire.JobError{Code: code, Message: "it is " + code}
	}
	if state != wire.StateRejected {
		if err := r.fleet.Start(r.t.Context(), host, id, lease(id), wire.StartRequest{StartNonce: lease(id)}); err != nil {
			r.t.Fatal(err)
		}
	}
	if _, err := r.fleet.Finish(r.t.Context(), host, id, lease(id), []byte(id+string(state)), f); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) duty() {
	r.t.Helper()
	if err := r.Duty(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) rotate(id string) Rotation {
	r.t.Helper()
	o, err := r.Rotate(r.t.Context(), tester, id, "")
	if err != nil {
		r.t.Fatal(err)
	}
	return *o.Rotation
}

func (r *rig) password(id string) string {
	r.t.Helper()
	s, err := r.Reveal(r.t.Context(), tester, id)
	if err != nil {
		r.t.Fatal(err)
	}
	return s.Password
}

// A rotation is at each moment at one of two passwords that open the repository: until the step that adds has succeeded
// the old one is in force, from then on the new one, and the old one is forgotten only when its key is gone.
func TestARotationIsNeverWithoutAPassword(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		host := r.host("web-1")
		r.able(host, allowsKeys, allKinds)
		o := r.create("/srv/store", func(n *New) { n.Password = "the old one" })
		r.use(host, o.ID)
		if got := r.rotate(o.ID); got.State != RotationAdding || got.JobID == "" || got.Host.ID != host {
			t.Fatalf("got %+v, want the first step ordered from the host that uses it", got)
		}
		_, err := r.Update(t.Context(), tester, o.ID, Patch{Password: of("by hand")})
		wantCode(t, err, "rotation_open")
		_, err = r.Update(t.Context(), tester, o.ID, Patch{URL: of("/srv/elsewhere")})
		wantCode(t, err, "rotation_open")

		id, a := r.take(host, wire.KindRotateKey)
		fresh := a.Secrets.SecondPassword
		if a.Secrets.Password != "the old one" || len(fresh) < 40 || !strings.Contains(string(a.Spec), `"add"`) {
			t.Fatalf("the first step got %s and not the old password with a new one", a.Spec)
		}
		r.finish(host, id, wire.StateFailed, wire.CodeInterrupted)
		r.duty()
		if got := *r.get(o.ID).Rotation; got.State != RotationAdding || got.JobID != "" || !strings.Contains(got.Why, wire.CodeInterrupted) || got.NextAt == nil {
			t.Errorf("after a step that was cut off: got %+v, want it to be tried again", got)
		}
		if got := r.handed(host).Password; got != "the old one" {
			t.Error("hosts are handed the new password before it opens the repository")
		}
		r.duty()
		r.clock.Advance(rotationRetry)
		r.duty()
		id, a = r.take(host, wire.KindRotateKey)
		if a.Secrets.SecondPassword != fresh {
			t.Error("the step that is repeated adds another password: keys pile up")
		}
		r.clock.Advance(time.Minute)
		// A job that begins now gets the old password.
		other := r.host("web-2")
		r.use(other, o.ID)
		began, _, err := r.fleet.CreateJob(t.Context(), tester, fleet.NewJob{HostID: other, Kind: wire.KindSnapshots})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.fleet.Accept(t.Context(), other, began.ID, wire.AcceptRequest{Lease: lease(began.ID), Delivery: 1}); err != nil {
			t.Fatal(err)
		}
		r.finish(host, id, wire.StateSucceeded, "")
		r.clock.Advance(time.Second)
		r.duty()
		if got := r.password(o.ID); got != fresh {
			t.Error("the new password opens the repository, and is not in force")
		}
		if got := r.handed(host).Password; got != fresh {
			t.Error("hosts are not handed the new password")
		}
		got := r.get(o.ID)
		if got.Rotation.State != RotationSwitched || !got.KitStale {
			t.Errorf("got %+v and kit_stale %v, want it switched and the kit stale", got.Rotation, got.KitStale)
		}
		r.duty()
		if got := *r.get(o.ID).Rotation; got.JobID != "" || !strings.Contains(got.Why, "old password") {
			t.Errorf("got %+v, want that it waits for the job that began with the old password", got)
		}
		if _, err := r.fleet.CancelJob(t.Context(), tester, began.ID); err != nil {
			t.Fatal(err)
		}
		// One that was taken while the switch was under way may have it too.
		if began, _, err = r.fleet.CreateJob(t.Context(), tester, fleet.NewJob{HostID: other, Kind: wire.KindSnapshots}); err != nil {
			t.Fatal(err)
		}
		if _, err := r.fleet.Accept(t.Context(), other, began.ID, wire.AcceptRequest{Lease: lease(began.ID), Delivery: 1}); err != nil {
			t.Fatal(err)
		}
		r.duty()
		if got := *r.get(o.ID).Rotation; got.JobID != "" {
			t.Errorf("got %+v, want that it waits for the job that was taken while it switched", got)
		}
		if _, err := r.fleet.CancelJob(t.Context(), tester, began.ID); err != nil {
			t.Fatal(err)
		}
		r.duty()
		id, a = r.take(host, wire.KindRotateKey)
		if a.Secrets.Password != fresh || a.Secrets.SecondPassword != "the old one" || !strings.Contains(string(a.Spec), `"remove"`) {
			t.Errorf("the last step got %s, want the old password to be removed by the new one", a.Spec)
		}
		r.finish(host, id, wire.StateFailed, wire.CodeKeyRemains)
		r.duty()
		r.clock.Advance(rotationRetry)
		r.duty()
		id, _ = r.take(host, wire.KindRotateKey)
		r.finish(host, id, wire.StateSucceeded, "")
		r.duty()
		if got := *r.get(o.ID).Rotation; got.State != RotationDone || got.EndedAt == nil || got.Why != "" {
			t.Errorf("got %+v, want it done", got)
		}
		var kept int
		r.read(&kept, "SELECT sum(length(sealed_second)) FROM key_rotations")
		if kept != 0 {
			t.Error("the old password is kept after the end")
		}
		_, _, err = r.fleet.RetryJob(t.Context(), tester, id, "")
		wantCode(t, err, "rotation_step")
		r.rotate(o.ID) // another one may begin
	})
}

// What keeps the schedule by itself may begin a job by the old password until it has taken the new one: a day at most.
func TestTheOldKeyStaysUntilHostsHaveTheNewPassword(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		host := r.host("web-1")
		r.able(host, allowsKeys, allKinds)
		o := r.create("/srv/store")
		r.use(host, o.ID)
		r.exec(`UPDATE hosts SET features = '["schedule","target"]' WHERE id = ?`, host)
		r.rotate(o.ID)
		id, _ := r.take(host, wire.KindRotateKey)
		r.finish(host, id, wire.StateSucceeded, "")
		r.duty()
		r.duty()
		if got := *r.get(o.ID).Rotation; got.JobID != "" || !strings.Contains(got.Why, "all machines") {
			t.Fatalf("got %+v, want that it waits for the machine to have the new password", got)
		}
		r.clock.Advance(switchWait)
		r.duty()
		if got := *r.get(o.ID).Rotation; got.JobID == "" {
			t.Errorf("after a day: got %+v, want the last step ordered", got)
		}
	})
}

func TestWhatCannotBeRotatedIsToldBefore(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		host, stranger := r.host("web-1"), r.host("web-2")
		o := r.create("/srv/store")
		rotate := func(want string) {
			t.Helper()
			_, err := r.Rotate(t.Context(), tester, o.ID, "")
			wantCode(t, err, want)
		}
		rotate("no_runner")
		r.use(host, o.ID)
		rotate("kind_unsupported")
		r.able(host, `{"summary":"","kinds":["backup"]}`, allKinds)
		rotate("guard_forbids")
		r.able(host, `{"summary":"","broken":"a wrong key","kinds":[]}`, allKinds)
		rotate("guard_broken")
		r.able(host, allowsKeys, allKinds)
		const restic = "00000000000000000000000000000000000000000000000000000000000000aa"
		r.exec("INSERT INTO repositories (id, created_at) VALUES (?, ?)", restic, r.clock.Now())
		r.exec("INSERT INTO repository_maintenance (repository_id, setting_id) VALUES (?, ?)", restic, o.ID)
		r.exec("UPDATE hosts SET repository_id = ? WHERE id = ?", restic, stranger)
		rotate("repository_shared")
		r.exec("UPDATE hosts SET repository_id = NULL WHERE id = ?", stranger)
		r.rotate(o.ID)

		wantCode(t, r.GiveUpRotation(t.Context(), tester, o.ID), "job_open")
		id, _ := r.take(host, wire.KindRotateKey)
		r.finish(host, id, wire.StateRejected, "guard")
		if err := r.GiveUpRotation(t.Context(), tester, o.ID); err != nil {
			t.Fatal(err)
		}
		wantCode(t, r.GiveUpRotation(t.Context(), tester, o.ID), "no_rotation")
		r.update(o.ID, Patch{Password: of("by hand")})

		o = r.create("/srv/each/{host}")
		rotate("rotation_per_host")
	})
}
