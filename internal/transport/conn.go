package transport

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"raftbank/internal/wire"
)

// Errors of connections.
var (
	// ErrClosed says that the connection is closed: nothing of the message will be sent.
	ErrClosed = errors.New("connection is closed")
	// ErrQueueFull says that the other side reads too slowly: nothing of the message will be sent.
	ErrQueueFull = errors.New("queue of the connection is full")
	// ErrRefused says that the server answered the handshake with a refusal.
	ErrRefused = errors.New("refused")
)

const (
	// readBufferBytes is the size of a connection's read buffer.
	readBufferBytes = 32 << 10
	// keptBufferBytes is the size up to which a connection keeps what it reads into, and one that was accepted its write
	// buffers too. Larger ones are for all connections together. Those that this process dialled are few, and carry
	// requests and entries: they keep larger write buffers.
	keptBufferBytes        = 64 << 10
	keptDialledBufferBytes = 4 << 20
	// clientQueueBytes bounds what a dialled connection holds unsent.
	clientQueueBytes = 64 << 20
	// flushTimeout bounds how long Close waits for queued frames to leave.
	flushTimeout = time.Second
	// handshakeTimeout bounds connecting and the messages before the first request.
	handshakeTimeout = 5 * time.Second
	// handshakeBytes bounds the frames of a side that is not known yet.
	handshakeBytes = 128 << 10
)

// Conn is one framed connection. Send and Close may be called from any goroutine, Receive from one
// at a time.
//
// Whoever sends writes to the socket itself, without waiting, if nobody else is writing. What the socket does not
// take is left to the writer, a goroutine that may wait.
type Conn struct {
	nc      net.Conn
	r       *bufio.Reader
	bound   int                  // of queued bytes
	kept    int                  // size up to which the connection keeps its write buffers
	large   *largeBuffers        // for the others, and for what large frames are read into
	body    []byte               // up to keptBufferBytes: what small frames are read into
	direct  *direct              // nil: only the writer writes
	budget  *budget              // shared with other connections; nil for none
	delay   func() time.Duration // fault hook: how long every write waits; nil for none
	wake    chan struct{}        // capacity 1: queued is not empty, or closing
	quit    chan struct{}        // closed with closing
	written chan struct{}        // closed when the writer has ended

	mu sync.Mutex
	// guarded by mu
	queued  []byte // in order
	spare   []byte // a buffer to be used again, while nobody writes
	writing bool   // somebody writes to the socket, or the writer has rest to write
	out     []byte // what is being written, whole: it is not free before all of it is written
	rest    []byte // of out: what a direct write left, to be written before queued
	usual   int    // length of the last write from a large buffer
	bytes   int    // of buffers queued or being written, and of a request half received; counted in budget
	closing bool   // no more frames are taken; the writer ends when queued is empty
	failure error  // why the writer ended, if it failed
	severed bool   // an injected fault: the writer closes the connection when queued is empty
}

// newConn returns a connection whose handshake is done. r may hold bytes already read. The caller
// sets what else it needs and starts the writer.
func newConn(nc net.Conn, r *bufio.Reader, bound int) *Conn {
	return &Conn{
		nc: nc, r: r, bound: bound, kept: keptBufferBytes, large: &largeBuffers{}, direct: newDirect(nc),
		wake: make(chan struct{}, 1), quit: make(chan struct{}), written: make(chan struct{}),
	}
}

// Dial connects to the server at addr as a client and introduces itself with h. The connection
// takes requests afterwards. ctx bounds connecting and the handshake, which also have a bound of 5 s.
// Errors: those of the network, ErrRefused with the server's reason.
func Dial(ctx context.Context, addr string, h wire.Hello) (*Conn, wire.HelloReply, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	h.Role = wire.RoleClient
	nc, r, reply, err := dial(ctx, addr, &h)
	if err != nil {
		return nil, wire.HelloReply{}, err
	}
	c := newConn(nc, r, clientQueueBytes)
	c.kept = keptDialledBufferBytes
	go c.write()
	return c, *reply, nil
}

