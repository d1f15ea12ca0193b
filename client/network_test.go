package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"

	"raftbank/internal/session/sessiontest"
	"raftbank/internal/shard"
	"raftbank/internal/wire"
)

// network is a bank in memory behind the client's dial function.
type network struct {
	mu sync.Mutex
	// guarded by mu
	bank  *sessiontest.Bank
	down  map[shard.ServerID]bool                      // refuses connections
	mute  map[shard.ServerID]bool                      // takes requests and answers nothing
	named map[shard.ServerID]shard.ServerID            // says hello as another server
	twist func(to shard.ServerID, r *wire.Reply) error // changes replies
	conns map[*memoryConn]bool
}

// smallTopology has two clusters of three servers, accounts 1-10 and 11-20 with 10 each.
func smallTopology() *shard.Topology {
	t := &shard.Topology{OpeningBalance: 10}
	for c := 1; c <= 2; c++ {
		cluster := shard.Cluster{Shard: shard.ID(c), Range: shard.Range{
			First: shard.Account(10*c - 9), Last: shard.Account(10 * c),
		}}
		for i := 1; i <= 3; i++ {
			id := 3*(c-1) + i
			cluster.Servers = append(cluster.Servers, shard.Server{
				ID: shard.ServerID(id), Addr: fmt.Sprintf("127.0.0.1:%d", 9000+id),
			})
		}
		t.Clusters = append(t.Clusters, cluster)
	}
	return t
}

func newNetwork() *network {
	return &network{
		bank: sessiontest.New(smallTopology()), down: map[shard.ServerID]bool{}, mute: map[shard.ServerID]bool{},
		named: map[shard.ServerID]shard.ServerID{}, conns: map[*memoryConn]bool{},
	}
}

// open returns a client of the bank; the test closes it.
func (n *network) open(t *testing.T, o Options) *Client {
	t.Helper()
	o.Topology, o.dial = n.bank.Topology, n.dial
	c, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (n *network) dial(ctx context.Context, addr string) (conn, wire.HelloReply, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range n.bank.Topology.Servers() {
		if s.Addr != addr {
			continue
		}
		if n.down[s.ID] {
			return nil, wire.HelloReply{}, errors.New("connection refused")
		}
		c := &memoryConn{n: n, server: s.ID, replies: make(chan wire.Message, 1<<16), closed: make(chan struct{})}
		n.conns[c] = true
		id := s.ID
		if other := n.named[id]; other != 0 {
			id = other
		}
		_, cluster, _ := n.bank.Topology.Server(s.ID)
		return c, wire.HelloReply{Server: id, Shard: cluster.Shard}, nil
	}
	return nil, wire.HelloReply{}, errors.New("no such host")
}

// set changes the network and breaks the connections of servers that are down.
func (n *network) set(change func()) {
	n.mu.Lock()
	change()
	var broken []*memoryConn
	for c := range n.conns {
		if n.down[c.server] {
			broken = append(broken, c)
		}
	}
	n.mu.Unlock()
	for _, c := range broken {
		c.Close()
	}
}

// memoryConn is one connection.
type memoryConn struct {
	n       *network
	server  shard.ServerID
	replies chan wire.Message
	once    sync.Once
	closed  chan struct{}
}

func (c *memoryConn) Send(ms ...wire.Message) error {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	for _, m := range ms {
		if c.n.mute[c.server] {
			continue
		}
		r := c.n.bank.Handle(c.server, m)
		if c.n.twist != nil {
			if err := c.n.twist(c.server, r); err != nil {
				return err
			}
		}
		c.replies <- r
	}
	return nil
}

func (c *memoryConn) Receive() (wire.Message, error) {
	select {
	case m := <-c.replies:
		return m, nil
	case <-c.closed:
		return nil, io.EOF
	}
}

func (c *memoryConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return nil
}
