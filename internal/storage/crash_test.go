package storage

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3/raftpb"

	"raftbank/internal/ledger"
)

// replicaRun is the disk of one replica as package node uses it: log, store and keeper together. Entries are drawn as a
// storeRun draws them; they count once the log has them.
type replicaRun struct {
	*storeRun
	log       *Log
	keeper    *Keeper
	preparing *Preparation
	writing   *ledger.Entry // is given to the log, and may be in it
	turns     int
	did       map[string]int
}

func newReplicaRun(t *testing.T, fs vfs.FS, seed uint64, did map[string]int) *replicaRun {
	r := &replicaRun{storeRun: newStoreRun(t, fs, NewMemoryTable(), seed), did: did}
	// The log has nothing yet, not even GENESIS.
	r.writing, r.entries, r.truth = r.entries[0], nil, ledger.New(1)
	return r
}

// text is what stands in the log for an entry.
func (r *replicaRun) text(i uint64) string { return fmt.Sprintf("entry %d %0*d", i, int(i%5)*60, 0) }

// start opens the disk as package node does it, and goes through what comes after the checkpoint.
func (r *replicaRun) start(fs *dyingFS) {
	r.t.Helper()
	var err error
	r.dir, err = OpenDir(fs, testDir, testIdentity())
	must(r.t, err)
	must(r.t, r.dir.SetMembers([]uint64{1, 2, 3}))
	r.store, err = r.dir.OpenStore(StoreOptions{Window: 8, CacheBytes: 8192, HistoryBytes: 3 * historyBlock,
		Table: func(string) (Table, error) { return dyingTable{r.table, fs}, nil }})
	must(r.t, err)
	at := r.store.Last()
	if at.Index < r.durable.Index {
		r.t.Fatalf("comes back at %d, after a durable checkpoint at %d", at.Index, r.durable.Index)
	}
	r.log, err = r.dir.OpenLog(LogOptions{SegmentBytes: 4096, Voters: []uint64{1, 2, 3}, Start: at, MemoryBytes: 1000})
	must(r.t, err)
	r.state, err = r.store.State(1)
	must(r.t, err)
	r.replay(at)
	r.keeper = NewKeeper(r.store, r.log, KeeperOptions{EveryBytes: 3000, MaxLogBytes: 3 * 4096})
	r.job, r.preparing = nil, nil
}

// replay applies what the log has behind a checkpoint. The entry that was being written when the process died may be there.
func (r *replicaRun) replay(at Checkpoint) {
	r.t.Helper()
	first, _ := r.log.FirstIndex()
	last, _ := r.log.LastIndex()
	written := uint64(len(r.entries))
	if first > at.Index+1 || last < written || last > written+1 {
		r.t.Fatalf("the log has entries %d to %d, want from %d on to %d", first, last, at.Index+1, written)
	}
	if last == written+1 {
		r.wrote()
	}
	for i := first; i <= last; i++ { // every entry that the log says it has
		got, err := r.log.Entries(i, i+1, 1)
		if err != nil || show(got[0]) != show(ent(i, 1, r.text(i))) {
			r.t.Fatalf("entry %d is %v, %v", i, got, err)
		}
		if i > at.Index {
			r.state.Apply(i, 1, r.entries[i-1])
		}
	}
}

// wrote takes note that the log has the entry that was being written.
func (r *replicaRun) wrote() {
	r.entries = append(r.entries, r.writing)
	r.writing = nil
	i := uint64(len(r.entries))
	r.truth.Apply(i, 1, r.entries[i-1])
}

// write writes an entry and applies it.
func (r *replicaRun) write() (index uint64) {
	r.t.Helper()
	if r.writing == nil {
		r.writing = r.draw()
	}
	i := uint64(len(r.entries)) + 1
	must(r.t, r.log.Append(hard(1, 1, i-1), []*raftpb.Entry{ent(i, 1, r.text(i))}, true))
	r.wrote()
	r.state.Apply(i, 1, r.entries[i-1])
	return i
}