// dial connects and exchanges Hello and HelloReply. A reply with a refusal is an error.
func dial(ctx context.Context, addr string, h *wire.Hello) (net.Conn, *bufio.Reader, *wire.HelloReply, error) {
	var d net.Dialer
	nc, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, nil, nil, err
	}
	// The end of ctx ends reads and writes of the handshake too.
	stop := context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })
	r := bufio.NewReaderSize(newReader(nc), readBufferBytes)
	reply, err := hello(nc, r, h)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		nc.Close()
		return nil, nil, nil, fmt.Errorf("handshake with %s: %w", addr, err)
	}
	return nc, r, reply, nil
}

func hello(nc net.Conn, r *bufio.Reader, h *wire.Hello) (*wire.HelloReply, error) {
	if _, err := nc.Write(wire.Append(nil, h)); err != nil {
		return nil, err
	}
	m, err := wire.ReadFrameMax(r, handshakeBytes)
	if err != nil {
		return nil, err
	}
	reply, ok := m.(*wire.HelloReply)
	if !ok {
		return nil, fmt.Errorf("got a %s message in place of hello-reply", m.Type())
	}
	if reply.Refuse != "" {
		return nil, fmt.Errorf("%w: %s", ErrRefused, reply.Refuse)
	}
	return reply, nil
}

// Send queues messages, all or none, and returns at once. A nil error promises nothing about their
// arrival; after an error nothing of them is sent.
// Errors: ErrClosed, ErrQueueFull, wire.ErrTooLarge for a message that no frame can hold.
func (c *Conn) Send(ms ...wire.Message) error {
	if err := c.queue(ms...); err != nil {
		return err
	}
	c.flush()
	return nil
}

// queue is Send without writing, for callers that have more to queue first.
func (c *Conn) queue(ms ...wire.Message) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		if c.failure != nil {
			return fmt.Errorf("%w: %w", ErrClosed, c.failure)
		}
		return ErrClosed
	}
	before, weight, waiting := len(c.queued), c.weight(c.queued), len(c.queued)+len(c.rest)
	for _, m := range ms {
		start := len(c.queued)
		if size := wire.SizeHint(m); start == 0 && size > max(cap(c.queued), c.kept) {
			if b := c.large.take(max(size, c.usual)); b != nil { // more messages may follow, as last time
				c.queued = b[:0]
			}
		}
		c.queued = wire.Append(c.queued, m)
		var err error
		if size := len(c.queued) - start; size > wire.MaxFrameBytes {
			err = fmt.Errorf("%s message of %d bytes: %w", m.Type(), size, wire.ErrTooLarge)
		} else if waiting > 0 && len(c.queued)+len(c.rest) > c.bound {
			// One message always fits an empty queue, whatever the bound.
			err = ErrQueueFull
		}
		if err != nil {
			c.queued = c.queued[:before]
			return err
		}
	}
	c.hold(c.weight(c.queued) - weight)
	return nil
}

// flush writes what is queued as far as the socket takes it, unless somebody writes already; the writer does the rest.
func (c *Conn) flush() {
	c.mu.Lock()
	if c.writing {
		c.mu.Unlock()
		return // and will look again
	}
	if c.direct == nil || c.closing || len(c.queued) == 0 || c.delayNow() > 0 {
		c.mu.Unlock()
		c.wakeWriter()
		return
	}
	out := c.takeQueued()
	c.mu.Unlock()

	n := c.direct.write(out)

	c.mu.Lock()
	if n < len(out) {
		c.rest = out[n:] // writing stays set: the writer goes on
		c.mu.Unlock()
		c.wakeWriter()
		return
	}
	more := c.wrote()
	c.mu.Unlock()
	if more {
		c.wakeWriter()
	}
}

