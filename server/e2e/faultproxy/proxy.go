// Package faultproxy stands between a program and the server it calls, and does to the traffic what bad networks and
// bad proxies do: it loses, delays, doubles, reorders and cuts requests and replies, freezes and throttles the line.
// All chances are drawn from one seed.
package faultproxy

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"path"
	"sync"
	"time"
)

// Faults is what happens to each request; the zero value passes all on. Shares go from 0 to 1.
type Faults struct {
	// LoseBefore and LoseAfter are the shares whose connection is cut before and after the server saw them.
	LoseBefore, LoseAfter float64
	// Delay is the longest time a request waits on its way, and its reply on its own.
	Delay time.Duration
	// Copies is how often the server gets each request again at once; one of its answers, drawn, is the reply.
	Copies int
	// Late is the longest time after which each request comes once more; nobody hears that answer.
	Late time.Duration
	// Stray is the share whose connection is cut at once, and which reach the server up to Late after, or 2 s.
	Stray float64
	// CutBody and CutReply are the shares that break off in the middle.
	CutBody, CutReply float64
	// Swallow is the share that is never answered.
	Swallow float64
}

// Counts is what was done so far.
type Counts struct {
	Requests, Lost, Copies, Late, Cut, Swallowed int
	// Differing is how many copies had another status than the first; Refused how many answers said that the server
	// could not; Peak the most requests that came within ten seconds.
	Differing, Refused, Peak int
	// PeakOf is what those were: how many of each call, by its last word.
	PeakOf map[string]int
}

// arrival is when a request came, and what it was: the last word of its path.
type arrival struct {
	at   time.Time
	call string
}

// Proxy is an HTTP proxy in front of one server.
type Proxy struct {
	*link
	listener net.Listener
	server   *http.Server
	target   *url.URL
	client   *http.Transport

	mu      sync.Mutex // guards the fields below
	random  *rand.Rand
	faults  Faults
	counts  Counts
	recent  []arrival // the requests of the last ten seconds
	pending map[*time.Timer]*message
	flying  sync.WaitGroup // late ones on their way
}

// New listens on a free port of the loopback and passes all on to a server.
func New(target string, seed uint64) (*Proxy, error) {
	u, err := url.Parse(target)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{link: newLink(), target: u, random: rand.New(rand.NewPCG(seed, 1)), pending: map[*time.Timer]*message{},
		client: &http.Transport{MaxIdleConnsPerHost: 8, DisableCompression: true}}
	p.listener = listener{l, p.link}
	p.server = &http.Server{Handler: http.HandlerFunc(p.serve)}
	go func() { _ = p.server.Serve(p.listener) }()
	return p, nil
}

// URL is where the proxy listens.
func (p *Proxy) URL() string { return "http://" + p.listener.Addr().String() }

// Set changes what happens from now on.
func (p *Proxy) Set(f Faults) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = f
}

// Counts tells what was done so far.
func (p *Proxy) Counts() Counts {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.counts
}

// Settle sends every late request that still waits, in no order and several at once, and returns when all were answered.
func (p *Proxy) Settle() {
	p.mu.Lock()
	var now []*message
	for timer, m := range p.pending {
		if timer.Stop() {
			delete(p.pending, timer)
			now = append(now, m)
		}
	}
	p.mu.Unlock()
	room := make(chan struct{}, 8)
	for _, m := range now {
		room <- struct{}{}
		go func() {
			p.deliver(m)
			<-room
		}()
	}
	p.flying.Wait()
}

// Close ends the proxy, its connections, and what waits.
func (p *Proxy) Close() {
	p.mu.Lock()
	for timer := range p.pending {
		if timer.Stop() {
			delete(p.pending, timer)
			p.flying.Done()
		}
	}
	p.mu.Unlock()
	p.server.Close()
	p.Cut()
	p.flying.Wait()
	p.client.CloseIdleConnections()
}

// message is a request that can be sent again.
type message struct {
	method, path string
	header       http.Header
	body         []byte
}

// fate is what was drawn for one request.
type fate struct {
	Faults
	loseBefore, loseAfter, stray, cutBody, cutReply, swallow bool
	before, after, late                                      time.Duration
	heard                                                    int // which of the answers is the reply
}

func (p *Proxy) draw(call string) fate {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := fate{Faults: p.faults}
	chance := func(share float64) bool { return share > 0 && p.random.Float64() < share }
	span := func(d time.Duration) time.Duration { return time.Duration(p.random.Int64N(int64(max(d, 1)))) }
	f.loseBefore, f.loseAfter, f.stray = chance(f.LoseBefore), chance(f.LoseAfter), chance(f.Stray)
	f.cutBody, f.cutReply, f.swallow = chance(f.CutBody), chance(f.CutReply), chance(f.Swallow)
	f.before, f.after, f.heard = span(f.Delay), span(f.Delay), p.random.IntN(f.Copies+1)
	if f.Late > 0 {
		f.late = span(f.Late)
	} else {
		f.late = span(2 * time.Second)
	}
	now := time.Now()
	for len(p.recent) > 0 && now.Sub(p.recent[0].at) > 10*time.Second {
		p.recent = p.recent[1:]
	}
	p.recent = append(p.recent, arrival{now, call})
	p.counts.Requests++
	if len(p.recent) > p.counts.Peak {
		p.counts.Peak, p.counts.PeakOf = len(p.recent), map[string]int{}
		for _, a := range p.recent {
			p.counts.PeakOf[a.call]++
		}
	}
	return f
}

