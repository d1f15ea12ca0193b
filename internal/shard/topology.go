package shard

import (
	"fmt"
	"math/big"
)

// Server is one server process of the configuration.
type Server struct {
	ID   ServerID
	Addr string // host:port on which peers and clients reach it
}

// Cluster is one shard with its replicas.
type Cluster struct {
	Shard   ID
	Range   Range
	Servers []Server // sorted by ID; 1, 3 or 5 of them
}

// Topology is the whole configuration of a bank: clusters, ranges, addresses, opening balance.
// It is fixed when the bank opens, addresses excepted.
type Topology struct {
	Clusters       []Cluster // sorted by Shard
	OpeningBalance uint64    // minor units with which every account opens
}

// MapEpoch is the epoch of every map until ranges can move between shards.
const MapEpoch = 1

// DefaultTopology returns the compiled-in bank: three clusters of three servers on the loopback
// ports 9001-9009, accounts 1-3000, opening balance 10.
func DefaultTopology() *Topology {
	t := &Topology{OpeningBalance: 10}
	for c := range 3 {
		first := Account(c*1000 + 1)
		cluster := Cluster{Shard: ID(c + 1), Range: Range{First: first, Last: first + 999}}
		for i := range 3 {
			id := ServerID(c*3 + i + 1)
			cluster.Servers = append(cluster.Servers, Server{ID: id, Addr: fmt.Sprintf("127.0.0.1:%d", 9000+id)})
		}
		t.Clusters = append(t.Clusters, cluster)
	}
	return t
}

// Map returns which shard holds which accounts. It panics on a topology that Validate refuses.
func (t *Topology) Map() Map {
	parts := make([]Assignment, len(t.Clusters))
	for i := range t.Clusters {
		parts[i] = Assignment{Shard: t.Clusters[i].Shard, Range: t.Clusters[i].Range}
	}
	m, err := NewMap(MapEpoch, parts)
	if err != nil {
		panic("shard: Map of a topology that was not validated: " + err.Error())
	}
	return m
}

// ShardOf returns the shard that holds a, and whether any does.
func (t *Topology) ShardOf(a Account) (ID, bool) {
	for i := range t.Clusters {
		if t.Clusters[i].Range.Contains(a) {
			return t.Clusters[i].Shard, true
		}
	}
	return 0, false
}

// Cluster returns the cluster of a shard, nil if there is none. The caller must not change it.
func (t *Topology) Cluster(id ID) *Cluster {
	for i := range t.Clusters {
		if t.Clusters[i].Shard == id {
			return &t.Clusters[i]
		}
	}
	return nil
}

// Server returns a server and its cluster, and whether the configuration has it.
func (t *Topology) Server(id ServerID) (Server, *Cluster, bool) {
	for i := range t.Clusters {
		for _, s := range t.Clusters[i].Servers {
			if s.ID == id {
				return s, &t.Clusters[i], true
			}
		}
	}
	return Server{}, nil, false
}

// Servers returns every server, cluster by cluster.
func (t *Topology) Servers() []Server {
	var all []Server
	for i := range t.Clusters {
		all = append(all, t.Clusters[i].Servers...)
	}
	return all
}

// Total returns what the bank opens with: the opening balance times the number of accounts.
func (t *Topology) Total() *big.Int {
	n := t.accounts()
	return n.Mul(n, new(big.Int).SetUint64(t.OpeningBalance))
}

// accounts returns the number of accounts; it cannot overflow, whatever the ranges.
func (t *Topology) accounts() *big.Int {
	n := new(big.Int)
	for i := range t.Clusters {
		if r := t.Clusters[i].Range; r.First <= r.Last {
			n.Add(n, new(big.Int).SetUint64(uint64(r.Last-r.First)))
			n.Add(n, big.NewInt(1))
		}
	}
	return n
}

// Accounts returns the bank's account numbers as text: "1-3000".
func (t *Topology) Accounts() string {
	if len(t.Clusters) == 0 {
		return "no accounts"
	}
	whole := t.Clusters[0].Range
	for i := range t.Clusters {
		whole.First = min(whole.First, t.Clusters[i].Range.First)
		whole.Last = max(whole.Last, t.Clusters[i].Range.Last)
	}
	return whole.String()
}
