package client

import (
	"sync"

	"github.com/klauspost/compress/zstd"
)

// Body is a request's body as it goes over the wire, made once however often it is sent.
type Body struct {
	data     []byte
	encoding string // Content-Encoding; empty: as it was
}

// compressFrom is the size in bytes from which compression pays for its header and time.
const compressFrom = 1 << 10

// PrepareBody compresses plain with zstd when it is large enough and becomes smaller. A body that is not
// compressed shares plain's memory.
func PrepareBody(plain []byte) Body {
	if len(plain) < compressFrom {
		return Body{data: plain}
	}
	packed := encoder().EncodeAll(plain, make([]byte, 0, len(plain)/4))
	if len(packed) >= len(plain) {
		return Body{data: plain}
	}
	return Body{data: packed, encoding: "zstd"}
}

// Size is the number of bytes that travel.
func (b Body) Size() int { return len(b.data) }

// encoder is one for the process: it is safe for concurrent EncodeAll. Bodies are at most wire.MaxBody, so
// a small window keeps the agent's memory small.
var encoder = sync.OnceValue(func() *zstd.Encoder {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(256<<10), zstd.WithLowerEncoderMem(true))
	if err != nil {
		panic(err) // the options are constants
	}
	return e
})
