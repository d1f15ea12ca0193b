package storage

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// cutRun drives a log that is trimmed and cut, beside the list of all entries that it was ever given.
type cutRun struct {
	t         *testing.T
	rng       *rand.Rand
	fs        vfs.FS
	dir       *Dir
	log       *Log
	hs        hardState
	entries   []*raftpb.Entry // all of them, from index 1
	preparing *Preparation
	// saved is the checkpoint; the log holds everything after it.
	saved Checkpoint
}

func (r *cutRun) open() {
	r.t.Helper()
	r.dir, r.preparing = mustDir(r.t, r.fs), nil
	var err error
	r.log, err = openLog(r.dir, LogOptions{SegmentBytes: 4096, Voters: []uint64{1, 2, 3}, Start: r.saved, MemoryBytes: 600})
	must(r.t, err)
}

func (r *cutRun) last() uint64 { return uint64(len(r.entries)) }

func (r *cutRun) step() {
	switch k := r.rng.IntN(20); {
	case k < 12:
		back := uint64(0)
		if r.rng.IntN(5) == 0 {
			back = r.rng.Uint64N(min(3, r.last()-r.hs.commit) + 1)
		}
		if back > 0 {
			r.hs.term++
		}
		r.entries = r.entries[:r.last()-back]
		var add []*raftpb.Entry
		for range 1 + r.rng.IntN(3) {
			add = append(add, ent(r.last()+1, r.hs.term, fmt.Sprintf("%d %0*d", r.rng.Uint32(), r.rng.IntN(700), 0)))
			r.entries = append(r.entries[:r.last():r.last()], add[len(add)-1])
		}
		must(r.t, r.log.Append(hard(r.hs.term, 1, r.hs.commit), add, true))
	case k < 15:
		r.hs.commit += r.rng.Uint64N(r.last() - r.hs.commit + 1)
		must(r.t, r.log.Append(hard(r.hs.term, 1, r.hs.commit), nil, r.rng.IntN(2) == 0))
	case k < 16:
		must(r.t, r.log.Mark())
		if p := prepare(r.t, r.log); p != nil {
			r.preparing = p
		} else if r.preparing != nil {
			r.preparing.Run()
		}
	case k < 18:
		r.log.Trim(r.hs.commit)
	case r.hs.commit > r.saved.Index && k == 18:
		// A checkpoint, with its marker of where the log goes on.
		must(r.t, r.log.Append(hard(r.hs.term, 1, r.hs.commit), nil, true))
		g, err := r.log.Generation(r.hs.commit)
		must(r.t, err)
		r.saved = Checkpoint{Index: r.hs.commit, Term: r.entries[r.hs.commit-1].GetTerm(), Generation: g}
	default:
		must(r.t, r.log.Cut(r.saved.Index-min(r.saved.Index, r.rng.Uint64N(20))))
	}
}

// check reads everything that the log says it has, in parts as raft does.
func (r *cutRun) check() {
	r.t.Helper()
	first, _ := r.log.FirstIndex()
	last, _ := r.log.LastIndex()
	if last != r.last() || first > r.saved.Index+1 {
		r.t.Fatalf("entries %d to %d; want up to %d, and from the checkpoint %d on", first, last, r.last(), r.saved.Index)
	}
	if first > 1 {
		if term, err := r.log.Term(first - 1); err != nil || term != r.entries[first-2].GetTerm() {
			r.t.Fatalf("term before the first is %d, %v; want %d", term, err, r.entries[first-2].GetTerm())
		}
		if _, err := r.log.Entries(first-1, first, 1); !errors.Is(err, raft.ErrCompacted) {
			r.t.Fatalf("entry %d before the first: %v", first-1, err)
		}
	}
	for i := first; i <= last; {
		got, err := r.log.Entries(i, last+1, r.rng.Uint64N(3000))
		if err != nil || len(got) == 0 {
			r.t.Fatalf("%d entries from %d on: %v", len(got), i, err)
		}
		for _, e := range got {
			if show(e) != show(r.entries[i-1]) {
				r.t.Fatalf("entry %d is %.60s, want %.60s", i, show(e), show(r.entries[i-1]))
			}
			i++
		}
	}
	hs, _, err := r.log.InitialState()
	must(r.t, err)
	if hs.GetTerm() != r.hs.term || hs.GetCommit() < r.saved.Index || hs.GetCommit() > r.hs.commit {
		r.t.Fatalf("HardState %v, want %+v", hs, r.hs)
	}
}

// TestCutAndTrim trims, cuts, crashes and opens a log at its checkpoint: it always holds what it says it
// has, and everything after the checkpoint.
func TestCutAndTrim(t *testing.T) {
	for seed := range uint64(15) {
		rng := rand.New(rand.NewPCG(seed, 2))
		mem := vfs.NewCrashableMem()
		r := &cutRun{t: t, rng: rng, fs: mem, hs: hardState{term: 1, vote: 1}}
		r.open()
		for round := range 12 {
			for range 60 {
				r.step()
				if rng.IntN(6) == 0 {
					r.check()
				}
			}
			// Everything was synced but for a HardState that needs none.
			must(t, r.log.Append(hard(r.hs.term, 1, r.hs.commit), nil, true))
			if round%2 == 0 {
				must(t, r.log.Close())
				must(t, r.dir.Close())
			} else {
				mem = mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rng})
				r.fs = mem
			}
			r.open()
			r.check()
		}
		names, err := mem.List(testDir)
		must(t, err)
		if first, _ := r.log.FirstIndex(); first == 1 || len(names) > 40 {
			t.Errorf("seed %d: first entry %d, files %v", seed, first, names)
		}
	}
}

