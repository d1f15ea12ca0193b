package storage

import (
	"math/bits"

	"raftbank/internal/ledger"
)

// windowEntry is one id with the position of its row.
type windowEntry struct {
	id       ledger.TransferID
	position uint64
}

// generation is a run of ids in the order in which they came, with a hash table over it. Everything is
// allocated when the generation is made. Once it is full it only is read, until it is emptied.
type generation struct {
	entries []windowEntry
	// slots is an open-addressing table: number of the entry plus 1, and above it bits of the id's hash.
	slots   []uint32
	numbers uint32 // mask of a slot's number
	// limit is how many entries make it full; there is room for half as many more, should the generation before it not
	// be in the table yet.
	limit, window int
}

func newGeneration(window int) *generation {
	room := window + window/2
	return &generation{
		entries: make([]windowEntry, 0, room), slots: make([]uint32, 1<<bits.Len(uint(2*window-1))),
		numbers: 1<<bits.Len(uint(room)) - 1, limit: window, window: window,
	}
}

// probe returns the slot where the id is or belongs, and the number of its entry plus 1; 0: it is not there.
func (g *generation) probe(id *ledger.TransferID, hash uint64) (slot uint64, number uint32) {
	mask := uint64(len(g.slots) - 1)
	tag := uint32(hash>>32) &^ g.numbers
	for slot = hash & mask; ; slot = (slot + 1) & mask {
		v := g.slots[slot]
		if v == 0 {
			return slot, 0
		}
		if n := v & g.numbers; v&^g.numbers == tag && g.entries[n-1].id == *id {
			return slot, n
		}
	}
}

// warm loads the slot at which a probe begins.
func (g *generation) warm(hash uint64) uint32 { return g.slots[hash&uint64(len(g.slots)-1)] }

// add puts an entry into the slot that a probe has returned for its id.
func (g *generation) add(slot, hash uint64, e windowEntry) {
	g.entries = append(g.entries, e)
	g.slots[slot] = uint32(hash>>32)&^g.numbers | uint32(len(g.entries))
}

func (g *generation) full() bool { return len(g.entries) >= g.limit }

// overfull reports whether there is no room at all.
func (g *generation) overfull() bool { return len(g.entries) == cap(g.entries) }

// empty makes the generation new; what it has allocated stays.
func (g *generation) empty() {
	clear(g.slots)
	g.entries, g.limit = g.entries[:0], g.window
}
