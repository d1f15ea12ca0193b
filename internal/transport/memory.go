package transport

import (
	"math/bits"
	"sync"
)

// largeBuffers keeps buffers that connections have done with, for any of them, until the next collections of garbage. A
// connection that is idle holds none. Its methods may be called from any goroutine.
type largeBuffers struct{ pool sync.Pool } // of *[]byte

// take returns size bytes, whatever they hold, or nil.
func (l *largeBuffers) take(size int) []byte {
	b, _ := l.pool.Get().(*[]byte)
	if b == nil || cap(*b) < size {
		return nil // a small one is dropped, so that larger ones take its place
	}
	return (*b)[:size]
}

func (l *largeBuffers) give(b []byte) { l.pool.Put(&b) }

// minBodyBytes is the least that a connection allocates for small frames.
const minBodyBytes = 1 << 10

// receiveMemory is a connection as wire.Memory of what it receives. A side that is not trusted gets no more on the word of a
// length than what others have filled before.
type receiveMemory Conn

// Take implements wire.Memory.
func (m *receiveMemory) Take(size int) []byte {
	if size > keptBufferBytes {
		return m.large.take(size)
	}
	if cap(m.body) < size {
		m.body = make([]byte, max(minBodyBytes, 1<<bits.Len(uint(size-1))))
	}
	b := m.body[:size]
	m.body = nil // until it comes back
	return b
}

// Give implements wire.Memory.
func (m *receiveMemory) Give(b []byte) {
	if cap(b) <= keptBufferBytes {
		m.body = b
		return
	}
	m.large.give(b)
}
