package storage

import (
	"bytes"
	"errors"
	"fmt"
	"math"

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

// oldPartBytes is about how much of a segment's entries is kept in memory when it is read back.
const oldPartBytes = 8 << 20

// oldEntries are entries of one segment that follow each other, read back.
type oldEntries struct {
	generation uint64
	base       uint64
	entries    []*raftpb.Entry
	room       int64  // for their data
	lowest     uint64 // index of the segment's lowest entry so far
}

// holds reports whether entry i is among them.
func (o *oldEntries) holds(i uint64) bool { return i > o.base && i <= o.base+uint64(len(o.entries)) }

// take takes in the entries of a block: those from an index on, as long as there is room. Their data is copied.
func (o *oldEntries) take(entries []*raftpb.Entry, from uint64, anew bool) {
	first := entries[0].GetIndex()
	if anew || o.lowest == 0 || first <= o.lowest {
		o.lowest = first
		for _, e := range o.entries {
			o.room += int64(len(e.GetData()))
		}
		o.base, o.entries = max(first, from)-1, nil
	}
	for len(o.entries) > 0 && o.base+uint64(len(o.entries)) >= first { // what stands from there on is replaced
		n := len(o.entries) - 1
		o.room += int64(len(o.entries[n].GetData()))
		o.entries = o.entries[:n]
	}
	for _, e := range entries {
		if e.GetIndex() == o.base+uint64(len(o.entries))+1 && o.room > 0 {
			e.Data = bytes.Clone(e.Data)
			o.entries = append(o.entries, e)
			o.room -= int64(len(e.GetData()))
		}
	}
}

// content returns where the entries of the k-th segment begin; it reads the segment if need be.
func (l *Log) content(k int) (*segmentContent, error) {
	c := &l.segments[k]
	if c.known || k == len(l.segments)-1 {
		return c, nil
	}
	if _, err := l.readOld(k, math.MaxUint64); err != nil {
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

// readOld reads entries of the k-th segment, from one on. What was read last is kept: who asks for old entries asks for
// the next ones soon.
func (l *Log) readOld(k int, from uint64) (old *oldEntries, err error) {
	c := &l.segments[k]
	current := k == len(l.segments)-1
	if l.old != nil && l.old.generation == c.generation && l.old.holds(from) {
		return l.old, nil
	}
	v, err := l.dir.viewSegment(c.generation)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	end := v.size
	if current {
		end = l.off
	}
	old = &oldEntries{generation: c.generation, room: oldPartBytes}
	read := segmentContent{generation: c.generation, known: true}
	var number uint64 // of the last block
	for off := int64(segmentHeaderSize); off < end; {
		m, payload, ok, err := v.block(off, l.seed, c.generation)
		if err != nil {
			return nil, err
		}
		// A sound block in another one's place is damage too.
		ok = ok && (number == 0 || m.number == number+1)
		var entries []*raftpb.Entry
		if ok {
			number = m.number
			_, entries, err = decodePayload(payload)
		}
		if !ok || err != nil {
			return nil, damagedFile(l.dir.file(segmentName(c.generation)), fmt.Sprintf("has no block at offset %d any more (%v)", off, err))
		}
		if len(entries) > 0 {
			old.take(entries, from, m.kind == blockReset)
			if m.kind == blockReset {
				read = segmentContent{generation: c.generation, known: true} // what stands before it is given up
			}
			read.note(entries[0])
		}
		if off += blockSpace(len(payload)); m.kind == blockSeal {
			break
		}
	}
	if current { // entries that are not in memory are never replaced
		old.entries = old.entries[:min(uint64(len(old.entries)), max(l.base, old.base)-old.base)]
	} else {
		*c = read
	}
	if len(old.entries) > 0 {
		l.old = old
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
		old, err = l.readOld(k, lo)
	}
	if err == nil && !old.holds(lo) {
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
