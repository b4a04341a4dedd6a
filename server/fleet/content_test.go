package fleet

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"restic-manager/server/database"
	"restic-manager/server/fault"
	"restic-manager/shared/wire"
)

func shaHex(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// records makes log records from the text of lines.
func records(lines ...string) []byte {
	var b []byte
	for _, l := range lines {
		b = wire.AppendRecord(b, time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), wire.StreamOut, []byte(l), wire.MaxRecord)
	}
	return b
}

// runningJob is a started backup; the lease is hex32(1).
func (x *fixture) runningJob(host string) string {
	x.t.Helper()
	id := x.queue(host, wire.KindBackup)
	if _, err := x.Accept(x.t.Context(), host, id, wire.AcceptRequest{Lease: hex32(1), Delivery: 1}); err != nil {
		x.t.Fatal(err)
	}
	if err := x.Start(x.t.Context(), host, id, hex32(1), wire.StartRequest{StartNonce: hex32(2)}); err != nil {
		x.t.Fatal(err)
	}
	return id
}

func (x *fixture) finish(host, id string, lines int64, sum string) {
	x.t.Helper()
	r := wire.FinishRequest{State: wire.StateSucceeded, LogLines: lines, LogSHA256: sum}
	raw, err := json.Marshal(r)
	if err != nil {
		x.t.Fatal(err)
	}
	if _, err := x.Finish(x.t.Context(), host, id, hex32(1), raw, r); err != nil {
		x.t.Fatal(err)
	}
}

// put appends whole lines from `first` of a file on.
func (x *fixture) put(host, id string, file [][]byte, first, n int) (wire.LogReply, error) {
	body := bytes.Join(file[first-1:first-1+n], nil)
	q := wire.LogQuery{FirstLine: int64(first), Lines: int64(n), SumBefore: shaHex(bytes.Join(file[:first-1], nil))}
	return x.AppendLog(x.t.Context(), host, id, hex32(1), q, LogBody{Raw: body, Plain: body})
}

func lines(n int) (file [][]byte) {
	for i := range n {
		file = append(file, records(fmt.Sprintf("line %d of the log", i+1)))
	}
	return file
}

func (x *fixture) token() string {
	x.t.Helper()
	_, secret, err := x.CreateEnrollmentToken(x.t.Context(), tester, NewEnrollmentToken{})
	if err != nil {
		x.t.Fatal(err)
	}
	return secret
}

func enrollOf(token, agent, hostname string) wire.EnrollRequest {
	return wire.EnrollRequest{Token: token, AgentTokenSHA256: shaHex([]byte(agent)), Hostname: hostname, OS: "linux", Arch: "amd64", ProtocolVersion: 1}
}

func TestHundredEnrollsWithOneTokenMakeOneHost(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		token := x.token()
		var wg sync.WaitGroup
		made := make([]string, 100)
		for i := range made {
			wg.Go(func() {
				r, err := x.Enroll(t.Context(), enrollOf(token, fmt.Sprintf("rma_%d", i), "web"), "")
				if err == nil {
					made[i] = r.HostID
				} else if !fault.Is(err, wire.ProblemEnrollmentTokenInvalid) {
					t.Errorf("enroll %d: got %v, want %s", i, err, wire.ProblemEnrollmentTokenInvalid)
				}
			})
		}
		wg.Wait()
		made = slices.DeleteFunc(made, func(s string) bool { return s == "" })
		page, err := x.Hosts(t.Context(), HostFilter{}, HostOrder{}, Page{})
		if err != nil {
			t.Fatal(err)
		}
		if len(made) != 1 || len(page.Hosts) != 1 || page.Hosts[0].ID != made[0] {
			t.Errorf("got %d enrolled, %d hosts, want one and the same", len(made), len(page.Hosts))
		}
	})
}

