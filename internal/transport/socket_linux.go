package transport

import (
	"syscall"
	"unsafe"
)

// readSocket and writeSocket are read(2) and write(2) of a socket that never waits. A call that may wait is announced to Go's
// scheduler, which wakes its monitor thread for that if the process has been idle: with one request at a time that happens at
// every message, and costs more than the call. These are not announced.

func readSocket(fd uintptr, b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	n, _, e := syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	if e != 0 {
		return 0, e
	}
	return int(n), nil
}

func writeSocket(fd uintptr, b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	n, _, e := syscall.RawSyscall(syscall.SYS_WRITE, fd, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	if e != 0 {
		return 0, e
	}
	return int(n), nil
}
