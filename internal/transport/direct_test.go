//go:build unix

package transport

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
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

// TestRestCountsItsBuffer sends more than the socket takes: until all of it is written its buffer is held, whole, and then it
// is free, whole.
func TestRestCountsItsBuffer(t *testing.T) {
	near, far := socketPair(t)
	c := newConn(near, bufio.NewReader(near), 256<<20)
	reply := &wire.Reply{Body: make([]byte, wire.MaxFrameBytes-100)}
	size := 0
	for len(c.rest) == 0 { // each send takes the buffer of the last one, or a new one
		if err := c.Send(reply); err != nil {
			t.Fatal(err)
		}
		size = cap(c.out)
	}
	if len(c.rest) == len(c.out) || c.held() != size {
		t.Errorf("%d of %d bytes are left, in a buffer of %d, and count as %d", len(c.rest), len(c.out), size, c.held())
	}
	go c.write()
	go io.Copy(io.Discard, far)
	c.Close()
	if b := c.large.take(wire.MaxFrameBytes); b != nil && cap(b) != size { // the race detector makes a pool lose some
		t.Errorf("of a buffer of %d bytes, %d came back", size, cap(b))
	}
	if c.held() != 0 {
		t.Errorf("%d bytes still count as held", c.held())
	}
}

// TestRestIsNotOverwritten sends large replies with different content while nobody reads. What a direct write left keeps its
// buffer until the writer has written it, whatever is queued meanwhile; then its buffer is used again.
func TestRestIsNotOverwritten(t *testing.T) {
	near, far := socketPair(t)
	c := newConn(near, bufio.NewReader(near), 256<<20)
	r := bufio.NewReader(far)
	const size = 3 << 20
	sent, came, left := byte(0), byte(0), 0
	send := func() {
		t.Helper()
		sent++
		if err := c.Send(&wire.Reply{Request: uint64(sent), Body: bytes.Repeat([]byte{sent}, size)}); err != nil {
			t.Fatal(err)
		}
	}
	for round := range 3 {
		for left = 0; left == 0; { // the writer, if it runs, waits for the socket as long
			send()
			c.mu.Lock()
			if left = len(c.queued) + len(c.rest); c.writing {
				left++
			}
			c.mu.Unlock()
		}
		for range 3 {
			send()
		}
		if round == 0 {
			go c.write()
		}
		for came < sent {
			came++
			m, err := wire.ReadFrame(r)
			if err != nil {
				t.Fatal(err)
			}
			reply := m.(*wire.Reply)
			if reply.Request != uint64(came) || len(reply.Body) != size || bytes.Count(reply.Body, []byte{came}) != size {
				t.Fatalf("reply %d: request %d, %d of %d bytes are its own", came, reply.Request, bytes.Count(reply.Body, []byte{came}), size)
			}
		}
	}
	c.Close()
}

// TestReaderOfSocket reads what came, what comes later, and the ends of a connection.
func TestReaderOfSocket(t *testing.T) {
	near, far := socketPair(t)
	r := newReader(near)
	if _, ok := r.(*socketReader); !ok {
		t.Fatalf("the reader of a socket is a %T", r)
	}
	if n, err := r.Read(nil); n != 0 || err != nil {
		t.Fatalf("read of nothing: %d, %v", n, err)
	}
	go func() {
		for _, part := range []string{"one", "two", "three"} {
			far.Write([]byte(part))
		}
		far.Close()
	}()
	near.SetDeadline(time.Now().Add(wait))
	got, err := io.ReadAll(r)
	if string(got) != "onetwothree" || err != nil {
		t.Fatalf("got %q, %v", got, err)
	}
	if n, err := r.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Fatalf("after the end: %d, %v", n, err)
	}
}

// TestReaderOfSocketFails reads past a deadline, from a connection that was reset, and from one that is closed here.
func TestReaderOfSocketFails(t *testing.T) {
	near, far := socketPair(t)
	r := newReader(near)
	b := make([]byte, 10)
	near.SetReadDeadline(time.Unix(1, 0))
	if n, err := r.Read(b); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("past the deadline: %d, %v", n, err)
	}
	near.SetReadDeadline(time.Now().Add(wait))
	if err := far.(*net.TCPConn).SetLinger(0); err != nil {
		t.Fatal(err)
	}
	far.Close() // without lingering: a reset
	if n, err := r.Read(b); n != 0 || !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("after a reset: %d, %v", n, err)
	}
	near.Close()
	if n, err := r.Read(b); n != 0 || !errors.Is(err, net.ErrClosed) {
		t.Errorf("after closing: %d, %v", n, err)
	}
}
