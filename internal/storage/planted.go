package storage

import (
	"bytes"

	"raftbank/internal/planted"
)

// What hooks of package planted need. A normal build drops all of it but plantedIndexed, of which the
// field remains.

// plantedTail returns where a torn tail ends, at a place for a block.
func plantedTail(v *segmentView, end int64) (int64, error) {
	raw, err := v.bytes(end, v.size-end)
	torn := int64(len(bytes.TrimRight(raw, "\x00")))
	return end + (torn+blockAlign-1)/blockAlign*blockAlign, err
}

// plantedLast returns a batch of the last key alone.
func (b *Batch) plantedLast() *Batch {
	last := &Batch{}
	_ = b.each(func(key, value []byte) error {
		last.Reset()
		last.Set(key, value)
		return nil
	})
	return last
}

// plantedIndexed returns the first row whose id may not be in the table.
func (x *Index) plantedIndexed(rows uint64) uint64 {
	if planted.On(planted.IdsMissing) {
		return rows
	}
	return x.indexed
}

// plantedKeep counts the full blocks behind the checkpoint's end as history.
func (h *History) plantedKeep() error {
	if len(h.files) == 0 {
		return nil
	}
	info, err := h.files[len(h.files)-1].file.Stat()
	if err != nil {
		return err
	}
	blocks := uint64(len(h.files)-1)*h.fileBlocks + uint64(info.Size())/historyBlock - 1
	h.rows = max(h.rows, blocks*blockRows)
	return nil
}
