//go:build unix

package transport

import (
	"net"
	"syscall"
)

// direct writes to a socket as far as its kernel buffer takes it, and never waits.
type direct struct {
	raw syscall.RawConn
	do  func(fd uintptr) bool // made once: a closure for each write would be an allocation
	b   []byte
	n   int
}

// newDirect returns nil for a connection that is no socket.
func newDirect(nc net.Conn) *direct {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	d := &direct{raw: raw}
	d.do = func(fd uintptr) bool {
		for d.n < len(d.b) {
			n, err := syscall.Write(int(fd), d.b[d.n:])
			if n > 0 {
				d.n += n
			}
			if err != nil && err != syscall.EINTR {
				break
			}
		}
		return true // do not wait
	}
	return d
}

// write returns how much of b was written. Why it was not more shows at the next write that may wait. One goroutine
// at a time may call it, and nobody else may write meanwhile.
func (d *direct) write(b []byte) int {
	d.b, d.n = b, 0
	if d.raw.Write(d.do) != nil { // closed, or past its deadline
		d.n = 0
	}
	d.b = nil
	return d.n
}
