package client

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"raftbank/internal/ledger"
	"raftbank/internal/session"
	"raftbank/internal/shard"
	"raftbank/internal/txn"
	"raftbank/internal/wire"
)

// conn is what the client needs of a connection.
type conn interface {
	// Send queues messages, all or none.
	Send(ms ...wire.Message) error
	// Receive returns the next message.
	Receive() (wire.Message, error)
	// Close ends the connection; a waiting Receive returns.
	Close() error
}

// dialFunc connects to a server as a client.
type dialFunc func(ctx context.Context, addr string) (conn, wire.HelloReply, error)

// dialTimeout bounds connecting, so that a paused server does not hold its place for long.
const dialTimeout = time.Second

// crashDelay lets a caller say what it has just been told before the process ends.
const crashDelay = 100 * time.Millisecond

// maxTicksAtOnce bounds how far the clock jumps after the process was stopped.
const maxTicksAtOnce = 10

// eventKind tells events apart.
type eventKind uint8

const (
	eventCall eventKind = 1 + iota
	eventAbandon
	eventUp
	eventDown
	eventMessage
	eventClose
)

// event is one input of the loop.
type event struct {
	kind    eventKind
	call    *call
	link    *link
	message wire.Message
	err     error
}

// callKind tells calls apart.
type callKind uint8

const (
	callTransfer callKind = 1 + iota
	callResolve
	callCancel
	callRequest
	callBatch
	callAudit
)

// call is one caller's operation.
type call struct {
	kind    callKind
	record  ledger.Record
	id      ledger.TransferID
	request session.Call

	start     time.Time
	steps     []Step              // written by the loop before done
	done      chan session.Result // capacity 1
	op        session.OpID        // owned by the loop
	batch     *batch              // callBatch
	abandoned bool                // owned by the caller: the loop may look at the call after done
}

// link is one connection, or an attempt at one.
type link struct {
	server shard.ServerID
	conn   conn // nil until connected; owned by the loop once eventUp has been posted
}

// loop owns the engine: everything reaches it through the client's inbox.
type loop struct {
	c       *Client
	engine  *session.Engine
	calls   session.Table[*call]
	links   map[shard.ServerID]*link
	closing bool
	crashed bool
	spare   []event
}

// run is the client's one goroutine beside those of its connections.
func (l *loop) run() {
	defer close(l.c.ended)
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	last := time.Now()
	var giveUp <-chan time.Time
	for {
		select {
		case <-l.c.wake:
			l.linger()
			l.drain()
		case now := <-ticker.C:
			for n := 0; now.Sub(last) >= tick; n++ {
				if n == maxTicksAtOnce {
					last = now
					break
				}
				last = last.Add(tick)
				l.engine.Tick()
			}
		case <-giveUp:
			l.end()
			return
		}
		l.carryOut(l.engine.Flush())
		if !l.closing {
			continue
		}
		if l.engine.Finishing() == 0 {
			l.end()
			return
		}
		if giveUp == nil {
			giveUp = time.After(closeFlush)
		}
	}
}

// maxYields bounds how often a turn lets others run before it takes what has arrived.
const maxYields = 8

// linger lets those run who can, as long as they add something: one request is cheaper than many.
func (l *loop) linger() {
	n := l.c.arrived()
	for range maxYields {
		runtime.Gosched()
		more := l.c.arrived()
		if more == n {
			return
		}
		n = more
	}
}

// drain steps in everything that has arrived.
func (l *loop) drain() {
	l.c.mu.Lock()
	events := l.c.inbox
	l.c.inbox = l.spare
	l.c.mu.Unlock()
	for i := range events {
		l.step(&events[i])
	}
	clear(events)
	l.spare = events[:0]
}

func (l *loop) step(e *event) {
	switch e.kind {
	case eventCall:
		l.begin(e.call)
	case eventAbandon:
		l.engine.Abandon(e.call.op)
	case eventUp:
		if l.links[e.link.server] == e.link {
			l.engine.ConnUp(e.link.server)
		}
	case eventDown:
		if l.links[e.link.server] == e.link {
			delete(l.links, e.link.server)
			l.c.o.Logger.Debug("connection ended", "node", e.link.server, "err", e.err)
			l.engine.ConnDown(e.link.server, fmt.Sprint(e.err))
		}
	case eventMessage:
		if l.links[e.link.server] == e.link {
			l.engine.StepReply(e.link.server, e.message)
		}
	case eventClose:
		l.closing = true
		l.engine.Drain()
		l.calls.All(func(op uint64, _ *call) { l.engine.Abandon(session.OpID(op)) })
	default:
		panic("unreachable: event kind")
	}
}

