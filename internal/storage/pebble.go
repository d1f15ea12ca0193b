package storage

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Default sizes in bytes of a pebble table's memory.
const (
	defaultMemTableBytes   = 4 << 20
	defaultTableCacheBytes = 64 << 20
	// runBytesPerSync is after how much of a run the kernel is told to write it: the sync at its end must not be long,
	// since the log's wait for the same disk.
	runBytesPerSync = 512 << 10
	// runYield is how many keys of a run are written before others may use the processor.
	runYield = 512
	runName  = "run.tmp"
	// writesGrace bounds how long Close waits for writes once something has failed: they may wait for what never succeeds.
	writesGrace = 2 * time.Second
)

// PebbleOptions bound the memory of a table on disk. Zero fields take the defaults.
type PebbleOptions struct {
	MemTableBytes int64 // of one memtable, of checkpoints alone; up to four exist. Default 4 MiB
	CacheBytes    int64 // of blocks and filters. Default 64 MiB
}

// pebbleTable is a Table in a pebble database without its write-ahead log: the raft log is ours already.
//
// What pebble's own goroutines cannot read or write is noted in failures; nothing panics there. Every call that may
// wait for one of them goes through call, which gives up once one has ended for good; or through write, which gives up
// once one has failed at all: pebble tries again for ever, and lets writers wait meanwhile.
type pebbleTable struct {
	db       *pebble.DB
	cache    *pebble.Cache
	options  *pebble.Options
	path     string
	run      string // the file of a run in the making
	failures *pebbleFailures
	kept     *keptFiles
	grace    time.Duration // writesGrace

	mu     sync.Mutex     // guards closed, and adding to writes
	closed bool           // no write begins any more
	writes sync.WaitGroup // those under way, also of callers that have given up
}

// markersFS makes names durable in their order: pebble creates a manifest and then the marker that points to it, and makes both names
// durable together. A file system that keeps the second and not the first would leave a table that cannot be opened.
//
// A directory that cannot be synced is the end, noted in failures: pebble's markers panic at it, on whatever goroutine, and a
// second sync would say nothing of what the first has lost.
//
// Of what pebble removes, it keeps tables and manifests until the first write.
type markersFS struct {
	vfs.FS
	failures *pebbleFailures
	kept     *keptFiles
}

// Create implements vfs.FS.
func (f markersFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if f.isMarker(name) {
		if err := syncDir(f.FS, f.PathDir(name)); err != nil {
			return nil, err
		}
	}
	return f.FS.Create(name, c)
}

// Remove implements vfs.FS. Pebble removes the marker before a new one without a sync between: a file system that makes that
// durable first would leave none.
func (f markersFS) Remove(name string) error {
	if f.isMarker(name) {
		if err := syncDir(f, f.PathDir(name)); err != nil {
			return err
		}
	} else if f.kept.keep(name) {
		return nil
	}
	return f.FS.Remove(name)
}

func (f markersFS) isMarker(name string) bool { return strings.HasPrefix(f.PathBase(name), "marker.") }

// OpenDir implements vfs.FS.
func (f markersFS) OpenDir(name string) (vfs.File, error) {
	d, err := f.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return markersDir{d, name, f.failures}, nil
}

// markersDir is a directory whose Sync returns only if it has succeeded.
type markersDir struct {
	vfs.File
	path     string
	failures *pebbleFailures
}

// Sync implements vfs.File.
func (d markersDir) Sync() error {
	err := d.File.Sync()
	if err != nil {
		d.failures.Fatalf("%s", fmt.Errorf("sync directory %s: %w", d.path, err))
	}
	return err
}

// Unwrap implements vfs.FS.
func (f markersFS) Unwrap() vfs.FS { return f.FS }

// keptFiles are what pebble would have removed since it was opened. It takes for obsolete whatever a damaged MANIFEST has
// forgotten; that the table has less than it should is found out afterwards, and who is refused then keeps its files.
type keptFiles struct {
	mu       sync.Mutex // guards all
	released bool       // there was a write: the table was found good
	names    []string
}

