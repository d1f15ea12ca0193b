package storage

import (
	"io/fs"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// imagesFS calls a function before every operation that changes something, and lets one go on at a time. Goroutines of pebble
// may use it: nothing panics in them, and the function may look at the file system below as a crash would leave it.
type imagesFS struct {
	vfs.FS
	mu     sync.Mutex
	before func(op, name string)
}

// step calls before, and is one operation until what it returns is called.
func (i *imagesFS) step(op, name string) (end func()) {
	i.mu.Lock()
	if i.before != nil {
		i.before(op, name)
	}
	return i.mu.Unlock
}

func (i *imagesFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	defer i.step("create", name)()
	f, err := i.FS.Create(name, c)
	return imagesFile{f, i, name}, err
}

func (i *imagesFS) Link(a, b string) error {
	defer i.step("link", b)()
	return i.FS.Link(a, b)
}

func (i *imagesFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	f, err := i.FS.OpenReadWrite(name, c, o...)
	return imagesFile{f, i, name}, err
}

func (i *imagesFS) OpenDir(name string) (vfs.File, error) {
	f, err := i.FS.OpenDir(name)
	return imagesFile{f, i, name}, err
}

func (i *imagesFS) Remove(name string) error {
	defer i.step("remove", name)()
	return i.FS.Remove(name)
}

func (i *imagesFS) RemoveAll(name string) error {
	defer i.step("remove all", name)()
	return i.FS.RemoveAll(name)
}

func (i *imagesFS) Rename(a, b string) error {
	defer i.step("rename", b)()
	return i.FS.Rename(a, b)
}

func (i *imagesFS) ReuseForWrite(a, b string, c vfs.DiskWriteCategory) (vfs.File, error) {
	defer i.step("reuse", b)()
	f, err := i.FS.ReuseForWrite(a, b, c)
	return imagesFile{f, i, b}, err
}

func (i *imagesFS) MkdirAll(name string, m fs.FileMode) error {
	defer i.step("mkdir", name)()
	return i.FS.MkdirAll(name, m)
}

type imagesFile struct {
	vfs.File
	fs   *imagesFS
	name string
}

func (f imagesFile) Write(p []byte) (int, error) {
	defer f.fs.step("write", f.name)()
	return f.File.Write(p)
}

func (f imagesFile) WriteAt(p []byte, off int64) (int, error) {
	defer f.fs.step("write", f.name)()
	return f.File.WriteAt(p, off)
}

func (f imagesFile) Sync() error {
	defer f.fs.step("sync", f.name)()
	return f.File.Sync()
}

func (f imagesFile) SyncData() error {
	defer f.fs.step("sync", f.name)()
	return f.File.SyncData()
}

func (f imagesFile) SyncTo(n int64) (bool, error) {
	defer f.fs.step("sync", f.name)()
	return f.File.SyncTo(n)
}
