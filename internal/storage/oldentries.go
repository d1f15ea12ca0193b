package storage

import (
	"bytes"
	"fmt"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// segmentContent says where the entries of a segment begin.
type segmentContent struct {
	generation uint64
	// first and term are of the lowest entry written to the segment, 0 if there is none. From the first write on,
	// every entry behind it was discarded in all earlier segments: the last segment whose first is
	// not above an index holds that entry.
	first, term uint64
	known       bool // first is right; else the segment was not read since the log was opened
}

// note takes in the first of the entries of a block.
func (c *segmentContent) note(e *raftpb.Entry) {
	if c.first == 0 || e.GetIndex() <= c.first {
		c.first, c.term = e.GetIndex(), e.GetTerm()
	}
	c.known = true
}

// oldEntries are the entries of one segment, read back.
type oldEntries struct {
	generation uint64
	base       uint64
	entries    []*raftpb.Entry
}

// content returns where the entries of the k-th segment begin; it reads the segment if need be.
func (l *Log) content(k int) (*segmentContent, error) {
	c := &l.segments[k]
	if c.known || k == len(l.segments)-1 {
		return c, nil
	}
	if _, err := l.readOld(k); err != nil {
		return nil, err
	}
	return c, nil
}

// segmentOf returns the number in l.segments of the segment that holds entry i.
func (l *Log) segmentOf(i uint64) (int, error) {
	for k := len(l.segments) - 1; k >= 0; k-- {
		c, err := l.content(k)
		if err != nil {
			return 0, err
		}
		if c.first != 0 && c.first <= i {
			return k, nil
		}
	}
	return 0, raft.ErrCompacted
}

// readOld reads the entries of the k-th segment. The last one read is kept: who asks for old entries
// asks for the next ones soon.
func (l *Log) readOld(k int) (*oldEntries, error) {
	c := &l.segments[k]
	current := k == len(l.segments)-1
	if l.old != nil && l.old.generation == c.generation && !current {
		return l.old, nil
	}
	raw, err := l.dir.readSegment(c.generation)
	if err != nil {
		return nil, err
	}
	end := int64(len(raw))
	if current {
		end = l.off
	}
	old := &oldEntries{generation: c.generation}
	read := segmentContent{generation: c.generation, known: true}
	var number uint64 // of the last block
	for off := int64(segmentHeaderSize); off < end; {
		m, payload, ok := decodeBlock(raw[off:], l.seed, c.generation)
		// A sound block in another one's place is damage too.
		ok = ok && (number == 0 || m.number == number+1)
		var entries []*raftpb.Entry
		if ok {
			number = m.number
			_, entries, err = decodePayload(bytes.Clone(payload))
		}
		if !ok || err != nil {
			return nil, damagedFile(l.dir.file(segmentName(c.generation)), fmt.Sprintf("has no block at offset %d any more (%v)", off, err))
		}
		if len(entries) > 0 {
			if first := entries[0].GetIndex(); len(old.entries) == 0 || m.kind == blockReset || first <= old.base {
				old.base, old.entries = first-1, nil
			}
			old.entries = entriesFrom(old.base, old.entries, entries)
			if m.kind == blockReset {
				read = segmentContent{generation: c.generation, known: true} // what stands before it is given up
			}
			read.note(entries[0])
		}
		if off += blockSpace(len(payload)); m.kind == blockSeal {
			break
		}
	}
	if !current { // the current one grows
		*c, l.old = read, old
	}
	return old, nil
}

// oldRange returns entries from lo up to but without hi that are not in memory: at least one, and perhaps not
// all. A disk that cannot be read any more is a *ReadError, as a panic: raft would wait for ever.
func (l *Log) oldRange(lo, hi uint64) ([]*raftpb.Entry, error) {
	if lo <= l.dummy {
		return nil, raft.ErrCompacted
	}
	k, err := l.segmentOf(lo)
	var old *oldEntries
	if err == nil {
		old, err = l.readOld(k)
	}
	if err == nil && (lo <= old.base || lo > old.base+uint64(len(old.entries))) {
		err = damagedFile(l.dir.file(segmentName(old.generation)), fmt.Sprintf("holds no entry %d", lo))
	}
	if err != nil {
		panic(&ReadError{err})
	}
	end := min(hi, old.base+uint64(len(old.entries))+1)
	if k+1 < len(l.segments) {
		for _, c := range l.segments[k+1:] {
			if c.first != 0 {
				end = min(end, c.first) // what stands behind was replaced
			}
		}
	}
	from, to := lo-old.base-1, end-old.base-1
	return old.entries[from:to:to], nil
}
