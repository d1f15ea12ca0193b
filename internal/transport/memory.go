package transport

import (
	"math/bits"
	"sync"
)

// largeBuffers keeps buffers that connections have done with, for any of them, until the next collections of garbage. A
// connection that is idle holds none. Its methods may be called from any goroutine.
//
// Each pool holds capacities of one power of two up to the next, from keptBufferBytes on; the last one holds all that are
// larger. So small needs do not take what large ones came with, and do not throw it away either.
type largeBuffers struct{ pools [8]sync.Pool } // of *[]byte

// largest is by how much a buffer may be larger than what it is taken for.
const largest = 4

// take returns size bytes, over keptBufferBytes, whatever they hold, or nil.
func (l *largeBuffers) take(size int) []byte {
	own := l.class(size)
	for class := min(own+1, len(l.pools)-1); class >= own; class-- { // the larger ones fit for certain
		b, _ := l.pools[class].Get().(*[]byte)
		if b != nil && cap(*b) >= size && cap(*b) <= largest*size {
			return (*b)[:size]
		}
		// One that does not fit is dropped, so that others take its place.
	}
	return nil
}

// give takes a buffer of more than keptBufferBytes, with all of its memory: its front is not cut off.
func (l *largeBuffers) give(b []byte) { l.pools[l.class(cap(b))].Put(&b) }

// class returns the pool for buffers of a size.
func (l *largeBuffers) class(size int) int {
	return min(bits.Len(uint(size/keptBufferBytes))-1, len(l.pools)-1)
}

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
