package storage

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3/raftpb"

	"raftbank/internal/ledger"
)

// tableDamageStride is at how many bytes of the files of an applied state one is damaged. 1 takes some minutes.
var tableDamageStride = flag.Int("table-damage-stride", 1009, "bytes from one damaged byte of the id index to the next")

// damagedState is the directory of a closed server as bytes, and what it must come back with.
type damagedState struct {
	t     *testing.T
	run   *storeRun
	files map[string][]byte
	// noticed and served count what became of the damage, by its kind.
	noticed, served map[string]int
	current         string // what is damaged now
	version         bool   // it is the version in a header of ours
}

// newDamagedState runs a server through checkpoints on pebble. If cut, its log is cut behind the last one but one.
func newDamagedState(t *testing.T, cut bool) *damagedState {
	mem := vfs.NewMem()
	r := newStoreRun(t, mem, nil, 3)
	r.start()
	must(t, r.dir.SetMembers([]uint64{1, 2, 3}))
	log := mustLog(t, r.dir, 4096)
	must(t, log.Append(hard(1, 0, 1), []*raftpb.Entry{ent(1, 1, "genesis")}, true))
	for i := uint64(2); i <= 180; i++ {
		e := r.draw()
		r.entries = append(r.entries, e)
		must(t, log.Append(hard(1, 0, i), []*raftpb.Entry{ent(i, 1, fmt.Sprintf("entry %d %100d", i, i))}, true))
		r.truth.Apply(i, 1, e)
		r.state.Apply(i, 1, e)
		if i%50 != 0 {
			continue
		}
		previous := r.store.Last().Index
		checkpointNow(t, r.store, log, i)
		if cut {
			must(t, log.Cut(previous))
		}
	}
	must(t, log.Close())
	must(t, r.store.Close())
	must(t, r.dir.Close())
	d := &damagedState{t: t, run: r, files: map[string][]byte{}, noticed: map[string]int{}, served: map[string]int{}}
	for _, dir := range []string{testDir, testDir + "/state", testDir + "/state/index"} {
		names, err := mem.List(dir)
		must(t, err)
		for _, name := range names {
			if info, err := mem.Stat(dir + "/" + name); err == nil && !info.IsDir() {
				d.files[dir+"/"+name] = readAll(t, mem, dir+"/"+name)
			}
		}
	}
	return d
}

func checkpointNow(t *testing.T, s *Store, log *Log, at uint64) {
	t.Helper()
	generation, err := log.Generation(at)
	must(t, err)
	must(t, s.Begin(generation))
	for s.Busy() {
		if j := s.Step(100); j != nil {
			must(t, j.Run())
			s.Done(j)
		}
	}
}

// of lists the files of the applied state whose path holds a text.
func (d *damagedState) of(text string) []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(d.files)) {
		if strings.Contains(name, "/state/") && strings.Contains(name, text) {
			names = append(names, name)
		}
	}
	return names
}

// disk makes a disk of the files but for one, which has other content; nil: it is missing.
func (d *damagedState) disk(changed string, content []byte) *vfs.MemFS {
	mem := vfs.NewMem()
	must(d.t, mem.MkdirAll(testDir+"/state/index", 0o755))
	for name, data := range d.files {
		if name == changed {
			data = content
		}
		if data != nil {
			overwrite(d.t, mem, name, data)
		}
	}
	return mem
}

