package shard

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
