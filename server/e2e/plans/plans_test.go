//go:build !race

package plans

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gorm.io/gorm"

	"restic-manager/server/database/databasetest"
)

// grows are the tables that a page must not be read by a scan of: they grow with the years. hosts is not among them:
// 10,000 rows are counted and sorted in some milliseconds, and are so for each overview.
var grows = []string{"jobs", "logs", "log_chunks", "snapshots", "audit", "ticks"}

// mostRows is how many rows of one of these a statement may look at: what is walked for the jobs of many hosts, and the
// jobs of 200 hosts one by one. The tables here have five times as many.
const mostRows = 22_000

// explained is a statement's plan: which index each growing table was read by, and how many rows.
type explained struct {
	used map[string]bool // "jobs: jobs_state"
	bad  []string
}

// watch explains every statement that reads, as the server sends it: the same text and arguments, in the same
// transaction.
func watch(t *testing.T, r *rig) *explained {
	e := &explained{used: map[string]bool{}}
	look := func(g *gorm.DB) {
		statement := g.Statement.SQL.String()
		if g.Error != nil || statement == "" {
			return
		}
		var err error
		if r.db.Postgres() {
			err = e.postgres(g, statement)
		} else {
			err = e.sqlite(g, statement)
		}
		if err != nil {
			t.Errorf("explain %s: %v", statement, err)
		}
	}
	callbacks := r.db.Read(t.Context()).Callback()
	// A raw statement is there before it is run; one that gorm makes is there after it.
	if err := callbacks.Row().Before("gorm:row").Register("explain", look); err != nil {
		t.Fatal(err)
	}
	if err := callbacks.Query().After("gorm:query").Register("explain", look); err != nil {
		t.Fatal(err)
	}
	return e
}

// plan is a node of PostgreSQL's.
type plan struct {
	Node    string  `json:"Node Type"`
	Table   string  `json:"Relation Name"`
	Index   string  `json:"Index Name"`
	Rows    float64 `json:"Actual Rows"`
	Loops   float64 `json:"Actual Loops"`
	Removed float64 `json:"Rows Removed by Filter"`
	Plans   []plan  `json:"Plans"`
}

func (e *explained) postgres(g *gorm.DB, statement string) error {
	rows, err := g.Statement.ConnPool.QueryContext(g.Statement.Context, "EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) "+statement, g.Statement.Vars...)
	if err != nil {
		return err
	}
	defer rows.Close()
	var text []byte
	for rows.Next() {
		if err := rows.Scan(&text); err != nil {
			return err
		}
	}
	var whole []struct{ Plan plan }
	if err := json.Unmarshal(text, &whole); err != nil {
		return err
	}
	e.walk(whole[0].Plan, "", statement)
	return rows.Err()
}

// walk notes what a node reads. A bitmap's index has no table of its own: it is that of the node above.
func (e *explained) walk(p plan, above, statement string) {
	table := p.Table
	if strings.HasPrefix(p.Node, "Bitmap") && table == "" {
		table = above
	}
	if slices.Contains(grows, table) {
		read := (p.Rows + p.Removed) * p.Loops
		switch {
		case strings.Contains(p.Node, "Seq Scan"):
			e.bad = append(e.bad, fmt.Sprintf("all of %s is read by %s", table, statement))
		case read > mostRows:
			e.bad = append(e.bad, fmt.Sprintf("%.0f rows of %s are read by %s", read, table, statement))
		}
		if p.Index != "" {
			e.used[table+": "+p.Index] = true
		}
	}
	for _, child := range p.Plans {
		e.walk(child, table, statement)
	}
}

// What SQLite says of a step: SEARCH goes to a place in an index, SCAN reads from its beginning; without an index,
// the table.
var (
	step  = regexp.MustCompile(`^(SCAN|SEARCH) (\w+)(?: USING (?:COVERING )?INDEX (\w+))?`)
	inRow = regexp.MustCompile(`USING INTEGER PRIMARY KEY|USING PRIMARY KEY`)
)

func (e *explained) sqlite(g *gorm.DB, statement string) error {
	rows, err := g.Statement.ConnPool.QueryContext(g.Statement.Context, "EXPLAIN QUERY PLAN "+statement, g.Statement.Vars...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id, parent, unused int
		var detail string
		if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
			return err
		}
		m := step.FindStringSubmatch(detail)
		if m == nil || !slices.Contains(grows, m[2]) {
			continue
		}
		if m[1] == "SCAN" && m[3] == "" {
			e.bad = append(e.bad, fmt.Sprintf("all of %s is read by %s", m[2], statement))
		}
		if m[3] != "" && !inRow.MatchString(detail) {
			e.used[m[2]+": "+m[3]] = true
		}
	}
	return rows.Err()
}

// serves says which index a list is read by where that is not the planner's to choose: all others of that table would
// read more than the page.
var serves = map[string]string{
	"jobs of a rare kind":                        "jobs_kind_state",
	"jobs of a kind that never was":              "jobs_kind_state",
	"jobs prunes that failed":                    "jobs_kind_state",
	"jobs lost":                                  "jobs_state",
	"jobs all, of few hosts, by a name's part":   "jobs_host",
	"calendar":                                   "jobs_backups",
	"snapshots":                                  "jobs_snapshot",
	"snapshots by a tag":                         "snapshots_hostname",
	"snapshots of the whole repository":          "snapshots_time",
	"ticks of a policy":                          "ticks_policy",
	"ticks of a host":                            "ticks_host",
	"ticks that never were":                      "ticks_outcome",
	"jobs of a small policy":                     "jobs_policy",
	"jobs checks of a repository":                "jobs_repository",
	"jobs prunes of a repository":                "jobs_target_setting",
	"jobs forgets of a repository that has none": "jobs_repository",
	"audit of a rare action":                     "audit_action",
	"audit of an action's noun":                  "audit_action_noun",
	"audit of a target":                          "audit_target",
	"audit of a target's noun":                   "audit_target_noun",
	"audit by a name":                            "audit_actor",
	"audit by an id":                             "audit_actor_id",
}

// TestNoListReadsAWholeTable asks for two pages of every list, on 120,000 jobs of 1,200 hosts: each host has as many as
// of a million and 10,000, and the shares are the same. On PostgreSQL it counts the rows that each page costs, too. What
// each list was read by is in the test's log; it is not compared as a whole, for where several indexes do, the statistics
// choose.
func TestNoListReadsAWholeTable(t *testing.T) {
	for _, engine := range databasetest.Engines {
		t.Run(engine, func(t *testing.T) {
			r := filled(t, databasetest.New(t, engine), 1_200, 120_000)
			lists := r.lists()
			r.due(t)
			e := watch(t, r)
			for _, l := range append(lists, r.policyLists()...) {
				e.used, e.bad = map[string]bool{}, nil
				if err := l.pages(context.WithoutCancel(t.Context())); err != nil {
					t.Fatal(err)
				}
				for _, bad := range e.bad {
					t.Errorf("%s: %s", l.name, bad)
				}
				used := strings.Join(slices.Sorted(maps.Keys(e.used)), ", ")
				if index := serves[l.name]; index != "" && !strings.Contains(used+",", " "+index+",") {
					t.Errorf("%s: read by %s, want %s", l.name, used, index)
				}
				t.Logf("%-70s %s", l.name, used)
			}
		})
	}
}
