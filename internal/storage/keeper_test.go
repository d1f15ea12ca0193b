package storage

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// awaitJob appends, applies and lets the keeper step until a job is there.
func (r *replicaRun) awaitJob(k *Keeper, needless uint64) *Job {
	r.t.Helper()
	for range 200 {
		r.write()
		j, err := k.Step(needless, needless)
		must(r.t, err)
		if j != nil {
			return j
		}
	}
	r.t.Fatal("no checkpoint in 200 entries")
	return nil
}

func newKeeperRun(t *testing.T) *replicaRun {
	r := newReplicaRun(t, vfs.NewMem(), 5, map[string]int{})
	r.start(&dyingFS{FS: r.fs})
	return r
}

// TestKeeperCutsBehindDurableCheckpoints: nothing is cut before a checkpoint is durable, whoever says that it is needless, and
// nothing behind what another member needs.
func TestKeeperCutsBehindDurableCheckpoints(t *testing.T) {
	r := newKeeperRun(t)
	first := func() uint64 { i, _ := r.log.FirstIndex(); return i }
	j := r.awaitJob(r.keeper, 1<<40)
	for range 40 {
		r.write()
		if again, err := r.keeper.Step(1<<40, 1<<40); err != nil || again != nil {
			t.Fatalf("a second checkpoint, %v, while one is under way (%v)", again, err)
		}
	}
	must(t, j.Run())
	if first() != 1 || len(r.log.segments) < 4 {
		t.Fatalf("the log begins with entry %d in %d segments, before a checkpoint counts", first(), len(r.log.segments))
	}
	c := r.keeper.Done(j)
	if c != r.store.Last() || c.Index == 0 || c.Index != j.Checkpoint().Index {
		t.Fatalf("the checkpoint is at %+v, the store's last at %+v", c, r.store.Last())
	}
	_, err := r.keeper.Step(c.Index/2, c.Index/2)
	must(t, err)
	if got := first(); got > c.Index/2+1 {
		t.Errorf("the log begins with entry %d, and a member needs it from %d on", got, c.Index/2+1)
	}
	_, err = r.keeper.Step(1<<40, 1<<40)
	must(t, err)
	if got := first(); got == 1 || got > c.Index+1 {
		t.Errorf("the log begins with entry %d, behind a checkpoint at %d that every member has", got, c.Index)
	}
}

// TestKeeperAndTheSilentMember: what a silent member alone needs is kept up to a bound of the log's size.
func TestKeeperAndTheSilentMember(t *testing.T) {
	r := newKeeperRun(t)
	j := r.awaitJob(r.keeper, 0)
	must(t, j.Run())
	at := r.keeper.Done(j).Index
	for {
		r.write()
		bytes := r.log.BytesFrom(0)
		j, err := r.keeper.Step(0, at)
		must(t, err)
		if bytes > 3*4096 {
			break
		}
		if first, _ := r.log.FirstIndex(); first != 1 {
			t.Fatalf("cut at %d bytes", bytes)
		}
		if j != nil {
			must(t, j.Run())
			at = r.keeper.Done(j).Index
		}
	}
	if first, _ := r.log.FirstIndex(); first == 1 || first > at+1 {
		t.Errorf("the log begins with entry %d; the checkpoint is at %d, and the log was too long", first, at)
	}
}

// TestKeepersTakeTurns: the replicas of a shard see the same log, and do not all begin their checkpoints at one place of it.
func TestKeepersTakeTurns(t *testing.T) {
	var at []uint64
	for place := range 3 {
		r := newKeeperRun(t)
		k := NewKeeper(r.store, r.log, KeeperOptions{EveryBytes: 6000, Place: place, Places: 3})
		at = append(at, r.awaitJob(k, 0).Checkpoint().Index)
	}
	if at[0] >= at[1] || at[1] >= at[2] {
		t.Errorf("checkpoints at %v, want one after the other", at)
	}
	if k := NewKeeper(newKeeperRun(t).store, newKeeperRun(t).log, KeeperOptions{}); k.every != DefaultCheckpointBytes || k.most != DefaultMaxLogBytes {
		t.Errorf("without options: every %d bytes, at most %d", k.every, k.most)
	}
}
