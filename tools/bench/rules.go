package main

import (
	"regexp"
	"slices"
)

// suite is one benchmark of one package.
type suite struct {
	lines []int
	dir   string // of the package, from the top of the tree
	bench string // go test's -bench
	most  int    // runs, where one takes minutes or repeats by itself; 0: as many as asked for
}

var suites = []suite{
	{lines: []int{1}, dir: "server/api", bench: "^BenchmarkLog$/^postgres$/^zstd$"},
	{lines: []int{2}, dir: "server/api", bench: "^BenchmarkLog$/^sqlite$/^zstd$"},
	{lines: []int{3}, dir: "server/api", bench: "^BenchmarkLogBytes$"},
	{lines: []int{5}, dir: "server/api", bench: "^BenchmarkWaitingAgents$"},
	{lines: []int{4}, dir: "server/e2e", bench: "^BenchmarkDispatch$", most: 1},
	{lines: []int{6}, dir: "server/e2e", bench: "^BenchmarkIdleHerd$", most: 1},
	{lines: []int{7}, dir: "server/e2e", bench: "^BenchmarkHerdReturns$", most: 1},
	{lines: []int{11}, dir: "server/e2e", bench: "^BenchmarkPagesOfALargeFleet$", most: 1},
	{lines: []int{8}, dir: "server/fleet", bench: "^BenchmarkAccept$"},
	{lines: []int{9}, dir: "server/fleet", bench: "^BenchmarkReplaceSnapshots$"},
	{lines: []int{10}, dir: "server/e2e", bench: "^BenchmarkAgentAroundRestic$", most: 1},
	{lines: []int{13}, dir: "server/e2e", bench: "^BenchmarkNight$", most: 1},
	{lines: []int{13}, dir: "server/e2e", bench: "^BenchmarkNightCeiling$", most: 1},
}

func chosenSuites(lines []int) []suite {
	return slices.DeleteFunc(slices.Clone(suites), func(s suite) bool {
		return !slices.ContainsFunc(s.lines, func(l int) bool { return slices.Contains(lines, l) })
	})
}

// rule is one row of the table: which metric of which benchmark, and what it should reach. The lines are numbered
// as in docs/benchmarks.md.
type rule struct {
	line     int
	measure  string
	database string
	name     *regexp.Regexp // of the benchmark's result
	metric   string         // that the goal is for; ours and baseline are shown beside a ratio when they are there
	low      string         // metrics of a result that repeats by itself: the interval around metric
	high     string
	atLeast  bool // the goal is a least; else a most
	goal     float64
	reported bool // without a goal
	optional bool // shown when it is there
}

func at(name string) *regexp.Regexp { return regexp.MustCompile("^Benchmark" + name + "$") }

