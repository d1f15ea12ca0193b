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

// maxKeptBuffer is the largest write buffer that is kept from one append to the next, in bytes.
const maxKeptBuffer = 2 << 20

// LogOptions says how to open a log.
type LogOptions struct {
	// SegmentBytes is the size of new segments, from 4 KiB to 1 GiB, rounded up to 512; 0 means
	// DefaultSegmentBytes. A larger block gets a segment of its own size.
	SegmentBytes int64
	// Voters are the raft ids of the group, returned by InitialState. It may be empty for a log
	// that is only read.
	Voters []uint64
}

// Validate says whether the options are in range.
func (o LogOptions) Validate() error {
	if o.SegmentBytes != 0 && (o.SegmentBytes < minSegmentBytes || o.SegmentBytes > maxSegmentBytes) {
		return fmt.Errorf("segment size is %d bytes; it must be %d to %d", o.SegmentBytes, minSegmentBytes, maxSegmentBytes)
	}
	return nil
}

// Log is the raft log of one replica: entries in memory, blocks on disk. It implements
// raft.Storage. It belongs to one goroutine.
type Log struct {
	dir          *Dir
	segmentBytes int64
	voters       []uint64
	seed         uint32

	segment   *segment // where the next block goes
	spare     bool     // the next generation lies ready, of the usual size
	off       int64    // of the next block
	syncedEnd int64    // everything below it in this segment, and all earlier segments, is synced
	next      uint64   // number of the next block
	lastKind  blockKind

	hs hardState
	// pending says that hs has not been written: a HardState without entries that needs no sync
	// waits for the next block, so that a block is never followed by another without a sync between.
	pending bool
	entries []*raftpb.Entry // entries[i] has index i+1

	written Written
	buf     []byte
	failed  error // the first failed write or sync
	closed  bool
}

// OpenLog reads the log, repairs a torn tail, and makes what it read durable. In a new directory
// it creates the first segment. A Dir opens its log once.
// Errors: ErrDamaged, with segment, offset, block and what to do; ErrForeignDir, ErrNewerFormat.
func (d *Dir) OpenLog(o LogOptions) (*Log, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if d.logOpen {
		return nil, fmt.Errorf("raft log in %s is open already", d.path)
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
	images := make([]segmentImage, len(gens))
	for i, g := range gens {
		images[i] = segmentImage{name: d.file(segmentName(g)), generation: g, read: func() ([]byte, error) { return d.readSegment(g) }}
	}
	s, err := scanLog(images, d.id.seed())
	if err != nil {
		return nil, err
	}
	if err := d.repair(s.repairs, gens); err != nil {
		return nil, err
	}
	seg, err := d.openSegment(gens[s.endImage], s.capacity)
	if err != nil {
		return nil, err
	}
	d.logOpen = true
	return &Log{
		dir: d, segmentBytes: size, voters: slices.Clone(o.Voters), seed: d.id.seed(),
		segment: seg, spare: s.spare >= size, off: s.end, syncedEnd: s.end, next: s.next, lastKind: s.lastKind,
		hs: s.hs, entries: s.entries,
	}, nil
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
		seg, err := d.createSegment(1, size)
		if err != nil {
			return nil, err
		}
		if err := seg.file.Close(); err != nil {
			return nil, fmt.Errorf("close %s: %w", seg.name, err)
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
	if err := checkStep(l.hs, uint64(len(l.entries)), state, entries); err != nil {
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
	l.entries = withEntries(l.entries, entries)
	return nil
}

// Mark writes and syncs a mark block if the last block is not one, or if a HardState waits to be
// written. The node calls it when the log has been idle: from then on damage to the last
// block that matters can be told from a torn tail. It also makes the next segment ready when this
// one is more than half full.
func (l *Log) Mark() error {
	if err := l.usable(); err != nil {
		return err
	}
	if err := l.mark(); err != nil {
		return err
	}
	if l.spare || l.off < l.segment.capacity/2 {
		return nil
	}
	seg, err := l.newSegment(l.segment.generation+1, l.segmentBytes)
	if err == nil {
		err = seg.file.Close()
	}
	if err != nil {
		return l.fail("prepare the next segment", err)
	}
	l.spare = true
	return nil
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

// newSegment makes a segment and counts it: it is filled and synced, then its directory.
func (l *Log) newSegment(generation uint64, size int64) (*segment, error) {
	l.written.Bytes += uint64(size)
	l.written.Syncs += 2
	return l.dir.createSegment(generation, size)
}

// Close marks the end of a healthy log and closes its file. It does not close the Dir.
func (l *Log) Close() error {
	if l.closed {
		return nil
	}
	var err error
	if l.failed == nil {
		err = l.mark()
	}
	l.closed = true
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
	b := appendPayload(append(l.buf[:0], head[:]...), hs, entries)
	l.buf = b
	if cap(b) > maxKeptBuffer {
		l.buf = nil
	}
	if len(b)-blockHeaderSize > maxBlockBytes {
		return l.fail("write", fmt.Errorf("%d bytes are more than a block may hold", len(b)))
	}
	space := blockSpace(len(b) - blockHeaderSize)
	if l.off+space+blockAlign > l.segment.capacity {
		if err := l.rollover(space); err != nil {
			return err
		}
	}
	return l.put(b, kind, sync)
}

// put writes a block, whose payload is in b behind room for the header, at the current offset.
func (l *Log) put(b []byte, kind blockKind, sync bool) error {
	finishBlock(b, l.seed, blockMeta{kind: kind, generation: l.segment.generation, number: l.next, syncedEnd: l.syncedEnd})
	if _, err := l.segment.file.WriteAt(b, l.off); err != nil {
		return l.fail("write", err)
	}
	l.written.Bytes += uint64(len(b))
	l.off += blockSpace(len(b) - blockHeaderSize)
	l.next++
	l.lastKind = kind
	if sync {
		return l.sync()
	}
	return nil
}

func (l *Log) sync() error {
	if err := l.segment.file.SyncData(); err != nil {
		return l.fail("sync", err)
	}
	l.written.Syncs++
	l.syncedEnd = l.off
	return nil
}

// rollover seals the segment and goes on in the next one, with room for a block of that many bytes.
// The next segment is durable before the seal that promises it.
func (l *Log) rollover(space int64) error {
	size := max(l.segmentBytes, segmentHeaderSize+space+blockAlign)
	generation := l.segment.generation + 1
	var next *segment
	var err error
	if l.spare && size == l.segmentBytes {
		next, err = l.openSpare(generation)
	} else {
		next, err = l.newSegment(generation, size)
	}
	if err != nil {
		return l.fail("open the next segment", err)
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
