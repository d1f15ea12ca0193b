package transport

import (
	"bufio"
	"bytes"
	"net"
	"reflect"
	"slices"
	"testing"
	"time"

	"raftbank/internal/ledger"
	"raftbank/internal/txn"
	"raftbank/internal/wire"
)

// finish returns a FINISH of about so many bytes, with content that depends on seed.
func finish(bytes int, seed byte) *wire.FinishRequest {
	votes := make([]txn.Vote, bytes/txn.VoteSize)
	for i := range votes {
		votes[i].ID = ledger.TransferID{seed, byte(i), byte(i >> 8), byte(i >> 16)}
	}
	return &wire.FinishRequest{Header: wire.Header{Request: uint64(seed)}, Blocks: []txn.Block{{Bank: txn.BankID{seed}, Shard: 1, Votes: votes}}}
}

// rawClient introduces a client by hand.
func rawClient(t *testing.T, s *testServer) net.Conn {
	t.Helper()
	nc, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(wait))
	send(t, nc, &wire.Hello{Role: wire.RoleClient})
	if _, err := wire.ReadFrame(bufio.NewReader(nc)); err != nil {
		t.Fatal(err)
	}
	return nc
}

// TestLentMemoryCounts has a client fill the server's memory with whole requests, and others that name as much, send a
// little of it and stop: what is lent to them counts, so that the budget ends some of them.
func TestLentMemoryCounts(t *testing.T) {
	const mib, come = 1 << 20, 100 << 10
	s := start(t, 1, func(o *Options) { o.ClientsBytes = 24 * mib })
	large := wire.Append(nil, finish(7*mib, 1))
	filler := rawClient(t, s)
	// Whether a buffer is lent is up to sync.Pool: most times it is. What comes of all requests fits the budget.
	for stalled := 1; stalled <= 100 && s.Dropped() == 0; stalled++ {
		if _, err := filler.Write(large); err != nil {
			wantDropped(t, s, err)
			break
		}
		if a := s.in.next(t); a.closed {
			break // the filler, or one that stalled: over the budget
		}
		nc := rawClient(t, s)
		if _, err := nc.Write(large[:come]); err != nil {
			wantDropped(t, s, err)
			break
		}
		for deadline := time.Now().Add(wait); s.Dropped() == 0 && s.budget.bytes.Load() < int64(stalled)*come; {
			if time.Now().After(deadline) {
				t.Fatalf("%d bytes are counted of %d times %d", s.budget.bytes.Load(), stalled, come)
			}
		}
	}
	if s.Dropped() == 0 {
		t.Errorf("%d bytes are counted, and nobody was disconnected", s.budget.bytes.Load())
	}
}

// wantDropped says that a write failed because the server has ended the connection, which it counts before.
func wantDropped(t *testing.T, s *testServer, err error) {
	t.Helper()
	if s.Dropped() == 0 {
		t.Fatal(err)
	}
}

// TestMeterCountsWhatIsLent looks at one connection from within.
func TestMeterCountsWhatIsLent(t *testing.T) {
	s := &Server{budget: budget{limit: 1 << 40}}
	near, _ := net.Pipe()
	c := newConn(near, bufio.NewReader(near), 1<<20)
	c.budget = &s.budget
	m := &meter{nc: near, s: s, c: c}
	const size = 5 << 20
	var b []byte
	for try := 0; b == nil; try++ { // the race detector makes a pool lose some
		if try == 1000 {
			t.Fatal("nothing of what was given is lent")
		}
		c.large.give(make([]byte, size+100_000))
		b = m.Take(size)
	}
	if len(b) != size || c.held() != cap(b) || s.budget.bytes.Load() != int64(cap(b)) {
		t.Errorf("%d bytes are lent of a buffer of %d: the connection holds %d, all together %d", len(b), cap(b), c.held(), s.budget.bytes.Load())
	}
	m.Give(b)
	if m.whole(); c.held() != 0 || s.budget.bytes.Load() != 0 {
		t.Errorf("a whole message: the connection holds %d, all together %d", c.held(), s.budget.bytes.Load())
	}
}

// TestSmallNeedsDoNotTakeLargeBuffers gives buffers of all sizes and takes some: none is more than 4 times as large as it has
// to be, and all sizes come back.
func TestSmallNeedsDoNotTakeLargeBuffers(t *testing.T) {
	var l largeBuffers
	const least, most = keptBufferBytes + 1, 40 << 20
	came := 0
	for range 10 {
		for n := least; n <= most; n = n*5/4 + 1 {
			l.give(make([]byte, 0, n))
		}
		for n := least; n <= wire.MaxFrameBytes; n = n*4/3 + 1 {
			b := l.take(n)
			if b == nil {
				continue
			}
			came++
			if len(b) != n || cap(b) > 4*n {
				t.Errorf("%d bytes come as %d of a buffer of %d", n, len(b), cap(b))
			}
		}
	}
	if came == 0 {
		t.Error("nothing of what was given is lent")
	}
}