// keep reports whether a file stays for now.
func (k *keptFiles) keep(name string) bool {
	if !strings.HasSuffix(name, ".sst") && !strings.Contains(name, "MANIFEST-") {
		return false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.released {
		k.names = append(k.names, name)
	}
	return !k.released
}

// release removes what was kept. What cannot be removed is obsolete at the next opening too.
func (k *keptFiles) release(fsys vfs.FS) {
	k.mu.Lock()
	names := k.names
	k.names, k.released = nil, true
	k.mu.Unlock()
	for _, name := range names {
		_ = fsys.Remove(name)
	}
}

// Open implements vfs.FS: of a file of the table it looks at the version first.
func (f markersFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	file, err := f.FS.Open(name, opts...)
	if err != nil || !strings.HasSuffix(name, ".sst") {
		return file, err
	}
	if err := checkTableVersion(name, file); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// checkTableVersion refuses the version of a damaged sstable. From pebble's 6 on it is part of the footer's checksum. Of those
// before, nothing guards it, and pebble panics if a 4, in which runs are written, has become a 5.
func checkTableVersion(name string, file vfs.File) error {
	const versionAndMagic, version = 4 + 8, uint32(sstable.TableFormatPebblev4 - sstable.TableFormatPebblev1 + 1)
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("look at %s: %w", name, err)
	}
	var end [versionAndMagic]byte
	if info.Size() < int64(len(end)) {
		return nil // pebble says what is wrong
	}
	if _, err := file.ReadAt(end[:], info.Size()-int64(len(end))); err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	if v := binary.LittleEndian.Uint32(end[:]); v < 6 && v != version {
		return damagedTable(name, fmt.Errorf("its version is %d", v))
	}
	return nil
}

// OpenPebble opens or makes a table in a directory of its own. Errors: those of the disk, and ErrDamaged.
func OpenPebble(fsys vfs.FS, path string, o PebbleOptions) (Table, error) {
	if o.MemTableBytes == 0 {
		o.MemTableBytes = defaultMemTableBytes
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = defaultTableCacheBytes
	}
	if err := makeDir(fsys, path); err != nil {
		return nil, err
	}
	if err := checkPebbleNames(fsys, path); err != nil {
		return nil, err
	}
	t := &pebbleTable{
		cache: pebble.NewCache(o.CacheBytes), path: path, run: fsys.PathJoin(path, runName), failures: newPebbleFailures(path),
		kept: new(keptFiles), grace: writesGrace,
	}
	if err := fsys.Remove(t.run); err != nil && !isNotExist(err) {
		return nil, fmt.Errorf("remove %s: %w", t.run, err)
	}
	t.options = pebbleOptions(fsys, o, t)
	if err := t.open(); err != nil {
		t.failures.close()
		if !t.failures.isFatal() {
			t.cache.Unref()
		}
		return nil, err
	}
	return t, nil
}

// open opens the database. Its lock is taken here: that another holds it says nothing of the files.
func (t *pebbleTable) open() error {
	lock, err := pebble.LockDirectory(t.path, t.options.FS)
	if err != nil {
		return fmt.Errorf("lock id index in %s: %w (this server must stop)", t.path, err)
	}
	t.options.Lock = lock
	err = t.call("open id index", func() (err error) {
		t.db, err = pebble.Open(t.path, t.options)
		return openError(t.path, err)
	})
	if err != nil && !t.failures.isFatal() {
		err = errors.Join(err, lock.Close())
	}
	return err
}

func pebbleOptions(fsys vfs.FS, o PebbleOptions, t *pebbleTable) *pebble.Options {
	options := &pebble.Options{
		FS: markersFS{fsys, t.failures, t.kept}, Cache: t.cache, DisableWAL: true, Logger: t.failures,
		MemTableSize: uint64(o.MemTableBytes), MemTableStopWritesThreshold: 4,
		L0CompactionThreshold: 8, L0StopWritesThreshold: 40,
		MaxOpenFiles:       200,
		FormatMajorVersion: pebble.FormatNewest,
		EventListener: &pebble.EventListener{
			BackgroundError: func(err error) { t.failures.note(pebbleError(t.path, "background work of the id index", err)) },
			DataCorruption: func(info pebble.DataCorruptionInfo) {
				t.failures.note(damagedTable(info.Path, info.Details))
			},
		},
	}
	for i := range options.Levels {
		// A new id that lies among old ones is a miss: the filter spares reading a block for it.
		options.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	// Ids do not compress.
	options.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionNone })
	return options
}

// call runs what may wait for pebble's own goroutines, or end in Fatalf. It returns once that has ended, or cannot end any
// more.
func (t *pebbleTable) call(doing string, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return pebbleError(t.path, doing, err)
	case <-t.failures.fatal:
		return t.Health()
	}
}

// write runs what may wait for a flush or a compaction. It returns once that has ended, or one of them has failed: pebble
// is left alone with it then.
func (t *pebbleTable) write(doing string, f func() error) error {
	if err := t.beginWrite(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() {
		t.kept.release(t.options.FS)
		err := f()
		t.writes.Done()
		done <- err
	}()
	select {
	case err := <-done:
		return pebbleError(t.path, doing, err)
	case <-t.failures.any: // with fatal too
		return t.Health()
	}
}

// beginWrite counts a write, unless the table is closed or has failed.
func (t *pebbleTable) beginWrite() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return fmt.Errorf("write id index in %s: %w", t.path, pebble.ErrClosed)
	}
	err := t.Health()
	if err == nil {
		t.writes.Add(1)
	}
	return err
}

