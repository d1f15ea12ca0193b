//go:build unix

package transport

import (
	"bufio"
	"context"
	"io"
	"net"
	"testing"
	"time"

	"raftbank/internal/wire"
)

// socketPair returns two ends of one TCP connection.
func socketPair(t *testing.T) (near, far net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	var d net.Dialer
	if near, err = d.DialContext(ctx, "tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close() })
	if far, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { far.Close() })
	far.SetDeadline(time.Now().Add(wait))
	return near, far
}

// TestSendWritesItself sends on a connection whose writer was never started.
func TestSendWritesItself(t *testing.T) {
	near, far := socketPair(t)
	c := newConn(near, bufio.NewReader(near), 1<<20)
	for i := range uint64(3) {
		if err := c.Send(probe(i)); err != nil {
			t.Fatal(err)
		}
	}
	r := bufio.NewReader(far)
	for i := range uint64(3) {
		m, err := wire.ReadFrame(r)
		if err != nil || m.(*wire.Probe).Term != i {
			t.Fatalf("message %d: got %+v, %v", i, m, err)
		}
	}
	if c.held() != 0 {
		t.Errorf("%d bytes still count as held", c.held())
	}
}

// TestWriterWritesTheRest fills a socket that nobody reads: Send returns all the same, what did not fit is counted,
// and everything arrives in order once the other side reads.
func TestWriterWritesTheRest(t *testing.T) {
	near, far := socketPair(t)
	c := newConn(near, bufio.NewReader(near), 256<<20)
	const n = 200
	for i := range n {
		if err := c.Send(&wire.AdminRequest{Header: wire.Header{Request: uint64(i)}, Body: make([]byte, 100_000)}); err != nil {
			t.Fatal(err)
		}
		if i == n/2 {
			if c.held() == 0 {
				t.Fatal("the socket took 10 MB that nobody read")
			}
			go c.write()
		}
	}
	r := bufio.NewReader(far)
	for i := range n {
		m, err := wire.ReadFrame(r)
		if err != nil || m.(*wire.AdminRequest).Request != uint64(i) {
			t.Fatalf("message %d: %v", i, err)
		}
	}
	c.Close()
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("after the last message: %v, want the end", err)
	}
	if c.held() != 0 {
		t.Errorf("%d bytes still count as held", c.held())
	}
}
