package api

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"restic-manager/server/fault"
	"restic-manager/shared/wire"
)

// The sizes of buffers: what a waiting agent says fits the first, and ten thousand say it at once after a restart; most
// bodies fit the second (a log batch is at most wire.MaxBatchBytes); the last has a byte more than any body may have, so that
// reading one too many is seen.
const (
	tinyBuffer  = 4 << 10
	smallBuffer = 96 << 10
	largeBuffer = wire.MaxBody + 1
)

var bufferSizes = [...]int{tinyBuffer, smallBuffer, largeBuffer}

// buffer is a pooled stretch of memory; give it back with release.
type buffer struct {
	b    []byte // len is what is used
	tier int    // of bufferSizes
}

var buffers [len(bufferSizes)]sync.Pool

// newBuffer has room for more than size bytes; less than 0: nobody knows how many there will be.
func newBuffer(size int64) *buffer {
	tier := 1
	if size >= 0 {
		for tier = 0; tier < len(bufferSizes)-1 && size >= int64(bufferSizes[tier]); tier++ {
		}
	}
	return bufferOf(tier)
}

func bufferOf(tier int) *buffer {
	if b, ok := buffers[tier].Get().(*buffer); ok {
		return b
	}
	return &buffer{b: make([]byte, 0, bufferSizes[tier]), tier: tier}
}

func (b *buffer) release() {
	if b == nil || cap(b.b) != bufferSizes[b.tier] { // not as it was made: let it go
		return
	}
	b.b = b.b[:0]
	buffers[b.tier].Put(b)
}

// grow moves the content to a larger buffer; ok is false when it is in the largest already.
func (b *buffer) grow() (*buffer, bool) {
	if b.tier == len(bufferSizes)-1 {
		return b, false
	}
	larger := bufferOf(b.tier + 1)
	larger.b = append(larger.b, b.b...)
	b.release()
	return larger, true
}

// readInto reads r to its end, at most limit bytes. The buffer given back replaces b, also with an error.
func readInto(b *buffer, r io.Reader, limit int64) (*buffer, error) {
	for {
		if int64(len(b.b)) > limit {
			return b, errTooLarge(limit)
		}
		if len(b.b) == cap(b.b) {
			var ok bool
			if b, ok = b.grow(); !ok {
				return b, errTooLarge(limit)
			}
		}
		n, err := r.Read(b.b[len(b.b):cap(b.b)])
		b.b = b.b[:len(b.b)+n]
		if err == io.EOF {
			if int64(len(b.b)) > limit {
				return b, errTooLarge(limit)
			}
			return b, nil
		}
		if err != nil {
			return b, err
		}
	}
}

// body is what a request carried. Its bytes are good until release.
type body struct {
	encoding   string // "", gzip or zstd
	raw, plain []byte
	buffers    [2]*buffer
}

func (b *body) release() {
	for i, p := range b.buffers {
		p.release()
		b.buffers[i] = nil
	}
}

// bodyTimeout is how long a whole body may take to arrive: over 20 KiB/s, and 5 s for the line. 1 MiB has nearly a
// minute, what people send 8 s.
func bodyTimeout(limit int64) time.Duration {
	return 5*time.Second + time.Duration(limit)*time.Second/(20<<10)
}

// unreadTimeout is how long the rest of a body may take that nobody reads, because the request was refused: net/http
// takes it off the line before it answers.
const unreadTimeout = 5 * time.Second

// readBody reads and inflates a body. limit holds for what was sent and for what it inflates to.
func (s *Server) readBody(x *exchange, r *http.Request, limit int64, compressed bool) (*body, error) {
	b := &body{encoding: r.Header.Get("Content-Encoding")}
	switch b.encoding {
	case "identity":
		b.encoding = ""
	case "":
	case "gzip", "zstd":
		if !compressed {
			return nil, errUnsupported
		}
	default:
		return nil, errEncoding
	}
	if r.ContentLength > limit {
		return nil, errTooLarge(limit)
	}
	raw, err := s.receive(x, r, limit)
	if err != nil {
		return nil, err
	}
	b.buffers[0], b.raw, b.plain = raw, raw.b, raw.b
	if b.encoding != "" && len(b.raw) > 0 {
		if b.buffers[1], err = s.inflate.inflate(b.encoding, b.raw, limit); err != nil {
			b.release()
			return nil, err
		}
		b.plain = b.buffers[1].b
	}
	return b, nil
}

