package storage

import (
	"fmt"
	"slices"

	"go.etcd.io/raft/v3/raftpb"

	"raftbank/internal/invariant"
)

// hardStateSpace bounds what a HardState adds to a block.
const hardStateSpace = blockAlign

// Trim drops entries up to an applied index from memory while they hold more than LogOptions.MemoryBytes; they stay
// on disk.
func (l *Log) Trim(applied uint64) {
	if l.bytes <= l.memoryBytes {
		return
	}
	n, left := 0, l.bytes
	for n < len(l.entries) && l.base+uint64(n)+1 <= applied && left > l.memoryBytes/2 {
		left -= int64(len(l.entries[n].GetData()))
		n++
	}
	l.forget(n)
}

// forget drops the first n entries from memory.
func (l *Log) forget(n int) {
	if n == 0 {
		return
	}
	for _, e := range l.entries[:n] {
		l.bytes -= int64(len(e.GetData()))
	}
	l.base, l.baseTerm = l.entries[n-1].GetIndex(), l.entries[n-1].GetTerm()
	// A copy: the old array would keep what was dropped.
	l.entries = slices.Clone(l.entries[n:])
}

// Generation returns that of the segment which holds entry i, for a checkpoint at i.
func (l *Log) Generation(i uint64) (uint64, error) {
	k, err := l.segmentOf(i)
	if err != nil {
		return 0, fmt.Errorf("raft log in %s: entry %d: %w", l.dir.path, i, err)
	}
	return l.segments[k].generation, nil
}

// SegmentFor returns the generation of the segment from which a start must read if a checkpoint at index, fetched from
// another replica, is its beginning. The log may end before it.
func (l *Log) SegmentFor(index uint64) uint64 {
	if k, err := l.segmentOf(min(index, l.last())); err == nil {
		return l.segments[k].generation
	}
	return l.segment.generation
}

// BytesFrom returns about how many bytes of segments a member needs whose checkpoint reaches to an index.
func (l *Log) BytesFrom(index uint64) int64 {
	if len(l.segments) < 2 {
		return l.segmentBytes
	}
	n := len(l.segments)
	for n > 0 && (l.segments[n-1].first == 0 || l.segments[n-1].first > index) {
		n--
	}
	return int64(len(l.segments)-max(0, n-1)) * l.segmentBytes
}

// Cut gives up segments that hold no entry from index on. A durable checkpoint must hold what they hold,
// and no other member may need them.
func (l *Log) Cut(index uint64) error {
	if err := l.usable(); err != nil {
		return err
	}
	k, err := l.segmentOf(index)
	if err != nil || k == 0 {
		return nil // nothing to give up; entry 0 is in no segment
	}
	if c := &l.segments[k]; c.first > l.dummy {
		l.dummy, l.dummyTerm = c.first, c.term
	}
	if l.dummy > l.base {
		l.forget(int(l.dummy - l.base))
	}
	for _, gone := range l.segments[:k] {
		if err := l.giveUp(gone.generation); err != nil {
			return l.fail("give up a segment", err)
		}
	}
	invariant.Sometimes("storage: cut the log")
	l.segments = slices.Clone(l.segments[k:])
	l.old = nil
	// The names are not made durable: what comes back after a crash is given up again. Only a file that is to be used
	// again must not (see reuseSegment).
	return nil
}

// giveUp removes a segment's file, or keeps it under a name that means nothing to a start.
func (l *Log) giveUp(generation uint64) error {
	name := l.dir.file(segmentName(generation))
	info, err := l.dir.fs.Stat(name)
	if err != nil {
		return err
	}
	if info.Size() != l.segmentBytes || len(l.pool) >= l.poolSegments {
		return l.dir.fs.Remove(name)
	}
	free := name + ".free" + tmpSuffix
	if err := l.dir.fs.Rename(name, free); err != nil {
		return err
	}
	l.pool = append(l.pool, free)
	return nil
}

// Reset lets the log begin anew behind an index: a checkpoint holds everything up to it, and the log ends before
// it. What the log held is given up.
func (l *Log) Reset(index, term uint64) error {
	if err := l.usable(); err != nil {
		return err
	}
	if l.last() > index {
		panic(fmt.Sprintf("storage: %s: reset to %d, but the log goes to %d", l.dir.path, index, l.last()))
	}
	l.hs.atLeast(logStart{index: index, term: term})
	marker := &raftpb.Entry{Index: &index, Term: &term}
	if err := l.write(blockReset, &l.hs, []*raftpb.Entry{marker}, true); err != nil {
		return err
	}
	l.pending = false
	l.dummy, l.dummyTerm = index, term
	l.base, l.baseTerm, l.entries, l.bytes = index, term, nil, 0
	last := &l.segments[len(l.segments)-1]
	*last = segmentContent{generation: last.generation}
	last.note(marker)
	if err := l.Cut(index); err != nil {
		return err
	}
	// Surely gone: a later start that reads from behind the reset would take them for what comes before it.
	return syncDir(l.dir.fs, l.dir.path)
}