// start does what a start does, and reads everything. It returns why it was refused, if it was.
func (d *damagedState) start(mem vfs.FS) (err error) {
	d.t.Helper()
	dir, err := OpenDir(mem, testDir, testIdentity())
	must(d.t, err)
	defer func() { must(d.t, dir.Close()) }()
	s, err := dir.OpenStore(StoreOptions{
		Window: 8, CacheBytes: 8192, HistoryBytes: 3 * historyBlock, Pebble: PebbleOptions{MemTableBytes: 64 << 10, CacheBytes: 1 << 20},
	})
	if err != nil {
		return err
	}
	defer func() {
		if v := recover(); v != nil {
			failure, ok := v.(*ReadError)
			if !ok {
				panic(v)
			}
			err = failure.Err
		}
		// Pebble looks at tables by itself, until it is closed.
		closed := s.Close()
		if err == nil {
			err = errors.Join(closed, s.Health())
		}
	}()
	r := *d.run
	if r.state, err = s.State(1); err != nil {
		return err
	}
	log, err := openLog(dir, LogOptions{SegmentBytes: 4096, Voters: []uint64{1, 2, 3}, Start: s.Last()})
	if err != nil {
		return err
	}
	defer func() { must(d.t, log.Close()) }()
	if last, err := log.LastIndex(); err != nil || last != uint64(len(r.entries)) {
		d.t.Fatalf("the log ends at %d, not at %d (%v)", last, len(r.entries), err)
	}
	for i := s.Last().Index; i < uint64(len(r.entries)); i++ {
		if _, err := log.Entries(i+1, i+2, 1<<20); err != nil {
			d.t.Fatalf("the log has no entry %d behind the checkpoint at %d: %v", i+1, s.Last().Index, err)
		}
		r.state.Apply(i+1, 1, r.entries[i])
	}
	r.check()
	return nil
}

// try starts on a disk with one file changed: everything is there, or the start says what is damaged.
func (d *damagedState) try(kind, file string, content []byte, format string, args ...any) {
	d.t.Helper()
	what := fmt.Sprintf("%s: %s", file, fmt.Sprintf(format, args...))
	d.current = what
	mem := d.disk(file, content)
	err := d.start(mem)
	if err == nil {
		d.served[kind]++
		return
	}
	d.noticed[kind]++
	if kindOf(file) == "MANIFEST" {
		d.allThere(mem, file)
	}
	if d.version && errors.Is(err, ErrNewerFormat) && strings.Contains(err.Error(), testDir) {
		return // the version is judged before the checksum
	}
	if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), testDir) || !strings.Contains(err.Error(), restoreHint) || strings.Contains(err.Error(), "\n") {
		d.t.Fatalf("%s: %v", what, err)
	}
	if *tableDamageStride == 1 || d.noticed[kind] == 1 {
		d.t.Logf("%s: %v", what, err)
	}
}

// allThere fails unless a refused start has left every file that holds anything, the damaged one aside. The markers may point
// to a newer manifest, and each has a newer file of options.
func (d *damagedState) allThere(mem vfs.FS, damaged string) {
	d.t.Helper()
	for name, data := range d.files {
		if kind := kindOf(name); name == damaged || kind != ".sst" && kind != "MANIFEST" && kind != historyPrefix && kind != durableName {
			continue
		}
		if _, err := mem.Stat(name); err != nil {
			d.t.Fatalf("%s: the refusal took %s with it: %v", d.current, name, err)
		}
		if !slices.Equal(readAll(d.t, mem, name), data) {
			d.t.Fatalf("%s: the refusal changed %s", d.current, name)
		}
	}
}

// kindOf names the kinds of pebble's files, and our own.
func kindOf(file string) string {
	for _, k := range []string{".sst", "marker.manifest", "marker.format", "MANIFEST", "OPTIONS", ".log", "LOCK", historyPrefix, durableName} {
		if strings.Contains(file, k) {
			return k
		}
	}
	return "other"
}

// flips damages bytes of a file, one bit or all bits of a byte; more of them where every byte has its own meaning.
func (d *damagedState) flips(file string) {
	raw := d.files[file]
	kind, stride := kindOf(file), *tableDamageStride
	for i := range raw {
		at := stride
		if footer := kind == ".sst" && len(raw)-i <= 60; footer || kind == "MANIFEST" || kind == durableName {
			at = 1 + stride/25
			if n := len(raw) - i; kind == ".sst" && n <= 12 && n > 8 {
				at = 1 // the version, which nothing guards
			}
		}
		if (i+7)%at != 0 {
			continue
		}
		for _, mask := range []byte{1 << (i % 8), 0xff} {
			if kind == ".sst" && mask == 0xff && i%4 != 0 {
				continue // pebble looks for the bit that was flipped, and finds none after long
			}
			d.version = (kind == durableName || kind == historyPrefix) && i >= 8 && i < 12
			bad := slices.Clone(raw)
			bad[i] ^= mask
			d.try("flip "+kind, file, bad, "byte %d of %d flipped by %#x", i, len(raw), mask)
			d.version = false
		}
	}
}

