package storage

import (
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/raft/v3/raftpb"

	"raftbank/internal/planted"
)

// DefaultSegmentBytes is the size of a log segment if LogOptions names none.
const DefaultSegmentBytes = 8 << 20

// DefaultLogMemory is how many bytes of entries are kept in memory if LogOptions does not say. Followers that are further
// behind are served from the segments.
const DefaultLogMemory = 32 << 20

// DefaultPoolSegments is how many segments that were cut are kept to be used again, if LogOptions does not say.
const DefaultPoolSegments = 2

// maxKeptBuffer is the largest write buffer that is kept from one append to the next, in bytes.
const maxKeptBuffer = 8 << 20

// LogOptions says how to open a log.
type LogOptions struct {
	// SegmentBytes is the size of new segments, from 4 KiB to 1 GiB, rounded up to 512; 0 means
	// DefaultSegmentBytes. A larger block gets a segment of its own size.
	SegmentBytes int64
	// Voters are the raft ids of the group, returned by InitialState. It may be empty for a log
	// that is only read.
	Voters []uint64
	// Start is the checkpoint from which the applied state is restored; the zero value says that all entries
	// are needed.
	Start Checkpoint
	// MemoryBytes is about how much of the entries' data Trim leaves in memory; 0 means DefaultLogMemory.
	MemoryBytes int64
	// PoolSegments is how many segments that were cut are kept to be used again; 0 means DefaultPoolSegments. With
	// as many as one checkpoint cuts, no segment is filled anew.
	PoolSegments int
}

// Validate says whether the options are in range.
func (o LogOptions) Validate() error {
	if o.SegmentBytes != 0 && (o.SegmentBytes < minSegmentBytes || o.SegmentBytes > maxSegmentBytes) {
		return fmt.Errorf("segment size is %d bytes; it must be %d to %d", o.SegmentBytes, minSegmentBytes, maxSegmentBytes)
	}
	return nil
}

// Log is the raft log of one replica: blocks on disk, the newest entries in memory. It implements
// raft.Storage. It belongs to one goroutine. A read of old entries that fails panics with a *ReadError.
type Log struct {
	dir          *Dir
	segmentBytes int64
	voters       []uint64
	seed         uint32

	segment   *segment // where the next block goes
	spare     bool     // the next generation lies ready, of the usual size
	preparing *Preparation
	off       int64  // of the next block
	syncedEnd int64  // everything below it in this segment, and all earlier segments, is synced
	next      uint64 // number of the next block
	lastKind  blockKind

	hs hardState
	// pending says that hs has not been written: a HardState without entries that needs no sync
	// waits for the next block, so that a block is never followed by another without a sync between.
	pending bool
	// dummy is the entry before the first that the log still has; only its index and term are known.
	dummy, dummyTerm uint64
	// entries are in memory: entries[i] has index base+1+i, and base is at least dummy.
	base, baseTerm uint64
	entries        []*raftpb.Entry
	bytes          int64 // of the data of entries
	memoryBytes    int64
	segments       []segmentContent // on disk, ascending; the last is the current one
	old            *oldEntries
	pool           []string // files of segments that were cut
	poolSegments   int

	written  Written
	appended uint64 // bytes of blocks
	buf      []byte
	failed   error // the first failed write or sync
	closed   bool
}

// OpenLog reads the log, repairs a torn tail, and makes what it read durable. In a new directory
// it creates the first segment. A Dir has one open log.
// Errors: ErrDamaged, with segment, offset, block and what to do; ErrForeignDir, ErrNewerFormat.
func (d *Dir) OpenLog(o LogOptions) (*Log, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if d.logOpen {
		return nil, fmt.Errorf("raft log in %s is open already", d.path)
	}
	if len(d.members) == 0 {
		return nil, fmt.Errorf("data directory %s: a raft log needs founding members: SetMembers comes first", d.path)
	}
	size := o.SegmentBytes
	if size == 0 {
		size = DefaultSegmentBytes
	}
	size = (size + blockAlign - 1) / blockAlign * blockAlign
	gens, err := d.segmentsToOpen(size)
	if err != nil {
		return nil, err
	}
	s, skip, err := d.scan(gens, logStart{index: o.Start.Index, term: o.Start.Term, generation: max(1, o.Start.Generation)})
	if err != nil {
		return nil, err
	}
	if err := d.repair(s.repairs, gens[skip:]); err != nil {
		return nil, err
	}
	seg, err := d.openSegment(gens[skip+s.endImage], s.capacity)
	if err != nil {
		return nil, err
	}
	d.logOpen = true
	l := &Log{
		dir: d, segmentBytes: size, voters: slices.Clone(o.Voters), seed: d.id.seed(),
		segment: seg, spare: s.spare >= size, off: s.end, syncedEnd: s.end, next: s.next, lastKind: s.lastKind,
		hs: s.hs, memoryBytes: o.MemoryBytes, poolSegments: o.PoolSegments,
		pool: d.pool,
	}
	d.pool = nil
	if l.poolSegments == 0 {
		l.poolSegments = DefaultPoolSegments
	}
	if l.memoryBytes == 0 {
		l.memoryBytes = DefaultLogMemory
	}
	if err := l.takeScan(s, gens[:skip]); err != nil {
		return nil, errors.Join(err, seg.file.Close())
	}
	return l, nil
}

