// Package storage keeps what a server promised: the identity of its data directory, the founding
// members of its group, the bank's key file, the raft log, and the applied state.
//
// Everything goes through pebble's vfs.FS, so that the simulator can put a faulty disk below it.
// A Dir, its Log and its Store belong to the one goroutine that owns the replica, but for Job.Run. Pebble has goroutines
// of its own: what they fail at shows in Store.Health, and pebblefailure.go has the only lock.
//
// # Invariants
//
//   - Every file starts with magic, format version, bank id, shard, server and incarnation; every
//     byte that carries meaning is under a CRC32C. A wrong byte gives an error or is outside the
//     log's content; it never gives a different content.
//   - A file that appears under its final name is complete: it was written under a temporary
//     name, synced and renamed, and the directory was synced. So a file of the wrong size, or
//     a missing one, is damage and not a crash.
//   - A start serves what was acknowledged, or fails with ErrDamaged: also if files of pebble are damaged or missing, or
//     it comes back with less than was once durable.
//   - A log segment is zero-filled before its first block, so that appending is one write and one
//     fdatasync of existing disk blocks. Blocks start at multiples of 512 bytes: a torn sector
//     never holds a byte of an earlier block.
//   - What Append(sync) returned nil for survives any crash. After a failed write or sync nothing
//     is trusted any more: every later Append fails, and the process must end.
//
// # Recovery
//
// Blocks are numbered from 1 without gaps over all segments. Reading stops at the first position
// that does not hold the next block. If a later block proves that this position was once synced (it
// says where the synced part ended when it was written), the log is damaged and is refused; nothing
// is cut. If no block proves that, the rest is a torn tail: it is cut and zeroed, so that it can never come
// back, and what was read but not proven synced is written and synced again before it is relied
// on. Damage to the very last block cannot be told from a torn tail; an idle log writes a mark
// block (Log.Mark), which closes that hole. A full segment ends with a seal block, so that a missing
// next segment is noticed.
//
// # Applied state
//
// Store keeps the ledger's history, id index and checkpoints; a checkpoint's steps and their order stand at
// Store. Keeper makes checkpoints between the turns of a loop and cuts the log behind them. A log is opened at the
// store's checkpoint, and read from the segment that it names. Configuration changes are not read back from the
// log: LogOptions.Voters is the configuration.
//
// Read first: OpenDir in dir.go, then Log.Append in log.go, then scanLog in recover.go; Store in store.go.
package storage
