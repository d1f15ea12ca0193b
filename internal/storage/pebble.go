package storage

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"

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
)

// PebbleOptions bound the memory of a table on disk. Zero fields take the defaults.
type PebbleOptions struct {
	MemTableBytes int64 // of one memtable, of checkpoints alone; up to four exist. Default 4 MiB
	CacheBytes    int64 // of blocks and filters. Default 64 MiB
}

// pebbleTable is a Table in a pebble database without its write-ahead log: the raft log is ours already.
type pebbleTable struct {
	db      *pebble.DB
	cache   *pebble.Cache
	options *pebble.Options
	run     string // the file of a run in the making
	// failed is the first error of pebble's own goroutines: what they cannot write will never be durable, and
	// they would try again for ever.
	failed atomic.Pointer[error]
}

// quietPebble drops pebble's log. What ends the process must not be lost: it comes as a panic.
type quietPebble struct{}

func (quietPebble) Infof(string, ...any)  {}
func (quietPebble) Errorf(string, ...any) {}
func (quietPebble) Fatalf(f string, v ...any) {
	panic(&ReadError{fmt.Errorf("id index: "+f, v...)})
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
	t := &pebbleTable{cache: pebble.NewCache(o.CacheBytes), run: fsys.PathJoin(path, runName)}
	if err := fsys.Remove(t.run); err != nil && !isNotExist(err) {
		return nil, fmt.Errorf("remove %s: %w", t.run, err)
	}
	options := &pebble.Options{
		FS: fsys, Cache: t.cache, DisableWAL: true, Logger: quietPebble{},
		MemTableSize: uint64(o.MemTableBytes), MemTableStopWritesThreshold: 4,
		L0CompactionThreshold: 8, L0StopWritesThreshold: 40,
		MaxOpenFiles:       200,
		FormatMajorVersion: pebble.FormatNewest,
		EventListener: &pebble.EventListener{BackgroundError: func(err error) {
			t.failed.CompareAndSwap(nil, &err)
		}},
	}
	for i := range options.Levels {
		// A new id that lies among old ones is a miss: the filter spares reading a block for it.
		options.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	// Ids do not compress.
	options.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionNone })
	db, err := pebble.Open(path, options)
	if err != nil {
		t.cache.Unref()
		if pebble.IsCorruptionError(err) {
			return nil, damagedFile(path, fmt.Sprintf("cannot be opened as id index (%v)", err))
		}
		return nil, fmt.Errorf("open id index %s: %w", path, err)
	}
	t.db, t.options = db, options
	return t, nil
}

// Health implements Table.
func (t *pebbleTable) Health() error {
	if err := t.failed.Load(); err != nil {
		return fmt.Errorf("id index: background work failed: %w (this server must stop)", *err)
	}
	return nil
}

// Get implements Table.
func (t *pebbleTable) Get(key, into []byte) ([]byte, bool, error) { return pebbleGet(t.db, key, into) }

// pebbleView is a pebble table as it was.
type pebbleView struct{ *pebble.Snapshot }

// View implements Table.
func (t *pebbleTable) View() (View, error) { return pebbleView{t.db.NewSnapshot()}, nil }

// Get implements View.
func (v pebbleView) Get(key, into []byte) ([]byte, bool, error) {
	return pebbleGet(v.Snapshot, key, into)
}

func pebbleGet(r pebble.Reader, key, into []byte) ([]byte, bool, error) {
	v, closer, err := r.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return into, false, nil
	}
	if err != nil {
		return into, false, fmt.Errorf("read id index: %w (this server must stop)", err)
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
	if err == nil {
		err = batch.Commit(pebble.NoSync)
	}
	if err = errors.Join(err, batch.Close()); err != nil {
		return fmt.Errorf("write id index: %w (this server must stop)", err)
	}
	return nil
}

// Ingest implements Table. One run is written at a time.
func (t *pebbleTable) Ingest(r Run) error {
	if err := t.Health(); err != nil {
		return err
	}
	if err := t.writeRun(r); err != nil {
		return fmt.Errorf("write a run of the id index: %w (this server must stop)", err)
	}
	// Ingest removes the file's first name.
	if err := t.db.Ingest(context.Background(), []string{t.run}); err != nil {
		return fmt.Errorf("take a run into the id index: %w (this server must stop)", err)
	}
	return nil
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
	if err := t.Health(); err != nil {
		return err
	}
	if err := t.db.Flush(); err != nil {
		return fmt.Errorf("flush id index: %w (this server must stop)", err)
	}
	return t.Health()
}

// Close implements Table.
func (t *pebbleTable) Close() error {
	err := t.db.Close()
	t.cache.Unref()
	return err
}