// TestUnsentRepliesCountTheirBuffers queues a small reply in a larger buffer for a client that does not read.
func TestUnsentRepliesCountTheirBuffers(t *testing.T) {
	near, far := net.Pipe() // nobody reads, and no writer is started
	defer far.Close()
	c := newConn(near, bufio.NewReader(near), 1<<20)
	reply := &wire.Reply{Body: make([]byte, 2*keptBufferBytes)}
	for try := 0; cap(c.queued) < 5*keptBufferBytes; try++ { // the race detector makes a pool lose some
		if try == 1000 {
			t.Fatal("nothing of what was given is lent")
		}
		c.letGo(c.held())
		c.queued = nil
		c.large.give(make([]byte, 5*keptBufferBytes))
		if err := c.queue(reply); err != nil {
			t.Fatal(err)
		}
	}
	if c.held() != cap(c.queued) {
		t.Errorf("%d bytes in a buffer of %d count as %d", len(c.queued), cap(c.queued), c.held())
	}
	for range 2 { // within the buffer, and beyond it
		if err := c.queue(reply); err != nil {
			t.Fatal(err)
		}
		if c.held() != cap(c.queued) {
			t.Errorf("%d bytes in a buffer of %d count as %d", len(c.queued), cap(c.queued), c.held())
		}
	}
	c.takeQueued()
	if c.wrote(); c.held() != 0 {
		t.Errorf("%d bytes still count as held", c.held())
	}
}

// prepare returns a PREPARE of about so many bytes, with content that depends on seed.
func prepare(size int, seed byte) *wire.PrepareRequest {
	m := &wire.PrepareRequest{Header: wire.Header{Request: uint64(seed)}}
	for i := range size / (ledger.RecordSize + len(ledger.Digest{})) {
		m.Records = append(m.Records, ledger.Record{ID: ledger.TransferID{seed, byte(i), byte(i >> 8)}, Amount: ledger.Units(uint64(seed))})
		m.Digests = append(m.Digests, ledger.Digest{seed, byte(i), byte(i >> 8)})
	}
	return m
}

// mixedRequests returns requests of all kinds of ownership in both sizes: those that hold none of their frame, and those that do.
func mixedRequests(seed byte) (ms []wire.Message) {
	for _, size := range []int{200, 3 * keptBufferBytes} {
		ms = append(ms, prepare(size, seed), finish(size, seed),
			&wire.AdminRequest{Header: wire.Header{Request: uint64(seed)}, Kind: "k", Body: bytes.Repeat([]byte{seed}, size)})
	}
	return ms
}

// mixedReplies is mixedRequests for replies.
func mixedReplies(seed byte) (ms []wire.Message) {
	for _, size := range []int{200, 3 * keptBufferBytes} {
		blocks := finish(size, seed).Blocks
		ms = append(ms, &wire.Reply{Request: uint64(seed), Blocks: blocks}, &wire.Reply{Request: uint64(seed), Body: bytes.Repeat([]byte{seed}, size)},
			&wire.Reply{Request: uint64(seed), Text: "both", Blocks: blocks, Body: bytes.Repeat([]byte{seed}, size)})
	}
	return ms
}

// wantSame compares what arrived with what was sent, made anew.
func wantSame(t *testing.T, got []wire.Message, made func(seed byte) []wire.Message) {
	t.Helper()
	var want []wire.Message
	for seed := byte(1); len(want) < len(got); seed++ {
		want = append(want, made(seed)...)
	}
	for i := range got {
		if !reflect.DeepEqual(got[i], want[i]) {
			t.Errorf("message %d, a %s, is not what was sent", i, got[i].Type())
		}
	}
}

// TestMessagesOutliveTheirFrames sends messages one after the other over one connection, in both directions, each time with
// other content. Their frames share memory; what arrived first is still good after what arrived last.
func TestMessagesOutliveTheirFrames(t *testing.T) {
	t.Run("one by one", func(t *testing.T) { messagesOutliveTheirFrames(t, 1) })
	// Frames follow each other within the reader's buffer, and share writes.
	t.Run("together", func(t *testing.T) { messagesOutliveTheirFrames(t, 100) })
}

// messagesOutliveTheirFrames sends so many messages at once before it waits for them.
func messagesOutliveTheirFrames(t *testing.T, atOnce int) {
	s := start(t, 1, nil)
	c := dialClient(t, s)
	var requests, replies []wire.Message
	for seed := byte(1); seed <= 8; seed++ {
		var conn uint64
		for ms := range slices.Chunk(mixedRequests(seed), atOnce) {
			if err := c.Send(ms...); err != nil {
				t.Fatal(err)
			}
			for range ms {
				a := s.in.next(t)
				requests, conn = append(requests, a.m), a.conn
			}
		}
		for ms := range slices.Chunk(mixedReplies(seed), atOnce) {
			es := make([]Envelope, len(ms))
			for i, m := range ms {
				es[i] = Envelope{Conn: conn, Message: m}
			}
			s.Send(es...)
			for range es {
				m, err := c.Receive()
				if err != nil {
					t.Fatal(err)
				}
				replies = append(replies, m)
			}
		}
	}
	wantSame(t, requests, mixedRequests)
	wantSame(t, replies, mixedReplies)
}
