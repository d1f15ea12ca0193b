package storage

import (
	"errors"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"go.etcd.io/raft/v3/raftpb"
)

// fill appends entries of 200 bytes, from the next index on, and commits them.
func fill(t *testing.T, l *Log, n int) {
	t.Helper()
	for range n {
		i := l.last() + 1
		must(t, l.Append(hard(1, 1, i-1), []*raftpb.Entry{ent(i, 1, fmt.Sprintf("%0200d", i))}, true))
	}
}

// wantFilled checks entries that fill has written.
func wantFilled(t *testing.T, l *Log, from, to uint64) {
	t.Helper()
	for i := from; i <= to; i++ {
		got, err := l.Entries(i, i+1, 1)
		if err != nil || show(got[0]) != show(ent(i, 1, fmt.Sprintf("%0200d", i))) {
			t.Fatalf("entry %d: %v, %v", i, got, err)
		}
	}
}

// prepare is Prepare on a healthy disk.
func prepare(t *testing.T, l *Log) *Preparation {
	t.Helper()
	p, err := l.Prepare()
	must(t, err)
	return p
}

func TestPrepareTheNextSegment(t *testing.T) {
	l := mustLog(t, mustDir(t, vfs.NewMem()), 4096)
	if prepare(t, l) != nil {
		t.Error("an empty segment has a successor")
	}
	fill(t, l, 2)
	p := prepare(t, l)
	if p == nil || prepare(t, l) != nil {
		t.Fatal("want one preparation")
	}
	before := l.Written()
	p.Run()
	if prepare(t, l) != nil {
		t.Error("a second successor is prepared")
	}
	if after := l.Written(); !l.spare || after.Bytes-before.Bytes != 4096 || after.Syncs-before.Syncs != 2 {
		t.Errorf("spare %t, written %+v, then %+v", l.spare, before, after)
	}
	before = l.Written()
	fill(t, l, 8)
	if after := l.Written(); l.segment.generation != 2 || after.Bytes-before.Bytes >= 4096+1024 {
		t.Errorf("generation %d, written %+v, then %+v", l.segment.generation, before, after)
	}
	must(t, l.Close())
	must(t, l.dir.Close())
	wantFilled(t, mustLog(t, mustDir(t, l.dir.fs), 4096), 1, 10)
}

// TestAppendsOvertakeThePreparation fills a segment before anything was prepared, and ends a log with a preparation
// that nobody runs any more.
func TestAppendsOvertakeThePreparation(t *testing.T) {
	l := mustLog(t, mustDir(t, vfs.NewMem()), 4096)
	fill(t, l, 3)
	p := prepare(t, l)
	fill(t, l, 8)
	if l.segment.generation != 2 || l.spare {
		t.Fatalf("generation %d, spare %t", l.segment.generation, l.spare)
	}
	p.Run()
	if p = prepare(t, l); p == nil || l.spare {
		t.Fatal("nothing is prepared in the second segment")
	}
	must(t, l.Close())
	p.Run()
	must(t, l.dir.Close())
	d := mustDir(t, l.dir.fs)
	if gens, err := d.listSegments(); err != nil || len(gens) != 2 {
		t.Errorf("generations %v, %v", gens, err)
	}
	wantFilled(t, mustLog(t, d, 4096), 1, 11)
}

func TestFailedPreparationIsFatal(t *testing.T) {
	mem := vfs.NewMem()
	l := mustLog(t, mustDir(t, mem), 4096)
	fill(t, l, 3)
	cause := errors.New("no space left")
	l.dir.fs = errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpCreate {
			return cause
		}
		return nil
	}))
	prepare(t, l).Run()
	if _, err := l.Prepare(); !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
	if err := l.Append(nil, []*raftpb.Entry{ent(4, 1, "")}, true); !errors.Is(err, ErrFailed) {
		t.Errorf("append after it: %v", err)
	}
}