// scan reads the segments from the checkpoint's on. It returns how many before that were not read.
func (d *Dir) scan(gens []uint64, start logStart) (s *scanner, skip int, err error) {
	// A log that was begun anew has given up the checkpoint's segment. Whether what is there reaches back to the
	// checkpoint is checked in any case.
	relied := start.generation
	start.generation = max(start.generation, gens[0])
	if start.index == 0 {
		start.generation = 1
	}
	for skip < len(gens) && gens[skip] < start.generation {
		skip++
	}
	if skip == len(gens) {
		return nil, 0, damagedFile(segmentName(start.generation), "is missing, though the checkpoint relies on it")
	}
	images := make([]segmentImage, len(gens)-skip)
	for i, g := range gens[skip:] {
		images[i] = segmentImage{name: d.file(segmentName(g)), generation: g, open: func() (*segmentView, error) { return d.viewSegment(g) }}
	}
	s, err = scanLogFrom(images, d.id.seed(), start)
	if err == nil && start.generation > relied && !s.reset {
		// Nothing but a log that was begun anew may lack that segment: not one of which an unused segment is left.
		return nil, 0, damagedFile(segmentName(relied), "is missing, though the checkpoint relies on it")
	}
	if noState := new(noStateError); errors.As(err, &noState) && gens[0] == 1 && start.generation > 1 {
		// An earlier version wrote the segment.
		start.generation = 1
		return d.scan(gens, start)
	}
	return s, skip, err
}

// takeScan takes over the entries that were read. earlier are the generations that were not.
func (l *Log) takeScan(s *scanner, earlier []uint64) error {
	for i, g := range earlier {
		if i > 0 && g != earlier[i-1]+1 {
			l.segments = nil // what lies before a gap was being cut
		}
		l.segments = append(l.segments, segmentContent{generation: g})
	}
	if n := len(earlier); n > 0 && earlier[n-1]+1 != s.start.generation {
		l.segments = nil
	}
	for _, c := range s.segments {
		c.known = true
		l.segments = append(l.segments, c)
	}
	for k := 0; s.start.index > 0 && l.dummy == 0 && k < len(l.segments); k++ {
		// The first entry stands for what was cut or given up: its term is known, what comes before it is not.
		c, err := l.content(k)
		if err != nil {
			return err
		}
		if c.first == 1 {
			break
		}
		l.dummy, l.dummyTerm = c.first, c.term
	}
	start := s.start
	switch {
	case !s.joined || s.last() < start.index || s.conflicts():
		return l.Reset(start.index, start.term)
	case s.reset:
		l.dummy, l.dummyTerm = s.base, s.resetTerm
		l.base, l.baseTerm = s.base, s.resetTerm
	case s.base == 0:
	case s.base == start.index:
		l.base, l.baseTerm = start.index, start.term
		l.dummy, l.dummyTerm = l.base, l.baseTerm
	default:
		l.base, l.baseTerm = s.base+1, s.entries[0].GetTerm()
		s.entries = s.entries[1:]
	}
	l.entries = s.entries
	for _, e := range l.entries {
		l.bytes += int64(len(e.GetData()))
	}
	l.hs.atLeast(start)
	if s.reset {
		return l.Cut(l.dummy)
	}
	return nil
}

// atLeast raises what the log says to what a checkpoint knows.
func (h *hardState) atLeast(start logStart) {
	h.commit = max(h.commit, start.index)
	if h.term < start.term {
		*h = hardState{term: start.term, commit: h.commit}
	}
}