// endWrites lets no write begin any more, and waits for those under way. It reports false if one may never end.
func (t *pebbleTable) endWrites() bool {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		t.writes.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return true
	case <-t.failures.any:
	}
	timer := time.NewTimer(t.grace)
	defer timer.Stop()
	select {
	case <-ended:
		return true
	case <-timer.C:
		return false
	}
}

// Health implements Table.
func (t *pebbleTable) Health() error { return t.failures.first() }

// Get implements Table. Nothing on its way calls Fatalf, so it is spared a goroutine: it is frequent.
func (t *pebbleTable) Get(key, into []byte) ([]byte, bool, error) { return t.get(t.db, key, into) }

// pebbleView is a pebble table as it was.
type pebbleView struct {
	table    *pebbleTable
	snapshot *pebble.Snapshot
}

// View implements Table.
func (t *pebbleTable) View() (View, error) {
	v := pebbleView{table: t}
	err := t.call("look at the id index", func() error {
		v.snapshot = t.db.NewSnapshot()
		return nil
	})
	if err != nil { // whoever was given up may still write to v
		return nil, err
	}
	return v, nil
}

// Get implements View.
func (v pebbleView) Get(key, into []byte) ([]byte, bool, error) {
	return v.table.get(v.snapshot, key, into)
}

// Close implements View.
func (v pebbleView) Close() error {
	return v.table.call("close a view of the id index", v.snapshot.Close)
}

func (t *pebbleTable) get(r pebble.Reader, key, into []byte) ([]byte, bool, error) {
	v, closer, err := r.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return into, false, nil
	}
	if err != nil {
		return into, false, pebbleError(t.path, "read id index", err)
	}
	into = append(into, v...)
	return into, true, closer.Close()
}

// Apply implements Table.
func (t *pebbleTable) Apply(b *Batch) error {
	if err := t.Health(); err != nil {
		return err
	}
	batch := t.db.NewBatchWithSize(len(b.data) + 16*b.count)
	err := b.each(func(key, value []byte) error { return batch.Set(key, value, nil) })
	if err != nil {
		return errors.Join(err, batch.Close())
	}
	return t.write("write id index", func() error { return errors.Join(batch.Commit(pebble.NoSync), batch.Close()) })
}

// Ingest implements Table. One run is written at a time.
func (t *pebbleTable) Ingest(r Run) error {
	if err := t.Health(); err != nil {
		return err
	}
	if err := t.writeRun(r); err != nil { // a file of our own, from the beginning: nothing is damaged
		return stoppingError(t.path, "write a run of the id index", err)
	}
	// Ingest removes the file's first name.
	return t.write("take a run into the id index", func() error { return t.db.Ingest(context.Background(), []string{t.run}) })
}

// writeRun makes a sorted table of a run, and syncs it.
func (t *pebbleTable) writeRun(r Run) error {
	f, err := t.options.FS.Create(t.run, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	f = vfs.NewSyncingFile(f, vfs.SyncingFileOptions{BytesPerSync: runBytesPerSync})
	// The format before columns takes two thirds of the time to write, and is as quick to look into.
	w := sstable.NewWriter(objstorageprovider.NewFileWritable(f), t.options.MakeWriterOptions(0, sstable.TableFormatPebblev4))
	var buf [64]byte
	for i := range r.Len() {
		if err := w.Set(r.At(i, buf[:0])); err != nil {
			return errors.Join(err, w.Close())
		}
		if i%runYield == 0 {
			runtime.Gosched()
		}
	}
	return w.Close()
}

// Flush implements Table.
func (t *pebbleTable) Flush() error {
	var flushed <-chan struct{}
	if err := t.write("flush id index", func() (err error) {
		flushed, err = t.db.AsyncFlush()
		return err
	}); err != nil {
		return err
	}
	select {
	case <-flushed:
	case <-t.failures.any: // pebble tries again for ever
	}
	return t.Health()
}

// Close implements Table. What waits for a goroutine that has ended for good, or for one that fails again and again, is
// left to the end of the process, and pebble open: a write that goes on must not find it closed.
func (t *pebbleTable) Close() error {
	t.failures.close()
	if t.failures.isFatal() {
		return nil
	}
	if !t.endWrites() {
		return t.Health()
	}
	err := t.call("close id index", func() error { return errors.Join(t.db.Close(), t.options.Lock.Close()) })
	if !t.failures.isFatal() {
		t.cache.Unref()
	}
	return err
}
