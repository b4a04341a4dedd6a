// Command simulate runs histories of the production rules under a virtual clock, network and disk, and prints the
// trace of the first one that breaks a promise.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"restic-manager/simulation"
)

func main() {
	seeds := flag.Int("seeds", 500, "how many histories")
	from := flag.Uint64("from", 1, "the first seed")
	seed := flag.Uint64("seed", 0, "only this seed, with its trace")
	workers := flag.Int("workers", runtime.NumCPU(), "how many at once; each history is one goroutine")
	enough := flag.Int("enough", 1, "end after so many broken promises; the trace of the first is printed when it is 1")
	flag.Parse()
	if *seed != 0 {
		w := simulation.Run(*seed, true)
		fmt.Print(w.Trace())
		fmt.Printf("%+v\n", w.Counts)
		if w.Violation != "" {
			fmt.Fprintln(os.Stderr, w.Violation)
			os.Exit(1)
		}
		return
	}
	debug.SetGCPercent(400) // histories are small, and collecting them is a third of the work
	began := time.Now()
	r := simulation.RunMany(*from, *seeds, *workers, *enough)
	fmt.Println(r.Summary(time.Since(began), *workers))
	for _, f := range r.Broken {
		fmt.Printf("seed %d: %s\n", f.Seed, f.Violation)
	}
	if len(r.Broken) > 0 {
		if *enough == 1 {
			fmt.Print(simulation.Run(r.Broken[0].Seed, true).Trace())
		}
		fmt.Fprintf(os.Stderr, "%d of %d histories break a promise; see one again with: make simulate SEED=%d\n", len(r.Broken), r.Seeds, r.Broken[0].Seed)
		os.Exit(1)
	}
}
