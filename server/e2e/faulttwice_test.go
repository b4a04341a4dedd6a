package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"restic-manager/server/database"
	"restic-manager/server/e2e/faultproxy"
	"restic-manager/server/e2e/scripted/script"
	"restic-manager/shared/wire"
)

// TestFaultEverythingTwice: one life of a host, from its first repository to a forgotten snapshot, leaves the same
// database whether each request of the agent arrives once, or twice and once more late, or three times.
func TestFaultEverythingTwice(t *testing.T) {
	t.Parallel()
	for _, engine := range databases {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			want, once := live(t, engine, faultproxy.Faults{})
			if len(want) < 100 {
				t.Fatalf("the database of one life: got %d rows, want more:\n%s", len(want), strings.Join(want, "\n"))
			}
			for _, way := range ways[:figures(1, len(ways))] {
				for range figures(1, 3) {
					got, c := live(t, engine, way.faults)
					broken := 0
					if d := cmp.Diff(want, got); d != "" {
						broken++
						t.Errorf("%s: the database against that of one delivery each:\n%s", way.name, d)
					}
					fault(t, faultRow{Row: "9", Fault: "every request of the agent " + way.name, Variant: engine, Runs: 1, Violations: broken,
						Figure: fmt.Sprintf("%d requests, %d without faults; %d copies, %d late ones, %d copies answered with another status; %d rows of the database compared",
							c.Requests, once.Requests, c.Copies, c.Late, c.Differing, len(want))})
				}
			}
		})
	}
}

// ways are how often requests arrive. What is late arrives between the requests of later jobs, or after all.
var ways = []struct {
	name   string
	faults faultproxy.Faults
}{
	{"twice, and again within 5 s", faultproxy.Faults{Copies: 1, Late: 5 * time.Second}},
	{"three times, and again at the end", faultproxy.Faults{Copies: 2, Late: time.Hour}},
	{"once, and again within 60 s", faultproxy.Faults{Late: time.Minute}},
}

// live is one life of a host through a proxy: what the database holds at its end, and what the proxy did.
func live(t *testing.T, engine string, f faultproxy.Faults) ([]string, faultproxy.Counts) {
	t.Helper()
	s := newServer(t, engine)
	r := newFaultRig(t, s, 1)
	a, p := r.agents[0], r.proxies[0]
	p.Set(f)
	ends := func(act script.Act, want wire.State) job {
		t.Helper()
		a.script(map[string]script.Act{"backup": act})
		return s.complete(s.reaches(a.backup().ID, time.Minute, want).ID)
	}
	first := ends(script.Act{Lines: 1500, LineBytes: 100}, wire.StateSucceeded)
	failed := ends(script.Act{Lines: 3, Exit: 12}, wire.StateFailed)
	ends(script.Act{Issues: []string{"/a", "/b"}}, wire.StateSucceededWithIssues)
	a.script(nil)
	var again job
	s.do("POST", "/api/jobs/"+failed.ID+"/retry", nil, &again)
	s.complete(s.reaches(again.ID, time.Minute, wire.StateSucceeded).ID)
	hung := a.hang()
	queued := s.order(a.hostID, wire.KindBackup, map[string]any{"paths": []string{a.bin}, "tags": []string{"never"}})
	s.do("POST", "/api/jobs/"+queued.ID+"/cancel", nil, nil)
	s.do("POST", "/api/jobs/"+hung.ID+"/cancel", nil, nil)
	s.complete(s.reaches(hung.ID, time.Minute, wire.StateCanceled).ID)
	// A list too long for a finish goes in parts.
	a.stock(longForAFinish)
	a.script(map[string]script.Act{"backup": {Exit: 11}, "snapshots": {Errors: []string{"a word of restic's"}}})
	ended := func(kind wire.Kind, spec any, want wire.State) { s.complete(s.run(a.hostID, kind, spec, want).ID) }
	ended(wire.KindBackup, map[string]any{"paths": []string{a.bin}, "tags": []string{"t"}}, wire.StateFailed)
	ended(wire.KindSnapshots, nil, wire.StateSucceeded)
	ended(wire.KindCheck, nil, wire.StateSucceeded)
	ended(wire.KindForget, map[string]any{"snapshot_ids": []string{first.Summary.SnapshotID}}, wire.StateSucceeded)
	ended(wire.KindPrune, nil, wire.StateSucceeded)
	ended(wire.KindUnlock, nil, wire.StateSucceeded)
	eventually(t, time.Minute, "the list is that after the forget", func() error {
		if n := s.host(a.hostID).SnapshotCount; n != longForAFinish+2 {
			return fmt.Errorf("it has %d snapshots", n)
		}
		return nil
	})
	a.noFolders()
	a.terminate(t, 15*time.Second)
	p.Settle()
	a.twice()
	store, db := s.store(t)
	violations(t, store)
	s.terminate(t, 15*time.Second)
	return dump(t, db), p.Counts()
}

