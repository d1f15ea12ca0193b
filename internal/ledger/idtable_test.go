package ledger

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

// TestIDTableLikeMap puts, finds and deletes ids in a table and in a map: they always hold the same.
func TestIDTableLikeMap(t *testing.T) {
	for seed := range uint64(4) {
		rng := rand.New(rand.NewPCG(seed, 1))
		table, want := NewIDTable(), map[TransferID]int32{}
		ids := make([]TransferID, 10<<(2*seed))
		for i := range ids {
			binary.BigEndian.PutUint64(ids[i][:], rng.Uint64()>>1)
			binary.BigEndian.PutUint64(ids[i][8:], uint64(i))
		}
		for n := range 20_000 {
			id := ids[rng.IntN(len(ids))]
			switch rng.IntN(3) {
			case 0:
				if before := table.Put(id, int32(n+1)); before != want[id] {
					t.Fatalf("seed %d: put found %d, want %d", seed, before, want[id])
				}
				want[id] = int32(n + 1)
			case 1:
				if before := table.Delete(id); before != want[id] {
					t.Fatalf("seed %d: deleted %d, want %d", seed, before, want[id])
				}
				delete(want, id)
			default:
				if got := table.Get(id); got != want[id] {
					t.Fatalf("seed %d: got %d, want %d", seed, got, want[id])
				}
			}
			if table.Len() != len(want) {
				t.Fatalf("seed %d: %d ids, want %d", seed, table.Len(), len(want))
			}
		}
		for _, id := range ids {
			if got := table.Get(id); got != want[id] {
				t.Fatalf("seed %d: at the end %d, want %d", seed, got, want[id])
			}
		}
	}
}
