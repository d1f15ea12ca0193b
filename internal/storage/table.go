package storage

import (
	"bytes"
	"encoding/binary"
	"maps"
	"slices"
)

// Table keeps keys with values: the id index and the checkpoints. It has no log of its own: after a
// crash it holds what it held after some batch, at least that of the last Flush. Batches are never torn and
// never change their order.
//
// All methods but Close may be called from several goroutines.
type Table interface {
	// Get appends the value of a key to into; false: there is none.
	Get(key, into []byte) (value []byte, ok bool, err error)
	// Apply makes a batch visible at once. It is durable after the next Flush, or earlier.
	Apply(b *Batch) error
	// Ingest makes a sorted run visible at once, and is durable when it returns: earlier than batches that were
	// applied before it. Its keys are in no such batch.
	Ingest(r Run) error
	// Flush returns once everything that was applied before is durable.
	Flush() error
	// View returns the table as it is now. It must be closed before the table.
	View() (View, error)
	// Health returns the error that has stopped the table's own work, if one has: a Flush may then never
	// return.
	Health() error
	// Close ends the table; what was not flushed may be lost.
	Close() error
}

// Run is a list of keys with values whose keys ascend, each one once.
type Run interface {
	// Len returns the number of keys, at least one.
	Len() int
	// At appends the i-th key with its value to b, which is empty, and returns both.
	At(i int, b []byte) (key, value []byte)
}

// View is a Table as it was at one moment, for reading. It belongs to the goroutine that owns the table.
type View interface {
	// Get is Table.Get.
	Get(key, into []byte) (value []byte, ok bool, err error)
	// Close ends the view.
	Close() error
}

// Batch is a list of keys with values that become visible and durable together. A later value of a key counts.
type Batch struct {
	data  []byte
	count int
}

// Set adds a key with its value; both are copied.
func (b *Batch) Set(key, value []byte) {
	b.data = binary.AppendUvarint(b.data, uint64(len(key)))
	b.data = append(b.data, key...)
	b.data = binary.AppendUvarint(b.data, uint64(len(value)))
	b.data = append(b.data, value...)
	b.count++
}

// Len returns the number of keys that were set.
func (b *Batch) Len() int { return b.count }

// Reset empties the batch; its memory is used again.
func (b *Batch) Reset() { b.data, b.count = b.data[:0], 0 }

// each calls f with every key and value, in order. They are parts of the batch.
func (b *Batch) each(f func(key, value []byte) error) error {
	r := payloadReader{rest: b.data}
	for range b.count {
		key := r.bytes(r.uvarint())
		if err := f(key, r.bytes(r.uvarint())); err != nil {
			return err
		}
	}
	return nil
}

// MemoryTable is a deterministic Table in memory for one goroutine, for the simulator and as the reference for the one on
// disk. It outlives Close, like a disk; Crash says what a crash leaves.
type MemoryTable struct {
	durable, live map[string][]byte
	pending       []Batch
}

// NewMemoryTable returns an empty table.
func NewMemoryTable() *MemoryTable {
	return &MemoryTable{durable: map[string][]byte{}, live: map[string][]byte{}}
}

// Get implements Table.
func (t *MemoryTable) Get(key, into []byte) ([]byte, bool, error) {
	v, ok := t.live[string(key)]
	return append(into, v...), ok, nil
}

// Apply implements Table.
func (t *MemoryTable) Apply(b *Batch) error {
	own := Batch{data: bytes.Clone(b.data), count: b.count}
	t.pending = append(t.pending, own)
	own.into(t.live)
	return nil
}

func (b *Batch) into(m map[string][]byte) {
	// The function never fails, so each does not.
	_ = b.each(func(key, value []byte) error {
		m[string(key)] = bytes.Clone(value)
		return nil
	})
}

// Ingest implements Table.
func (t *MemoryTable) Ingest(r Run) error {
	var b []byte
	for i := range r.Len() {
		key, value := r.At(i, b[:0])
		t.durable[string(key)], t.live[string(key)] = bytes.Clone(value), bytes.Clone(value)
	}
	return nil
}

// Flush implements Table.
func (t *MemoryTable) Flush() error {
	for i := range t.pending {
		t.pending[i].into(t.durable)
	}
	t.pending = nil
	return nil
}

// View implements Table.
func (t *MemoryTable) View() (View, error) { return &MemoryTable{live: maps.Clone(t.live)}, nil }

// Health implements Table.
func (t *MemoryTable) Health() error { return nil }

// Close implements Table.
func (t *MemoryTable) Close() error { return nil }

// Pending returns how many batches were applied since the last Flush.
func (t *MemoryTable) Pending() int { return len(t.pending) }

// Crash is the end of the process that used the table: of the batches since the last Flush the first keep
// remain.
func (t *MemoryTable) Crash(keep int) {
	for i := range t.pending[:keep] {
		t.pending[i].into(t.durable)
	}
	t.pending = nil
	t.live = maps.Clone(t.durable)
}

// Flushed returns a table of its own that holds what the last Flush made durable.
func (t *MemoryTable) Flushed() *MemoryTable {
	return &MemoryTable{durable: maps.Clone(t.durable), live: maps.Clone(t.durable)}
}

// Keys returns the keys that are there, sorted.
func (t *MemoryTable) Keys() []string { return slices.Sorted(maps.Keys(t.live)) }
