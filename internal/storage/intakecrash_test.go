package storage

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// newFetchRun returns a replica that has nothing and begins to fetch from one with some blocks of rows.
func newFetchRun(t *testing.T, seed uint64, pebble bool) *fetchRun {
	from := newStoreRun(t, vfs.NewMem(), NewMemoryTable(), seed)
	from.start()
	for from.state.RowCount() < 9*blockRows || from.durable.Index < 20 {
		must(t, from.step())
	}
	r := &fetchRun{t: t, rng: rand.New(rand.NewPCG(seed, 4)), from: from, mem: vfs.NewCrashableMem(), did: map[string]int{}}
	if !pebble {
		r.tables = map[string]*MemoryTable{}
	}
	r.open(r.mem)
	return r
}

// TestProgressCountsDurableRows looks at the disk before every operation of a fetch, as a power failure would leave it: each row that
// PROGRESS counts is there, and so is its id.
func TestProgressCountsDurableRows(t *testing.T) {
	r := newFetchRun(t, 1, false)
	looked := map[uint64]bool{}
	images := &imagesFS{FS: r.mem}
	images.before = func(string, string) {
		rows := rowsKept(r)
		looked[rows] = true
	}
	r.dir.fs = images
	for !r.step() {
	}
	if len(looked) < 5 {
		t.Errorf("PROGRESS stood at %v", looked)
	}
}

// rowsKept opens what a power failure now would leave of a fetch, and returns how many rows of it count.
func rowsKept(r *fetchRun) uint64 {
	r.t.Helper()
	clone := r.mem.CrashClone(vfs.CrashCloneCfg{})
	path := r.dir.file(generationName(2))
	at := &Intake{store: &Store{dir: &Dir{fs: clone, path: r.dir.path, id: r.dir.id}}}
	end, ids, err := at.readProgress(clone.PathJoin(path, progressName))
	if isNotExist(err) {
		return 0
	}
	must(r.t, err)
	h, err := openHistory(clone, path, r.dir.id, end, historyOptions{})
	must(r.t, err)
	block := make([]byte, historyBlock)
	for n := range end.rows / blockRows {
		if err := h.load(n, block); err != nil {
			r.t.Fatalf("PROGRESS counts %d rows: %v", end.rows, err)
		}
	}
	x := openIndex(r.tables[clone.PathJoin(path, indexName)].Flushed(), h, ids.stored, ids.indexed, indexOptions{Window: 8})
	for position := range end.rows {
		id, outcome := h.outcomeAt(position)
		if !outcome {
			continue
		}
		if got, ok := x.Get(id); !ok || got != position {
			r.t.Fatalf("PROGRESS counts %d rows, and the id of row %d is at %d, %v", end.rows, position, got, ok)
		}
	}
	must(r.t, h.Close())
	return end.rows
}

// TestDropAtEveryStep kills a replica at every step while it removes what it has fetched, on pebble: what remains does not count, or
// is whole.
func TestDropAtEveryStep(t *testing.T) {
	for at := 1; ; at++ {
		r := newFetchRun(t, 2, true)
		for r.intake.saved < 6*blockRows {
			if r.step() {
				t.Fatal("the fetch has come to its end")
			}
		}
		must(t, r.intake.Close())
		r.dir.fs = &dyingFS{FS: r.mem, left: at}
		died := untilDeath(func() { must(t, r.intake.Drop()) })
		must(t, r.log.Close())
		must(t, r.store.Close())
		must(t, r.dir.Close())
		r.open(r.mem) // a kill: the operating system goes on
		if _, ok := r.peekProgress(); ok && died {
			r.did["kept"]++
		}
		for !r.step() {
		}
		must(t, r.intake.Close())
		must(t, r.log.Close())
		must(t, r.store.Close())
		must(t, r.dir.Close())
		r.open(r.mem)
		r.check()
		must(t, r.log.Close())
		must(t, r.store.Close())
		if !died {
			if at < 8 {
				t.Errorf("only %d steps", at)
			}
			return
		}
	}
}

// TestHistoryBehindTheCheckpointGoes: files of history that lie wholly behind the checkpoint are gone after a start. They take room,
// and nothing counts on them.
func TestHistoryBehindTheCheckpointGoes(t *testing.T) {
	mem := vfs.NewMem()
	r := newStoreRun(t, mem, NewMemoryTable(), 3)
	r.start()
	for r.durable.Index == 0 || r.store.Busy() {
		must(t, r.step())
	}
	for r.state.RowCount() < r.durable.Rows+9*blockRows {
		e := r.draw()
		r.entries = append(r.entries, e)
		r.truth.Apply(uint64(len(r.entries)), 1, e)
		r.state.Apply(uint64(len(r.entries)), 1, e)
	}
	must(t, r.store.history.writeOut())
	was := len(r.store.history.files)
	must(t, r.store.Close())
	must(t, r.dir.Close())
	r.table.Crash(0)
	d := mustDir(t, mem)
	s, err := d.OpenStore(StoreOptions{HistoryBytes: 3 * historyBlock, Table: func(string) (Table, error) { return r.table, nil }})
	must(t, err)
	names, err := mem.List(s.path)
	must(t, err)
	names = slices.DeleteFunc(names, func(name string) bool { return !strings.HasPrefix(name, historyPrefix) })
	want := int((r.durable.Rows/blockRows + 2) / 3)
	if len(names) != want || want >= was {
		t.Errorf("there were %d files; left are %v, want %d", was, names, want)
	}
}