func TestEnrollAgainGetsTheSameHostUnlessRevoked(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		r := enrollOf(x.token(), "rma_a", "web")
		first, err := x.Enroll(t.Context(), r, "")
		if err != nil {
			t.Fatal(err)
		}
		x.clock.Advance(2 * time.Hour) // expired by now
		again, err := x.Enroll(t.Context(), r, "")
		if err != nil || again.HostID != first.HostID || again.Name != first.Name {
			t.Errorf("enroll again: got %+v, %v, want %+v", again, err, first)
		}
		other := r
		other.AgentTokenSHA256 = shaHex([]byte("rma_b"))
		expired := enrollOf(x.token(), "rma_c", "web")
		x.clock.Advance(2 * time.Hour)
		unknown := enrollOf(wire.EnrollmentTokenPrefix+"nothing", "rma_d", "web")
		for what, bad := range map[string]wire.EnrollRequest{"another agent": other, "an expired token": expired, "an unknown token": unknown} {
			_, err := x.Enroll(t.Context(), bad, "")
			if !fault.Is(err, wire.ProblemEnrollmentTokenInvalid) || fault.As(err).Message != errBadToken.Message {
				t.Errorf("%s: got %v, want the fault of every bad token", what, err)
			}
		}
		if _, err := x.RevokeHost(t.Context(), tester, first.HostID); err != nil {
			t.Fatal(err)
		}
		if _, err := x.Enroll(t.Context(), r, ""); !fault.Is(err, wire.ProblemEnrollmentTokenInvalid) {
			t.Errorf("enroll again after the revocation: got %v, want %s", err, wire.ProblemEnrollmentTokenInvalid)
		}
		old := r
		old.ProtocolVersion = 0
		if _, err := x.Enroll(t.Context(), old, ""); fault.As(err) == nil || fault.As(err).MinProtocolVersion != wire.MinProtocolVersion {
			t.Errorf("an old protocol: got %v, want %s with the version", err, wire.ProblemProtocolTooOld)
		}
	})
}

func TestEqualHostnamesGetNamesOfTheirOwn(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		seen := map[string]bool{}
		for i := range 12 {
			r, err := x.Enroll(t.Context(), enrollOf(x.token(), fmt.Sprintf("rma_%d", i), []string{"Web", "web"}[i%2]), "")
			if err != nil {
				t.Fatal(err)
			}
			if seen[strings.ToLower(r.Name)] {
				t.Errorf("the name %s was given twice", r.Name)
			}
			seen[strings.ToLower(r.Name)] = true
		}
	})
}

func TestRevokedIsUnauthorizedAtOnceHereAndWithinASecondElsewhere(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		r, err := x.Enroll(t.Context(), enrollOf(x.token(), "rma_a", "web"), "")
		if err != nil {
			t.Fatal(err)
		}
		other := x.replica()
		for _, s := range []*fixture{x, other} {
			if id, err := s.Authenticate(t.Context(), "rma_a"); err != nil || id != r.HostID {
				t.Fatalf("authenticate: got %s, %v, want %s", id, err, r.HostID)
			}
		}
		if _, err := x.RevokeHost(t.Context(), tester, r.HostID); err != nil {
			t.Fatal(err)
		}
		revoked := time.Now()
		if _, err := x.Authenticate(t.Context(), "rma_a"); !fault.Is(err, wire.ProblemUnauthorized) {
			t.Errorf("here: got %v, want %s", err, wire.ProblemUnauthorized)
		}
		for {
			_, err := other.Authenticate(t.Context(), "rma_a")
			if fault.Is(err, wire.ProblemUnauthorized) {
				break
			}
			if time.Since(revoked) > time.Second {
				t.Fatalf("on the other replica: got %v after a second, want %s", err, wire.ProblemUnauthorized)
			}
		}
	})
}

func TestRevocationHoldsWhenItsNotificationIsLost(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		r, err := x.Enroll(t.Context(), enrollOf(x.token(), "rma_a", "web"), "")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := x.Authenticate(t.Context(), "rma_a"); err != nil {
			t.Fatal(err)
		}
		x.content.identities.revoked = make(chan string) // deaf
		if _, err := x.RevokeHost(t.Context(), tester, r.HostID); err != nil {
			t.Fatal(err)
		}
		for revoked := time.Now(); ; {
			if _, err := x.Authenticate(t.Context(), "rma_a"); fault.Is(err, wire.ProblemUnauthorized) {
				return
			}
			if time.Since(revoked) > time.Second {
				t.Fatal("the bearer was taken for more than a second")
			}
		}
	})
}

