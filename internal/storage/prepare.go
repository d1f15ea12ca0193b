package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"

	"raftbank/internal/invariant"
	"raftbank/internal/planted"
)

// A log that is never idle must not wait for its next segment: to fill one takes longer than many appends. So the
// next one is made in the background, out of a segment that was cut if there is one. A file that is used again holds
// blocks of its former generation, which never count: a block counts in the segment of its own generation alone.

// prepareAt is the part of a segment, 1/prepareAt, behind which the next one is made ready.
const prepareAt = 4

// Preparation makes the next segment of a Log. Run may be called on any goroutine. The log takes note of its end when
// it is asked for the next preparation, or waits for it when it needs the segment.
type Preparation struct {
	dir        *Dir
	generation uint64
	size       int64
	from       string // file of a segment that was cut; "": a new one

	once  sync.Once
	ended atomic.Bool
	err   error
	wrote Written
}

// errInterrupted says that a Run did not come to its end.
var errInterrupted = errors.New("the preparation was interrupted")

// Prepare follows an append. It returns what makes the next segment, for the caller to run, or nil if that segment is
// ready, under way, or not needed soon. A preparation that has failed is an error, and fatal as one of Append is.
func (l *Log) Prepare() (*Preparation, error) {
	if l.preparing != nil && l.preparing.ended.Load() {
		if err := l.prepared(); err != nil {
			return nil, err
		}
	}
	if l.spare || l.preparing != nil || l.usable() != nil || l.off < l.segment.capacity/prepareAt {
		return nil, nil
	}
	l.preparing = l.preparation(l.segment.generation+1, l.segmentBytes)
	return l.preparing, nil
}

// preparation returns what makes a segment.
func (l *Log) preparation(generation uint64, size int64) *Preparation {
	p := &Preparation{dir: l.dir, generation: generation, size: size, err: errInterrupted}
	if n := len(l.pool); n > 0 && size == l.segmentBytes {
		p.from = l.pool[n-1]
		l.pool = l.pool[:n-1]
	}
	return p
}

// Run makes the segment, durable under its name. A second call waits for the end of the first.
func (p *Preparation) Run() {
	p.once.Do(func() {
		defer p.ended.Store(true)
		if p.from != "" {
			p.wrote = Written{Bytes: segmentHeaderSize, Syncs: 3}
			p.err = p.dir.reuseSegment(p.from, p.generation, p.size)
			return
		}
		p.wrote = Written{Bytes: uint64(p.size), Syncs: 1 + uint64((p.size+fillSyncBytes-1)/fillSyncBytes)}
		p.err = p.dir.createSegment(p.generation, p.size)
	})
}

// prepared takes note of the preparation, and waits for its Run if need be.
func (l *Log) prepared() error {
	p := l.preparing
	l.preparing = nil
	return l.finishPreparation(p, true)
}

func (l *Log) finishPreparation(p *Preparation, spare bool) error {
	p.Run()
	if p.err != nil {
		return l.fail("prepare the next segment", p.err)
	}
	l.written.Bytes += p.wrote.Bytes
	l.written.Syncs += p.wrote.Syncs
	l.spare = spare
	return nil
}

// nextSegment opens the segment of the next generation, for blocks that need a segment of that size. If it is being
// prepared, it waits.
func (l *Log) nextSegment(size int64) (*segment, error) {
	generation := l.segment.generation + 1
	if l.preparing != nil {
		if err := l.prepared(); err != nil {
			return nil, err
		}
	}
	if l.spare && size == l.segmentBytes {
		return l.openSpare(generation)
	}
	if err := l.finishPreparation(l.preparation(generation, size), false); err != nil {
		return nil, err
	}
	return l.dir.openSegment(generation, size)
}

// abandonPreparation waits for a Run that has begun, and keeps another from beginning. Files to be used again are left
// to whoever opens the log next.
func (l *Log) abandonPreparation() {
	if p := l.preparing; p != nil {
		p.once.Do(func() {
			if p.from != "" {
				l.pool = append(l.pool, p.from)
			}
		})
	}
	l.dir.pool, l.pool = l.pool, nil
}

// reuseSegment makes a new segment out of a file that was one.
func (d *Dir) reuseSegment(old string, generation uint64, capacity int64) error {
	// From here on the file must not come back under its former name: its header says what it is now.
	if !planted.On(planted.ReuseUnsynced) {
		if err := syncDir(d.fs, d.path); err != nil {
			return err
		}
	}
	f, err := d.fs.OpenReadWrite(old, vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("open %s: %w", old, err)
	}
	body := binary.LittleEndian.AppendUint64(nil, generation)
	body = binary.LittleEndian.AppendUint64(body, uint64(capacity))
	head := make([]byte, segmentHeaderSize)
	copy(head, appendHeader(nil, segmentMagic, d.id, body))
	_, err = f.WriteAt(head, 0)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("use segment %s again: %w", old, err)
	}
	invariant.Sometimes("storage: used a segment again")
	return d.nameSegment(old, generation)
}

// nameSegment puts a complete file under a segment's name, durably.
func (d *Dir) nameSegment(file string, generation uint64) error {
	name := d.file(segmentName(generation))
	if err := d.fs.Rename(file, name); err != nil {
		return fmt.Errorf("rename %s to %s: %w", file, name, err)
	}
	return syncDir(d.fs, d.path)
}
