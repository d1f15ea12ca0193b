package sim

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"raftbank/internal/storage"
)

// wipe empties the disk, as a new one in place of a broken one.
func (d *disk) wipe() {
	d.release()
	d.names, d.platter, d.pending = map[string]*inode{}, map[string]*inode{}, nil
	d.dirs = map[string]bool{"/": true}
	d.tables = map[string]*storage.MemoryTable{}
	d.damages = nil
}

// diskCopy is a copy of a data directory.
type diskCopy struct {
	files  map[string][]byte
	dirs   map[string]bool // those without files too
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
	return diskCopy{files, maps.Clone(d.dirs), tables}
}

// restore puts a copy in place of what is there.
func (d *disk) restore(c diskCopy) {
	d.wipe()
	d.tables, d.dirs = c.tables, maps.Clone(c.dirs)
	for name, data := range c.files { // order does not show: a map again
		n := &inode{data: data, durable: int64(len(data))}
		d.names[name], d.platter[name] = n, n
	}
}

// damage is what a fault has done to a file.
type damage struct {
	fault         fault
	name          string
	node          *inode // nil: the file is gone
	before, after []byte // its content
	// fatal says that every start reads what is damaged, and that its checksum, or that it is missing, shows it: a server that
	// starts on it must refuse.
	fatal bool
}

// damaged returns damage that the disk still has, nil if none: a server may refuse it. What has been written again, or
// given up, is no damage any more.
func (d *disk) damaged() *damage {
	for _, x := range d.damages {
		if d.shows(x) {
			return x
		}
	}
	return nil
}

// fatal returns damage that every start must refuse, nil if none.
func (d *disk) fatal() *damage {
	for _, x := range d.damages {
		if x.fatal && d.shows(x) {
			return x
		}
	}
	return nil
}

// opened is told that a start has opened state and log. It has read, or made anew, what it needs, so that a file that is missing is not
// missed any more: a segment before the checkpoint is cut, history behind it is written again. States before the one that counts
// are removed, and never read again. One that comes after it is being fetched, and may be read yet.
func (d *disk) opened() {
	current := d.currentState()
	d.damages = slices.DeleteFunc(d.damages, func(x *damage) bool {
		state := stateOf(x.name)
		return state != "" && stateBefore(state, current) || x.node == nil && (state == "" || state == current)
	})
}

// stateOf returns the directory of the state that a file belongs to, "" if to none.
func stateOf(name string) string {
	if dir := path.Dir(name); dir != dataDir {
		return dir
	}
	return ""
}

// stateBefore says whether one directory of a state is older than another: the first has no number.
func stateBefore(a, b string) bool { return len(a) < len(b) || len(a) == len(b) && a < b }

// shows says whether damage is there, or would be after a power failure.
func (d *disk) shows(x *damage) bool {
	n := d.names[x.name]
	if x.node == nil {
		// A start may make a new file and then find that it is empty.
		return d.dirs[path.Dir(x.name)] && (n == nil || len(n.data) == 0)
	}
	if n != x.node && d.platter[x.name] != x.node {
		return false
	}
	if len(x.node.data) == len(x.after) && len(x.after) < len(x.before) {
		return true
	}
	for i, was := range x.before {
		if bad := at(x.after, i); bad != was && x.node.mayBe(i, bad) {
			return true
		}
	}
	return false
}

// mayBe says whether a byte has a value, or would have it after a power failure.
func (n *inode) mayBe(i int, value byte) bool {
	sector, within := int64(i/sectorBytes), i%sectorBytes
	old, written := n.old[sector]
	lost, failed := n.lost[sector]
	return at(n.data, i) == value || written && at(old, within) == value || failed && at(lost, within) == value
}

// at returns a byte, 0 behind the end.
func at(b []byte, i int) byte {
	if i < len(b) {
		return b[i]
	}
	return 0
}

// damageLog changes something in a block of the log that a later one shows to have been synced. Segments from generation on are
// read by every start; those before it only for peers that lag behind, and are damaged now and then. It reports whether that has
// changed anything that is ever read.
func (d *disk) damageLog(f fault, generation uint64) bool {
	var read, others []string
	for _, name := range slices.Sorted(maps.Keys(d.names)) {
		switch g, ok := segmentOf(name); {
		case !ok || len(provenBlocks(d.names[name].data, d.names[name])) == 0:
		case g >= generation:
			read = append(read, name)
		default:
			others = append(others, name)
		}
	}
	from := read
	if len(read) == 0 || len(others) > 0 && d.rng.chance(0.2) {
		from = others
	}
	if len(from) == 0 {
		return false
	}
	name := pick(d.rng, from)
	n := d.names[name]
	before := bytes.Clone(n.data)
	if !d.damageIn(n.data, n, f) {
		return false
	}
	g, _ := segmentOf(name)
	d.damages = append(d.damages, &damage{f, name, n, before, bytes.Clone(n.data), g >= generation})
	return true
}

// damageIn is damageLog for what one segment holds, or gives to its reader. It reports whether a block has changed, and not only
// what fills up its last sector.
func (d *disk) damageIn(data []byte, n *inode, f fault) bool {
	blocks := provenBlocks(data, n)
	if len(blocks) == 0 {
		return false
	}
	b := pick(d.rng, blocks)
	at := b.from + d.rng.IntN(b.to-b.from)
	first := at / sectorBytes * sectorBytes
	sector := data[first:][:sectorBytes]
	before := bytes.Clone(sector)
	switch f {
	case faultStale:
		clear(sector)
	case faultMisdirect:
		from := pick(d.rng, blocks).from / sectorBytes * sectorBytes
		copy(sector, data[from:][:sectorBytes])
		if bytes.Equal(sector, before) {
			clear(sector)
		}
	default:
		data[at] ^= 1 << d.rng.IntN(8)
	}
	end := min(b.to-first, sectorBytes)
	return !bytes.Equal(sector[:end], before[:end])
}