// segmentsToOpen lists the segments; it creates the first in a directory that never had one.
func (d *Dir) segmentsToOpen(size int64) ([]uint64, error) {
	gens, err := d.listSegments()
	if err != nil {
		return nil, err
	}
	if len(gens) == 0 {
		if d.logMade {
			return nil, damagedFile(d.file(segmentName(1)), "is missing with all other segments of the raft log")
		}
		if err := d.createSegment(1, size); err != nil {
			return nil, err
		}
		gens = []uint64{1}
	}
	if !d.logMade {
		d.logMade = true
		if err := d.writeIdentity(); err != nil {
			return nil, err
		}
	}
	return gens, nil
}

// repair writes and syncs what recovery found to be unproven.
func (d *Dir) repair(repairs []repair, gens []uint64) error {
	for _, r := range repairs {
		seg, err := d.openSegment(gens[r.image], 0)
		if err != nil {
			return err
		}
		if len(r.data) > 0 && !planted.On(planted.RepairNotWritten) {
			_, err = seg.file.WriteAt(r.data, r.offset)
		}
		if err == nil {
			err = seg.file.SyncData()
		}
		if err = errors.Join(err, seg.file.Close()); err != nil {
			return fmt.Errorf("repair %s at offset %d: %w", seg.name, r.offset, err)
		}
	}
	return nil
}

// Append stores a HardState, entries, or both, as one block: one write, and one fdatasync if sync
// is set. Entries replace what stood at their indexes and behind. The log keeps the entries: nobody
// may change them. A HardState alone that needs no sync is written with the next block.
//
// Any error is fatal for the process: what reached the disk is unknown, and every later call
// fails with ErrFailed. Arguments that raft cannot produce (a gap, a change of a committed entry, a
// term that goes back) panic.
func (l *Log) Append(hs *raftpb.HardState, entries []*raftpb.Entry, sync bool) error {
	if err := l.usable(); err != nil {
		return err
	}
	sync = sync && !planted.On(planted.EntriesUnsynced) && !(planted.On(planted.VoteUnsynced) && len(entries) == 0)
	state := l.hs
	if hs != nil {
		state = hardStateOf(hs)
	}
	if err := checkStep(l.hs, l.last(), state, entries); err != nil {
		panic(fmt.Sprintf("storage: append to %s: %v", l.segment.name, err))
	}
	changed := l.pending || state != l.hs
	if len(entries) == 0 && (!sync || !changed) {
		l.hs, l.pending = state, changed
		if sync && l.syncedEnd < l.off {
			return l.sync()
		}
		return nil
	}
	var carried *hardState
	if changed {
		carried = &state
	}
	if err := l.write(blockData, carried, entries, sync); err != nil {
		return err
	}
	l.hs, l.pending = state, false
	l.keep(entries)
	return nil
}

func (l *Log) last() uint64 { return l.base + uint64(len(l.entries)) }

// keep takes entries that were written into memory.
func (l *Log) keep(entries []*raftpb.Entry) {
	if len(entries) == 0 {
		return
	}
	first := entries[0].GetIndex()
	if first <= l.base {
		// Only entries that are applied leave memory, and those are never replaced.
		panic(fmt.Sprintf("storage: entry %d replaces one that was trimmed up to %d", first, l.base))
	}
	for _, e := range l.entries[min(first-l.base-1, uint64(len(l.entries))):] {
		l.bytes -= int64(len(e.GetData()))
	}
	for _, e := range entries {
		l.bytes += int64(len(e.GetData()))
	}
	l.entries = entriesFrom(l.base, l.entries, entries)
	l.segments[len(l.segments)-1].note(entries[0])
}

// Mark writes and syncs a mark block if the last block is not one, or if a HardState waits to be
// written. The node calls it when the log has been idle: from then on damage to the last
// block that matters can be told from a torn tail.
func (l *Log) Mark() error {
	if err := l.usable(); err != nil {
		return err
	}
	return l.mark()
}

func (l *Log) mark() error {
	if !l.pending && l.lastKind != blockData {
		return nil
	}
	var carried *hardState
	if l.pending {
		carried = &l.hs
	}
	if err := l.write(blockMark, carried, nil, true); err != nil {
		return err
	}
	l.pending = false
	return nil
}

// Written counts what a log has given to its disk since it was opened.
type Written struct {
	Bytes uint64 // of blocks, and of the zeros of new segments
	Syncs uint64 // fsync and fdatasync calls, those of new segments included
}

// Written returns what the log has written since it was opened. Only the log's goroutine may call it.
func (l *Log) Written() Written { return l.written }

