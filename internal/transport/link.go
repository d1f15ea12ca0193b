package transport

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"raftbank/internal/shard"
	"raftbank/internal/wire"
)

// Back-off between attempts to reach a peer. A link that lasted less than backoffMax counts as a
// failed attempt, so that a peer which closes every link at once is not dialled in a loop.
const (
	backoffMin = 20 * time.Millisecond
	backoffMax = time.Second
)

// linkState says what becomes of a message for the peer.
type linkState uint8

const (
	linkIdle    linkState = iota // nobody has asked for it: the next message starts an attempt
	linkDialing                  // messages wait for the attempt's end
	linkUp                       // messages go to conn
	linkDown                     // the last attempt failed: messages are dropped until the back-off ends
)

// link is the connection to one other server, dialled when there is something to send.
type link struct {
	s    *Server
	to   shard.Server
	wake chan struct{} // capacity 1: leave linkIdle

	mu sync.Mutex
	// guarded by mu
	state  linkState
	conn   *Conn  // linkUp
	queued []byte // linkDialing: frames for the connection to come
}

// splitBytes is the size up to which raft messages share a frame.
const splitBytes = wire.MaxFrameBytes / 2

// split returns m in parts that fit a frame: raft messages of one turn may exceed one.
func split(m wire.Message) []wire.Message {
	r, ok := m.(*wire.Raft)
	if !ok {
		return []wire.Message{m}
	}
	var out []wire.Message
	from, size := 0, 0
	for i := range r.Messages {
		if size += r.Size(i); size > splitBytes && i > from {
			out = append(out, r.Part(from, i))
			from, size = i, r.Size(i)
		}
	}
	if from == 0 {
		return []wire.Message{m}
	}
	return append(out, r.Part(from, len(r.Messages)))
}

// sendAll sends messages in order and returns the connection to flush, if any.
func (l *link) sendAll(ms []wire.Message) (c *Conn) {
	for _, m := range ms {
		if touched := l.send(m); touched != nil {
			c = touched
		}
	}
	return c
}

// send queues m, starts an attempt, or drops m. It returns the connection to flush, if any.
func (l *link) send(m wire.Message) *Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch l.state {
	case linkUp:
		if err := l.conn.queue(m); err != nil {
			if !errors.Is(err, ErrClosed) {
				l.s.o.Logger.Debug("message to peer dropped", "peer", l.to.ID, "err", err)
			}
			return nil
		}
		return l.conn
	case linkIdle:
		l.state = linkDialing
		l.wake <- struct{}{} // has room: only run leaves linkDialing, and it took the former one
		fallthrough
	case linkDialing:
		before := len(l.queued)
		l.queued = wire.Append(l.queued, m)
		if len(l.queued)-before > wire.MaxFrameBytes || len(l.queued) > l.s.o.PeerQueueBytes {
			l.queued = l.queued[:before]
		}
	case linkDown:
	default:
		panic("unreachable: link state")
	}
	return nil
}

// sever sends the first half of a message and breaks the link, if it is up: an injected fault.
func (l *link) sever(m wire.Message) {
	l.mu.Lock()
	c := l.conn
	l.mu.Unlock()
	if c != nil {
		frame := wire.Append(nil, m)
		c.sever(frame[:len(frame)/2])
	}
}

// run keeps the link until ctx ends.
func (l *link) run(ctx context.Context) {
	backoff := backoffMin
	var lastErr string
	for {
		select {
		case <-l.wake:
		case <-ctx.Done():
			return
		}
		started := time.Now()
		err := l.once(ctx)
		l.set(linkDown, nil)
		if ctx.Err() != nil {
			return
		}
		if time.Since(started) >= backoffMax {
			backoff, lastErr = backoffMin, ""
		}
		// One line for each new cause, not one for each attempt.
		if err.Error() != lastErr {
			lastErr = err.Error()
			l.s.o.Logger.Info("no link to peer", "peer", l.to.ID, "addr", l.to.Addr, "err", err)
		}
		select {
		case <-time.After(backoff):
		case <-ctx.Done():
			return
		}
		backoff = min(2*backoff, backoffMax)
		l.set(linkIdle, nil)
	}
}

// once dials and holds the link until it breaks, and returns why it did.
func (l *link) once(ctx context.Context) error {
	nc, r, err := l.connect(ctx)
	if err != nil {
		return err
	}
	c := newConn(nc, r, l.s.o.PeerQueueBytes)
	c.delay, c.kept = l.s.delay, keptDialledBufferBytes
	defer afterFunc(ctx, func() { c.Close() })()
	l.set(linkUp, c)
	go c.write()
	l.s.o.Logger.Debug("link to peer", "peer", l.to.ID, "addr", l.to.Addr)
	m, err := c.Receive()
	if err == nil {
		err = fmt.Errorf("server %s sent a %s message on a link it accepted", l.to.ID, m.Type())
	}
	if ctx.Err() == nil {
		c.abort()
	}
	return err
}

// set changes the state. Messages that waited for a connection go to it, or are dropped.
func (l *link) set(state linkState, c *Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state, l.conn = state, c
	if c != nil {
		c.queued = l.queued // its writer has not started
	}
	l.queued = nil
}

// connect dials and does both sides' proofs.
func (l *link) connect(ctx context.Context) (net.Conn, *bufio.Reader, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	ring := l.s.o.Keys
	h := &wire.Hello{Role: wire.RolePeer, Bank: ring.Bank, KeyID: ring.Keys[0].ID, Server: l.s.o.Server, Nonce: nonce()}
	nc, r, reply, err := dial(ctx, l.to.Addr, h)
	if err != nil {
		return nil, nil, err
	}
	nc.SetDeadline(time.Now().Add(handshakeTimeout))
	if err := dialPeer(nc, ring, l.to.ID, h, reply); err != nil {
		nc.Close()
		return nil, nil, err
	}
	nc.SetDeadline(time.Time{})
	return nc, r, nil
}
