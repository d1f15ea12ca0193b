//go:build chaos && linux

package chaos

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"raftbank/internal/shard"
)

// run is one run: the bank, the clients, the faults, and the figures.
type run struct {
	t      *testing.T
	ctx    context.Context    // ends when no more faults are to begin
	stop   context.CancelFunc // ends ctx
	seed   uint64
	bank   *bank
	load   *load
	whole  sync.RWMutex // held for writing while the whole bank is struck
	mounts sync.Map     // small disks that are mounted
	began  time.Time
	broken atomic.Bool // a fault went wrong: the bank may not be whole, so that there is no end to compare

	mu sync.Mutex
	// guarded by mu
	counts  map[string]int
	worst   map[string]worst
	killed  int               // servers, by kill -9
	skipped map[string]string // kinds of faults that this machine does not allow, and why
	cuts    []cut             // audits that were proven
	story   *os.File
}

// worst is the longest of some times, and of what.
type worst struct {
	took time.Duration
	of   string
	n    int
}

// TestChaos runs the bank under faults, heals it, and checks everything.
func TestChaos(t *testing.T) {
	r := newRun(t)
	defer r.end()
	for n := range 9 {
		if err := r.bank.start(n + 1); err != nil {
			t.Fatal(err)
		}
	}
	took, err := r.bank.awaitServing(allServers()...)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("seed %d, %s of faults, in %s; nine servers ready after %s", r.seed, *duration, r.bank.Dir, took.Round(time.Millisecond))
	before := r.figuresOf()
	r.load.run(r.seed)
	r.strike()
	r.load.stop()
	r.allRun()
	if !r.broken.Load() {
		r.check(before)
	}
	r.keepHistory()
	r.figures()
	r.struck()
}

func newRun(t *testing.T) *run {
	r := &run{t: t, seed: *seed, counts: map[string]int{}, worst: map[string]worst{}, skipped: map[string]string{}, began: time.Now()}
	r.ctx, r.stop = context.WithCancel(context.Background())
	if r.seed == 0 {
		r.seed = uint64(rand.Uint32())
	}
	r.bank = newBank(t)
	var err error
	if r.load, err = newLoad(r.bank, *duration); err != nil {
		t.Fatal(err)
	}
	if r.story, err = os.Create(filepath.Join(r.bank.Dir, "faults.log")); err != nil {
		t.Fatal(err)
	}
	r.bank.ended = func(n int, how string) { r.fail("server %d has ended by itself: %s", n, how) }
	return r
}

// end ends every process, and keeps the directory of a failed run.
func (r *run) end() {
	r.stop()
	r.load.close()
	r.bank.close()
	_ = r.story.Close() // only people read it
	r.mounts.Range(func(mount, _ any) bool {
		if err := syscall.Unmount(mount.(string), syscall.MNT_DETACH); err != nil {
			r.t.Errorf("unmount %s: %v", mount, err)
		}
		return true
	})
	if r.t.Failed() {
		r.t.Logf("FAILED: seed %d; everything is kept in %s: history.jsonl, faults.log, the servers' logs and data", r.seed, r.bank.Dir)
		return
	}
	if err := os.RemoveAll(r.bank.Dir); err != nil {
		r.t.Errorf("remove %s: %v", r.bank.Dir, err)
	}
}

// strike lets all nemeses loose until the time is up and returns when the last fault is over.
func (r *run) strike() {
	ctx, over := context.WithTimeout(r.ctx, *duration)
	defer over()
	r.ctx = ctx // nothing that reads it runs yet
	random := rand.New(rand.NewPCG(r.seed, 0))
	deck := kinds()
	random.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
	var wait sync.WaitGroup
	for i := range 3 {
		var share []kind
		for j := i; j < len(deck); j += 3 {
			share = append(share, deck[j])
		}
		own := rand.New(rand.NewPCG(r.seed, uint64(i+1)))
		wait.Go(func() { r.nemesis(shard.ID(i+1), share, own) })
	}
	all := rand.New(rand.NewPCG(r.seed, 4))
	wait.Go(func() { r.killAll(all, max(*duration/4, killAllEvery)) })
	clients := rand.New(rand.NewPCG(r.seed, 5))
	wait.Go(func() { r.crashes(clients) })
	auditor := rand.New(rand.NewPCG(r.seed, 6))
	wait.Go(func() { r.audits(auditor) })
	wait.Wait()
}

// allRun makes sure that every server runs: each fault has ended what it began. One that has ended by itself was told of
// when it did.
func (r *run) allRun() {
	for _, n := range allServers() {
		if s := r.bank.server(n); !s.Running() && !r.broken.Load() {
			r.fail("server %d does not run: %s", n, r.bank.howEnded(n, s))
		}
	}
}

// fail notes a failure and ends the faults.
func (r *run) fail(format string, args ...any) {
	r.note("FAILED: "+format, args...)
	r.t.Errorf(format, args...)
	r.broken.Store(true)
	r.load.giveUp()
	r.stop()
}

// note writes a line of the story.
func (r *run) note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	// A story that cannot be written must not end the run.
	_, _ = fmt.Fprintf(r.story, "%s %10d us  %s\n", time.Now().Format("15:04:05.000"), r.load.now(), fmt.Sprintf(format, args...))
}

func (r *run) count(what string) { r.countMore(what, 1) }

func (r *run) countMore(what string, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts[what] += n
}

// skip notes a kind of fault that cannot be caused on this machine.
func (r *run) skip(kind string, why error) {
	r.note("%s: %v", kind, why)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.skipped[kind] = why.Error()
}

func (r *run) countServers(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.killed += n
}

// slowest keeps the longest time of a sort.
func (r *run) slowest(what, of string, took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := r.worst[what]
	w.n++
	if took > w.took {
		w.took, w.of = took, of
	}
	r.worst[what] = w
}

// figures prints what happened.
func (r *run) figures() {
	r.mu.Lock()
	defer r.mu.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, "figures of seed %d after %s\n", r.seed, time.Since(r.began).Round(time.Second))
	for _, what := range slices.Sorted(maps.Keys(r.counts)) {
		fmt.Fprintf(&b, "  %-60s %8d\n", what, r.counts[what])
	}
	fmt.Fprintf(&b, "  %-60s %8d\n", "servers killed with kill -9 and back", r.killed)
	for _, what := range slices.Sorted(maps.Keys(r.skipped)) {
		fmt.Fprintf(&b, "  NOT TRIED: %s: %s\n", what, r.skipped[what])
	}
	for _, what := range slices.Sorted(maps.Keys(r.worst)) {
		w := r.worst[what]
		fmt.Fprintf(&b, "  longest of %d: %-46s %8s (%s)\n", w.n, what, w.took.Round(time.Millisecond), w.of)
	}
	r.t.Log(b.String())
}
