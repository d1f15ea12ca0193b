package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	segmentPrefix = "log-"
	segmentSuffix = ".seg"
	// segmentHeaderSize is the room of the header: a whole sector, so that no block shares it.
	segmentHeaderSize = blockAlign
	// segmentBodySize is generation and capacity.
	segmentBodySize = 16
	// minSegmentBytes leaves room for the header, a few blocks and the seal.
	minSegmentBytes = 8 * blockAlign
	// maxSegmentBytes bounds the size of a file of the log.
	maxSegmentBytes = 1 << 30
)

// segment is one open file of the log.
type segment struct {
	file       vfs.File
	name       string
	generation uint64
	capacity   int64 // the file's size, header included
}

func segmentName(generation uint64) string {
	return fmt.Sprintf("%s%010d%s", segmentPrefix, generation, segmentSuffix)
}

// parseSegmentName returns the generation in a segment's file name.
func parseSegmentName(name string) (uint64, bool) {
	digits, ok := strings.CutPrefix(name, segmentPrefix)
	if !ok {
		return 0, false
	}
	if digits, ok = strings.CutSuffix(digits, segmentSuffix); !ok {
		return 0, false
	}
	g, err := strconv.ParseUint(digits, 10, 64)
	return g, err == nil && segmentName(g) == name
}

// listSegments returns the generations that are there, ascending.
func (d *Dir) listSegments() ([]uint64, error) {
	names, err := d.fs.List(d.path)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", d.path, err)
	}
	var gens []uint64
	for _, n := range names {
		if g, ok := parseSegmentName(n); ok {
			gens = append(gens, g)
		}
	}
	slices.Sort(gens)
	return gens, nil
}

// createSegment makes a zero-filled segment, durable under its final name. The zeros are written and
// not only reserved: a later fdatasync then has no file system metadata to write.
func (d *Dir) createSegment(generation uint64, capacity int64) error {
	tmp := d.file(segmentName(generation)) + tmpSuffix
	if err := fillSegment(d.fs, tmp, d.id, generation, capacity); err != nil {
		return fmt.Errorf("fill segment %s: %w", tmp, err)
	}
	return d.nameSegment(tmp, generation)
}

// fillSyncBytes are synced at a time: the disk must not be kept busy for long while appends wait for it.
const fillSyncBytes = 2 << 20

func fillSegment(fsys vfs.FS, name string, id Identity, generation uint64, capacity int64) error {
	f, err := fsys.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	chunk := make([]byte, min(capacity, 256<<10))
	body := binary.LittleEndian.AppendUint64(nil, generation)
	body = binary.LittleEndian.AppendUint64(body, uint64(capacity))
	copy(chunk, appendHeader(nil, segmentMagic, id, body))
	for left := capacity; left > 0 && err == nil; {
		n := min(left, int64(len(chunk)))
		_, err = f.Write(chunk[:n])
		clear(chunk) // of the header, and of what Write did to it: vfs allows that
		if left -= n; err == nil && left > 0 && left%fillSyncBytes == 0 {
			err = f.SyncData()
		}
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func (d *Dir) openSegment(generation uint64, capacity int64) (*segment, error) {
	name := d.file(segmentName(generation))
	f, err := d.fs.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	if d.fs == vfs.Default { // and no layer of a test, which must see every call
		f = quick(f)
	}
	return &segment{file: f, name: name, generation: generation, capacity: capacity}, nil
}
