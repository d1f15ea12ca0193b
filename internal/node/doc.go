// Package node runs one server: it owns the process's clock, its data directory, its connections
// and the one goroutine that drives the replica.
//
// A start goes: key file, data directory, port, group (replica.Former), log, replica, loop. The port opens
// early so that servers which start together can hear each other; until the replica runs,
// clients are told that the server is not ready.
//
// The loop, one turn at a time: take everything that has arrived, step it, Turn, send what may leave
// before the write, append to the log, Persisted, send the rest. Nothing else touches replica or log.
//
// Invariants: an error of the log ends the process before anything that depended on the write is
// sent, and no write is tried again; a client's request is admitted by bytes, and over the bound it
// is answered "busy" at once, from its connection's goroutine; a pause of the process does not
// make time jump for the replica.
//
// Read first: Run in node.go, then loop.go.
package node
