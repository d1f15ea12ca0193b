package storage

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3/raftpb"
)

// TestStartReadsInParts opens a log whose segment is far larger than its content.
func TestStartReadsInParts(t *testing.T) {
	const segment = 32 << 20
	dir := mustDir(t, vfs.NewMem())
	l := mustLog(t, dir, segment)
	must(t, l.Append(hard(1, 1, 0), []*raftpb.Entry{ent(1, 1, strings.Repeat("x", 2*viewBytes)), ent(2, 1, "small")}, true))
	must(t, l.Close())
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	l, err := openLog(dir, LogOptions{SegmentBytes: segment})
	must(t, err)
	runtime.ReadMemStats(&after)
	if last, _ := l.LastIndex(); last != 2 || len(l.entries[0].GetData()) != 2*viewBytes || string(l.entries[1].GetData()) != "small" {
		t.Errorf("the log ends with entry %d", last)
	}
	if took := after.TotalAlloc - before.TotalAlloc; took > segment/4 {
		t.Errorf("opening a log with one block took %d bytes of memory", took)
	}
	must(t, l.Close())
}

// TestOldEntriesTake compares parts of a segment's entries with all of them, after blocks that replace others.
func TestOldEntriesTake(t *testing.T) {
	const data, room = "data", 4 * 4 // four entries fill a part
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 1))
		begin := 1 + rng.Uint64N(5)
		from := rng.Uint64N(20)
		part := &oldEntries{room: room}
		base, all := uint64(0), []*raftpb.Entry(nil)
		next := begin
		for range 1 + rng.IntN(12) {
			first := next
			if len(all) > 0 && rng.IntN(3) == 0 {
				first = max(1, next-min(next-1, rng.Uint64N(8)))
			}
			var entries []*raftpb.Entry
			for i := range 1 + rng.Uint64N(4) {
				entries = append(entries, ent(first+i, 1+rng.Uint64(), data))
			}
			next = first + uint64(len(entries))
			if len(all) == 0 || first <= base {
				base, all = first-1, nil
			}
			all = entriesFrom(base, all, entries)
			part.take(entries, from, false)
		}
		want := max(from, base+1) // the first that is to be there
		if want >= next {
			if len(part.entries) > 0 {
				t.Fatalf("seed %d: %d entries from %d on, though the segment ends with %d", seed, len(part.entries), from, next-1)
			}
			continue
		}
		if !part.holds(want) {
			t.Fatalf("seed %d: entry %d is missing in a part behind %d", seed, want, part.base)
		}
		for i, e := range part.entries {
			w := all[part.base+uint64(i)-base]
			if e.GetIndex() != w.GetIndex() || e.GetTerm() != w.GetTerm() {
				t.Fatalf("seed %d: entry %s, want %s", seed, fmt.Sprint(e), fmt.Sprint(w))
			}
		}
		if n := len(part.entries); n > room/len(data) || part.room != int64(room-n*len(data)) {
			t.Fatalf("seed %d: a part of %d entries with room for %d bytes", seed, n, part.room)
		}
	}
}

// TestOldEntriesOfCurrentSegment reads what left memory back from the segment that still grows, in parts, and reads
// each part once.
func TestOldEntriesOfCurrentSegment(t *testing.T) {
	dir := mustDir(t, vfs.NewMem())
	l, err := openLog(dir, LogOptions{SegmentBytes: 64 << 20, MemoryBytes: 1 << 20})
	must(t, err)
	data := strings.Repeat("e", 1<<20)
	const entries = 20
	for i := uint64(1); i <= entries; i++ {
		must(t, l.Append(hard(1, 1, i-1), []*raftpb.Entry{ent(i, 1, data)}, true))
	}
	l.Trim(entries - 1)
	var parts []*oldEntries
	for i := uint64(1); i <= entries; {
		got, err := l.Entries(i, entries+1, 1<<20)
		must(t, err)
		if got[0].GetIndex() != i || len(got[0].GetData()) != len(data) {
			t.Fatalf("got entry %d for %d", got[0].GetIndex(), i)
		}
		if len(parts) == 0 || parts[len(parts)-1] != l.old {
			parts = append(parts, l.old)
		}
		i += uint64(len(got))
		must(t, l.Append(nil, []*raftpb.Entry{ent(l.last()+1, 1, "goes on")}, true))
	}
	if len(parts) < 2 || len(parts) > 4 {
		t.Errorf("%d parts for %d MiB", len(parts), entries)
	}
	must(t, l.Close())
}