// TestReset opens a log that ends before the checkpoint: it goes on behind a marker, over restarts.
func TestReset(t *testing.T) {
	for at := 1; ; at++ {
		mem := vfs.NewCrashableMem()
		l := mustLog(t, mustDir(t, mem), 4096)
		for i := range uint64(30) {
			must(t, l.Append(hard(3, 1, i), []*raftpb.Entry{ent(i+1, 3, fmt.Sprintf("%0200d", i))}, true))
		}
		start := Checkpoint{Index: 500, Term: 4, Generation: l.segment.generation}
		clone := mem.CrashClone(vfs.CrashCloneCfg{})
		fs := &dyingFS{FS: clone, left: at}
		d := mustDir(t, clone)
		d.fs = fs
		died := false
		func() {
			defer func() { died = recover() != nil }()
			_, err := openLog(d, LogOptions{SegmentBytes: 4096, Start: start})
			must(t, err)
		}()
		rng := rand.New(rand.NewPCG(uint64(at), 3))
		clone = clone.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rng})
		for range 2 {
			d = mustDir(t, clone)
			l, err := openLog(d, LogOptions{SegmentBytes: 4096, Start: start, Voters: []uint64{1, 2, 3}})
			must(t, err)
			first, _ := l.FirstIndex()
			last, _ := l.LastIndex()
			term, err := l.Term(500)
			hs, _, _ := l.InitialState()
			if first != 501 || last < 500 || term != 4 || err != nil || hs.GetCommit() != 500 || hs.GetTerm() != 4 {
				t.Fatalf("died at %d: entries %d to %d, term %d (%v), %v", at, first, last, term, err, hs)
			}
			if last == 500 {
				must(t, l.Append(nil, []*raftpb.Entry{ent(501, 4, "next")}, true))
			} else if e, err := l.Entries(501, 502, 1); err != nil || show(e[0]) != show(ent(501, 4, "next")) {
				t.Fatalf("%v, %v", e, err)
			}
			must(t, l.Close())
			must(t, d.Close())
		}
		if !died {
			return
		}
	}
}

// TestLogMustReachTheCheckpoint loses segments that the checkpoint relies on.
func TestLogMustReachTheCheckpoint(t *testing.T) {
	mem := vfs.NewMem()
	d := mustDir(t, mem)
	l := mustLog(t, d, 4096)
	for i := range uint64(60) {
		must(t, l.Append(hard(1, 1, i), []*raftpb.Entry{ent(i+1, 1, fmt.Sprintf("%0200d", i))}, true))
	}
	g, err := l.Generation(20)
	must(t, err)
	must(t, l.Close())
	must(t, d.Close())
	must(t, mem.Remove(d.file(segmentName(g))))
	for _, start := range []Checkpoint{{Index: 20, Term: 1, Generation: g}, {Index: 20, Term: 1, Generation: g + 1}, {Index: 20, Term: 1, Generation: 99}, {}} {
		d := mustDir(t, mem)
		if _, err := openLog(d, LogOptions{SegmentBytes: 4096, Start: start}); !errors.Is(err, ErrDamaged) {
			t.Errorf("%+v: %v", start, err)
		}
		must(t, d.Close())
	}
}

// TestUnusedSegmentIsNoLog loses the only segment that was used: the one that was made in advance is not taken for a log that
// ends at the checkpoint.
func TestUnusedSegmentIsNoLog(t *testing.T) {
	mem := vfs.NewMem()
	d := mustDir(t, mem)
	l := mustLog(t, d, 4096)
	for i := range uint64(5) {
		must(t, l.Append(hard(1, 1, i), []*raftpb.Entry{ent(i+1, 1, fmt.Sprintf("%0100d", i))}, true))
	}
	p := prepare(t, l)
	if p == nil {
		t.Fatal("no segment is made in advance")
	}
	p.Run()
	must(t, l.Close())
	must(t, d.Close())
	must(t, mem.Remove(d.file(segmentName(1))))
	d = mustDir(t, mem)
	if gens, err := d.listSegments(); err != nil || len(gens) != 1 || gens[0] != 2 {
		t.Fatalf("segments %v, %v; want the unused one", gens, err)
	}
	_, err := openLog(d, LogOptions{SegmentBytes: 4096, Start: Checkpoint{Index: 3, Term: 1, Generation: 1}})
	if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), segmentName(1)+" is damaged: it is missing") {
		t.Errorf("got %v", err)
	}
	must(t, d.Close())
}

