package sim

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"raftbank/internal/storage"
)

// sectorBytes is what a disk writes whole or not at all.
const sectorBytes = 512

// What a failing disk answers.
var (
	errIO      = errors.New("simulated input/output error")
	errFull    = errors.New("simulated disk is full")
	errNoFiles = errors.New("simulated process has too many open files")
)

// crashSignal is thrown by a disk operation at which its process is to die.
type crashSignal struct {
	fault fault
	power bool
	where string
}

// inode is a file: what its readers see, and what a power failure would make of it.
type inode struct {
	data []byte
	// old holds, for every sector that was written and not synced, what the platter has.
	old map[int64][]byte
	// lost holds the same for sectors whose sync failed: the cache calls them clean, so a later sync
	// does not write them. Only writing them again does.
	lost    map[int64][]byte
	durable int64 // size on the platter
}

// nameOp is a change of names that no sync has made durable: file appears at name, or nil removes it.
// A rename is one operation on two names.
type nameOp struct {
	names []string
	files []*inode
}

// disk is one server's disk and file system, a vfs.FS. It is deterministic. What was not synced may
// be lost at a power failure: every sector by itself, and names from some operation on.
type disk struct {
	rng     random
	note    diskNote
	struck  func(fault)       // is told when a fault has an effect
	names   map[string]*inode // files by path; directories are in dirs
	platter map[string]*inode
	pending []nameOp
	dirs    map[string]bool
	locked  bool
	tables  map[string]*storage.MemoryTable // by path

	// dieAfter counts down with every changing operation; at 0 the process dies. 0: never.
	dieAfter int
	diePower bool
	// failSyncs makes that many of the next syncs fail.
	failSyncs int
	// failReadAt and failWriteAt count down; the read or write at 0 fails. 0: never.
	failReadAt, failWriteAt int
	full, noFiles           bool
	damages                 []*damage
	// misread makes the next reading of a segment give a wrong sector; misled says that it did, in this process.
	misread, misled bool
}

// diskNote is told of every operation that changes something: what, the file, and for a write where and how much.
type diskNote func(op byte, name string, offset int64, size int)

// The operations of a disk, in the trace hash.
const (
	opCreate    = 'c'
	opLink      = 'l'
	opRename    = 'n'
	opRemove    = 'm'
	opRemoveAll = 'M'
	opWrite     = 'w'
	opSync      = 's'
	opApply     = 'A' // of the table, with what is not flushed
	opIngest    = 'I'
	opFlush     = 'F'
)

func newDisk(rng random, note diskNote) *disk {
	return &disk{rng: rng, note: note, struck: func(fault) {}, names: map[string]*inode{}, platter: map[string]*inode{}, dirs: map[string]bool{"/": true},
		tables: map[string]*storage.MemoryTable{}}
}

// step is called before every operation that changes something.
func (d *disk) step() {
	if d.dieAfter == 0 {
		return
	}
	if d.dieAfter--; d.dieAfter == 0 {
		panic(crashSignal{fault: faultDiskCrash, power: d.diePower, where: "in a disk operation"})
	}
}

// release is what the end of a process does: its lock goes, and what it had in memory.
func (d *disk) release() {
	d.locked, d.dieAfter, d.failSyncs, d.failReadAt, d.failWriteAt = false, 0, 0, 0, 0
	d.misread, d.misled = false, false
	for _, name := range slices.Sorted(maps.Keys(d.tables)) {
		if n := d.tables[name].Pending(); n > 0 {
			d.tables[name].Crash(d.rng.IntN(n + 1))
		}
	}
}

// heal ends every fault that is not damage.
func (d *disk) heal() {
	d.dieAfter, d.failSyncs, d.failReadAt, d.failWriteAt, d.full, d.noFiles, d.misread = 0, 0, 0, 0, false, false, false
}

// outOfFiles says whether no file can be opened.
func (d *disk) outOfFiles() bool {
	if d.noFiles {
		d.struck(faultNoFiles)
	}
	return d.noFiles
}

// syncFails says whether this sync is to fail.
func (d *disk) syncFails() bool {
	if d.failSyncs == 0 {
		return false
	}
	d.failSyncs--
	d.struck(faultFsync)
	return true
}

// due counts down to the operation that is to fail.
func due(countdown *int) bool {
	if *countdown == 0 {
		return false
	}
	*countdown--
	return *countdown == 0
}

