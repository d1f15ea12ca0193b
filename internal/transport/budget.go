package transport

import (
	"errors"
	"io"
	"net"
	"sync/atomic"
)

// ErrOverBudget says that the connections of all clients together held more bytes than a server may,
// of answers unsent and of requests half received, and that this one held most of them.
var ErrOverBudget = errors.New("all clients together fill the server's budget of bytes, and this one holds most of them")

// budget counts what many connections hold, together.
type budget struct {
	limit int64
	bytes atomic.Int64
}

// weight returns what a buffer with frames counts. A large one is lent whole, however little is in it.
func (c *Conn) weight(b []byte) int {
	if len(b) > 0 && cap(b) > c.kept {
		return cap(b)
	}
	return len(b)
}

// hold counts n bytes more as held. The caller holds mu.
func (c *Conn) hold(n int) {
	c.bytes += n
	if c.budget != nil {
		c.budget.bytes.Add(int64(n))
	}
}

// letGo counts n bytes as no longer held, or as many as there are.
func (c *Conn) letGo(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.letGoLocked(n)
}

// letGoLocked is letGo for a caller that holds mu.
func (c *Conn) letGoLocked(n int) {
	n = min(n, c.bytes)
	c.bytes -= n
	if c.budget != nil {
		c.budget.bytes.Add(-int64(n))
	}
}

// held returns what the connection holds, in bytes.
func (c *Conn) held() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bytes
}

// meter reads from a connection and counts what has come of a message that is not whole yet.
type meter struct {
	nc      net.Conn
	r       io.Reader // of nc
	s       *Server
	c       *Conn // nil during the handshake, and for peers: nothing is counted
	partial int   // bytes that came since the last whole message
	counted int   // as held: partial, or a large buffer that was lent for them
}

// Read implements io.Reader.
func (m *meter) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	if m.c != nil && n > 0 {
		m.partial += n
		m.count(m.partial)
	}
	return n, err
}

// Take implements wire.Memory. A large buffer counts whole from now on, however little of the message comes.
func (m *meter) Take(size int) []byte {
	b := (*receiveMemory)(m.c).Take(size)
	if cap(b) > keptBufferBytes {
		m.count(cap(b))
	}
	return b
}

// Give implements wire.Memory. The buffer counts until the message is whole.
func (m *meter) Give(b []byte) { (*receiveMemory)(m.c).Give(b) }

// count counts at least n bytes as held for the message that comes.
func (m *meter) count(n int) {
	if n <= m.counted {
		return // they come into what was lent
	}
	m.c.mu.Lock()
	m.c.hold(n - m.counted)
	m.c.mu.Unlock()
	m.counted = n
	m.s.relieve()
}

// whole says that a message is complete: whoever takes it counts it from now on.
func (m *meter) whole() {
	m.c.letGo(m.counted)
	m.partial, m.counted = 0, 0
}

// relieve ends client connections, the one that holds most first, until the rest keeps the budget.
func (s *Server) relieve() {
	if s.budget.bytes.Load() <= s.budget.limit {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.budget.bytes.Load() > s.budget.limit {
		var id uint64
		var most *Conn
		bytes := 0
		for i, c := range s.clients {
			if n := c.held(); n > bytes || n == bytes && n > 0 && i < id {
				id, most, bytes = i, c, n
			}
		}
		if most == nil {
			return // what is left belongs to connections that end already
		}
		s.dropped.Add(1)
		s.o.Logger.Warn("client disconnected", "remote", most.Remote(), "bytes", bytes, "err", ErrOverBudget)
		most.fail(ErrOverBudget)
		// Its writer may take a moment to end; that must not end others meanwhile.
		most.letGo(most.held())
	}
}