// longForAFinish is how many snapshots do not fit into a finish.
const longForAFinish = 3000

// stock puts snapshots into the repository, like its first one but for their ids.
func (a *scripted) stock(n int) {
	a.t.Helper()
	path := filepath.Join(a.repository, "list")
	b, err := os.ReadFile(path)
	if err != nil {
		a.t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(b), "\n")
	head, _, ok := strings.Cut(first, `"id":"`)
	if !ok {
		a.t.Fatalf("no snapshot in %s: %q", path, first)
	}
	for i := range n {
		id := fmt.Sprintf("%064x", i+1)
		b = fmt.Appendf(b, "%s\"id\":\"%s\",\"short_id\":\"%s\"}\n", head, id, id[:8])
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		a.t.Fatal(err)
	}
}

// noFolders waits until the agent has settled all its jobs.
func (a *scripted) noFolders() {
	a.t.Helper()
	eventually(a.t, time.Minute, "the agent has settled its jobs", func() error {
		if n := strings.Count(a.words(), `"job offered"`) - strings.Count(a.words(), `"job settled"`); n != 0 {
			return fmt.Errorf("%d are open", n)
		}
		return nil
	})
}

// passing are columns that tell when, how long or how often something was asked, and those that are drawn by chance.
var passing = regexp.MustCompile(`(_at|_since|_seconds|^number|_seq|^boot_|_mark|^token|_sha256|^lease|_nonce|^hold_key|^sum_state|^time|^probe|^drawn_order|^base_order|listing_order|^delivery|byte_count|head_bytes|tail_bytes|tail_from|^tidy|loose_from|^size|^name|^name_key|^hostname|^session)$|^(id|job_id|host_id|repository_id|snapshot_id|short_id|original|tree|parent|progress|token)$`)

// unsettled are tables whose rows come and go: sessions, locks, tokens drawn and not used, and the log's chunks, which
// are compared by their content.
var unsettled = []string{"sessions", "login_throttle", "server_state", "setup_codes", "listings", "listing_parts", "log_chunks", "goose_db_version", "older_boots", "sqlite_sequence", "operators", "enrollment_tokens", "audit"}

var (
	chance = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\b[0-9a-f]{64}\b|\b[0-9a-f]{32}\b|\b[0-9a-f]{8}\b|\d{4}-\d\d-\d\d[T ][0-9:.]+(Z|\+\d\d:?\d\d)?|/tmp/[^" ]*/|[0-9.]+ ?m?s\b|"(total_duration|restic_seconds|elapsed_seconds|skew_seconds|boot_number|seq|uptime_seconds|boot_time|now|disk_free|memory_available)":[^,}]*`)
)

// dump is what the database holds: a line for each row of each table, without ids and times, and the words of each
// log, in order of their text.
func dump(t testing.TB, db *database.DB) []string {
	t.Helper()
	query := "SELECT name FROM sqlite_master WHERE type = 'table'"
	if db.Postgres() {
		query = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
	}
	var tables []string
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	read := db.Read(t.Context())
	must(read.Raw(query).Scan(&tables).Error)
	var lines []string
	for _, table := range tables {
		if slices.Contains(unsettled, table) {
			continue
		}
		rows, err := read.Raw("SELECT * FROM " + table).Rows()
		must(err)
		defer rows.Close()
		columns, err := rows.Columns()
		must(err)
		for rows.Next() {
			values := make([]any, len(columns))
			places := make([]any, len(columns))
			for i := range values {
				places[i] = &values[i]
			}
			must(rows.Scan(places...))
			row := map[string]any{}
			for i, c := range columns {
				row[c] = values[i]
			}
			lines = append(lines, table+" "+plain(t, row))
		}
		must(rows.Err())
	}
	var actions []string
	must(read.Raw("SELECT action FROM audit WHERE action NOT LIKE 'session%'").Scan(&actions).Error)
	for _, action := range actions {
		lines = append(lines, "audit "+action)
	}
	var ids []string
	must(read.Raw("SELECT job_id FROM logs").Scan(&ids).Error)
	for _, id := range ids {
		for record := range strings.Lines(string(rawLog(t, db, id))) {
			var r wire.Record
			must(json.Unmarshal([]byte(record), &r))
			lines = append(lines, fmt.Sprintf("log %s %s", r.Stream, chance.ReplaceAllString(string(r.Line()), "…")))
		}
	}
	slices.Sort(lines)
	return lines
}

// plain is a row without what passes.
func plain(t testing.TB, row map[string]any) string {
	t.Helper()
	for column, v := range row {
		if passing.MatchString(column) {
			// Whether there is one is told.
			row[column] = v != nil && fmt.Sprint(v) != ""
			continue
		}
		if b, ok := v.([]byte); ok {
			row[column] = string(b)
		}
	}
	b, err := json.Marshal(row)
	if err != nil {
		t.Fatal(err)
	}
	return chance.ReplaceAllString(strings.ReplaceAll(string(b), `\"`, `"`), "…")
}
