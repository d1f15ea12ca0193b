package transport

import (
	"errors"
	"sync/atomic"
)

// ErrOverBudget says that the connections of all clients together held more unsent bytes than a
// server may, and that this one held most of them.
var ErrOverBudget = errors.New("answers to all clients fill the server's budget, and this connection reads most slowly")

// budget counts what many connections hold unsent, together.
type budget struct {
	limit int64
	bytes atomic.Int64
}

// hold counts n bytes more as unsent. The caller holds mu.
func (c *Conn) hold(n int) {
	c.unsent += n
	if c.budget != nil {
		c.budget.bytes.Add(int64(n))
	}
}

// letGo counts n bytes as no longer held, or as many as there are.
func (c *Conn) letGo(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n = min(n, c.unsent)
	c.unsent -= n
	if c.budget != nil {
		c.budget.bytes.Add(-int64(n))
	}
}

// held returns what the connection holds unsent, in bytes.
func (c *Conn) held() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.unsent
}

// relieve ends client connections, the one that holds most first, until the rest keeps the budget.
func (s *Server) relieve() {
	if s.unsent.bytes.Load() <= s.unsent.limit {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.unsent.bytes.Load() > s.unsent.limit {
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
		s.o.Logger.Warn("client disconnected", "remote", most.Remote(), "unsent", bytes, "err", ErrOverBudget)
		most.fail(ErrOverBudget)
		// Its writer may take a moment to end; that must not end others meanwhile.
		most.letGo(most.held())
	}
}
