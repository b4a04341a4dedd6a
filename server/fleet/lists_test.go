package fleet

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"restic-manager/server/database"
	"restic-manager/server/fault"
	"restic-manager/shared/wire"
)

// walk reads a list by pages of 3 and gives its ids.
func walk[T any](t *testing.T, list func(Page) ([]T, string, error), id func(T) string) (ids []string) {
	t.Helper()
	for p := (Page{Limit: 3}); ; {
		page, next, err := list(p)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) > 3 || next != "" && len(page) != 3 {
			t.Fatalf("got a page of %d with the cursor %q, want 3", len(page), next)
		}
		for _, row := range page {
			ids = append(ids, id(row))
		}
		if p.Cursor = next; next == "" {
			return ids
		}
	}
}

func TestListsArePagedWithoutGapOrRepetition(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		var hosts, jobs, tokens []string
		for i := range 6 { // the last page is a whole one
			hosts = append(hosts, x.host(fmt.Sprintf("Web-%d", i)))
			if i%2 == 0 { // some are of one moment
				x.clock.Advance(time.Millisecond)
			}
			jobs = append(jobs, x.queue(hosts[0], wire.KindBackup))
			token, _, err := x.CreateEnrollmentToken(t.Context(), tester, NewEnrollmentToken{})
			if err != nil {
				t.Fatal(err)
			}
			tokens = append(tokens, token.ID)
		}
		slices.Reverse(jobs)
		slices.Reverse(tokens)
		for what, c := range map[string]struct{ got, want []string }{
			"hosts by name": {walk(t, func(p Page) ([]Host, string, error) {
				page, err := x.Hosts(t.Context(), HostFilter{}, HostOrder{}, p)
				return page.Hosts, page.NextCursor, err
			}, func(h Host) string { return h.ID }), hosts},
			"jobs, newest first": {walk(t, func(p Page) ([]Job, string, error) { return x.Jobs(t.Context(), JobFilter{}, p) }, func(j Job) string { return j.ID }), jobs},
			"tokens, newest first": {walk(t, func(p Page) ([]EnrollmentToken, string, error) { return x.EnrollmentTokens(t.Context(), p) },
				func(e EnrollmentToken) string { return e.ID }), tokens},
		} {
			if !slices.Equal(c.got, c.want) {
				t.Errorf("%s: got %v, want %v", what, c.got, c.want)
			}
		}
	})
}

func TestJobsAreFiltered(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		a, b := x.host("a"), x.host("b")
		x.set(t, a, "labels = ?, hostname = 'x'", `{"env":"prod"}`)
		x.set(t, b, "hostname = 'y'")
		first := x.queue(a, wire.KindBackup)
		x.clock.Advance(time.Second)
		at := x.clock.Now()
		second := x.queue(a, wire.KindCheck)
		x.clock.Advance(time.Second)
		third := x.queue(b, wire.KindBackup)
		if _, err := x.CancelJob(t.Context(), tester, third); err != nil {
			t.Fatal(err)
		}
		east, west := at.In(time.FixedZone("", 5*3600)), at.In(time.FixedZone("", -9*3600))
		for what, c := range map[string]struct {
			filter JobFilter
			want   []string
		}{
			"all":                {JobFilter{}, []string{third, second, first}},
			"host":               {JobFilter{HostID: a}, []string{second, first}},
			"unknown host":       {JobFilter{HostID: database.NewID()}, nil},
			"kind":               {JobFilter{Kind: wire.KindBackup}, []string{third, first}},
			"state":              {JobFilter{States: []wire.State{wire.StateCanceled}}, []string{third}},
			"states":             {JobFilter{States: []wire.State{wire.StateCanceled, wire.StateQueued}}, []string{third, second, first}},
			"before":             {JobFilter{Before: &at}, []string{first}},
			"after":              {JobFilter{After: &at}, []string{third, second}},
			"before, east of us": {JobFilter{Before: &east}, []string{first}},
			"after, west of us":  {JobFilter{After: &west}, []string{third, second}},
			"part of the host":   {JobFilter{Search: "B"}, []string{third}},
			"label of the host":  {JobFilter{Label: "env=prod"}, []string{second, first}},
			"key of a label":     {JobFilter{Label: "env", Kind: wire.KindCheck}, []string{second}},
			"no such label":      {JobFilter{Label: "en"}, nil},
			"both and kind":      {JobFilter{Before: &east, After: &west, Kind: wire.KindCheck}, nil},
		} {
			jobs, _, err := x.Jobs(t.Context(), c.filter, Page{})
			var got []string
			for _, j := range jobs {
				got = append(got, j.ID)
			}
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("%s: got %v, %v, want %v", what, got, err, c.want)
			}
		}
	})
}

