package process

import (
	"errors"
	"net"
	"sync"
	"time"
)

// LinkFaults say what a Proxy does to the bytes between clients and a server. The zero value lets them pass.
type LinkFaults struct {
	Delay        time.Duration // every piece waits, in each direction
	HoldRequests bool          // what clients send stays in the proxy until this is over
	HoldAnswers  bool          // likewise what the server sends
	// CutAfter breaks every connection once so many more bytes have passed, often within a frame; 0: never.
	CutAfter int
}

// Proxy stands between clients and one server, as a network that tests can trouble: TCP loses no byte, so loss is delay, silence
// in one direction or both, and connections that break.
type Proxy struct {
	target   string
	listener net.Listener
	wait     sync.WaitGroup

	mu sync.Mutex
	// guarded by mu
	faults  LinkFaults
	changed chan struct{} // closed when faults change
	left    int           // bytes until connections break, if faults.CutAfter
	conns   map[net.Conn]bool
	closed  bool
}

// NewProxy listens on a free port of this machine and passes connections on to target.
// Errors: those of the system.
func NewProxy(target string) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{target: target, listener: l, changed: make(chan struct{}), conns: map[net.Conn]bool{}}
	p.wait.Go(p.accept)
	return p, nil
}

// Addr is where clients connect.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Set replaces the faults, of open connections too. What was held passes on.
func (p *Proxy) Set(f LinkFaults) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults, p.left = f, f.CutAfter
	close(p.changed)
	p.changed = make(chan struct{})
}

// Close breaks all connections and waits for the proxy's end.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	close(p.changed)
	p.changed = make(chan struct{})
	p.mu.Unlock()
	_ = p.listener.Close() // it can fail only by being closed already
	p.breakAll()
	p.wait.Wait()
}

func (p *Proxy) breakAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
	clear(p.conns)
}

func (p *Proxy) accept() {
	for {
		c, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			p.wait.Go(func() { p.serve(c) })
		}
	}
}

func (p *Proxy) serve(c net.Conn) {
	s, err := net.Dial("tcp", p.target)
	if err != nil {
		_ = c.Close() // the server is down: so is the connection
		return
	}
	defer func() { _ = s.Close() }()
	defer func() { _ = c.Close() }()
	p.mu.Lock()
	closed := p.closed
	p.conns[c], p.conns[s] = true, true
	p.mu.Unlock()
	if closed {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { p.pass(c, s, func(f *LinkFaults) bool { return f.HoldRequests }) })
	both.Go(func() { p.pass(s, c, func(f *LinkFaults) bool { return f.HoldAnswers }) })
	both.Wait()
	p.mu.Lock()
	delete(p.conns, c)
	delete(p.conns, s)
	p.mu.Unlock()
}

// pass carries bytes one way, until either side ends.
func (p *Proxy) pass(from, to net.Conn, held func(*LinkFaults) bool) {
	defer func() { _ = to.Close() }()
	defer func() { _ = from.Close() }()
	buffer := make([]byte, 16<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			take, broken := p.through(n, held)
			if _, err := to.Write(buffer[:take]); err != nil {
				return
			}
			if broken {
				p.breakAll()
				return
			}
		}
		if err != nil {
			return // the other side sees the end
		}
	}
}

// through waits as long as the faults want and returns how many of n bytes pass, and whether connections break then.
func (p *Proxy) through(n int, held func(*LinkFaults) bool) (take int, broken bool) {
	delayed := false
	for {
		p.mu.Lock()
		f, changed, closed := p.faults, p.changed, p.closed
		switch {
		case closed:
			p.mu.Unlock()
			return 0, true
		case held(&f):
			p.mu.Unlock()
			<-changed
			continue
		case f.Delay > 0 && !delayed:
			p.mu.Unlock()
			delayed = true
			timer := time.NewTimer(f.Delay)
			select {
			case <-timer.C:
			case <-changed:
				timer.Stop()
			}
			continue
		}
		if f.CutAfter == 0 || n < p.left {
			p.left -= n
			p.mu.Unlock()
			return n, false
		}
		take, p.left = min(n, p.left), f.CutAfter
		p.mu.Unlock()
		return take, true
	}
}
