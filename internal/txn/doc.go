// Package txn is the cross-shard commit protocol as steps: certificates and their blocks, the
// coordinator that a client runs for one transfer, and the leader-side participant that finishes
// what a dead client left (docs/PROTOCOL.md). The transition table itself is in package ledger.
//
// It is pure: messages and ticks in, effects out; no I/O, clock, randomness or goroutines.
//
// Read first: Block in certificate.go, Coordinator in coordinator.go, Participant in participant.go.
package txn
