package storage

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"pgregory.net/rapid"
)

func testRNG(seed int) *rand.Rand { return rand.New(rand.NewPCG(uint64(seed), 1)) }

func TestEmptyLogAsRaftStorage(t *testing.T) {
	l := mustLog(t, mustDir(t, vfs.NewMem()), 4096)
	hs, conf, err := l.InitialState()
	if hs != nil || !slices.Equal(conf.GetVoters(), []uint64{1, 2, 3}) || err != nil {
		t.Fatalf("initial state %v %v %v", hs, conf, err)
	}
	first, _ := l.FirstIndex()
	last, _ := l.LastIndex()
	term, err := l.Term(0)
	if first != 1 || last != 0 || term != 0 || err != nil {
		t.Fatalf("first %d last %d term %d %v", first, last, term, err)
	}
	if _, err := l.Term(1); !errors.Is(err, raft.ErrUnavailable) {
		t.Fatal(err)
	}
	if _, err := l.Snapshot(); !errors.Is(err, raft.ErrSnapshotTemporarilyUnavailable) {
		t.Fatal(err)
	}
}

func TestEntriesAreProtected(t *testing.T) {
	l := mustLog(t, mustDir(t, vfs.NewMem()), 4096)
	must(t, l.Append(hard(1, 1, 0), []*raftpb.Entry{ent(1, 1, "a"), ent(2, 1, "b"), ent(3, 1, "c")}, true))
	got, err := l.Entries(1, 3, math.MaxUint64)
	must(t, err)
	_ = append(got, ent(9, 9, "intruder"))
	must(t, l.Append(hard(2, 1, 0), []*raftpb.Entry{ent(2, 2, "B")}, true))
	if show(got[1]) != show(ent(2, 1, "b")) {
		t.Fatalf("an earlier slice changed: %v", got)
	}
	if s := stateOf(t, l); len(s.entries) != 2 || s.entries[1] != show(ent(2, 2, "B")) {
		t.Fatalf("log %v", s)
	}
	if one, err := l.Entries(1, 3, 0); err != nil || len(one) != 1 {
		t.Fatalf("limited to nothing: %v %v", one, err)
	}
	if _, err := l.Entries(0, 1, 1); !errors.Is(err, raft.ErrCompacted) {
		t.Fatal(err)
	}
	if _, err := l.Entries(2, 4, 1); !errors.Is(err, raft.ErrUnavailable) {
		t.Fatal(err)
	}
}

func TestEntryTypesAndLargeBlocks(t *testing.T) {
	mem := vfs.NewMem()
	d := mustDir(t, mem)
	l := mustLog(t, d, 4096)
	change := ent(1, 1, "conf")
	change.Type = new(raftpb.EntryType_EntryConfChangeV2)
	want := modelState{}
	for _, entries := range [][]*raftpb.Entry{
		{change, ent(2, 1, "")},
		{ent(3, 1, strings.Repeat("x", 8<<20))},
		{ent(4, 1, "small")},
		{ent(5, 1, strings.Repeat("y", 4096-512-512-64))},
	} {
		hs := hard(1, 2, uint64(len(want.entries)))
		must(t, l.Append(hs, entries, true))
		want = want.with(hs, entries)
	}
	must(t, l.Mark())
	must(t, l.Close())
	must(t, d.Close())
	l = mustLog(t, mustDir(t, mem), 8192)
	if !stateOf(t, l).equal(want) {
		t.Fatal("the log came back different")
	}
	must(t, l.Append(hard(1, 2, 5), []*raftpb.Entry{ent(6, 1, "more")}, true))
}

func TestMarkOnlyOnce(t *testing.T) {
	l := mustLog(t, mustDir(t, vfs.NewMem()), 4096)
	must(t, l.Mark())
	if l.next != 1 {
		t.Fatal("an empty log was marked")
	}
	must(t, l.Append(hard(1, 1, 0), []*raftpb.Entry{ent(1, 1, "a")}, true))
	must(t, l.Mark())
	must(t, l.Mark())
	if l.next != 3 || l.lastKind != blockMark {
		t.Fatalf("next block is %d", l.next)
	}
	must(t, l.Append(hard(1, 1, 1), nil, false))
	if l.next != 3 {
		t.Fatal("a commit index was written by itself")
	}
	must(t, l.Mark())
	if l.next != 4 || l.pending {
		t.Fatal("the mark did not carry the commit index")
	}
}

func TestAppendPanicsOnImpossibleInput(t *testing.T) {
	for name, call := range map[string]func(l *Log) error{
		"gap":        func(l *Log) error { return l.Append(nil, []*raftpb.Entry{ent(3, 1, "")}, true) },
		"committed":  func(l *Log) error { return l.Append(nil, []*raftpb.Entry{ent(1, 1, "")}, true) },
		"term":       func(l *Log) error { return l.Append(hard(0, 0, 1), nil, true) },
		"commit":     func(l *Log) error { return l.Append(hard(1, 0, 2), nil, true) },
		"index zero": func(l *Log) error { return l.Append(nil, []*raftpb.Entry{ent(0, 1, "")}, true) },
	} {
		t.Run(name, func(t *testing.T) {
			l := mustLog(t, mustDir(t, vfs.NewMem()), 4096)
			must(t, l.Append(hard(1, 1, 1), []*raftpb.Entry{ent(1, 1, "a")}, true))
			defer func() {
				if recover() == nil {
					t.Fatal("no panic")
				}
			}()
			_ = call(l)
		})
	}
}