func TestSealedValueOpensInItsPlaceOnly(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		a, b := x.host("a"), x.host("b")
		const password = "correct horse battery staple"
		c := RepositoryConfig{URL: "rest:https://backup.example/a", Password: password, Env: map[string]string{"RESTIC_REST_PASSWORD": "canary"}}
		for _, h := range []string{a, b} {
			if err := x.PutRepository(t.Context(), tester, h, c); err != nil {
				t.Fatal(err)
			}
		}
		err := x.db.Write(t.Context(), func(tx *database.Tx) error {
			got, err := x.readSecrets(tx.DB, a)
			if err != nil || got.Password != password || got.Env["RESTIC_REST_PASSWORD"] != "canary" || got.RepositoryURL != c.URL {
				t.Errorf("secrets: got %+v, %v", got, err)
			}
			var rows []repositoryRow
			if err := tx.Raw("SELECT * FROM host_repositories").Scan(&rows).Error; err != nil {
				return err
			}
			for _, r := range rows {
				if bytes.Contains(r.SealedPassword, []byte(password)) || bytes.Contains(r.SealedEnv, []byte("canary")) {
					t.Error("a secret is readable in the database")
				}
			}
			if err := tx.Exec("UPDATE host_repositories SET sealed_password = ? WHERE host_id = ?", rows[0].SealedPassword, rows[1].HostID).Error; err != nil {
				return err
			}
			if got, err := x.readSecrets(tx.DB, rows[1].HostID); err == nil {
				t.Errorf("a moved password was opened: %+v", got)
			}
			return errors.New("roll back")
		})
		if err == nil || err.Error() != "roll back" {
			t.Error(err)
		}
		other := make([]byte, KeySize)
		other[0] = 1
		if _, err := Open(t.Context(), Options{DB: x.db, Key: other}); err == nil || !strings.Contains(err.Error(), "encryption key") {
			t.Errorf("open with another key: got %v, want a refusal", err)
		}
	})
}

// TestAppendLogAgainstModel sends random stretches of a 20-line file, repeated, cut anew and out of order: the
// database holds a prefix of the file at any time, and the whole of it at the end.
func TestAppendLogAgainstModel(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		host := x.host("a")
		for seed := range uint64(6) {
			draw := rand.New(rand.NewPCG(seed, 1))
			id := x.runningJob(host)
			file, next := lines(20), 1
			for step := 0; next <= 20; step++ {
				first := 1 + draw.IntN(20)
				if draw.IntN(3) > 0 {
					first = next
				}
				n := draw.IntN(22 - first)
				reply, err := x.put(host, id, file, first, n)
				switch {
				case first > next:
					if f := fault.As(err); f == nil || f.Code != wire.ProblemLogGap || f.NextLine != int64(next) {
						t.Fatalf("seed %d: line %d at %d: got %v, want %s", seed, first, next, err, wire.ProblemLogGap)
					}
				case err != nil:
					t.Fatalf("seed %d: line %d at %d: %v", seed, first, next, err)
				default:
					if first == next {
						next += n
					}
					if reply.NextLine != int64(next) {
						t.Fatalf("seed %d: got next_line %d, want %d", seed, reply.NextLine, next)
					}
				}
			}
			x.finish(host, id, 20, shaHex(bytes.Join(file, nil)))
			page, err := x.LogLines(t.Context(), id, 0, 0, 0)
			if err != nil {
				t.Fatal(err)
			}
			if len(page.Lines) != 20 || !page.Complete || page.Next != 20 {
				t.Fatalf("seed %d: got %d lines, complete %v, next %d, want all 20", seed, len(page.Lines), page.Complete, page.Next)
			}
			for i, l := range page.Lines {
				if want := fmt.Sprintf("line %d of the log", i+1); l.N != int64(i+1) || l.Text != want {
					t.Errorf("seed %d: got line %d %q, want %q", seed, l.N, l.Text, want)
				}
			}
		}
	})
}

