package storage

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"raftbank/internal/ledger"
	"raftbank/internal/shard"
)

// storeRun drives a store with entries that it draws, and a ledger in memory beside it.
type storeRun struct {
	t       *testing.T
	fs      vfs.FS
	table   *MemoryTable // nil: pebble
	rng     *rand.Rand
	entries []*ledger.Entry
	truth   *ledger.State // has applied all entries
	dir     *Dir
	store   *Store
	state   *ledger.State
	job     *Job
	durable Checkpoint
	open    []ledger.Record
}

func storeMap(t *testing.T) shard.Map {
	m, err := shard.NewMap(1, []shard.Assignment{
		{Shard: 1, Range: shard.Range{First: 1, Last: 200}}, {Shard: 2, Range: shard.Range{First: 301, Last: 400}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func newStoreRun(t *testing.T, fs vfs.FS, table *MemoryTable, seed uint64) *storeRun {
	r := &storeRun{t: t, fs: fs, table: table, rng: rand.New(rand.NewPCG(seed, 5)), truth: ledger.New(1)}
	genesis := &ledger.Genesis{Shard: 1, Map: storeMap(t), OpeningBalance: 40}
	r.entries = append(r.entries, &ledger.Entry{Commands: []ledger.Command{{Kind: ledger.CmdGenesis, Genesis: genesis}}})
	r.truth.Apply(1, 1, r.entries[0])
	return r
}

// start opens the store and applies what the checkpoint lacks.
func (r *storeRun) start() {
	r.t.Helper()
	var err error
	if r.dir, err = OpenDir(r.fs, testDir, testIdentity()); err != nil {
		r.t.Fatal(err)
	}
	o := StoreOptions{Window: 8, CacheBytes: 8192, HistoryBytes: 3 * historyBlock, Pebble: PebbleOptions{MemTableBytes: 64 << 10}}
	if r.table != nil {
		o.Table = func(string) (Table, error) { return r.table, nil }
	}
	if r.store, err = r.dir.OpenStore(o); err != nil {
		r.t.Fatal(err)
	}
	if r.store.Last().Index < r.durable.Index {
		r.t.Fatalf("comes back at %d, after a durable checkpoint at %d", r.store.Last().Index, r.durable.Index)
	}
	if r.state, err = r.store.State(1); err != nil {
		r.t.Fatal(err)
	}
	for i := r.store.Last().Index; i < uint64(len(r.entries)); i++ {
		r.state.Apply(i+1, 1, r.entries[i])
	}
	r.job = nil
}

// draw returns an entry with a few commands; ids are random, so old ones come in between.
func (r *storeRun) draw() *ledger.Entry {
	var records []ledger.Record
	for range 1 + r.rng.IntN(12) {
		rec := ledger.Record{Currency: ledger.DefaultCurrency, Amount: ledger.Units(1 + r.rng.Uint64N(9)),
			Debit: shard.Account(1 + r.rng.IntN(200)), Credit: shard.Account(1 + r.rng.IntN(200))}
		for i := range rec.ID {
			rec.ID[i] = byte(r.rng.Uint32())
		}
		records = append(records, rec)
	}
	switch k := r.rng.IntN(5); {
	case k == 0 && len(r.open) > 0:
		i := r.rng.IntN(len(r.open))
		f := ledger.Finish{ID: r.open[i].ID, Digest: ledger.DigestOf(r.open[i]), Commit: true, Facts: []ledger.ShardFact{{Shard: 2, Fact: ledger.FactYes}}}
		r.open = slices.Delete(r.open, i, i+1)
		return &ledger.Entry{Commands: []ledger.Command{{Kind: ledger.CmdFinish, Finishes: []ledger.Finish{f}}}}
	case k == 1:
		var digests []ledger.Digest
		for i := range records {
			records[i].Credit = shard.Account(301 + r.rng.IntN(100))
			digests = append(digests, ledger.DigestOf(records[i]))
		}
		r.open = append(r.open, records...)
		return &ledger.Entry{Commands: []ledger.Command{{Kind: ledger.CmdPrepare, Records: records, Digests: digests}}}
	case k == 2:
		return &ledger.Entry{Commands: []ledger.Command{{Kind: ledger.CmdCancel, Cancels: []ledger.TransferID{records[0].ID}}}}
	}
	return &ledger.Entry{Commands: []ledger.Command{{Kind: ledger.CmdTransfer, Records: records}}}
}

// step does one thing. Anything may fail once the disk fails.
func (r *storeRun) step() error {
	switch k := r.rng.IntN(10); {
	case k == 0 && !r.store.Busy():
		if err := r.store.Begin(1); err != nil {
			return err
		}
	case r.job != nil && k < 3:
		if err := r.job.Run(); err != nil {
			return err
		}
		r.store.Done(r.job)
		r.durable, r.job = r.store.Last(), nil
	case r.job == nil && k < 5:
		r.job = r.store.Step(1 + r.rng.IntN(3))
	default:
		e := r.draw()
		r.entries = append(r.entries, e)
		i := uint64(len(r.entries))
		r.truth.Apply(i, 1, e)
		r.state.Apply(i, 1, e)
	}
	return nil
}

// check compares the state on disk with the one in memory: sums, every row, every id.
func (r *storeRun) check() {
	r.t.Helper()
	if a, b := r.truth.Hash(), r.state.Hash(); a != b {
		r.t.Fatalf("state hash %x, want %x", b, a)
	}
	want, got := r.truth.Rows(0, int(r.truth.RowCount())), r.state.Rows(0, int(r.state.RowCount()))
	if !slices.Equal(want, got) {
		r.t.Fatalf("%d rows, want %d, or other ones", len(got), len(want))
	}
	for i := range want {
		a, aOK := r.truth.Lookup(want[i].Record.ID)
		b, bOK := r.state.Lookup(want[i].Record.ID)
		if want[i].Kind != ledger.RowGenesis && (!bOK || aOK != bOK || a != b) {
			r.t.Fatalf("row %d, id %s: %+v %v, want %+v %v", i, want[i].Record.ID, b, bOK, a, aOK)
		}
	}
	for range 200 {
		var id ledger.TransferID
		for i := range id {
			id[i] = byte(r.rng.Uint32())
		}
		if _, ok := r.state.Lookup(id); ok {
			r.t.Fatalf("an id that was never seen is known: %s", id)
		}
	}
	for a := shard.Account(1); a <= 200; a++ {
		want, _, err := r.truth.Statement(a, nil, 1<<20)
		got, _, err2 := r.state.Statement(a, nil, 1<<20)
		if !slices.Equal(want, got) || err != nil || err2 != nil {
			r.t.Fatalf("account %d has another statement (%v, %v)", a, err, err2)
		}
	}
}

// TestPebbleLikeMemory runs the same story on pebble and on the table in memory, with crashes in between: both
// come to the state of a ledger that never died.
func TestPebbleLikeMemory(t *testing.T) {
	for seed := range uint64(3) {
		for _, table := range []*MemoryTable{nil, NewMemoryTable()} {
			t.Run(fmt.Sprintf("seed %d pebble %v", seed, table == nil), func(t *testing.T) {
				mem := vfs.NewCrashableMem()
				r := newStoreRun(t, mem, table, seed)
				for range 5 {
					r.start()
					r.check()
					for range 300 {
						must(t, r.step())
					}
					r.check()
					crash := rand.New(rand.NewPCG(seed, uint64(len(r.entries))))
					if table != nil {
						table.Crash(crash.IntN(table.Pending() + 1))
					}
					next := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: crash})
					if table == nil {
						// The old process' goroutines must not go on; what they write now is lost.
						must(t, r.store.Close())
					}
					mem, r.fs = next, next
				}
				r.start()
				r.check()
				if r.durable.Index == 0 {
					t.Error("no checkpoint was made")
				}
				must(t, r.store.Close())
			})
		}
	}
}

// TestTableMetamorphic gives the same batches to pebble and to the table in memory: without a crash they answer
// alike, and after one pebble holds what the other holds for some number of batches kept.
func TestTableMetamorphic(t *testing.T) {
	for seed := range uint64(3) {
		rng := rand.New(rand.NewPCG(seed, 9))
		mem := vfs.NewCrashableMem()
		p, err := OpenPebble(mem, "/t", PebbleOptions{MemTableBytes: 64 << 10})
		must(t, err)
		m := NewMemoryTable()
		var since []Batch
		for range 300 {
			if rng.IntN(40) == 0 {
				must(t, p.Flush())
				must(t, m.Flush())
				since = nil
			}
			if rng.IntN(8) == 0 {
				// It is durable at once, whatever becomes of the batches before it.
				var ids []windowEntry
				for i := range 1 + rng.IntN(10) {
					ids = append(ids, windowEntry{id: testID(rng.Uint64N(8), uint64(i)), position: rng.Uint64()})
				}
				slices.SortFunc(ids, func(a, b windowEntry) int { return a.id.Compare(b.id) })
				run, err := newIDGroups(ids, m, &idRanges{})
				must(t, err)
				must(t, p.Ingest(run))
				must(t, m.Ingest(run))
			}
			var b Batch
			for range 1 + rng.IntN(40) {
				b.Set(fmt.Appendf(nil, "key %d", rng.IntN(500)), fmt.Appendf(nil, "value %d %0*d", rng.Uint32(), rng.IntN(80), 0))
			}
			must(t, p.Apply(&b))
			must(t, m.Apply(&b))
			since = append(since, b)
			sameTable(t, m, p)
		}
		clone := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
		must(t, p.Close())
		again, err := OpenPebble(clone, "/t", PebbleOptions{})
		must(t, err)
		found := -1
		for keep := 0; keep <= len(since) && found < 0; keep++ {
			c := m.Flushed()
			for i := range since[:keep] {
				must(t, c.Apply(&since[i]))
			}
			if equalTables(c, again) {
				found = keep
			}
		}
		if found < 0 {
			t.Fatalf("seed %d: after a crash pebble holds no prefix of the %d batches since the last flush", seed, len(since))
		}
		must(t, again.Close())
	}
}

func sameTable(t *testing.T, m *MemoryTable, p Table) {
	t.Helper()
	if !equalTables(m, p) {
		t.Fatal("the tables answer differently")
	}
}

func equalTables(m *MemoryTable, p Table) bool {
	var keys [][]byte
	for i := range 500 {
		keys = append(keys, fmt.Appendf(nil, "key %d", i))
	}
	for hi := range uint64(8) {
		id := testID(hi, 0)
		keys = append(keys, groupKey(nil, &id))
	}
	for _, key := range keys {
		a, aOK, _ := m.Get(key, nil)
		b, bOK, err := p.Get(key, nil)
		if err != nil || aOK != bOK || string(a) != string(b) {
			return false
		}
	}
	return true
}

// TestDamagedHistory flips bytes of history files that a checkpoint counts on: a read of the block is refused.
func TestDamagedHistory(t *testing.T) {
	mem := vfs.NewMem()
	r := newStoreRun(t, mem, NewMemoryTable(), 1)
	r.start()
	for r.state.RowCount() < 8*blockRows || r.durable.Index == 0 || r.store.Busy() {
		must(t, r.step())
	}
	must(t, r.store.Close())
	must(t, r.dir.Close())
	name := r.dir.file(stateName) + "/" + historyName(0)
	good := readAll(t, mem, name)
	for at := historyBlock; at < 2*historyBlock; at += 97 {
		bad := slices.Clone(good)
		bad[at] ^= 4
		overwrite(t, mem, name, bad)
		func() {
			defer func() {
				failure, ok := recover().(*ReadError)
				inBlock := at-historyBlock < trailerOffset+12
				if inBlock != ok || ok && !errors.Is(failure, ErrDamaged) {
					t.Fatalf("byte %d: %v", at, failure)
				}
			}()
			r.start()
			r.state.Rows(0, blockRows)
		}()
		must(t, r.dir.Close())
	}
	overwrite(t, mem, name, good[:2*historyBlock+100])
	d := mustDir(t, mem)
	if _, err := d.OpenStore(StoreOptions{Table: func(string) (Table, error) { return r.table, nil }}); !errors.Is(err, ErrDamaged) {
		t.Errorf("a short file: %v", err)
	}
}
