package fleet

import (
	"fmt"
	"runtime/debug"
)

// aside runs f on a stack of its own, and waits for it. A look at the database needs several times the stack in which an agent's
// request waits, above all SQLite's; what has grown is given back by halves, one with each run of the collector, and after a restart
// all agents look within seconds. A panic of f is one of the caller.
func aside(f func()) {
	ended := make(chan any, 1)
	go func() {
		defer func() {
			p := recover()
			if p != nil {
				p = fmt.Errorf("%v\n%s", p, debug.Stack())
			}
			ended <- p
		}()
		f()
	}()
	if p := <-ended; p != nil {
		panic(p)
	}
}