func TestHostsAreFiltered(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		web, db := x.host("Web_1"), x.host("db")
		labels := map[string]string{"env": "prod", "site": ""}
		if _, err := x.UpdateHost(t.Context(), tester, web, HostPatch{Labels: &labels}); err != nil {
			t.Fatal(err)
		}
		if _, err := x.RevokeHost(t.Context(), tester, db); err != nil {
			t.Fatal(err)
		}
		for what, c := range map[string]struct {
			filter HostFilter
			want   []string
		}{
			"all":                 {HostFilter{}, []string{db, web}},
			"status":              {HostFilter{Statuses: []string{"online"}}, []string{web}},
			"revoked":             {HostFilter{Statuses: []string{"revoked"}}, []string{db}},
			"part of a name":      {HostFilter{Search: "EB_"}, []string{web}},
			"no pattern":          {HostFilter{Search: "eb%1"}, nil},
			"no single wild card": {HostFilter{Search: "d_"}, nil},
			"label":               {HostFilter{Label: "env"}, []string{web}},
			"label with value":    {HostFilter{Label: "env=prod"}, []string{web}},
			"empty value":         {HostFilter{Label: "site="}, []string{web}},
			"part of a value":     {HostFilter{Label: "env=pro"}, nil},
			"part of a key":       {HostFilter{Label: "en"}, nil},
			"value as key":        {HostFilter{Label: "prod"}, nil},
			"both":                {HostFilter{Label: "env", Statuses: []string{"revoked"}}, nil},
		} {
			page, err := x.Hosts(t.Context(), c.filter, HostOrder{}, Page{})
			var got []string
			for _, h := range page.Hosts {
				got = append(got, h.ID)
			}
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("%s: got %v, %v, want %v", what, got, err, c.want)
			}
		}
	})
}

func TestHostIsRenamedAndLabelled(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		a := x.host("a")
		x.host("B")
		patch := func(name string, labels map[string]string) (Host, error) {
			p := HostPatch{}
			if name != "" {
				p.Name = &name
			}
			if labels != nil {
				p.Labels = &labels
			}
			return x.UpdateHost(t.Context(), tester, a, p)
		}
		if h, err := patch(" Größe 1 ", map[string]string{"env": "prod"}); err != nil || h.Name != "Größe 1" || h.Labels["env"] != "prod" {
			t.Fatalf("got %+v, %v", h, err)
		}
		if h, err := patch("", map[string]string{"site": "x"}); err != nil || h.Name != "Größe 1" || len(h.Labels) != 1 || h.Labels["site"] != "x" {
			t.Errorf("labels alone: got %+v, %v, want the name as it was and the new labels alone", h, err)
		}
		if h, err := patch("größe 1", nil); err != nil || h.Name != "größe 1" {
			t.Errorf("one's own name in other letters: got %+v, %v", h, err)
		}
		_, err := patch("b", nil)
		wantCode(t, err, "name_taken")
		for _, bad := range []string{" ", "a\nb", "a\x00", "\u202ea"} {
			if _, err := patch(bad, nil); !fault.Is(err, "invalid") {
				t.Errorf("name %q: got %v, want invalid", bad, err)
			}
		}
		for _, bad := range []map[string]string{{"": "x"}, {"a b": "x"}, {"a": "\"x"}, {"-a": ""}} {
			if _, err := patch("", bad); !fault.Is(err, "invalid") {
				t.Errorf("labels %q: got %v, want invalid", bad, err)
			}
		}
	})
}

func TestTokenIsGoodForAnHourOrAsLongAsSaid(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		labels := map[string]string{"env": "prod"}
		for i, c := range []struct{ asked, good time.Duration }{{0, time.Hour}, {time.Second, time.Second}, {30 * 24 * time.Hour, 30 * 24 * time.Hour}} {
			fresh := func() string {
				token, secret, err := x.CreateEnrollmentToken(t.Context(), tester, NewEnrollmentToken{ExpiresIn: c.asked, Name: fmt.Sprintf("host %d", i), Labels: labels})
				if err != nil || !token.ExpiresAt.Equal(x.clock.Now().Add(c.good)) {
					t.Fatalf("%s: got %+v, %v, want it good for %s", c.asked, token, err, c.good)
				}
				return secret
			}
			late, early := fresh(), fresh()
			x.clock.Advance(c.good - time.Microsecond)
			r, err := x.Enroll(t.Context(), enrollOf(early, "rma_"+early, "web"), "")
			if err != nil {
				t.Fatalf("just before the end: %v", err)
			}
			if h, err := x.HostByID(t.Context(), r.HostID); err != nil || h.Name != fmt.Sprintf("host %d", i) || h.Labels["env"] != "prod" || h.Status != "never_seen" {
				t.Errorf("got %+v, %v, want name and labels of the token", h, err)
			}
			x.clock.Advance(time.Microsecond)
			_, err = x.Enroll(t.Context(), enrollOf(late, "rma_"+late, "web"), "")
			wantCode(t, err, wire.ProblemEnrollmentTokenInvalid)
		}
		for _, bad := range []time.Duration{-time.Second, time.Millisecond, 30*24*time.Hour + time.Second} {
			if _, _, err := x.CreateEnrollmentToken(t.Context(), tester, NewEnrollmentToken{ExpiresIn: bad}); !fault.Is(err, "invalid") {
				t.Errorf("%s: got %v, want invalid", bad, err)
			}
		}
	})
}

