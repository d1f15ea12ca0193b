// Package sessiontest is a bank in memory for tests of clients: one real ledger per shard behind the
// wire messages, without raft, disk or network. Every server of a shard shares its ledger; which
// one leads is for the test to say.
//
// It is deterministic and not safe for concurrent use. Not for production code.
//
// Read first: Bank.Handle.
package sessiontest
