package transport

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"raftbank/internal/shard"
	"raftbank/internal/txn"
	"raftbank/internal/wire"
)

// wait bounds what a test waits for; only a failing test reaches it.
const wait = 10 * time.Second

var testKeys = &txn.KeyRing{Bank: txn.BankID{1}, Keys: []txn.Key{{ID: 7, Secret: [32]byte{1, 2, 3}}}}

type arrival struct {
	peer   shard.ServerID
	conn   uint64
	m      wire.Message
	closed bool
}

// recorder is a Handler that hands everything to the test.
type recorder chan arrival

func (r recorder) Peer(from shard.ServerID, m wire.Message) { r <- arrival{peer: from, m: m} }
func (r recorder) Client(conn uint64, m wire.Message)       { r <- arrival{conn: conn, m: m} }
func (r recorder) ClientClosed(conn uint64)                 { r <- arrival{conn: conn, closed: true} }

func (r recorder) next(t *testing.T) arrival {
	t.Helper()
	select {
	case a := <-r:
		return a
	case <-time.After(wait):
		t.Fatal("nothing arrived")
		panic("unreachable")
	}
}

// logBuffer collects what a server logs.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
	ch chan struct{} // a line was written
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b.Write(p)
	select {
	case l.ch <- struct{}{}:
	default:
	}
	return len(p), nil
}

// await waits until the log contains text.
func (l *logBuffer) await(t *testing.T, text string) {
	t.Helper()
	deadline := time.After(wait)
	for {
		l.mu.Lock()
		s := l.b.String()
		l.mu.Unlock()
		if strings.Contains(s, text) {
			return
		}
		select {
		case <-l.ch:
		case <-deadline:
			t.Fatalf("the log has no %q:\n%s", text, s)
		}
	}
}

type testServer struct {
	*Server
	in  recorder
	log *logBuffer
}

// start runs server id on a free port, with change applied to its options.
func start(t *testing.T, id shard.ServerID, change func(*Options)) *testServer {
	t.Helper()
	ts := &testServer{in: make(recorder, 1<<16), log: &logBuffer{ch: make(chan struct{}, 1)}}
	o := Options{
		Server: id, Shard: 1, Epoch: 1, Keys: testKeys, Listen: "127.0.0.1:0", AllowFaults: true,
		Logger: slog.New(slog.NewTextHandler(ts.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(&o)
	}
	s, err := Listen(o)
	if err != nil {
		t.Fatal(err)
	}
	ts.Server = s
	t.Cleanup(s.Close)
	s.Serve(ts.in)
	return ts
}

// pair returns servers 1 and 2; 1 reaches 2, which knows 1 at an address where nobody listens.
func pair(t *testing.T, change func(*Options)) (*testServer, *testServer) {
	two := start(t, 2, func(o *Options) { o.Peers = []shard.Server{{ID: 1, Addr: "127.0.0.1:1"}} })
	one := start(t, 1, func(o *Options) {
		o.Peers = []shard.Server{{ID: 1, Addr: "self"}, {ID: 2, Addr: two.Addr()}}
		if change != nil {
			change(o)
		}
	})
	return one, two
}

func probe(n uint64) wire.Message { return &wire.Probe{Shard: 1, Server: 1, Term: n} }

func toPeer(id shard.ServerID, ms ...wire.Message) (es []Envelope) {
	for _, m := range ms {
		es = append(es, Envelope{Server: id, Message: m})
	}
	return es
}

func TestPeersKeepOrder(t *testing.T) {
	one, two := pair(t, nil)
	const n = 1000
	for i := range uint64(n) {
		one.Send(toPeer(2, probe(2*i), probe(2*i+1))...)
	}
	for i := range uint64(2 * n) {
		a := two.in.next(t)
		if a.peer != 1 || !reflect.DeepEqual(a.m, probe(i)) {
			t.Fatalf("message %d: got %+v", i, a)
		}
	}
	// Unknown destinations are dropped.
	one.Send(toPeer(9, probe(1))...)
	one.Send(Envelope{Conn: 99, Message: &wire.Reply{}})
	one.Send(toPeer(1, probe(1))...)
}

func TestPeerComesBack(t *testing.T) {
	one, two := pair(t, nil)
	one.Send(toPeer(2, probe(1))...)
	two.in.next(t)
	addr := two.Addr()
	two.Close()
	one.log.await(t, "no link to peer")
	again := start(t, 2, func(o *Options) {
		o.Listen = addr
		o.Peers = []shard.Server{{ID: 1, Addr: "127.0.0.1:1"}}
	})
	// Messages are dropped until the back-off ends.
	deadline := time.Now().Add(wait)
	for len(again.in) == 0 && time.Now().Before(deadline) {
		one.Send(toPeer(2, probe(2))...)
		select {
		case a := <-again.in:
			again.in <- a
		case <-time.After(5 * time.Millisecond):
		}
	}
	if a := again.in.next(t); !reflect.DeepEqual(a.m, probe(2)) {
		t.Fatalf("got %+v", a)
	}
}

func TestPeersThatDoNotBelong(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Options)
		want   string
	}{
		{"another bank", func(o *Options) { o.Keys = &txn.KeyRing{Bank: txn.BankID{2}, Keys: testKeys.Keys} },
			"server 2 belongs to bank 01000000000000000000000000000000, server 1 to bank 02"},
		{"another key id", func(o *Options) { o.Keys = &txn.KeyRing{Bank: testKeys.Bank, Keys: []txn.Key{{ID: 8}}} },
			"server 2 does not have key 8 of server 1"},
		{"another secret", func(o *Options) { o.Keys = &txn.KeyRing{Bank: testKeys.Bank, Keys: []txn.Key{{ID: 7}}} },
			"server 2 does not hold key 7"},
		{"not in the configuration", func(o *Options) { o.Server = 3 },
			"the configuration of server 2 has no other server 3"},
		{"another server at the address", func(o *Options) { o.Peers[1].ID = 5 },
			"server 2 answers at the address that the configuration gives to server 5"},
	} {
		t.Run(c.name, func(t *testing.T) {
			one, two := pair(t, c.change)
			one.Send(append(toPeer(2, probe(1)), toPeer(5, probe(1))...)...)
			one.log.await(t, c.want)
			if len(two.in) > 0 {
				t.Errorf("a message came through: %+v", <-two.in)
			}
		})
	}
}