// receive reads what was sent, within bodyTimeout. With an error the deadline stays, for what is still to come.
func (s *Server) receive(x *exchange, r *http.Request, limit int64) (*buffer, error) {
	began := time.Now()
	defer func() { x.receiving += time.Since(began) }()
	control := http.NewResponseController(x.ResponseWriter)
	// Not every writer has deadlines (those of tests).
	_ = control.SetReadDeadline(time.Now().Add(bodyTimeout(limit)))
	raw, err := readInto(newBuffer(r.ContentLength), http.MaxBytesReader(x, r.Body, limit), limit)
	if err == nil {
		_ = control.SetReadDeadline(time.Time{}) // else the wait for the client's going would end as its going
		return raw, nil
	}
	raw.release()
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, errTooLarge(limit)
	}
	if n, ok := errors.AsType[net.Error](err); ok && n.Timeout() {
		return nil, errSlow
	}
	if fault.As(err) != nil {
		return nil, err
	}
	return nil, malformed("The body ended before it was complete. Send it again.")
}

// inflater decompresses bodies. Decoders are pooled: making one costs more than a body.
type inflater struct {
	gzips   sync.Pool
	frames  *zstd.Decoder // for bodies that tell their size: no state, safe for concurrent use
	streams sync.Pool     // for the rest
}

// maxWindow bounds what a zstd stream may have the server hold; RFC 8878, section 3.1.1.1.2, asks for 8 MiB.
const maxWindow = 8 << 20

func newInflater() *inflater {
	frames, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		panic(err) // constant options
	}
	f := &inflater{frames: frames}
	f.gzips.New = func() any { return new(gzip.Reader) }
	f.streams.New = func() any {
		// One at a time means that it decodes in the caller's goroutine and may be left to the collector.
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			panic(err)
		}
		return d
	}
	return f
}

// inflate gives the plain bytes, at most limit of them: a bomb is given up at the first byte too many.
func (f *inflater) inflate(encoding string, raw []byte, limit int64) (*buffer, error) {
	var b *buffer
	var err error
	if encoding == "gzip" {
		b, err = f.gunzip(raw, limit)
	} else {
		b, err = f.unzstd(raw, limit)
	}
	if err == nil {
		return b, nil
	}
	b.release()
	if fault.As(err) != nil {
		return nil, err
	}
	return nil, malformed("The body is not what its Content-Encoding says.")
}

func (f *inflater) gunzip(raw []byte, limit int64) (*buffer, error) {
	z := f.gzips.Get().(*gzip.Reader)
	defer f.gzips.Put(z)
	b := newBuffer(-1)
	if err := z.Reset(bytes.NewReader(raw)); err != nil {
		return b, err
	}
	return readInto(b, z, limit)
}

// unzstd decodes at once what says that it fits; anything else goes through a stream, which stops at the limit
// and tells what is broken from what is too large.
func (f *inflater) unzstd(raw []byte, limit int64) (*buffer, error) {
	var h zstd.Header
	if err := h.Decode(raw); err != nil {
		return nil, err
	}
	if h.HasFCS && h.FrameContentSize > uint64(limit) {
		return nil, errTooLarge(limit)
	}
	if h.HasFCS {
		b := newBuffer(int64(h.FrameContentSize))
		out, err := f.frames.DecodeAll(raw, b.b)
		if err == nil && int64(len(out)) <= limit {
			b.b = out
			return b, nil
		}
		b.release()
	}
	d := f.streams.Get().(*zstd.Decoder)
	defer f.streams.Put(d)
	defer d.Reset(nil) // forget the body
	b := newBuffer(-1)
	if err := d.Reset(bytes.NewReader(raw)); err != nil {
		return b, err
	}
	return readInto(b, d, limit)
}