// rules are in the table's order.
var rules = []rule{
	{line: 1, measure: "log lines through the endpoint / COPY, with a primary key", database: "PostgreSQL", name: at("Log/postgres/zstd"), metric: "ratio", atLeast: true, goal: 2},
	{line: 2, measure: "log lines through the endpoint / a prepared row each", database: "SQLite", name: at("Log/sqlite/zstd"), metric: "ratio", atLeast: true, goal: 3},

	{line: 3, measure: "bytes kept of a log line, whole batches / a row each", database: "PostgreSQL", name: at("LogBytes/postgres/whole-batches"), metric: "ratio", goal: 0.12},
	{line: 3, measure: "bytes kept of a log line, whole batches / a row each", database: "SQLite", name: at("LogBytes/sqlite/whole-batches"), metric: "ratio", goal: 0.12},
	{line: 3, measure: "bytes kept of a slow job's line / a row each", database: "PostgreSQL", name: at("LogBytes/postgres/slow-job"), metric: "ratio", goal: 0.15},
	{line: 3, measure: "bytes kept of a slow job's line / a row each", database: "SQLite", name: at("LogBytes/sqlite/slow-job"), metric: "ratio", goal: 0.15},

	{line: 4, measure: "from the order to the agent that waits among 10,000 (p99) / a bare POST and GET", database: "PostgreSQL", name: at("Dispatch/postgres"), metric: "ratio", goal: 3},
	{line: 4, measure: "from the order to the agent that waits among 10,000 (p99) / a bare POST and GET", database: "SQLite", name: at("Dispatch/sqlite"), metric: "ratio", goal: 3},
	{line: 4, measure: "more where the order went to another replica (median)", database: "PostgreSQL", name: at("Dispatch/postgres"), metric: "other-replica-more-ms", goal: 1},

	{line: 5, measure: "heap and stacks of a waiting agent, HTTP / a bare handler", name: at("WaitingAgents/http"), metric: "ratio", goal: 1.25},
	{line: 5, measure: "heap and stacks of a waiting agent, TLS / a bare handler", name: at("WaitingAgents/https"), metric: "ratio", goal: 1.25},
	{line: 5, measure: "resident memory of a waiting agent, HTTP / a bare handler", name: at("WaitingAgents/http"), metric: "rss-ratio", goal: 1.25},
	{line: 5, measure: "resident memory of a waiting agent, TLS / a bare handler", name: at("WaitingAgents/https"), metric: "rss-ratio", goal: 1.25},

	{line: 6, measure: "processor of 10,000 agents that wait, TLS / one core", database: "PostgreSQL", name: at("IdleHerd/postgres"), metric: "core-share", goal: 0.05},
	{line: 6, measure: "the same / a bare handler that parks as many as long", database: "PostgreSQL", name: at("IdleHerd/postgres"), metric: "core-ratio", reported: true},
	{line: 6, measure: "processor of 10,000 agents that wait, TLS / one core", database: "SQLite", name: at("IdleHerd/sqlite"), metric: "core-share", goal: 0.05},
	{line: 6, measure: "the same / a bare handler that parks as many as long", database: "SQLite", name: at("IdleHerd/sqlite"), metric: "core-ratio", reported: true},

	{line: 7, measure: "10,000 agents wait again after kill -9 and 2 s, TLS", database: "PostgreSQL", name: at("HerdReturns/postgres"), metric: "s", goal: 15},
	{line: 7, measure: "10,000 agents wait again after kill -9 and 2 s, TLS", database: "SQLite", name: at("HerdReturns/sqlite"), metric: "s", goal: 15},
	{line: 7, measure: "answers meanwhile that are neither 2xx nor 503", database: "PostgreSQL", name: at("HerdReturns/postgres"), metric: "other-answers"},
	{line: 7, measure: "answers meanwhile that are neither 2xx nor 503", database: "SQLite", name: at("HerdReturns/sqlite"), metric: "other-answers"},
	{line: 7, measure: "requests answered in the busiest second meanwhile", database: "PostgreSQL", name: at("HerdReturns/postgres"), metric: "busiest-requests/s", goal: 3000},
	{line: 7, measure: "memory of the server then", database: "PostgreSQL", name: at("HerdReturns/postgres"), metric: "MiB", goal: 700},
	{line: 7, measure: "the busiest 10 s of the minute after / its mean", database: "PostgreSQL", name: at("HerdReturns/postgres"), metric: "second-wave", goal: 1.5},
	{line: 7, measure: "requests answered in the busiest second meanwhile", database: "SQLite", name: at("HerdReturns/sqlite"), metric: "busiest-requests/s", goal: 3000},
	{line: 7, measure: "memory of the server then", database: "SQLite", name: at("HerdReturns/sqlite"), metric: "MiB", goal: 700},
	{line: 7, measure: "the busiest 10 s of the minute after / its mean", database: "SQLite", name: at("HerdReturns/sqlite"), metric: "second-wave", goal: 1.5},

	{line: 8, measure: "accepts, 1,000 repositories / one UPDATE … RETURNING", database: "PostgreSQL", name: at("Accept/postgres/repositories=1000"), metric: "ratio", atLeast: true, goal: 0.35},
	{line: 8, measure: "accepts, 20 repositories / one UPDATE … RETURNING", database: "PostgreSQL", name: at("Accept/postgres/repositories=20"), metric: "ratio", reported: true},
	{line: 8, measure: "accepts, 1,000 repositories / one UPDATE … RETURNING", database: "SQLite", name: at("Accept/sqlite/repositories=1000"), metric: "ratio", reported: true, optional: true},
	{line: 8, measure: "deadlocks meanwhile", database: "PostgreSQL", name: at("Accept/postgres/repositories=1000"), metric: "deadlocks", optional: true},
	{line: 8, measure: "deadlocks meanwhile, 20 repositories", database: "PostgreSQL", name: at("Accept/postgres/repositories=20"), metric: "deadlocks", optional: true},

	{line: 9, measure: "replacing 100,000 snapshots by one new, one gone / DELETE and COPY", database: "PostgreSQL", name: at("ReplaceSnapshots.*"), metric: "ratio", goal: 0.12},

	{line: 10, measure: "restic's lifetime under the agent / alone: 20,000 small files", name: at("AgentAroundRestic/20000-small-files"), metric: "lifetime-ratio", low: "lifetime-low", high: "lifetime-high", goal: 1.02},
	{line: 10, measure: "restic's lifetime under the agent / alone: one file of 2 GiB", name: at("AgentAroundRestic/one-2-GiB-file"), metric: "lifetime-ratio", low: "lifetime-low", high: "lifetime-high", goal: 1.02},
	{line: 10, measure: "CPU of restic, supervisor and agent / restic: 20,000 small files", name: at("AgentAroundRestic/20000-small-files"), metric: "cpu-ratio", low: "cpu-low", high: "cpu-high", goal: 1.05},
	{line: 10, measure: "CPU of restic, supervisor and agent / restic: one file of 2 GiB", name: at("AgentAroundRestic/one-2-GiB-file"), metric: "cpu-ratio", low: "cpu-low", high: "cpu-high", goal: 1.05},
	{line: 10, measure: "memory of agent and supervisor (PSS): 20,000 small files", name: at("AgentAroundRestic/20000-small-files"), metric: "PSS-MiB", goal: 32},
	{line: 10, measure: "memory of agent and supervisor (PSS): one file of 2 GiB", name: at("AgentAroundRestic/one-2-GiB-file"), metric: "PSS-MiB", goal: 32},
	{line: 10, measure: "set-up before restic runs: 20,000 small files", name: at("AgentAroundRestic/20000-small-files"), metric: "setup-s", goal: 0.5},
	{line: 10, measure: "set-up before restic runs: one file of 2 GiB", name: at("AgentAroundRestic/one-2-GiB-file"), metric: "setup-s", goal: 0.5},

	{line: 11, measure: "the fleet page at 10,000 hosts, 1,000,000 jobs (p99) / at a tenth", database: "PostgreSQL", name: at("PagesOfALargeFleet/postgres"), metric: "fleet-ratio", goal: 1.5},
	{line: 11, measure: "the fleet page right after a change of a host (p99) / at a tenth", database: "PostgreSQL", name: at("PagesOfALargeFleet/postgres"), metric: "changed-fleet-ratio", reported: true},
	{line: 11, measure: "a host's jobs at 10,000 hosts, 1,000,000 jobs (p99) / at a tenth", database: "PostgreSQL", name: at("PagesOfALargeFleet/postgres"), metric: "jobs-ratio", goal: 1.5},
	{line: 11, measure: "a page of a 1,000,000-line log at 10,000 hosts, 1,000,000 jobs (p99) / at a tenth", database: "PostgreSQL", name: at("PagesOfALargeFleet/postgres"), metric: "log-ratio", goal: 1.5},
	{line: 11, measure: "the fleet page at 10,000 hosts, 1,000,000 jobs (p99) / at a tenth", database: "SQLite", name: at("PagesOfALargeFleet/sqlite"), metric: "fleet-ratio", goal: 1.5},
	{line: 11, measure: "the fleet page right after a change of a host (p99) / at a tenth", database: "SQLite", name: at("PagesOfALargeFleet/sqlite"), metric: "changed-fleet-ratio", reported: true},
	{line: 11, measure: "a host's jobs at 10,000 hosts, 1,000,000 jobs (p99) / at a tenth", database: "SQLite", name: at("PagesOfALargeFleet/sqlite"), metric: "jobs-ratio", goal: 1.5},
	{line: 11, measure: "a page of a 1,000,000-line log at 10,000 hosts, 1,000,000 jobs (p99) / at a tenth", database: "SQLite", name: at("PagesOfALargeFleet/sqlite"), metric: "log-ratio", goal: 1.5},

	{line: 13, measure: "processor of the server in a night in which 10,000 hosts back up once / one core", database: "PostgreSQL", name: at("Night/postgres/1x"), metric: "cores", reported: true},
	{line: 13, measure: "from the order to the agent meanwhile (p99)", database: "PostgreSQL", name: at("Night/postgres/1x"), metric: "p99-ms", reported: true},
	{line: 13, measure: "processor of the server in a night in which 10,000 hosts back up ten times / one core", database: "PostgreSQL", name: at("Night/postgres/10x"), metric: "cores", reported: true},
	{line: 13, measure: "from the order to the agent meanwhile (p99)", database: "PostgreSQL", name: at("Night/postgres/10x"), metric: "p99-ms", reported: true},
	{line: 13, measure: "jobs a second when more are ordered than two cores can take", database: "PostgreSQL", name: at("NightCeiling/postgres"), metric: "jobs/s", reported: true},
	{line: 13, measure: "processor of the server in a night in which 10,000 hosts back up once / one core", database: "SQLite", name: at("Night/sqlite/1x"), metric: "cores", reported: true},
	{line: 13, measure: "from the order to the agent meanwhile (p99)", database: "SQLite", name: at("Night/sqlite/1x"), metric: "p99-ms", reported: true},
	{line: 13, measure: "processor of the server in a night in which 10,000 hosts back up ten times / one core", database: "SQLite", name: at("Night/sqlite/10x"), metric: "cores", reported: true},
	{line: 13, measure: "from the order to the agent meanwhile (p99)", database: "SQLite", name: at("Night/sqlite/10x"), metric: "p99-ms", reported: true},
	{line: 13, measure: "jobs a second when more are ordered than two cores can take", database: "SQLite", name: at("NightCeiling/sqlite"), metric: "jobs/s", reported: true},
}
