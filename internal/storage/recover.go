package storage

import (
	"bytes"
	"errors"
	"fmt"
	"math"

	"go.etcd.io/raft/v3/raftpb"

	"raftbank/internal/invariant"
	"raftbank/internal/planted"
)

// segmentImage is a segment as recovery sees it.
type segmentImage struct {
	name       string
	generation uint64
	open       func() (*segmentView, error)
}

// repair is what must be written, and synced in any case, before the recovered log may be relied on.
type repair struct {
	image  int // index of the segment
	offset int64
	data   []byte
}

// logStart is a checkpoint as recovery sees it: entries up to index need not be there, and those after it are in
// the segments from generation on. The zero value says that the log begins with entry 1.
type logStart struct {
	index, term, generation uint64
}

// scanner reads blocks in order. It keeps what the log holds up to the last block.
type scanner struct {
	seed     uint32
	next     uint64 // number of the block that must come
	lastKind blockKind
	hs       hardState
	base     uint64           // index of the entry before the first of entries
	entries  []*raftpb.Entry  // without a gap
	segments []segmentContent // of the images read
	repairs  []repair
	// start is from where the log must be complete; joined says that an entry was read.
	start  logStart
	joined bool
	// reset says that a block reset the log: what is before base is gone, and resetTerm is the term of base.
	reset     bool
	resetTerm uint64

	ended    bool // a position without the next block was found
	endImage int
	endName  string
	end      int64 // offset of that position
	capacity int64 // of that segment
	spare    int64 // capacity of the segment after it, 0 if there is none
}

// scanLog reads a whole log. It writes nothing: the result says what to repair.
// Errors: ErrDamaged, and those of reading.
func scanLog(images []segmentImage, seed uint32) (*scanner, error) {
	return scanLogFrom(images, seed, logStart{generation: 1})
}

// noStateError is the ErrDamaged of a log that cannot be read from a segment on, since that does not begin with the
// HardState.
type noStateError struct{ error }

func (e *noStateError) Unwrap() error { return e.error }

// scanLogFrom is scanLog for a log whose first image is the segment that a checkpoint names.
func scanLogFrom(images []segmentImage, seed uint32, start logStart) (*scanner, error) {
	s := &scanner{seed: seed, next: 1, start: start, joined: start.index == 0}
	for i, img := range images {
		if want := start.generation + uint64(i); img.generation != want {
			return nil, damagedFile(segmentName(want), fmt.Sprintf("is missing, though %s is there", img.name))
		}
		if err := s.image(i, img); err != nil {
			return nil, err
		}
	}
	if !s.ended {
		last := images[len(images)-1]
		return nil, damagedFile(segmentName(last.generation+1), fmt.Sprintf("is missing, though %s says that the log goes on there", last.name))
	}
	if s.joined && s.base > start.index {
		return nil, damagedFile(images[0].name, fmt.Sprintf(
			"begins with entry %d, but the checkpoint ends with entry %d", s.base+1, start.index))
	}
	return s, nil
}

// image reads one segment.
func (s *scanner) image(i int, img segmentImage) error {
	v, err := img.open()
	if err != nil {
		return err
	}
	if s.ended {
		err = s.afterEnd(i, img, v)
	} else {
		err = s.segment(i, img, v)
	}
	return errors.Join(err, v.Close())
}

// last returns the index of the last entry; before the first was read, the largest there is.
func (s *scanner) last() uint64 {
	if !s.joined {
		return math.MaxUint64 - 1
	}
	return s.base + uint64(len(s.entries))
}

// conflicts reports whether the log holds another entry than the checkpoint's at its index. The checkpoint came from
// another replica then, and what the log holds from there on was never committed.
func (s *scanner) conflicts() bool {
	if s.start.index <= s.base || s.start.index > s.last() {
		return false
	}
	return s.entries[s.start.index-s.base-1].GetTerm() != s.start.term
}