// TestFailureIsForEver fails each write and sync in turn: the append fails, and so does every later one, though
// the disk works again. A new process then finds every acknowledged entry, and what it finds and adds
// survives a crash, though the old process's last bytes were never synced.
func TestFailureIsForEver(t *testing.T) {
	boom := errors.New("boom")
	for at := 0; ; at++ {
		mem := vfs.NewCrashableMem()
		calls, armed := 0, false
		fsys := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if !armed || (op.Kind.ReadOrWrite() == errorfs.OpIsRead) {
				return nil
			}
			calls++
			if calls == at+1 {
				return boom
			}
			return nil
		}))
		d := mustDir(t, fsys)
		l := mustLog(t, d, 4096)
		armed = true
		var failed error
		var i uint64
		for i = 1; i <= 12 && failed == nil; i++ {
			failed = l.Append(hard(1, 1, 0), []*raftpb.Entry{ent(i, 1, "x")}, true)
		}
		if failed == nil {
			if at < 24 {
				t.Fatalf("only %d operations to fail", at)
			}
			return
		}
		if !errors.Is(failed, boom) || !strings.Contains(failed.Error(), "block") {
			t.Fatalf("operation %d: %v", at, failed)
		}
		if last, _ := l.LastIndex(); last != i-2 {
			t.Fatalf("operation %d: last index %d after a failed append of %d", at, last, i-1)
		}
		if err := l.Append(nil, []*raftpb.Entry{ent(i-1, 1, "x")}, true); !errors.Is(err, ErrFailed) || !errors.Is(err, boom) {
			t.Fatalf("operation %d: append after failure: %v", at, err)
		}
		if err := l.Mark(); !errors.Is(err, ErrFailed) {
			t.Fatalf("operation %d: mark after failure: %v", at, err)
		}
		_ = l.Close()
		must(t, d.Close())
		checkNextProcess(t, mem, i-2)
	}
}

func checkNextProcess(t *testing.T, mem *vfs.MemFS, acknowledged uint64) {
	t.Helper()
	l := mustLog(t, mustDir(t, mem), 4096)
	last, err := l.LastIndex()
	must(t, err)
	if last < acknowledged || last > acknowledged+1 {
		t.Fatalf("last index %d after %d were acknowledged", last, acknowledged)
	}
	read := stateOf(t, mustLog(t, mustDir(t, mem.CrashClone(vfs.CrashCloneCfg{})), 4096))
	if !read.equal(stateOf(t, l)) {
		t.Fatalf("read %v, after a crash %v", stateOf(t, l), read)
	}
	must(t, l.Append(nil, []*raftpb.Entry{ent(last+1, 1, "next")}, true))
	added := stateOf(t, mustLog(t, mustDir(t, mem.CrashClone(vfs.CrashCloneCfg{})), 4096))
	if !added.equal(stateOf(t, l)) {
		t.Fatalf("appended %v, after a crash %v", stateOf(t, l), added)
	}
}

// logMachine drives a log and the model with the same random appends; it remembers every state since
// the last one known to be durable.
type logMachine struct {
	model   modelState
	durable modelState
	since   []modelState // states after durable, oldest first
}

func (m *logMachine) step(t *rapid.T, l *Log) {
	var hs *raftpb.HardState
	var entries []*raftpb.Entry
	term := m.model.hs.term
	sync := rapid.IntRange(0, 3).Draw(t, "sync") > 0
	if n := rapid.IntRange(-2, 3).Draw(t, "entries"); n > 0 {
		back := rapid.IntRange(0, min(3, len(m.model.entries)-int(m.model.hs.commit))).Draw(t, "conflict")
		if back > 0 || term == 0 {
			term++
		}
		first := uint64(len(m.model.entries)-back) + 1
		for i := range n {
			data := strings.Repeat("d", rapid.SampledFrom([]int{0, 1, 100, 460, 700, 3000, 9000}).Draw(t, "size"))
			entries = append(entries, ent(first+uint64(i), term, data))
		}
	}
	last := uint64(len(m.model.with(nil, entries).entries))
	if len(entries) == 0 || term != m.model.hs.term || rapid.Bool().Draw(t, "hard state") {
		hs = hard(term, rapid.Uint64Range(0, 3).Draw(t, "vote"), rapid.Uint64Range(m.model.hs.commit, min(last, m.model.hs.commit+3)).Draw(t, "commit"))
	}
	next := m.model.with(hs, entries)
	m.since = append(m.since, next) // it may be durable before Append returns
	if err := l.Append(hs, entries, sync); err != nil {
		t.Fatal(err)
	}
	m.model = next
	if sync {
		m.settle()
	}
}

func (m *logMachine) settle() { m.durable, m.since = m.model, nil }