// TestSegmentsAreUsedAgain wants a log that is cut as it grows to fill no segment anew, and old bytes that never count.
func TestSegmentsAreUsedAgain(t *testing.T) {
	mem := vfs.NewMem()
	created := 0
	fsys := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpCreate {
			created++
		}
		return nil
	}))
	d := mustDir(t, fsys)
	l, err := openLog(d, LogOptions{SegmentBytes: 4096, Voters: []uint64{1, 2, 3}, PoolSegments: 3})
	must(t, err)
	grow := func() {
		for range 40 {
			fill(t, l, 1)
			if p := prepare(t, l); p != nil {
				p.Run()
			}
			must(t, l.Cut(l.last()-min(l.last(), 10)))
		}
	}
	grow()
	before := created
	grow()
	grow()
	if created != before || l.segment.generation < 12 {
		t.Errorf("%d segments were filled anew, up to generation %d", created-before, l.segment.generation)
	}
	must(t, l.Close())
	must(t, d.Close())
	start := Checkpoint{Index: 115, Term: 1, Generation: l.segment.generation - 1}
	again, err := openLog(mustDir(t, mem), LogOptions{SegmentBytes: 4096, Voters: []uint64{1, 2, 3}, Start: start})
	must(t, err)
	if again.last() != 120 {
		t.Errorf("the log ends with entry %d, want 120", again.last())
	}
	wantFilled(t, again, 116, 120)
}

// TestCrashAtEveryStepOfReuse takes a crash image before every operation on the disk while a log grows, is cut and
// uses its segments again, and recovers from each: nothing that was synced is lost, and nothing old comes back.
func TestCrashAtEveryStepOfReuse(t *testing.T) {
	for _, percent := range []int{0, 40, 100} {
		mem := vfs.NewCrashableMem()
		var saved Checkpoint
		synced, written, images := uint64(0), uint64(0), 0
		recover := func(fs vfs.FS) uint64 {
			l, err := openLog(mustDir(t, fs), LogOptions{SegmentBytes: 4096, Voters: []uint64{1, 2, 3}, Start: saved})
			if err != nil {
				t.Fatalf("image %d: %v", images, err)
			}
			first, _ := l.FirstIndex()
			if first > saved.Index+1 || l.last() < synced || l.last() > written {
				t.Fatalf("image %d: entries %d to %d, want from %d on to %d or %d", images, first, l.last(), saved.Index+1, synced, written)
			}
			wantFilled(t, l, saved.Index+1, l.last())
			return l.last()
		}
		fsys := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind.ReadOrWrite() == errorfs.OpIsRead {
				return nil
			}
			images++
			clone := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: testRNG(images)})
			first := recover(clone)
			if second := recover(clone.CrashClone(vfs.CrashCloneCfg{})); second != first {
				t.Fatalf("image %d: the log ended with %d, then with %d", images, first, second)
			}
			return nil
		}))
		l := mustLog(t, mustDir(t, fsys), 4096)
		for range 60 {
			written++
			fill(t, l, 1)
			synced = written
			if p := prepare(t, l); p != nil && written%7 != 0 {
				p.Run()
			}
			if written%9 == 0 {
				at := written - 3
				g, err := l.Generation(at)
				must(t, err)
				must(t, l.Append(hard(1, 1, written), nil, true))
				saved = Checkpoint{Index: at, Term: 1, Generation: g}
				must(t, l.Cut(at))
			}
		}
		if images < 200 || l.segment.generation < 6 {
			t.Fatalf("%d images, %d generations", images, l.segment.generation)
		}
	}
}

// TestReopenedLogKeepsThePool closes a log while a preparation waits, and opens it again in the same directory, as
// after a fetched checkpoint.
func TestReopenedLogKeepsThePool(t *testing.T) {
	d := mustDir(t, vfs.NewMem())
	l := mustLog(t, d, 4096)
	fill(t, l, 40)
	must(t, l.Cut(35))
	for l.off < 4096/prepareAt {
		fill(t, l, 1)
	}
	prepare(t, l)
	if len(l.pool) != 1 || l.preparing.from == "" {
		t.Fatalf("pool %v, preparing out of %q", l.pool, l.preparing.from)
	}
	g, err := l.Generation(35)
	must(t, err)
	must(t, l.Close())
	again, err := openLog(d, LogOptions{SegmentBytes: 4096, Start: Checkpoint{Index: 35, Term: 1, Generation: g}})
	must(t, err)
	if len(again.pool) != 2 {
		t.Fatalf("pool %v", again.pool)
	}
	fill(t, again, 40)
	if again.segment.generation < 6 || len(again.pool) != 0 {
		t.Errorf("generation %d, pool %v", again.segment.generation, again.pool)
	}
	wantFilled(t, again, 36, again.last())
}
