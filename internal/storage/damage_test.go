package storage

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3/raftpb"
)

// damageRecords is how many records the logs of the exhaustive tests have: enough for two segments. Their time grows
// with its square, so CI gives 200 in a stage of its own.
var damageRecords = flag.Int("damage-records", unlessRace(60, 40), "records in the logs that are damaged at every bit and byte")

// damageLog is a closed log of small records, as bytes, with what it holds.
type damageLog struct {
	dir    *Dir
	images []segmentImage
	raws   [][]byte
	full   *scanner
	before *scanner // without the last block
	// lastStart and lastEnd bound the last block, in the last segment that holds one.
	lastSegment        int
	lastStart, lastEnd int64
}

// newDamageLog writes the records without a mark at the end, so that the last block carries content.
func newDamageLog(t *testing.T, records int) *damageLog {
	mem := vfs.NewMem()
	d := mustDir(t, mem)
	l := mustLog(t, d, 16<<10)
	out := &damageLog{dir: d, full: &scanner{}}
	for i := range uint64(records) {
		hs := hard(i/9+1, i%3, i)
		entries := []*raftpb.Entry{ent(i+1, i/9+1, fmt.Sprintf("record %d", i))}
		before := *out.full
		out.before = &before
		out.lastStart = l.off
		must(t, l.Append(hs, entries, true))
		out.full.hs, out.full.entries = hardStateOf(hs), withEntries(out.full.entries, entries)
		out.lastEnd = out.lastStart + blockHeaderSize + int64(len(l.buf)-blockHeaderSize)
	}
	gens, err := d.listSegments()
	must(t, err)
	for i, g := range gens {
		name := segmentName(g)
		out.raws = append(out.raws, readAll(t, mem, d.file(name)))
		out.images = append(out.images, segmentImage{name: name, generation: g, open: func() (*segmentView, error) {
			return viewOf(d, name, out.raws[i], g)
		}})
	}
	out.lastSegment = len(gens) - 1
	if len(gens) < 2 || l.segment.generation != gens[len(gens)-1] {
		t.Fatalf("%d segments with %d records; at least two are needed", len(gens), records)
	}
	return out
}

// noClose is a file in memory.
type noClose struct{ *bytes.Reader }

func (noClose) Close() error { return nil }

// viewOf is Dir.viewSegment for a segment in memory.
func viewOf(d *Dir, name string, raw []byte, generation uint64) (*segmentView, error) {
	v := &segmentView{file: noClose{bytes.NewReader(raw)}, name: name, size: int64(len(raw))}
	return v, d.checkSegment(v, generation)
}

func (d *damageLog) inLast(segment int, off int64) bool {
	return segment == d.lastSegment && off >= d.lastStart && off < d.lastEnd
}

// check recovers: the full content, a refusal, or, if only the last block was touched, the log without it.
func (d *damageLog) check(t *testing.T, mayCut bool, format string, args ...any) (cut, refused bool) {
	s, err := scanLog(d.images, d.dir.id.seed())
	if err != nil {
		if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNewerFormat) && !errors.Is(err, ErrForeignDir) {
			t.Fatalf("%s: %v", fmt.Sprintf(format, args...), err)
		}
		return false, true
	}
	if sameContent(s, d.full) {
		return false, false
	}
	if mayCut && sameContent(s, d.before) {
		return true, false
	}
	t.Fatalf("%s: %d of %d entries, %+v", fmt.Sprintf(format, args...), len(s.entries), len(d.full.entries), s.hs)
	return false, false
}

// sameContent compares without formatting anything: it runs for every bit of a log.
func sameContent(a, b *scanner) bool {
	return a.hs == b.hs && slices.EqualFunc(a.entries, b.entries, func(x, y *raftpb.Entry) bool {
		return x.GetIndex() == y.GetIndex() && x.GetTerm() == y.GetTerm() && x.GetType() == y.GetType() && string(x.GetData()) == string(y.GetData())
	})
}

