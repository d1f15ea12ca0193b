package process

import (
	"fmt"

	"raftbank/internal/freeport"
	"raftbank/internal/shard"
)

// FreeTopology is the default bank on free ports, and two more ports. Error: there are no free ports.
func FreeTopology() (*shard.Topology, []int, error) {
	topology := shard.DefaultTopology()
	ports, err := freeport.Take(len(topology.Servers()) + 2)
	if err != nil {
		return nil, nil, err
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