func TestAppendLogRefuses(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		host, other := x.host("a"), x.host("b")
		id, file := x.runningJob(host), lines(4)
		if _, err := x.put(host, id, file, 1, 2); err != nil {
			t.Fatal(err)
		}
		body := file[2]
		sum := shaHex(bytes.Join(file[:2], nil))
		for what, c := range map[string]struct {
			host, lease string
			q           wire.LogQuery
			body        []byte
			code        string
		}{
			"another host":  {other, hex32(1), wire.LogQuery{FirstLine: 3, Lines: 1, SumBefore: sum}, body, wire.ProblemLeaseLost},
			"another lease": {host, hex32(9), wire.LogQuery{FirstLine: 3, Lines: 1, SumBefore: sum}, body, wire.ProblemLeaseLost},
			"another sum":   {host, hex32(1), wire.LogQuery{FirstLine: 3, Lines: 1, SumBefore: shaHex(nil)}, body, wire.ProblemLogConflict},
			"fewer lines":   {host, hex32(1), wire.LogQuery{FirstLine: 3, Lines: 2, SumBefore: sum}, body, wire.ProblemInvalid},
			"no newline":    {host, hex32(1), wire.LogQuery{FirstLine: 3, Lines: 1, SumBefore: sum}, bytes.TrimSpace(body), wire.ProblemInvalid},
			"a long record": {host, hex32(1), wire.LogQuery{FirstLine: 3, Lines: 1, SumBefore: sum}, append(bytes.Repeat([]byte("x"), wire.MaxRecord), '\n'), wire.ProblemTooLarge},
			"a gap":         {host, hex32(1), wire.LogQuery{FirstLine: 4, Lines: 1, SumBefore: sum}, body, wire.ProblemLogGap},
		} {
			_, err := x.AppendLog(t.Context(), c.host, id, c.lease, c.q, LogBody{Raw: c.body, Plain: c.body})
			if !fault.Is(err, c.code) {
				t.Errorf("%s: got %v, want %s", what, err, c.code)
			}
		}
		if reply, err := x.put(host, id, file, 3, 0); err != nil || reply.NextLine != 3 {
			t.Errorf("no lines: got %+v, %v, want next_line 3", reply, err)
		}
	})
}

func TestLogThatDiffersFromTheFinishIsSettledAsIncomplete(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		host := x.host("a")
		for what, c := range map[string]struct {
			lines int64
			sum   string
		}{"another sum": {3, shaHex(nil)}, "fewer lines said": {2, shaHex(nil)}} {
			id, file := x.runningJob(host), lines(3)
			x.finish(host, id, c.lines, c.sum)
			if _, err := x.put(host, id, file, 1, 3); err != nil {
				t.Fatal(err)
			}
			page, err := x.LogLines(t.Context(), id, 0, 0, 0)
			if err != nil || page.Complete || page.Problem == "" {
				t.Errorf("%s: got complete %v, problem %q, %v, want a problem", what, page.Complete, page.Problem, err)
			}
		}
	})
}

func TestLogKeepsBothEndsAndSaysWhatIsGone(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		host := x.host("a")
		id, file := x.runningJob(host), lines(40)
		size := int64(len(file[0]))
		x.settings.LogHeadBytes, x.settings.LogTailBytes = 9*size, 9*size
		for first := 1; first <= 40; first += 2 {
			if _, err := x.put(host, id, file, first, 2); err != nil {
				t.Fatal(err)
			}
		}
		x.finish(host, id, 40, shaHex(bytes.Join(file, nil)))
		page, err := x.LogLines(t.Context(), id, 0, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		if page.Dropped == nil || !page.Complete {
			t.Fatalf("got dropped %v, complete %v, want a range and all received", page.Dropped, page.Complete)
		}
		var got []int64
		for _, l := range page.Lines {
			got = append(got, l.N)
		}
		var want []int64
		for n := int64(1); n <= 40; n++ {
			if n < page.Dropped.From || n > page.Dropped.To {
				want = append(want, n)
			}
		}
		if !slices.Equal(got, want) || page.Dropped.From < 7 || page.Dropped.To > 34 {
			t.Errorf("got lines %v without %v", got, *page.Dropped)
		}
		if next, err := x.LogLines(t.Context(), id, page.Dropped.From-1, 0, 0); err != nil || len(next.Lines) == 0 || next.Lines[0].N != page.Dropped.To+1 {
			t.Errorf("a page from the gap: got %v, %v, want line %d first", next.Lines, err, page.Dropped.To+1)
		}
	})
}