// rawPeer speaks the dialling peer's side by hand, with a key of the test's choice.
func rawPeer(t *testing.T, addr string, key *txn.Key) net.Conn {
	t.Helper()
	h := &wire.Hello{Role: wire.RolePeer, Bank: testKeys.Bank, KeyID: 7, Server: 1, Nonce: nonce()}
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	nc, _, reply, err := dial(ctx, addr, h)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(wait))
	send(t, nc, &wire.Proof{MAC: proof(key, dialContext, h, reply)})
	return nc
}

func send(t *testing.T, w io.Writer, ms ...wire.Message) {
	t.Helper()
	for _, m := range ms {
		if _, err := w.Write(wire.Append(nil, m)); err != nil {
			t.Fatal(err)
		}
	}
}

// wantClosed checks that the other side has closed the connection, whatever it sent before.
func wantClosed(t *testing.T, nc net.Conn) {
	t.Helper()
	nc.SetReadDeadline(time.Now().Add(wait))
	_, err := io.Copy(io.Discard, nc)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		t.Fatal("the connection is still open")
	}
}

func TestDiallerWithoutKey(t *testing.T) {
	_, two := pair(t, nil)
	wantClosed(t, rawPeer(t, two.Addr(), &txn.Key{ID: 7}))
	two.log.await(t, "server 1 does not hold key 7")
}

func TestPeerMaySendPeersMessagesOnly(t *testing.T) {
	_, two := pair(t, nil)
	nc := rawPeer(t, two.Addr(), &testKeys.Keys[0])
	send(t, nc, probe(1), &wire.TransferRequest{})
	two.in.next(t)
	wantClosed(t, nc)
	two.log.await(t, "a server may not send a transfer message")
}

// TestNewLinkEndsFormerOne covers a peer that died without closing its link.
func TestNewLinkEndsFormerOne(t *testing.T) {
	_, two := pair(t, nil)
	former := rawPeer(t, two.Addr(), &testKeys.Keys[0])
	send(t, former, probe(1))
	two.in.next(t)
	newer := rawPeer(t, two.Addr(), &testKeys.Keys[0])
	wantClosed(t, former)
	send(t, newer, probe(2))
	two.in.next(t)
}

