package process

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"

	"raftbank/internal/shard"
)

// FreeTopology is the default bank on free ports, and two more ports. They lie below the range from which the kernel
// draws ports of outgoing connections: a server's port must still be free when the server restarts.
// Error: there are no free ports.
func FreeTopology() (*shard.Topology, []int, error) {
	topology := shard.DefaultTopology()
	var held []net.Listener
	var ports []int
	defer func() {
		for _, l := range held {
			_ = l.Close()
		}
	}()
	for tries := 0; len(ports) < len(topology.Servers())+2; tries++ {
		if tries > 1000 {
			return nil, nil, errors.New("no free ports between 12000 and 32000")
		}
		port := 12000 + rand.IntN(20000)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue // taken; a port drawn twice is taken too
		}
		held = append(held, l)
		ports = append(ports, port)
	}
	i := 0
	for c := range topology.Clusters {
		for s := range topology.Clusters[c].Servers {
			topology.Clusters[c].Servers[s].Addr = fmt.Sprintf("127.0.0.1:%d", ports[i])
			i++
		}
	}
	return topology, ports[i:], nil
}
