package storage

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"raftbank/internal/ledger"
)

// idKinds draw the n-th id of a sequence, as clients make them.
var idKinds = map[string]func(rng *rand.Rand, n int) ledger.TransferID{
	"ordered": func(_ *rand.Rand, n int) ledger.TransferID { return testID(uint64(n)<<20, 1) },
	"a little late": func(rng *rand.Rand, n int) ledger.TransferID {
		return testID(uint64(1000+n-rng.IntN(60))<<20|rng.Uint64N(1<<20), rng.Uint64())
	},
	"late": func(rng *rand.Rand, n int) ledger.TransferID {
		return testID(uint64(1000+n-rng.IntN(900))<<20, rng.Uint64())
	},
	"random": func(rng *rand.Rand, _ int) ledger.TransferID { return testID(rng.Uint64(), rng.Uint64()) },
	"one clock ahead": func(rng *rand.Rand, n int) ledger.TransferID {
		if n%97 == 5 {
			return testID(1<<60+uint64(n), 1)
		}
		return testID(uint64(1000+n-rng.IntN(20))<<20, rng.Uint64())
	},
	"one millisecond": func(rng *rand.Rand, _ int) ledger.TransferID { return testID(77<<16, rng.Uint64()) },
}

func testID(hi, lo uint64) (id ledger.TransferID) {
	binary.BigEndian.PutUint64(id[:], hi)
	binary.BigEndian.PutUint64(id[8:], lo)
	return id
}

// TestSortIDs sorts ids of every kind.
func TestSortIDs(t *testing.T) {
	for name, draw := range idKinds {
		rng := rand.New(rand.NewPCG(1, 2))
		for _, n := range []int{0, 1, 2, 100, 3000} {
			from := make([]windowEntry, n)
			for i := range from {
				from[i] = windowEntry{id: draw(rng, i), position: uint64(i)}
			}
			want := slices.Clone(from)
			slices.SortStableFunc(want, func(a, b windowEntry) int { return a.id.Compare(b.id) })
			got := make([]windowEntry, n)
			sortIDs(got, from)
			if !slices.Equal(got, want) {
				t.Errorf("%s: %d ids are out of order", name, n)
			}
		}
	}
}

// TestIndexKeepsEveryID puts ids of every kind into an index on each table: at any time each is found, with
// its own position, an id that was not put is not, and an id lies in the table once.
func TestIndexKeepsEveryID(t *testing.T) {
	for name, draw := range idKinds {
		for _, onDisk := range []bool{false, true} {
			rng := rand.New(rand.NewPCG(3, 4))
			table := &countingTable{Table: NewMemoryTable()}
			if onDisk {
				p, err := OpenPebble(vfs.NewMem(), "/i", PebbleOptions{})
				must(t, err)
				table.Table = p
			}
			h, err := openHistory(vfs.NewMem(), "/h", testIdentity(), historyEnd{}, historyOptions{CacheBytes: 1 << 20})
			must(t, err)
			x := openIndex(table, h, idRanges{}, 0, indexOptions{Window: 64, Aside: onDisk, Place: 1, Places: 3})
			seen := map[ledger.TransferID]uint64{}
			var order []ledger.TransferID
			for n := range 2000 {
				id := draw(rng, n)
				if _, twice := seen[id]; twice {
					continue
				}
				if at, ok := x.Get(id); ok {
					t.Fatalf("%s: id %d is known before it was put, at %d", name, n, at)
				}
				at := h.Append(&ledger.Row{Kind: ledger.RowIntra, State: ledger.Committed, Record: ledger.Record{ID: id, Amount: ledger.Units(1)}})
				x.Put(id, at)
				seen[id] = at
				order = append(order, id)
				for range 5 {
					old := order[rng.IntN(len(order))]
					if at, ok := x.Get(old); !ok || at != seen[old] {
						t.Fatalf("%s: after %d ids, one is at %d (%v), not at %d", name, n, at, ok, seen[old])
					}
				}
			}
			must(t, x.close())
			if x.writing != nil {
				x.take()
			}
			if x.indexed < uint64(len(order))-128 {
				t.Errorf("%s: of %d rows only those before %d are in the table", name, len(order), x.indexed)
			}
			if table.keys > len(order) {
				t.Errorf("%s: %d keys were written for %d ids", name, table.keys, len(order))
			}
			must(t, table.Close())
			must(t, h.Close())
		}
	}
}

// countingTable counts the keys of the runs.
type countingTable struct {
	Table
	keys int
}

func (c *countingTable) Ingest(r Run) error {
	c.keys += r.Len()
	return c.Table.Ingest(r)
}
