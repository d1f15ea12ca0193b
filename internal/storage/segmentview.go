package storage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// viewBytes of a segment are read at a time; a larger block is read as a whole.
const viewBytes = 256 << 10

// segmentView reads a segment in parts: a start takes no more memory than the largest block, whatever the size of
// the files. Close it.
type segmentView struct {
	file interface {
		io.ReaderAt
		io.Closer
	}
	name string
	size int64
	part []byte // what was read last
	from int64  // its offset
}

// viewSegment opens a segment's file for reading, checked to be this directory's and of its full size.
// Errors: ErrDamaged, ErrForeignDir, ErrNewerFormat.
func (d *Dir) viewSegment(generation uint64) (*segmentView, error) {
	name := d.file(segmentName(generation))
	f, err := d.fs.Open(name)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	v := &segmentView{file: f, name: name}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("look at %s: %w", name, err), v.Close())
	}
	v.size = info.Size()
	if v.size > maxSegmentBytes {
		return nil, errors.Join(damagedFile(name, fmt.Sprintf("is %d bytes long, more than any segment", v.size)), v.Close())
	}
	if err := d.checkSegment(v, generation); err != nil {
		return nil, errors.Join(err, v.Close())
	}
	return v, nil
}

// checkSegment judges a segment's header against its file.
func (d *Dir) checkSegment(v *segmentView, generation uint64) error {
	raw, err := v.bytes(0, segmentHeaderSize)
	if err != nil {
		return err
	}
	id, body, err := decodeHeader(v.name, raw, segmentMagic)
	if err != nil {
		return err
	}
	if err := d.belongs(v.name, id); err != nil {
		return err
	}
	if len(body) != segmentBodySize {
		return damagedFile(v.name, "has an impossible header")
	}
	if g := binary.LittleEndian.Uint64(body); g != generation {
		return damagedFile(v.name, fmt.Sprintf("holds generation %d, not the %d of its name", g, generation))
	}
	if c := binary.LittleEndian.Uint64(body[8:]); c != uint64(v.size) {
		return damagedFile(v.name, fmt.Sprintf("is %d bytes long, not %d", v.size, c))
	}
	return nil
}

// Close closes the file.
func (v *segmentView) Close() error { return v.file.Close() }

// bytes returns n bytes at an offset, fewer at the end of the file. They are good until the next call.
func (v *segmentView) bytes(off, n int64) ([]byte, error) {
	n = max(0, min(n, v.size-off))
	if off < v.from || off+n > v.from+int64(len(v.part)) {
		if err := v.read(off, max(n, min(viewBytes, v.size-off))); err != nil {
			return nil, err
		}
	}
	return v.part[off-v.from : off-v.from+n : off-v.from+n], nil
}

func (v *segmentView) read(off, n int64) error {
	if int64(cap(v.part)) < n {
		v.part = make([]byte, n)
	}
	v.part, v.from = v.part[:n], off
	if _, err := io.ReadFull(io.NewSectionReader(v.file, off, n), v.part); err != nil {
		v.part = v.part[:0]
		return fmt.Errorf("read %s: %w", v.name, err)
	}
	return nil
}

// block reads the block at an offset; ok is false if none of that generation is there. The payload is good until the
// next call.
func (v *segmentView) block(off int64, seed uint32, generation uint64) (m blockMeta, payload []byte, ok bool, err error) {
	length, ok, err := v.blockLength(off, generation)
	if !ok || err != nil {
		return blockMeta{}, nil, false, err
	}
	raw, err := v.bytes(off, blockHeaderSize+int64(length))
	if err != nil {
		return blockMeta{}, nil, false, err
	}
	m, payload, ok = decodeBlock(raw, seed, generation)
	return m, payload, ok, nil
}

// blockLength is blockLength of what stands at an offset.
func (v *segmentView) blockLength(off int64, generation uint64) (n int, ok bool, err error) {
	head, err := v.bytes(off, blockHeaderSize)
	if err != nil {
		return 0, false, err
	}
	n, ok = blockLength(head, generation)
	return n, ok, nil
}

// tailEnd returns where the last block of a generation ends, whole or torn, that begins behind end; else end.
func (v *segmentView) tailEnd(end int64, generation uint64) (int64, error) {
	until := end
	for off := end; off < v.size; off += blockAlign {
		length, ok, err := v.blockLength(off, generation)
		if err != nil {
			return 0, err
		}
		if ok {
			until = max(until, min(off+blockSpace(length), v.size))
		}
	}
	return until, nil
}

// content returns a copy of what stands from one offset to another.
func (v *segmentView) content(from, to int64) ([]byte, error) {
	raw, err := v.bytes(from, to-from)
	return bytes.Clone(raw), err
}
