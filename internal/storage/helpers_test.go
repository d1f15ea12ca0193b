package storage

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3/raftpb"

	"raftbank/internal/txn"
)

var testBank = txn.BankID{0xaa, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0xbb}

func testIdentity() Identity {
	return Identity{Bank: testBank, Shard: 1, Server: 2, Incarnation: 77}
}

const testDir = "/data/2"

func ent(index, term uint64, data string) *raftpb.Entry {
	e := &raftpb.Entry{Index: new(index), Term: new(term)}
	if data != "" {
		e.Data = []byte(data)
	}
	return e
}

func hard(term, vote, commit uint64) *raftpb.HardState {
	return &raftpb.HardState{Term: new(term), Vote: new(vote), Commit: new(commit)}
}

func mustDir(tb testing.TB, fsys vfs.FS) *Dir {
	tb.Helper()
	d, err := OpenDir(fsys, testDir, testIdentity())
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

func mustLog(tb testing.TB, d *Dir, segmentBytes int64) *Log {
	tb.Helper()
	l, err := openLog(d, LogOptions{SegmentBytes: segmentBytes, Voters: []uint64{1, 2, 3}})
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

// openLog opens a log, in a directory with founding members, which it must have.
func openLog(d *Dir, o LogOptions) (*Log, error) {
	if _, ok := d.Members(); !ok {
		if err := d.SetMembers([]uint64{1, 2, 3}); err != nil {
			return nil, err
		}
	}
	return d.OpenLog(o)
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// modelState is what a log should hold: the naive model of all tests.
type modelState struct {
	hs      hardState
	entries []string // "index/term/type/data"
}

func show(e *raftpb.Entry) string {
	return fmt.Sprintf("%d/%d/%v/%q", e.GetIndex(), e.GetTerm(), e.GetType(), e.GetData())
}

// with returns the model after an append; it shares nothing with m.
func (m modelState) with(hs *raftpb.HardState, entries []*raftpb.Entry) modelState {
	out := modelState{hs: m.hs, entries: append([]string(nil), m.entries...)}
	if hs != nil {
		out.hs = hardStateOf(hs)
	}
	if len(entries) > 0 {
		out.entries = out.entries[:entries[0].GetIndex()-1]
	}
	for _, e := range entries {
		out.entries = append(out.entries, show(e))
	}
	return out
}

func (m modelState) equal(o modelState) bool {
	if m.hs != o.hs || len(m.entries) != len(o.entries) {
		return false
	}
	for i := range m.entries {
		if m.entries[i] != o.entries[i] {
			return false
		}
	}
	return true
}

// stateOf reads a log through raft.Storage.
func stateOf(tb testing.TB, l *Log) modelState {
	tb.Helper()
	hs, conf, err := l.InitialState()
	must(tb, err)
	if conf == nil || len(conf.Voters) != 3 {
		tb.Fatalf("configuration %v", conf)
	}
	m := modelState{hs: hardStateOf(hs)}
	last, err := l.LastIndex()
	must(tb, err)
	entries, err := l.Entries(1, last+1, 1<<40)
	must(tb, err)
	for i, e := range entries {
		if term, err := l.Term(uint64(i) + 1); err != nil || term != e.GetTerm() {
			tb.Fatalf("term of %d is %d, %v", i+1, term, err)
		}
		m.entries = append(m.entries, show(e))
	}
	return m
}

func readAll(tb testing.TB, fsys vfs.FS, name string) []byte {
	tb.Helper()
	f, err := fsys.Open(name)
	must(tb, err)
	var b bytes.Buffer
	_, err = b.ReadFrom(f)
	must(tb, err)
	must(tb, f.Close())
	return b.Bytes()
}

func overwrite(tb testing.TB, fsys vfs.FS, name string, data []byte) {
	tb.Helper()
	must(tb, writeNew(fsys, name, bytes.Clone(data), nil)) // vfs may change what it is given
}

// unlessRace returns n, or what the race detector leaves time for.
func unlessRace(n, race int) int {
	if underRace {
		return race
	}
	return n
}
