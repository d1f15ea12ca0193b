package transport

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"raftbank/internal/shard"
	"raftbank/internal/txn"
	"raftbank/internal/wire"
)

// Handler takes what arrives. Its methods are called from the connections' own goroutines, one
// call at a time per connection; while one does not return, its connection is not read. They must
// return soon after Server.Close is called.
type Handler interface {
	// Peer takes a message of another server, whose key has been checked.
	Peer(from shard.ServerID, m wire.Message)
	// Client takes a request. conn names the connection, for the answer.
	Client(conn uint64, m wire.Message)
	// ClientClosed says that no more requests come from conn and that answers no longer reach it.
	ClientClosed(conn uint64)
}

// Options of a Server.
type Options struct {
	Server shard.ServerID
	Shard  shard.ID
	Epoch  uint32         // of the shard map
	Keys   *txn.KeyRing   // the first is the one that this server proves to others
	Peers  []shard.Server // every other server of the bank; this one is skipped
	Listen string         // host:port; port 0 takes a free one
	Logger *slog.Logger

	AllowFaults bool
	// MaxClients bounds client connections; 0: 1024.
	MaxClients int
	// PeerQueueBytes and ClientQueueBytes bound what waits for one connection; 0: 32 MiB.
	PeerQueueBytes, ClientQueueBytes int
	// ClientsBytes bounds what all client connections together hold: answers unsent, requests half
	// received, and large buffers that are lent for them; 0: 256 MiB.
	ClientsBytes int
}

const (
	defaultMaxClients = 1024
	defaultQueueBytes = 32 << 20
	defaultTotalBytes = 256 << 20
	// strangers is how many connections may be in their handshake at a time.
	strangers = 128
	// acceptPause is the pause after the system refused a connection (no descriptors left).
	acceptPause = 50 * time.Millisecond
)

// errSilent is why a connection ended whose handshake made room for a newcomer's.
var errSilent = errors.New("silent for longest when all places for handshakes were taken")

// ErrListen says that the address cannot be listened on: this machine does not have it, or may not.
var ErrListen = errors.New("cannot listen")

// ErrPortInUse says that another process listens on the server's port.
var ErrPortInUse = errors.New("port is in use")

type portInUseError struct {
	addr  string
	cause error
}

func (e *portInUseError) Error() string {
	_, port, _ := net.SplitHostPort(e.addr)
	return fmt.Sprintf("port %s is in use by another process (%s): stop it, or give the server another address in the configuration",
		port, e.addr)
}

func (e *portInUseError) Unwrap() []error { return []error{ErrPortInUse, e.cause} }

// Server is a server's side of the transport: one listener, one link to each other server.
type Server struct {
	o        Options
	handler  Handler
	listener net.Listener
	links    map[shard.ServerID]*link // fixed after Listen
	faults   atomic.Pointer[Faults]
	budget   budget        // of all client connections
	large    largeBuffers  // of all client connections
	dropped  atomic.Uint64 // client connections ended for what they held
	stop     context.CancelFunc
	wg       sync.WaitGroup

	mu sync.Mutex
	// guarded by mu
	lastConn  uint64
	clients   map[uint64]*Conn
	inbound   map[shard.ServerID]net.Conn // the newest accepted link of each peer
	strangers []net.Conn                  // in their handshake, the oldest first; at most strangers
	places    int                         // taken by clients, at most MaxClients
}

// Envelope is a message with its destination: a peer, or a client's connection if Server is 0.
type Envelope struct {
	Server  shard.ServerID
	Conn    uint64
	Message wire.Message
}

// Listen opens the port. Nothing is accepted or sent before Serve.
// Errors: ErrPortInUse, ErrListen.
func Listen(o Options) (*Server, error) {
	if o.MaxClients == 0 {
		o.MaxClients = defaultMaxClients
	}
	if o.PeerQueueBytes == 0 {
		o.PeerQueueBytes = defaultQueueBytes
	}
	if o.ClientQueueBytes == 0 {
		o.ClientQueueBytes = defaultQueueBytes
	}
	if o.ClientsBytes == 0 {
		o.ClientsBytes = defaultTotalBytes
	}
	l, err := net.Listen("tcp", o.Listen)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, &portInUseError{addr: o.Listen, cause: err}
	}
	if err != nil {
		return nil, fmt.Errorf("%w on %s: %w", ErrListen, o.Listen, err)
	}
	s := &Server{
		o: o, listener: l,
		links:   map[shard.ServerID]*link{},
		clients: map[uint64]*Conn{},
		inbound: map[shard.ServerID]net.Conn{},
		budget:  budget{limit: int64(o.ClientsBytes)},
	}
	s.faults.Store(&Faults{})
	for _, p := range o.Peers {
		if p.ID == o.Server {
			continue
		}
		s.links[p.ID] = &link{s: s, to: p, wake: make(chan struct{}, 1)}
	}
	return s, nil
}

