// Command peers puts the transfers of raftbank bench on raftbank and on systems that people would use
// instead, one after the other on the same machine, and prints the results as JSON. raftbank bench peers
// builds and runs it.
//
// It is a module of its own, so that raftbank does not inherit the dependencies of etcd and of the
// PostgreSQL driver. Load, clocks and histograms are those of raftbank's package internal/bench: only the
// target differs.
//
// Fairness: every system runs with the same durability (what is acknowledged has been synced to disk, by
// a majority where it is replicated), alone on the machine, with the settings that its users take for
// speed. The settings stand in the output.
package main
