package storage

import (
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3/raftpb"

	"raftbank/internal/ledger"
	"raftbank/internal/wire"
)

// fetchRun is a replica that fetches the checkpoints of another one.
type fetchRun struct {
	t      *testing.T
	rng    *rand.Rand
	from   *storeRun
	mem    *vfs.MemFS
	tables map[string]*MemoryTable // by path; nil: pebble
	dir    *Dir
	store  *Store
	state  *ledger.State
	log    *Log
	intake *Intake
	did    map[string]int
	still  bool // the other makes no new checkpoint
}

// own is the identity of the replica that fetches: blocks of the other's would not be valid in its directory.
func (r *fetchRun) own() Identity {
	id := testIdentity()
	id.Server, id.Incarnation = 3, 78
	return id
}

func (r *fetchRun) open(fs vfs.FS) {
	r.t.Helper()
	var err error
	r.dir, err = OpenDir(fs, "/data/3", r.own())
	must(r.t, err)
	must(r.t, r.dir.SetMembers([]uint64{1, 2, 3}))
	o := StoreOptions{Window: 8, CacheBytes: 8192, HistoryBytes: 3 * historyBlock}
	// Pebble has goroutines of its own: it must not be there that the process dies.
	o.Table = func(path string) (Table, error) { return OpenPebble(fs, path, PebbleOptions{MemTableBytes: 64 << 10}) }
	if r.tables != nil {
		o.Table = func(path string) (Table, error) {
			if r.tables[path] == nil {
				r.tables[path] = NewMemoryTable()
			}
			if d, ok := r.dir.fs.(*dyingFS); ok {
				return dyingTable{r.tables[path], d}, nil
			}
			return r.tables[path], nil
		}
	}
	r.store, err = r.dir.OpenStore(o)
	must(r.t, err)
	r.state, err = r.store.State(1)
	must(r.t, err)
	r.log, err = openLog(r.dir, LogOptions{SegmentBytes: 8 << 10, Voters: []uint64{1, 2, 3}, Start: r.store.Last()})
	must(r.t, err)
	r.intake = r.store.NewIntake(IntakeOptions{ProgressRows: 2 * blockRows})
}

// follow applies the other's first entries; a checkpoint is made in between.
func (r *fetchRun) follow(n int) {
	r.t.Helper()
	at, _ := r.state.Applied()
	for i := at; i < min(uint64(n), uint64(len(r.from.entries))); i++ {
		r.state.Apply(i+1, 1, r.from.entries[i])
		must(r.t, r.log.Append(hard(1, 0, i+1), []*raftpb.Entry{ent(i+1, 1, "x")}, true))
		if i == uint64(n)/2 {
			must(r.t, r.store.Begin(r.log.SegmentFor(i+1)))
			for r.store.Busy() {
				if j := r.store.Step(4); j != nil {
					must(r.t, j.Run())
					r.store.Done(j)
				}
			}
		}
	}
}

// step fetches one part, or lets something come in between. It reports whether a checkpoint was installed.
func (r *fetchRun) step() bool {
	r.t.Helper()
	m, ok, err := r.from.store.Hold()
	must(r.t, err)
	if !ok {
		r.t.Fatal("nothing to fetch")
	}
	if ok, err := r.intake.Aim(m); err != nil || !ok {
		r.t.Fatalf("aim: %v %v", ok, err)
	}
	if !r.still && r.rng.IntN(40) == 0 { // the other makes a new checkpoint, and forgets the old one
		must(r.t, r.from.store.Release())
		for range 40 {
			must(r.t, r.from.step())
		}
		r.did["aimed anew"]++
		return false
	}
	must(r.t, r.intake.Work(1+r.rng.IntN(40)))
	kind, position := r.intake.Wants()
	if kind == wire.PartNone {
		if !r.intake.Complete() {
			return false
		}
		ok, err := r.intake.Install(r.log.SegmentFor(m.Index))
		must(r.t, err)
		if !ok {
			r.t.Fatal("a checkpoint that was fetched whole does not fit together")
		}
		return true
	}
	data, ok, err := r.from.store.Part(kind, position, 1+r.rng.IntN(4000))
	if err != nil || !ok {
		r.t.Fatalf("part %d at %d: %v %v", kind, position, ok, err)
	}
	p := &wire.SnapshotPart{Manifest: m, Kind: kind, Position: position, Data: append([]byte(nil), data...), Sum: wire.SumPart(data)}
	bad := r.rng.IntN(4) == 0
	if bad {
		p.Data[r.rng.IntN(len(p.Data))] ^= 1 << r.rng.IntN(8)
		r.did["damaged"]++
	}
	ok, err = r.intake.Take(p)
	must(r.t, err)
	if ok == bad {
		r.t.Fatalf("part %d at %d, damaged %v: taken %v", kind, position, bad, ok)
	}
	return false
}

