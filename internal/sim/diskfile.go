package sim

import (
	"fmt"
	"io"
	"io/fs"
	"path"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// file is an open file, or a directory if node is nil.
type file struct {
	disk *disk
	name string
	node *inode
	pos  int64
}

// Close implements vfs.File.
func (f *file) Close() error { return nil }

// Read implements vfs.File.
func (f *file) Read(p []byte) (int, error) {
	n, err := f.ReadAt(p, f.pos)
	f.pos += int64(n)
	if n > 0 && err == io.EOF {
		err = nil
	}
	return n, err
}

// ReadAt implements vfs.File.
func (f *file) ReadAt(p []byte, off int64) (int, error) {
	if due(&f.disk.failReadAt) {
		f.disk.struck(faultRead)
		return 0, pathError("read", f.name, errIO)
	}
	if off >= int64(len(f.node.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.node.data[off:])
	if f.disk.misread && off == 0 && n == len(f.node.data) {
		if _, ok := segmentOf(f.name); ok && f.disk.damageIn(p, f.node, faultMisdirect) {
			f.disk.misread, f.disk.misled = false, true
			f.disk.struck(faultMisread)
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Write implements vfs.File.
func (f *file) Write(p []byte) (int, error) {
	n, err := f.WriteAt(p, f.pos)
	f.pos += int64(n)
	return n, err
}

// write puts bytes into the cache.
func (f *file) write(p []byte, off int64) {
	f.disk.note(opWrite, f.name, off, len(p))
	f.node.writeAt(p, off)
}

// WriteAt implements vfs.File. A process can die with a part of its write in the cache.
func (f *file) WriteAt(p []byte, off int64) (int, error) {
	if f.disk.dieAfter == 1 && f.disk.rng.chance(0.5) {
		f.write(p[:f.disk.rng.IntN(len(p)+1)], off)
	}
	f.disk.step()
	switch {
	case due(&f.disk.failWriteAt):
		f.disk.struck(faultWrite)
		f.write(p[:f.disk.rng.IntN(len(p)+1)], off)
		return 0, pathError("write", f.name, errIO)
	case f.disk.full && off+int64(len(p)) > int64(len(f.node.data)):
		f.disk.struck(faultFull)
		return 0, pathError("write", f.name, errFull)
	}
	f.write(p, off)
	return len(p), nil
}

// Preallocate implements vfs.File.
func (f *file) Preallocate(_, _ int64) error { return nil }

// Stat implements vfs.File.
func (f *file) Stat() (vfs.FileInfo, error) {
	return info{name: path.Base(f.name), size: int64(len(f.node.data))}, nil
}

// Sync implements vfs.File.
func (f *file) Sync() error {
	d := f.disk
	d.step()
	d.note(opSync, f.name, 0, d.failSyncs)
	if f.node != nil && d.syncFails() {
		f.node.failSync()
		return fmt.Errorf("sync %s: %w", f.name, errIO)
	}
	if f.node != nil {
		f.node.sync()
		return nil
	}
	// One journal holds the names of all directories, as ext4 and xfs have it.
	for _, op := range d.pending {
		d.write(d.platter, op)
	}
	d.pending = nil
	return nil
}

// SyncTo implements vfs.File.
func (f *file) SyncTo(int64) (bool, error) { return true, f.Sync() }

// SyncData implements vfs.File.
func (f *file) SyncData() error { return f.Sync() }

// Prefetch implements vfs.File.
func (f *file) Prefetch(int64, int64) error { return nil }

// Fd implements vfs.File.
func (f *file) Fd() uintptr { return vfs.InvalidFd }

// info describes a file.
type info struct {
	name string
	size int64
	dir  bool
}

// Name implements fs.FileInfo.
func (i info) Name() string { return i.name }

// Size implements fs.FileInfo.
func (i info) Size() int64 { return i.size }

// Mode implements fs.FileInfo.
func (i info) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o755
	}
	return 0o644
}

// ModTime implements fs.FileInfo.
func (i info) ModTime() time.Time { return time.Time{} }

// IsDir implements fs.FileInfo.
func (i info) IsDir() bool { return i.dir }

// Sys implements fs.FileInfo.
func (i info) Sys() any { return nil }

// DeviceID implements vfs.FileInfo.
func (i info) DeviceID() vfs.DeviceID { return vfs.DeviceID{} }