// TestEveryBitFlip flips every bit of all records, one at a time.
func TestEveryBitFlip(t *testing.T) {
	d := newDamageLog(t, *damageRecords)
	var cuts, refusals int
	for seg, raw := range d.raws {
		for i := range raw {
			bits := 8
			if raw[i] == 0 && i%blockAlign > 100 { // filling: no block of this log reaches there
				bits = 1
				if testing.Short() && i%16 != 0 {
					continue
				}
			}
			if testing.Short() {
				bits = 1
			}
			for bit := range bits {
				raw[i] ^= 1 << bit
				cut, refused := d.check(t, d.inLast(seg, int64(i)), "segment %d byte %d bit %d", seg, i, bit)
				raw[i] ^= 1 << bit
				if cut {
					cuts++
				}
				if refused {
					refusals++
				}
			}
		}
	}
	t.Logf("%d records: %d refused, %d cut back by the last one, the rest without effect", *damageRecords, refusals, cuts)
	if cuts == 0 || refusals < *damageRecords*30 {
		t.Fatalf("%d cuts, %d refusals", cuts, refusals)
	}
}

// TestEveryTruncation cuts every segment file at every byte: a segment is never short after a
// crash, so it is always damage.
func TestEveryTruncation(t *testing.T) {
	d := newDamageLog(t, *damageRecords)
	for seg, raw := range d.raws {
		for i := range raw {
			d.raws[seg] = raw[:i]
			if _, refused := d.check(t, false, "segment %d cut at %d", seg, i); !refused {
				t.Fatalf("segment %d cut at %d was accepted", seg, i)
			}
		}
		d.raws[seg] = raw
	}
}

// TestEveryTornTail leaves the last block's write incomplete at every byte, from the front and from the
// back: it is there whole or it is cut.
func TestEveryTornTail(t *testing.T) {
	d := newDamageLog(t, *damageRecords)
	raw := d.raws[d.lastSegment]
	for i := d.lastStart; i <= d.lastEnd; i++ {
		for _, half := range [][2]int64{{i, d.lastEnd}, {d.lastStart, i}} {
			torn := slices.Clone(raw)
			clear(torn[half[0]:half[1]])
			d.raws[d.lastSegment] = torn
			if _, refused := d.check(t, true, "zero from %d to %d", half[0], half[1]); refused {
				t.Fatalf("zero from %d to %d: a torn tail was refused", half[0], half[1])
			}
		}
	}
}

// TestMissingAndSwappedPieces removes, zeroes and exchanges whole blocks and segments.
func TestMissingAndSwappedPieces(t *testing.T) {
	d := newDamageLog(t, *damageRecords)
	refuse := func(what string, images []segmentImage) {
		t.Helper()
		good := d.images
		d.images = images
		if _, refused := d.check(t, false, "%s", what); !refused {
			t.Fatalf("%s: accepted", what)
		}
		d.images = good
	}
	for i := range d.images {
		refuse(fmt.Sprintf("without segment %d", i+1), slices.Delete(slices.Clone(d.images), i, i+1))
		zero := slices.Clone(d.images)
		zero[i].open = func() (*segmentView, error) {
			return viewOf(d.dir, zero[i].name, make([]byte, len(d.raws[i])), zero[i].generation)
		}
		refuse(fmt.Sprintf("with segment %d zeroed", i+1), zero)
	}
	for seg, raw := range d.raws {
		for off := segmentHeaderSize; off+2*blockAlign <= len(raw); off += blockAlign {
			swapped := slices.Clone(raw)
			copy(swapped[off:], raw[off+blockAlign:off+2*blockAlign])
			copy(swapped[off+blockAlign:], raw[off:off+blockAlign])
			d.raws[seg] = swapped
			// Two equal sectors, behind the end, may be exchanged; so may nothing else.
			if _, refused := d.check(t, false, "segment %d: sectors at %d exchanged", seg, off); !refused && !slices.Equal(swapped, raw) {
				t.Fatalf("segment %d: sectors at %d exchanged: accepted", seg, off)
			}
		}
		d.raws[seg] = raw
	}
}

