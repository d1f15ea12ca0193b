//go:build unix

package transport

import (
	"io"
	"net"
	"os"
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
			n, err := writeSocket(fd, d.b[d.n:])
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

// socketReader reads from a socket. One goroutine at a time may use it.
type socketReader struct {
	nc  net.Conn
	raw syscall.RawConn
	do  func(fd uintptr) bool // made once, as in direct
	b   []byte
	n   int
	err error
}

// newReader returns what reads from nc, as nc does, and cheaper if it is a socket.
func newReader(nc net.Conn) io.Reader {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return nc
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nc
	}
	r := &socketReader{nc: nc, raw: raw}
	r.do = func(fd uintptr) bool {
		for {
			r.n, r.err = readSocket(fd, r.b)
			switch r.err {
			case syscall.EINTR:
			case syscall.EAGAIN:
				return false // wait
			default:
				return true
			}
		}
	}
	return r
}

// Read implements io.Reader.
func (r *socketReader) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	r.b, r.n, r.err = b, 0, nil
	err := r.raw.Read(r.do)
	r.b = nil
	switch {
	case err != nil: // closed, or past its deadline
		return 0, err
	case r.err != nil:
		return 0, &net.OpError{Op: "read", Net: r.nc.LocalAddr().Network(), Source: r.nc.LocalAddr(), Addr: r.nc.RemoteAddr(),
			Err: os.NewSyscallError("read", r.err)}
	case r.n == 0:
		return 0, io.EOF
	}
	return r.n, nil
}