// Serve starts to accept and send, until Close. It returns at once and is called once. Links to
// peers are dialled at their first message.
func (s *Server) Serve(h Handler) {
	ctx, stop := context.WithCancel(context.Background())
	s.handler, s.stop = h, stop
	for _, l := range s.links {
		s.wg.Go(func() { l.run(ctx) })
	}
	s.wg.Go(func() { s.acceptAll(ctx) })
}

// Addr returns the address that the server listens on.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Close stops listening, sends what is queued (bounded by 1 s), closes every connection and returns
// when all goroutines have ended.
func (s *Server) Close() {
	s.listener.Close()
	if s.stop != nil {
		s.stop()
	}
	s.wg.Wait()
}

// StopAccepting closes the listener: connections stay, new ones are refused.
func (s *Server) StopAccepting() { s.listener.Close() }

// Send queues messages and wakes each connection once. It never blocks and reports nothing: what
// cannot be sent is dropped (peers) or ends the connection (a client that reads too slowly).
// It may be called from one goroutine at a time with messages that must keep their order.
func (s *Server) Send(es ...Envelope) {
	faults := s.faults.Load()
	var touched []*Conn
	for i := range es {
		e := &es[i]
		var c *Conn
		if e.Server == 0 {
			c = s.sendClient(e)
		} else if l := s.links[e.Server]; l != nil {
			c = faults.send(l, e.Message)
		}
		// Runs of messages for one connection are common: wake it at the end of each.
		if c != nil && (len(touched) == 0 || touched[len(touched)-1] != c) {
			touched = append(touched, c)
		}
	}
	for _, c := range touched {
		c.flush()
	}
	s.relieve()
}

// Dropped returns how many client connections were ended because they held too much.
func (s *Server) Dropped() uint64 { return s.dropped.Load() }

func (s *Server) sendClient(e *Envelope) *Conn {
	s.mu.Lock()
	c := s.clients[e.Conn]
	s.mu.Unlock()
	if c == nil {
		return nil
	}
	err := c.queue(e.Message)
	if r, ok := e.Message.(*wire.Reply); ok && errors.Is(err, wire.ErrTooLarge) && len(r.Body) > 0 {
		// Only answers about a server's insides have no bound of their own; the caller can ask for less.
		err = c.queue(&wire.Reply{Request: r.Request, Status: wire.StatusBadRequest, Text: fmt.Sprintf(
			"the answer has %d bytes, more than a frame may have: ask for fewer rows", len(r.Body))})
	}
	switch {
	case err == nil:
		return c
	case !errors.Is(err, ErrClosed):
		s.dropped.Add(1)
		s.o.Logger.Warn("client disconnected", "remote", c.Remote(), "err", err)
		c.fail(err)
	}
	return nil
}

// acceptAll takes connections until the listener closes.
func (s *Server) acceptAll(ctx context.Context) {
	for {
		nc, err := s.listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			s.o.Logger.Warn("accept failed", "err", err)
			select {
			case <-time.After(acceptPause):
			case <-ctx.Done():
				return
			}
			continue
		}
		s.admitStranger(nc)
		s.wg.Go(func() { s.serve(ctx, nc) })
	}
}

// admitStranger gives a new connection a place for its handshake. If all are taken the oldest one
// loses its own: an honest handshake takes a round trip, so who has waited longest is silent.
func (s *Server) admitStranger(nc net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.strangers) >= strangers {
		s.strangers[0].Close()
		s.strangers = slices.Delete(s.strangers, 0, 1)
	}
	s.strangers = append(s.strangers, nc)
}

// releaseStranger says whether the connection still had its place.
func (s *Server) releaseStranger(nc net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.strangers, nc)
	if i < 0 {
		return false
	}
	s.strangers = slices.Delete(s.strangers, i, i+1)
	return true
}

