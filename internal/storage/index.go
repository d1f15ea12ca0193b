package storage

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"math/bits"
	"slices"

	"raftbank/internal/invariant"
	"raftbank/internal/ledger"
)

const (
	// defaultWindow is how many ids a generation of the window holds. Two generations exist.
	defaultWindow = 1 << 18
	// indexStride is how often Put goes on with background work, and half of how much it then does: the older
	// generation is done with before the newer one is full.
	indexStride = 512
	indexPrefix = 'i'
)

// windowEntry is one id with the position of its row.
type windowEntry struct {
	id       ledger.TransferID
	position uint64
}

// generation is a run of ids in the order in which they came, with a hash table over it. Everything is
// allocated when the generation is made.
type generation struct {
	entries []windowEntry
	// slots is an open-addressing table: number of the entry plus 1, and above it bits of the id's hash.
	slots []uint32
	// written entries are in the table, ranged ones are in the ranges that let a miss pass.
	written, ranged int
}

// Index is the id index of one replica: a window of the newest ids in memory before a Table. It
// implements ledger.Index and belongs to the goroutine that owns the ledger's state.
//
// Ids leave the window only when they are in the table, so what is in neither was never put. The ranges
// of the ids that have left only spare looking into the table: their answer is exact whatever the ids are.
//
// The table may hold rows from the future, put before a crash and behind the checkpoint that was restored:
// a position at or behind the history's end counts as absent, and a row is believed only if it bears the id.
//
// An error of the table panics with a *ReadError.
type Index struct {
	table   Table
	history *History
	seed    maphash.Seed
	cur     *generation
	old     *generation
	numbers uint32 // mask of a slot's number
	gone    idRanges
	// stored are the ranges of everything that was given to the table: what a checkpoint keeps.
	stored idRanges

	puts, writes uint64 // ids put and ids written, since the start
	batch        Batch
	sorted       []windowEntry // those of the batch
	key, value   []byte
	// warmed keeps the compiler from dropping the loads of Warm.
	warmed uint32
	// lookups counts the questions that the table had to answer.
	lookups uint64
}

// openIndex returns an index over a table that holds the ids of the given ranges.
func openIndex(table Table, h *History, stored idRanges, window int) *Index {
	if window == 0 {
		window = defaultWindow
	}
	x := &Index{table: table, history: h, seed: maphash.MakeSeed(), stored: stored, gone: stored}
	x.gone.ranges = append([]idRange(nil), stored.ranges...)
	x.cur, x.old = newGeneration(window), newGeneration(window)
	x.numbers = 1<<bits.Len(uint(window)) - 1
	return x
}

func newGeneration(window int) *generation {
	return &generation{entries: make([]windowEntry, 0, window), slots: make([]uint32, 1<<bits.Len(uint(2*window-1)))}
}

// probe returns the slot where the id is or belongs, and the number of its entry plus 1.
func (x *Index) probe(g *generation, id *ledger.TransferID, hash uint64) (slot uint64, number uint32) {
	mask := uint64(len(g.slots) - 1)
	tag := uint32(hash>>32) &^ x.numbers
	for slot = hash & mask; ; slot = (slot + 1) & mask {
		v := g.slots[slot]
		if v == 0 {
			return slot, 0
		}
		if n := v & x.numbers; v&^x.numbers == tag && g.entries[n-1].id == *id {
			return slot, n
		}
	}
}

// Warm implements ledger.Warmer: the loads do not depend on each other, so that their cache misses overlap.
func (x *Index) Warm(records []ledger.Record) {
	cur, old := x.cur.slots, x.old.slots
	for i := range records {
		hash := maphash.Comparable(x.seed, records[i].ID)
		x.warmed += cur[hash&uint64(len(cur)-1)] + old[hash&uint64(len(old)-1)]
	}
}

