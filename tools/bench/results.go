package main

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// results are the values that were reported, by benchmark and metric, one of each run.
type results map[string]map[string][]float64

// cores is what the testing package adds to names.
var cores = regexp.MustCompile(`-\d+$`)

// add reads a benchmark's output; false means that there was no result in it. Source: the Go benchmark data
// format, golang.org/design/14313-benchmark-format.
func (all results) add(out []byte) (found bool) {
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		if len(f) < 4 || len(f)%2 != 0 || !strings.HasPrefix(f[0], "Benchmark") {
			continue
		}
		if _, err := strconv.Atoi(f[1]); err != nil {
			continue
		}
		name := cores.ReplaceAllString(f[0], "")
		if all[name] == nil {
			all[name] = map[string][]float64{}
		}
		for i := 2; i < len(f); i += 2 {
			if v, err := strconv.ParseFloat(f[i], 64); err == nil {
				all[name][f[i+1]] = append(all[name][f[i+1]], v)
				found = true
			}
		}
	}
	return found
}

// matching are the names of the results that a rule is for, sorted.
func (all results) matching(r rule) (names []string) {
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if r.name.MatchString(name) && len(all[name][r.metric]) > 0 {
			names = append(names, name)
		}
	}
	return names
}

// median of values that are there; for an even number the mean of the two in the middle.
func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}
