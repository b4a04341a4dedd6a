package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"restic-manager/server/database/databasetest"
	"restic-manager/shared/failpoint"
)

// points is the folder of the armed places of the programs under test.
type points struct {
	t   testing.TB
	dir string
}

func (p points) variable() string { return failpoint.Variable + "=" + p.dir }

// arm lets the next program that comes by the place do what action says.
func (p points) arm(name, action string) {
	p.t.Helper()
	path := filepath.Join(p.dir, name)
	if err := os.Remove(path + ".hit"); err != nil && !errors.Is(err, os.ErrNotExist) {
		p.t.Fatal(err)
	}
	// Whole or not at all: a program may come by while it is written.
	if err := errors.Join(os.WriteFile(path+".new", []byte(action), 0o600), os.Rename(path+".new", path)); err != nil {
		p.t.Fatal(err)
	}
}

// disarm takes back what was not obeyed.
func (p points) disarm(name string) {
	p.t.Helper()
	if err := os.Remove(filepath.Join(p.dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		p.t.Fatal(err)
	}
}

func (p points) wasHit(name string) bool {
	_, err := os.Stat(filepath.Join(p.dir, name+".hit"))
	return err == nil
}

// hit waits until a program came by.
func (p points) hit(name string) {
	p.t.Helper()
	soon(p.t, "the place "+name+" is reached", func() bool { return p.wasHit(name) })
}

// soon is eventually with a closer look: what is timed here takes milliseconds.
func soon(t testing.TB, what string, is func() bool) {
	t.Helper()
	tick, over := time.NewTicker(2*time.Millisecond), time.After(patience*30*time.Second)
	defer tick.Stop()
	for !is() {
		select {
		case <-over:
			t.Fatalf("%s: not within %s", what, patience*30*time.Second)
		case <-tick.C:
		}
	}
}

// lab is servers with failpoints on one database, and an agent with failpoints and the scripted restic: made once
// for many runs, in which only what was killed is started anew.
type lab struct {
	points
	servers []*server
	// api speaks to any of the servers.
	api *server
	a   *scripted
	h   *history
}

func newLab(t testing.TB, engine string, replicas int, env ...string) *lab {
	t.Helper()
	url := ""
	if engine == "postgres" {
		url = databasetest.New(t, engine)
	}
	return newLabOn(t, url, replicas, env...)
}

func newLabOn(t testing.TB, database string, replicas int, env ...string) *lab {
	t.Helper()
	l := &lab{points: points{t, t.TempDir()}}
	env = append(env, l.variable())
	for i := range replicas {
		own := env
		if i > 0 {
			own = append(own[:len(own):len(own)], "RESTIC_MANAGER_KEY_FILE="+filepath.Join(l.servers[0].dir, "secret.key"))
		}
		l.servers = append(l.servers, newServerOn(t, database, own...))
	}
	l.api = l.servers[0]
	if replicas > 1 {
		any := *l.servers[0]
		any.url = newFront(t, l.servers).url
		l.api = &any
	}
	l.a = newScripted(t, l.api)
	l.h = newHistory(t, l.servers[0], l.a)
	return l
}

// died waits until one of the servers is gone and returns it.
func (l *lab) died() *server {
	l.t.Helper()
	var dead *server
	soon(l.t, "a server dies", func() bool {
		for _, s := range l.servers {
			select {
			case <-s.done:
				dead = s
				return true
			default:
			}
		}
		return false
	})
	return dead
}

// front passes connections on to the servers that take them, in turn.
type front struct {
	url     string
	targets []*server
	turn    atomic.Int64
}

func newFront(t testing.TB, targets []*server) *front {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	f := &front{url: fmt.Sprintf("http://%s", l.Addr()), targets: targets}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go f.pass(c)
		}
	}()
	return f
}

func (f *front) pass(c net.Conn) {
	defer c.Close()
	first := int(f.turn.Add(1))
	for i := range f.targets {
		to, err := net.Dial("tcp", f.targets[(first+i)%len(f.targets)].listen)
		if err != nil {
			continue
		}
		defer to.Close()
		go func() {
			_, _ = io.Copy(to, c)
			to.Close()
		}()
		_, _ = io.Copy(c, to)
		return
	}
}
