// Package transport carries wire messages over TCP: between servers, and between clients and
// servers, both on a server's one port.
//
// A connection starts with Hello and HelloReply. A peer then proves that it holds the bank's key,
// and so does the server it called (handshake.go); a client stays unauthenticated and may send
// requests only. A link between servers carries messages from the server that dialled to the one
// that accepted; answers come over the other's own link.
//
// Who sends writes to the socket itself if it takes the frames at once: a goroutine between would cost a switch
// on each hop. The rest is left to the connection's writer.
//
// Invariants: sending never blocks the caller, whatever the other side does; every queue is bounded
// in bytes (a peer's frames are dropped over the bound, since raft and the commit protocol repeat
// what matters; a client over the bound is disconnected); all client connections together hold a bounded
// number of bytes, and over it the one that holds most is disconnected; frames of one connection keep their
// order; Close returns when no goroutine of the package is left.
//
// Read first: Server in server.go, Conn in conn.go.
package transport
