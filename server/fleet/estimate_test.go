package fleet

import (
	"fmt"
	"strings"
	"testing"

	"restic-manager/server/fault"
	"restic-manager/shared/wire"
)

// estimating is a running estimate of that spec.
func (x *fixture) estimating(host string, s wire.EstimateSpec) string {
	x.t.Helper()
	j, _, err := x.CreateJob(x.t.Context(), tester, NewJob{HostID: host, Kind: wire.KindEstimate, Spec: &s})
	if err != nil {
		x.t.Fatal(err)
	}
	x.begin(host, j.ID, 7)
	return j.ID
}

func (x *fixture) estimated(host, id string, e wire.Estimate) {
	x.t.Helper()
	r := wire.FinishRequest{State: wire.StateSucceeded, Estimate: &e, Summary: &wire.Summary{TotalFilesProcessed: e.Files, TotalBytesProcessed: e.Bytes}}
	if _, err := x.Finish(x.t.Context(), host, id, hex32(7), mustJSON(r), r); err != nil {
		x.t.Fatal(err)
	}
}

func TestAnEstimateIsShownWithItsJobAndInNoList(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		h := x.host("web")
		id := x.estimating(h, wire.EstimateSpec{Paths: []string{"/srv"}, Excludes: []string{"*.tmp", "cache"}})
		place := 1
		x.estimated(h, id, wire.Estimate{Files: 3, Bytes: 30, Excluded: wire.EstimateOut{Matches: 1, Files: 2, Bytes: 20},
			Patterns:        []wire.EstimatePattern{{}, {EstimateOut: wire.EstimateOut{Matches: 1, Files: 2, Bytes: 20}, Samples: []string{"/srv/cache"}}},
			Largest:         []wire.EstimateFolder{{Path: "/srv", Files: 3, Bytes: 30, Exclude: "/srv"}},
			LargestExcluded: []wire.EstimateExcluded{{Path: "/srv/cache", Files: 2, Bytes: 20, By: wire.ExcludedByPattern, Pattern: &place}}})
		j := x.job(id)
		if j.State != wire.StateSucceeded || j.Estimate == nil || j.Estimate.Files != 3 || j.Estimate.Patterns[1].Bytes != 20 ||
			j.Estimate.Largest[0].Exclude != "/srv" || *j.Estimate.LargestExcluded[0].Pattern != 1 {
			t.Errorf("got %s, %+v", j.State, j.Estimate)
		}
		list, _, err := x.Jobs(t.Context(), JobFilter{HostID: h}, Page{Limit: 10})
		if err != nil || len(list) != 1 || list[0].Estimate != nil || list[0].Summary.TotalBytesProcessed != 30 {
			t.Errorf("list: got %+v, %v, want the figures without the estimate", list, err)
		}
		x.whole()
	})
}

// TestAnEstimateIsCutToItsBounds: an agent may be anybody's.
func TestAnEstimateIsCutToItsBounds(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		h := x.host("web")
		id := x.estimating(h, wire.EstimateSpec{Paths: []string{"/srv"}, Excludes: []string{"*.tmp"}})
		e := wire.Estimate{Files: -5, Excluded: wire.EstimateOut{Bytes: -1}, Patterns: make([]wire.EstimatePattern, 40)}
		bad, none := 1, -1
		for i := range 80 {
			e.Largest = append(e.Largest, wire.EstimateFolder{Path: fmt.Sprintf("/srv/%d/%s", i, strings.Repeat("x", 8000)), Bytes: int64(80 - i), Exclude: "!a\n"})
			e.Samples = append(e.Samples, "/srv/\x1b[31mred\u202e")
		}
		e.LargestExcluded = []wire.EstimateExcluded{{Path: "/a", By: "else"}, {Path: "/b", By: wire.ExcludedByPattern, Pattern: &bad},
			{Path: "/c", By: wire.ExcludedByPattern, Pattern: &none}, {Path: "/d", By: wire.ExcludedBySize, Pattern: &bad}}
		x.estimated(h, id, e)
		got := x.job(id).Estimate
		raw := mustJSON(got)
		if len(raw) > wire.MaxEstimate || !got.Shortened || got.Files != 0 || got.Excluded.Bytes != 0 || len(got.Patterns) != 1 {
			t.Errorf("got %d bytes, %+v", len(raw), got.Excluded)
		}
		if len(got.Largest) == 0 || got.Largest[0].Bytes != 80 || got.Largest[0].Exclude != "" || len(got.Largest[0].Path) > maxIssuePath {
			t.Errorf("the largest: got %d", len(got.Largest))
		}
		if len(got.LargestExcluded) > 1 || len(got.LargestExcluded) == 1 && (got.LargestExcluded[0].Path != "/d" || got.LargestExcluded[0].Pattern != nil) {
			t.Errorf("out for no reason, or by a pattern that is none: got %+v", got.LargestExcluded)
		}
		if strings.ContainsAny(string(raw), "\x1b\u202e") {
			t.Error("it holds characters that act")
		}
	})
}

