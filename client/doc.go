// Package client is the Go client of a raftbank: routing, batching, retries and the coordinator of
// cross-shard transfers.
//
// A Client is safe for concurrent use; concurrent callers share frames. It keeps no state on disk:
// a caller that wants to survive its own restart stores a transfer with its id before the first
// call, and calls again with the same id afterwards. The same id is never applied twice.
//
// Every transfer ends in exactly one of four outcomes: Committed, Aborted with a reason,
// Unavailable (surely not applied) or Unknown (ask again: Resolve). A deadline ends the wait, not
// the transfer.
//
// Read first: Open, Client.Transfer, Result.
package client
