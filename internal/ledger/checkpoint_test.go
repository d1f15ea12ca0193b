package ledger

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"raftbank/internal/shard"
)

// wideMap has accounts of C1 on several pages of a checkpoint.
func wideMap(t *testing.T) shard.Map {
	t.Helper()
	m, err := shard.NewMap(1, []shard.Assignment{
		{Shard: 1, Range: shard.Range{First: 1, Last: 300}},
		{Shard: 2, Range: shard.Range{First: 301, Last: 400}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// drawEntries returns entries that open C1 and then do everything that a log can.
func drawEntries(t *testing.T, rng *rand.Rand, n int) []*Entry {
	entries := []*Entry{{Commands: []Command{{Kind: CmdGenesis, Genesis: &Genesis{Shard: 1, Map: wideMap(t), OpeningBalance: 50}}}}}
	var open []Record
	for len(entries) < n {
		r := Record{ID: TransferID{byte(rng.Uint32()), byte(len(entries) >> 8), byte(len(entries))}, Currency: DefaultCurrency,
			Debit: shard.Account(1 + rng.IntN(300)), Credit: shard.Account(1 + rng.IntN(300)), Amount: Units(1 + rng.Uint64N(30))}
		var c Command
		switch k := rng.IntN(10); {
		case k < 4:
			c = Command{Kind: CmdTransfer, Records: []Record{r}}
		case k < 6:
			if r.Credit += 100; rng.IntN(2) == 0 {
				r.Debit, r.Credit = r.Credit, r.Debit
			}
			c = Command{Kind: CmdPrepare, Records: []Record{r}, Digests: []Digest{DigestOf(r)}}
			open = append(open, r)
		case k < 8 && len(open) > 0:
			i := rng.IntN(len(open))
			f := Finish{ID: open[i].ID, Digest: DigestOf(open[i]), Commit: rng.IntN(2) == 0, Facts: []ShardFact{{Shard: 2, Fact: FactYes}}}
			if !f.Commit {
				f.Facts[0].Fact = FactAborted
			}
			c = Command{Kind: CmdFinish, Finishes: []Finish{f}}
			open = slices.Delete(open, i, i+1)
		case k < 9:
			c = Command{Kind: CmdPoison, Poisons: []Poison{{ID: r.ID, Digest: DigestOf(r), Reason: ReasonTimedOut}}}
		default:
			c = Command{Kind: CmdCancel, Cancels: []TransferID{r.ID}}
		}
		entries = append(entries, &Entry{TimeNs: int64(len(entries)), Commands: []Command{c}})
	}
	return entries
}

// pagesOfCheckpoints keeps the newest data of every page, as a database does.
type pagesOfCheckpoints map[uint32][]byte

func (p pagesOfCheckpoints) take(f *Frozen) Saved {
	for _, page := range f.Pages() {
		p[page.Number] = page.Data
	}
	return Saved{Head: f.Head(), Page: func(n uint32) ([]byte, error) { return p[n], nil }}
}

// restoreFrom returns the state of a checkpoint with the history cut to its length, and an index that has kept
// only what it was told before.
func restoreFrom(t *testing.T, s *State, rows uint64, c Saved) *State {
	t.Helper()
	h := &memoryHistory{}
	x := newMemoryIndex(h)
	for _, r := range s.Rows(0, int(rows)) {
		h.Append(&r)
		if r.State != Prepared && r.Kind != RowGenesis {
			x.Put(r.Record.ID, r.Position)
		}
	}
	restored, err := Restore(1, h, x, c)
	if err != nil {
		t.Fatal(err)
	}
	return restored
}

// TestCheckpointPlusTail takes checkpoints while entries are applied: each with the entries after it must
// come to the same state, byte for byte, and to the same statements.
func TestCheckpointPlusTail(t *testing.T) {
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 1))
		entries := drawEntries(t, rng, 600)
		s, pages := New(1), pagesOfCheckpoints{}
		var frozen *Frozen
		type kept struct {
			index, rows uint64
			saved       Saved
		}
		var points []kept
		for i, e := range entries {
			s.Apply(uint64(i)+1, 1, e)
			if frozen == nil && rng.IntN(40) == 0 {
				frozen = s.Freeze()
			}
			if frozen != nil && rng.IntN(3) == 0 && frozen.Step(1) {
				c := pages.take(frozen)
				now := pagesOfCheckpoints{}
				for n, data := range pages {
					now[n] = data
				}
				c.Page = func(n uint32) ([]byte, error) { return now[n], nil }
				points, frozen = append(points, kept{index: frozen.Index, rows: frozen.Rows, saved: c}), nil
			}
		}
		if len(points) < 3 {
			t.Fatalf("seed %d: %d checkpoints", seed, len(points))
		}
		want := s.Encode()
		for _, p := range points {
			again := restoreFrom(t, s, p.rows, p.saved)
			if i, _ := again.Applied(); i != p.index {
				t.Fatalf("seed %d: restored at %d, not at %d", seed, i, p.index)
			}
			for i := p.index; i < uint64(len(entries)); i++ {
				again.Apply(i+1, 1, entries[i])
			}
			if !bytes.Equal(again.Encode(), want) {
				t.Fatalf("seed %d: the checkpoint at %d and the entries after it come to another state", seed, p.index)
			}
			for a := shard.Account(1); a <= 300; a++ {
				was, _, err := s.Statement(a, nil, 1000)
				is, _, err2 := again.Statement(a, nil, 1000)
				if !slices.Equal(was, is) || err != nil || err2 != nil {
					t.Fatalf("seed %d: account %d has another statement", seed, a)
				}
			}
		}
	}
}

// TestRestoreRefuses changes every byte of a checkpoint, and its history's length.
func TestRestoreRefuses(t *testing.T) {
	s := New(1)
	for i, e := range drawEntries(t, rand.New(rand.NewPCG(3, 3)), 80) {
		s.Apply(uint64(i)+1, 1, e)
	}
	f := s.Freeze()
	f.Step(100)
	pages := pagesOfCheckpoints{}
	c := pages.take(f)
	restoreFrom(t, s, f.Rows, c)
	for i := range c.Head {
		bad := Saved{Head: bytes.Clone(c.Head), Page: c.Page}
		bad.Head[i] ^= 0x40
		// A wrong byte of a hash or a time cannot be seen here; the database's checksums are for that.
		if _, err := Restore(1, s.history, s.ids, bad); err != nil && !errors.Is(err, ErrBadState) {
			t.Errorf("byte %d: %v", i, err)
		}
	}
	for n, data := range pages {
		for i := range data {
			data[i] ^= 1
			if _, err := Restore(1, s.history, s.ids, c); !errors.Is(err, ErrBadState) && i%slotSize < accountSize {
				t.Errorf("page %d, byte %d: %v", n, i, err)
			}
			data[i] ^= 1
		}
	}
	if _, err := Restore(1, &memoryHistory{}, s.ids, c); !errors.Is(err, ErrBadState) {
		t.Errorf("history too short: %v", err)
	}
	if _, err := Restore(2, s.history, s.ids, c); !errors.Is(err, ErrBadState) {
		t.Errorf("another shard's checkpoint: %v", err)
	}
}
