package estimate

import (
	"cmp"
	"container/heap"
	"math/rand/v2"
	"slices"

	"restic-manager/shared/wire"
)

// top keeps the largest of what it is given.
type top[T any] struct {
	size func(T) int64
	path func(T) string
	list []T
}

// Len, Less, Swap, Push and Pop make it a heap with the smallest on top.
func (t *top[T]) Len() int           { return len(t.list) }
func (t *top[T]) Less(i, j int) bool { return t.size(t.list[i]) < t.size(t.list[j]) }
func (t *top[T]) Swap(i, j int)      { t.list[i], t.list[j] = t.list[j], t.list[i] }
func (t *top[T]) Push(x any)         { t.list = append(t.list, x.(T)) }
func (t *top[T]) Pop() any {
	last := t.list[len(t.list)-1]
	t.list = t.list[:len(t.list)-1]
	return last
}

func (t *top[T]) add(x T) {
	switch {
	case len(t.list) < wire.MaxEstimateList:
		heap.Push(t, x)
	case t.size(x) > t.size(t.list[0]):
		t.list[0] = x
		heap.Fix(t, 0)
	}
}

// sorted is what was kept, the largest first; of equal ones a folder before what lies in it.
func (t *top[T]) sorted() []T {
	slices.SortFunc(t.list, func(a, b T) int {
		return cmp.Or(cmp.Compare(t.size(b), t.size(a)), cmp.Compare(t.path(a), t.path(b)))
	})
	return t.list
}

// samplesKept is how many of the files that are in are named.
const samplesKept = 20

// sampler keeps some of what it is given, each as likely as the others.
type sampler struct {
	seen int
	list []string
}

func (s *sampler) add(p string) {
	s.seen++
	if len(s.list) < samplesKept {
		s.list = append(s.list, shown(p))
		return
	}
	if i := rand.IntN(s.seen); i < samplesKept {
		s.list[i] = shown(p)
	}
}

func (s *sampler) sorted() []string {
	slices.Sort(s.list)
	return s.list
}