// takeQueued begins a write of everything queued. The caller holds mu.
func (c *Conn) takeQueued() []byte {
	c.out = c.queued
	c.queued, c.spare, c.writing = c.spare[:0], nil, true
	return c.out
}

// wrote ends a write: its buffer is free. It says whether there is more to do for the writer. The caller holds mu.
func (c *Conn) wrote() (more bool) {
	out := c.out
	c.out, c.writing = nil, false
	c.letGoLocked(c.weight(out))
	if cap(out) <= c.kept {
		c.spare = out[:0]
	} else {
		c.usual = len(out)
		c.large.give(out)
	}
	return len(c.queued) > 0 || c.closing
}

func (c *Conn) wakeWriter() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// write is the writer goroutine: one write per wake-up, with everything queued until then.
func (c *Conn) write() {
	defer close(c.written)
	defer func() { c.letGo(c.held()) }() // closing is set: nothing is added any more
	for {
		c.mu.Lock()
		var out []byte
		switch {
		case len(c.rest) > 0:
			out, c.rest = c.rest, nil
		case c.writing: // who writes wakes us if need be
		case len(c.queued) > 0:
			out = c.takeQueued()
		}
		ends, severed := c.closing && !c.writing, c.severed
		c.mu.Unlock()
		switch {
		case len(out) > 0:
			if err := c.writeOut(out); err != nil {
				c.fail(err)
				return
			}
			c.mu.Lock()
			c.wrote()
			c.mu.Unlock()
		case ends:
			if severed {
				c.nc.Close() // the other side sees half a frame and the end
			}
			return
		default:
			<-c.wake
		}
	}
}

func (c *Conn) writeOut(b []byte) error {
	if d := c.delayNow(); d > 0 {
		select { // an injected fault
		case <-time.After(d):
		case <-c.quit:
		}
	}
	_, err := c.nc.Write(b)
	return err
}

func (c *Conn) delayNow() time.Duration {
	if c.delay == nil {
		return 0
	}
	return c.delay()
}

// fail ends the connection after a failed write, so that Receive returns too.
func (c *Conn) fail(err error) {
	c.mu.Lock()
	c.close()
	if c.failure == nil {
		c.failure = err
	}
	c.mu.Unlock()
	c.nc.Close()
}

// Receive returns the next message. The connection is of no use after an error.
// Errors: io.EOF when the other side closed it, those of wire.ReadFrame and of the network.
func (c *Conn) Receive() (wire.Message, error) { return wire.ReadFrameIn((*receiveMemory)(c), c.r) }

// Close sends what is queued (bounded by 1 s), closes the connection, and returns when its writer
// has ended. It may be called more than once.
func (c *Conn) Close() error {
	c.stop(flushTimeout)
	<-c.written
	return c.nc.Close()
}

// abort closes the connection without sending what is queued.
func (c *Conn) abort() {
	c.stop(0)
	c.nc.Close()
	<-c.written
}

// sever lets the writer end with what is queued and a part of a frame: an injected fault.
func (c *Conn) sever(part []byte) {
	c.mu.Lock()
	if !c.closing {
		weight := c.weight(c.queued)
		c.queued = append(c.queued, part...)
		c.hold(c.weight(c.queued) - weight)
		c.severed = true
		c.close()
	}
	c.mu.Unlock()
	c.flush()
}

// stop lets the writer end, within a bound.
func (c *Conn) stop(bound time.Duration) {
	c.nc.SetWriteDeadline(time.Now().Add(bound))
	c.mu.Lock()
	c.close()
	c.mu.Unlock()
	c.flush()
}

// close lets no more frames in. The caller holds mu.
func (c *Conn) close() {
	if !c.closing {
		c.closing = true
		close(c.quit)
	}
}

// Remote returns the other side's address, for logs.
func (c *Conn) Remote() string { return c.nc.RemoteAddr().String() }