// allows says whether a recovered state is one that a crash may leave.
func (m *logMachine) allows(s modelState) bool {
	return s.equal(m.durable) || slices.ContainsFunc(m.since, s.equal)
}

// recovered takes over what a crash left: from then on it is durable.
func (m *logMachine) recovered(t *rapid.T, got modelState) {
	if !m.allows(got) {
		t.Fatalf("after a crash: %v\ndurable: %v\nlater: %v", got, m.durable, m.since)
	}
	m.model = got
	m.settle()
}

// TestLogAgainstModel appends, marks, closes and crashes at random, and compares with a slice.
func TestLogAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		mem := vfs.NewCrashableMem()
		d, l := reopen(t, mem)
		m := &logMachine{}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			case 0:
				if err := l.Mark(); err != nil {
					t.Fatal(err)
				}
				m.settle()
			case 1:
				if err := errors.Join(l.Close(), d.Close()); err != nil {
					t.Fatal(err)
				}
				m.settle()
				d, l = reopen(t, mem)
			case 2: // kill -9: what was written stays in the page cache, unsynced
				if err := d.Close(); err != nil {
					t.Fatal(err)
				}
				d, l = reopen(t, mem)
				m.recovered(t, rapidState(t, l))
			case 3: // power loss
				mem = mem.CrashClone(vfs.CrashCloneCfg{
					UnsyncedDataPercent: rapid.SampledFrom([]int{0, 30, 70, 100}).Draw(t, "kept"),
					RNG:                 testRNG(rapid.IntRange(0, 1000).Draw(t, "seed")),
				})
				d, l = reopen(t, mem)
				m.recovered(t, rapidState(t, l))
			default:
				m.step(t, l)
			}
			if got := rapidState(t, l); !got.equal(m.model) {
				t.Fatalf("log %v\nmodel %v", got, m.model)
			}
		}
	})
}

func reopen(t *rapid.T, mem *vfs.MemFS) (*Dir, *Log) {
	d, err := OpenDir(mem, testDir, testIdentity())
	if err != nil {
		t.Fatal(err)
	}
	l, err := openLog(d, LogOptions{SegmentBytes: 8192, Voters: []uint64{1, 2, 3}})
	if err != nil {
		t.Fatal(err)
	}
	return d, l
}

func rapidState(t *rapid.T, l *Log) modelState {
	hs, _, _ := l.InitialState()
	last, _ := l.LastIndex()
	entries, err := l.Entries(1, last+1, math.MaxUint64)
	if err != nil {
		t.Fatal(err)
	}
	m := modelState{hs: hardStateOf(hs)}
	for _, e := range entries {
		m.entries = append(m.entries, show(e))
	}
	return m
}

// TestCrashAtEveryOperation takes a crash image before every single operation on the disk, also in the
// middle of an append, a rollover and a recovery, and recovers from it.
func TestCrashAtEveryOperation(t *testing.T) {
	for _, percent := range []int{0, 40, 100} {
		mem := vfs.NewCrashableMem()
		m := &logMachine{}
		images := 0
		fsys := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind.ReadOrWrite() == errorfs.OpIsRead {
				return nil
			}
			images++
			clone := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: testRNG(images)})
			first := stateOf(t, mustLog(t, mustDir(t, clone), 4096))
			if !m.allows(first) {
				t.Fatalf("image %d (%v): %v\ndurable %v\nlater %v", images, op.Kind, first, m.durable, m.since)
			}
			// What one recovery returned is promised: the next one, after another crash, must agree.
			again := clone.CrashClone(vfs.CrashCloneCfg{})
			if second := stateOf(t, mustLog(t, mustDir(t, again), 4096)); !second.equal(first) {
				t.Fatalf("image %d: recovered twice: %v, then %v", images, first, second)
			}
			return nil
		}))
		l := mustLog(t, mustDir(t, fsys), 4096)
		for i := range uint64(40) {
			hs := hard(i/5+1, 1, i/2)
			entries := []*raftpb.Entry{ent(i+1, i/5+1, strings.Repeat("e", int(i*37%700)))}
			m.since = append(m.since, m.model.with(hs, entries))
			m.model = m.model.with(hs, entries)
			must(t, l.Append(hs, entries, i%3 != 0))
			if i%3 != 0 {
				m.settle()
			}
			if i%10 == 9 {
				must(t, l.Mark())
				m.settle()
			}
		}
		if images < 100 {
			t.Fatalf("%d images only", images)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{64, 4096, 65536} {
		b.Run(map[int]string{64: "64B", 4096: "4KiB", 65536: "64KiB"}[size], func(b *testing.B) {
			d, err := OpenDir(vfs.Default, b.TempDir(), testIdentity())
			must(b, err)
			l := mustLog(b, d, 0)
			data := strings.Repeat("b", size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			i := uint64(0)
			for b.Loop() {
				i++
				must(b, l.Append(hard(1, 1, i-1), []*raftpb.Entry{ent(i, 1, data)}, true))
			}
			must(b, l.Close())
			must(b, d.Close())
		})
	}
}
