package node

import (
	"sync"

	"raftbank/internal/shard"
	"raftbank/internal/wire"
)

// input is one thing that arrived for the loop.
type input struct {
	peer    shard.ServerID // 0: from a client
	conn    uint64
	message wire.Message // nil: the client's connection has closed
}

// Bounds of the inbox in bytes, by the estimate of costBytes. One message always fits an empty inbox.
const (
	clientInboxBytes = 16 << 20
	peerInboxBytes   = 64 << 20
)

// inbox holds what has arrived since the loop looked last.
type inbox struct {
	// ready has a token while the inbox may hold something.
	ready chan struct{}

	mu sync.Mutex
	// space is signalled, under mu, when the inbox is emptied or closed.
	space *sync.Cond
	// guarded by mu
	items                  []input
	spare                  []input // what take returned last, to be used again
	clientBytes, peerBytes int
	closed                 bool
}

func newInbox() *inbox {
	b := &inbox{ready: make(chan struct{}, 1)}
	b.space = sync.NewCond(&b.mu)
	return b
}

// putClient adds a client's request, or returns false if the inbox is full.
func (b *inbox) putClient(conn uint64, m wire.Message) bool {
	cost := costBytes(m)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.clientBytes > 0 && b.clientBytes+cost > clientInboxBytes {
		return false
	}
	b.clientBytes += cost
	b.add(input{conn: conn, message: m})
	return true
}

// putClosed adds the end of a client's connection, which always fits: connections are bounded.
func (b *inbox) putClosed(conn uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.add(input{conn: conn})
}

// putPeer adds a peer's message. While the inbox is full it waits, and with it the peer's link.
func (b *inbox) putPeer(from shard.ServerID, m wire.Message) {
	cost := costBytes(m)
	b.mu.Lock()
	defer b.mu.Unlock()
	for !b.closed && b.peerBytes > 0 && b.peerBytes+cost > peerInboxBytes {
		b.space.Wait()
	}
	b.peerBytes += cost
	b.add(input{peer: from, message: m})
}

func (b *inbox) add(in input) {
	if b.closed {
		return
	}
	b.items = append(b.items, in)
	select {
	case b.ready <- struct{}{}:
	default:
	}
}

// take returns everything that is there. The slice is good until the next call.
func (b *inbox) take() []input {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := b.items
	clear(b.spare)
	b.items, b.spare = b.spare[:0], out
	b.clientBytes, b.peerBytes = 0, 0
	b.space.Broadcast()
	return out
}

// close drops what comes from now on and lets nobody wait.
func (b *inbox) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.space.Broadcast()
}

// Estimated memory of parts of a message.
const (
	messageBytes = 128
	recordBytes  = 96 // with its digest
	itemBytes    = 80
)

// costBytes estimates the memory of a message.
func costBytes(m wire.Message) int {
	switch m := m.(type) {
	case *wire.Raft:
		n := messageBytes
		for _, v := range m.Messages {
			n += len(v)
		}
		return n
	case *wire.TransferRequest:
		return messageBytes + recordBytes*len(m.Records)
	case *wire.PrepareRequest:
		return messageBytes + recordBytes*len(m.Records)
	case *wire.FinishRequest:
		n := messageBytes
		for i := range m.Blocks {
			n += messageBytes + itemBytes*len(m.Blocks[i].Votes)
		}
		return n
	case *wire.AuditRequest:
		n := messageBytes
		for i := range m.Blocks {
			n += messageBytes + itemBytes*len(m.Blocks[i].Votes)
		}
		return n
	case *wire.InquireRequest:
		return messageBytes + itemBytes*len(m.Items)
	case *wire.StatusRequest:
		return messageBytes + itemBytes*len(m.IDs)
	case *wire.CancelRequest:
		return messageBytes + itemBytes*len(m.IDs)
	case *wire.BalanceRequest:
		return messageBytes + itemBytes*len(m.Accounts)
	case *wire.AdminRequest:
		return messageBytes + len(m.Body)
	case *wire.QueryRequest:
		return messageBytes + len(m.Cursor)
	case *wire.Reply:
		n := messageBytes + itemBytes*(len(m.Committed)+len(m.Voted)+len(m.Results)+len(m.Balances)) + len(m.Body)
		for i := range m.Blocks {
			n += messageBytes + itemBytes*len(m.Blocks[i].Votes)
		}
		return n
	}
	return messageBytes
}
