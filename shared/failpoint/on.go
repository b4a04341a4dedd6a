//go:build failpoint

package failpoint

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// ErrInjected is what a place gives that is armed with "error".
var ErrInjected = errors.New("a fault of the test's")

var (
	mu   sync.Mutex // guards hits
	hits = map[string]int{}
)

// Hit does what the file of that name in the folder says that Variable names: "kill" ends the process as kill -9
// does, "sleep 2s" waits, "error" returns ErrInjected; a number behind it, as in "kill 3", lets so many hits of
// this process pass before, counted anew once it was obeyed. Each file is obeyed once, by one process: it is renamed
// to NAME.hit first. Without the variable or the file nothing happens.
func Hit(name string) error {
	dir := os.Getenv(Variable)
	if dir == "" {
		return nil
	}
	path := filepath.Join(dir, name)
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	words := strings.Fields(string(raw))
	if len(words) == 0 || passes(name, words) || os.Rename(path, path+".hit") != nil {
		return nil
	}
	forget(name)
	switch words[0] {
	case "kill":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	case "sleep":
		d, err := time.ParseDuration(words[1])
		if err != nil {
			panic(fmt.Sprintf("failpoint %s: %v", name, err))
		}
		time.Sleep(d)
	case "error":
		return fmt.Errorf("%s: %w", name, ErrInjected)
	default:
		panic(fmt.Sprintf("failpoint %s: no such action: %s", name, raw))
	}
	return nil
}

func forget(name string) {
	mu.Lock()
	defer mu.Unlock()
	delete(hits, name)
}

// passes counts the hit and reports whether it is one of those that are let pass.
func passes(name string, words []string) bool {
	mu.Lock()
	defer mu.Unlock()
	hits[name]++
	n, err := strconv.Atoi(words[len(words)-1])
	return err == nil && hits[name] <= n
}

// Environment is what a program gives to one of its own that it starts with an environment made anew.
func Environment() []string {
	if dir := os.Getenv(Variable); dir != "" {
		return []string{Variable + "=" + dir}
	}
	return nil
}
