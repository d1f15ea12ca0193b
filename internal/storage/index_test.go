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
	"counted":                func(_ *rand.Rand, n int) ledger.TransferID { return testID(5, uint64(n)) },
	"counted by two":         func(_ *rand.Rand, n int) ledger.TransferID { return testID(5+uint64(n%2)<<20, uint64(n/2)) },
	"counted, a little late": func(rng *rand.Rand, n int) ledger.TransferID { return testID(5, uint64(1000+n-rng.IntN(60))) },
	"counted, late":          func(rng *rand.Rand, n int) ledger.TransferID { return testID(5, uint64(1000+n-rng.IntN(900))) },
	"few groups":             func(rng *rand.Rand, _ int) ledger.TransferID { return testID(rng.Uint64N(3)<<40, rng.Uint64N(1024)) },
	"one millisecond":        func(rng *rand.Rand, _ int) ledger.TransferID { return testID(77<<16, rng.Uint64()) },
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
			var from []windowEntry
			drawn := map[ledger.TransferID]bool{}
			for i := range n {
				if id := draw(rng, i); !drawn[id] {
					drawn[id] = true
					from = append(from, windowEntry{id: id, position: uint64(i)})
				}
			}
			want := slices.Clone(from)
			slices.SortStableFunc(want, func(a, b windowEntry) int { return a.id.Compare(b.id) })
			got := make([]windowEntry, len(from))
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

// TestIDGroups writes groups of ids, whole and in parts, and finds every id of every run at the position that came last.
func TestIDGroups(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	table := NewMemoryTable()
	want := map[ledger.TransferID]uint64{}
	var stored idRanges
	for range 60 {
		drawn := map[ledger.TransferID]bool{}
		var ids []windowEntry
		position := rng.Uint64N(1 << 40)
		for range 1 + rng.IntN(400) {
			id := testID(rng.Uint64N(2), rng.Uint64N(2000))
			if drawn[id] {
				continue
			}
			drawn[id] = true
			position += 1 + rng.Uint64N(8)/7
			ids = append(ids, windowEntry{id: id, position: position})
		}
		slices.SortFunc(ids, func(a, b windowEntry) int { return a.id.Compare(b.id) })
		if rng.IntN(2) == 0 { // as they were counted
			for i := range ids {
				ids[i].position = position + uint64(i)
			}
		}
		run, err := newIDGroups(ids, table, &stored)
		must(t, err)
		must(t, table.Ingest(run))
		run.addTo(&stored)
		for _, e := range ids {
			want[e.id] = e.position
		}
		for hi := range uint64(2) {
			for lo := range uint64(2000) {
				id := testID(hi, lo)
				value, _, err := table.Get(groupKey(nil, &id), nil)
				must(t, err)
				got, ok, err := findInGroup(value, &id)
				must(t, err)
				if at, there := want[id]; ok != there || got != at || ok && !stored.mayHold(&id) {
					t.Fatalf("id %d %d is at %d (%v), in the ranges %v; want %d (%v)", hi, lo, got, ok, stored.mayHold(&id), at, there)
				}
			}
		}
	}
	whole := make([]windowEntry, 256)
	for i := range whole {
		whole[i] = windowEntry{id: testID(1, uint64(i)), position: uint64(900 + i)}
	}
	value := appendGroup(nil, whole)
	if len(value) != stretchHead+256 {
		t.Errorf("a full group of 256 ids takes %d bytes", len(value))
	}
	for n := range value {
		if _, ok, err := findInGroup(value[:n], &ledger.TransferID{15: 0}); n > 0 && err == nil {
			t.Fatalf("a value cut to %d bytes is read: %v", n, ok)
		}
		if _, err := mergeGroup(value[:n], whole[:1]); n > 0 && err == nil {
			t.Fatalf("a value cut to %d bytes is added to", n)
		}
	}
}

// TestRangesCover puts stretches of ids into ranges, among single ones, and finds each id of them, within few ranges.
func TestRangesCover(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	for range 200 {
		var x idRanges
		in := map[uint64]bool{}
		exact := true
		wide := 1 + rng.Uint64N(40)
		for range 1 + rng.IntN(200) {
			lo := rng.Uint64N(4000)
			hi := lo + rng.Uint64N(wide)
			x.cover(testID(lo, 0), testID(hi, 0))
			for v := lo; v <= hi; v++ {
				in[v] = true
			}
			exact = exact && len(x.ranges) < maxRanges
			for i := range x.ranges {
				if less(&x.ranges[i].hi, &x.ranges[i].lo) || i > 0 && !less(&x.ranges[i-1].hi, &x.ranges[i].lo) {
					t.Fatalf("ranges overlap: %v", x.ranges)
				}
			}
		}
		for v := range uint64(4100) {
			id := testID(v, 0)
			holds := x.mayHold(&id)
			if in[v] && !holds || exact && holds && !in[v] {
				t.Fatalf("id %d: in the set %v, in the ranges %v (%d ranges)", v, in[v], holds, len(x.ranges))
			}
			if any := x.mayHoldAny(id, testID(v+3, 0)); holds && !any || (in[v+1] || in[v+3]) && !any {
				t.Fatalf("ids from %d on: none counts as there", v)
			}
		}
	}
}
