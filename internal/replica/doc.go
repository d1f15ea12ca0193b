// Package replica is one replica of one shard as a pure state machine: it drives raft.RawNode,
// applies what is committed to the ledger, and answers requests.
//
// Inputs are Tick, StepPeer, StepClient and CloseConn. The caller then runs turns while HasWork:
//
//  1. out := Turn(now): everything stepped so far is coalesced into one proposal. out.Sends may
//     leave at once: they promise nothing that the write below could lose.
//  2. Append out.HardState and out.Entries to the log, with one fsync if out.Sync.
//  3. out = Persisted(): entries that the write made durable are applied, and the messages that
//     had to wait for it (votes and acknowledgements) leave.
//
// Invariants: nothing is disclosed before its entry is committed and applied; no entry is applied
// before it is on this replica's own disk; a certificate is verified before a proposal, never at
// apply; while the shard withholds for an audit, nothing leaves that could depend on a later entry.
// The package does no I/O, reads no clock, draws no randomness of its own (the raft library draws
// election jitter from crypto/rand.Reader) and starts no goroutine.
//
// Before the first turn of a process comes Former: it forms the group of an empty shard, and
// refuses a directory that was emptied or rolled back.
//
// Read first: Replica.Turn in replica.go, then serve.go.
package replica