func TestOnlyAnEstimateHasOne(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		h := x.host("web")
		id := x.queue(h, wire.KindUnlock)
		x.begin(h, id, 7)
		x.estimated(h, id, wire.Estimate{Files: 3})
		if got := x.job(id).Estimate; got != nil {
			t.Errorf("an unlock: got %+v", got)
		}
	})
}

func TestAnOlderAgentGetsNoEstimate(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		h := x.host("web")
		for name, change := range map[string]func(*wire.HelloRequest){
			"without the feature": func(r *wire.HelloRequest) { r.Features = []string{wire.FeatureTarget} },
			"without the kind":    func(r *wire.HelloRequest) { r.Kinds = []wire.Kind{wire.KindBackup} },
		} {
			r := helloOf("b1", 1, 2, x.clock.Now())
			change(&r)
			if _, err := x.Hello(t.Context(), h, r); err != nil {
				t.Fatal(err)
			}
			_, _, err := x.CreateJob(t.Context(), tester, NewJob{HostID: h, Kind: wire.KindEstimate, Spec: &wire.EstimateSpec{Paths: []string{"/srv"}}})
			if e := fault.As(err); e == nil || e.Code != "kind_unsupported" || !strings.Contains(e.Message, "upgrade it") {
				t.Errorf("%s: got %v, want that the agent is to be upgraded", name, err)
			}
		}
		_, _, err := x.CreateJob(t.Context(), tester, NewJob{HostID: x.host("newer"), Kind: wire.KindEstimate, Spec: &wire.EstimateSpec{Paths: []string{"/srv"}},
			Target: &Target{SettingID: x.setting("/r")}})
		if e := fault.As(err); e == nil || e.Kind != fault.Invalid {
			t.Errorf("about a repository: got %v, want that it is about none", err)
		}
	})
}

// TestAnEstimateGetsNoSecrets: it does without the repository, and so is told nothing of it.
func TestAnEstimateGetsNoSecrets(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		h := x.host("web")
		if err := x.PutRepository(t.Context(), tester, h, RepositoryConfig{URL: "rest:http://127.0.0.1/canary", Password: "canary"}); err != nil {
			t.Fatal(err)
		}
		backup := x.queue(h, wire.KindBackup)
		told, err := x.Accept(t.Context(), h, backup, wire.AcceptRequest{Lease: hex32(1), Delivery: 1})
		if err != nil || told.Secrets == nil {
			t.Fatalf("a backup: got %+v, %v, want the secrets", told, err)
		}
		j := x.queue(h, wire.KindEstimate)
		got, err := x.Accept(t.Context(), h, j, wire.AcceptRequest{Lease: hex32(2), Delivery: 1})
		if err != nil || got.Secrets != nil || strings.Contains(string(mustJSON(got)), "canary") {
			t.Errorf("an estimate: got %+v, %v, want no secrets", got, err)
		}
		again, err := x.Resume(t.Context(), h, j, wire.ResumeRequest{OldLease: hex32(2), NewLease: hex32(3)})
		if err != nil || again.Secrets != nil {
			t.Errorf("resumed: got %+v, %v, want no secrets", again, err)
		}
	})
}

// TestAnEstimateRunsBesideABackupAndAPrune: it takes the short lane and holds no repository.
func TestAnEstimateRunsBesideABackupAndAPrune(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		a, b := x.host("a"), x.host("b")
		x.use(a, repo(1))
		x.use(b, repo(1))
		prune := x.queue(b, wire.KindPrune)
		x.begin(b, prune, 1)
		id := x.queue(a, wire.KindEstimate)
		if o := x.poll(a, 2).Offer; o == nil || o.JobID != id {
			t.Fatalf("beside a prune of the repository: got offer %+v", o)
		}
		x.begin(a, id, 2)
		x.end(b, prune, 1, wire.StateSucceeded)
		backup := x.queue(a, wire.KindBackup)
		if o := x.poll(a, 3, wire.JobRef{ID: id, Lease: hex32(2)}).Offer; o == nil || o.JobID != backup {
			t.Errorf("a backup beside the estimate: got offer %+v", o)
		}
		list := x.queue(a, wire.KindSnapshots)
		x.take(a, backup, 3)
		if o := x.poll(a, 4, wire.JobRef{ID: id, Lease: hex32(2)}).Offer; o != nil {
			t.Errorf("its lane is taken: got offer %+v, want that %s waits", o, list)
		}
		x.whole()
	})
}
