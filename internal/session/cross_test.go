package session

import (
	"testing"

	"raftbank/internal/ledger"
	"raftbank/internal/shard"
)

// TestSlab: pieces grow, no crossing is given out twice, and no more are allocated than the batch may need.
func TestSlab(t *testing.T) {
	const most = 1000
	var s slab
	seen := map[*crossing]bool{}
	for i := range most {
		x := s.next(most - i)
		if seen[x] {
			t.Fatalf("crossing %d was given out before", i)
		}
		seen[x] = true
	}
	held := 0
	for _, piece := range s.pieces {
		held += len(piece)
	}
	last := s.pieces[len(s.pieces)-1]
	if held != most || len(last) != cap(last) || cap(s.pieces[len(s.pieces)-2]) != mostSlab {
		t.Errorf("%d crossings in %d pieces, room for %d in the last", held, len(s.pieces), cap(last))
	}
}

// TestArmRun: one timer fires for each of its numbers, in their order, and for nothing else.
func TestArmRun(t *testing.T) {
	e := New(Options{Topology: smallBank()})
	var ids []OpID
	for range 5 { // calls to a server that is not connected: only their timer can end them
		ids = append(ids, e.Call(Call{Server: 1, Ticks: 100}))
	}
	e.armRun(3, timerOp, uint64(ids[1]), 3)
	for range 3 {
		if n := len(e.Flush().Dones); n != 0 {
			t.Fatalf("%d calls ended before their time", n)
		}
		e.Tick()
	}
	dones := e.Flush().Dones
	if len(dones) != 3 {
		t.Fatalf("%d calls ended, want 3", len(dones))
	}
	for i := range dones {
		if dones[i].Op != ids[i+1] {
			t.Errorf("call %d ended as number %d, want %d", dones[i].Op, i, ids[i+1])
		}
	}
}

// TestBatchOutgrowsItsItems: the transfers of a batch ask again with items beyond those that came with them, and
// each has its own.
func TestBatchOutgrowsItsItems(t *testing.T) {
	w := newWorld(t, Options{DeadlineTicks: 5, GraceTicks: 5})
	for id := shard.ServerID(1); id <= 6; id++ {
		w.e.ConnUp(id)
	}
	var records []ledger.Record
	for i := range uint64(9) {
		records = append(records, record(ledger.TransferID{byte(i + 1)}, i+1, i+11, 1))
	}
	b := w.e.TransferBatch(records)
	w.e.Flush()
	for range 5 { // nobody answers: poison
		w.e.Tick()
	}
	var ops []*op
	for _, piece := range w.e.ops.Get(uint64(b)).op.batch.cross.pieces {
		for i := range piece {
			ops = append(ops, &piece[i].op)
		}
	}
	if len(ops) != len(records) {
		t.Fatalf("%d transfers of %d", len(ops), len(records))
	}
	seen := map[*item]bool{}
	for i, o := range ops {
		if *o.coord.Record() != records[i] || len(o.open) != 4 {
			t.Errorf("transfer %d: record %v, %d items", i, *o.coord.Record(), len(o.open))
		}
		for _, it := range o.open {
			if it.op != o || it.coord != o.coord || seen[it] {
				t.Errorf("transfer %d has an item that is not its own", i)
			}
			seen[it] = true
		}
	}
}