func TestDeletedTokenEnrollsNobodyAndItsHostStays(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		used, usedSecret, err := x.CreateEnrollmentToken(t.Context(), tester, NewEnrollmentToken{})
		if err != nil {
			t.Fatal(err)
		}
		fresh, freshSecret, err := x.CreateEnrollmentToken(t.Context(), tester, NewEnrollmentToken{})
		if err != nil {
			t.Fatal(err)
		}
		r, err := x.Enroll(t.Context(), enrollOf(usedSecret, "rma_a", "web"), "")
		if err != nil {
			t.Fatal(err)
		}
		tokens, _, err := x.EnrollmentTokens(t.Context(), Page{})
		if err != nil || len(tokens) != 2 || tokens[1].UsedAt == nil || *tokens[1].HostID != r.HostID || tokens[0].UsedAt != nil {
			t.Errorf("got %+v, %v, want the used one with its host", tokens, err)
		}
		for _, id := range []string{used.ID, fresh.ID} {
			if err := x.DeleteEnrollmentToken(t.Context(), tester, id); err != nil {
				t.Fatal(err)
			}
		}
		_, err = x.Enroll(t.Context(), enrollOf(freshSecret, "rma_b", "web"), "")
		wantCode(t, err, wire.ProblemEnrollmentTokenInvalid)
		if _, err := x.HostByID(t.Context(), r.HostID); err != nil {
			t.Errorf("the host of a deleted token: %v", err)
		}
		if err := x.DeleteEnrollmentToken(t.Context(), tester, fresh.ID); !fault.Is(err, "not_found") {
			t.Errorf("again: got %v, want not_found", err)
		}
	})
}

func TestDeletedHostLeavesNothingButItsAuditRows(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		h, other := x.host("web"), x.host("other")
		id := x.runningJob(h)
		if _, err := x.put(h, id, lines(3), 1, 3); err != nil {
			t.Fatal(err)
		}
		if err := x.PutRepository(t.Context(), tester, h, RepositoryConfig{URL: "/r", Password: "x"}); err != nil {
			t.Fatal(err)
		}
		kept := x.queue(other, wire.KindBackup)
		if err := x.DeleteHost(t.Context(), tester, h); err != nil {
			t.Fatal(err)
		}
		for _, table := range []string{"logs", "log_chunks", "host_repositories", "host_names"} {
			var n int64
			q := x.db.Read(t.Context()).Table(table)
			if table == "host_names" || table == "host_repositories" {
				q = q.Where("host_id = ?", h)
			}
			if err := q.Count(&n).Error; err != nil || n != 0 {
				t.Errorf("%s: got %d rows, %v, want none", table, n, err)
			}
		}
		if _, err := x.JobByID(t.Context(), id); !fault.Is(err, "not_found") {
			t.Errorf("its job: got %v, want not_found", err)
		}
		if err := x.DeleteHost(t.Context(), tester, h); !fault.Is(err, "not_found") {
			t.Errorf("again: got %v, want not_found", err)
		}
		x.wantState(kept, wire.StateQueued)
		x.whole()
	})
}

func TestEveryStepOfAJobIsTold(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		h := x.host("web")
		id := x.queue(h, wire.KindBackup)
		aJob := []string{"jobs", "job:" + id, "host:" + h}
		for _, step := range []struct {
			name string
			do   func()
			want []string
		}{
			{"accept", func() { x.take(h, id, 1) }, aJob},
			{"start", func() {
				if err := x.Start(t.Context(), h, id, hex32(1), wire.StartRequest{StartNonce: hex32(1), RepositoryID: repo(1)}); err != nil {
					t.Fatal(err)
				}
			}, aJob},
			{"progress", func() {
				if _, err := x.Progress(t.Context(), h, id, hex32(1), wire.Progress{Seq: 1, PercentDone: 0.5}); err != nil {
					t.Fatal(err)
				}
			}, []string{"job:" + id}},
			{"listing", func() {
				if err := x.list(h, x.draw(h, id), repo(1), snapshotLines(1, 3, "web"), 10); err != nil {
					t.Fatal(err)
				}
			}, []string{"snapshots:" + h, "host:" + h, "hosts"}},
			{"finish", func() { x.end(h, id, 1, wire.StateSucceeded) }, append([]string{"hosts"}, aJob...)},
			{"offline", func() { x.settle(); x.pass(2 * time.Minute) }, []string{"hosts", "host:" + h}},
		} {
			x.clock.Advance(2 * changesOverlap) // what was told before is not repeated
			feed, err := x.Changes(t.Context(), "", 0)
			if err != nil {
				t.Fatal(err)
			}
			step.do()
			page, err := x.Changes(t.Context(), feed.Next, 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, topic := range step.want {
				if !slices.Contains(page.Topics, topic) {
					t.Errorf("%s: told of %v, want %s among them", step.name, page.Topics, topic)
				}
			}
		}
	})
}