// crash is a power failure.
func (d *disk) crash() {
	d.release()
	keep := 0
	if len(d.pending) > 0 {
		keep = d.rng.IntN(len(d.pending) + 1)
	}
	for _, op := range d.pending[:keep] {
		d.write(d.platter, op)
	}
	d.pending = nil
	d.names = maps.Clone(d.platter)
	loss := pick(d.rng, []float64{0.5, 0.5, 0.05})
	for _, name := range slices.Sorted(maps.Keys(d.names)) {
		d.names[name].crash(d.rng, loss)
		_ = d.MkdirAll(path.Dir(name), 0) // it never fails; a directory whose removal was lost is there again
	}
}

func (d *disk) write(to map[string]*inode, op nameOp) {
	for i, name := range op.names {
		if op.files[i] == nil {
			delete(to, name)
		} else {
			to[name] = op.files[i]
		}
	}
}

// change carries out a change of names, which is durable once the directory is synced.
func (d *disk) change(names []string, files []*inode) {
	op := nameOp{names: names, files: files}
	d.write(d.names, op)
	d.pending = append(d.pending, op)
}

// crash loses each sector that was not synced with a probability: half of them, or few.
func (n *inode) crash(rng random, loss float64) {
	for _, set := range []map[int64][]byte{n.old, n.lost} {
		for _, s := range slices.Sorted(maps.Keys(set)) {
			if rng.chance(loss) {
				n.restore(s, set[s])
			}
		}
	}
	if int64(len(n.data)) > n.durable && rng.chance(loss) {
		n.data = n.data[:n.durable]
	}
	n.old, n.lost, n.durable = nil, nil, int64(len(n.data))
}

func (n *inode) restore(sector int64, old []byte) {
	at := sector * sectorBytes
	if at >= int64(len(n.data)) {
		return
	}
	end := min(at+sectorBytes, int64(len(n.data)))
	clear(n.data[at:end])
	copy(n.data[at:end], old)
}

func (n *inode) writeAt(p []byte, off int64) {
	end := off + int64(len(p))
	if n.old == nil {
		n.old = map[int64][]byte{}
	}
	for s := off / sectorBytes; s*sectorBytes < end; s++ {
		if old, ok := n.lost[s]; ok {
			n.old[s] = old
			delete(n.lost, s)
		}
		if _, ok := n.old[s]; !ok {
			from := min(s*sectorBytes, int64(len(n.data)))
			n.old[s] = slices.Clone(n.data[from:min(from+sectorBytes, int64(len(n.data)))])
		}
	}
	if end > int64(len(n.data)) {
		n.data = append(n.data, make([]byte, end-int64(len(n.data)))...)
	}
	copy(n.data[off:], p)
}

func (n *inode) sync() { n.old, n.durable = nil, int64(len(n.data)) }

// failSync is a sync that reports an error: the cache forgets that the sectors were never written.
func (n *inode) failSync() {
	if n.lost == nil {
		n.lost = map[int64][]byte{}
	}
	maps.Copy(n.lost, n.old)
	n.old = nil
}

func pathError(op, name string, err error) error { return &fs.PathError{Op: op, Path: name, Err: err} }

func (d *disk) find(op, name string) (*inode, error) {
	n := d.names[name]
	if n == nil {
		return nil, pathError(op, name, fs.ErrNotExist)
	}
	return n, nil
}

// Create implements vfs.FS.
func (d *disk) Create(name string, _ vfs.DiskWriteCategory) (vfs.File, error) {
	d.step()
	if d.outOfFiles() {
		return nil, pathError("create", name, errNoFiles)
	}
	if !d.dirs[path.Dir(name)] {
		return nil, pathError("create", name, fs.ErrNotExist)
	}
	n := &inode{}
	d.note(opCreate, name, 0, 0)
	d.change([]string{name}, []*inode{n})
	return &file{disk: d, name: name, node: n}, nil
}

// Link implements vfs.FS.
func (d *disk) Link(oldname, newname string) error {
	d.step()
	n, err := d.find("link", oldname)
	if err != nil {
		return err
	}
	if d.names[newname] != nil {
		return pathError("link", newname, fs.ErrExist)
	}
	d.note(opLink, newname, 0, 0)
	d.change([]string{newname}, []*inode{n})
	return nil
}

// Open implements vfs.FS.
func (d *disk) Open(name string, _ ...vfs.OpenOption) (vfs.File, error) {
	if d.outOfFiles() {
		return nil, pathError("open", name, errNoFiles)
	}
	n, err := d.find("open", name)
	if err != nil {
		return nil, err
	}
	return &file{disk: d, name: name, node: n}, nil
}