func TestCompactionAndExpiryKeepWhatTheyShould(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		host := x.host("a")
		id, file := x.runningJob(host), lines(60)
		for first := 1; first <= 60; first += 3 {
			if _, err := x.put(host, id, file, first, 3); err != nil {
				t.Fatal(err)
			}
		}
		x.finish(host, id, 60, shaHex(bytes.Join(file, nil)))
		var before, after bytes.Buffer
		if err := x.WriteLog(t.Context(), id, &before); err != nil {
			t.Fatal(err)
		}
		did, err := x.CompactLogs(t.Context())
		if err != nil || did.Jobs != 1 || did.ChunksBefore != 20 || did.ChunksAfter != 1 {
			t.Errorf("compact: got %+v, %v, want 20 chunks to 1", did, err)
		}
		if err := x.WriteLog(t.Context(), id, &after); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(before.Bytes(), after.Bytes()) || bytes.Count(after.Bytes(), []byte("\n")) != 60 {
			t.Error("the log differs after compaction")
		}
		if did, err := x.CompactLogs(t.Context()); err != nil || did.Jobs != 0 {
			t.Errorf("compact again: got %+v, %v, want nothing to do", did, err)
		}
		if n, err := x.ExpireLogs(t.Context()); err != nil || n != 0 {
			t.Errorf("expire too early: got %d, %v", n, err)
		}
		x.clock.Advance(x.settings.LogKeep + time.Hour)
		if n, err := x.ExpireLogs(t.Context()); err != nil || n != 1 {
			t.Errorf("expire: got %d, %v, want 1", n, err)
		}
		page, err := x.LogLines(t.Context(), id, 0, 0, 0)
		if err != nil || len(page.Lines) != 0 || page.Problem == "" {
			t.Errorf("an expired log: got %+v, %v", page, err)
		}
	})
}

// TestExpireLogsLeavesWhatAnotherReplicaHas: the log's row is locked before its chunks, as in an append and a compaction,
// and by one replica alone.
func TestExpireLogsLeavesWhatAnotherReplicaHas(t *testing.T) {
	x := newFixture(t, "postgres")
	y := x.replica()
	host := x.host("a")
	id := x.runningJob(host)
	if _, err := x.put(host, id, [][]byte{records("scan finished")}, 1, 1); err != nil {
		t.Fatal(err)
	}
	x.end(host, id, 1, wire.StateSucceeded)
	x.clock.Advance(x.settings.LogKeep + time.Hour)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	x.write(t, func(tx *database.Tx) error {
		if _, err := x.lockLog(tx, id); err != nil {
			return err
		}
		if n, err := y.ExpireLogs(ctx); err != nil || n != 0 {
			t.Errorf("expire what another replica has in hand: got %d, %v, want 0", n, err)
		}
		return nil
	})
	if n, err := y.ExpireLogs(ctx); err != nil || n != 1 {
		t.Errorf("expire afterwards: got %d, %v, want 1", n, err)
	}
}

func TestLogTextCannotAct(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		host := x.host("a")
		id := x.runningJob(host)
		poison := []string{"a\x00b", "\x1b[31mred", "\xff\xfe", "left\u202eright", "\u0085c1", "tab\tcr\r", "<script>"}
		file := [][]byte{}
		for _, p := range poison {
			file = append(file, records(p))
		}
		file = append(file, []byte("not json \x01\xff\n"), []byte(`{"t":"9999-12-31T23:59:59-23:59","s":"out","text":"late"}`+"\n"),
			[]byte(`{"s":"out","text":"\ud800"}`+"\n"))
		if _, err := x.put(host, id, file, 1, len(file)); err != nil {
			t.Fatal(err)
		}
		page, err := x.LogLines(t.Context(), id, 0, 0, 0)
		if err != nil || len(page.Lines) != len(file) {
			t.Fatalf("got %d lines, %v, want %d", len(page.Lines), err, len(file))
		}
		for _, l := range page.Lines {
			if strings.ContainsFunc(l.Text, isHidden) {
				t.Errorf("line %d: %q holds what acts", l.N, l.Text)
			}
		}
		if got, want := page.Lines[1].Text, "␛[31mred"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if got, want := page.Lines[2].Text, `\xff\xfe`; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if _, err := json.Marshal(page); err != nil {
			t.Errorf("the page cannot be sent: %v", err)
		}
	})
}

func TestLiveTailWakesForAnotherReplicasLines(t *testing.T) {
	each(t, func(t *testing.T, x *fixture) {
		host := x.host("a")
		id, file := x.runningJob(host), lines(1)
		other := x.replica()
		got := make(chan LogPage)
		go func() {
			page, err := other.LogLines(t.Context(), id, 0, 0, 20*time.Second)
			if err != nil {
				t.Error(err)
			}
			got <- page
		}()
		if _, err := x.put(host, id, file, 1, 1); err != nil {
			t.Fatal(err)
		}
		if page := <-got; len(page.Lines) != 1 {
			t.Errorf("got %d lines, want the new one", len(page.Lines))
		}
	})
}