// Get implements ledger.Index.
func (x *Index) Get(id ledger.TransferID) (uint64, bool) {
	hash := maphash.Comparable(x.seed, id)
	if _, n := x.probe(x.cur, &id, hash); n != 0 {
		return x.cur.entries[n-1].position, true
	}
	if _, n := x.probe(x.old, &id, hash); n != 0 {
		return x.old.entries[n-1].position, true
	}
	if !x.gone.mayHold(&id) {
		return 0, false
	}
	return x.look(&id)
}

// look asks the table.
func (x *Index) look(id *ledger.TransferID) (uint64, bool) {
	x.lookups++
	x.key = append(append(x.key[:0], indexPrefix), id[:]...)
	value, ok, err := x.table.Get(x.key, x.value[:0])
	x.value = value
	if err == nil && ok && len(value) != 8 {
		err = damagedFile("id index", "holds a position that is none")
	}
	if err != nil {
		panic(&ReadError{err})
	}
	if !ok {
		return 0, false
	}
	position := binary.LittleEndian.Uint64(value)
	if position >= x.history.Len() || x.history.idAt(position) != *id {
		invariant.Sometimes("storage: an id in the index was of a row that is not there yet")
		return 0, false
	}
	return position, true
}

// Put implements ledger.Index.
func (x *Index) Put(id ledger.TransferID, position uint64) {
	if len(x.cur.entries) == cap(x.cur.entries) {
		x.rotate()
	}
	g := x.cur
	hash := maphash.Comparable(x.seed, id)
	slot, n := x.probe(g, &id, hash)
	invariant.Check(n == 0, "an id is put once")
	g.entries = append(g.entries, windowEntry{id: id, position: position})
	g.slots[slot] = uint32(hash>>32)&^x.numbers | uint32(len(g.entries))
	if x.puts++; x.puts%indexStride == 0 {
		x.work()
	}
}

// work goes on with moving the older generation out.
func (x *Index) work() {
	x.write(x.old, 2*indexStride)
	x.old.leave(2*indexStride, &x.gone)
}

// rotate makes room: the older generation leaves, the newer one grows old.
func (x *Index) rotate() {
	x.write(x.old, len(x.old.entries))
	x.old.leave(len(x.old.entries), &x.gone)
	clear(x.old.slots)
	x.old.entries, x.old.written, x.old.ranged = x.old.entries[:0], 0, 0
	x.cur, x.old = x.old, x.cur
}

// leave notes up to n ids more as gone from the window.
func (g *generation) leave(n int, gone *idRanges) {
	end := min(g.ranged+n, len(g.entries))
	for i := g.ranged; i < end; i++ {
		gone.add(g.entries[i].id)
	}
	g.ranged = end
}

// write gives up to n ids more of a generation to the table, in one batch.
func (x *Index) write(g *generation, n int) int {
	part := g.entries[g.written:min(g.written+n, len(g.entries))]
	if len(part) == 0 {
		return 0
	}
	// Sorted: the table finds the place of a key from that of the one before it.
	x.sorted = append(x.sorted[:0], part...)
	slices.SortFunc(x.sorted, func(a, b windowEntry) int { return bytes.Compare(a.id[:], b.id[:]) })
	part = x.sorted
	x.batch.Reset()
	var value [8]byte
	for i := range part {
		x.key = append(append(x.key[:0], indexPrefix), part[i].id[:]...)
		binary.LittleEndian.PutUint64(value[:], part[i].position)
		x.batch.Set(x.key, value[:])
		x.stored.add(part[i].id)
	}
	if err := x.table.Apply(&x.batch); err != nil {
		panic(&ReadError{err})
	}
	g.written += len(part)
	x.writes += uint64(len(part))
	return len(part)
}

// writeThrough gives up to n ids more to the table, until the first puts ids are there; true: they are.
func (x *Index) writeThrough(puts uint64, n int) bool {
	for n > 0 && x.writes < puts {
		g := x.old
		if g.written == len(g.entries) {
			g = x.cur
		}
		n -= x.write(g, min(n, 2*indexStride))
	}
	return x.writes >= puts
}