func TestDamageMessage(t *testing.T) {
	mem := vfs.NewMem()
	d := mustDir(t, mem)
	l := mustLog(t, d, 4096)
	for i := range uint64(3) {
		must(t, l.Append(nil, []*raftpb.Entry{ent(i+1, 1, "x")}, true))
	}
	must(t, l.Close())
	must(t, d.Close())
	name := d.file(segmentName(1))
	raw := readAll(t, mem, name)
	raw[1024+45] ^= 1
	overwrite(t, mem, name, raw)
	d = mustDir(t, mem)
	_, err := openLog(d, LogOptions{})
	want := "raft log is damaged: /data/2/log-0000000001.seg: block 2 at offset 1024 is missing or unreadable, " +
		"but block 3 at offset 1536 of /data/2/log-0000000001.seg shows that it was there: "
	if !errors.Is(err, ErrDamaged) || !strings.HasPrefix(err.Error(), want) {
		t.Fatalf("got %v", err)
	}
	if !slices.Equal(readAll(t, mem, name), raw) {
		t.Fatal("a damaged log was changed")
	}
	// The last block but the mark: damage too, thanks to the mark.
	raw[1024+45] ^= 1
	raw[1536+45] ^= 1
	overwrite(t, mem, name, raw)
	if _, err := openLog(d, LogOptions{}); !errors.Is(err, ErrDamaged) {
		t.Fatalf("damage before the mark: %v", err)
	}
}

func TestAllSegmentsGone(t *testing.T) {
	mem := vfs.NewMem()
	d := mustDir(t, mem)
	must(t, mustLog(t, d, 4096).Close())
	must(t, d.Close())
	must(t, mem.Remove(d.file(segmentName(1))))
	if _, err := openLog(mustDir(t, mem), LogOptions{}); !errors.Is(err, ErrDamaged) {
		t.Fatalf("got %v", err)
	}
}

func TestSegmentOfAnotherServer(t *testing.T) {
	mem := vfs.NewMem()
	other := testIdentity()
	other.Server, other.Incarnation = 3, 5
	d3, err := OpenDir(mem, "/data/3", other)
	must(t, err)
	must(t, mustLog(t, d3, 4096).Close())
	d := mustDir(t, mem)
	must(t, mustLog(t, d, 4096).Close())
	must(t, d.Close())
	overwrite(t, mem, d.file(segmentName(1)), readAll(t, mem, d3.file(segmentName(1))))
	_, err = openLog(mustDir(t, mem), LogOptions{})
	if !errors.Is(err, ErrForeignDir) || !strings.Contains(err.Error(), "belongs to server 3 of C1 (incarnation 5)") {
		t.Fatalf("got %v", err)
	}
}

// TestTornTailNeverComesBack leaves two unsynced blocks of which the first was lost, recovers, appends a
// block that fits exactly before the second, and recovers again: the second must be gone.
func TestTornTailNeverComesBack(t *testing.T) {
	mem := vfs.NewMem()
	d := mustDir(t, mem)
	l := mustLog(t, d, 4096)
	must(t, l.Append(nil, []*raftpb.Entry{ent(1, 1, "kept")}, true))
	must(t, l.Append(nil, []*raftpb.Entry{ent(2, 1, "lost")}, false))
	must(t, l.Append(nil, []*raftpb.Entry{ent(3, 1, "ghost")}, false))
	must(t, d.Close())
	name := d.file(segmentName(1))
	raw := readAll(t, mem, name)
	clear(raw[1024:1536])
	overwrite(t, mem, name, raw)

	d = mustDir(t, mem)
	l = mustLog(t, d, 4096)
	must(t, l.Append(nil, []*raftpb.Entry{ent(2, 2, "new")}, true))
	must(t, d.Close())
	l = mustLog(t, mustDir(t, mem), 4096)
	if s := stateOf(t, l); len(s.entries) != 2 || s.entries[1] != show(ent(2, 2, "new")) {
		t.Fatalf("log %v", s)
	}
}
