package main

import (
	"slices"
	"strings"
	"testing"
)

const output = `goos: linux
BenchmarkLog/postgres/zstd-2         	       1	    400000 baseline-lines/s	    %s lines/s	         %r ratio
--- BENCH: BenchmarkLog
    note 3 x
PASS
`

func run(ours, ratio string) []byte {
	return []byte(strings.NewReplacer("%s", ours, "%r", ratio).Replace(output))
}

func TestTableShowsMediansSpreadAndWhetherTheGoalIsMet(t *testing.T) {
	all := results{}
	for _, c := range [][2]string{{"900000", "2.25"}, {"400000", "1.00"}, {"860000", "2.15"}} {
		if !all.add(run(c[0], c[1])) {
			t.Fatal("no result found")
		}
	}
	table, missing := tabulate(all, []int{1})
	if len(missing) > 0 {
		t.Errorf("missing: %v", missing)
	}
	row := strings.Split(table, "\n")[2]
	for _, want := range []string{"PostgreSQL", "860,000 lines/s", "400,000 lines/s", " 2.15 ", "1–2.25", "≥ 2", "met"} {
		if !strings.Contains(row, want) {
			t.Errorf("got %q, want %q in it", row, want)
		}
	}
	if strings.Contains(row, "missed") {
		t.Errorf("got %q, want met", row)
	}
	all.add(run("400000", "1.00"))
	all.add(run("400000", "1.00"))
	if table, _ := tabulate(all, []int{1}); !strings.Contains(table, "missed") {
		t.Errorf("median below the goal: got %s, want missed", table)
	}
}

func TestTableNamesWhatWasNotMeasured(t *testing.T) {
	if _, missing := tabulate(results{}, []int{9}); len(missing) != 1 || !strings.Contains(missing[0], "line 9") {
		t.Errorf("got %v, want line 9", missing)
	}
	all := results{}
	if all.add([]byte("--- FAIL: BenchmarkLog\nBenchmarkLog/x-2 some words here\nPASS\n")) {
		t.Errorf("got %v, want no result", all)
	}
}

func TestTableKeepsTheFiguresOfTwoRatiosApart(t *testing.T) {
	all := results{}
	all.add([]byte("BenchmarkWaitingAgents/http-2 1 25000 B/agent 20000 baseline-B/agent 1.25 ratio 33000 rss-B/agent 30000 baseline-rss-B/agent 1.1 rss-ratio 7 other\n" +
		"BenchmarkWaitingAgents/https-2 1 25000 B/agent 20000 baseline-B/agent 1.26 ratio 33000 rss-B/agent 30000 baseline-rss-B/agent 1.1 rss-ratio\n"))
	table, _ := tabulate(all, []int{5})
	lines := strings.Split(table, "\n")
	for i, want := range [][]string{{"25,000 B/agent", "20,000 B/agent", "≤ 1.25  met"}, {"25,000", "1.26", "missed"}, {"33,000 B/agent", "30,000 B/agent", "met"}} {
		for _, w := range want {
			if !strings.Contains(lines[2+i], w) {
				t.Errorf("got %q, want %q in it", lines[2+i], w)
			}
		}
	}
	if !strings.Contains(table, "WaitingAgents/http: 7 other") {
		t.Errorf("got %s, want the metric that no row shows", table)
	}
}

func TestIntervalOfABenchmarkThatRepeatsByItselfIsShown(t *testing.T) {
	all := results{}
	for _, source := range []string{"20000-small-files", "one-2-GiB-file"} {
		all.add([]byte("BenchmarkAgentAroundRestic/" + source + "-2 1 1.01 lifetime-ratio 0.99 lifetime-low 1.03 lifetime-high 1.02 cpu-ratio 21 PSS-MiB 0.2 setup-s\n"))
	}
	table, missing := tabulate(all, []int{10})
	if len(missing) > 0 || !strings.Contains(table, "0.99–1.03") || !strings.Contains(table, "21 MiB") || !strings.Contains(table, "0.2 s") || strings.Contains(table, "missed") {
		t.Errorf("missing %v, got %s", missing, table)
	}
}

func TestOnlyChoosesLines(t *testing.T) {
	for only, want := range map[string][]int{"": {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13}, "1": {1}, "10, 2": {10, 2}} {
		got, err := linesOf(only)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: got %v, %v, want %v", only, got, err, want)
		}
	}
	for _, only := range []string{"12", "x", "1,99"} {
		if got, err := linesOf(only); err == nil {
			t.Errorf("%q: got %v, want an error", only, got)
		}
	}
	if got := chosenSuites([]int{2, 9}); len(got) != 2 || got[0].bench != suites[1].bench {
		t.Errorf("got %v", got)
	}
	for _, r := range rules {
		if len(chosenSuites([]int{r.line})) == 0 {
			t.Errorf("no benchmark measures line %d", r.line)
		}
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 0.1234: "0.123", 1.5: "1.5", 2: "2", 12.34: "12.3", 123.4: "123", 1234567: "1,234,567", 999.6: "1,000", -1234: "-1,234", 0.00012: "0.00012"} {
		if got := number(v); got != want {
			t.Errorf("%v: got %s, want %s", v, got, want)
		}
	}
}
