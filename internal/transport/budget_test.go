package transport

import (
	"net"
	"testing"
	"time"

	"raftbank/internal/wire"
)

// TestClientsShareABudget lets two clients read nothing, within their own bounds. Together they are
// over the server's: the one that holds more goes, the other and a reader stay.
func TestClientsShareABudget(t *testing.T) {
	const mib = 1 << 20
	s := start(t, 1, func(o *Options) { o.ClientQueueBytes, o.ClientsBytes = 64*mib, 24*mib })
	var conns []uint64
	var clients []*Conn
	for range 2 {
		c := dialClient(t, s)
		if err := c.Send(&wire.StatusRequest{}); err != nil {
			t.Fatal(err)
		}
		clients, conns = append(clients, c), append(conns, s.in.next(t).conn)
	}
	reply := &wire.Reply{Body: make([]byte, mib)}
	// The kernel takes a few MiB of each connection; 11 of the first stay under the budget.
	for range 11 {
		s.Send(Envelope{Conn: conns[0], Message: reply})
	}
	for range 40 {
		s.Send(Envelope{Conn: conns[1], Message: reply})
	}
	if a := s.in.next(t); !a.closed || a.conn != conns[1] {
		t.Fatalf("got %+v, want the end of connection %d", a, conns[1])
	}
	s.log.await(t, "fill the server's budget")
	if n := s.Dropped(); n != 1 {
		t.Errorf("dropped %d clients, want 1", n)
	}
	for range 11 {
		if m, err := clients[0].Receive(); err != nil || len(m.(*wire.Reply).Body) != mib {
			t.Fatalf("the client that holds less got %v, %v", m, err)
		}
	}
	third := dialClient(t, s)
	third.Close()
	if a := s.in.next(t); !a.closed {
		t.Fatalf("got %+v", a)
	}
	clients[0].Close()
	s.in.next(t)
	for deadline := time.Now().Add(wait); s.budget.bytes.Load() != 0; {
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes are still counted", s.budget.bytes.Load())
		}
	}
}

// TestHalfRequestsShareTheBudget lets clients send the most part of large requests and then stop. Memory for
// them is bounded, the others stay, and what is whole is not counted.
func TestHalfRequestsShareTheBudget(t *testing.T) {
	const mib = 1 << 20
	s := start(t, 1, func(o *Options) { o.ClientsBytes = 16 * mib })
	large := wire.Append(nil, &wire.AdminRequest{Body: make([]byte, 7*mib)})
	var halves []net.Conn
	for i := range 3 {
		nc, err := net.Dial("tcp", s.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		nc.SetWriteDeadline(time.Now().Add(wait))
		if _, err := nc.Write(wire.Append(nil, &wire.Hello{Role: wire.RoleClient})); err != nil {
			t.Fatal(err)
		}
		// While the third one sends, the second one holds most and is ended.
		if _, err := nc.Write(large[:len(large)-(3-i)*mib/2]); err != nil {
			t.Fatal(err)
		}
		halves = append(halves, nc)
	}
	if a := s.in.next(t); !a.closed {
		t.Fatalf("got %+v, want the end of a connection", a)
	}
	s.log.await(t, "fill the server's budget")
	rest := 0
	for i, nc := range halves {
		if _, err := nc.Write(large[len(large)-(3-i)*mib/2:]); err == nil {
			rest++
		}
	}
	whole := 0
	for range 2 {
		if a := s.in.next(t); !a.closed && len(a.m.(*wire.AdminRequest).Body) == 7*mib {
			whole++
		}
	}
	if whole != 2 || rest < 2 || s.Dropped() != 1 {
		t.Errorf("%d of 2 requests arrived, %d were sent, %d clients dropped", whole, rest, s.Dropped())
	}
	for deadline := time.Now().Add(wait); s.budget.bytes.Load() != 0; {
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes are still counted", s.budget.bytes.Load())
		}
	}
}

// TestSilentConnectionsMakeRoom takes every place for a handshake and says nothing; a newcomer gets
// through at once, and the oldest silent one is closed.
func TestSilentConnectionsMakeRoom(t *testing.T) {
	s := start(t, 1, nil)
	var silent []net.Conn
	for range strangers {
		nc, err := net.Dial("tcp", s.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		silent = append(silent, nc)
	}
	began := time.Now()
	dialClient(t, s)
	if d := time.Since(began); d >= handshakeTimeout/2 {
		t.Errorf("a newcomer waited %v", d)
	}
	wantClosed(t, silent[0])
	s.log.await(t, "silent for longest")
}
