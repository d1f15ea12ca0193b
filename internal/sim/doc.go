// Package sim runs whole banks in one goroutine from a seed: servers, clients, network, disks and
// clocks, with faults, many times faster than real time. The code under test is the code that the
// server runs: ledger, txn, replica, storage, session and wire, unchanged.
//
// A run has a safety phase, in which faults drawn from the seed strike, and a liveness phase, in which
// they stop, everything that is not lost for good is started again, in half of the seeds but for a minority
// of each shard, and the bank must settle in bounded simulated time. Checkers look at every applied entry and every answer; the first
// violation ends the run and names the checker.
//
// Invariants of the simulator itself:
//
//   - The same seed and options give the same trace hash, in every process. Nothing reads a clock,
//     and no map is walked where its order could show.
//   - raft draws election jitter from crypto/rand.Reader, which Run replaces while it runs: one
//     simulation at a time per process.
//   - Messages pass through their encoding, so that nobody shares memory.
//   - A process that crashes leaves nothing behind but its disk, and of that what disk.crash keeps.
//
// What a fault may do follows docs/PROTOCOL.md: at most a minority of a shard's replicas loses its
// disk, and everything else may happen to everybody.
//
// Read first: Run in world.go, then server.go (a process), then check.go (what must hold).
package sim