func (p *Proxy) count(add func(*Counts)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	add(&p.counts)
}

// cut ends the connection without another byte.
func cut() { panic(http.ErrAbortHandler) }

func (p *Proxy) serve(w http.ResponseWriter, q *http.Request) {
	body, err := io.ReadAll(q.Body)
	if err != nil {
		cut()
	}
	f := p.draw(path.Base(q.URL.Path))
	m := &message{method: q.Method, path: q.URL.RequestURI(), header: q.Header.Clone(), body: body}
	pause(q.Context(), f.before)
	switch {
	case f.loseBefore:
		p.count(func(c *Counts) { c.Lost++ })
		cut()
	case f.swallow:
		p.count(func(c *Counts) { c.Swallowed++ })
		<-q.Context().Done()
		cut()
	case f.stray:
		p.later(m, f.late)
		cut()
	case f.cutBody && len(body) > 1:
		p.count(func(c *Counts) { c.Cut++ })
		p.sendHalf(m)
		cut()
	}
	a, err := p.exchange(q.Context(), m, f)
	if err != nil {
		cut()
	}
	if f.Late > 0 {
		p.later(m, f.late)
	}
	pause(q.Context(), f.after)
	if f.loseAfter {
		p.count(func(c *Counts) { c.Lost++ })
		cut()
	}
	p.reply(w, a, f)
}

// pause waits, unless the caller leaves.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// answer is a whole reply.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// exchange sends a request and its copies. The copies of a request that changes nothing, which may be held, are sent
// beside it.
func (p *Proxy) exchange(ctx context.Context, m *message, f fate) (answer, error) {
	var copies sync.WaitGroup
	if m.method == http.MethodGet {
		for range f.Copies {
			p.count(func(c *Counts) { c.Copies++ })
			copies.Go(func() { _, _ = p.send(ctx, m) })
		}
		return p.send(ctx, m)
	}
	first, err := p.send(ctx, m)
	if err != nil {
		return first, err
	}
	heard := first
	for i := range f.Copies {
		again, err := p.send(context.WithoutCancel(ctx), m)
		if err != nil {
			return again, err
		}
		p.count(func(c *Counts) {
			c.Copies++
			if again.status != first.status {
				c.Differing++
			}
		})
		if i+1 == f.heard {
			heard = again
		}
	}
	return heard, nil
}

func (p *Proxy) request(ctx context.Context, m *message, body io.Reader) (*http.Request, error) {
	q, err := http.NewRequestWithContext(ctx, m.method, p.target.Scheme+"://"+p.target.Host+m.path, body)
	if err != nil {
		return nil, err
	}
	q.Header, q.ContentLength = m.header.Clone(), int64(len(m.body))
	q.Header.Del("Connection")
	return q, nil
}

func (p *Proxy) send(ctx context.Context, m *message) (answer, error) {
	q, err := p.request(ctx, m, bytes.NewReader(m.body))
	if err != nil {
		return answer{}, err
	}
	r, err := p.client.RoundTrip(q)
	if err != nil {
		return answer{}, err
	}
	defer r.Body.Close()
	if r.StatusCode >= 500 {
		p.count(func(c *Counts) { c.Refused++ })
	}
	b, err := io.ReadAll(r.Body)
	return answer{r.StatusCode, r.Header, b}, err
}

// sendHalf breaks off in the middle of the body.
func (p *Proxy) sendHalf(m *message) {
	half := io.MultiReader(bytes.NewReader(m.body[:len(m.body)/2]), brokenReader{})
	q, err := p.request(context.Background(), m, half)
	if err != nil {
		return
	}
	if r, err := p.client.RoundTrip(q); err == nil {
		r.Body.Close()
	}
}

type brokenReader struct{}

// Read fails, so that the transport closes the connection.
func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// later sends a request once more after a time.
func (p *Proxy) later(m *message, d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.flying.Add(1)
	var timer *time.Timer
	timer = time.AfterFunc(d, func() {
		p.mu.Lock()
		_, mine := p.pending[timer]
		delete(p.pending, timer)
		p.mu.Unlock()
		if mine {
			p.deliver(m)
		}
	})
	p.pending[timer] = m
}

// deliver sends a late request; a poll is given up at once, for it would only be held.
func (p *Proxy) deliver(m *message) {
	defer p.flying.Done()
	limit := time.Minute
	if m.method == http.MethodGet {
		limit = time.Second
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	p.count(func(c *Counts) { c.Late++ })
	_, _ = p.send(ctx, m)
}

func (p *Proxy) reply(w http.ResponseWriter, a answer, f fate) {
	for k, v := range a.header {
		w.Header()[k] = v
	}
	w.WriteHeader(a.status)
	if f.cutReply && len(a.body) > 1 {
		p.count(func(c *Counts) { c.Cut++ })
		_, _ = w.Write(a.body[:len(a.body)/2])
		_ = http.NewResponseController(w).Flush()
		cut()
	}
	_, _ = w.Write(a.body)
}
