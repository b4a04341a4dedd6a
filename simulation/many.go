package simulation

import (
	"cmp"
	"fmt"
	"iter"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"
)

// Broken is a history that breaks a promise.
type Broken struct {
	Seed      uint64
	Violation string
}

// Result is what came of many histories.
type Result struct {
	Seeds  int
	Counts Counts
	Broken []Broken // by seed
}

// RunMany runs the histories of n seeds, so many at once, and ends soon after enough of them broke a promise.
func RunMany(from uint64, n, workers, enough int) Result {
	var (
		mu   sync.Mutex // guards the two below
		out  Result
		next = from
		wait sync.WaitGroup
	)
	take := func() (uint64, bool) {
		mu.Lock()
		defer mu.Unlock()
		if next >= from+uint64(n) || len(out.Broken) >= enough {
			return 0, false
		}
		next++
		return next - 1, true
	}
	for range workers {
		wait.Go(func() {
			for seed, ok := take(); ok; seed, ok = take() {
				w := Run(seed, false)
				mu.Lock()
				out.Seeds++
				out.Counts.add(w.Counts)
				if w.Violation != "" {
					out.Broken = append(out.Broken, Broken{seed, w.Violation})
				}
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	slices.SortFunc(out.Broken, func(a, b Broken) int { return cmp.Compare(a.Seed, b.Seed) })
	return out
}

// add adds field by field.
func (c *Counts) add(o Counts) {
	sum, more := reflect.ValueOf(c).Elem(), reflect.ValueOf(o)
	for i := range sum.NumField() {
		sum.Field(i).SetInt(sum.Field(i).Int() + more.Field(i).Int())
	}
}

// Summary tells what was run in how long.
func (r Result) Summary(took time.Duration, workers int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d histories in %s, %.1f a second with %d at once; %.0f hours of virtual time; %d broken promises\n",
		r.Seeds, took.Round(time.Millisecond), float64(r.Seeds)/took.Seconds(), workers, r.Counts.Virtual.Hours(), len(r.Broken))
	column := 0
	for name, n := range r.Counts.named() {
		if column++; column%6 == 0 {
			fmt.Fprintf(&b, "%-20s %9d\n", name, n)
		} else {
			fmt.Fprintf(&b, "%-20s %9d   ", name, n)
		}
	}
	return strings.TrimRight(b.String(), " \n")
}

// named gives each count by its name, in the order they are declared.
func (c Counts) named() iter.Seq2[string, int] {
	return func(yield func(string, int) bool) {
		v := reflect.ValueOf(c)
		for i := range v.NumField() {
			name := v.Type().Field(i).Name
			if name != "Virtual" && !yield(name, int(v.Field(i).Int())) {
				return
			}
		}
	}
}