func (d *damagedState) cuts(file string) {
	raw := d.files[file]
	for _, n := range []int{0, 1, len(raw) / 3, len(raw) / 2, len(raw) - 9, len(raw) - 1} {
		if n >= 0 && n < len(raw) {
			d.try("cut "+kindOf(file), file, raw[:n], "cut at %d of %d", n, len(raw))
		}
	}
	for at := 0; at < len(raw); at += max(512, 12**tableDamageStride/512*512) {
		bad := slices.Clone(raw)
		clear(bad[at:min(len(bad), at+512)])
		d.try("zero "+kindOf(file), file, bad, "512 bytes at %d of %d zeroed", at, len(raw))
	}
}

// TestDamagedTable damages every file of the applied state of a server whose log was cut, and of one whose log is whole:
// flipped bytes, short files, sectors of zeros, missing files. A start then serves everything that was acknowledged, or
// refuses with words that say what is damaged and what to do. Nothing panics on a goroutine of pebble's.
func TestDamagedTable(t *testing.T) {
	if underRace {
		t.Skip("too long under the race detector; the ordinary run has it")
	}
	for _, cut := range []bool{true, false} {
		d := newDamagedState(t, cut)
		defer func() {
			if t.Failed() {
				t.Logf("log cut %v, last tried: %s", cut, d.current)
			}
		}()
		if err := d.start(d.disk("", nil)); err != nil {
			t.Fatal(err)
		}
		for _, file := range d.of("") {
			if kind := kindOf(file); cut || kind != ".sst" && kind != historyPrefix { // these do not care for the log
				d.flips(file)
				d.cuts(file)
			}
			d.try("remove "+kindOf(file), file, nil, "removed")
		}
		t.Logf("log cut %v: noticed %v, served %v", cut, d.noticed, d.served)
		for _, kind := range []string{
			"flip MANIFEST", "cut MANIFEST", "zero MANIFEST", "remove MANIFEST", "flip CHECKPOINT", "remove .sst",
			"remove marker.manifest", "remove marker.format", "remove " + historyPrefix,
		} {
			if d.noticed[kind] == 0 {
				t.Errorf("log cut %v: never noticed: %s", cut, kind)
			}
		}
		if cut && (d.noticed["cut "+historyPrefix] == 0 || d.noticed["flip .sst"] == 0 || d.noticed["cut .sst"] == 0 || d.noticed["zero .sst"] == 0) {
			t.Errorf("damaged tables: %v", d.noticed)
		}
		if d.served["remove LOCK"] == 0 || d.served["remove CHECKPOINT"] == 0 {
			t.Errorf("refused without need: %v", d.noticed)
		}
	}
}

// TestLostCheckpoint removes whole parts of an applied state whose log was cut: none passes for a server that never made
// a checkpoint, not even if CHECKPOINT is gone with them.
func TestLostCheckpoint(t *testing.T) {
	d := newDamagedState(t, true)
	for _, c := range []struct{ gone, want string }{
		{"/state/index/", "holds no checkpoint, but CHECKPOINT says that it held one at index 150"},
		{"/state/", "holds no checkpoint, but the raft log begins with log-"},
	} {
		mem := d.disk("", nil)
		for name := range d.files {
			if strings.Contains(name, c.gone) {
				must(t, mem.Remove(name))
			}
		}
		if err := d.start(mem); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("without %s: %v", c.gone, err)
		}
		dir := mustDir(t, mem)
		must(t, dir.setCurrent(2))
		must(t, mem.MkdirAll(testDir+"/"+generationName(2), 0o755))
		must(t, dir.Close())
		if err := d.start(mem); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "CURRENT names this generation") {
			t.Errorf("with an empty second generation: %v", err)
		}
	}
}

