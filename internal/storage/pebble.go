package storage

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Default sizes in bytes of a pebble table's memory.
const (
	defaultMemTableBytes   = 16 << 20
	defaultTableCacheBytes = 16 << 20
)

// PebbleOptions bound the memory of a table on disk. Zero fields take the defaults.
type PebbleOptions struct {
	MemTableBytes int64 // of one memtable; up to four exist. Default 16 MiB
	CacheBytes    int64 // of blocks. Default 16 MiB
}

// pebbleTable is a Table in a pebble database without its write-ahead log: the raft log is ours already.
type pebbleTable struct {
	db    *pebble.DB
	cache *pebble.Cache
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
	t := &pebbleTable{cache: pebble.NewCache(o.CacheBytes)}
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
	t.db = db
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
func (t *pebbleTable) Get(key, into []byte) ([]byte, bool, error) {
	v, closer, err := t.db.Get(key)
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