// segment reads the blocks of one segment, up to its seal or to the end of the log.
func (s *scanner) segment(image int, img segmentImage, v *segmentView) error {
	off, proven := int64(segmentHeaderSize), int64(segmentHeaderSize)
	s.segments = append(s.segments, segmentContent{generation: img.generation})
	for off < v.size {
		m, payload, ok, err := v.block(off, s.seed, img.generation)
		if err != nil {
			return err
		}
		if ok && image == 0 && off == segmentHeaderSize && s.start.index > 0 {
			s.next = m.number // earlier segments may be gone
		}
		if !ok || m.number != s.next {
			break
		}
		space := blockSpace(len(payload))
		if err := s.apply(img.name, off, m, payload); err != nil {
			return err
		}
		if off == segmentHeaderSize {
			// A block here proves that the segment before it was synced to its end.
			s.repairs = nil
		}
		off, proven = off+space, m.syncedEnd
		if m.kind == blockSeal {
			return s.addRepair(image, v, proven, off)
		}
	}
	s.ended, s.endImage, s.endName, s.end, s.capacity = true, image, img.name, off, v.size
	if err := s.judgeTail(img, v); err != nil {
		return err
	}
	if err := s.addRepair(image, v, proven, off); err != nil {
		return err
	}
	if planted.On(planted.TailKept) {
		var err error
		s.end, err = plantedTail(v, s.end)
		return err
	}
	return nil
}

// apply takes in one block.
func (s *scanner) apply(name string, off int64, m blockMeta, payload []byte) error {
	hs, entries, err := decodePayload(bytes.Clone(payload))
	if hs == nil && off == segmentHeaderSize && s.start.generation > 1 && len(s.segments) == 1 {
		return &noStateError{damagedFile(name, "does not begin with the HardState")}
	}
	if err == nil && (m.syncedEnd < segmentHeaderSize || m.syncedEnd > off) {
		err = fmt.Errorf("%w: impossible end of the synced part %d", errPayload, m.syncedEnd)
	}
	state := s.hs
	if hs != nil {
		state = *hs
	}
	if err == nil && m.kind == blockReset {
		err = s.resetTo(entries)
		entries = nil
	}
	if err == nil {
		err = checkStep(s.hs, s.last(), state, entries)
	}
	if err != nil {
		return &describedError{kind: ErrDamaged, text: fmt.Sprintf(
			"raft log is damaged: %s: block %d at offset %d: %v: %s", name, m.number, off, err, restoreHint)}
	}
	s.hs, s.lastKind = state, m.kind
	s.next++
	if len(entries) == 0 {
		return nil
	}
	s.segments[len(s.segments)-1].note(entries[0])
	if first := entries[0].GetIndex(); !s.joined || first <= s.base {
		s.joined, s.base, s.entries = true, first-1, nil
	}
	s.entries = entriesFrom(s.base, s.entries, entries)
	return nil
}

// resetTo takes in a block that lets the log begin anew.
func (s *scanner) resetTo(entries []*raftpb.Entry) error {
	if len(entries) != 1 || entries[0].GetIndex() == 0 {
		return fmt.Errorf("%w: a log begins anew behind one entry, not %d", errPayload, len(entries))
	}
	s.base, s.entries, s.joined, s.reset = entries[0].GetIndex(), nil, true, true
	s.resetTerm = entries[0].GetTerm()
	last := &s.segments[len(s.segments)-1]
	*last = segmentContent{generation: last.generation}
	last.note(entries[0])
	return nil
}

// judgeTail looks for blocks behind the position where the log seems to end. One that proves that the
// position was synced, or that bears the number missing there, makes it damage; others are the
// remains of writes that no sync confirmed.
func (s *scanner) judgeTail(img segmentImage, v *segmentView) error {
	for off := s.end; off < v.size; off += blockAlign {
		m, _, ok, err := v.block(off, s.seed, img.generation)
		if err != nil {
			return err
		}
		if !ok || m.number < s.next || planted.On(planted.DamageCut) {
			continue
		}
		if m.number == s.next || m.syncedEnd > s.end {
			return s.damage(img.name, m.number, off)
		}
	}
	return nil
}

