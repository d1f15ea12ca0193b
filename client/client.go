package client

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"raftbank/internal/session"
	"raftbank/internal/shard"
)

// tick is the engine's unit of time.
const tick = 10 * time.Millisecond

// closeFlush bounds how long Close waits for FINISH messages.
const closeFlush = time.Second

// Client talks to a bank. See the package comment.
type Client struct {
	o    Options
	dial dialFunc
	// ends cancels what dials; ended is closed when the loop has ended.
	ctx   context.Context
	ends  context.CancelFunc
	ended chan struct{}
	links sync.WaitGroup // goroutines of connections

	wake  chan struct{} // capacity 1: the inbox is not empty
	calls sync.Pool     // of *call: those of transfers that are over, each with its channel

	mu sync.Mutex
	// guarded by mu
	inbox  []event
	closed bool
}

// Open returns a client. It connects lazily: a bank that is down shows at the first call.
// Errors: those of Options.Validate.
func Open(o Options) (*Client, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if o.Deadline == 0 {
		o.Deadline = 3 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Client{o: o, dial: o.dial, ended: make(chan struct{}), wake: make(chan struct{}, 1)}
	c.calls.New = func() any { return &call{done: make(chan session.Result, 1)} }
	if c.dial == nil {
		c.dial = dialTCP
	}
	c.ctx, c.ends = context.WithCancel(context.Background())
	l := &loop{
		c: c,
		engine: session.New(session.Options{
			Topology:      o.Topology,
			DeadlineTicks: uint64(max(o.Deadline/tick, 1)),
			MaxInFlight:   o.MaxInFlight,
			Trace:         o.Trace,
			CrashPoint:    o.CrashPoint,
		}),
		links: map[shard.ServerID]*link{},
	}
	go l.run()
	return c, nil
}

// Close flushes FINISH messages that are still buffered (bounded by 1 s), ends every call with its
// present knowledge and waits for the client's goroutines. Closing twice is harmless.
func (c *Client) Close() error {
	c.mu.Lock()
	if !c.closed {
		c.closed = true
		c.inbox = append(c.inbox, event{kind: eventClose})
	}
	c.mu.Unlock()
	c.poke()
	<-c.ended
	c.links.Wait()
	return nil
}

// Topology returns the topology the client was opened with.
func (c *Client) Topology() *shard.Topology { return c.o.Topology }

// post hands an event to the loop.
func (c *Client) post(e event) {
	c.mu.Lock()
	c.inbox = append(c.inbox, e)
	c.mu.Unlock()
	c.poke()
}

// submit hands a call to the loop. Errors: ErrClosed.
func (c *Client) submit(k *call) error {
	k.start = time.Now()
	if k.done == nil {
		k.done = make(chan session.Result, 1)
	}
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return ErrClosed
	}
	c.inbox = append(c.inbox, event{kind: eventCall, call: k})
	c.mu.Unlock()
	c.poke()
	return nil
}

// arrived returns how much waits in the inbox.
func (c *Client) arrived() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.inbox)
}

func (c *Client) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// do carries out a call. The end of ctx asks the engine for what it knows by then.
func (c *Client) do(ctx context.Context, k *call) (session.Result, error) {
	if err := c.submit(k); err != nil {
		return session.Result{}, err
	}
	select {
	case r := <-k.done:
		return r, nil
	case <-ctx.Done():
		k.abandoned = true
		c.post(event{kind: eventAbandon, call: k})
		return <-k.done, nil
	}
}
