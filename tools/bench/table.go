package main

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// tabulate is the table of the chosen lines, and what should have been measured for it and was not.
func tabulate(all results, lines []int) (table string, missing []string) {
	rows := [][]string{{"line", "measure", "database", "ours", "baseline", "ratio", "spread", "goal", ""}}
	shown := map[string]bool{}
	for _, r := range rules {
		if !slices.Contains(lines, r.line) {
			continue
		}
		names := all.matching(r)
		if len(names) == 0 && !r.optional {
			missing = append(missing, fmt.Sprintf("line %d, %s (%s)", r.line, r.measure, r.name))
		}
		for _, name := range names {
			shown[name+" "+r.metric] = true
			rows = append(rows, r.row(all[name]))
		}
	}
	var b strings.Builder
	align(&b, rows)
	if more := all.rest(shown); more != "" {
		fmt.Fprintf(&b, "\nalso reported:\n%s", more)
	}
	return b.String(), missing
}

// row is one result.
func (r rule) row(m map[string][]float64) []string {
	v := median(m[r.metric])
	row := []string{strconv.Itoa(r.line), r.measure, r.database, "", "", "", r.spread(m), "", ""}
	switch {
	case strings.HasSuffix(r.metric, "ratio"):
		row[5] = number(v)
		row[3], row[4] = beside(m, strings.TrimSuffix(strings.TrimSuffix(r.metric, "ratio"), "-"))
	default:
		row[3] = number(v) + " " + unitOf(r.metric)
	}
	if r.reported {
		return row
	}
	sign, met := "≤", v <= r.goal
	if r.atLeast {
		sign, met = "≥", v >= r.goal
	}
	row[7] = sign + " " + number(r.goal)
	if row[8] = "missed"; met {
		row[8] = "met"
	}
	return row
}

// spread is the interval that the benchmark told, or the least and the most of all runs.
func (r rule) spread(m map[string][]float64) string {
	low, high := m[r.low], m[r.high]
	if len(low) == 0 || len(high) == 0 {
		low, high = m[r.metric], m[r.metric]
	}
	if len(m[r.metric]) == 1 && len(m[r.low]) == 0 {
		return ""
	}
	return number(slices.Min(low)) + "–" + number(slices.Max(high))
}

// beside are the two figures that a ratio was made of: a metric, and the same with "baseline-" before it. Those of a ratio
// with a prefix carry it too.
func beside(m map[string][]float64, prefix string) (ours, baseline string) {
	for _, metric := range slices.Sorted(maps.Keys(m)) {
		unit, ok := strings.CutPrefix(metric, "baseline-")
		if ok && len(m[unit]) > 0 && prefixOf(m, unit) == prefix {
			return number(median(m[unit])) + " " + unitOf(unit), number(median(m[metric])) + " " + unitOf(unit)
		}
	}
	return "", ""
}

// prefixOf tells of which ratio a metric is a part: rss of rss-B/agent where there is an rss-ratio.
func prefixOf(m map[string][]float64, metric string) string {
	if prefix, _, ok := strings.Cut(metric, "-"); ok && len(m[prefix+"-ratio"]) > 0 {
		return prefix
	}
	return ""
}

// unitOf is the last part of a metric's name: MiB of PSS-MiB, lines/s of lines/s.
func unitOf(metric string) string { return metric[strings.LastIndexByte(metric, '-')+1:] }

// rest are the metrics that no row shows.
func (all results) rest(shown map[string]bool) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(all)) {
		var words []string
		for _, metric := range slices.Sorted(maps.Keys(all[name])) {
			unit := strings.TrimPrefix(metric, "baseline-")
			partOfRatio := len(all[name]["baseline-"+unit]) > 0 && shown[name+" "+strings.TrimPrefix(prefixOf(all[name], unit)+"-ratio", "-")]
			bound := strings.HasSuffix(metric, "-low") || strings.HasSuffix(metric, "-high")
			if !shown[name+" "+metric] && !partOfRatio && !bound && metric != "ns/op" {
				words = append(words, number(median(all[name][metric]))+" "+metric)
			}
		}
		if len(words) > 0 {
			fmt.Fprintf(&b, "  %s: %s\n", strings.TrimPrefix(name, "Benchmark"), strings.Join(words, ", "))
		}
	}
	return b.String()
}

// number has three digits that count, and thousands apart.
func number(v float64) string {
	a := math.Abs(v)
	switch {
	case a != 0 && a < 0.001:
		return strconv.FormatFloat(v, 'g', 2, 64)
	case a < 1:
		return trimZeros(strconv.FormatFloat(v, 'f', 3, 64))
	case a < 10:
		return trimZeros(strconv.FormatFloat(v, 'f', 2, 64))
	case a < 100:
		return trimZeros(strconv.FormatFloat(v, 'f', 1, 64))
	}
	s := strconv.FormatFloat(a, 'f', 0, 64)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	if v < 0 {
		s = "-" + s
	}
	return s
}

func trimZeros(s string) string { return strings.TrimSuffix(strings.TrimRight(s, "0"), ".") }

// align writes rows in columns: words to the left, figures to the right.
func align(b *strings.Builder, rows [][]string) {
	width := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	for n, row := range rows {
		line := ""
		for i, cell := range row {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell))
			if i >= 3 && i <= 5 || i == 0 {
				line += pad + cell + "  "
			} else {
				line += cell + pad + "  "
			}
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
		if n == 0 {
			b.WriteString(strings.Repeat("─", sum(width)+2*(len(width)-1)) + "\n")
		}
	}
}

func sum(v []int) (n int) {
	for _, x := range v {
		n += x
	}
	return n
}