// Close marks the end of a healthy log and closes its file. It does not close the Dir.
func (l *Log) Close() error {
	if l.closed {
		return nil
	}
	var err error
	if l.failed == nil {
		err = l.mark()
	}
	l.closed, l.dir.logOpen = true, false
	l.abandonPreparation()
	return errors.Join(err, l.segment.file.Close())
}

func (l *Log) usable() error {
	if l.closed {
		return fmt.Errorf("raft log in %s is closed", l.dir.path)
	}
	if l.failed != nil {
		return fmt.Errorf("%w: %w", ErrFailed, l.failed)
	}
	return nil
}

// fail remembers the first failure and says where it happened.
func (l *Log) fail(action string, err error) error {
	l.failed = fmt.Errorf("raft log %s: block %d at offset %d: %s: %w (this server must stop: what reached the disk is unknown)",
		l.segment.name, l.next, l.off, action, err)
	return l.failed
}

// write puts one block behind the last, in the next segment if this one has no room for it and the
// seal.
func (l *Log) write(kind blockKind, hs *hardState, entries []*raftpb.Entry, sync bool) error {
	var head [blockHeaderSize]byte
	b := appendPayload(append(slices.Grow(l.buf[:0], spaceFor(entries)), head[:]...), hs, entries)
	l.buf = b
	if cap(b) > maxKeptBuffer {
		l.buf = nil
	}
	if len(b)-blockHeaderSize > maxBlockBytes {
		return l.fail("write", fmt.Errorf("%d bytes are more than a block may hold", len(b)))
	}
	space := blockSpace(len(b) - blockHeaderSize)
	if l.off+space+blockAlign > l.segment.capacity {
		if err := l.rollover(space + hardStateSpace); err != nil {
			return err
		}
	}
	if hs == nil && l.off == segmentHeaderSize {
		// The first block of a segment carries the HardState: earlier segments may be cut.
		return l.write(kind, &l.hs, entries, sync)
	}
	return l.put(b, kind, sync)
}

// spaceFor bounds the size of a block with those entries.
func spaceFor(entries []*raftpb.Entry) int {
	n := 2 * blockHeaderSize
	for _, e := range entries {
		n += len(e.GetData()) + entryOverhead
	}
	return n
}

// put writes a block, whose payload is in b behind room for the header, at the current offset.
func (l *Log) put(b []byte, kind blockKind, sync bool) error {
	finishBlock(b, l.seed, blockMeta{kind: kind, generation: l.segment.generation, number: l.next, syncedEnd: l.syncedEnd})
	if _, err := l.segment.file.WriteAt(b, l.off); err != nil {
		return l.fail("write", err)
	}
	l.written.Bytes += uint64(len(b))
	l.appended += uint64(len(b))
	l.off += blockSpace(len(b) - blockHeaderSize)
	l.next++
	l.lastKind = kind
	if sync {
		return l.sync()
	}
	return nil
}

func (l *Log) sync() error {
	err := l.segment.file.SyncData()
	if planted.On(planted.SyncRetried) && err != nil {
		err = l.segment.file.SyncData()
	}
	if err != nil {
		return l.fail("sync", err)
	}
	l.written.Syncs++
	l.syncedEnd = l.off
	return nil
}

// rollover seals the segment and goes on in the next one, with room for a block of that many bytes.
// The next segment is durable before the seal that promises it.
func (l *Log) rollover(space int64) error {
	next, err := l.nextSegment(max(l.segmentBytes, segmentHeaderSize+space+blockAlign))
	if err != nil {
		if l.failed == nil {
			return l.fail("open the next segment", err)
		}
		return err
	}
	seal := appendPayload(make([]byte, blockHeaderSize), nil, nil)
	if err := l.put(seal, blockSeal, true); err != nil {
		return errors.Join(err, next.file.Close())
	}
	if err := l.segment.file.Close(); err != nil {
		return errors.Join(l.fail("close the full segment", err), next.file.Close())
	}
	l.segment, l.spare = next, false
	l.off, l.syncedEnd = segmentHeaderSize, segmentHeaderSize
	l.segments[len(l.segments)-1].known = true
	l.segments = append(l.segments, segmentContent{generation: next.generation, known: true})
	return nil
}

// openSpare opens the segment that was made ready; its own size counts, which an earlier
// configuration may have chosen.
func (l *Log) openSpare(generation uint64) (*segment, error) {
	info, err := l.dir.fs.Stat(l.dir.file(segmentName(generation)))
	if err != nil {
		return nil, err
	}
	return l.dir.openSegment(generation, info.Size())
}