// afterEnd checks a segment behind the end of the log: one may be prepared, and it must be empty.
func (s *scanner) afterEnd(image int, img segmentImage, v *segmentView) error {
	for off := int64(segmentHeaderSize); off < v.size; off += blockAlign {
		m, _, ok, err := v.block(off, s.seed, img.generation)
		if err != nil {
			return err
		}
		if ok {
			return s.damage(img.name, m.number, off)
		}
	}
	if image > s.endImage+1 {
		return damagedFile(img.name, fmt.Sprintf("lies behind the end of the log in %s", s.endName))
	}
	s.spare = v.size
	return nil
}

func (s *scanner) damage(name string, number uint64, off int64) error {
	invariant.Sometimes("storage: refused a damaged log")
	return &describedError{kind: ErrDamaged, text: fmt.Sprintf(
		"raft log is damaged: %s: block %d at offset %d is missing or unreadable, but block %d at offset %d of %s shows that it was there: %s",
		s.endName, s.next, s.end, number, off, name, restoreHint)}
}

// addRepair notes that the bytes from proven on were not yet shown to be synced, and that no block of the
// segment may remain behind end. What a file that is used again holds of its former generation may: it never counts.
//
// They are written again and not only synced: after a failed fsync the kernel may hold pages that
// read well, count as clean, and never reached the disk.
func (s *scanner) addRepair(image int, v *segmentView, proven, end int64) error {
	until, err := v.tailEnd(end, s.segments[len(s.segments)-1].generation)
	if err != nil {
		return err
	}
	data, err := v.content(proven, until)
	if err != nil {
		return err
	}
	if !planted.On(planted.TailKept) {
		clear(data[end-proven:])
	}
	invariant.Sometimes("storage: repaired the tail of a log")
	s.repairs = append(s.repairs, repair{image: image, offset: proven, data: data})
	return nil
}

// withEntries returns log with entries in place of whatever stood at their indexes and behind. It
// never writes to an array that an earlier slice of log can see.
func withEntries(log, entries []*raftpb.Entry) []*raftpb.Entry { return entriesFrom(0, log, entries) }

// entriesFrom is withEntries for a log whose first entry comes after base.
func entriesFrom(base uint64, log, entries []*raftpb.Entry) []*raftpb.Entry {
	if len(entries) == 0 {
		return log
	}
	keep := int(entries[0].GetIndex() - base - 1)
	if keep < len(log) {
		log = log[:keep:keep]
	}
	return append(log, entries...)
}

// checkStep says whether a HardState and entries may follow a log of last entries under prev. Raft
// never moves term or commit back, never replaces a committed entry, and leaves no gap.
func checkStep(prev hardState, last uint64, state hardState, entries []*raftpb.Entry) error {
	if len(entries) > 0 {
		first := entries[0].GetIndex()
		if first == 0 || first > last+1 {
			return fmt.Errorf("entry %d does not follow entry %d", first, last)
		}
		if first <= prev.commit {
			return fmt.Errorf("entry %d would replace one at or below the commit index %d", first, prev.commit)
		}
		for i, e := range entries {
			if e.GetIndex() != first+uint64(i) {
				return fmt.Errorf("entry %d stands where entry %d belongs", e.GetIndex(), first+uint64(i))
			}
		}
		last = first + uint64(len(entries)) - 1
	}
	if state.term < prev.term || state.commit < prev.commit {
		return fmt.Errorf("term %d, commit %d after term %d, commit %d", state.term, state.commit, prev.term, prev.commit)
	}
	if state.commit > last {
		return fmt.Errorf("commit index %d is behind the last entry %d", state.commit, last)
	}
	return nil
}
