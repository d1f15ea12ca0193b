package storage

import (
	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"
)

// dropCache tells the kernel that a file's bytes before an offset need not stay in memory. Only what is on the disk already
// is dropped. It is a hint: what fails changes nothing.
func dropCache(f vfs.File, before int64) {
	if before <= 0 || f.Fd() == vfs.InvalidFd {
		return
	}
	_ = unix.Fadvise(int(f.Fd()), 0, before, unix.FADV_DONTNEED)
}
