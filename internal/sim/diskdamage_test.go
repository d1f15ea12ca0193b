package sim

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// diskWith returns a disk with one durable file.
func diskWith(t *testing.T, name string, data []byte) (*disk, vfs.File) {
	t.Helper()
	d := newDisk(newRandom(1, "disk"), func(byte, string, int64, int) {})
	if err := d.MkdirAll(dataDir, 0); err != nil {
		t.Fatal(err)
	}
	f, err := d.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(data); err != nil {
		t.Fatal(err)
	}
	dir, err := d.OpenDir(dataDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []vfs.File{f, dir} {
		if err := s.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	return d, f
}

// TestDamageWithoutEffectIsNone: an empty file cannot be cut, nor zeros cleared.
func TestDamageWithoutEffectIsNone(t *testing.T) {
	for f, data := range map[fault][]byte{faultTruncate: nil, faultZero: make([]byte, 600)} {
		d, _ := diskWith(t, dataDir+"/MEMBERS", data)
		if d.damageFile(f, 0) || d.damaged() != nil || d.fatal() != nil {
			t.Errorf("%s of %d zeros counts as damage", f, len(data))
		}
	}
}

// TestDamageEndsWhenItIsWrittenAgain, and that is certain when it is synced.
func TestDamageEndsWhenItIsWrittenAgain(t *testing.T) {
	data := []byte("what the checksum covers")
	d, f := diskWith(t, dataDir+"/history", data)
	if !d.damageFile(faultZero, 0) || d.damaged() == nil || d.fatal() != nil {
		t.Fatalf("damage %+v, fatal %+v: want damage that a start may not read", d.damaged(), d.fatal())
	}
	if _, err := f.WriteAt(data, 0); err != nil {
		t.Fatal(err)
	}
	if d.damaged() == nil {
		t.Error("a power failure would bring the damage back, and the disk says that there is none")
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if x := d.damaged(); x != nil {
		t.Errorf("the file is whole again, and the disk says %s", x.fault)
	}
}

// TestDamageGoesWithItsFile: nobody reads what has been removed for good.
func TestDamageGoesWithItsFile(t *testing.T) {
	d, _ := diskWith(t, dataDir+"/MEMBERS", []byte("members"))
	if !d.damageFile(faultTruncate, 0) || d.fatal() == nil {
		t.Fatal("a start goes on with a MEMBERS file that was cut")
	}
	if err := d.Remove(dataDir + "/MEMBERS"); err != nil {
		t.Fatal(err)
	}
	if d.damaged() == nil {
		t.Error("the removal is not durable, and the damage is gone")
	}
	dir, err := d.OpenDir(dataDir)
	if err != nil {
		t.Fatal(err)
	}
	if err := dir.Sync(); err != nil {
		t.Fatal(err)
	}
	if x := d.damaged(); x != nil {
		t.Errorf("the removal is durable, and the disk says %s", x.fault)
	}
}

// TestDamageGoesWithItsDisk: an empty one in its place has none.
func TestDamageGoesWithItsDisk(t *testing.T) {
	d, _ := diskWith(t, dataDir+"/MEMBERS", []byte("members"))
	if !d.damageFile(faultTruncate, 0) {
		t.Fatal("a file that was cut counts as whole")
	}
	d.crash()
	d.wipe()
	if d.damaged() != nil {
		t.Error("an emptied disk has the damage of the one before it")
	}
}

// TestDamageToTheLog is to blocks that a later one proves, and is fatal where every start reads it.
func TestDamageToTheLog(t *testing.T) {
	found, fatal := 0, 0
	for seed := range uint64(4) {
		w := Run(Options{Seed: seed, DurationMs: shortMs, Faults: []string{"bit-flip", "misdirect", "stale", "replace"}}, nil)
		if v := w.Violation; v != nil {
			t.Errorf("seed %d: %s: %s", seed, v.Check, v.Text)
		}
		for _, f := range []string{"bit-flip", "misdirect", "stale"} {
			found += w.Faults[f]
			fatal += w.Recoveries["refused a disk: "+f]
		}
	}
	if found == 0 || fatal == 0 {
		t.Errorf("%d disks were damaged, %d refused", found, fatal)
	}
}

// TestDamageToTheCheckpoint: a start reads the file CHECKPOINT of the state that counts, and no other.
func TestDamageToTheCheckpoint(t *testing.T) {
	current := append(make([]byte, generationAt), 3, 0, 0, 0, 0, 0, 0, 0)
	for _, c := range []struct {
		name    string
		current []byte
		fault   fault
		fatal   bool
	}{
		{"state/CHECKPOINT", nil, faultTruncate, true},
		{"state/CHECKPOINT", nil, faultZero, true},
		{"state/CHECKPOINT", nil, faultMissing, false},
		{"state/CHECKPOINT", current, faultZero, false},
		{"state-0000000003/CHECKPOINT", current, faultZero, true},
		{"state-0000000004/CHECKPOINT", current, faultZero, false},
	} {
		d := newDisk(newRandom(1, "disk"), func(byte, string, int64, int) {})
		if c.current != nil {
			d.names[dataDir+"/CURRENT"] = &inode{data: c.current}
		}
		if got := d.fatalIn(dataDir+"/"+c.name, c.fault, 0); got != c.fatal {
			t.Errorf("%s of %s: fatal %v, want %v", c.fault, c.name, got, c.fatal)
		}
	}
}

// TestDamageToPaddingIsNone: nobody reads what fills up the last sector of a block, and a sector of zeros cannot be cleared.
func TestDamageToPaddingIsNone(t *testing.T) {
	struck := 0
	for seed := range uint64(20) {
		d, f := diskWith(t, dataDir+"/log-0000000001.seg", segmentWith(t, 300, 700, 100))
		d.rng = newRandom(seed, "disk")
		n := d.names[dataDir+"/log-0000000001.seg"]
		blocks := provenBlocks(n.data, n)
		if len(blocks) != 2 {
			t.Fatalf("%d blocks are proven, want 2", len(blocks))
		}
		before := bytes.Clone(n.data)
		changed := false
		got := d.damageLog(pick(d.rng, []fault{faultMisdirect, faultStale}), 1)
		for _, b := range blocks {
			changed = changed || !bytes.Equal(before[b.from:b.to], n.data[b.from:b.to])
		}
		if got != changed || (d.damaged() != nil) != changed || (d.fatal() != nil) != changed {
			t.Errorf("seed %d: a block changed: %v, counted: %v, damage: %v, fatal: %v", seed, changed, got, d.damaged(), d.fatal())
		}
		if !got {
			struck++
		}
		_ = f.Close()
	}
	if struck == 0 {
		t.Error("no seed hit what cannot be damaged")
	}
}

// segmentWith returns a segment of generation 1 with blocks of zeros of those lengths, each of which says that those before it were synced.
func segmentWith(t *testing.T, lengths ...int) []byte {
	t.Helper()
	le, table := binary.LittleEndian, crc32.MakeTable(crc32.Castagnoli)
	segment := make([]byte, 16*sectorBytes)
	le.PutUint64(segment[generationAt:], 1)
	seed := crc32.Checksum(segment[identityAt:identityEnd], table)
	at := sectorBytes
	for _, length := range lengths {
		b := segment[at:]
		copy(b, blockMagic)
		le.PutUint64(b[8:], 1)
		le.PutUint64(b[blockSyncedAt:], uint64(at))
		le.PutUint32(b[blockLengthAt:], uint32(length))
		end := blockHeadBytes + length
		le.PutUint32(b[4:], crc32.Update(seed, table, b[8:end]))
		at += (end + sectorBytes - 1) / sectorBytes * sectorBytes
	}
	return segment
}

// TestMissingEndsWithAStart: a server that has opened its state and its log does without what was missing.
func TestMissingEndsWithAStart(t *testing.T) {
	for name, ended := range map[string]bool{
		"log-0000000001.seg": true, "state/history-0000000000.seg": true, "state-0000000002/history-0000000000.seg": false,
	} {
		d, _ := diskWith(t, dataDir+"/IDENTITY", []byte("identity"))
		for _, dir := range []string{dataDir + "/state", dataDir + "/state-0000000002"} {
			_ = d.MkdirAll(dir, 0) // it never fails
		}
		d.damages = []*damage{{fault: faultMissing, name: dataDir + "/" + name}}
		if d.damaged() == nil {
			t.Errorf("%s is missing, and that is no damage", name)
		}
		if d.opened(); (d.damaged() == nil) != ended {
			t.Errorf("%s is missing after a start: damage %v", name, d.damaged())
		}
	}
}

// TestCopyKeepsEmptyDirectories: a directory without a file is part of a server's directory too. Without the first state, whose files are
// not written yet, a server that fetches another one finds that a file is missing.
func TestCopyKeepsEmptyDirectories(t *testing.T) {
	d, _ := diskWith(t, dataDir+"/IDENTITY", []byte("identity"))
	_ = d.MkdirAll(dataDir+"/state", 0) // it never fails
	c := d.copy()
	d.wipe()
	d.restore(c)
	names, err := d.List(dataDir)
	if err != nil || !slices.Equal(names, []string{"IDENTITY", "state"}) {
		t.Errorf("a restored copy holds %v, %v", names, err)
	}
}