// admitClient takes a place for a client, or returns the refusal of one client too many.
func (s *Server) admitClient() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.places >= s.o.MaxClients {
		return fmt.Sprintf("server %s has %d client connections, its bound; try again later", s.o.Server, s.places)
	}
	s.places++
	return ""
}

func (s *Server) releaseClient() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.places--
}

// serve handles one accepted connection to its end.
func (s *Server) serve(ctx context.Context, nc net.Conn) {
	defer nc.Close()
	unwatch := afterFunc(ctx, func() { nc.Close() })
	in := &meter{nc: nc, r: newReader(nc), s: s}
	r := bufio.NewReaderSize(in, readBufferBytes)
	nc.SetDeadline(time.Now().Add(handshakeTimeout))
	h, err := s.accept(nc, r)
	nc.SetDeadline(time.Time{})
	unwatch()
	if !s.releaseStranger(nc) && err != nil {
		err = errSilent
	}
	switch {
	case ctx.Err() != nil:
	case errors.Is(err, io.EOF):
		// Somebody looked whether the port is open.
	case err != nil:
		s.o.Logger.Warn("connection refused", "remote", nc.RemoteAddr().String(), "err", err)
	case h.Role == wire.RolePeer:
		s.servePeer(ctx, nc, r, h.Server)
	default:
		s.serveClient(ctx, in, r)
		s.releaseClient()
	}
}

// servePeer reads another server's link. A new link of a server ends its former one, which may hang
// half-open after a crash.
func (s *Server) servePeer(ctx context.Context, nc net.Conn, r *bufio.Reader, from shard.ServerID) {
	defer afterFunc(ctx, func() { nc.Close() })()
	s.mu.Lock()
	former := s.inbound[from]
	s.inbound[from] = nc
	s.mu.Unlock()
	if former != nil {
		former.Close()
	}
	err := s.readPeer(r, from)
	s.mu.Lock()
	if s.inbound[from] == nc {
		delete(s.inbound, from)
	}
	s.mu.Unlock()
	if ctx.Err() == nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
		s.o.Logger.Warn("link of peer closed", "peer", from, "err", err)
	}
}

func (s *Server) readPeer(r *bufio.Reader, from shard.ServerID) error {
	for {
		m, err := wire.ReadTrustedFrame(r)
		if err != nil {
			return err
		}
		switch m.Type() {
		case wire.TypeRaft, wire.TypeProbe, wire.TypeProbeReply, wire.TypeCheckpoint,
			wire.TypeSnapshotAsk, wire.TypeSnapshotPart, wire.TypeInquire, wire.TypeReply:
		default:
			return fmt.Errorf("a server may not send a %s message", m.Type())
		}
		if !s.faults.Load().blocksFrom(from) {
			s.handler.Peer(from, m)
		}
	}
}

// serveClient reads a client's requests.
func (s *Server) serveClient(ctx context.Context, in *meter, r *bufio.Reader) {
	c := newConn(in.nc, r, s.o.ClientQueueBytes)
	c.budget, c.large, in.c = &s.budget, &s.large, c
	go c.write()
	s.mu.Lock()
	s.lastConn++
	id := s.lastConn
	s.clients[id] = c
	s.mu.Unlock()
	unwatch := afterFunc(ctx, func() { c.Close() })

	err := s.readClient(in, id)
	s.mu.Lock()
	delete(s.clients, id)
	s.mu.Unlock()
	s.handler.ClientClosed(id)
	unwatch()
	c.abort()
	c.letGo(c.held()) // of a request that never became whole
	if ctx.Err() == nil && !errors.Is(err, io.EOF) {
		s.o.Logger.Info("client connection closed", "remote", c.Remote(), "err", err)
	}
}

func (s *Server) readClient(in *meter, id uint64) error {
	for {
		m, err := wire.ReadFrameIn(in, in.c.r)
		if err != nil {
			return err
		}
		in.whole()
		if wire.HeaderOf(m) == nil {
			return fmt.Errorf("a client may not send a %s message", m.Type())
		}
		s.handler.Client(id, m)
	}
}

// afterFunc is context.AfterFunc, except that the returned function also waits for f if it runs.
func afterFunc(ctx context.Context, f func()) (stop func()) {
	done := make(chan struct{})
	cancel := context.AfterFunc(ctx, func() {
		defer close(done)
		f()
	})
	return func() {
		if !cancel() {
			<-done
		}
	}
}
