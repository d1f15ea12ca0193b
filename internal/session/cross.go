package session

import (
	"slices"

	"raftbank/internal/ledger"
	"raftbank/internal/txn"
)

// crossing is a transfer between two shards with everything that it nearly always needs, in one piece: a client may
// have tens of thousands in flight, and many small objects cost more to allocate and to collect than all the rest
// of a transfer.
type crossing struct {
	op    op
	coord txn.Coordinator
	items [2]item // its PREPAREs
	open  [2]*item
}

// slab holds the crossings of a batch and allocates them many at a time. None is used again: the collector takes them
// all once the batch is over and none of them is referred to.
type slab struct{ pieces [][]crossing }

// Sizes of a slab's pieces, in crossings. Each is twice the one before, for most of a batch may be within a shard.
const (
	leastSlab = 4
	mostSlab  = 256
)

// next returns a zero crossing; at most so many are needed, with it.
func (s *slab) next(most int) *crossing {
	last := len(s.pieces) - 1
	if last < 0 || len(s.pieces[last]) == cap(s.pieces[last]) {
		size := leastSlab
		if last >= 0 {
			size = min(2*cap(s.pieces[last]), mostSlab)
		}
		s.pieces = append(s.pieces, make([]crossing, 0, min(size, most)))
		last++
	}
	n := len(s.pieces[last])
	s.pieces[last] = s.pieces[last][:n+1]
	return &s.pieces[last][n]
}

// beginCross begins a transfer between two shards in zero memory. Its timers are for the caller to arm, before
// anything else is begun. The record must not change.
func (e *Engine) beginCross(x *crossing, r *ledger.Record, w way) *op {
	o := &x.op
	o.kind, o.coord, o.spare, o.open = opTransfer, &x.coord, x.items[:], x.open[:0]
	e.addOp(o)
	x.coord.Init(r, w.shard.id, w.other.id)
	e.admit(o)
	return o
}

// armCross arms the timers of count transfers between shards that were begun one after the other, first as first.
func (e *Engine) armCross(first OpID, count int) {
	// With the deadlines first it does not show that each kind of timer stands together: what a transfer's other
	// timers would end has ended with its deadline, if they are due at the same tick.
	e.armRun(e.o.DeadlineTicks, timerOp, uint64(first), count)
	e.armRun(e.o.BusyTicks, timerOpBusy, uint64(first), count)
	if !slices.ContainsFunc(e.shards, func(sh *shardState) bool { return !sh.everUp }) {
		return
	}
	for n := range uint64(count) {
		o := e.opOf(uint64(first) + n)
		e.armReach(o, o.coord.Participants()...)
	}
}
