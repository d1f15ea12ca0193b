// Package shard says which cluster holds which account: ids, ranges, the map and routing.
//
// It is the leaf of the pure packages: no I/O, no clock, no randomness, no goroutines. A Map is
// immutable once built; its epoch is 1 until ranges can move between shards.
//
// Read first: Map in map.go, then Topology in topology.go.
package shard
