package ledger

import (
	"encoding/binary"
	"testing"
)

// TestIDHash: an id has one hash, whatever was hashed before it; ids that follow each other lie side by side; others anywhere,
// and with different high bits, by which tables tell them apart.
func TestIDHash(t *testing.T) {
	id := func(n uint64) (id TransferID) {
		binary.BigEndian.PutUint64(id[8:], n)
		return id
	}
	h := NewIDHash()
	first := map[uint64]uint64{}
	places, tags := map[uint64]bool{}, map[uint64]bool{}
	for n := range uint64(4096) {
		i := id(n)
		first[n] = h.Of(&i)
		places[first[n]&(1<<20-1)] = true
		tags[first[n]>>40] = true
		if g := id(n &^ (idGroup - 1)); h.Of(&g)^first[n] != n%idGroup|n%idGroup<<61 {
			t.Fatalf("id %d does not lie beside the first of its group", n)
		}
	}
	for n := range uint64(4096) {
		i := id(n * 2654435761 % 4096)
		if got := h.Of(&i); got != first[n*2654435761%4096] {
			t.Fatalf("id %d has two hashes", n)
		}
	}
	if len(places) < 4000 || len(tags) < 4000 {
		t.Errorf("4096 ids have %d places of 2^20 and %d tags", len(places), len(tags))
	}
	if other := NewIDHash(); other.Of(&TransferID{1}) == h.Of(&TransferID{1}) && other.Of(&TransferID{2}) == h.Of(&TransferID{2}) {
		t.Error("two processes have one seed")
	}
}