// turn is a turn of the loop: an entry is written and applied, then the keeper has its step.
func (r *replicaRun) turn() {
	r.t.Helper()
	r.turns++
	r.keep(r.write())
	p, err := r.log.Prepare()
	must(r.t, err)
	if p != nil {
		if r.preparing = p; p.from != "" {
			r.did["used segments"]++
		}
	} else if r.preparing != nil {
		r.preparing.Run()
		r.preparing = nil
	}
	if r.turns%11 == 0 {
		must(r.t, r.log.Mark())
	}
}

// keep is the keeper's step. A job runs some turns after it was made; a member of the group is silent for long.
func (r *replicaRun) keep(applied uint64) {
	r.t.Helper()
	needless := applied - min(applied, 3)
	if r.turns%60 > 40 {
		needless = r.keeper.cutTo
	}
	job, err := r.keeper.Step(needless, applied-min(applied, 5))
	must(r.t, err)
	if job != nil {
		r.job = job
		return
	}
	if r.job == nil || r.turns%4 != 0 {
		return
	}
	must(r.t, r.job.Run())
	// Whether or not the loop still hears of it: it is durable.
	r.durable = r.job.Checkpoint()
	if got := r.keeper.Done(r.job); got != r.store.Last() {
		r.t.Fatalf("the checkpoint is at %+v, the store says %+v", got, r.store.Last())
	}
	r.job = nil
	r.did["checkpoints"]++
}

// turnsToDie are enough for a few checkpoints, cuts and used segments.
const turnsToDie = 75

// death says how a process dies: at which operation, and what the crash leaves.
type death struct {
	seed    uint64
	at      int
	percent int // of what the file system had not synced
	kept    int // in quarters of what the table had not flushed
}

// dieAndComeBack lets a replica's process die, its next one sometimes die too while it starts, and looks at what comes back. It
// reports whether the run was long enough to die.
func dieAndComeBack(t *testing.T, d death, did map[string]int) (died bool) {
	mem := vfs.NewCrashableMem()
	r := newReplicaRun(t, mem, d.seed, did)
	rng := rand.New(rand.NewPCG(d.seed, uint64(d.at)))
	crash := func() {
		if n := r.table.Pending(); n > 0 {
			did["deaths before a flush"]++
		}
		r.table.Crash((r.table.Pending()*d.kept + 3) / 4)
		mem = mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: d.percent, RNG: rng})
	}
	died = untilDeath(func() {
		r.start(&dyingFS{FS: mem, left: d.at})
		for range turnsToDie {
			r.turn()
		}
	})
	if !died {
		r.check()
		return false
	}
	crash()
	if again := 1 + d.at%40; untilDeath(func() { r.start(&dyingFS{FS: mem, left: again}) }) {
		did["deaths while it started"]++
		crash()
	} else {
		mem = mem.CrashClone(vfs.CrashCloneCfg{})
	}
	r.start(&dyingFS{FS: mem})
	r.check()
	for range 20 {
		r.turn()
	}
	r.check()
	return true
}

// TestCrashAtEveryStep lets a replica's process die at every operation on its files and on its table, with power lost, while it
// writes its log, makes checkpoints, cuts the log behind them and uses segments again; the table keeps none, a part or
// all of what was not flushed. Every restart comes to the same state as a ledger that never died, and the log has all that it
// had synced.
func TestCrashAtEveryStep(t *testing.T) {
	did := map[string]int{}
	last := unlessRace(math.MaxInt, 30)
	for at := 1; at <= last; at++ {
		d := death{seed: 1, at: at, percent: 30 * (at % 4)}
		before := did["deaths before a flush"]
		if !dieAndComeBack(t, d, did) {
			did["operations"] = at - 1
			break
		}
		for d.kept = 2; did["deaths before a flush"] > before && d.kept <= 4; d.kept += 2 {
			dieAndComeBack(t, d, did)
		}
	}
	if underRace {
		return // one goroutine does it all
	}
	for seed := range uint64(3) {
		for at := 1 + int(seed); dieAndComeBack(t, death{seed: 7 + seed, at: at, percent: at * 7 % 101, kept: at % 5}, did); at += 9 {
		}
	}
	for what, atLeast := range map[string]int{
		"operations": 200, "checkpoints": 500, "deaths before a flush": 5, "deaths while it started": 100, "used segments": 500,
	} {
		if did[what] < atLeast {
			t.Errorf("%s: %d, want %d at least", what, did[what], atLeast)
		}
	}
	t.Logf("%v", did)
}