// segmentOf returns the generation in the name of a segment of the log.
func segmentOf(name string) (generation uint64, ok bool) {
	digits, ok := strings.CutPrefix(path.Base(name), "log-")
	if !ok {
		return 0, false
	}
	if digits, ok = strings.CutSuffix(digits, ".seg"); !ok {
		return 0, false
	}
	generation, err := strconv.ParseUint(digits, 10, 64)
	return generation, err == nil
}

// block is where a block of a segment lies, without what fills up its last sector, and up to where it says that all was synced.
type block struct{ from, to, synced int }

// The format of the log, as package storage has it: a segment's header names the directory, whose checksum starts that of
// every block.
const (
	blockMagic      = "RBLK"
	blockHeadBytes  = 40
	identityAt      = 12
	identityEnd     = identityAt + 28
	generationAt    = 44
	blockLengthAt   = 32
	blockSyncedAt   = 24
	generationBytes = 8
)

// provenBlocks lists the blocks of a segment that a later one, itself on the platter, shows to have been synced. Damage to the last
// block alone is a torn write to every reader; a block that no sync has confirmed may be torn already, and proves nothing.
func provenBlocks(segment []byte, n *inode) []block {
	if len(segment) < 2*sectorBytes {
		return nil
	}
	le, table := binary.LittleEndian, crc32.MakeTable(crc32.Castagnoli)
	seed := crc32.Checksum(segment[identityAt:identityEnd], table)
	var blocks []block
	proven := 0
	for from := sectorBytes; from+sectorBytes <= len(segment); {
		raw := segment[from:]
		length := int64(le.Uint32(raw[blockLengthAt:]))
		if string(raw[:4]) != blockMagic || !bytes.Equal(raw[8:][:generationBytes], segment[generationAt:][:generationBytes]) ||
			length > int64(len(raw)-blockHeadBytes) {
			break
		}
		end := blockHeadBytes + int(length)
		if crc32.Update(seed, table, raw[8:end]) != le.Uint32(raw[4:]) || !n.durableFrom(from, from+end) {
			break
		}
		blocks = append(blocks, block{from, from + end, int(le.Uint64(raw[blockSyncedAt:]))})
		proven = blocks[len(blocks)-1].synced
		from += (end + sectorBytes - 1) / sectorBytes * sectorBytes
	}
	for len(blocks) > 0 && blocks[len(blocks)-1].from >= proven {
		blocks = blocks[:len(blocks)-1]
	}
	return blocks
}

// durableFrom says whether all sectors from one offset to another are on the platter.
func (n *inode) durableFrom(from, to int) bool {
	for s := int64(from / sectorBytes); s*sectorBytes < int64(to); s++ {
		_, unsynced := n.old[s]
		_, failed := n.lost[s]
		if unsynced || failed {
			return false
		}
	}
	return true
}

// damageFile damages a whole file: it is cut short, full of zeros, or gone. It reports whether that has changed anything. What is
// half made is left alone: a start removes it.
func (d *disk) damageFile(f fault, generation uint64) bool {
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(d.names)), func(name string) bool { return strings.HasSuffix(name, ".tmp") })
	name := pick(d.rng, names)
	n := d.names[name]
	x := &damage{fault: f, name: name, node: n, before: bytes.Clone(n.data), fatal: d.fatalIn(name, f, generation)}
	switch f {
	case faultMissing:
		x.node = nil
		delete(d.names, name)
		delete(d.platter, name)
	case faultTruncate:
		if len(n.data) == 0 {
			return false
		}
		n.data = n.data[:d.rng.IntN(len(n.data))]
		n.durable = min(n.durable, int64(len(n.data)))
	default:
		clear(n.data)
	}
	if x.after = bytes.Clone(n.data); x.node != nil && bytes.Equal(x.before, x.after) {
		return false
	}
	d.damages = append(d.damages, x)
	return true
}

// fatalIn says whether every start must refuse a directory of which that file is damaged: those that say whose it is, the one that
// names the state that counts, the one that says which checkpoint that state holds at least, and the segments from generation on, but
// for an unused one that is gone.
func (d *disk) fatalIn(name string, f fault, generation uint64) bool {
	g, segment := segmentOf(name)
	switch {
	case segment && f == faultMissing:
		n := d.names[name]
		return g >= generation && len(provenBlocks(n.data, n)) > 0
	case segment:
		return g >= generation
	case f == faultMissing:
		return name == dataDir+"/IDENTITY" || name == dataDir+"/MEMBERS"
	}
	return name == dataDir+"/IDENTITY" || name == dataDir+"/MEMBERS" || name == dataDir+"/CURRENT" || name == d.currentState()+"/CHECKPOINT"
}

// currentState returns the directory of the state that a start reads.
func (d *disk) currentState() string {
	current := d.names[dataDir+"/CURRENT"]
	if current == nil || len(current.data) < generationAt+generationBytes {
		return dataDir + "/state"
	}
	return fmt.Sprintf("%s/state-%010d", dataDir, binary.LittleEndian.Uint64(current.data[generationAt:]))
}
