//go:build unix

package storage

import (
	"fmt"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// keepPrivate makes a new file readable by its owner alone, before anything is in it. A file
// that is not the operating system's has no mode.
func keepPrivate(f vfs.File) error {
	if f.Fd() == vfs.InvalidFd {
		return nil
	}
	return syscall.Fchmod(int(f.Fd()), 0o600)
}

// checkPrivate refuses a key file that others can read or write.
func checkPrivate(fsys vfs.FS, path string) error {
	f, err := fsys.Open(path)
	if err != nil {
		return err
	}
	defer f.Close() // opened for reading: closing it loses nothing
	if f.Fd() == vfs.InvalidFd {
		return nil
	}
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("look at key file %s: %w", path, err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return keyFileError(path, fmt.Sprintf("is open to other users (mode %#o)", mode), "run: chmod 600 "+path)
	}
	return nil
}
