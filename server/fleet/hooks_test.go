package fleet

import (
	"slices"
	"strings"
	"testing"

	"restic-manager/server/database"
	"restic-manager/server/fleet/job"
	"restic-manager/shared/wire"
)

func (x *fixture) offers(host string, number int64, features []string, hooks ...string) {
	x.t.Helper()
	r := helloOf("hooks", number, number, x.clock.Now())
	r.Features, r.Hooks = features, hooks
	if _, err := x.Hello(x.t.Context(), host, r); err != nil {
		x.t.Fatal(err)
	}
}

func TestAJobWithHooksIsForHostsThatHaveThem(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		changed := 0
		x.Use(Hooks{HostChanged: func(*database.Tx, string) error { changed++; return nil }})
		h := x.host("web")
		order := func(hooks ...string) error {
			_, _, err := x.CreateJob(t.Context(), tester, NewJob{HostID: h, Kind: wire.KindBackup, Spec: &wire.BackupSpec{Paths: []string{"/a"}, HooksBefore: hooks}})
			return err
		}
		x.offers(h, 11, []string{wire.FeatureTarget})
		changed = 0
		wantCode(t, order("dump"), "hook_missing")
		if err := order("dump"); !strings.Contains(err.Error(), "runs no hooks; upgrade it") {
			t.Errorf("an older agent: got %v", err)
		}
		wantCode(t, order(), "")
		x.offers(h, 12, []string{wire.FeatureHooks}, "thaw", "../x", "dump", "dump", "/bin/sh")
		if changed != 1 {
			t.Errorf("told of new hooks: got %d times, want once", changed)
		}
		wantCode(t, order("dump", "thaw"), "")
		if err := order("dump", "gone"); err == nil || !strings.Contains(err.Error(), "has no hook gone") {
			t.Errorf("a hook that is not there: got %v", err)
		}
		stdin := NewJob{HostID: h, Kind: wire.KindBackup, Spec: &wire.BackupSpec{StdinHook: "gone", StdinName: "x"}}
		_, _, err := x.CreateJob(t.Context(), tester, stdin)
		wantCode(t, err, "hook_missing")
		shown, err := x.HostByID(t.Context(), h)
		if err != nil || !slices.Equal(shown.Hooks, []string{"dump", "thaw"}) {
			t.Errorf("the host's hooks: got %v %v, want the names alone, each once", shown.Hooks, err)
		}
		x.offers(h, 13, []string{wire.FeatureHooks}, "dump", "thaw")
		if changed != 1 {
			t.Errorf("told of the same hooks: got %d times, want once", changed)
		}
		x.offers(h, 14, []string{wire.FeatureHooks})
		if changed != 2 {
			t.Errorf("told that they are gone: got %d times, want twice", changed)
		}
		x.whole()
	})
}

func TestTheOfferTellsThePolicy(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		h, policy := x.host("web"), database.NewID()
		_, _, err := x.CreateJob(t.Context(), tester, NewJob{HostID: h, Kind: wire.KindBackup, Spec: &wire.BackupSpec{Paths: []string{"/a"}}, PolicyID: policy})
		if err != nil {
			t.Fatal(err)
		}
		r := x.poll(h, 2)
		if r.Offer == nil || r.Offer.PolicyID != policy {
			t.Errorf("offer: got %+v, want policy %s", r.Offer, policy)
		}
	})
}

func TestWhatAHostLacksIsSaidInWords(t *testing.T) {
	for _, c := range []struct {
		hooks   []string
		runs    bool
		offered []string
		version string
		want    string
	}{
		{nil, false, nil, "1", ""},
		{[]string{"a"}, true, []string{"a", "b"}, "1", ""},
		{[]string{"a", "b", "c"}, true, []string{"b"}, "1", "has no hook a, c"},
		{[]string{"a"}, false, []string{"a"}, "1", "has an agent (version 1) that runs no hooks; upgrade it"},
		{[]string{"a"}, false, nil, "", "has not said yet which hooks it has"},
	} {
		if got := job.LacksHooks(c.hooks, c.runs, c.offered, c.version); got != c.want {
			t.Errorf("%+v: got %q", c, got)
		}
	}
}

func TestWhatAnAgentSaysOfHooksIsMadeFitToShow(t *testing.T) {
	got := cleanSummary(wire.Summary{Hooks: append([]wire.HookRun{
		{Name: "dump", Stage: "stdin", ElapsedSeconds: -1, Bytes: -5, Failure: "bad \x1b[31m\nline"}, {Name: "../x", Stage: "after"}, {Name: "x", Stage: "while"}},
		slices.Repeat([]wire.HookRun{{Name: "y", Stage: "after"}}, 40)...)}).Hooks
	if len(got) != maxHookRuns-2 || got[0].Name != "dump" || got[0].ElapsedSeconds != 0 || got[0].Bytes != 0 || strings.ContainsAny(got[0].Failure, "\x1b\n") {
		t.Errorf("got %d: %+v", len(got), got)
	}
}
