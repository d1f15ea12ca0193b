package ledger

import "hash/maphash"

// idGroup is how many ids that follow each other get hashes that follow each other.
const idGroup = 8

// IDHash hashes ids for tables of open addressing. A client counts its ids up, and transfers of one request are looked up
// one after the other: eight of them lie side by side in a table, so that a look-up finds most of its memory
// near. Groups lie anywhere: the seed is drawn by the process, and clients cannot choose groups that collide. No
// result depends on a hash. The zero value is not ready: NewIDHash.
type IDHash struct {
	seed maphash.Seed
	last TransferID // the first of the group of the last id
	hash uint64     // of that group
}

// NewIDHash returns a hash with a seed of its own.
func NewIDHash() IDHash {
	h := IDHash{seed: maphash.MakeSeed()}
	h.hash = h.of(&h.last)
	return h
}

func (h *IDHash) of(first *TransferID) uint64 {
	return maphash.Comparable(h.seed, *first) &^ (idGroup - 1)
}

// Of returns the hash of an id. The ids of a group differ in the lowest bits, and in the highest.
func (h *IDHash) Of(id *TransferID) uint64 {
	first := *id
	first[len(first)-1] &^= idGroup - 1
	if first != h.last {
		h.last, h.hash = first, h.of(&first)
	}
	in := uint64(id[len(id)-1] & (idGroup - 1))
	return h.hash ^ (in | in<<61)
}
