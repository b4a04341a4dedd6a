package simulation

import "testing"

// BenchmarkHistories is what one history costs on one core.
func BenchmarkHistories(b *testing.B) {
	seed := uint64(0)
	for b.Loop() {
		seed++
		Run(seed, false)
	}
}
