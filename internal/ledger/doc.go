// Package ledger is the replicated state machine of one shard: accounts, reservations, transfers
// and the outcome of every transfer id it ever saw.
//
// It is deterministic: the same entries in the same order give byte-identical state. It reads no
// clock, no randomness, no map in range order, and starts no goroutine. Apply never panics on
// input that a client can cause: a refusal is a Result, replicated like a success.
//
// The transition table of the commit protocol (docs/PROTOCOL.md) is evaluated here, at apply.
// Certificates are not: a leader verifies them before it proposes, so that replicas do not depend
// on key files.
//
// Audits cut the log by numbered barriers (audit.go): what a cut contains is worked out from the history
// when somebody asks.
//
// Read first: State.Apply.
package ledger