// TestFatalPebble lets pebble end for good on a goroutine of its own, and in a call: every call returns with the failure,
// as does Health, and nothing panics.
func TestFatalPebble(t *testing.T) {
	table, err := OpenPebble(vfs.NewMem(), "/t", PebbleOptions{})
	must(t, err)
	p := table.(*pebbleTable)
	var b Batch
	b.Set([]byte("k"), []byte("v"))
	must(t, table.Apply(&b))
	full := fmt.Errorf("no space: %w", syscall.ENOSPC)
	if err := p.call("test", func() error { p.failures.Fatalf("MANIFEST: %s", full); return nil }); !errors.Is(err, syscall.ENOSPC) || errors.Is(err, ErrDamaged) {
		t.Errorf("a call returns %v", err)
	}
	go p.failures.Fatalf("again")
	for what, err := range map[string]error{"health": table.Health(), "apply": table.Apply(&b), "flush": table.Flush()} {
		if !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for range 100 {
		v, err := table.View()
		if (v == nil) != errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("view: %v, %v", v, err)
		}
		if v != nil { // it was quicker than the end
			_ = v.Close()
		}
	}
	if v, ok, err := table.Get([]byte("k"), nil); string(v) != "v" || !ok || err != nil {
		t.Errorf("get: %q %v %v", v, ok, err)
	}
	must(t, table.Close())
}

// TestDamageWhileARunIsWritten finds a damaged block of history at a start, while ids that were read before are on their
// way into the table on another goroutine: that ends before the table is closed.
func TestDamageWhileARunIsWritten(t *testing.T) {
	mem := vfs.NewMem()
	h, err := openHistory(mem, "/h", testIdentity(), historyEnd{}, historyOptions{CacheBytes: historyBlock})
	must(t, err)
	for i := range uint64(20 * blockRows) {
		h.Append(&ledger.Row{Kind: ledger.RowIntra, State: ledger.Committed, Record: ledger.Record{ID: testID(i<<20, 1), Amount: ledger.Units(1)}})
	}
	must(t, h.writeOut())
	name := "/h/" + historyName(0)
	raw := readAll(t, mem, name)
	for block := 1; block <= 20; block++ {
		bad := slices.Clone(raw)
		bad[block*historyBlock] ^= 1
		overwrite(t, mem, name, bad)
		again, err := openHistory(mem, "/h", testIdentity(), h.end(), historyOptions{CacheBytes: historyBlock})
		must(t, err)
		table, err := OpenPebble(vfs.NewMem(), "/t", PebbleOptions{})
		must(t, err)
		func() {
			defer catchReadError(&err)
			openIndex(table, again, idRanges{}, 0, indexOptions{Window: 16, Aside: true})
		}()
		if !errors.Is(err, ErrDamaged) {
			t.Errorf("block %d: %v", block, err)
		}
		must(t, table.Close())
		must(t, again.Close())
	}
}

// TestSmallFilesThatAreLarge lets each small file of a directory be far longer than anything that was written there: that is
// damage, with words.
func TestSmallFilesThatAreLarge(t *testing.T) {
	d := newDamagedState(t, true)
	for _, name := range []string{identityName, membersName, currentName, "state/" + durableName} {
		file := testDir + "/" + name
		mem := d.disk("", nil)
		overwrite(t, mem, file, make([]byte, maxSmallFile+1))
		dir, err := OpenDir(mem, testDir, testIdentity())
		if err == nil {
			_, err = dir.OpenStore(StoreOptions{})
			must(t, dir.Close())
		}
		if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), file+" is damaged: it is larger than 65536 bytes") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
