package sim

import (
	"bytes"
	"maps"
	"path"
	"slices"
	"strings"

	"raftbank/internal/storage"
)

// wipe empties the disk, as a new one in place of a broken one.
func (d *disk) wipe() {
	d.release()
	d.names, d.platter, d.pending = map[string]*inode{}, map[string]*inode{}, nil
	d.dirs = map[string]bool{"/": true}
	d.tables = map[string]*storage.MemoryTable{}
}

// diskCopy is a copy of a data directory.
type diskCopy struct {
	files  map[string][]byte
	tables map[string]*storage.MemoryTable
}

// copy returns the files as they are, as if all had been synced. A table is copied as its last flush left it.
func (d *disk) copy() diskCopy {
	files := map[string][]byte{}
	for name, n := range d.names { // order does not show: a map again
		files[name] = bytes.Clone(n.data)
	}
	tables := map[string]*storage.MemoryTable{}
	for name, t := range d.tables { // order does not show: a map again
		tables[name] = t.Flushed()
	}
	return diskCopy{files, tables}
}

// restore puts a copy in place of what is there.
func (d *disk) restore(c diskCopy) {
	d.wipe()
	d.tables = c.tables
	for name, data := range c.files { // order does not show: a map again
		n := &inode{data: data, durable: int64(len(data))}
		d.names[name], d.platter[name] = n, n
		_ = d.MkdirAll(path.Dir(name), 0) // it never fails
	}
}

// damageLog changes something in the first half of what a segment holds and before its last block, so that the
// damage lies before the log's end. It reports whether there was anything to damage.
func (d *disk) damageLog(f fault) bool {
	for _, name := range slices.Sorted(maps.Keys(d.names)) {
		if d.damageIn(name, d.names[name].data, f) {
			return true
		}
	}
	return false
}

// damageIn is damageLog for what one file holds, or gives to its reader.
func (d *disk) damageIn(name string, data []byte, f fault) bool {
	used := len(bytes.TrimRight(data, "\x00"))
	if !strings.HasSuffix(name, ".seg") || used < 8*sectorBytes {
		return false
	}
	last := lastBlock(data[:used], d.names[name])
	if last <= sectorBytes {
		return false
	}
	at := sectorBytes + d.rng.IntN(min(used/2, last)-sectorBytes)
	for data[at] == 0 && at < last-1 {
		at++ // what fills up a sector bears no meaning
	}
	for data[at] == 0 {
		at--
	}
	sector := data[at/sectorBytes*sectorBytes:][:sectorBytes]
	switch f {
	case faultStale:
		clear(sector)
	case faultMisdirect:
		other := 1 + d.rng.IntN(used/2/sectorBytes)
		from := data[other*sectorBytes:][:sectorBytes]
		if bytes.Equal(sector, from) {
			clear(sector)
			break
		}
		copy(sector, from)
	default:
		data[at] ^= 1 << d.rng.IntN(8)
	}
	return true
}

// lastBlock returns where the last block of a segment begins: the file's header takes a sector, and every block begins
// with one, with the same magic, and with the segment's generation behind its checksum; blocks of an earlier
// generation are remains. Damage to the last block alone is a torn write to every reader; a block that no sync has confirmed
// may be torn already, and does not count.
func lastBlock(segment []byte, n *inode) int {
	first := segment[sectorBytes:]
	at := len(segment) / sectorBytes * sectorBytes
	for at > sectorBytes {
		s := int64(at / sectorBytes)
		_, unsynced := n.old[s]
		_, failed := n.lost[s]
		if b := segment[at:]; !unsynced && !failed && len(b) >= 16 && bytes.Equal(b[:4], first[:4]) && bytes.Equal(b[8:16], first[8:16]) {
			break
		}
		at -= sectorBytes
	}
	return at
}

// damageFile damages a whole file: it is cut short, full of zeros, or gone.
func (d *disk) damageFile(f fault) {
	names := slices.Sorted(maps.Keys(d.names))
	name := pick(d.rng, names)
	n := d.names[name]
	switch {
	case f == faultMissing:
		delete(d.names, name)
		delete(d.platter, name)
	case f == faultTruncate && len(n.data) > 0:
		n.data = n.data[:d.rng.IntN(len(n.data))]
		n.durable = min(n.durable, int64(len(n.data)))
	default:
		clear(n.data)
	}
}
