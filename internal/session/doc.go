// Package session is the engine of a whole client: it routes transfers and requests to the shards'
// leaders, shares frames among callers, retries what is safe to retry, runs one coordinator per
// transfer (package txn) and spreads certificates.
//
// It is pure: calls, replies, connection events and ticks of 10 ms go in, effects come out of
// Flush; no I/O, clock, randomness or goroutines. The shell around it is package client.
//
// The caller's duties, in order:
//
//  1. Step in what happened: Transfer, Resolve, Cancel, Call, Audit, Abandon, StepReply, ConnUp, ConnDown.
//  2. Call Tick every 10 ms.
//  3. After draining its input, call Flush once and carry out the effects: connect, send in order,
//     complete the callers, and last of all crash, if told to.
//
// Invariants:
//
//   - A transfer is sent again only with the same id and content, so a retry is applied at most once.
//   - A transfer ends as unavailable only if every copy of it that was handed to a connection was
//     surely refused before any log (docs/PROTOCOL.md, section 5).
//   - An audit ends with a result only if every shard confirmed that it withheld until all did (section 9).
//   - A request of transfers is not copied while its server shows life (timers.go), and overload is shed (shed.go).
//   - A queue, a batch, a retry and the set of transfers in flight have a bound.
//
// Read first: Engine in engine.go, then group.go (transfers within a shard), cross.go (between two), flush.go (what is sent where) and reply.go (what comes back).
package session
