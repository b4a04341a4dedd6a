package faultproxy

import (
	"io"
	"net"
	"sync"
	"time"
)

// link is the line that all connections of a proxy share.
type link struct {
	mu    sync.Mutex // guards the fields below
	down  bool
	ice   chan struct{} // not nil while no byte passes; closed by the thaw
	rate  int           // bytes a second each way, 0: no limit
	conns map[*conn]struct{}
	ways  [2]sync.Mutex // one transfer at a time each way where there is a limit
}

func newLink() *link { return &link{conns: map[*conn]struct{}{}} }

// Cut closes every connection and refuses new ones, as a machine that is there and a program that is not.
func (l *link) Cut() {
	l.mu.Lock()
	l.down = true
	conns := l.conns
	l.conns = map[*conn]struct{}{}
	l.mu.Unlock()
	for c := range conns {
		c.Close()
	}
}

// Freeze lets no byte pass and closes nothing, as a cable that is pulled: both ends believe in their connections.
func (l *link) Freeze() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ice == nil {
		l.ice = make(chan struct{})
	}
}

// Heal ends a cut and a freeze. Connections that were frozen go on where they were.
func (l *link) Heal() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = false
	if l.ice != nil {
		close(l.ice)
		l.ice = nil
	}
}

// Limit sets how many bytes a second pass each way; 0: as many as there are.
func (l *link) Limit(bytesPerSecond int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rate = bytesPerSecond
}

func (l *link) state() (ice chan struct{}, rate int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ice, l.rate
}

// wrap takes a connection in; false: the link is down.
func (l *link) wrap(n net.Conn) (*conn, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		return nil, false
	}
	c := &conn{Conn: n, link: l, closed: make(chan struct{})}
	l.conns[c] = struct{}{}
	return c, true
}

// listener gives connections over the link.
type listener struct {
	net.Listener
	link *link
}

// Accept refuses while the link is down.
func (l listener) Accept() (net.Conn, error) {
	for {
		n, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c, ok := l.link.wrap(n); ok {
			return c, nil
		}
		n.Close()
	}
}

// conn is a connection over the link.
type conn struct {
	net.Conn
	link   *link
	once   sync.Once
	closed chan struct{}
}

// Close is the connection's end.
func (c *conn) Close() error {
	c.once.Do(func() { close(c.closed) })
	c.link.mu.Lock()
	delete(c.link.conns, c)
	c.link.mu.Unlock()
	return c.Conn.Close()
}

// Read waits for the thaw, and takes no more at once than the limit lets pass in a tenth of a second.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b[:c.share(len(b))])
	if passed := c.pass(0, n); passed != nil {
		return 0, passed
	}
	return n, err
}

// Write is Read's other way.
func (c *conn) Write(b []byte) (written int, err error) {
	for len(b) > 0 {
		part := b[:c.share(len(b))]
		if err := c.pass(1, len(part)); err != nil {
			return written, err
		}
		n, err := c.Conn.Write(part)
		written += n
		if err != nil {
			return written, err
		}
		b = b[n:]
	}
	return written, nil
}

func (c *conn) share(n int) int {
	if _, rate := c.link.state(); rate > 0 {
		return min(n, max(rate/10, 1))
	}
	return n
}

// pass returns when n bytes may pass that way.
func (c *conn) pass(way, n int) error {
	for {
		ice, rate := c.link.state()
		if ice != nil {
			select {
			case <-ice:
				continue
			case <-c.closed:
				return net.ErrClosed
			}
		}
		if rate == 0 || n == 0 {
			return nil
		}
		c.link.ways[way].Lock()
		defer c.link.ways[way].Unlock()
		return c.rest(time.Duration(n) * time.Second / time.Duration(rate))
	}
}

func (c *conn) rest(d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-c.closed:
		return net.ErrClosed
	}
}

// TCP is a proxy for anything that speaks over TCP.
type TCP struct {
	*link
	listener net.Listener
	target   string
}

// NewTCP listens on a free port of the loopback and passes all on to an address.
func NewTCP(target string) (*TCP, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	t := &TCP{link: newLink(), target: target}
	t.listener = listener{l, t.link}
	go t.serve()
	return t, nil
}

// Address is where the proxy listens.
func (t *TCP) Address() string { return t.listener.Addr().String() }

// Close ends the proxy and its connections.
func (t *TCP) Close() {
	t.listener.Close()
	t.Cut()
}

func (t *TCP) serve() {
	for {
		near, err := t.listener.Accept()
		if err != nil {
			return
		}
		go t.pipe(near)
	}
}

func (t *TCP) pipe(near net.Conn) {
	defer near.Close()
	far, err := net.Dial("tcp", t.target)
	if err != nil {
		return
	}
	defer far.Close()
	go func() {
		_, _ = io.Copy(far, near)
		_ = far.(*net.TCPConn).CloseWrite()
		// The near side is gone: nothing that still comes would reach anybody.
		far.Close()
	}()
	_, _ = io.Copy(near, far)
}