// check applies what comes after the checkpoint and compares with the other.
func (r *fetchRun) check() {
	r.t.Helper()
	at, _ := r.state.Applied()
	for i := at; i < uint64(len(r.from.entries)); i++ {
		r.state.Apply(i+1, 1, r.from.entries[i])
	}
	other := *r.from
	other.t, other.state = r.t, r.state
	other.check()
}

// fetchCrash lets the replica that fetches die at the at-th operation on its disk, with power lost, and come back. It
// reports whether it died.
func fetchCrash(t *testing.T, seed uint64, at int, pebble bool, did map[string]int) (died bool) {
	from := newStoreRun(t, vfs.NewMem(), NewMemoryTable(), seed)
	from.start()
	for from.state.RowCount() < 9*blockRows || from.durable.Index < 20 {
		must(t, from.step())
	}
	r := &fetchRun{t: t, rng: rand.New(rand.NewPCG(seed, uint64(at))), from: from, mem: vfs.NewCrashableMem(), did: did}
	if !pebble {
		r.tables = map[string]*MemoryTable{}
	}
	r.open(r.mem)
	r.follow(int(seed%3) * 7)
	installed := false
	fs := &dyingFS{FS: r.mem, left: at}
	r.dir.fs = fs
	died = untilDeath(func() {
		for !installed {
			installed = r.step()
		}
	})
	fs.left = 0 // never
	if died {
		for _, table := range r.tables { // order does not show but in what is drawn
			if table.Pending() > 0 {
				did["before a flush"]++
			}
			table.Crash(r.rng.IntN(table.Pending() + 1))
		}
		r.mem = r.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: r.rng.IntN(101), RNG: r.rng})
	} else {
		must(t, r.intake.Close())
		must(t, r.log.Close())
		must(t, r.store.Close())
		must(t, r.dir.Close())
	}
	r.open(r.mem)
	if installed && r.store.Last() == (Checkpoint{}) {
		t.Fatal("an installed checkpoint is gone")
	}
	r.check()
	if last, err := r.log.LastIndex(); err != nil || last < r.store.Last().Index {
		t.Fatalf("the log ends at %d, before the checkpoint at %d (%v)", last, r.store.Last().Index, err)
	}
	if died && r.store.generation == 1 {
		did["fetched after a crash"]++
		if _, ok := r.peekProgress(); ok {
			did["with rows kept"]++
		}
		for !r.step() {
		}
		must(t, r.intake.Close())
		must(t, r.log.Close())
		must(t, r.store.Close())
		must(t, r.dir.Close())
		r.open(r.mem)
		r.check()
	}
	must(t, r.log.Close())
	must(t, r.store.Close())
	return died
}

func (r *fetchRun) peekProgress() (uint64, bool) {
	end, _, err := r.intake.readProgress(r.dir.fs.PathJoin(r.dir.file(generationName(2)), progressName))
	return end.rows, err == nil && end.rows > 0
}

// TestFetchCrashAtEveryStep fetches a checkpoint with damaged parts and newer checkpoints in between, and lets the
// replica that fetches die at every operation on its disk in turn: it comes back with its old state or with the one
// that was fetched, whole, and in the end has what a replica has that was never behind.
func TestFetchCrashAtEveryStep(t *testing.T) {
	did := map[string]int{}
	for seed, step := range []int{5, 1, 5} {
		at := 1
		for fetchCrash(t, uint64(seed), at, false, did) {
			at += step
		}
		if at < 40 {
			t.Errorf("only %d operations", at)
		}
	}
	for _, what := range []string{"aimed anew", "damaged", "fetched after a crash", "with rows kept", "before a flush"} {
		if did[what] == 0 {
			t.Errorf("never %s: %v", what, did)
		}
	}
}

// TestFetchOnPebble fetches a checkpoint into pebble, with a crash now and then.
func TestFetchOnPebble(t *testing.T) {
	did := map[string]int{}
	for _, at := range []int{3, 11, 17, 23, 1 << 30} {
		fetchCrash(t, uint64(at%3), at, true, did)
	}
	if did["fetched after a crash"] == 0 {
		t.Error("no crash before the end")
	}
}
