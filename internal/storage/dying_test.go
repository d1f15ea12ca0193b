package storage

import (
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// cutOff is the panic of a file system at which the process dies.
type cutOff struct{}

// untilDeath runs f and reports whether the process died in it.
func untilDeath(f func()) (died bool) {
	defer func() {
		if v := recover(); v != nil {
			if _, ok := v.(cutOff); !ok {
				panic(v)
			}
			died = true
		}
	}()
	f()
	return false
}

// dyingFS lets the process die at the n-th operation that changes something: before it, or in the middle of
// a write.
type dyingFS struct {
	vfs.FS
	left int
}

func (d *dyingFS) die() {
	if d.left--; d.left == 0 {
		panic(cutOff{})
	}
}

func (d *dyingFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	d.die()
	f, err := d.FS.Create(name, c)
	return dyingFile{f, d}, err
}

func (d *dyingFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	f, err := d.FS.OpenReadWrite(name, c, o...)
	return dyingFile{f, d}, err
}

func (d *dyingFS) OpenDir(name string) (vfs.File, error) {
	f, err := d.FS.OpenDir(name)
	return dyingFile{f, d}, err
}

func (d *dyingFS) Remove(name string) error {
	d.die()
	return d.FS.Remove(name)
}

// RemoveAll removes one name after the other, as an operating system does, and in an order that nobody can rely on.
func (d *dyingFS) RemoveAll(name string) error {
	if names, err := d.FS.List(name); err == nil {
		slices.Sort(names)
		slices.Reverse(names)
		for _, n := range names {
			if err := d.RemoveAll(d.FS.PathJoin(name, n)); err != nil {
				return err
			}
		}
	}
	d.die()
	return d.FS.RemoveAll(name)
}

func (d *dyingFS) Rename(a, b string) error {
	d.die()
	return d.FS.Rename(a, b)
}

type dyingFile struct {
	vfs.File
	fs *dyingFS
}

func (f dyingFile) Write(p []byte) (int, error) {
	if f.fs.left == 1 {
		_, _ = f.File.Write(p[:len(p)/2])
	}
	f.fs.die()
	return f.File.Write(p)
}

func (f dyingFile) WriteAt(p []byte, off int64) (int, error) {
	if f.fs.left == 1 {
		_, _ = f.File.WriteAt(p[:len(p)/2], off)
	}
	f.fs.die()
	return f.File.WriteAt(p, off)
}

func (f dyingFile) Sync() error {
	f.fs.die()
	return f.File.Sync()
}

func (f dyingFile) SyncData() error {
	f.fs.die()
	return f.File.SyncData()
}

// dyingTable lets the process die before every operation of a table in memory too, and so after each.
type dyingTable struct {
	*MemoryTable
	fs *dyingFS
}

func (t dyingTable) Apply(b *Batch) error {
	t.fs.die()
	return t.MemoryTable.Apply(b)
}

func (t dyingTable) Ingest(r Run) error {
	t.fs.die()
	return t.MemoryTable.Ingest(r)
}

func (t dyingTable) Flush() error {
	t.fs.die()
	return t.MemoryTable.Flush()
}

// TestDyingFS counts the steps of a removal: one for each name.
func TestDyingFS(t *testing.T) {
	mem := vfs.NewMem()
	must(t, mem.MkdirAll("/a/b", 0o755))
	for _, name := range []string{"/a/1", "/a/2", "/a/b/3"} {
		must(t, writeNew(mem, name, nil, nil))
	}
	fs := &dyingFS{FS: mem, left: 4}
	if !untilDeath(func() { must(t, fs.RemoveAll("/a")) }) {
		t.Fatal("it did not die")
	}
	if names, err := mem.List("/a"); err != nil || !slices.Equal(names, []string{"1"}) {
		t.Errorf("left are %v (%v), want the first name alone", names, err)
	}
}