func (l *loop) begin(k *call) {
	switch k.kind {
	case callTransfer:
		k.op = l.engine.Transfer(k.record)
	case callResolve:
		k.op = l.engine.Resolve(k.id)
	case callCancel:
		k.op = l.engine.Cancel(k.id)
	case callRequest:
		k.op = l.engine.Call(k.request)
	case callBatch:
		k.op = l.engine.TransferBatch(k.batch.records)
	case callAudit:
		k.op = l.engine.Audit()
	default:
		panic("unreachable: call kind")
	}
	l.calls.Put(uint64(k.op), k)
}

// carryOut does what the engine wants done: sends first, for they take longest.
func (l *loop) carryOut(out *session.Effects) {
	for _, s := range out.Sends {
		if k := l.links[s.Server]; k != nil && k.conn != nil {
			if err := k.conn.Send(s.Messages...); err != nil {
				l.c.o.Logger.Debug("send failed", "node", s.Server, "err", err)
				go k.conn.Close() // its reader reports the end
			}
		}
	}
	for _, id := range out.Connects {
		l.connect(id)
	}
	if len(out.Steps) > 0 {
		now := time.Now()
		for _, s := range out.Steps {
			if k := l.calls.Get(uint64(s.Op)); k != nil {
				k.steps = append(k.steps, Step{At: now.Sub(k.start), Actor: actor(s.Actor), Text: s.Text})
			}
		}
	}
	l.deliver(out)
	if out.Crash && !l.crashed {
		l.crashed = true
		if len(out.Dones) == 0 {
			l.c.o.Crash()
			return
		}
		time.AfterFunc(crashDelay, l.c.o.Crash)
	}
}

func actor(s shard.ID) string {
	if s == 0 {
		return "client"
	}
	return s.String()
}

// connect dials a server; the connection's goroutine then reads from it.
func (l *loop) connect(id shard.ServerID) {
	s, cluster, _ := l.c.o.Topology.Server(id)
	k := &link{server: id}
	l.links[id] = k
	l.c.links.Add(1)
	go l.c.serve(k, s.Addr, cluster.Shard)
}

// serve is the goroutine of one connection.
func (c *Client) serve(k *link, addr string, s shard.ID) {
	defer c.links.Done()
	ctx, cancel := context.WithTimeout(c.ctx, dialTimeout)
	nc, hello, err := c.dial(ctx, addr)
	cancel()
	if err == nil && (hello.Server != k.server || hello.Shard != s) {
		err = fmt.Errorf("at %s answers server %s of %s, not server %s of %s: the configurations differ",
			addr, hello.Server, hello.Shard, k.server, s)
		nc.Close()
	}
	if err != nil {
		c.post(event{kind: eventDown, link: k, err: err})
		return
	}
	// The end of the client ends the connection, so that Receive returns.
	stop := context.AfterFunc(c.ctx, func() { nc.Close() })
	defer stop()
	defer nc.Close()
	k.conn = nc
	c.post(event{kind: eventUp, link: k})
	for {
		m, err := nc.Receive()
		if err != nil {
			c.post(event{kind: eventDown, link: k, err: err})
			return
		}
		c.post(event{kind: eventMessage, link: k, message: m})
	}
}

// end closes the connections and answers what is left.
func (l *loop) end() {
	l.c.ends()
	closed := session.Result{Decision: txn.DecidedUnknown, Detail: "the client was closed"}
	l.calls.All(func(_ uint64, k *call) {
		if k.batch != nil {
			k.batch.end(&closed, time.Since(k.start))
			closed.Record = ledger.Record{}
		} else {
			closed.Record = k.record
		}
		k.done <- closed
	})
}

// deliver hands results to their callers.
func (l *loop) deliver(out *session.Effects) {
	var now time.Time // one look at the clock for all of a turn's results
	if len(out.Committed)+len(out.Dones) > 0 {
		now = time.Now()
	}
	for i := range out.Committed {
		c := &out.Committed[i]
		if k := l.calls.Get(uint64(c.Op)); k != nil {
			k.batch.committed(c, now.Sub(k.start))
			l.ended(k)
		}
	}
	for i := range out.Dones {
		d := &out.Dones[i]
		k := l.calls.Get(uint64(d.Op))
		switch {
		case k == nil:
		case k.batch != nil:
			k.batch.answer(d.Place, &d.Result, now.Sub(k.start))
			l.ended(k)
		default:
			l.calls.Remove(uint64(d.Op))
			k.done <- d.Result
		}
	}
}

// ended ends a batch's call with its last transfer.
func (l *loop) ended(k *call) {
	if k.batch.open == 0 {
		l.calls.Remove(uint64(k.op))
		k.done <- session.Result{}
	}
}