// TestOldBlockInAnothersPlace reads entries that are in memory no more from a segment in which the disk put a sound
// block in another one's place: no wrong entry may come out of it.
func TestOldBlockInAnothersPlace(t *testing.T) {
	for from := range 3 {
		for to := range 3 {
			mem := vfs.NewMem()
			dir := mustDir(t, mem)
			l, err := openLog(dir, LogOptions{SegmentBytes: 4096, Voters: []uint64{1}, MemoryBytes: 100})
			must(t, err)
			for i := uint64(1); i <= 20; i++ {
				must(t, l.Append(hard(1, 1, i-1), []*raftpb.Entry{ent(i, 1, "content of an entry")}, true))
			}
			l.Trim(20)
			name := dir.file(segmentName(1))
			f, err := mem.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
			must(t, err)
			block := make([]byte, blockAlign)
			_, err = f.ReadAt(block, segmentHeaderSize+int64(from)*blockAlign)
			must(t, err)
			_, err = f.WriteAt(block, segmentHeaderSize+int64(to)*blockAlign)
			must(t, err)
			must(t, f.Close())
			got, damage := readOldEntries(l, 2)
			if from == to && (damage != nil || len(got) == 0 || got[0].GetIndex() != 2) {
				t.Errorf("undamaged: got %v, %v", got, damage)
			}
			if from != to && !errors.Is(damage, ErrDamaged) {
				t.Errorf("block %d in place of block %d: got %v, %v; want damage", from, to, got, damage)
			}
		}
	}
}

func readOldEntries(l *Log, lo uint64) (got []*raftpb.Entry, damage error) {
	defer func() {
		if v := recover(); v != nil {
			damage = v.(*ReadError)
		}
	}()
	got, err := l.Entries(lo, 8, 1<<20)
	if err != nil {
		return nil, err
	}
	return got, nil
}

// TestCheckpointBehindReset opens a log at a checkpoint whose segment lies behind that in which the log began anew: what
// the earlier segment held before that is gone.
func TestCheckpointBehindReset(t *testing.T) {
	dir := mustDir(t, vfs.NewMem())
	l := mustLog(t, dir, 4096)
	for i := range uint64(3) {
		must(t, l.Append(hard(3, 1, i), []*raftpb.Entry{ent(i+1, 3, "given up")}, true))
	}
	must(t, l.Reset(500, 4))
	for i := range uint64(40) {
		must(t, l.Append(hard(4, 1, 500+i), []*raftpb.Entry{ent(501+i, 4, "behind")}, true))
	}
	generation, err := l.Generation(535)
	must(t, err)
	must(t, l.Close())
	if generation == 1 {
		t.Fatal("entry 535 is in the segment of the reset")
	}
	l, err = openLog(dir, LogOptions{SegmentBytes: 4096, Start: Checkpoint{Index: 535, Term: 4, Generation: generation}})
	must(t, err)
	if first, _ := l.FirstIndex(); first != 501 {
		t.Fatalf("the log begins with entry %d, want 501", first)
	}
	for i := uint64(501); i <= 540; {
		got, err := l.Entries(i, 541, 1<<20)
		must(t, err)
		for _, e := range got {
			if e.GetIndex() != i || e.GetTerm() != 4 {
				t.Fatalf("got %v for entry %d", e, i)
			}
			i++
		}
	}
	if term, err := l.Term(500); err != nil || term != 4 {
		t.Errorf("term of entry 500: %d, %v", term, err)
	}
}

// TestNothingComesBackFromBeforeAReset lets power fail when a log has begun anew and goes on in the segment that was ready
// before: what it had given up does not come back, not even for a start that no longer reads the segment of the reset.
func TestNothingComesBackFromBeforeAReset(t *testing.T) {
	for _, percent := range []int{0, 50, 100} {
		mem := vfs.NewCrashableMem()
		d := mustDir(t, mem)
		l := mustLog(t, d, 4096)
		for fill(t, l, 30); l.off > 4096/2; { // so that there is room for the block that begins it anew
			fill(t, l, 1)
		}
		for prepare(t, l) == nil {
			fill(t, l, 1)
		}
		l.preparing.Run()
		must(t, l.Close())
		l, err := openLog(d, LogOptions{SegmentBytes: 4096, Start: Checkpoint{Index: 500, Term: 1, Generation: l.segment.generation}})
		must(t, err)
		if !l.spare || len(l.segments) != 1 {
			t.Fatalf("spare %t, segments %+v", l.spare, l.segments)
		}
		for reset := l.segment.generation; l.segment.generation == reset; {
			fill(t, l, 1)
		}
		start := Checkpoint{Index: l.last(), Term: 1, Generation: l.segment.generation}
		mem = mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: testRNG(percent)})
		l, err = openLog(mustDir(t, mem), LogOptions{SegmentBytes: 4096, Start: start})
		must(t, err)
		first, _ := l.FirstIndex()
		if first <= 500 || first > start.Index+1 || l.last() != start.Index {
			t.Errorf("%d %%: the log claims entries %d to %d; it began anew behind 500 and had come to %d", percent, first, l.last(), start.Index)
		}
		wantFilled(t, l, first, start.Index)
	}
}
