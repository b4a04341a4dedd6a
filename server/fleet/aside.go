package fleet

import (
	"context"
	"fmt"
	"runtime/debug"
)

// stacksBeside is how many look at the database on stacks of their own at a time.
const stacksBeside = 64

// aside runs f on a stack of its own, and waits for it. A look at the database needs several times the stack in which an agent's
// request waits, above all SQLite's; what has grown is given back by halves, one with each run of the collector, and after a restart
// all agents look within seconds. There are a few such stacks, more than connections to the database: who comes later waits where it
// is. A panic of f is one of the caller. The error is f's, or the context's where f was not begun.
func (s *Store) aside(ctx context.Context, f func() error) (err error) {
	select {
	case s.beside <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	ended := make(chan any, 1)
	go func() {
		defer func() { <-s.beside }()
		defer func() {
			p := recover()
			if p != nil {
				p = fmt.Errorf("%v\n%s", p, debug.Stack())
			}
			ended <- p
		}()
		err = f()
	}()
	if p := <-ended; p != nil {
		panic(p)
	}
	return err
}
