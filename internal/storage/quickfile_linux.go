//go:build amd64 || arm64

package storage

import (
	"fmt"
	"io"
	"syscall"
	"time"
	"unsafe"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	// quickBytes is how much is written and synced without giving up the processor.
	quickBytes = 16 << 10
	// slowSync is how long a sync may take at most for the next one to keep the processor.
	slowSync = time.Millisecond
)

// quickFile is a file of the log on a disk of this machine. Go's scheduler takes the processor from a goroutine that waits in a system
// call and gives it back afterwards, for which its monitor thread wakes up, often another thread, and both again: at one transfer at
// a time that costs as much as the sync itself. So a small write, and its sync, keep the processor: they last about 0.1 ms, and
// what arrives meanwhile waits in its socket for the write's end, for which it would have to wait anyhow. A disk that has
// become slow gets ordinary calls, so that connections are read while it works.
type quickFile struct {
	vfs.File
	fd       uintptr
	unsynced int  // bytes written since the last sync
	slow     bool // the last sync took longer than slowSync
}

// quick returns a file of vfs.Default with cheaper small writes. One goroutine may use it.
func quick(f vfs.File) vfs.File {
	if f.Fd() == vfs.InvalidFd {
		return f
	}
	return &quickFile{File: f, fd: f.Fd()}
}

// WriteAt implements vfs.File.
func (f *quickFile) WriteAt(b []byte, offset int64) (int, error) {
	f.unsynced += len(b)
	if f.unsynced > quickBytes {
		return f.File.WriteAt(b, offset)
	}
	written := 0
	for written < len(b) {
		n, _, e := syscall.RawSyscall6(syscall.SYS_PWRITE64, f.fd,
			uintptr(unsafe.Pointer(&b[written])), uintptr(len(b)-written), uintptr(offset)+uintptr(written), 0, 0)
		switch {
		case e == syscall.EINTR:
		case e != 0:
			return written, fmt.Errorf("pwrite: %w", e)
		case n == 0:
			return written, fmt.Errorf("pwrite: %w", io.ErrUnexpectedEOF)
		default:
			written += int(n)
		}
	}
	return written, nil
}

// SyncData implements vfs.File.
func (f *quickFile) SyncData() error {
	start := time.Now()
	err := f.sync()
	f.unsynced, f.slow = 0, time.Since(start) > slowSync
	return err
}

func (f *quickFile) sync() error {
	if f.slow || f.unsynced > quickBytes {
		return f.File.SyncData()
	}
	for {
		_, _, e := syscall.RawSyscall(syscall.SYS_FDATASYNC, f.fd, 0, 0)
		switch e {
		case 0:
			return nil
		case syscall.EINTR:
		default:
			return fmt.Errorf("fdatasync: %w", e)
		}
	}
}