// OpenReadWrite implements vfs.FS.
func (d *disk) OpenReadWrite(name string, c vfs.DiskWriteCategory, _ ...vfs.OpenOption) (vfs.File, error) {
	if d.names[name] == nil {
		return d.Create(name, c)
	}
	return d.Open(name)
}

// OpenDir implements vfs.FS.
func (d *disk) OpenDir(name string) (vfs.File, error) {
	if d.outOfFiles() {
		return nil, pathError("open", name, errNoFiles)
	}
	if !d.dirs[name] {
		return nil, pathError("open", name, fs.ErrNotExist)
	}
	return &file{disk: d, name: name}, nil
}

// Remove implements vfs.FS.
func (d *disk) Remove(name string) error {
	d.step()
	if _, err := d.find("remove", name); err != nil {
		return err
	}
	d.note(opRemove, name, 0, 0)
	d.change([]string{name}, []*inode{nil})
	return nil
}

// RemoveAll implements vfs.FS.
func (d *disk) RemoveAll(dir string) error {
	d.step()
	d.note(opRemoveAll, dir, 0, 0)
	within := func(name string) bool { return name == dir || strings.HasPrefix(name, dir+"/") }
	for _, name := range slices.Sorted(maps.Keys(d.names)) {
		if within(name) {
			d.change([]string{name}, []*inode{nil})
		}
	}
	// order does not show: what is within goes, the rest stays
	maps.DeleteFunc(d.dirs, func(name string, _ bool) bool { return within(name) })
	maps.DeleteFunc(d.tables, func(name string, _ *storage.MemoryTable) bool { return within(name) }) // order does not show: likewise
	return nil
}

// Rename implements vfs.FS.
func (d *disk) Rename(oldname, newname string) error {
	d.step()
	n, err := d.find("rename", oldname)
	if err != nil {
		return err
	}
	d.note(opRename, oldname, 0, 0)
	d.note(opRename, newname, 0, 0)
	d.change([]string{oldname, newname}, []*inode{nil, n})
	return nil
}

// ReuseForWrite implements vfs.FS; storage never calls it.
func (d *disk) ReuseForWrite(_, name string, _ vfs.DiskWriteCategory) (vfs.File, error) {
	return nil, pathError("reuse", name, errors.ErrUnsupported)
}

// MkdirAll implements vfs.FS. Directories are durable at once: what counts is in them.
func (d *disk) MkdirAll(dir string, _ fs.FileMode) error {
	for p := dir; !d.dirs[p]; p = path.Dir(p) {
		d.dirs[p] = true
	}
	return nil
}

type diskLock struct{ disk *disk }

func (l diskLock) Close() error {
	l.disk.locked = false
	return nil
}

// Lock implements vfs.FS.
func (d *disk) Lock(name string) (io.Closer, error) {
	if d.locked {
		return nil, pathError("lock", name, errors.New("resource temporarily unavailable"))
	}
	d.locked = true
	return diskLock{d}, nil
}

// List implements vfs.FS.
func (d *disk) List(dir string) ([]string, error) {
	if !d.dirs[dir] {
		return nil, pathError("list", dir, fs.ErrNotExist)
	}
	var names []string
	for _, name := range slices.Sorted(maps.Keys(d.names)) {
		if path.Dir(name) == dir {
			names = append(names, path.Base(name))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(d.dirs)) {
		if path.Dir(name) == dir && name != dir {
			names = append(names, path.Base(name))
		}
	}
	return names, nil
}

// Stat implements vfs.FS.
func (d *disk) Stat(name string) (vfs.FileInfo, error) {
	if d.dirs[name] {
		return info{name: path.Base(name), dir: true}, nil
	}
	n, err := d.find("stat", name)
	if err != nil {
		return nil, err
	}
	return info{name: path.Base(name), size: int64(len(n.data))}, nil
}

// PathBase implements vfs.FS.
func (d *disk) PathBase(p string) string { return path.Base(p) }

// PathJoin implements vfs.FS.
func (d *disk) PathJoin(elem ...string) string { return path.Join(elem...) }

// PathDir implements vfs.FS.
func (d *disk) PathDir(p string) string { return path.Dir(p) }

// GetDiskUsage implements vfs.FS; storage never calls it.
func (d *disk) GetDiskUsage(p string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{}, pathError("usage", p, errors.ErrUnsupported)
}

// Unwrap implements vfs.FS.
func (d *disk) Unwrap() vfs.FS { return nil }
