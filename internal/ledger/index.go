package ledger

import "hash/maphash"

// indexTables is into how many tables the index in memory is cut, so that growing one is short.
const indexTables = 256

// indexEntry is one occupied (next != 0) or free slot.
type indexEntry struct {
	hash uint64
	next uint64 // position of the id's newest row plus 1
}

// indexTable is an open-addressing hash table; its length is a power of two.
type indexTable struct {
	entries []indexEntry
	used    int
}

// memoryIndex keeps every id in memory, as 16 bytes: hash and position. The id itself stands in the
// history, which decides between ids of one hash. Go's map needs two to four cache misses for a new
// id where this needs one, and new ids are the common case.
//
// The hash is seeded by the process, so that clients cannot choose ids that collide. No result
// depends on it: the index is never listed.
type memoryIndex struct {
	seed    maphash.Seed
	history *memoryHistory
	tables  [indexTables]indexTable
	// warmed keeps the compiler from dropping the loads of Warm.
	warmed uint64
}

func newMemoryIndex(h *memoryHistory) *memoryIndex {
	return &memoryIndex{seed: maphash.MakeSeed(), history: h}
}

func (x *memoryIndex) find(id TransferID) (hash uint64, t *indexTable) {
	hash = maphash.Comparable(x.seed, id)
	return hash, &x.tables[hash%indexTables]
}

// Warm touches where the records' ids belong. The loads do not depend on each other, so that their
// cache misses overlap, where those of Get would queue behind the work on each transfer.
func (x *memoryIndex) Warm(records []Record) {
	for i := range records {
		if hash, t := x.find(records[i].ID); len(t.entries) > 0 {
			x.warmed += t.entries[hash/indexTables&uint64(len(t.entries)-1)].next
		}
	}
}

// probe returns the slot that holds the id, or the free slot where it belongs.
func (x *memoryIndex) probe(t *indexTable, hash uint64, id *TransferID) *indexEntry {
	mask := uint64(len(t.entries) - 1)
	for i := hash / indexTables & mask; ; i = (i + 1) & mask {
		e := &t.entries[i]
		if e.next == 0 || e.hash == hash && x.history.at(e.next-1).Record.ID == *id {
			return e
		}
	}
}

func (x *memoryIndex) Get(id TransferID) (uint64, bool) {
	hash, t := x.find(id)
	if len(t.entries) == 0 {
		return 0, false
	}
	e := x.probe(t, hash, &id)
	return e.next - 1, e.next != 0
}

func (x *memoryIndex) Put(id TransferID, position uint64) {
	hash, t := x.find(id)
	if t.used >= len(t.entries)*3/4 {
		t.grow()
	}
	e := x.probe(t, hash, &id)
	if e.next == 0 {
		t.used++
	}
	*e = indexEntry{hash: hash, next: position + 1}
}

func (t *indexTable) grow() {
	old := t.entries
	t.entries = make([]indexEntry, max(8, 2*len(old)))
	mask := uint64(len(t.entries) - 1)
	for _, e := range old {
		if e.next == 0 {
			continue
		}
		i := e.hash / indexTables & mask
		for t.entries[i].next != 0 {
			i = (i + 1) & mask
		}
		t.entries[i] = e
	}
}
