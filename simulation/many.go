package simulation

import (
	"cmp"
	"fmt"
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
	v := reflect.ValueOf(r.Counts)
	for i := range v.NumField() {
		if name := v.Type().Field(i).Name; name != "Virtual" {
			fmt.Fprintf(&b, "%s %d  ", name, v.Field(i).Int())
		}
	}
	return b.String()
}
