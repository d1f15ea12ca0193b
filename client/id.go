package client

import (
	"crypto/rand"
	"encoding/binary"
	"sync"
	"time"

	"raftbank/internal/ledger"
)

// ids draws ULIDs that ascend even within a millisecond.
var ids struct {
	sync.Mutex
	// guarded by the mutex
	ms   uint64 // Unix time of the last one
	high uint16 // its upper random bits
	low  uint64 // its lower ones
}

// NewID draws a ULID. Any goroutine may call it.
func NewID() ID {
	ids.Lock()
	defer ids.Unlock()
	return nextID(uint64(time.Now().UnixMilli()))
}

// drawIDs gives every record without an id one.
func drawIDs(rs []ledger.Record) {
	ids.Lock()
	defer ids.Unlock()
	now := uint64(time.Now().UnixMilli())
	for i := range rs {
		if rs[i].ID.IsZero() {
			rs[i].ID = nextID(now)
		}
	}
}

// nextID returns the last id plus one, or in a new millisecond one with 79 fresh random bits. A clock that was
// set back counts as standing still. The caller holds the mutex.
func nextID(now uint64) (id ID) {
	if ids.low++; ids.low == 0 {
		ids.high++ // its first bit was zero: the random bits of one millisecond never run over
	}
	if now > ids.ms {
		var b [10]byte
		rand.Read(b[:])
		ids.ms, ids.high, ids.low = now, binary.BigEndian.Uint16(b[:])>>1, binary.BigEndian.Uint64(b[2:])
	}
	binary.BigEndian.PutUint64(id[:], ids.ms<<16|uint64(ids.high))
	binary.BigEndian.PutUint64(id[8:], ids.low)
	return id
}
