package storage

import (
	"errors"
	"flag"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

var crashEvery = flag.Int("crash-every", unlessRace(20, 97), "at which of pebble's operations on its files, every so many, a crash is looked at; 1: at each")

// image is what a crash leaves.
type image struct {
	mem     *vfs.MemFS
	at      string
	durable uint64 // index of the checkpoint that counted
}

// crashImages are taken before operations on files of pebble's, whichever goroutine does them: in the middle of a flush, of a run that
// is taken in, of a compaction.
type crashImages struct {
	fs      *imagesFS
	durable atomic.Uint64
	ops     map[string]int
	taken   []image
}

func takeImages(mem *vfs.MemFS, seed uint64) *crashImages {
	c := &crashImages{fs: &imagesFS{FS: mem}, ops: map[string]int{}}
	rng := rand.New(rand.NewPCG(seed, 6))
	n := int(seed)
	c.fs.before = func(op, name string) {
		if !strings.Contains(name, "/"+indexName) {
			return
		}
		c.ops[op]++
		if n++; n%*crashEvery == 0 {
			clone := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: []int{0, 50, 100}[len(c.taken)%3], RNG: rng})
			c.taken = append(c.taken, image{mem: clone, at: op + " " + name, durable: c.durable.Load()})
		}
	}
	return c
}

// stop ends the taking of images: pebble closes its files.
func (c *crashImages) stop(t *testing.T, atLeast int) {
	t.Helper()
	c.fs.mu.Lock()
	defer c.fs.mu.Unlock()
	c.fs.before = nil
	for _, op := range []string{"create", "write", "sync", "link", "rename", "remove"} {
		if c.ops[op] == 0 {
			t.Errorf("pebble did no %s: %v", op, c.ops)
		}
	}
	if len(c.taken)**crashEvery < atLeast {
		t.Errorf("%d images of %v operations, want %d", len(c.taken), c.ops, atLeast / *crashEvery)
	}
	t.Logf("%d images of %v operations", len(c.taken), c.ops)
}

// TestCrashInPebble makes checkpoints on pebble and lets power fail in the midst of its own work: every restart has
// the last checkpoint that counted, or a later one, and comes to the state of a ledger that never died.
func TestCrashInPebble(t *testing.T) {
	if underRace {
		t.Skip("too long under the race detector; the ordinary run has it")
	}
	mem := vfs.NewCrashableMem()
	c := takeImages(mem, 1)
	r := newStoreRun(t, c.fs, nil, 1)
	r.start()
	for range 500 {
		must(t, r.step())
		c.durable.Store(r.durable.Index)
	}
	c.stop(t, 400)
	must(t, r.store.Close())
	for _, i := range c.taken {
		t.Logf("a crash before %s", i.at)
		again := *r
		again.fs, again.durable = i.mem, Checkpoint{Index: i.durable}
		again.start()
		again.check()
		must(t, again.store.Close())
	}
}

// TestFetchCrashInPebble fetches a checkpoint into pebble and lets power fail in the midst of its own work: the replica that comes back
// has the old state or the new one, whole, and can fetch again.
func TestFetchCrashInPebble(t *testing.T) {
	if underRace {
		t.Skip("too long under the race detector; the ordinary run has it")
	}
	r := newFetchRun(t, 2, true)
	c := takeImages(r.mem, 2)
	must(t, r.log.Close())
	must(t, r.store.Close())
	must(t, r.dir.Close())
	r.open(c.fs)
	r.follow(12)
	for !r.step() {
	}
	c.stop(t, 100)
	must(t, r.intake.Close())
	must(t, r.log.Close())
	must(t, r.store.Close())
	for _, i := range c.taken {
		t.Logf("a crash before %s", i.at)
		again := &fetchRun{t: t, rng: rand.New(rand.NewPCG(9, 4)), from: r.from, mem: i.mem, did: r.did, still: true}
		again.open(again.mem)
		if again.store.generation == 1 {
			again.did["fetched after a crash"]++
			for !again.step() {
			}
			must(t, again.intake.Close())
			must(t, again.log.Close())
			must(t, again.store.Close())
			must(t, again.dir.Close())
			again.open(again.mem)
		}
		again.check()
		must(t, again.log.Close())
		must(t, again.store.Close())
	}
	if r.did["fetched after a crash"] == 0 {
		t.Errorf("no crash before the end: %v", r.did)
	}
}

// TestCrashWhilePebbleIsOpened lets power fail at every operation of a table's first opening, and of the next, and the file
// system keep whichever names it likes: the table can be opened, and holds what was flushed.
func TestCrashWhilePebbleIsOpened(t *testing.T) {
	for round := range 10 { // the choice of names differs from one to the next
		mem := vfs.NewCrashableMem()
		var images []*vfs.MemFS
		flushed := 0 // how many images were taken before the first flush had ended
		fsys := &imagesFS{FS: mem, before: func(string, string) {
			images = append(images, mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: testRNG(round<<10 | len(images))}))
		}}
		for range 3 {
			p, err := OpenPebble(fsys, "/data/index", PebbleOptions{})
			must(t, err)
			if flushed == 0 {
				var b Batch
				b.Set([]byte("key"), []byte("value"))
				must(t, p.Apply(&b))
				must(t, p.Flush())
				flushed = len(images)
			}
			must(t, p.Close())
		}
		if len(images) < 60 {
			t.Errorf("only %d images", len(images))
		}
		for i, image := range images {
			if ok, err := keyIn(image); err != nil || !ok && i > flushed {
				t.Fatalf("image %d of round %d: %v, %v", i, round, ok, err)
			}
		}
	}
}

func keyIn(mem *vfs.MemFS) (ok bool, err error) {
	p, err := OpenPebble(mem, "/data/index", PebbleOptions{})
	if err != nil {
		return false, err
	}
	_, ok, err = p.Get([]byte("key"), nil)
	return ok, errors.Join(err, p.Close())
}
