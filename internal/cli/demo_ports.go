package cli

import (
	"fmt"
	"net"

	"raftbank/internal/shard"
)

// Free blocks of ports are looked for from firstFreeBlock up, portBlockStep apart.
const (
	firstFreeBlock = 9100
	portBlockStep  = 100
	portBlocks     = 40
)

// portPlan says where the demo's client server and servers listen.
type portPlan struct {
	client int
	first  int // of the servers, in the order of their ids
	// usual says that these are the ports of the default bank.
	usual bool
}

// planPorts returns the usual ports if all of them are free, else the first free block of the same
// shape: the client's port, then the servers'. free says whether a port can be listened on.
func planPorts(servers int, free func(port int) bool) (portPlan, error) {
	isFree := func(p portPlan) bool {
		for port := p.client; port <= p.client+servers; port++ {
			if !free(port) {
				return false
			}
		}
		return true
	}
	if usual := (portPlan{clientPort, clientPort + 1, true}); isFree(usual) {
		return usual, nil
	}
	for i := range portBlocks {
		base := firstFreeBlock + i*portBlockStep
		if p := (portPlan{base, base + 1, false}); isFree(p) {
			return p, nil
		}
	}
	return portPlan{}, fmt.Errorf("no %d free ports in a row from %d, %d, %d ... up to %d: free some, then try again",
		servers+1, clientPort, firstFreeBlock, firstFreeBlock+portBlockStep, firstFreeBlock+(portBlocks-1)*portBlockStep)
}

// portFree reports whether a loopback port can be listened on now.
func portFree(port int) bool {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", fmt.Sprint(port)))
	if err != nil {
		return false
	}
	return l.Close() == nil
}

// place returns the topology with its servers on the plan's ports.
func (p portPlan) place(t *shard.Topology) *shard.Topology {
	moved := &shard.Topology{OpeningBalance: t.OpeningBalance}
	port := p.first
	for _, c := range t.Clusters {
		m := shard.Cluster{Shard: c.Shard, Range: c.Range}
		for _, s := range c.Servers {
			m.Servers = append(m.Servers, shard.Server{ID: s.ID, Addr: net.JoinHostPort("127.0.0.1", fmt.Sprint(port))})
			port++
		}
		moved.Clusters = append(moved.Clusters, m)
	}
	return moved
}
