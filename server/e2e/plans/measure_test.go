//go:build !race

package plans

import (
	"os"
	"slices"
	"testing"
	"time"
)

// BenchmarkLists tells how long the first page of each list takes, on the filled database that
// RESTIC_MANAGER_LISTS_DATABASE names: bin/demo fills one. Without it, on a small one of its own.
func BenchmarkLists(b *testing.B) {
	var r *rig
	if target := os.Getenv("RESTIC_MANAGER_LISTS_DATABASE"); target != "" {
		r = opened(b, target)
	} else {
		r = filled(b, b.TempDir()+"/small.db", 100, 2000)
	}
	for _, l := range r.lists() {
		b.Run(l.name, func(b *testing.B) {
			var took []time.Duration
			for b.Loop() {
				begun := time.Now()
				if _, err := l.read(b.Context(), ""); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(begun))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
		})
	}
}