func dialClient(t *testing.T, s *testServer) *Conn {
	t.Helper()
	c, reply, err := Dial(t.Context(), s.Addr(), wire.Hello{})
	if err != nil {
		t.Fatal(err)
	}
	if reply.Server != s.o.Server || reply.Shard != 1 || reply.Epoch != 1 || reply.Bank != testKeys.Bank {
		t.Fatalf("hello-reply %+v", reply)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestClientAsksAndIsAnswered(t *testing.T) {
	s := start(t, 1, nil)
	c := dialClient(t, s)
	ask := &wire.AdminRequest{Header: wire.Header{Request: 3, Shard: 1}, Kind: wire.AdminStatus}
	if err := c.Send(ask); err != nil {
		t.Fatal(err)
	}
	a := s.in.next(t)
	if !reflect.DeepEqual(a.m, ask) {
		t.Fatalf("got %+v", a.m)
	}
	answer := &wire.Reply{Request: 3, Status: wire.StatusOK, Body: []byte("{}")}
	s.Send(Envelope{Conn: a.conn, Message: answer})
	if m, err := c.Receive(); err != nil || !reflect.DeepEqual(m, answer) {
		t.Fatalf("got %+v, %v", m, err)
	}
	// An answer that no frame can hold is replaced by one that says so.
	s.Send(Envelope{Conn: a.conn, Message: &wire.Reply{Request: 3, Body: make([]byte, wire.MaxFrameBytes)}})
	if m, err := c.Receive(); err != nil || m.(*wire.Reply).Status != wire.StatusBadRequest {
		t.Fatalf("got %+v, %v", m, err)
	}
	c.Close()
	if a := s.in.next(t); !a.closed {
		t.Fatalf("got %+v, want the end of the connection", a)
	}
	if err := c.Send(ask); !errors.Is(err, ErrClosed) {
		t.Errorf("send after close: %v", err)
	}
}

func TestCloseSendsWhatIsQueued(t *testing.T) {
	s := start(t, 1, nil)
	c := dialClient(t, s)
	const n = 100
	for range n {
		if err := c.Send(&wire.FinishRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	c.Close()
	for range n {
		if a := s.in.next(t); a.closed {
			t.Fatal("closed before the last message")
		}
	}
}

func TestClientsThatMisbehave(t *testing.T) {
	hello := wire.Append(nil, &wire.Hello{Role: wire.RoleClient})
	damaged := wire.Append(nil, &wire.StatusRequest{})
	damaged[len(damaged)-1] ^= 1
	for _, c := range []struct {
		name  string
		input []byte
		want  string // in the server's log
	}{
		{"garbage for hello", bytes.Repeat([]byte("x"), 1000), "too large"},
		{"request before hello", wire.Append(nil, &wire.StatusRequest{}), "in place of hello"},
		{"large hello", append([]byte{0, 0, 4, 0}, make([]byte, 10)...), "too large"},
		{"unknown role", wire.Append(nil, &wire.Hello{Role: 3}), "unknown role 3"},
		{"damaged frame", append(bytes.Clone(hello), damaged...), "checksum"},
		{"oversize frame", append(bytes.Clone(hello), 0xff, 0xff, 0xff, 0, 0, 0, 0, 0), "too large"},
		{"raft message", wire.Append(bytes.Clone(hello), &wire.Raft{}), "a client may not send a raft message"},
		{"probe", wire.Append(bytes.Clone(hello), probe(1)), "a client may not send a probe message"},
		{"reply", wire.Append(bytes.Clone(hello), &wire.Reply{}), "a client may not send a reply message"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := start(t, 1, nil)
			nc, err := net.Dial("tcp", s.Addr())
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			if _, err := nc.Write(c.input); err != nil {
				t.Fatal(err)
			}
			wantClosed(t, nc)
			s.log.await(t, c.want)
			for len(s.in) > 0 {
				if a := <-s.in; !a.closed {
					t.Errorf("a message came through: %+v", a.m)
				}
			}
		})
	}
}

func TestClientThatDoesNotRead(t *testing.T) {
	s := start(t, 1, func(o *Options) { o.ClientQueueBytes = 1 << 20 })
	c := dialClient(t, s)
	if err := c.Send(&wire.StatusRequest{}); err != nil {
		t.Fatal(err)
	}
	conn := s.in.next(t).conn
	reply := &wire.Reply{Body: make([]byte, 256<<10)}
	// What the kernel holds for a connection is bounded as well.
	for range 1000 {
		s.Send(Envelope{Conn: conn, Message: reply})
	}
	if a := s.in.next(t); !a.closed {
		t.Fatalf("got %+v, want the end of the connection", a)
	}
	s.log.await(t, "client disconnected")
}

func TestClientQueueIsBounded(t *testing.T) {
	near, far := net.Pipe() // nobody reads
	defer far.Close()
	c := newConn(near, bufio.NewReader(near), 1000)
	go c.write()
	m := &wire.AdminRequest{Body: make([]byte, 600)}
	var err error
	for range 10 {
		if err = c.Send(m); err != nil {
			break
		}
	}
	if !errors.Is(err, ErrQueueFull) {
		t.Errorf("got %v, want %v", err, ErrQueueFull)
	}
	if err := c.Send(&wire.AdminRequest{Body: make([]byte, wire.MaxFrameBytes)}); !errors.Is(err, wire.ErrTooLarge) {
		t.Errorf("got %v, want %v", err, wire.ErrTooLarge)
	}
	c.abort()
}

func TestClientLimit(t *testing.T) {
	s := start(t, 1, func(o *Options) { o.MaxClients = 2 })
	dialClient(t, s)
	second := dialClient(t, s)
	_, _, err := Dial(t.Context(), s.Addr(), wire.Hello{})
	if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "server 1 has 2 client connections") {
		t.Fatalf("third client: %v", err)
	}
	// A place is free once the server has noticed that its client left.
	second.Close()
	for deadline := time.Now().Add(wait); err != nil && time.Now().Before(deadline); {
		var third *Conn
		if third, _, err = Dial(t.Context(), s.Addr(), wire.Hello{}); err == nil {
			third.Close()
		}
	}
	if err != nil {
		t.Error(err)
	}
}

func TestFaults(t *testing.T) {
	one, two := pair(t, nil)
	set := func(s *testServer, f Faults) {
		t.Helper()
		if err := s.SetFaults(f); err != nil {
			t.Fatal(err)
		}
	}
	set(one, Faults{Block: []shard.ServerID{2}})
	one.Send(toPeer(2, probe(1))...)
	set(one, Faults{DropPercent: 100})
	one.Send(toPeer(2, probe(2))...)
	set(one, Faults{DelayMs: 30})
	before := time.Now()
	one.Send(toPeer(2, probe(3))...)
	if a := two.in.next(t); !reflect.DeepEqual(a.m, probe(3)) {
		t.Fatalf("got %+v, want the third probe", a.m)
	}
	// The first frame may leave with the handshake; the second cannot.
	one.Send(toPeer(2, probe(4))...)
	two.in.next(t)
	if d := time.Since(before); d < 30*time.Millisecond {
		t.Errorf("a delay of 30 ms took %v", d)
	}
	// The receiving side blocks too.
	set(one, Faults{})
	set(two, Faults{Block: []shard.ServerID{1}})
	one.Send(toPeer(2, probe(5))...)
	nc := rawPeer(t, two.Addr(), &testKeys.Keys[0])
	send(t, nc, probe(6), &wire.TransferRequest{}) // the second closes the link: both were read
	wantClosed(t, nc)
	if len(two.in) > 0 {
		t.Errorf("a blocked message came through: %+v", (<-two.in).m)
	}
	if err := one.SetFaults(Faults{DropPercent: 101}); err == nil {
		t.Error("101 percent is taken")
	}
	if err := start(t, 3, func(o *Options) { o.AllowFaults = false }).SetFaults(Faults{}); !errors.Is(err, ErrFaultsForbidden) {
		t.Errorf("without leave: %v", err)
	}
}

// TestFaultsOfOneDirection cuts one direction of two, doubles frames and breaks links in the middle of one.
func TestFaultsOfOneDirection(t *testing.T) {
	one, two := pair(t, nil)
	set := func(s *testServer, f Faults) {
		t.Helper()
		if err := s.SetFaults(f); err != nil {
			t.Fatal(err)
		}
	}
	set(one, Faults{BlockIn: []shard.ServerID{2}, DuplicatePercent: 100}) // a cut of the other direction
	one.Send(toPeer(2, probe(3))...)
	for range 2 {
		if a := two.in.next(t); !reflect.DeepEqual(a.m, probe(3)) {
			t.Fatalf("twice: got %+v", a.m)
		}
	}
	set(one, Faults{BlockOut: []shard.ServerID{2}})
	one.Send(toPeer(2, probe(4))...)
	set(two, Faults{BlockOut: []shard.ServerID{1}})
	set(one, Faults{})
	one.Send(toPeer(2, probe(5))...)
	if a := two.in.next(t); !reflect.DeepEqual(a.m, probe(5)) {
		t.Fatalf("got %+v, want the fifth probe, which nothing cuts off", a.m)
	}
	set(two, Faults{BlockIn: []shard.ServerID{1}})
	nc := rawPeer(t, two.Addr(), &testKeys.Keys[0])
	send(t, nc, probe(6), &wire.TransferRequest{}) // the second closes the link: both were read
	wantClosed(t, nc)
	if len(two.in) > 0 {
		t.Errorf("a blocked message came through: %+v", (<-two.in).m)
	}
}

// TestSever breaks a connection in the middle of its second frame.
func TestSever(t *testing.T) {
	here, there := net.Pipe()
	c := newConn(here, bufio.NewReader(here), 1<<20)
	if err := c.queue(probe(1)); err != nil {
		t.Fatal(err)
	}
	frame := wire.Append(nil, probe(2))
	c.sever(frame[:len(frame)/2])
	go c.write()
	r := bufio.NewReader(there)
	if m, err := wire.ReadFrame(r); err != nil || !reflect.DeepEqual(m, probe(1)) {
		t.Fatalf("got %+v, %v", m, err)
	}
	if m, err := wire.ReadFrame(r); !errors.Is(err, wire.ErrTruncated) {
		t.Fatalf("got %+v, %v; want half a frame and the end", m, err)
	}
	if err := c.Send(probe(3)); !errors.Is(err, ErrClosed) {
		t.Errorf("afterwards: %v", err)
	}
}

// TestResetLinksComeBack breaks the link of two servers again and again: it is dialled again.
func TestResetLinksComeBack(t *testing.T) {
	one, two := pair(t, nil)
	if err := one.SetFaults(Faults{ResetPercent: 50}); err != nil {
		t.Fatal(err)
	}
	arrived := 0
	for n := range uint64(500) {
		one.Send(toPeer(2, probe(n))...)
		select {
		case <-two.in:
			if arrived++; arrived == 3 {
				return
			}
		case <-time.After(20 * time.Millisecond):
		}
	}
	t.Fatalf("%d of 500 messages arrived", arrived)
}

func TestPortInUse(t *testing.T) {
	s := start(t, 1, nil)
	_, err := Listen(Options{Listen: s.Addr(), Keys: testKeys, Logger: slog.New(slog.DiscardHandler)})
	_, port, _ := net.SplitHostPort(s.Addr())
	if !errors.Is(err, ErrPortInUse) || !strings.HasPrefix(err.Error(), "port "+port+" is in use") {
		t.Errorf("got %v", err)
	}
	_, err = Listen(Options{Listen: "192.0.2.1:0", Keys: testKeys, Logger: slog.New(slog.DiscardHandler)}) // nobody's address
	if !errors.Is(err, ErrListen) {
		t.Errorf("got %v, want %v", err, ErrListen)
	}
}

func TestSplit(t *testing.T) {
	large := &wire.Raft{Shard: 1, From: 2, To: 3}
	for i := range 6 {
		large.Messages = append(large.Messages, bytes.Repeat([]byte{byte(i)}, wire.MaxFrameBytes/5))
	}
	var got [][]byte
	for _, m := range split(large) {
		if n := len(wire.Append(nil, m)); n > wire.MaxFrameBytes {
			t.Errorf("a part of %d bytes", n)
		}
		got = append(got, m.(*wire.Raft).Messages...)
	}
	if !reflect.DeepEqual(got, large.Messages) {
		t.Error("parts do not make the whole")
	}
	if small := (&wire.Raft{Messages: large.Messages[:1]}); len(split(small)) != 1 || split(small)[0] != wire.Message(small) {
		t.Error("a small message is split")
	}
}
